"""An edge's queue is what its spec says, and for the rest what the profile says for edges of its class.

Each bound remembers which of the two it came from. A setting that would contradict another one is refused here, so
that the kernel finds one answer for each lane.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.plan import BufferPolicy, LaneHandling, SyncDropPolicy, Watermark, Watermarks
from rspp.contract.words import LANE_OF, BufferStrategy, EventKind, Lane, SyncPolicy
from rspp.spec.edge_profile import EDGE_DEFAULTS, EdgeDefault
from rspp.spec.graph import Lifetime, Role
from rspp.spec.model import BufferSpec, WatermarkSpec
from rspp.spec.normalise import EXPLICIT
from rspp.spec.problem import Findings, Path
from rspp.spec.profile import SOURCE
from rspp.spec.wiring import Link, Resolved

BOUNDS: Final = ("max_queue_items", "max_queue_ms", "max_queue_bytes", "max_latency_contribution_ms")
COALESCING: Final = (BufferStrategy.MERGE, BufferStrategy.LATEST_ONLY)
# The key under which an edge's short provenance stands beside the long ones (contract §15, row 5).
SHORT: Final = "edge"


def lane_of(link: Link, findings: Findings) -> Lane:
    """The lane of an edge's kinds; where they mix, the one that is declared, else data."""
    lanes = sorted({LANE_OF[kind] for kind in link.kinds}, key=list(Lane).index)
    declared = link.wire.spec.lane
    if declared is None:
        return lanes[0] if len(lanes) == 1 else Lane.DATA
    if lanes and declared not in lanes:
        carried = ", ".join(link.kinds)
        message = f"the edge {link.id} carries {carried}, which travels on {' and '.join(lanes)}"
        findings.error("lane_mismatch", (*link.wire.path, "lane"), message, f"Remove it, or write {lanes[0]}")
    return declared


def class_of(link: Link, lane: Lane, source: Resolved, target: Resolved) -> EdgeDefault:
    """Which row of the profile an edge falls under; the first that fits, as the table is ordered."""
    audio = EventKind.AUDIO in link.kinds
    if lane is not Lane.DATA:
        return EDGE_DEFAULTS["control" if lane is Lane.CONTROL else "telemetry"]
    if audio and source.role is Role.SOURCE:
        return EDGE_DEFAULTS["microphone"]
    if link.source_port == "partial":
        return EDGE_DEFAULTS["interim"]
    if audio and target.role is Role.SINK:
        return EDGE_DEFAULTS["egress"]
    if target.role is Role.CALL and target.lifetime is Lifetime.EVENT:
        return EDGE_DEFAULTS["call_input"]
    return EDGE_DEFAULTS["data"]


def buffer_of(link: Link, default: EdgeDefault, lane: Lane, findings: Findings) -> BufferPolicy:
    """The resolved policy of one edge, with the source of each of its values."""
    spec = link.wire.spec.buffer or BufferSpec()
    path = (*link.wire.path, "buffer")
    strategy = spec.strategy or default.strategy
    bounds = {name: getattr(spec, name) or getattr(default, name) for name in BOUNDS}
    marks = _marks(spec, default, bounds["max_queue_items"], bounds["max_queue_ms"])
    _check_strategy(spec, strategy, lane, path, findings)
    _check_marks(marks, bounds["max_queue_items"], bounds["max_queue_ms"], path, findings)
    dropping = strategy is BufferStrategy.DROP
    blocking = strategy is BufferStrategy.BLOCK
    return BufferPolicy(
        strategy=strategy,
        drop_side=(spec.drop_side or (default.drop_side if spec.strategy is None else None))
        if dropping
        else None,
        max_block_time_ms=(spec.max_block_time_ms or default.max_block_time_ms) if blocking else None,
        watermarks=marks,
        coalesce_ms=spec.coalesce_ms,
        lane_handling=_lanes(spec, strategy, path, findings),
        sync_drop=_sync(spec, path, findings),
        fairness_key=spec.fairness_key,
        defaulting_source=_sources(spec),
        **bounds,
    )


def _marks(spec: BufferSpec, default: EdgeDefault, items: int, ms: int) -> Watermarks:
    """Given marks; else the profile's, in proportion when the depth they belong to was changed."""
    if spec.watermarks is not None and (spec.watermarks.queue_items or spec.watermarks.queue_ms):
        return Watermarks(
            queue_items=_mark(spec.watermarks.queue_items), queue_ms=_mark(spec.watermarks.queue_ms)
        )
    high = default.high * items // default.max_queue_items
    low = default.low * items // default.max_queue_items
    if high >= 1:
        return Watermarks(queue_items=Watermark(high=high, low=min(low, high - 1)))
    # A queue of one has no room for a mark below its limit, so its waiting time is watched instead.
    return Watermarks(queue_ms=Watermark(high=max(1, ms * 3 // 4), low=ms * 3 // 8 if ms > 2 else 0))


def _mark(spec: WatermarkSpec | None) -> Watermark | None:
    return None if spec is None else Watermark(high=spec.high, low=spec.low)


def _check_marks(marks: Watermarks, items: int, ms: int, path: Path, findings: Findings) -> None:
    for name, mark, limit in (("queue_items", marks.queue_items, items), ("queue_ms", marks.queue_ms, ms)):
        at = (*path, "watermarks", name)
        if mark is None:
            continue
        if mark.low >= mark.high:
            findings.error(
                "watermark_order",
                (*at, "low"),
                f"the low mark {mark.low} is not below the high mark {mark.high}",
            )
        if mark.high >= limit:
            message = f"the high mark {mark.high} is not below the limit {limit}"
            hint = "At the limit it is too late to slow anybody down: lower the mark or raise the limit"
            findings.error("watermark_at_limit", (*at, "high"), message, hint)


def _check_strategy(
    spec: BufferSpec, strategy: BufferStrategy, lane: Lane, path: Path, findings: Findings
) -> None:
    at = (*path, "strategy")
    if lane is Lane.CONTROL and strategy is not BufferStrategy.BLOCK:
        message = f"'{strategy}' would lose control events"
        findings.error("control_dropped", at, message, "Control is never dropped: remove the strategy")
    if spec.strategy is BufferStrategy.DROP and spec.drop_side is None:
        findings.error(
            "drop_without_side", at, "a drop says which side goes", "Add `drop_side: oldest` or `newest`"
        )
    if spec.drop_side is not None and strategy is not BufferStrategy.DROP:
        message = f"a drop side means nothing to the strategy '{strategy}'"
        findings.error(
            "drop_side_unused", (*path, "drop_side"), message, "Write `strategy: drop`, or remove it"
        )
    if spec.strategy is BufferStrategy.BLOCK and spec.max_block_time_ms is None:
        message = "an edge that blocks without a cap may wait forever"
        findings.error("block_without_cap", at, message, "Add `max_block_time_ms`; 250 is the profile's")
    if spec.max_block_time_ms is not None and strategy is not BufferStrategy.BLOCK:
        message = f"a block time means nothing to the strategy '{strategy}'"
        findings.error(
            "block_time_unused",
            (*path, "max_block_time_ms"),
            message,
            "Write `strategy: block`, or remove it",
        )
    if spec.coalesce_ms is not None and strategy not in COALESCING:
        message = f"a cadence means nothing to the strategy '{strategy}'"
        findings.error("coalesce_unused", (*path, "coalesce_ms"), message, "Use `merge` or `latest_only`")


def _lanes(spec: BufferSpec, strategy: BufferStrategy, path: Path, findings: Findings) -> LaneHandling:
    """One resolved answer a lane: the data lane's is the edge's strategy."""
    given = spec.lane_handling
    if given is not None and given.data is not None and given.data is not strategy:
        message = f"the data lane is to '{given.data}' but the edge is to '{strategy}'"
        findings.error("shedding_conflict", (*path, "lane_handling", "data"), message, "Say it once")
    profile = LaneHandling()
    return LaneHandling(
        data=strategy.value,
        control=profile.control,
        telemetry=(given.telemetry if given else None) or profile.telemetry,
    )


def _sync(spec: BufferSpec, path: Path, findings: Findings) -> SyncDropPolicy:
    given = spec.sync_drop
    if given is None:
        return SyncDropPolicy()
    at = (*path, "sync_drop")
    if given.policy is SyncPolicy.DROP_WITH_DISCONTINUITY and given.sync_domain is None:
        message = "a discontinuity is announced to a domain"
        findings.error("missing_field", at, message, "Add `sync_domain`")
    return SyncDropPolicy(
        policy=given.policy,
        scope=given.scope,
        group_by=given.group_by or SyncDropPolicy().group_by,
        sync_domain=given.sync_domain,
    )


def _sources(spec: BufferSpec) -> dict[str, str]:
    explicit = {name for name in spec.__struct_fields__ if getattr(spec, name) is not None}
    sources = {
        name: EXPLICIT if name in explicit else SOURCE
        for name in (
            *BOUNDS,
            "strategy",
            "watermarks",
            "max_block_time_ms",
            "drop_side",
            "lane_handling",
            "sync_drop",
        )
    }
    sources[SHORT] = "explicit_edge_config" if explicit else "execution_profile_default"
    return dict(sorted(sources.items()))


def canonical(value: object) -> bytes:
    """Canonical JSON: sorted keys, UTF-8, shortest numbers."""
    return msgspec.json.encode(value, order="sorted")
