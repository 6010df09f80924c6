"""What an edge's queue is by default, by what flows through it, each with its reason.

The contract's default edge (64 items, 300 ms, 256 KiB, 120 ms) is right for live media and wrong in two places: where a
whole answer legitimately waits to be spoken, and where work waits for the call before it. Those have their own rows.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rspp.contract.words import BufferStrategy, DropSide


class EdgeDefault(NamedTuple):
    """One row: bounds, strategy, and the marks as (high, low) in items."""

    name: str
    applies_to: str
    strategy: BufferStrategy
    drop_side: DropSide | None
    max_block_time_ms: int | None
    max_queue_items: int
    max_queue_ms: int
    max_queue_bytes: int
    max_latency_contribution_ms: int
    high: int
    low: int
    reason: str


KIB: Final = 1024

EDGE_DEFAULTS: Final = {
    row.name: row
    for row in (
        EdgeDefault(
            "control",
            "edges on the ControlLane",
            BufferStrategy.BLOCK,
            None,
            250,
            32,
            2000,
            64 * KIB,
            20,
            20,
            10,
            "Never dropped (contract §6); small, because control that waits has failed. Marks of contract §5.",
        ),
        EdgeDefault(
            "telemetry",
            "edges on the TelemetryLane",
            BufferStrategy.SAMPLE,
            None,
            None,
            256,
            5000,
            256 * KIB,
            1000,
            200,
            100,
            "Shed first and sampled, so that what is left still shows a shape. Marks of contract §5.",
        ),
        EdgeDefault(
            "microphone",
            "audio from a source",
            BufferStrategy.DROP,
            DropSide.OLDEST,
            None,
            64,
            300,
            256 * KIB,
            120,
            48,
            24,
            "Contract §5's default edge. A microphone cannot be slowed down, and old sound is worth least.",
        ),
        EdgeDefault(
            "interim",
            "text from a port named `partial`",
            BufferStrategy.LATEST_ONLY,
            None,
            None,
            64,
            300,
            256 * KIB,
            120,
            48,
            24,
            "Contract §5: interim items are merged or replaced; the next partial says all that this one says.",
        ),
        EdgeDefault(
            "egress",
            "audio into a sink",
            BufferStrategy.BLOCK,
            None,
            60_000,
            3000,
            60_000,
            16 * KIB * KIB,
            60_000,
            250,
            100,
            "A voice is made faster than it is played: a minute of answer may wait here (3000 frames of 20 ms). "
            "The high mark, 5 s, slows the voice down long before that.",
        ),
        EdgeDefault(
            "call_input",
            "anything into a call that takes one input after the other",
            BufferStrategy.BLOCK,
            None,
            60_000,
            3000,
            60_000,
            16 * KIB * KIB,
            60_000,
            250,
            100,
            "While a sentence is spoken or a question answered, the ones after it wait here; they are the answer, "
            "so none may be dropped, and a cancel clears them.",
        ),
        EdgeDefault(
            "data",
            "everything else",
            BufferStrategy.BLOCK,
            None,
            250,
            64,
            300,
            256 * KIB,
            120,
            48,
            24,
            "Contract §5's default edge and block bound; 250 ms is the edge budget: after it, shed.",
        ),
    )
}
