"""Under pressure the recording level falls one step at a time, by fixed thresholds, and rises only between turns.

L2 to L1, then L1 to L0, never both at once: each fall needs its own fill held for its own time, or its own lag. The
same pressures at the same times give the same path. Keeps INV-15; knows no recorder.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.words import RecordingLevel
from rspp.spec.graph import Recording as Thresholds

BELOW: Final = {RecordingLevel.L2: RecordingLevel.L1, RecordingLevel.L1: RecordingLevel.L0}
ABOVE: Final = {RecordingLevel.L0: RecordingLevel.L1, RecordingLevel.L1: RecordingLevel.L2}


class Change(msgspec.Struct, frozen=True, gc=False):
    """One step of the level, and what caused it."""

    old: RecordingLevel
    new: RecordingLevel
    trigger: str


class RecordingLevels:
    """One session's recording level."""

    __slots__ = ("_ceiling", "_high_since", "_stable_since", "_thresholds", "level")

    def __init__(self, level: RecordingLevel, thresholds: Thresholds) -> None:
        self.level = level
        self._ceiling = level
        self._thresholds = thresholds
        self._high_since: int | None = None
        self._stable_since: int | None = None

    def pressed(self, now: int, fill: float, lag_ms: int) -> Change | None:
        """The recorder's queue fill and export lag; returns the step that they force."""
        t = self._thresholds
        if fill < t.recovery_fill and lag_ms < t.recovery_lag_ms:
            self._stable_since = now if self._stable_since is None else self._stable_since
        else:
            self._stable_since = None
        if self.level is RecordingLevel.L0:
            return None
        fill_mark, lag_mark = (
            (t.l1_fill, t.l1_lag_ms) if self.level is RecordingLevel.L2 else (t.l0_fill, t.l0_lag_ms)
        )
        if fill < fill_mark:
            self._high_since = None
        elif self._high_since is None:
            self._high_since = now
        held = self._high_since is not None and now - self._high_since >= t.fill_hold_ms * NS_PER_MS
        if not held and lag_ms < lag_mark:
            return None
        return self._step(BELOW[self.level], "queue_fill" if held else "export_lag")

    def turn_boundary(self, now: int) -> Change | None:
        """Between turns, after a whole stable window, and if policy permits: one step up again."""
        t = self._thresholds
        stable = (
            self._stable_since is not None and now - self._stable_since >= t.stability_window_ms * NS_PER_MS
        )
        if not (stable and t.upgrades_permitted) or self.level is self._ceiling:
            return None
        self._stable_since = now
        return self._step(ABOVE[self.level], "recovered")

    def _step(self, new: RecordingLevel, trigger: str) -> Change:
        change = Change(self.level, new, trigger)
        self.level = new
        # The next step has to be earned by its own hold.
        self._high_since = None
        return change
