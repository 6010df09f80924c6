"""Recordings that somebody has changed: the same file, one record, input or item of it another."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.kernel.shapes import sum_of_record
from rspp.kernel.trace import Item
from rspp.timeline import records as r
from rspp.timeline.recording import Recording, assemble

replace = msgspec.structs.replace
Change = Callable[[r.AnyRecord], r.AnyRecord | None]


def changed(data: bytes, change: Change) -> bytes:
    """Each record as `change` wants it; None leaves it out. Lengths and check sums are right again."""
    records = [change(record) for record in r.unframe(data).records]
    return b"".join(r.frame(record) for record in records if record is not None)


def read(data: bytes) -> Recording:
    return assemble([r.unframe(data)])


def with_items(data: bytes, change: Callable[[Item], Item | None]) -> bytes:
    """Each item of the trace as `change` wants it."""

    def alter(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        return replace(record, items=[new for one in record.items if (new := change(one)) is not None])

    return changed(data, alter)


def with_plans(data: bytes, change: Callable[[ResolvedTurnPlan], ResolvedTurnPlan | None]) -> bytes:
    def alter(record: r.AnyRecord) -> r.AnyRecord | None:
        if not isinstance(record, r.Plan):
            return record
        plan = change(record.plan)
        return None if plan is None else replace(record, plan=plan)

    return changed(data, alter)


def with_evidence(data: bytes, change: Callable[[TurnEvidence], TurnEvidence]) -> bytes:
    """Other evidence, and a trace that says that this was stored: as if a kernel had been so."""
    sums = {
        record.record_id: sum_of_record(change(record.evidence))
        for record in r.unframe(data).records
        if isinstance(record, r.Evidence)
    }

    def alter(record: r.AnyRecord) -> r.AnyRecord:
        if isinstance(record, r.Trace):
            return replace(record, items=[_resummed(one, sums) for one in record.items])
        return replace(record, evidence=change(record.evidence)) if isinstance(record, r.Evidence) else record

    return changed(data, alter)


def _resummed(one: Item, sums: dict[str, int]) -> Item:
    if one.what != "store_evidence":
        return one
    return replace(one, facts={**one.facts, "sum": sums[one.facts["record"]]})


def nth_item(data: bytes, what: str, name: str, number: int = 0) -> tuple[int, Item]:
    """The place of an item among all of the recording, and the item."""
    found = [(at, one) for at, one in enumerate(read(data).items) if (one.what, one.name) == (what, name)]
    return found[number]
