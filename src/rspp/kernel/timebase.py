"""Three clocks, one anchor: every time of a session can be told on each of them, and none ever goes backwards.

The monotonic clock is the kernel's own (its `now`); the wall clock and the media clock are projected from the anchor.
An observation that disagrees by more than `max_skew_ms` moves the anchor, and says so. Keeps INV-13's times.
"""

from __future__ import annotations

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.kernel.snapshot import ClockAnchor


class Observation(msgspec.Struct, frozen=True, gc=False):
    """How far the clocks were apart; `rebased` if the anchor had to move, `refused` if it could not."""

    skew_ms: int
    mapping_error_ms: int
    rebased: bool
    refused: str | None = None


class Timebase:
    """One session's clocks."""

    __slots__ = ("anchor", "max_skew_ms", "rate", "rebases")

    def __init__(self, anchor: ClockAnchor, max_skew_ms: int, rate: int = 16_000) -> None:
        self.anchor = anchor
        self.max_skew_ms = max_skew_ms
        self.rate = rate
        self.rebases = 0

    @property
    def wall_offset(self) -> int:
        return self.anchor.wall - self.anchor.monotonic

    def wall(self, now: int) -> int:
        return now + self.wall_offset

    def sample(self, now: int) -> int:
        """Where the media clock should be, in samples since the stream's start."""
        return self.anchor.sample_index + (now - self.anchor.monotonic) * self.rate // 1_000_000_000

    def observe(self, now: int, wall: int, sample_index: int) -> Observation:
        """Compare an observation with the projection; above the bound, take it as the new anchor."""
        wall_error = abs(wall - self.wall(now)) // NS_PER_MS
        media_error = abs(sample_index - self.sample(now)) * 1000 // self.rate
        skew = max(wall_error, media_error)
        if skew <= self.max_skew_ms:
            return Observation(skew, media_error, rebased=False)
        if now < self.anchor.monotonic or wall < self.anchor.wall or sample_index < self.anchor.sample_index:
            return Observation(skew, media_error, rebased=False, refused="clock_went_backwards")
        self.anchor = ClockAnchor(monotonic=now, wall=wall, sample_index=sample_index)
        self.rebases += 1
        return Observation(skew, media_error, rebased=True)
