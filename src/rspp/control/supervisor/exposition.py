"""Meters as Prometheus reads them: one block a name, each series with the worker that it is of. Pure.

What kind a name is, and what it is measured in, stands in the table of names. As OpenMetrics, a histogram also says of which
session and turn one of its values was.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from rspp.control.supervisor.health import Seen
from rspp.host.meters import Exemplar, HistogramReading, Labels, Reading
from rspp.host.metric_names import METRICS, PREFIX, Kind, Metric, shown_bounds

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
EXEMPLAR_CHARACTERS_MAX: Final = 128
NS_PER_S: Final = 1_000_000_000
# The meters of a worker that say how much waits: inputs of its sessions, and requests for a place in its pools.
INPUTS_WAITING: Final = "inputs_waiting"
DEPTHS: Final = (INPUTS_WAITING, "pool_depth")

_BY_EXPOSED: Final = {row.exposed: row for row in METRICS.values()}
_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Exposition:
    """Samples, gathered by name, whatever the order in which they come."""

    def __init__(self) -> None:
        self._blocks: dict[
            str, tuple[str, list[tuple[str, str]]]
        ] = {}  # bounded: by the readings that are put in

    def put(
        self,
        name: str,
        kind: str,
        value: float,
        labels: Labels = (),
        *,
        suffix: str = "",
        exemplar: str = "",
    ) -> None:
        name, lines = self._block(name, kind)
        lines.append((f"{name}{suffix}{_labels(labels)} {_number(value)}", exemplar))

    def _block(self, name: str, kind: str) -> tuple[str, list[tuple[str, str]]]:
        name = PREFIX + _NAME.sub("_", name)
        return name, self._blocks.setdefault(name, (kind, []))[1]

    def take(self, worker: str, reading: Reading) -> None:
        """All meters of one worker."""
        mine: Labels = (("worker", worker),)
        for counter in reading.counters:
            self.put(_total(counter.name), "counter", counter.value, mine + counter.labels)
        for gauge in reading.gauges:
            self.put(gauge.name, "gauge", gauge.value, mine + gauge.labels)
        for histogram in reading.histograms:
            metric = METRICS.get(histogram.name)
            if metric is not None and metric.kind is Kind.HISTOGRAM:
                self._histogram(mine, metric, histogram)
            else:
                self._summary(mine, histogram)
        self.put("worker_queue_depth", "gauge", depth_of(reading), mine)

    def _summary(self, mine: Labels, histogram: HistogramReading) -> None:
        name, per = histogram.name, 1
        if name.endswith("_ns"):
            name, per = f"{name.removesuffix('_ns')}_seconds", NS_PER_S
        labels, summary = mine + histogram.labels, histogram.summary
        for quantile, value in (("0.5", summary.p50), ("0.95", summary.p95), ("0.99", summary.p99)):
            if value is not None:
                self.put(name, "summary", value / per, (*labels, ("quantile", quantile)))
        self.put(name, "summary", summary.total / per, labels, suffix="_sum")
        self.put(name, "summary", summary.count, labels, suffix="_count")

    def _histogram(self, mine: Labels, metric: Metric, histogram: HistogramReading) -> None:
        per, summary, exemplar = metric.per, histogram.summary, histogram.exemplar
        told = "" if exemplar is None else _exemplar(exemplar, per)
        bounds = shown_bounds(metric)
        if len(bounds) != len(histogram.up_to):
            bounds = ()  # of a worker of another version: how many there were is still true
        # A page has thousands of these lines: the labels are written once for all of a series.
        name, lines = self._block(metric.name, "histogram")
        labels = _labels(mine + histogram.labels)
        head = f'{name}_bucket{labels[:-1]},le="'
        for bound, count in zip(bounds, histogram.up_to, strict=False):
            mine_too = ""
            if told and exemplar is not None and exemplar.value / per <= bound:
                mine_too, told = told, ""
            lines.append((f'{head}{_number(bound)}"}} {count}', mine_too))
        lines.append((f'{head}+Inf"}} {summary.count}', told))
        lines.append((f"{name}_sum{labels} {_number(summary.total / per)}", ""))
        lines.append((f"{name}_count{labels} {summary.count}", ""))

    def seen(self, workers: Iterable[Seen]) -> None:
        """What a worker says of itself with each beat: that it is there, how busy, how late."""
        for one in workers:
            mine: Labels = (("worker", one.name),)
            state = one.state
            self.put("worker_silent_seconds", "gauge", one.silent_ms / 1000, mine)
            self.put("worker_ready", "gauge", int(state is not None and state.ready), mine)
            if state is None:
                continue  # nothing is known of it, and a nought would say that it idles
            self.put("worker_sessions", "gauge", state.sessions, mine)
            self.put("worker_capacity", "gauge", state.capacity, mine)
            self.put("worker_load", "gauge", state.load, mine)
            self.put("worker_loop_lag_seconds", "gauge", state.lag_ms / 1000, mine)
            self.put("worker_cpu_seconds_total", "counter", state.cpu_s, mine)

    def totals(self, prefix: str, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self.put(f"{prefix}_{name}_total", "counter", count)

    def answer(self, accept: str) -> tuple[bytes, str]:
        """The page as its reader takes it, and what it is: with exemplars for who knows of such."""
        wants = OPENMETRICS_TYPE.partition(";")[0]
        return (self.openmetrics, OPENMETRICS_TYPE) if wants in accept.lower() else (self.body, CONTENT_TYPE)

    @property
    def body(self) -> bytes:
        lines: list[str] = []
        for name, (kind, samples) in sorted(self._blocks.items()):
            lines += self._head(name, kind)
            lines += [sample for sample, _ in samples]
        return ("\n".join(lines) + "\n").encode()

    @property
    def openmetrics(self) -> bytes:
        """The same with exemplars, for who asks for it."""
        lines: list[str] = []
        for name, (kind, samples) in sorted(self._blocks.items()):
            lines += self._head(name.removesuffix("_total") if kind == "counter" else name, kind)
            lines += [sample + exemplar for sample, exemplar in samples]
        return ("\n".join([*lines, "# EOF"]) + "\n").encode()

    def _head(self, name: str, kind: str) -> list[str]:
        row = _BY_EXPOSED.get(name) or _BY_EXPOSED.get(f"{name}_total")
        told = [] if row is None else [f"# HELP {name} {row.help}"]
        return [*told, f"# TYPE {name} {kind}"]


def depth_of(reading: Reading) -> float:
    """How much waits to be served."""
    return sum(gauge.value for gauge in reading.gauges if gauge.name in DEPTHS)


def _total(name: str) -> str:
    return name if name.endswith("_total") else f"{name}_total"


def _exemplar(one: Exemplar, per: int) -> str:
    """Of whom a value was. OpenMetrics allows 128 characters; of a name that is longer nothing is said."""
    names = [("session_id", one.session_id), ("turn_id", one.turn_id)]
    told = tuple((name, value) for name, value in names if value)
    if sum(len(name) + len(value) for name, value in told) > EXEMPLAR_CHARACTERS_MAX:
        return ""
    return f" # {_labels(told)} {_number(one.value / per)}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{_NAME.sub("_", name)}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return "{" + inside + "}"


def _number(value: float) -> str:
    return repr(float(value)) if value != int(value) else str(int(value))
