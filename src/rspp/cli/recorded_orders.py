"""What a worker does about its recordings when an operator says so: export them now, delete what is due, give up what waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.cli.recorded import Recorded
from rspp.contract.errors import RsppError
from rspp.control.commands import Command, CommandKind, Outcome
from rspp.control.worker.orders import Obey, Obeyed

# For so long is waited for what comes of a retry; what is not exported by then is said to wait.
RETRY_MS_MAX: Final = 3_000
NOTHING_RECORDED: Final = (Outcome.REFUSED, "this process records and exports nothing")


def orders_of(recorded: Recorded) -> Mapping[CommandKind, Obey]:
    """Who obeys which order about the recordings of this process."""
    return {
        CommandKind.RETRY_EXPORT: lambda _: retry(recorded),
        CommandKind.FREE_RECORDINGS: lambda _: free(recorded),
        CommandKind.GIVE_UP_EXPORT: lambda command: give_up(recorded, command),
    }


async def retry(recorded: Recorded) -> Obeyed:
    """Try everything that waits, now; done where nothing waits any more."""
    exporter = recorded.exporter
    if exporter is None:
        return NOTHING_RECORDED
    waiting = exporter.retry()
    left = await exporter.drain(RETRY_MS_MAX)
    if not left:
        return Outcome.DONE, f"{waiting} parts are exported, none wait"
    return Outcome.FAILED, f"{left} parts wait still; {_why(recorded)}"


async def free(recorded: Recorded) -> Obeyed:
    """Delete what the policy of retention lets go, now; how many recordings that were."""
    if recorded.exporter is None:
        return NOTHING_RECORDED
    try:
        swept = await recorded.sweep()
    except RsppError as error:
        return Outcome.FAILED, f"{error.code}: what is due is not all deleted"
    return Outcome.DONE, f"{swept} recordings were due and are deleted or cut"


async def give_up(recorded: Recorded, command: Command) -> Obeyed:
    """Delete what waits for its export; each recording says in the store what it lacks, before that is gone."""
    if recorded.exporter is None:
        return NOTHING_RECORDED
    given_up = 0
    try:
        async for _ in recorded.give_up(command.by):
            given_up += 1
    except RsppError as error:
        return Outcome.FAILED, f"{given_up} parts are given up; then {error.code}"
    return Outcome.DONE, f"{given_up} parts are given up"


def _why(recorded: Recorded) -> str:
    """Why tries failed, as far as this process has seen: the most frequent cause."""
    assert recorded.exporter is not None
    failures = recorded.exporter.meters.durable_export_failures_total
    cause = max(failures, key=lambda one: failures[one], default="")
    return f"tries failed by {cause}" if cause else "no try has failed yet"
