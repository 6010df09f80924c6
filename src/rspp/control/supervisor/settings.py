"""The numbers of a supervisor. Each bound says what happens beyond it."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Any

import msgspec

from rspp.control.supervisor.crashes import CrashRule


class OnStop(StrEnum):
    """What a process that ends does with its sessions."""

    DRAIN = "drain"  # hear them out, and abort at the deadline
    MIGRATE = "migrate"  # give them to other processes at once


class SupervisorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to run, and how patient to be with it. Milliseconds, or a count."""

    workers: int
    name: str  # of this machine or pod: the first part of each member's id
    command: tuple[str, ...]  # a child's command line
    work: dict[str, Any]  # what each child is handed
    shared_url: str = ""
    on_stop: OnStop = OnStop.DRAIN
    drain_ms: int = 30_000
    # After the deadline of a drain: sessions that are cut short write their evidence, and what is sealed is exported.
    drain_slack_ms: int = 15_000
    start_ms: int = 120_000  # models are loaded; who takes longer is killed and counted as a crash
    wedged_ms: int = 5_000  # no beat for so long: the loop stands, and the process is killed and replaced
    check_ms: int = 250
    fence_ms: int = 10_000  # attempts to fence a dead process end then, and its sessions wait for its ttl
    crashes: CrashRule = CrashRule()


def cpus() -> int:
    """How many processes this machine, or this container, can keep busy."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
