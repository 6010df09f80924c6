"""Recordings and stories with one thing changed in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rspp.contract.words import RecordingLevel
from rspp.kernel.trace import Item
from rspp.timeline import records as r
from rspp.timeline.records import frame, unframe
from rspp.timeline.story import Story
from tests.unit.timeline.calls import replayed, simulated

replace = msgspec.structs.replace


def story(seed: int = 7, session: int = 0, faults: str = "none", *, sound: bool = False) -> Story:
    """A replay's story; a new one each time."""
    level = RecordingLevel.L2 if sound else RecordingLevel.L1
    return replayed(simulated(seed, session, faults, level), frames=sound)


def found(story: Story, what: str, name: str, nth: int = 0) -> int:
    """The place of the nth item that is called this."""
    return [number for number, item in enumerate(story.items) if (item.what, item.name) == (what, name)][nth]


def altered(
    told: Story, number: int, facts: dict[str, Any] | None = None, later_ns: int = 0, **fields: Any
) -> Story:
    """The story with this item changed."""
    item = told.items[number]
    made = replace(item, at=item.at + later_ns, facts={**item.facts, **(facts or {})}, **fields)
    return replace(told, items=[*told.items[:number], made, *told.items[number + 1 :]], digest=None)


def without(told: Story, number: int) -> Story:
    return replace(told, items=[*told.items[:number], *told.items[number + 1 :]], digest=None)


def rewritten(data: bytes, change: Callable[[Item], Item]) -> bytes:
    """A recording whose trace says something else."""
    out = b""
    for record in unframe(data).records:
        if isinstance(record, r.Trace):
            out += frame(replace(record, items=[change(item) for item in record.items]))
        else:
            out += frame(record)
    return out
