"""Meters as Prometheus reads them: one block a name, times in seconds, each series with the worker that it is of. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from rspp.control.supervisor.health import Seen
from rspp.host.meters import HistogramReading, Labels, Reading

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PREFIX: Final = "rspp_"
NS_PER_S: Final = 1_000_000_000
# The meters of a worker that say how much waits: inputs of its sessions, and requests for a place in its pools.
INPUTS_WAITING: Final = "inputs_waiting"
DEPTHS: Final = (INPUTS_WAITING, "pool_depth")

_NAME: Final = re.compile(r"[^a-zA-Z0-9_]")
_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Exposition:
    """Samples, gathered by name, whatever the order in which they come."""

    def __init__(self) -> None:
        self._blocks: dict[str, tuple[str, list[str]]] = {}  # bounded: by the readings that are put in

    def put(self, name: str, kind: str, value: float, labels: Labels = (), *, suffix: str = "") -> None:
        name = PREFIX + _NAME.sub("_", name)
        _, lines = self._blocks.setdefault(name, (kind, []))
        lines.append(f"{name}{suffix}{_labels(labels)} {_number(value)}")

    def take(self, worker: str, reading: Reading) -> None:
        """All meters of one worker."""
        mine: Labels = (("worker", worker),)
        for counter in reading.counters:
            self.put(_total(counter.name), "counter", counter.value, mine + counter.labels)
        for gauge in reading.gauges:
            self.put(gauge.name, "gauge", gauge.value, mine + gauge.labels)
        for histogram in reading.histograms:
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

    @property
    def body(self) -> bytes:
        lines: list[str] = []
        for name, (kind, samples) in sorted(self._blocks.items()):
            lines.append(f"# TYPE {name} {kind}")
            lines += samples
        return ("\n".join(lines) + "\n").encode()


def depth_of(reading: Reading) -> float:
    """How much waits to be served."""
    return sum(gauge.value for gauge in reading.gauges if gauge.name in DEPTHS)


def _total(name: str) -> str:
    return name if name.endswith("_total") else f"{name}_total"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{_NAME.sub("_", name)}="{value.translate(_ESCAPES)}"' for name, value in labels)
    return "{" + inside + "}"


def _number(value: float) -> str:
    return repr(float(value)) if value != int(value) else str(int(value))
