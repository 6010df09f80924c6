"""Events and policies for tests of the pure machines: small, complete, and different only where a test says so."""

from __future__ import annotations

from typing import Any, Final

from rspp.contract.event import NS_PER_MS, Audio, Event, Scope, Sync, Text
from rspp.contract.plan import BufferPolicy, SyncDropPolicy, Watermark, Watermarks
from rspp.contract.words import BufferStrategy, EventKind, PayloadClass, SyncPolicy

SESSION: Final = Scope(session_id="s1", tenant_id="t1", pipeline_version="v1", epoch=7)
MS: Final = NS_PER_MS


def policy(strategy: BufferStrategy = BufferStrategy.BLOCK, **changes: Any) -> BufferPolicy:
    """A queue of four with every other bound far away."""
    settings: dict[str, Any] = {
        "strategy": strategy,
        "max_queue_items": 4,
        "max_queue_ms": 60_000,
        "max_queue_bytes": 1_000_000,
        "max_latency_contribution_ms": 60_000,
        "watermarks": Watermarks(),
        "max_block_time_ms": 100 if strategy is BufferStrategy.BLOCK else None,
    }
    return BufferPolicy(**{**settings, **changes})


def marks(high: int, low: int) -> Watermarks:
    return Watermarks(queue_items=Watermark(high=high, low=low))


def sync_drop(policy: SyncPolicy, **changes: Any) -> SyncDropPolicy:
    return SyncDropPolicy(policy=policy, **changes)


def text(number: int, words: str = "", *, at_ms: int = 0, sync_id: str | None = None, **fields: Any) -> Event:
    """The event of this number, saying it unless told to say something else."""
    about = {"generation": 1, "invocation_id": None}
    about |= {name: fields.pop(name) for name in ("generation", "invocation_id") if name in fields}
    return Event(
        SESSION,
        EventKind.TEXT,
        number,
        at_ms * MS,
        Text(words or str(number), **{"segment": number, **fields}),
        PayloadClass.TEXT_RAW,
        sync=Sync(sync_id=sync_id) if sync_id else None,
        **about,  # type: ignore[arg-type]
    )


def audio(number: int, ms: int = 20, *, at_ms: int = 0, **fields: Any) -> Event:
    samples = 16 * ms
    payload = Audio(bytes(2 * samples), samples, number * samples, **fields)
    return Event(SESSION, EventKind.AUDIO, number, at_ms * MS, payload, PayloadClass.AUDIO_RAW, generation=1)
