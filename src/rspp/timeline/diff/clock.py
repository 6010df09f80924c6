"""When two runs are apart in time, and which of it is news: a shift that goes on is told once.

Two replays of one recording share the session's clock. Two sessions share none: there each turn has its own, from its first item.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rspp.contract.event import NS_PER_MS
from rspp.timeline.diff.rows import Row
from rspp.timeline.story import Story

# Shifts of one turn that are told apart; further ones are all told.
SHIFTS_MAX: Final = 64
SESSION: Final = ""


class Clock:
    """The times of one story, in nanoseconds from what both stories have in common."""

    def __init__(self, story: Story, rows: Sequence[Row], *, shared: bool) -> None:
        self.shared = shared
        self.began_at = story.began_at
        self._zeros: dict[str, int] = {}
        for row in rows:
            if row.turn is not None:
                self._zeros.setdefault(row.turn, row.item.at)

    def of(self, turn: str | None, at: int) -> int | None:
        """When this was; None if there is nothing to take it from."""
        if self.shared:
            return at - self.began_at
        zero = self._zeros.get(turn or SESSION)
        return None if zero is None else at - zero


class Shifts:
    """By how much the second run is late, a turn; says what is news."""

    def __init__(self, tolerance_ms: float) -> None:
        self._tolerance_ms = tolerance_ms
        self._known: dict[str, list[float]] = {}
        self._session: float = 0.0
        self.tolerated = 0  # differences inside the tolerance
        self.most_ms = 0.0

    def news(self, turn: str | None, expected: int | None, got: int | None) -> float | None:
        """The difference in milliseconds, if it is beyond the tolerance and not known yet."""
        if expected is None or got is None or expected == got:
            return None
        apart_ms = (got - expected) / NS_PER_MS
        self.most_ms = max(self.most_ms, abs(apart_ms))
        if abs(apart_ms) <= self._tolerance_ms:
            self.tolerated += 1
            return None
        known = self._known.setdefault(turn or SESSION, [self._session])
        if any(abs(apart_ms - shift) <= self._tolerance_ms for shift in known):
            return None
        if len(known) < SHIFTS_MAX:
            known.append(apart_ms)
        if turn is None:
            self._session = apart_ms
        return apart_ms
