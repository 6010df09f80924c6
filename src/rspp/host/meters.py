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

import logging
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from math import isfinite
from typing import Final, TypeVar

import msgspec

from rspp.host.metric_names import bounds_of, is_declared

log = logging.getLogger("rspp.host")

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


class Exemplar(msgspec.Struct, frozen=True, gc=False):
    """Of whom one of the values was: labels name no session, and this joins a histogram to the session's own record."""

    value: int
    session_id: str
    turn_id: str


class Counter:
    """Counts up; `value` may be raised in place where a call would cost too much."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, amount: int = 1) -> None:
        self.value += amount


_NOTHING: Final = Summary(0, 0, None, None, None, None)


class Histogram:
    """A log-linear histogram: quantiles err upwards, by less than 1/32; the largest value is exact."""

    __slots__ = ("_buckets", "_seen", "count", "exemplar", "largest", "total")

    def __init__(self) -> None:
        self._buckets = [0] * _BUCKETS
        # What was read last, and of how many values: most series are as they were when somebody looks again.
        self._seen: tuple[int, Summary, tuple[int, ...]] | None = None
        self.count = 0
        self.total = 0
        self.largest = 0
        self.exemplar: Exemplar | None = None  # the last that was told with its session

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

    def record_for(self, value: int, session_id: str, turn_id: str | None) -> None:
        """The same, and whose it was."""
        self.record(value)
        self.exemplar = Exemplar(max(value, 0), session_id, turn_id or "")

    def noughts(self, count: int) -> None:
        """Take so many values of 0 at once: what was counted and found not worth a clock."""
        self._buckets[0] += count
        self.count += count

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
        """Several at once, for one walk over the buckets."""
        seen = list(accumulate(self._buckets))
        return [self._at(seen, share) for share in shares]

    def _at(self, seen: Sequence[int], share: float) -> int | None:
        if not self.count:
            return None
        bucket = bisect_left(seen, max(1, min(self.count, _ceil(share * self.count))))
        # The last bucket has no top of its own.
        top = self.largest if bucket == _BUCKETS - 1 else top_of(bucket)
        return min(top, self.largest)

    def up_to(self, bounds: Sequence[int]) -> tuple[int, ...]:
        """How many values are at or below each bound; one that shares the bound's own bucket may count above it."""
        return _up_to(list(accumulate(self._buckets)), bounds)

    def summary(self) -> Summary:
        return self.read(())[0]

    def read(self, bounds: Sequence[int]) -> tuple[Summary, tuple[int, ...]]:
        """In a few numbers, and how many values are up to each bound, which are always the same ones; one walk, or none."""
        known = self._seen
        if known is not None and known[0] == self.count and len(known[2]) == len(bounds):
            return known[1], known[2]
        if not self.count:
            return _NOTHING, (0,) * len(bounds)
        seen = list(accumulate(self._buckets))
        p50, p95, p99 = (self._at(seen, share) for share in (0.50, 0.95, 0.99))
        summary = Summary(self.count, self.total, p50, p95, p99, self.largest)
        up_to = _up_to(seen, bounds)
        self._seen = self.count, summary, up_to
        return summary, up_to


class CounterReading(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    value: int


class GaugeReading(msgspec.Struct, frozen=True):
    name: str
    labels: Labels
    value: float


class HistogramReading(msgspec.Struct, frozen=True):
    """`up_to` are the counts at the bounds that the table of names has for it, if it has any."""

    name: str
    labels: Labels
    summary: Summary
    up_to: tuple[int, ...] = ()
    exemplar: Exemplar | None = None


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
        self._before: list[Callable[[], None]] = []  # bounded: by the parts of a host
        self._parts: list[Meters] = []  # bounded: by the providers of a host
        self.overflowed = 0

    def include(self, other: Meters) -> None:
        """Show what somebody else counts as well, as far as it is declared: an odd series must not spoil a page."""
        if other is not self and other not in self._parts:
            self._parts.append(other)

    def before(self, gather: Callable[[], None]) -> None:
        """Have this done whenever somebody reads: for what is counted elsewhere and only then fetched."""
        self._before.append(gather)

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
        for gather in self._before:
            gather()
        series = [self, *self._parts]
        return Reading(
            tuple(CounterReading(*key, one.value) for key, one in _told([m._counters for m in series])),
            tuple(_looked(_told([m._gauges for m in series]))),
            tuple(_read(*key, one) for key, one in _told([m._histograms for m in series])),
            sum(one.overflowed for one in series),
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


def _told(series: Sequence[Mapping[tuple[str, Labels], Made]]) -> list[tuple[tuple[str, Labels], Made]]:
    """The host's own, and of others what is declared and not there already; in the order of name and labels."""
    found = dict(series[0])
    for others in series[1:]:
        for (name, labels), one in list(others.items()):  # an adapter may count on a thread of its own
            if is_declared(name, (label for label, _ in labels)):
                found.setdefault((name, labels), one)
    return sorted(found.items(), key=_key)


def _read(name: str, labels: Labels, one: Histogram) -> HistogramReading:
    summary, up_to = one.read(bounds_of(name))
    return HistogramReading(name, labels, summary, up_to, one.exemplar)


def _up_to(seen: Sequence[int], bounds: Sequence[int]) -> tuple[int, ...]:
    return tuple(seen[bucket - 1] for bucket in _buckets_above(tuple(bounds)))


@lru_cache(maxsize=16)
def _buckets_above(bounds: tuple[int, ...]) -> tuple[int, ...]:
    """The bucket after each bound. There are two sets of bounds, and as few as there are units."""
    return tuple(bucket_of(bound + 1) for bound in bounds)


def _looked(gauges: Iterable[tuple[tuple[str, Labels], Callable[[], float]]]) -> Iterator[GaugeReading]:
    """What each gauge says; one that cannot say it, or says what is no number, is left out and spoils no page."""
    for (name, labels), look in gauges:
        try:
            value = float(look())
        except Exception as error:  # noqa: BLE001 - supervised: whatever an adapter asks, the others are read
            log.debug("the gauge %s raised %s", name, type(error).__name__)
            continue
        if isfinite(value):
            yield GaugeReading(name, labels, value)


def _ceil(number: float) -> int:
    """Rounded up; what only rounding of floats put above a whole number stays there."""
    whole = round(number)
    return whole if abs(number - whole) < 1e-9 else int(number) + 1


def _key(entry: tuple[tuple[str, Labels], object]) -> tuple[str, Labels]:
    return entry[0]
