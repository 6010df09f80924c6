"""Whoever serves a call may break its word in any way: it costs that call, and what it leaves is let go of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from rspp.contract.event import Audio, Event, Text
from rspp.contract.words import CancelMode, CancelReason, CancelScope, Lane, OutcomeClass
from rspp.host.host import Host
from rspp.host.inbox import INBOX_ITEMS_MAX
from rspp.host.ports import Answer, CallRequest, LiveCall, ProviderError, ProviderInfo
from rspp.host.registry import ProviderKind
from rspp.host.watchdog import Blame
from rspp.kernel import inputs as i
from tests.unit.host.stage import LOUD, SPEC, Stage, graph_of, on_stage, registry_of
from tests.unit.host.test_host import BAD_NODE

Scene = Callable[[Stage], Coroutine[Any, Any, None]]


async def answered(stage: Stage) -> None:
    """The host serves others as if nothing had been."""
    caller = stage.call()
    await caller.speak()
    await caller.until("commit")


class Quiet:
    """A call that does as it is told, and nothing of its own."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.killed = False

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self.answer.stopped()

    def kill(self) -> None:
        self.killed = True


class Made:
    """A provider out of what a test gives it; it remembers its calls."""

    def __init__(self, modality: str, **parts: Any) -> None:
        self.info = ProviderInfo(name=f"made-{modality}", modality=modality, version="v1")
        self.opened = self.closed = 0
        self.__dict__.update(parts)

    async def open(self) -> None:
        self.opened += 1

    async def close(self) -> None:
        self.closed += 1


def with_made(scene: Scene, provider: Any, **ports: Any) -> Host:
    modality = provider.info.modality
    kind = ProviderKind(modality, lambda name, settings: provider)
    graph = graph_of(base=SPEC.replace(f"scripted-{modality}]", f"made-{modality}]"))
    return on_stage(scene, graph, registry=registry_of(**{f"made_{modality}": kind}), **ports)


def test_a_coroutine_that_has_all_its_chunks_at_once_is_taken_at_the_sessions_pace() -> None:
    async def run(call: LiveCall) -> None:
        for number in range(INBOX_ITEMS_MAX[Lane.DATA] + 200):
            await call.produce(Audio(LOUD, 320, number * 320))

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit", 60_000)
        assert caller.seat is not None
        assert caller.seat.lost == 0
        assert "provider_error" not in caller.names()

    with_made(scene, Made("tts", run=run))


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (
            lambda answer: [answer.produce(Audio(LOUD, 320, n * 320)) for n in range(2_000)],
            "session_inbox_full",
        ),
        (lambda answer: answer.produce("a string"), "chunk_of_no_kind"),
        (lambda answer: answer.score(float("nan")), "score_out_of_range"),
        (lambda answer: answer.score("likely"), "score_out_of_range"),
    ],
)
def test_what_cannot_be_taken_ends_its_call_and_the_kernel_hears_of_it(
    given: Callable[[Any], object], cause: str
) -> None:
    calls: list[Quiet] = []

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        calls.append(Quiet(answer))
        asyncio.get_running_loop().call_soon(given, answer)
        return calls[-1]

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("provider_error")
        assert (caller.signals("provider_error")[0].detail or {})["cause"] == cause
        await caller.frames(100)
        assert calls[0].killed
        assert caller.seat is not None
        assert caller.seat.crash is None

    with_made(scene, Made("tts", begin=begin))


def test_the_end_of_a_call_finds_room_in_a_full_inbox() -> None:
    answers: list[Answer] = []

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        answers.append(answer)
        answer.accepted()
        return Quiet(answer)

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(100)
        while caller.give(i.SpeechScored(0.0)):
            pass
        answers[0].fail(ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "dropped", retryable=True))
        await caller.frames(500)
        assert len(answers) == 2

    with_made(scene, Made("stt", begin=begin))


def test_a_provider_that_raised_when_it_was_fed_is_let_go_of() -> None:
    calls: list[Quiet] = []

    class Raising(Quiet):
        def feed(self, event: Event) -> None:
            raise asyncio.CancelledError

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        calls.append(Raising(answer))
        answer.accepted()
        return calls[-1]

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(200)
        assert calls[0].killed
        await caller.frames(100)
        assert caller.seat is not None
        assert not caller.seat.ended

    with_made(scene, Made("vad", begin=begin))


def test_an_attempt_that_stops_within_its_grace_was_not_forced_though_the_next_has_begun() -> None:
    attempts: list[int] = []

    async def run(call: LiveCall) -> None:
        attempts.append(call.request.attempt)
        if len(attempts) == 1:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(0.05)
                raise
        await call.produce(Text("Hello.", role="assistant"))

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        await caller.frames(2_000)
        assert attempts == [1, 2]
        assert "cancel_forced" not in caller.names()

    with_made(scene, Made("llm", run=run))


def test_the_next_attempt_of_a_call_takes_over_its_place() -> None:
    answers: list[Answer] = []

    class Deaf(Quiet):
        def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        answers.append(answer)
        if len(answers) > 1:
            answer.produce(Text("Hello.", role="assistant"))
            answer.finish()
        return Deaf(answer)

    provider: Any = Made("llm", begin=begin)
    kind = ProviderKind("llm", lambda name, settings: provider)
    limited = BAD_NODE.replace(
        "llm: {type: llm, version: v1}", "llm: {type: llm, version: v1, concurrency_limit: 1}"
    )

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert len(answers) == 2
        await caller.frames(1_000)
        assert len(stage.host.places) == 0

    on_stage(
        scene, graph_of(base=limited.replace("scripted-llm", "made-llm")), registry=registry_of(made_llm=kind)
    )


def test_what_a_former_attempt_says_is_nobodys() -> None:
    answers: list[Answer] = []

    class Deaf(Quiet):
        def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...

    def begin(request: CallRequest, answer: Answer) -> Quiet:
        answers.append(answer)
        if len(answers) > 1:
            answers[0].produce(Text("Old.", role="assistant"))
            answer.produce(Text("New.", role="assistant"))
            answer.finish()
        return Deaf(answer)

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("commit")
        assert "Old." not in caller.texts()
        assert "late_output_dropped" not in caller.names()
        await caller.frames(1_000)
        assert caller.names().count("cancel_forced") == 1
        assert caller.seat is not None
        assert caller.seat.open_calls == 3  # those that listen

    with_made(scene, Made("llm", begin=begin))


def test_the_chunk_that_a_soft_cancel_lets_through_comes_before_the_acknowledgement() -> None:
    ids: list[str] = []

    async def run(call: LiveCall) -> None:
        ids.append(call.request.call_id)
        number = 0
        while not call.stopping:
            await call.produce(Audio(LOUD, 320, number * 320))
            number += 1
            await asyncio.sleep(0.02)
        await call.produce(Audio(LOUD, 320, number * 320))

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until_answered()
        caller.control("cancel", scope=CancelScope.CALL, target=ids[0], mode=CancelMode.SOFT)
        await caller.until("cancel_acknowledged")
        assert "late_output_dropped" not in caller.names()

    with_made(scene, Made("tts", run=run))


def test_a_provider_that_raises_when_a_session_ends_or_the_host_stops_stands_in_nobodys_way() -> None:
    async def run(call: LiveCall) -> None:
        await call.produce(Text("Hello.", role="assistant"))

    async def close() -> None:
        raise RuntimeError("no")

    def release(session_id: str) -> None:
        raise RuntimeError("no")

    async def scene(stage: Stage) -> None:
        for _ in range(2):
            caller = stage.call()
            await caller.speak()
            await caller.until("commit")
            assert caller.seat is not None
            await stage.host.close_session(caller.seat.session_id)
            assert caller.seat.ended

    with_made(scene, Made("llm", run=run, close=close, release=release))


def test_a_task_that_outlives_its_session_is_named_when_the_host_stops() -> None:
    over = asyncio.Event()

    async def run(call: LiveCall) -> None:
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("turn_open")
        await caller.frames(100)
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id, drain=False)
        leaked = await stage.host.stop()
        assert len(leaked) == 1
        assert leaked[0].startswith("call:")
        over.set()
        await asyncio.sleep(0.1)

    with_made(scene, Made("llm", run=run))


def test_a_provider_whose_opening_failed_does_not_quote_its_key_and_serves_once_it_opens() -> None:
    provider = Made("llm")

    async def fail() -> None:
        raise RuntimeError("the key sk-verysecret is refused")

    async def run(call: LiveCall) -> None:
        await call.produce(Text("Hello.", role="assistant"))

    provider.__dict__.update(open=fail, run=run)

    async def scene(stage: Stage) -> None:
        assert "sk-verysecret" not in str(stage.host.providers.readiness())
        del provider.__dict__["open"]
        assert all(one.ready for one in await stage.host.providers.open())
        await answered(stage)

    with_made(scene, provider)


def test_an_exit_raised_in_a_callback_leaves_the_host_serving() -> None:
    def begin(request: CallRequest, answer: Answer) -> Quiet:
        raise SystemExit(3)

    async def main(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.frames(1_000)

    with pytest.raises(SystemExit):
        with_made(main, Made("llm", begin=begin))


def test_who_blocked_the_loop_is_counted_by_kind_and_not_by_session() -> None:
    async def scene(stage: Stage) -> None:
        blocked = stage.host.watchdog._on_blocked
        assert blocked is not None
        for number in range(3):
            blame = Blame(
                session_id=None,
                node_id=None,
                what=f"task call:pvi/s-{number}/turn-1/llm#1",
                blocked_ms=200,
                stood_ms=200,
                stack=(),
            )
            blocked(blame)
            blocked(msgspec.structs.replace(blame, what=f"task Task-{number}"))
        assert stage.host.blamed == {"blocked:task call:pvi": 3, "blocked:task Task": 3}

    on_stage(scene)
