"""A change is asked for once: the control plane is looked at first, and what is there already is not asked for again.

Whoever was killed after asking finds what it did; where a server may still be busy with it, it is waited for. The audit log
says where each change is on record, to those who may read it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from rspp.cli.release.ground import Ground
from rspp.cli.release.matching import CLOCKS_APART_MS, Record, in_order, is_of, placed, records_of, unsettled
from rspp.cli.release.plane import ITEMS_MAX, Asks, is_unknown, pages
from rspp.cli.release.reports import Change
from rspp.cli.release.settings import Settings
from rspp.contract.errors import RsppError
from rspp.control.operations import operation_named

# A request that was sent has ended, one way or the other, after this time.
SETTLED_MS: Final = 15_000
UNSEEN_MS: Final = 2_000
LOOK_S: Final = 0.2
# Refusals that only mean: this principal may not see that.
UNSEEN: Final = ("permission_denied", "not_found")


def seen(plane: Asks, name: str, **fields: Any) -> Any:
    """What is there, or None."""
    try:
        return plane.ask(name, **fields)
    except RsppError as error:
        if error.code == "not_found":
            return None
        raise


def own_records(plane: Asks, settings: Settings, *actions: str) -> list[Record] | None:
    """What the log has of this release, oldest first; None to whom it is not shown."""
    since_ms = max(0, settings.begun_wall_ms - CLOCKS_APART_MS - SETTLED_MS)
    try:
        items = [
            item
            for action in actions
            for item in pages(plane, "audit.list", since_ms=since_ms, limit=ITEMS_MAX, action=action)
        ]
    except RsppError as error:
        if error.code in UNSEEN:
            return None
        raise
    return in_order(one for one in records_of(items) if is_of(one, settings))


def records(at: Ground, action: str) -> list[Record] | None:
    return own_records(at.plane, at.settings, action)


def changed(at: Ground, action: str, is_so: Callable[[], str], **fields: Any) -> Change:
    """The change, made now or found made. `is_so` looks: "" not yet, `mine` by this release, `other` by somebody else."""
    _settle(at, action, is_so)
    was = is_so()
    if was == "other":
        return Change(action=action, how="already")
    if not was:
        try:
            at.plane.ask(action, **fields)
        except RsppError as error:
            if not is_unknown(error):
                raise
            # It may have been done all the same, now or in a moment: then it is not asked for again.
            at.say(f"{action}: {error.code}: looking what came of it")
            _settle_unseen(at, is_so)
            was = is_so()
            if was != "mine":
                raise
    known = records(at, action)
    place, decision = placed(known, action) if known else ("", "")
    return Change(action=action, how="adopted" if was else "done", place=place, decision=decision)


def _settle(at: Ground, action: str, is_so: Callable[[], str]) -> None:
    """Wait for what a predecessor of this process asked for and may still get."""
    if not at.plane.outlives:
        return
    if at.is_unsure and records(at, action) is None:
        _settle_unseen(at, is_so)
        return
    until_ms = at.wall_ms() + SETTLED_MS
    while at.wall_ms() < until_ms:
        open_ones = unsettled(records(at, action) or [])
        if not any(at.wall_ms() - one.at_ms < SETTLED_MS for one in open_ones):
            return
        at.say(f"{action} was asked for a moment ago: waiting for what comes of it")
        at.sleep(LOOK_S)


def _settle_unseen(at: Ground, is_so: Callable[[], str]) -> None:
    """The same for somebody to whom the log is not shown: what was asked for shows itself soon, or was not asked for."""
    until_ms = at.wall_ms() + UNSEEN_MS
    while at.wall_ms() < until_ms and not is_so():
        at.sleep(LOOK_S)


def request_of(action: str, fields: dict[str, Any]) -> Any:
    return msgspec.convert(fields, operation_named(action).request)
