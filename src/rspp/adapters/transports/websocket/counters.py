"""What the transport has seen, for whoever watches it."""

from __future__ import annotations

from typing import Final

import msgspec

STEPS: Final = 16


class Histogram(msgspec.Struct):
    """Times in steps that double: step n counts what took less than 2**n microseconds; the last one takes the rest."""

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * STEPS)
    total: int = 0

    def add(self, elapsed_ns: int) -> None:
        self.counts[min(STEPS - 1, (elapsed_ns // 1000).bit_length())] += 1
        self.total += 1

    def below_us(self, part: float) -> int:
        """The step that this part of all times is below, in microseconds."""
        left = part * self.total
        for step, count in enumerate(self.counts):
            left -= count
            if left <= 0:
                return 1 << step
        return 1 << STEPS


class Compression(msgspec.Struct):
    """What compression saved, and what it cost."""

    messages: int = 0
    plain_bytes: int = 0
    wire_bytes: int = 0
    cpu_ns: int = 0


class Counters(msgspec.Struct, kw_only=True):
    """Counts since the start, but `connections`, which counts those there are."""

    connections: int = 0
    opened: int = 0
    resumed: int = 0
    moved: int = 0  # sessions that came here from another process
    unclaimed: int = 0  # seats whose callers had gone when they came
    frames_in: int = 0
    frames_out: int = 0
    faults: int = 0
    reordered: int = 0
    replayed: int = 0
    held: int = 0
    held_dropped: int = 0
    out_dropped: int = 0
    concealed: int = 0
    closes: dict[str, int] = {}
    entering: Histogram = msgspec.field(default_factory=Histogram)  # what the door took for a seat
    transcode: Histogram = msgspec.field(default_factory=Histogram)
    compression: Compression | None = None  # only where it is on

    def closed(self, word: str) -> None:
        self.closes[word] = self.closes.get(word, 0) + 1
