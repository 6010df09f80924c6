"""The table of metrics as the documentation has it; a test sees that the two are the same."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rspp.host.metric_names import METRICS, Kind, Metric

BEGIN: Final = "<!-- metrics: begin -->"
END: Final = "<!-- metrics: end -->"
_UNITS: Final = {"1": "", "s": "seconds"}


def markdown(metrics: Iterable[Metric] = tuple(METRICS.values())) -> str:
    """One row a metric, in the order of the table."""
    rows = ["| name | kind | unit | labels | what it says |", "| --- | --- | --- | --- | --- |"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        unit = _UNITS.get(metric.unit.value, metric.unit.value)
        rows.append(f"| `{metric.exposed}` | {metric.kind.value} | {unit} | {labels} | {metric.help} |")
    return "\n".join([BEGIN, *rows, END, ""])


def endings(metric: Metric) -> tuple[str, ...]:
    """The names under which its samples are scraped."""
    if metric.kind is Kind.HISTOGRAM:
        return tuple(f"{metric.exposed}{ending}" for ending in ("_bucket", "_sum", "_count"))
    if metric.kind is Kind.SUMMARY:
        return tuple(f"{metric.exposed}{ending}" for ending in ("", "_sum", "_count"))
    return (metric.exposed,)
