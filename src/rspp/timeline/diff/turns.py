"""Which turn of one run is which turn of the other: in order, the likest together, so that an extra turn is one extra turn."""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.timeline.diff.align import aligned
from rspp.timeline.story import Story

NEAR_NS: Final = 250 * NS_PER_MS


class Traits(msgspec.Struct):
    """What a turn is known by: when it opened, what it was asked (as a shape), how it ended."""

    turn: str
    at: int
    asked: tuple[int, int] | None = None
    ending: str = ""


def traits(story: Story) -> list[Traits]:
    """Every turn, in the order in which they appear."""
    found: dict[str, Traits] = {}
    for item in story.items:
        if item.turn is None:
            continue
        turn = found.get(item.turn)
        if turn is None:
            turn = found[item.turn] = Traits(item.turn, item.at - story.began_at)
        if item.what == "invoke" and turn.asked is None and "shape" in item.facts:
            turn.asked = (item.facts["chars"], item.facts["shape"])
        elif item.what == "signal" and item.name in ("commit", "abort"):
            turn.ending = f"{item.name}/{item.facts.get('reason')}"
    return list(found.values())


def pairs(expected: Story, got: Story) -> list[tuple[str | None, str | None]]:
    """Turns that belong together; None where the other run has none."""
    left, right = traits(expected), traits(got)

    def likeness(i: int, j: int) -> float:
        a, b = left[i], right[j]
        # Two turns stand together even if they have nothing in common but their place.
        return (
            0.5
            + 0.25 * (a.asked == b.asked)
            + 0.15 * (abs(a.at - b.at) <= NEAR_NS)
            + 0.1 * (a.ending == b.ending)
        )

    # Every turn may stand beside every other: one key.
    laid = aligned([0] * len(left), [0] * len(right), likeness)
    return [
        (left[i].turn if i is not None else None, right[j].turn if j is not None else None) for i, j in laid
    ]
