"""Interruptions over a real socket: the voice stops for a word and goes on after a cough, and what is remembered of an
answer is what was heard of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.client import Call, Client, ConnectionLost
from rspp.client.call import Event, Frame
from rspp.contract.wire import Playback, Told
from rspp.host.host import Host
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect, Invoke, Message
from tests.unit.host.stage import LOUD, QUIET, graph_of, registry_of

ANSWER: Final = "One two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen."
MS_PER_CHARACTER: Final = 60
COUGH: Final = b"\x00\x08" * 320  # loud enough for the detector of voice, and no word for the recogniser
MORE: Final = f"""
provider_settings:
  scripted-stt: {{texts: ["Count for me.", "Stop, that is enough."], level: 20}}
  scripted-llm: {{answers: ["{ANSWER}", "All right."]}}
  scripted-tts: {{ms_per_character: {MS_PER_CHARACTER}}}
"""


class Asked(MemoryRecorder):
    """Keeps what the language model was asked with."""

    __slots__ = ("histories",)

    def __init__(self) -> None:
        super().__init__()
        self.histories: list[tuple[Message, ...]] = []

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Invoke) and effect.modality == "llm":
                self.histories.append(effect.history)


class Mouth:
    """Speaks all the time: silence, but for what it is given."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._left, self._sound = 0, LOUD

    def say(self, ms: int, sound: bytes = LOUD) -> None:
        self._left, self._sound = ms // 20, sound

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        with contextlib.suppress(ConnectionLost):
            while True:
                self._call.send_frame(self._sound if self._left else QUIET)
                self._left = max(0, self._left - 1)
                due += 0.02
                await asyncio.sleep(max(0.0, due - loop.time()))


@asynccontextmanager
async def conversation(recorder: Asked) -> AsyncIterator[tuple[Call, Mouth]]:
    host = Host(registry_of(), recorders=lambda _: recorder)
    host.publish(graph_of(MORE))
    await host.start()
    transport = WebSocketTransport(Settings(port=0))
    await transport.start(host)
    try:
        async with Client.connect(transport.url, tenant="t") as call:
            mouth = Mouth(call)
            speaking = asyncio.create_task(mouth.run())
            try:
                yield call, mouth
            finally:
                speaking.cancel()
    finally:
        await transport.stop("test over")
        assert await host.stop() == []


async def answered(call: Call, mouth: Mouth) -> str:
    """Ask, and listen for a second; the turn that answers."""
    mouth.say(600)
    opened = await call.signal("playback_started")
    assert opened.turn_id is not None
    turn_id = opened.turn_id
    await call.until(
        lambda e: isinstance(e, Frame) and e.turn_id == turn_id and e.header.sample_index > 19_200
    )
    return turn_id


async def came(call: Call, seconds: float) -> list[Event]:
    """Everything that comes in this time."""
    events: list[Event] = []

    def take(event: Event) -> bool:
        events.append(event)
        return False

    with contextlib.suppress(TimeoutError):
        await call.until(take, seconds)
    return events


def actions(events: list[Event], turn_id: str) -> list[str]:
    return [e.action for e in events if isinstance(e, Playback) and e.turn_id == turn_id]


@pytest.mark.slow
def test_who_speaks_over_the_answer_silences_it_and_only_what_was_heard_is_remembered() -> None:
    recorder = Asked()

    async def main() -> tuple[list[Event], str, int]:
        async with conversation(recorder) as (call, mouth):
            turn_id = await answered(call, mouth)
            mouth.say(900)
            events: list[Event] = []
            async with asyncio.timeout(5):
                async for event in call.events():
                    events.append(event)
                    if isinstance(event, Playback) and event.action == "stop":
                        break
            heard_ms = (
                call.playout.heard_ms + call.playout.buffered_ms
            )  # what is kept past the stop is heard too
            events += await came(call, 3.0)
            return events, turn_id, heard_ms

    events, turn_id, heard_ms = asyncio.run(main())
    assert actions(events, turn_id) == ["pause", "stop"]
    stopped = next(n for n, e in enumerate(events) if isinstance(e, Playback) and e.action == "stop")
    late = [e for e in events[stopped:] if isinstance(e, Frame) and e.turn_id == turn_id]
    assert late == []
    paused = next(n for n, e in enumerate(events) if isinstance(e, Playback))
    assert [e for e in events[paused:] if isinstance(e, Frame) and e.turn_id == turn_id] == []
    assert len(recorder.histories) >= 2
    remembered = [message for message in recorder.histories[-1] if message.role == "assistant"]
    assert len(remembered) == 1
    said = remembered[0].text
    assert said
    assert ANSWER.startswith(said)
    spoken_ms = len(said) * MS_PER_CHARACTER
    # Whole words, and never more than was heard; a word and the age of a report may be missing.
    assert heard_ms - 1_000 <= spoken_ms <= heard_ms + MS_PER_CHARACTER
    asked = next(message for message in recorder.histories[-1] if message.role == "user")
    assert asked.text == "Count for me."


@pytest.mark.slow
def test_after_a_cough_the_answer_goes_on_where_it_stood_and_is_heard_out() -> None:
    recorder = Asked()

    async def main() -> tuple[list[Event], str, Call]:
        async with conversation(recorder) as (call, mouth):
            turn_id = await answered(call, mouth)
            mouth.say(100, COUGH)
            events: list[Event] = []
            async with asyncio.timeout(15):
                async for event in call.events():
                    events.append(event)
                    if isinstance(event, Told) and event.signal == "playback_completed":
                        break
            return events, turn_id, call

    events, turn_id, call = asyncio.run(main())
    assert actions(events, turn_id) == ["pause", "resume"]
    done = events[-1]
    assert isinstance(done, Told)
    assert done.detail is not None
    # Every sample was played, none twice: a sound as long as the answer.
    assert done.detail["heard_ms"] == call.playout.heard_ms == len(ANSWER) * MS_PER_CHARACTER
    assert len(call.played) == 32 * call.playout.heard_ms
    assert (call.frames_lost, call.playout.stats.gap_samples, call.playout.stats.late_samples) == (0, 0, 0)
    assert len(recorder.histories) == 1
