"""What comes with RSPP, as targets: what any other must do, these do."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.host.clock import MachineClock
from rspp.host.ports import Store
from rspp.host.recorder import EVIDENCE_MAX, MemoryRecorder
from rspp.testing.conformance.clock import ClockTarget
from rspp.testing.conformance.inference import InferenceTarget
from rspp.testing.conformance.recorder import RecorderTarget, sample
from rspp.testing.conformance.transport import TransportTarget
from rspp.testing.conformance.trial import hum, hush
from rspp.testing.store import MemoryStore
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders
from rspp.timeline.records import AnyRecord, Close, Evidence, unframe
from rspp.timeline.spool import Spool
from rspp.timeline.writer import MachineDisk

# Another batch size is another order of additions.
TOLERANCE: Final = 1e-3
SETTLE_MS: Final = 200  # the standard's


def memory_store() -> Store:
    return MemoryStore(MachineClock())


def sqlite_store(folder: Path) -> Store:
    return SqliteStore(folder / "store.db")


def websocket_transport() -> TransportTarget:
    from rspp.cli.conformance.peers import websocket  # noqa: PLC0415 - the others need no socket

    return msgspec.structs.replace(websocket(), settle_ms=SETTLE_MS)


def loopback_transport() -> TransportTarget:
    from rspp.cli.conformance.peers import loopback  # noqa: PLC0415

    return loopback()


def machine_clock() -> ClockTarget:
    return ClockTarget(clock=MachineClock())


def memory_recorder() -> RecorderTarget:
    made = MemoryRecorder()
    kept: dict[str, Any] = made._kept

    def fill() -> None:
        for number in range(EVIDENCE_MAX):
            made.evidence(f"earlier-{number}", sample(number))

    return RecorderTarget(recorder=made, kept=lambda: kept, stamps=lambda: made.stamps, breaks=fill)


class NoSpace(MachineDisk):
    """The machine's disk, until it is full."""

    full = False

    def write(self, fd: int, data: bytes | memoryview) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(fd, data)


def spool_recorder(folder: Path) -> RecorderTarget:
    """The recorder that production has, with its thread and its files."""
    disk = NoSpace()
    spool = Spool(folder, disk=disk)
    spool.start()
    made = Recorders(spool, lambda *_: Everything())("s1")

    def read() -> list[AnyRecord]:
        found: list[AnyRecord] = []
        for path in sorted(folder.glob("spool/*/*/*.seg")):
            found += unframe(path.read_bytes()).records
        return found

    return RecorderTarget(
        recorder=made,
        kept=lambda: {one.record_id: one.evidence for one in read() if isinstance(one, Evidence)},
        stamps=lambda: {one.record_id: one.stamp for one in read() if isinstance(one, Close)},
        breaks=lambda: setattr(disk, "full", True),
    )


def _sounds(ms: int) -> list[bytes]:
    """A tone, two noises and silence."""
    import numpy as np  # noqa: PLC0415

    draw = np.random.default_rng(3)
    noises = [draw.normal(0, level, 16 * ms).astype("<i2").tobytes() for level in (300, 6_000)]
    return [b"".join(f.data for f in hum(ms)), *noises, b"".join(f.data for f in hush(ms))]


def silero_inference() -> InferenceTarget:
    """In the middle of what it heard: each request carries its session's memory."""
    import numpy as np  # noqa: PLC0415

    from rspp.adapters.providers.local.silero_model import (  # noqa: PLC0415
        WINDOW_BYTES,
        Scored,
        SileroModel,
        Window,
        nothing_heard,
    )

    model = SileroModel()
    requests = []
    for pcm in _sounds(200):
        (first,) = model.infer([Window(nothing_heard(), pcm[:WINDOW_BYTES])])
        requests.append(Window(first.memory, pcm[WINDOW_BYTES : 2 * WINDOW_BYTES]))

    def near(one: Scored, other: Scored) -> bool:
        memories = zip(one.memory, other.memory, strict=True)
        alike = all(np.allclose(a, b, atol=10 * TOLERANCE) for a, b in memories)
        return alike and abs(one.probability - other.probability) < TOLERANCE

    return InferenceTarget(model=model, requests=requests, same=near)


def smart_turn_inference() -> InferenceTarget:
    """With sounds of different lengths in one batch."""
    from rspp.adapters.providers.local import smart_turn  # noqa: PLC0415
    from rspp.adapters.providers.local.weights import locate  # noqa: PLC0415

    model = smart_turn.SmartTurnModel(locate(smart_turn.WEIGHTS) / smart_turn.WEIGHTS_FILE)
    parts = zip(_sounds(2_000), (4, 3, 2, 1), strict=True)
    requests = [pcm[: len(pcm) * share // 4 // 2 * 2] for pcm, share in parts]
    return InferenceTarget(model=model, requests=requests, same=lambda a, b: abs(a - b) < TOLERANCE)
