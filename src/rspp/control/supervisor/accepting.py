"""Who of several processes takes the next calls from the socket that they share.

Who is ready and has room, and among those the least busy: otherwise whoever is woken first would take them all. Where none
is both, somebody still answers, so that a caller hears why it is refused instead of waiting in a queue for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.control.supervisor.words import State

# So many sessions more than the least busy one may have before a process stops taking new ones for a while.
AHEAD_MAX: Final = 2


def who_accepts(states: Mapping[str, State]) -> frozenset[str]:
    """The names of those that should take calls."""
    open_ = {name: state for name, state in states.items() if not state.draining}
    able = {name: state.sessions for name, state in open_.items() if state.ready and not state.full}
    if not able:
        return frozenset(open_)
    least = min(able.values())
    return frozenset(name for name, sessions in able.items() if sessions <= least + AHEAD_MAX)
