"""What the ledgers of a release say was changed, held against what the audit log says. Pure.

Every change of a release is known in the log by its reason, which is the release's name and nothing else. Each one that was
`done` must stand in a ledger, and each that a ledger names in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import msgspec

from rspp.cli.release.reports import Change
from rspp.cli.release.settings import Settings

PUBLISH: Final = "pipelines.publish"
BEGIN: Final = "rollout.begin"
CANARY: Final = "rollout.canary"
PROMOTE: Final = "rollout.promote"
ROLLBACK: Final = "rollout.rollback"
FREEZE: Final = "rollout.freeze"
PROPOSE: Final = "approvals.propose"
# What must agree. A proposal changes nothing that is in force.
COMPARED: Final = (PUBLISH, BEGIN, CANARY, PROMOTE, ROLLBACK, FREEZE)
ALLOW, DONE, FAILED = "allow", "done", "failed"
INTENT: Final = "intent"
# The log's clock is the control plane's, the release's that of this machine.
CLOCKS_APART_MS: Final = 5 * 60_000


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the audit log, as `audit.list` tells it."""

    at_ms: int
    principal: str
    action: str
    decision: str
    place: str
    reason: str = ""
    facts: Mapping[str, str] = {}
    tenant: str = ""


def records_of(items: Iterable[Mapping[str, Any]]) -> list[Record]:
    return [msgspec.convert(item, Record) for item in items]


def is_of(record: Record, settings: Settings) -> bool:
    """Was this record made by this release?"""
    return record.action in (*COMPARED, PROPOSE) and record.facts.get("reason") == settings.reason


def in_order(records: Iterable[Record]) -> list[Record]:
    return sorted(records, key=lambda one: (one.at_ms, one.place))


def unsettled(records: Sequence[Record]) -> list[Record]:
    """Those that were begun, and of which no end is on record."""
    ended = {one.facts.get(INTENT) for one in records if one.decision in (DONE, FAILED)}
    return [one for one in records if one.decision == ALLOW and one.place not in ended]


def placed(records: Sequence[Record], action: str) -> tuple[str, str]:
    """Where the log has the change that took effect, and how it ended there; ("", "") where it does not say.

    Its end may never have been written, if whoever made it was killed: then its beginning is what there is.
    """
    mine = in_order(one for one in records if one.action == action)
    done = [one for one in mine if one.decision == DONE]
    found = done or unsettled(mine)
    return (found[-1].place, found[-1].decision) if found else ("", "")


def differences(changes: Sequence[Change], records: Sequence[Record]) -> tuple[str, ...]:
    """Every disagreement, as a sentence; nothing where the ledgers and the log say the same."""
    told = [one for one in changes if one.how != "already" and one.action in COMPARED]
    named = {one.place for one in told if one.place}
    found = [*_misplaced([one for one in told if one.place], records)]
    for change in told:
        if change.place:
            continue
        place = _unclaimed(change.action, records, named)
        if place:  # whoever ran the release may not read the log: it is the next one of its kind
            named.add(place)
        else:
            found.append(f"a ledger says that {change.action} was {change.how}; the log does not")
    done = [one for one in records if one.action in COMPARED and one.decision == DONE]
    untold = [one for one in done if not _is_named(one, named)]
    found += [f"the log says that {one.action} was done ({one.place}); no ledger does" for one in untold]
    times = sum(one.action == PUBLISH for one in done)
    return (*found, *((f"{PUBLISH} was done {times} times",) if times > 1 else ()))


def _misplaced(changes: Sequence[Change], records: Sequence[Record]) -> Iterator[str]:
    by_place = {one.place: one for one in records}
    for change in changes:
        record = by_place.get(change.place)
        if record is None:
            yield f"a ledger says that {change.action} was {change.how} ({change.place}); the log does not"
        elif (record.action, record.decision) != (change.action, change.decision):
            yield f"{change.place} is {record.action} {record.decision}, not {change.action} {change.decision}"


def _unclaimed(action: str, records: Sequence[Record], named: AbstractSet[str]) -> str:
    """The first record of such a change that no ledger names: done, or else begun and never ended."""
    same = [one for one in in_order(records) if one.action == action]
    done = [one for one in same if one.decision == DONE and not _is_named(one, named)]
    left = done or [one for one in unsettled(same) if one.place not in named]
    return left[0].place if left else ""


def _is_named(record: Record, named: AbstractSet[str]) -> bool:
    return record.place in named or record.facts.get(INTENT) in named
