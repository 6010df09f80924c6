"""One call over the loopback, from loading the models to the last sample: what was asked, what was heard, what it took."""

from __future__ import annotations

import asyncio
import wave
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from rspp.adapters.transports.loopback import Caller, CallerOutcome, Loopback, LoopClock, PacedLoop, Step
from rspp.adapters.transports.loopback.script import RATE, Say, UntilAnswered, UntilHeard, ask
from rspp.cli.call_report import CallNotes, Heard, Told, TurnReport
from rspp.cli.compose import Pipeline
from rspp.cli.recorded import Recorded, Witness
from rspp.contract.words import InBand
from rspp.host.host import Host, HostSettings
from rspp.host.providers import Readiness
from rspp.host.recorder import MemoryRecorder
from rspp.host.watching import Watches
from rspp.media.resample import resample
from rspp.media.wav import Sound, read_wav

STOP_REASON: Final = "run_over"


class Interruption(msgspec.Struct, frozen=True):
    """What is said over the answer to the last question, once so much of it was heard."""

    path: Path
    after_ms: int


class CallResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole call. The sounds are those that the two ends made, from the first moment of the call."""

    session_id: str
    end_reason: str
    pipeline: str
    version: str
    turns: list[TurnReport]
    superseded: int
    unheard: tuple[str, ...]
    lost: int
    duration_ms: int
    load_ms: int
    readiness: list[Readiness]


class Sounds(msgspec.Struct, frozen=True):
    """What the caller heard, and what it said."""

    heard: Sound
    said: Sound


class Progress(Protocol):
    """Who is told what takes time."""

    def __call__(self, what: str) -> None: ...


def script_of(questions: Sequence[Path], interruption: Interruption | None, patience_ms: int) -> list[Step]:
    """A caller who asks one recording after the other and listens to each answer; raises `WavError`."""
    steps: list[Step] = []
    for path in questions:
        steps += [ask(path.name, read_wav(path)), UntilAnswered(patience_ms=patience_ms)]
    if interruption is not None:
        said = ask(interruption.path.name, read_wav(interruption.path))
        steps[-1:] = [UntilHeard(interruption.after_ms), said, UntilAnswered(patience_ms=patience_ms)]
    return steps


def has_speech(steps: Sequence[Step]) -> bool:
    return all(any(step.speech) for step in steps if isinstance(step, Say))


def new_loop(speed: float | None) -> asyncio.AbstractEventLoop:
    """The loop in which a call is made."""
    return PacedLoop(speed)


def run_call(
    pipeline: Pipeline,
    steps: Sequence[Step],
    *,
    speed: float | None,
    timeout_s: float,
    recorded: Recorded | None = None,
    told: Callable[[CallNotes], Told] | None = None,
    progress: Progress = lambda _: None,
    watches: Sequence[Watches] = (),
    metrics: InBand = InBand.TURNS,
) -> tuple[CallResult, Sounds]:
    """Make the call. `speed` is of time, None is as fast as the models allow."""
    with asyncio.Runner(loop_factory=lambda: new_loop(speed)) as runner:
        return runner.run(_run(pipeline, steps, timeout_s, recorded, told, progress, watches, metrics))


async def _run(
    pipeline: Pipeline,
    steps: Sequence[Step],
    timeout_s: float,
    recorded: Recorded | None,
    told: Callable[[CallNotes], Told] | None,
    progress: Progress,
    watches: Sequence[Watches],
    metrics: InBand,
) -> tuple[CallResult, Sounds]:
    assert pipeline.graph is not None
    assert pipeline.registry is not None
    loop = asyncio.get_running_loop()
    clock = LoopClock(loop)
    if recorded is not None:
        await recorded.start(export=False)
    recorders = recorded.recorders if recorded is not None else lambda _: MemoryRecorder()
    notes = CallNotes(Witness(recorders("")))
    if told is not None:
        notes.tell(told(notes))
    settings = HostSettings(metrics=metrics)
    host = Host(pipeline.registry, settings, clock=clock, recorders=lambda _: notes, watches=watches)
    host.publish(pipeline.graph)
    began = clock.now()
    progress("loading models")
    readiness = await host.start()
    loaded = clock.now()
    transport = Loopback(clock=clock)
    caller = Caller(steps, clock)
    try:
        progress("")
        await transport.start(host)
        task = await transport.place(caller)
        if isinstance(loop, PacedLoop):
            loop.skip_when(lambda: not notes.owing)
        outcome = await _over(task, caller, timeout_s)
        if isinstance(loop, PacedLoop):
            loop.skip_when(lambda: False)
        result = _result(pipeline, notes, caller, outcome, readiness)
        result = msgspec.structs.replace(result, load_ms=(loaded - began) // 1_000_000)
    finally:
        await transport.stop(STOP_REASON)
        await host.stop()
        if recorded is not None:
            await recorded.finish()
    return result, sounds_of(caller)


async def _over(task: asyncio.Task[CallerOutcome], caller: Caller, timeout_s: float) -> CallerOutcome:
    """The call's end: its own, or that of our patience."""
    done, _ = await asyncio.wait([task], timeout=timeout_s)
    if not done:
        caller.leave()
        outcome = await task
        return msgspec.structs.replace(outcome, reason="timeout", gave_up=True)
    return task.result()


def _result(
    pipeline: Pipeline, notes: CallNotes, caller: Caller, outcome: CallerOutcome, readiness: list[Readiness]
) -> CallResult:
    assert pipeline.graph is not None
    speaker = caller.speaker
    rate = speaker.rate or RATE
    heard = {
        turn_id: Heard(
            playing.first_ns, playing.last_ns, playing.played * 1000 // rate, playing.dry_most * 1000 // rate
        )
        for turn_id, playing in speaker.turns.items()
    }
    return CallResult(
        session_id=outcome.session_id,
        end_reason=outcome.reason,
        pipeline=pipeline.graph.pipeline,
        version=pipeline.graph.version,
        turns=notes.report(caller.speech_ns, heard, caller.start_ns),
        superseded=notes.superseded,
        unheard=outcome.unheard,
        lost=outcome.lost,
        duration_ms=outcome.frames * 20,
        load_ms=0,
        readiness=readiness,
    )


def sounds_of(caller: Caller) -> Sounds:
    rate = caller.speaker.rate or RATE
    heard = bytes(caller.speaker.timeline) or bytes(len(caller.track) * rate // RATE // 2 * 2)
    return Sounds(Sound(heard, rate), Sound(bytes(caller.track), RATE))


def write_call(path: Path, sounds: Sounds, *, stereo: bool) -> None:
    """Write what was heard; in stereo the caller is left, the assistant right. Raises OSError."""
    heard = sounds.heard
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2 if stereo else 1)
        file.setsampwidth(2)
        file.setframerate(heard.rate)
        file.writeframes(_side_by_side(sounds) if stereo else heard.pcm)


def _side_by_side(sounds: Sounds) -> bytes:
    left = resample(sounds.said.pcm, sounds.said.rate, sounds.heard.rate)
    length = max(len(left), len(sounds.heard.pcm))
    both = array("h", bytes(2 * length))
    both[0::2] = array("h", left.ljust(length, b"\0"))
    both[1::2] = array("h", sounds.heard.pcm.ljust(length, b"\0"))
    return both.tobytes()
