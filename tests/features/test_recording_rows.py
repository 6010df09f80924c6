"""Rows of the timeline area: what each level holds, and an export that stands still."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.contract.evidence import CloseStamp, TurnEvidence, missing_fields
from rspp.contract.words import RecordingLevel
from rspp.host.host import Host
from rspp.timeline import catalogue, parts
from rspp.timeline import records as r
from rspp.timeline.export import Exporter, ExportSettings
from rspp.timeline.library import Library
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders
from rspp.timeline.recording import Recording
from rspp.timeline.spool import Spool, SpoolSettings
from rspp.timeline.writer import MachineDisk
from tests.unit.host.stage import Caller, bootstrap_of, graph_of, registry_of
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.spooled import Moody, frames

L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2


def turns(recording: Recording) -> list[tuple[TurnEvidence, CloseStamp | None]]:
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}
    return [(one, stamps.get(one.turn_id)) for one in recording.evidence.values()]


@pytest.mark.proves("F-153")
def test_l0_has_all_evidence_and_no_payload_and_l2_has_the_payload_and_the_same_evidence() -> None:
    low, middle, high = (simulated(level=level) for level in (L0, L1, L2))
    assert len(low.evidence) == 3
    assert [missing_fields(*turn) for turn in turns(low)] == [()] * 3
    # Another level is another plan, from whose hash the seed is drawn; nothing else differs.
    planned: dict[str, Any] = {"plan_hash": "", "determinism_seed": 0}
    bare = [
        [msgspec.structs.replace(one, **planned) for one, _ in turns(recording)]
        for recording in (low, middle, high)
    ]
    assert bare[0] == bare[1] == bare[2]
    kinds = {type(record) for record in r.unframe(simulated_bytes(level=L0)).records}
    assert not kinds & {r.Inputs, r.Words, r.Sound, r.Steps}
    assert low.inputs == {}
    words = [text.encode() for text in _said(high) if len(text) > 8]
    assert words
    assert not any(text in simulated_bytes(level=L0) for text in words)
    assert not high.without_sound
    assert not high.withheld_texts
    assert middle.without_sound
    evidence, stamp = turns(low)[0]
    for name in ("plan_hash", "turn_open_at", "admission_outcome", "payload_tags", "determinism_seed"):
        value = getattr(evidence, name)
        empty: Any = type(value)() if isinstance(value, tuple | str) else None
        lacking = msgspec.structs.replace(evidence, **{name: empty})
        assert name in missing_fields(lacking, stamp)
    assert "turn_close_at" in missing_fields(evidence, None)


def _said(recording: Recording) -> list[str]:
    payloads = [getattr(received, "payload", None) for _, received in recording.inputs.values()]
    return [payload.text for payload in payloads if isinstance(payload, Text)]


async def _beats(until: asyncio.Event, late_ms: list[float]) -> None:
    """How late the loop serves what is due: what a control input would wait."""
    while not until.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        late_ms.append((time.perf_counter() - began - 0.005) * 1_000)


@pytest.mark.slow
@pytest.mark.proves("F-154")
def test_an_export_that_stands_still_changes_neither_append_nor_control_and_ends_exactly_once(
    tmp_path: Path,
) -> None:
    """A real host with calls, in real time, over an export that works, is slow, stops, and is back."""

    async def main() -> dict[str, tuple[float, float]]:
        store = Moody()
        spool = Spool(tmp_path, SpoolSettings(segment_age_ms=200))
        spool.start()
        exporter = Exporter(store, spool, ExportSettings(pause_ms_max=100))
        spool.on_sealed = exporter.sealed
        export = asyncio.get_running_loop().create_task(exporter.run())
        host = Host(registry_of(), recorders=Recorders(spool, lambda *_: Everything()))
        host.publish(graph_of("policies: {recording_policy: {level: L1}}\n"))
        await host.start()
        seen: dict[str, tuple[float, float]] = {}
        names: list[str] = []
        for mood in ("healthy", "slow", "stopped"):
            store.delay_s, store.hangs = (0.05 if mood == "slow" else 0.0), mood == "stopped"
            seen[mood] = await _calls(host, names)
        assert spool.sealed()
        assert exporter.meters.durable_export_lag_ms > 0
        library = Library(store, tmp_path)
        found = await library.find(names[-1])
        assert found.entry.markers["consistency"] == "eventual"
        store.hangs = False
        assert await exporter.drain(10_000) == 0
        await host.stop()
        await spool.drained()
        assert await exporter.drain(10_000) == 0
        for name in names:
            held = await catalogue.get(store, catalogue.key_of("t", name))
            assert held is not None
            assert held.entry.complete
            pieces = [await parts.read(store, part) for part in held.entry.parts]
            every = [one for piece in pieces if piece is not None for one in frames(piece)]
            assert len(every) == len(set(every)), "a record is there twice"
            recording = await library.read(await library.find(name))
            assert recording.whole
            assert [missing_fields(*turn) for turn in turns(recording)] == [()] * len(recording.evidence)
        export.cancel()
        await asyncio.wait([export])
        await spool.close()
        return seen

    seen = asyncio.run(main())
    asyncio.run(_full_disk(tmp_path / "full"))
    healthy_append, healthy_control = seen["healthy"]
    for mood in ("slow", "stopped"):
        append_ms, control_ms = seen[mood]
        assert append_ms <= max(3 * healthy_append, 10.0), (mood, seen)
        assert control_ms <= max(3 * healthy_control, 25.0), (mood, seen)


async def _calls(host: Host, names: list[str]) -> tuple[float, float]:
    """Some calls at once; how long a step of the recorder and a beat of the loop took, at the 99th of 100."""
    done, late_ms = asyncio.Event(), list[float]()
    beating = asyncio.ensure_future(_beats(done, late_ms))
    steps: list[float] = []

    async def one() -> None:
        caller = Caller(host.clock)  # type: ignore[arg-type]  # its times are the machine's here
        seat = host.open(msgspec.structs.replace(bootstrap_of(), tenant_id="t"), caller)
        recorder, took = seat.recorder, seat.recorder.took

        def timed(at: int, received: Any) -> None:
            began = time.perf_counter()
            took(at, received)
            steps.append((time.perf_counter() - began) * 1_000)

        recorder.took = timed  # type: ignore[method-assign]
        names.append(seat.session_id)
        caller.take(seat)
        await caller.speak(400)
        await caller.until_answered()
        await host.close_session(seat.session_id, drain=False)

    await asyncio.gather(*(one() for _ in range(3)))
    done.set()
    await beating
    return _p99(steps), _p99(late_ms)


class FullDisk(MachineDisk):
    """Takes the beginning of a recording, and then no more."""

    left = 60_000

    def write(self, fd: int, data: bytes | memoryview) -> int:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "no space left on device")
        return super().write(fd, data)


async def _full_disk(data: Path) -> None:
    """The turn whose evidence has no room is aborted, and says why; the session goes on and ends, nothing hangs."""
    spool = Spool(data, disk=FullDisk())
    spool.start()
    host = Host(registry_of(), recorders=Recorders(spool, lambda *_: Everything()))
    host.publish(graph_of("policies: {recording_policy: {level: L1}}\n"))
    await host.start()
    caller = Caller(host.clock)  # type: ignore[arg-type]
    caller.take(host.open(bootstrap_of(), caller))
    async with asyncio.timeout(15):
        await caller.speak(400)
        await caller.until("abort")
        assert caller.seat is not None
        await host.close_session(caller.seat.session_id, drain=False)
        await host.stop()
        assert await spool.close()
    assert {signal.reason for signal in caller.signals("abort")} == {"recording_evidence_unavailable"}
    assert not caller.signals("commit")
    assert spool.meters.evidence_refused_total


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
