"""A manifest's work on record in a store, where the journal, the console and the control plane find it.

teller    what a manifest is given: it takes snapshots and hands out signals, from any thread
kept      the same inside one loop, over an open store
record    a snapshot as it is kept: without secrets and whole paths, bounded, with the steps before it (pure)
"""

from __future__ import annotations

from rspp.server.work.teller import WorkTeller

__all__ = ["WorkTeller"]
