"""Pressure on the recorder lowers its level step by step, the same way each time, and costs neither evidence nor control."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from rspp.contract.errors import InvariantBreach
from rspp.contract.event import Event, Signal
from rspp.contract.evidence import missing_fields
from rspp.contract.words import CancelScope, RecordingLevel
from rspp.host.ports import Recorder
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.nodes import factories
from rspp.spec.graph import GraphDefinition
from rspp.testing.rig import open_request
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders, SampledRecorder
from rspp.timeline.recording import Recording
from rspp.timeline.session import SessionRecorder
from rspp.timeline.spool import Spool, SpoolSettings
from tests.unit.host.stage import Caller, Stage, graph_of, on_stage
from tests.unit.timeline.spooling import BadDisk, SlowHand, graph_at, recorders, recordings_in
from tests.unit.timeline.test_session import Picky, changed

L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2


def pipeline(level: RecordingLevel = L2) -> GraphDefinition:
    """One that may be recorded in full again when the pressure is over."""
    graph = graph_at(level, graph_of())
    thresholds = replace(graph.policies.recording, upgrades_permitted=True)
    return replace(graph, policies=replace(graph.policies, recording=thresholds))


class Seen(SampledRecorder):
    """The recorder of production, beside which the inputs are kept for a replay."""

    def __init__(self, made: Recorders) -> None:
        super().__init__(made)
        self.inputs: list[tuple[int, i.Input]] = []
        self.request: OpenRequest | None = None
        self.graph: GraphDefinition | None = None

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        super().opened(request, graph)
        self.request, self.graph = request, graph
        took = self.took

        def both(at: int, received: i.Input) -> None:
            self.inputs.append((at, received))
            took(at, received)

        self.took = both

    def replayed(self) -> list[tuple[int, str, str | None]]:
        """When a fresh kernel says which terminal, and to what level it goes, when it is given the same inputs."""
        assert self.request is not None
        assert self.graph is not None
        kernel = SessionKernel(self.request, self.graph, factories())
        found = told(self.request.anchor.monotonic, kernel.drain())
        for at, received in self.inputs:
            if isinstance(received, i.Woken):
                kernel.wake(at)
            else:
                kernel.receive(at, received)
            found += told(at, kernel.drain())
        return found


def told(at: int, effects: Sequence[fx.Effect]) -> list[tuple[int, str, str | None]]:
    return [
        word for effect in effects if isinstance(effect, fx.Announce) for word in word_of(at, effect.event)
    ]


def word_of(at: int, event: Event) -> list[tuple[int, str, str | None]]:
    signal = event.payload
    if isinstance(signal, Signal) and signal.signal in {"commit", "abort", "close"}:
        return [(at, signal.signal, signal.reason)]
    if isinstance(signal, Signal) and signal.signal.startswith("recording_level"):
        assert signal.detail is not None
        return [(at, f"{signal.detail['old']}>{signal.detail['new']}", signal.reason)]
    return []


class Scene:
    """One call with a spool whose disk and export a test holds."""

    def __init__(self, data: Path, detail_records_max: int = 512) -> None:
        self.data = data
        self.hand = SlowHand()
        self.disk = BadDisk()
        self.spool = Spool(
            data, SpoolSettings(detail_records_max=detail_records_max), hand=self.hand, disk=self.disk
        )
        self.seen: list[Seen] = []

    def recorder(self, _: str) -> Recorder:
        self.seen.append(Seen(recorders(self.spool)))
        return self.seen[-1]

    def play(
        self, act: Callable[[Caller], Awaitable[None]], level: RecordingLevel = L2
    ) -> tuple[Caller, Recording]:
        callers: list[Caller] = []

        async def scene(stage: Stage) -> None:
            self.spool.start()
            callers.append(stage.call())
            await callers[0].frames(200)
            await act(callers[0])

        async def main(stage: Stage) -> None:
            await scene(stage)
            await stage.host.stop()
            self.hand.recover()
            assert await self.spool.close(deadline_ms=60_000)

        on_stage(main, pipeline(level), recorders=self.recorder)
        (recording,) = recordings_in(self.data).values()
        return callers[0], recording

    def crowd(self, records: int) -> None:
        """Other sessions' detail takes so much of the room, as far as there is any, and stays."""
        for _ in range(records):
            self.spool._detail.take(0)

    def levels(self, caller: Caller) -> list[str]:
        """The path of levels, as the caller's line was told it."""
        return [word for at, event in caller.events for _, word, _ in word_of(at, event) if ">" in word]


async def turn(caller: Caller, before: Callable[[], None] = lambda: None) -> None:
    """A question, its whole answer, and the turn's end."""
    closed = len(caller.signals("close"))
    await caller.speak()
    before()
    for _ in range(1_500):
        if len(caller.signals("close")) > closed:
            return
        await caller.frames(20)
    raise AssertionError(f"the turn did not end; came: {caller.names()}")


def complete(recording: Recording) -> bool:
    """Has every turn all of its evidence?"""
    assert recording.evidence
    return all(
        missing_fields(evidence, recording.stamps.get(record_id)) == ()
        for record_id, evidence in recording.evidence.items()
    )


async def export_that_slows_down(spool: Spool, window_ms: int, caller: Caller) -> None:
    await turn(caller)
    await turn(caller, lambda: spool.lag(2_000))
    await turn(caller, lambda: spool.lag(5_000))
    await turn(caller)
    spool.lag(0)
    for _ in range(2):
        await caller.frames(window_ms + 1_000)
        await turn(caller)
    await turn(caller)


@pytest.mark.slow
@pytest.mark.proves("F-176")
@pytest.mark.long
def test_a_slow_export_lowers_the_level_the_same_way_each_time_and_costs_no_evidence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "rspp.recorder")
    window_ms = pipeline().policies.recording.stability_window_ms
    paths, orders = set(), set()
    for number in range(20):
        scene = Scene(tmp_path / str(number))
        caller, recording = scene.play(partial(export_that_slows_down, scene.spool, window_ms))
        live = [(at, word, why) for at, event in caller.events for _, word, why in word_of(at, event)]
        assert scene.seen[0].replayed() == live, "a replay gives the same terminals and the same levels"
        paths.add(tuple(f"{one.old}>{one.new}" for one in recording.levels))
        orders.add(tuple((one.step, one.at, one.trigger) for one in recording.levels))
        assert complete(recording), "evidence is whole at each level"
        assert len(recording.evidence) == len(caller.signals("close")) == 7
        meters = scene.spool.meters
        assert meters.or02_turns_total == 7
        assert (meters.or02_required_field_missing_total, meters.alerts()) == (0, ())
        assert meters.recording_downgrade_total == {"L2>L1": 1, "L1>L0": 1}
        assert meters.recording_level_current == {"L2": 0, "L1": 0, "L0": 0}
    assert paths == {("L2>L1", "L1>L0", "L0>L1", "L1>L2")}, "one path: its variance is nought"
    assert len(orders) == 1
    messages = [record.message for record in caplog.records]
    assert messages.count("recording_level_transition") == 80
    assert "recording_pressure_snapshot" in messages
    # Straight from L2 to L0 is refused: by the kernel, which makes one step of it, and by the recorder.
    with pytest.raises(InvariantBreach, match="recording_level_skipped"):
        skip()
    # A spike at the very moment of a cancel, when detail has no room at all.
    spiked = Scene(tmp_path / "spiked", detail_records_max=1)
    caller, recording = spiked.play(partial(cancelled, spiked))
    assert spiked.spool.meters.detail_lost_total
    assert complete(recording)
    assert {one.terminal_outcome for one in recording.evidence.values()} == {"abort"}
    assert spiked.spool.meters.or02_required_field_missing_total == 0


def skip() -> None:
    """Hand a recorder at L2 the word that it is at L0 now."""
    recorder = SessionRecorder(Picky(), Everything(), wall_ms=lambda: 1)
    recorder.opened(open_request(), graph_at(L2))
    changed(recorder, 1, L2, L0)


async def cancelled(scene: Scene, caller: Caller) -> None:
    await caller.speak()
    await caller.until_answered()
    scene.crowd(1)
    await caller.frames(200)
    caller.control("cancel", scope=CancelScope.TURN)
    await caller.until("close")


def test_a_cancel_is_as_quick_under_pressure_as_without_it(tmp_path: Path) -> None:
    def latency(scene: Scene, delay_s: float) -> int:
        async def act(caller: Caller) -> None:
            await caller.speak()
            await caller.until_answered()
            scene.hand.delay_s = delay_s
            await caller.frames(1_000)
            asked.append(caller.clock.now())
            caller.control("cancel", scope=CancelScope.TURN)
            await caller.until("playback_cancelled")

        asked: list[int] = []
        caller, _ = scene.play(act)
        (at,) = [
            at for at, event in caller.events if getattr(event.payload, "signal", "") == "playback_cancelled"
        ]
        return at - asked[0]

    calm = latency(Scene(tmp_path / "calm"), 0.0)
    pressed = latency(Scene(tmp_path / "pressed", detail_records_max=1), 10.0)
    assert pressed == calm, "in virtual time, to the nanosecond"


def test_a_disk_that_hangs_lowers_the_level_by_its_lag_and_aborts_the_turn_with_the_reason(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path)

    async def act(caller: Caller) -> None:
        await turn(caller)
        scene.hand.hangs = True
        await caller.frames(8_000)
        await turn(caller)
        scene.hand.recover()
        await caller.frames(2_000)
        await turn(caller)

    caller, recording = scene.play(act)
    assert scene.levels(caller)[:2] == ["L2>L1", "L1>L0"]
    aborts = caller.signals("abort")
    assert [one.reason for one in aborts] == ["recording_evidence_unavailable"]
    assert [one.reason for one in caller.signals("evidence_append_failed")] == ["append_overdue"]
    assert len(caller.signals("commit")) == 2
    committed = [one for one in recording.evidence.values() if one.terminal_outcome == "commit"]
    assert len({one.turn_id for one in committed}) >= 2


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, "disk_full"),
        (errno.EROFS, "read_only"),
        (errno.EIO, "disk_error"),
        (errno.EDQUOT, "disk_full"),
    ],
)
def test_a_disk_that_takes_nothing_is_said_aloud_and_no_turn_commits_without_evidence(
    tmp_path: Path, number: int, reason: str
) -> None:
    scene = Scene(tmp_path)

    async def act(caller: Caller) -> None:
        await turn(caller)
        scene.disk.fails = {"write": number, "open": number}
        await turn(caller)
        scene.disk.fails = {}
        await turn(caller)

    caller, recording = scene.play(act, L1)
    assert [one.reason for one in caller.signals("evidence_append_failed")] == [reason]
    assert [one.reason for one in caller.signals("abort")] == ["recording_evidence_unavailable"]
    assert len(caller.signals("commit")) == 2
    assert {gap.reason for gap in recording.gaps} == {reason}
    assert [one.terminal_outcome for one in recording.evidence.values()] == ["commit", "commit"]
    assert complete(recording)
    assert scene.spool.meters.evidence_refused_total == {reason: 2}
    assert scene.spool.meters.alerts() == ("or02_required_field_missing_total_gt_0",), (
        "the aborted turn has none"
    )


def test_a_full_queue_lowers_the_level_by_its_fill_and_what_finds_no_room_is_named(tmp_path: Path) -> None:
    scene = Scene(tmp_path, detail_records_max=100)

    async def act(caller: Caller) -> None:
        await turn(caller)
        scene.crowd(82)
        await caller.frames(2_000)
        assert scene.levels(caller) == ["L2>L1"], "four fifths are enough for one step, and for no second"
        scene.crowd(100)
        await caller.frames(2_000)
        assert scene.levels(caller) == ["L2>L1", "L1>L0"]
        await turn(caller)

    caller, recording = scene.play(act)
    assert [one.trigger for one in recording.levels] == ["queue_fill", "queue_fill"]
    assert scene.spool.meters.detail_lost_total
    assert {gap.reason for gap in recording.gaps} == {"no_room"}
    assert len(caller.signals("commit")) == len(recording.evidence) == 2
    assert complete(recording)
