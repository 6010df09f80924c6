"""Loopback callers at a real host with scripted providers, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest

from rspp.adapters.transports.loopback import (
    Caller,
    CallerOutcome,
    HangUp,
    Loopback,
    LoopClock,
    Press,
    Say,
    Step,
    UntilAnswered,
    UntilHeard,
    Wait,
    Write,
    ask,
)
from rspp.adapters.transports.loopback.script import level_of
from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Event, Scope, Signal
from rspp.contract.words import EventKind, PayloadClass
from rspp.host.clock import MachineClock
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap, Line, Refused
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import Registry
from rspp.kernel import inputs as i
from rspp.media.wav import Sound
from rspp.nodes import factories
from rspp.spec import compile_text
from rspp.testing.clock import run_virtual
from rspp.testing.scripted import providers
from rspp.testing.scripted.tts import tone

SPEC = """
pipeline: loop
version: v1
template: voice
providers: {vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings:
  scripted-llm: {answers: ["This is a rather long answer to whatever was asked, and it takes a while."]}
"""
NS = 1_000_000


class Inputs(MemoryRecorder):
    __slots__ = ("took_all",)

    def __init__(self) -> None:
        super().__init__()
        self.took_all: list[tuple[int, i.Input]] = []

    def took(self, at: int, received: i.Input) -> None:
        self.took_all.append((at, received))


def speech(ms: int = 1_000) -> Say:
    return ask("speech", Sound(tone(300, 16_000, 9_000)[: 32 * ms], 16_000))


def call(*steps: Step, settings: HostSettings | None = None) -> tuple[Caller, CallerOutcome, Inputs]:
    async def main() -> tuple[Caller, CallerOutcome, Inputs]:
        recorder = Inputs()
        clock = LoopClock(asyncio.get_running_loop())
        host = Host(
            Registry(providers=providers(), nodes=factories()),
            settings,
            clock=clock,
            recorders=lambda _: recorder,
        )
        host.publish(compile_text(SPEC))
        await host.start()
        transport = Loopback([steps], clock=clock)
        await transport.start(host)
        (outcome,) = await transport.over()
        await transport.stop("done")
        assert await host.stop() == []
        assert host.blamed == {}
        return transport.callers[0], outcome, recorder

    return run_virtual(main())


def levels(caller: Caller, from_ms: float, to_ms: float) -> list[float]:
    """The level of each 20 ms that the caller heard."""
    step = 2 * caller.speaker.rate // 50
    first, last = (int(ms * caller.speaker.rate / 1000) * 2 for ms in (from_ms, to_ms))
    sound = bytes(caller.speaker.timeline)
    return [level_of(sound[at : at + step]) for at in range(first, last - step, step)]


def reports(inputs: Inputs) -> list[i.DeliveryReported]:
    return [received for _, received in inputs.took_all if isinstance(received, i.DeliveryReported)]


def test_a_frame_goes_in_every_20_ms_from_the_first_to_the_last() -> None:
    _, outcome, inputs = call(Wait(500), HangUp())
    frames = [(at, one) for at, one in inputs.took_all if isinstance(one, i.AudioReceived)]
    assert [one.transport_sequence for _, one in frames] == list(range(outcome.frames))
    assert [one.audio.sample_index for _, one in frames] == [320 * n for n in range(outcome.frames)]
    gaps = {round((after - before) / NS) for (before, _), (after, _) in itertools.pairwise(frames)}
    assert gaps == {20}
    assert outcome.reason == "drained"
    assert outcome.lost == 0


def test_the_answer_is_heard_whole_without_gaps_and_reported_as_it_was_heard() -> None:
    caller, outcome, inputs = call(speech(), UntilAnswered(), HangUp())
    assert outcome.unheard == ()
    assert not outcome.gave_up
    (playing,) = caller.speaker.turns.values()
    assert playing.completed
    assert playing.played == playing.came > 0
    assert playing.dry_most == 0
    assert playing.first_ns is not None
    assert playing.last_ns is not None
    began, ended = ((at - caller.start_ns) / NS for at in (playing.first_ns, playing.last_ns))
    assert 1_000 < began < 2_500
    assert min(levels(caller, began, ended)) > 1_000
    assert max(levels(caller, 0, began - 20)) == 0 == max(levels(caller, ended + 20, ended + 1_000))
    told = reports(inputs)
    assert [one.what for one in told if one.what != "position"] == ["accepted", "started", "completed"]
    heard = [one.heard_ms for one in told]
    assert heard == sorted(heard)
    assert heard[-1] == playing.played * 1000 // caller.speaker.rate


def test_whoever_speaks_over_the_answer_hears_it_stop() -> None:
    caller, outcome, inputs = call(speech(), UntilHeard(1_000), speech(), UntilAnswered(), HangUp())
    assert outcome.unheard == ()
    first, second = caller.speaker.turns.values()
    assert first.stopped
    assert not first.completed
    assert 1_000 <= first.played * 1000 / caller.speaker.rate < 1_100
    assert first.last_ns is not None
    assert second.first_ns is not None
    silent, again = ((at - caller.start_ns) / NS for at in (first.last_ns, second.first_ns))
    assert max(levels(caller, silent + 20, again - 20)) == 0
    assert second.completed
    assert inputs.turns[0].terminal_outcome == "abort"


def test_a_cough_pauses_the_answer_and_it_goes_on_with_nothing_lost() -> None:
    """Forty milliseconds of voice: the kernel holds the answer, and lets it go on."""
    caller, _, _ = call(speech(), UntilHeard(1_000), speech(40), UntilAnswered(), HangUp())
    (playing,) = caller.speaker.turns.values()
    assert playing.completed
    assert playing.played == playing.came
    assert playing.first_ns is not None
    assert playing.last_ns is not None
    assert (playing.last_ns - playing.first_ns) / NS > playing.played * 1000 / caller.speaker.rate + 30


def test_a_caller_who_says_nothing_gives_up_and_hangs_up() -> None:
    _, outcome, inputs = call(UntilAnswered(patience_ms=3_000), HangUp())
    assert outcome.unheard == ("an answer",)
    assert outcome.frames == pytest.approx(150, abs=2)
    assert inputs.turns == []


def test_hanging_up_in_the_middle_of_an_answer_ends_the_session() -> None:
    caller, outcome, _ = call(speech(), UntilHeard(300), HangUp())
    (playing,) = caller.speaker.turns.values()
    assert not playing.completed
    assert outcome.reason == "drained"


def test_whoever_is_refused_is_told_and_a_transport_that_is_not_started_takes_nobody() -> None:
    with pytest.raises(Refused, match="sessions"):
        call(Wait(100), settings=HostSettings(sessions_max=0))
    with pytest.raises(MisuseError, match="start the transport"):
        asyncio.run(Loopback().place(Caller((), MachineClock())))


def test_stopping_the_transport_makes_its_callers_hang_up() -> None:
    async def main(scripts: Sequence[Sequence[Step]]) -> list[CallerOutcome]:
        clock = LoopClock(asyncio.get_running_loop())
        host = Host(Registry(providers=providers(), nodes=factories()), clock=clock)
        host.publish(compile_text(SPEC))
        await host.start()
        transport = Loopback(scripts, clock=clock)
        await transport.start(host)
        over = asyncio.ensure_future(transport.over())
        await asyncio.sleep(1)
        await transport.stop("enough")
        outcomes = await over
        assert not host.sessions
        await host.stop()
        return outcomes

    outcomes = run_virtual(main([[Wait(60_000)]] * 3))
    assert [outcome.reason for outcome in outcomes] == ["drained"] * 3
    assert all(outcome.frames < 100 for outcome in outcomes)


@pytest.mark.parametrize(
    ("step", "received"),
    [
        (Write("When do you open?"), i.TextReceived("When do you open?", 1)),
        (Press("5"), i.ControlReceived("digit", 1, value="5")),
    ],
)
def test_what_is_typed_or_pressed_is_answered_like_what_is_said(step: Step, received: i.Input) -> None:
    caller, outcome, inputs = call(Wait(200), step, UntilAnswered(), HangUp())
    assert outcome.unheard == ()
    assert [one for _, one in inputs.took_all if isinstance(one, type(received))] == [received]
    frames = [one for _, one in inputs.took_all if isinstance(one, i.AudioReceived)]
    assert [one.transport_sequence for one in frames] == list(range(outcome.frames))
    (playing,) = caller.speaker.turns.values()
    assert playing.completed


def test_a_caller_can_be_told_what_to_do_next_while_it_goes_on() -> None:
    async def main() -> tuple[CallerOutcome, list[str]]:
        clock = LoopClock(asyncio.get_running_loop())
        host = Host(Registry(providers=providers(), nodes=factories()), clock=clock)
        host.publish(compile_text(SPEC))
        await host.start()
        transport = Loopback(clock=clock)
        await transport.start(host)
        heard: list[str] = []
        caller = Caller([Wait(60_000)], clock, ear=lambda event: heard.append(type(event.payload).__name__))
        task = await transport.place(caller)
        await asyncio.sleep(1)
        caller.next(Write("Hello?"), UntilAnswered(), HangUp())
        outcome = await task
        await transport.stop("done")
        await host.stop()
        return outcome, heard

    outcome, heard = run_virtual(main())
    assert outcome.unheard == ()
    assert outcome.frames < 60_000 // 20
    assert {"Signal", "Audio", "Text"} <= set(heard)


class Deaf:
    """A session that ends for nobody."""

    session_id, epoch, ended = "s", 1, False
    graph = compile_text(SPEC)

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Deaf:
        return self

    def find(self, session_id: str) -> None: ...
    def attach(self, line: Line) -> None: ...

    def ingest(self, received: i.Input) -> bool:
        return True


def test_a_session_that_does_not_let_go_keeps_nobody_from_stopping() -> None:
    async def main() -> tuple[float, list[Caller], int]:
        loop = asyncio.get_running_loop()
        transport = Loopback([[Wait(60_000)], [HangUp()]], clock=LoopClock(loop))
        await transport.start(Deaf())
        await asyncio.sleep(0.5)
        before = loop.time()
        await transport.stop("enough")
        return loop.time() - before, transport.callers, len(asyncio.all_tasks())

    took_s, callers, tasks = run_virtual(main())
    assert took_s <= 5.1
    assert [caller.close_reason for caller in callers] == ["enough", "enough"]
    assert tasks == 1


def test_a_line_that_was_closed_hears_nothing() -> None:
    async def main() -> tuple[list[Event], dict[str, object]]:
        heard: list[Event] = []
        clock = LoopClock(asyncio.get_running_loop())
        caller = Caller([Wait(1_000)], clock, ear=heard.append)
        transport = Loopback(clock=clock)
        await transport.start(Deaf())
        await transport.place(caller)
        await asyncio.sleep(0.1)
        caller.close("over")
        scope = Scope(session_id="s", tenant_id="t", pipeline_version="v1", epoch=1, turn_id="t1")
        caller.send(Event(scope, EventKind.AUDIO, 1, 1, Audio(bytes(640), 320, 0), PayloadClass.AUDIO_RAW))
        signal = Signal("turn_open", "RK-01")
        caller.announce(Event(scope, EventKind.CONTROL, 2, 2, signal, PayloadClass.METADATA))
        await transport.stop("over")
        return heard, dict(caller.speaker.turns)

    assert run_virtual(main()) == ([], {})
