"""What is counted and measured is exact in number, within 1/32 in size, and bounded in memory.

    meters = Meters()
    steps = meters.histogram("node_step_ns", node="segmenter")   # once, where the thing is made
    steps.record(41_000)                                         # each time, on the thread that owns it
    meters.read()                                                # a snapshot: a plain struct

A meter has one writer, the loop's thread; worker threads hand their times over with their results. There is no registry
of a process: whoever wants figures hands its `Meters` to what it makes. A counter counts what happened, a histogram
measures spans in nanoseconds (or sizes), a gauge is asked when somebody looks. Labels name nodes, providers and pools,
never sessions or callers, so the number of series is small; past `SERIES_MAX` a new one shares its name's `overflow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

SERIES_MAX: Final = 4096
OVERFLOW: Final = (("overflow", "true"),)

# Below 32 every value has its own bucket; above, each doubling is cut into 32. 2**42 ns is 73 minutes.
_CUT: Final = 5
_LINEAR: Final = 1 << _CUT
_BITS_MAX: Final = 42
_LARGEST: Final = (1 << _BITS_MAX) - 1
_BUCKETS: Final = (_BITS_MAX - _CUT + 1) << _CUT

Labels = tuple[tuple[str, str], ...]


def bucket_of(value: int) -> int:
    """The bucket of a value, from 0 up; each is at most 1/32 as wide as what it holds."""
    if value < _LINEAR:
        return max(value, 0)
    shift = min(value, _LARGEST).bit_length() - _CUT - 1
    return (shift << _CUT) + (min(value, _LARGEST) >> shift)


def top_of(bucket: int) -> int:
    """The largest value of a bucket."""
    if bucket < _LINEAR:
        return bucket
    shift = (bucket >> _CUT) - 1
    return ((bucket - (shift << _CUT) + 1) << shift) - 1


class Summary(msgspec.Struct, frozen=True, gc=False):
    """A histogram in seven numbers. Without a sample there are no quantiles: nothing is not fast."""

    count: int
    total: int
    p50: int | None
    p95: int | None
    p99: int | None
    largest: int | None


class Counter:
    """Counts up; `value` may be raised in place where a call would cost too much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


class Histogram:
    """A log-linear histogram: quantiles err upwards, by less than 1/32; the largest value is exact."""

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        self.count = 0
        self.total = 0
        self.largest = 0

    def record(self, value: int) -> None:
        """Take one value; one below 0 is a clock's fault and counts as 0."""
        # `bucket_of`, written out: this runs for each step of each node.
        if value < _LINEAR:
            value = max(value, 0)
            self._buckets[value] += 1
        elif value <= _LARGEST:
            shift = value.bit_length() - 6
            self._buckets[(shift << 5) + (value >> shift)] += 1
        else:
            self._buckets[-1] += 1
        self.count += 1
        self.total += value
        if value > self.largest:  # noqa: PLR1730 - max() costs a third more of the whole
            self.largest = value

    def merge(self, other: Histogram) -> None:
        """Add what another one has seen; the result is as if all had been recorded here."""
        mine = self._buckets
        for bucket, count in enumerate(other._buckets):
            if count:
                mine[bucket] += count
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> int | None:
        """The value that `share` of all are at or below: nearest rank, never less than the true one."""
        return self.quantiles((share,))[0]

    def quantiles(self, shares: Iterable[float]) -> list[int | None]:
        """Several at once, in ascending order of share, for one walk over the buckets."""
        found: list[int | None] = []
        seen, bucket = 0, -1
        for share in shares:
            if not self.count:
                found.append(None)
                continue
            rank = max(1, min(self.count, _ceil(share * self.count)))
            while seen < rank:
                bucket += 1
                seen += self._buckets[bucket]
            # The last bucket has no top of its own.
            top = self.largest if bucket == _BUCKETS - 1 else top_of(bucket)
            found.append(min(top, self.largest))
        return found

    def summary(self) -> Summary:
        p50, p95, p99 = self.quantiles((0.50, 0.95, 0.99))
        return Summary(self.count, self.total, p50, p95, p99, self.largest if self.count else None)


class CounterReading(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    value: int


class GaugeReading(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    value: float


class HistogramReading(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    summary: Summary


class Reading(msgspec.Struct, frozen=True):
    """Everything at one moment, in the order of name and labels. `overflowed` series found no place of their own."""

    counters: tuple[CounterReading, ...]
    gauges: tuple[GaugeReading, ...]
    histograms: tuple[HistogramReading, ...]
    overflowed: int


Made = TypeVar("Made")


class Meters:
    """All meters of one host. Asking twice for the same name and labels gives the same meter."""

    def __init__(self, series_max: int = SERIES_MAX) -> None:
        self._series_max = series_max
        self._counters: dict[tuple[str, Labels], Counter] = {}
        self._histograms: dict[tuple[str, Labels], Histogram] = {}
        self._gauges: dict[tuple[str, Labels], Callable[[], float]] = {}
        self.overflowed = 0

    def counter(self, name: str, **labels: str) -> Counter:
        return self._get(self._counters, Counter, name, labels)

    def histogram(self, name: str, **labels: str) -> Histogram:
        return self._get(self._histograms, Histogram, name, labels)

    def gauge(self, name: str, look: Callable[[], float], **labels: str) -> None:
        """Ask `look` whenever somebody reads; the last one given for a name and labels counts."""
        key = (name, tuple(sorted(labels.items())))
        if key in self._gauges or self.series < self._series_max:
            self._gauges[key] = look
        else:
            self.overflowed += 1

    def forget(self, **labels: str) -> None:
        """Drop every series that has all these labels: what they measured is gone."""
        gone = set(labels.items())
        for series in (self._counters, self._histograms, self._gauges):
            for key in [key for key in series if gone <= set(key[1])]:
                del series[key]

    def read(self) -> Reading:
        return Reading(
            tuple(
                CounterReading(name, labels, one.value)
                for (name, labels), one in sorted(self._counters.items(), key=_key)
            ),
            tuple(
                GaugeReading(name, labels, float(look()))
                for (name, labels), look in sorted(self._gauges.items(), key=_key)
            ),
            tuple(
                HistogramReading(name, labels, one.summary())
                for (name, labels), one in sorted(self._histograms.items(), key=_key)
            ),
            self.overflowed,
        )

    @property
    def series(self) -> int:
        """How many there are, of all kinds."""
        return len(self._counters) + len(self._histograms) + len(self._gauges)

    def _get(
        self, series: dict[tuple[str, Labels], Made], make: type[Made], name: str, labels: dict[str, str]
    ) -> Made:
        key = (name, tuple(sorted(labels.items())))
        found = series.get(key)
        if found is None:
            if self.series >= self._series_max:
                # One for each name that overflows: the names are the program's, so they are few.
                self.overflowed += 1
                key = (name, OVERFLOW)
                found = series.get(key)
            if found is None:
                found = series[key] = make()
        return found


def _ceil(number: float) -> int:
    """Rounded up; what only rounding of floats put above a whole number stays there."""
    whole = round(number)
    return whole if abs(number - whole) < 1e-9 else int(number) + 1


def _key(entry: tuple[tuple[str, Labels], object]) -> tuple[str, Labels]:
    return entry[0]
