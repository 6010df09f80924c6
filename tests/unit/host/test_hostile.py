"""Whoever a host calls may break its word in any way: it costs that call or that session, and nobody else."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Event
from rspp.contract.words import ConnectionState
from rspp.host.ports import Answer, CallRequest, Refused
from rspp.host.recorder import MemoryRecorder
from rspp.kernel import inputs as i
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import LOUD, SPEC, Caller, Stage, bootstrap_of, graph_of, on_stage
from tests.unit.host.test_hostile_providers import Made, Quiet, answered, with_made

BREAKS = (RuntimeError, asyncio.CancelledError)  # the latter is what the result of a cancelled future raises


# ---- lines --------------------------------------------------------------------------------------------------------


class BadLine(Caller):
    """Raises in one of its methods, from when it is told to."""

    def __init__(self, stage: Stage, method: str, error: type[BaseException] = RuntimeError) -> None:
        super().__init__(stage.clock)
        self.method, self.error = method, error
        self.on = False
        self.raised = 0
        self.take(stage.host.open(bootstrap_of(), self))

    def _maybe(self, method: str) -> None:
        if self.on and method == self.method:
            self.raised += 1
            assert self.raised < 1_000, "it is told again and again"
            raise self.error("this line breaks its word")

    def send(self, event: Event) -> None:
        self._maybe("send")
        super().send(event)

    def announce(self, event: Event) -> None:
        self._maybe("announce")
        super().announce(event)

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self._maybe("stop")
        super().stop(turn_id, keep_ms)

    def close(self, reason: str) -> None:
        super().close(reason)
        self._maybe("close")


@pytest.mark.parametrize("error", BREAKS)
@pytest.mark.parametrize("method", ["send", "announce", "stop", "close"])
def test_a_line_that_raises_is_called_no_more_and_the_others_are_served(
    method: str, error: type[BaseException]
) -> None:
    async def scene(stage: Stage) -> None:
        bad = BadLine(stage, method, error)
        await bad.speak()
        await bad.until_answered()
        bad.on = True
        await bad.frames(100)
        bad.control("barge_in")
        await bad.frames(100)
        if method == "close":
            assert bad.seat is not None
            await stage.host.close_session(bad.seat.session_id, drain=False)
        assert bad.raised == 1
        assert bad.closed
        await answered(stage)

    on_stage(scene)


def test_a_former_line_that_raises_when_it_is_closed_does_not_cut_the_new_one() -> None:
    async def scene(stage: Stage) -> None:
        bad = BadLine(stage, "close")
        await bad.speak()
        bad.on = True
        assert bad.seat is not None
        other = Caller(stage.clock)
        bad.seat.attach(other)
        other.seat = bad.seat
        other._frames = bad._frames
        await other.until("commit")
        assert "disconnected" not in other.names()

    on_stage(scene)


def test_a_line_may_call_the_host_back_from_inside_its_callbacks() -> None:
    class Eager(Caller):
        def announce(self, event: Event) -> None:
            super().announce(event)
            if len(self.events) < 100:
                self.control("barge_in")
            elif self.seat is not None:
                self.seat.force("from_inside")

    async def scene(stage: Stage) -> None:
        eager = Eager(stage.clock)
        eager.take(stage.host.open(bootstrap_of(), eager))
        await eager.speak()
        assert eager.closed == "from_inside"
        await answered(stage)

    on_stage(scene)


# ---- recorders and stores -----------------------------------------------------------------------------------------


class BadRecorder(MemoryRecorder):
    def __init__(self, method: str, error: type[BaseException]) -> None:
        super().__init__()
        self.method, self.error = method, error
        self.calls = 0
        self.is_closed = False

    def _maybe(self, method: str) -> None:
        if method == self.method:
            self.calls += 1
            if self.calls > 30 or method == "closed_turn":
                raise self.error("the disk is gone")

    def took(self, at: int, received: object) -> None:
        self._maybe("took")

    def did(self, at: int, effects: object) -> None:
        self._maybe("did")

    def closed_turn(self, record_id: str, stamp: object) -> None:
        self._maybe("closed_turn")

    def closed(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("error", BREAKS)
@pytest.mark.parametrize("method", ["took", "did", "closed_turn"])
def test_a_recorder_that_raises_keeps_no_further_turn_and_costs_nobody_else(
    method: str, error: type[BaseException]
) -> None:
    bad = BadRecorder(method, error)
    recorders = iter([bad])

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        for _ in range(2):
            await caller.speak()
            await caller.frames(4_000)
        assert caller.signals("abort")[-1].reason == "recording_evidence_unavailable"
        assert stage.host.blamed == {f"recorder:{error.__name__}": 1}
        await answered(stage)

    on_stage(scene, recorders=lambda _: next(recorders, MemoryRecorder()))
    assert bad.is_closed


def test_a_caller_whose_recorder_cannot_begin_is_refused() -> None:
    def none(session_id: str) -> MemoryRecorder:
        raise OSError("no space left")

    async def scene(stage: Stage) -> None:
        with pytest.raises(Refused, match="session_not_made"):
            stage.call()
        assert stage.host.sessions == {}

    on_stage(scene, recorders=none)


class BadStore(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.failures = 3

    async def put(self, bucket: str, key: str, value: bytes, **how: Any) -> int | None:
        if self.failures:
            self.failures -= 1
            raise ValueError("database is locked")
        return await super().put(bucket, key, value, **how)


def test_a_store_that_raises_whatever_it_likes_gets_the_state_when_it_takes_it() -> None:
    store = BadStore()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        await caller.frames(3_000)
        assert caller.seat is not None
        assert f"t1/{caller.seat.session_id}/conversation" in await store.keys("state")

    on_stage(scene, store=store)


# ---- order and ends -----------------------------------------------------------------------------------------------


def test_a_released_key_does_not_overtake_the_audio_before_it() -> None:
    fed: list[str] = []

    class Listening(Quiet):
        def feed(self, event: Event) -> None:
            fed.append("frame")

        def end(self, last: bool) -> None:
            fed.append("end")

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        answer.accepted()
        return Listening(answer)

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await asyncio.sleep(0.1)
        caller.control("talk_pressed")
        for number in range(40):
            caller.give(i.AudioReceived(Audio(LOUD, 320, number * 320), number))
        caller.control("talk_released")
        await asyncio.sleep(0.1)
        assert fed == ["frame"] * 40 + ["end"]

    with_made(scene, Made("stt", begin=begin))


def test_a_host_that_stops_in_the_middle_of_turns_has_their_evidence() -> None:
    kept: list[tuple[int, int]] = []

    class Counting(MemoryRecorder):
        def closed(self) -> None:
            kept.append((len(self.turns), len(self.stamps)))

    async def scene(stage: Stage) -> None:
        callers = [stage.call() for _ in range(50)]
        await asyncio.gather(*(caller.speak() for caller in callers))
        await asyncio.gather(*(caller.until_answered() for caller in callers))
        assert await stage.host.stop() == []
        assert {caller.closed for caller in callers} == {"drained"}

    on_stage(scene, recorders=lambda _: Counting())
    assert kept == [(1, 1)] * 50


def test_a_host_is_stopped_while_it_drains() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("turn_open")
        draining = asyncio.ensure_future(stage.host.drain(60_000))
        await asyncio.sleep(0)
        assert await stage.host.stop() == []
        assert await draining == 0

    on_stage(scene)


def test_a_graph_that_cannot_be_served_leaves_nothing_behind() -> None:
    async def scene(stage: Stage) -> None:
        before = stage.host.providers.readiness()
        bad = SPEC.replace("scripted-tts", "nonesuch").replace("scripted-llm]", "scripted-llm, other]")
        with pytest.raises(MisuseError, match="provider_unknown"):
            stage.host.publish(graph_of(base=bad))
        assert stage.host.providers.readiness() == before
        await answered(stage)

    on_stage(scene)


def test_sessions_that_are_over_are_not_kept_in_memory() -> None:
    async def scene(stage: Stage) -> None:
        alive = []
        for _ in range(60):
            caller = stage.call()
            await caller.speak(40)
            assert caller.seat is not None
            await stage.host.close_session(caller.seat.session_id, drain=False)
            alive.append(weakref.ref(caller))
            caller.seat = None
            del caller
        gc.collect()
        assert sum(one() is not None for one in alive) <= 8

    on_stage(scene)


@pytest.mark.parametrize("left_by", ["never_connecting", "a_lost_line", "an_ended_line"])
def test_a_session_that_nobody_comes_back_to_ends_by_its_deadline(left_by: str) -> None:
    async def scene(stage: Stage) -> None:
        caller = Caller(stage.clock)
        seat = stage.host.open(bootstrap_of(), caller)
        if left_by != "never_connecting":
            caller.take(seat)
            await caller.frames(100)
            state = ConnectionState.DISCONNECTED if left_by == "a_lost_line" else ConnectionState.ENDED
            caller.give(i.ConnectionChanged(state))
        await asyncio.sleep(120)
        assert seat.ended
        assert caller.closed
        assert not seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))

    on_stage(scene)


def test_an_idle_hour_and_ten_minutes_of_turns_later_every_turn_still_opens() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await asyncio.sleep(3_600)
        for number in range(1, 11):
            await caller.speak()
            await caller.until_answered()
            await asyncio.sleep(60)
            assert len(caller.signals("commit")) == number

    on_stage(scene)
