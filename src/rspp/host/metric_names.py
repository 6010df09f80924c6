"""Every metric there is: its name, what kind it is, what it is measured in, which labels a series has, and what it says.

Code that counts, the pages of metrics, the documentation, the dashboards and the alert rules all use this one table; tests see
that none of them knows a name or a label that it lacks. A label names a pipeline, a node, an edge, a provider, a pool or
another thing of which there are few, never a session or a caller: to find the session behind a value, a histogram has an
exemplar.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

PREFIX: Final = "rspp_"
# What an adapter counts beyond the table is named so, and has no label but its provider: no dashboard asks for it.
VENDOR: Final = "vendor_"
VENDOR_LABELS: Final = ("provider",)
# Who is asked where nobody is: the provider of a node that calls none.
NONE: Final = "none"


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"  # counts up to bounds, which can be added over processes
    SUMMARY = "summary"  # quantiles since the process began


class Unit(StrEnum):
    """What is shown; times are kept in nanoseconds."""

    ONE = "1"
    MS = "ms"
    SECONDS = "s"
    BYTES = "bytes"


class Metric(msgspec.Struct, frozen=True):
    name: str
    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    help: str

    @property
    def exposed(self) -> str:
        """The name under which it is scraped, without a histogram's endings."""
        name = self.name
        if name.endswith("_ns"):
            name = f"{name.removesuffix('_ns')}_seconds"
        if self.kind is Kind.COUNTER and not name.endswith("_total"):
            name += "_total"
        return PREFIX + name

    @property
    def per(self) -> int:
        """How many of what is kept are one of what is shown."""
        return {Unit.MS: 1_000_000, Unit.SECONDS: 1_000_000_000}.get(self.unit, 1)


# The bounds of histograms, in their unit: two or three steps a doubling where conversations are decided.
BOUNDS_MS: Final = (
    *(0.1, 0.25, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750),
    *(1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000),
)
BOUNDS_BYTES: Final = tuple(float(16 << (2 * step)) for step in range(11))  # 16 bytes to 16 MiB
_BOUNDS: Final[Mapping[Unit, tuple[float, ...]]] = {Unit.MS: BOUNDS_MS, Unit.BYTES: BOUNDS_BYTES}

_C, _G, _H, _S = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM, Kind.SUMMARY
_1, _MS, _SEC, _B = Unit.ONE, Unit.MS, Unit.SECONDS, Unit.BYTES
PIPELINE: Final = ("pipeline", "pipeline_version")
NODE: Final = (*PIPELINE, "node", "provider")
EDGE: Final = (*PIPELINE, "edge", "provider")
PROVIDER: Final = (*PIPELINE, "modality", "provider")

_ROWS: Final = (
    # ---- sessions and turns
    Metric("sessions_open", _G, _1, PIPELINE, "sessions that run now"),
    Metric("turns_total", _C, _1, (*PIPELINE, "outcome"), "turns that ended, as commit or abort"),
    Metric("interruptions_total", _C, _1, PIPELINE, "times that a caller took the floor"),
    Metric("turn_first_output_ms", _H, _MS, PIPELINE, "from a turn's opening to its first output"),
    Metric("intents_total", _C, _1, (*PIPELINE, "outcome"), "what was decided of wishes for a turn, and of work at a scheduling point: admit, defer, reject, shed"),
    Metric("shed_rate", _G, _1, (), "the share of those that were rejected or shed, over the last minute"),
    # ---- nodes, edges, lanes
    Metric("node_latency_ms", _H, _MS, NODE, "a step of a sync node; of a call node from the newest input to the next output"),
    Metric("edge_latency_ms", _H, _MS, EDGE, "how long an event was on its way to the edge's target"),
    Metric("edge_queue_depth", _G, _1, EDGE, "events that wait on the edge now, over all sessions"),
    Metric("edge_drops_total", _C, _1, EDGE, "events that an edge lost on purpose"),
    Metric("edge_merges_total", _C, _1, EDGE, "events that were merged into another one"),
    Metric("drops_total", _C, _1, ("lane",), "inputs and outputs for which a lane had no room"),
    Metric("lane_queue_depth", _G, _1, ("lane",), "inputs that wait to be served now, by lane"),
    Metric("control_preempt_delay_ms", _H, _MS, (), "how long the first control input of a session waited to be served"),
    Metric("cancel_latency_ms", _H, _MS, NODE, "from telling a call to stop until it has, by itself or by force"),
    Metric("resolved_turn_plan_build_ms", _H, _MS, PIPELINE, "the kernel's step in which a turn's plan was made: an upper bound"),
    # ---- providers
    Metric("provider_rtt_ms", _H, _MS, PROVIDER, "from asking a provider, or what it was last given, to its next answer"),
    Metric("provider_request_bytes", _H, _B, PROVIDER, "what a call was given: text in UTF-8, sound as samples"),
    Metric("provider_response_bytes", _H, _B, PROVIDER, "what a call gave"),
    Metric("provider_retries_total", _C, _1, PROVIDER, "attempts after a call's first, by who was asked"),
    Metric("provider_errors_total", _C, _1, (*PROVIDER, "code"), "attempts that failed, by stable code"),
    Metric("provider_tokens_total", _C, _1, PROVIDER, "tokens that calls were counted"),
    Metric("provider_invocations_total", _C, _1, ("modality", "provider", "outcome"), "calls that ended, by the kernel's judgement"),
    Metric("inference_queue_ns", _S, _SEC, ("model",), "how long a request waited for its batch"),
    Metric("inference_compute_ns", _S, _SEC, ("model",), "how long a batch took"),
    Metric("inference_batch_size", _S, _1, ("model",), "requests of a batch"),
    Metric("inference_requests_total", _C, _1, ("model",), "requests to a shared model"),
    Metric("inference_refused_total", _C, _1, ("model",), "requests for which there was no room"),
    Metric("inference_expired_total", _C, _1, ("model",), "requests that came too late to be worth it"),
    Metric("inference_failed_total", _C, _1, ("model",), "requests whose batch failed"),
    Metric("inference_queue_depth", _G, _1, ("model",), "requests that wait"),
    # ---- the process
    Metric("kernel_step_ns", _S, _SEC, (), "a step of the kernel without its nodes' own work, one in 17"),
    Metric("loop_breath_ns", _S, _SEC, (), "how long the loop took to answer its watchdog"),
    Metric("gc_pause_ns", _S, _SEC, ("generation",), "how long a collection of garbage stood in the way"),
    Metric("gc_collected_total", _C, _1, (), "objects that were collected"),
    Metric("gc_uncollectable_total", _C, _1, (), "objects that could not be"),
    Metric("gc_forced_total", _C, _1, (), "collections that could not wait for a quiet moment"),
    Metric("pool_submitted_total", _C, _1, ("pool",), "pieces of work given to a pool"),
    Metric("pool_completed_total", _C, _1, ("pool",), "pieces of work done"),
    Metric("pool_dropped_total", _C, _1, ("pool",), "pieces of work whose deadline passed"),
    Metric("pool_rejected_total", _C, _1, ("pool",), "pieces of work for which there was no place"),
    Metric("pool_rejected_by_concurrency_total", _C, _1, ("pool",), "the same, because one key had its share"),
    Metric("pool_queue_ns", _S, _SEC, ("pool",), "how long work waited for a thread"),
    Metric("pool_run_ns", _S, _SEC, ("pool",), "how long it ran"),
    Metric("pool_depth", _G, _1, ("pool",), "work that waits"),
    Metric("pool_in_flight", _G, _1, ("pool",), "work that runs"),
    Metric("inputs_waiting", _G, _1, (), "inputs that wait to be served, of all sessions"),
    # ---- recording and export
    Metric("durable_export_retries_total", _C, _1, (), "tries after a first one to store a part of a recording"),
    Metric("durable_export_failures_total", _C, _1, (), "tries that failed"),
    Metric("durable_export_queue_depth", _G, _1, (), "sealed parts that wait for the store"),
    Metric("durable_export_lag_ms", _G, _1, (), "how long the oldest of them has waited, in milliseconds"),
    # ---- telemetry itself
    Metric("telemetry_spans_total", _C, _1, ("outcome",), "spans, as exported, failed or dropped"),
    Metric("telemetry_log_lines_total", _C, _1, ("outcome",), "lines of logs, as written or dropped"),
    # ---- the control plane
    Metric("availability", _G, _1, ("deployment",), "the share of good minutes in the window of the objective"),
    Metric("incidents_total", _C, _1, ("deployment",), "objectives that were burned through"),
    Metric("region_changes_total", _C, _1, ("region", "mode"), "times that a region was switched"),
    Metric("failover_triggers_total", _C, _1, ("region", "factor"), "times that a region's trouble called for it"),
    Metric("region_trouble", _G, _1, ("region",), "whether the region is in trouble"),
    Metric("usage_report_age_ms", _G, _1, (), "how old the last report of usage is, in milliseconds"),
    Metric("usage_reports_failed_total", _C, _1, (), "reports of usage that could not be written"),
    Metric("usage_reports_malformed_total", _C, _1, (), "reports of usage that could not be read"),
    Metric("admission_total", _C, _1, ("outcome",), "callers, by what admission decided"),
    Metric("slots_corrected_total", _C, _1, (), "places that were counted wrong and set right"),
    Metric("quota_actions_total", _C, _1, ("tenant", "quota", "action", "moment"), "what quotas did"),
    Metric("capacity_used", _G, _1, ("resource",), "the share of a resource that is used"),
    Metric("capacity_refusals_total", _C, _1, ("resource", "action"), "callers for whom a resource was too scarce"),
    Metric("capacity_changes_total", _C, _1, ("resource", "level"), "times that a resource's level changed"),
)  # fmt: skip

METRICS: Final[Mapping[str, Metric]] = {row.name: row for row in _ROWS}

# What a supervisor says of its processes, which has no meter of its own: exposed name without prefix -> labels.
OF_SUPERVISORS: Final[Mapping[str, tuple[str, ...]]] = {
    "ready": (),
    "sessions": (),
    "capacity": (),
    "load": (),
    "loop_lag_seconds": (),
    "queue_depth": (),
    "worker_ready": ("worker",),
    "worker_sessions": ("worker",),
    "worker_capacity": ("worker",),
    "worker_load": ("worker",),
    "worker_silent_seconds": ("worker",),
    "worker_loop_lag_seconds": ("worker",),
    "worker_cpu_seconds_total": ("worker",),
    "worker_queue_depth": ("worker",),
}


def labels_of(name: str) -> tuple[str, ...] | None:
    """The labels that a series of this name has; None for a name that nobody declared."""
    metric = METRICS.get(name)
    if metric is not None:
        return metric.labels
    return VENDOR_LABELS if name.startswith(VENDOR) else None


def is_declared(name: str, labels: Iterable[str]) -> bool:
    declared = labels_of(name)
    return declared is not None and set(declared) == set(labels)


def bounds_of(name: str) -> tuple[int, ...]:
    """The bounds at which this histogram is shown, as its values are kept; none for what is no histogram."""
    metric = METRICS.get(name)
    if metric is None or metric.kind is not Kind.HISTOGRAM:
        return ()
    return _KEPT[metric.unit]


_KEPT: Final[Mapping[Unit, tuple[int, ...]]] = {
    Unit.MS: tuple(round(bound * 1_000_000) for bound in BOUNDS_MS),
    Unit.BYTES: tuple(round(bound) for bound in BOUNDS_BYTES),
}


def shown_bounds(metric: Metric) -> tuple[float, ...]:
    return _BOUNDS[metric.unit]
