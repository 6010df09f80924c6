"""Whatever counts, counts under a name of the table and with that name's labels, so that one query finds all of its kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from rspp.host.meters import OVERFLOW, CounterReading, GaugeReading, HistogramReading, Reading
from rspp.host.metric_names import METRICS, Kind, labels_of

Series = CounterReading | GaugeReading | HistogramReading
KINDS: Final = {
    CounterReading: (Kind.COUNTER,),
    GaugeReading: (Kind.GAUGE,),
    HistogramReading: (Kind.HISTOGRAM, Kind.SUMMARY),
}


def undeclared(reading: Reading) -> list[str]:
    """What of a reading stands in no table, one sentence each."""
    return list(_faults((*reading.counters, *reading.gauges, *reading.histograms)))


def _faults(series: Iterable[Series]) -> Iterator[str]:
    for one in series:
        metric, declared = METRICS.get(one.name), labels_of(one.name)
        if declared is None:
            yield f"{one.name} is no metric of the table"
            continue
        if metric is not None and metric.kind not in KINDS[type(one)]:
            yield f"{one.name} is a {metric.kind.value} in the table, and is none here"
        if one.labels == OVERFLOW:
            continue
        names = {name for name, _ in one.labels}
        yield from (
            f"{one.name} has the label {name}, which is not declared"
            for name in sorted(names - set(declared))
        )
        yield from (f"{one.name} lacks the label {name}" for name in sorted(set(declared) - names))
        yield from (f"{one.name} says nothing of its {name}" for name, value in one.labels if not value)


def missing_series(reading: Reading, name: str, label: str, wanted: Iterable[str]) -> list[str]:
    """Which of the things that must have a series of this name have none."""
    series: list[Series] = [*reading.counters, *reading.gauges, *reading.histograms]
    has = {dict(one.labels).get(label) for one in series if one.name == name}
    return [one for one in wanted if one not in has]
