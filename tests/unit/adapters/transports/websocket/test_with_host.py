"""The transport, the host and the client together, over a real socket: a call as a caller knows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from picows import WSMsgType

from rspp.adapters.transports.websocket import WebSocketTransport
from rspp.client import Call, Client, ConnectionLost, Frame
from rspp.contract.event import Signal
from rspp.contract.wire import AudioFormat, Caption, Playback, Pong, Problem, Told
from rspp.contract.words import Codec, ConnectionState
from rspp.host.host import Host
from rspp.host.ports import Recorder
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Announce, Effect
from rspp.media.wav import Sound, read_wav, write_wav
from tests.unit.adapters.transports.websocket.given import eventually, quick
from tests.unit.host.stage import LOUD, graph_of, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

TONE = (12_000 * np.sin(2 * np.pi * 440 * np.arange(9_600) / 16_000)).astype("<i2").tobytes()
LONG = """
provider_settings:
  scripted-tts: {use: scripted-tts, ms_per_character: 100}
"""


class Remembering(MemoryRecorder):
    """Keeps what its session announced."""

    __slots__ = ("said",)

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Signal] = []

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Announce) and isinstance(effect.event.payload, Signal):
                self.said.append(effect.event.payload)

    def signals(self, reason: str | None = None) -> list[str]:
        return [said.signal for said in self.said if reason in (None, said.reason)]


@asynccontextmanager
async def runtime(
    more: str = "", recorder: Recorder | None = None
) -> AsyncIterator[tuple[Host, WebSocketTransport]]:
    host = Host(registry_of(), recorders=lambda _: recorder or MemoryRecorder())
    host.publish(graph_of(more))
    await host.start()
    transport = WebSocketTransport(quick())
    await transport.start(host)
    try:
        yield host, transport
    finally:
        await transport.stop("test over")
        assert await host.stop() == []
        assert host.blamed == {}


async def speak(call: Call, ms: int = 600) -> asyncio.Task[None]:
    """Say something, and stay on the line, silent, until the task is cancelled."""
    await call.send_audio(LOUD * (ms // 20))

    async def stay() -> None:
        while call.lost is None:
            await call.send_audio(bytes(640))
            await asyncio.sleep(0.02)

    return asyncio.create_task(stay())


@pytest.mark.slow
def test_a_question_is_heard_answered_and_heard_out() -> None:
    async def main() -> None:
        async with runtime() as (host, transport):
            async with Client.connect(transport.url, tenant="acme") as call:
                staying = await speak(call)
                opened = await call.signal("turn_open")
                caption = await call.until(lambda e: isinstance(e, Caption) and e.role == "assistant")
                assert isinstance(caption, Caption)
                assert caption.text
                await call.signal("playback_started")
                await call.signal("commit")
                done = await call.signal("playback_completed")
                assert done.turn_id == opened.turn_id
                assert done.detail is not None
                assert done.detail["heard_ms"] == call.playout.heard_ms == len(call.played) // 32
                assert (call.frames_lost, call.playout.stats.underruns) == (0, 0)
                staying.cancel()
            await eventually(lambda: not host.sessions)

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("codec", [Codec.PCMU, Codec.OPUS])
def test_a_caller_with_another_codec_is_understood_and_answered_in_it(codec: Codec) -> None:
    form = AudioFormat(codec=codec, rate=8_000 if codec is Codec.PCMU else 48_000)

    async def main() -> None:
        async with (
            runtime() as (_, transport),
            Client.connect(transport.url, audio_in=form, audio_out=form) as call,
        ):
            # A codec for speech takes a constant for silence: this is a tone.
            for start in range(0, len(TONE), 640):
                call.send_frame(TONE[start : start + 640], 16_000)
                await asyncio.sleep(0.02)
            for _ in range(250):
                call.send_frame(bytes(640), 16_000)
                await asyncio.sleep(0.02)
                if call.played:
                    break
            assert call.played

    asyncio.run(main())


@pytest.mark.slow
def test_the_caller_speaks_over_the_reply_and_it_stops() -> None:
    async def main() -> None:
        async with runtime(LONG) as (_, transport), Client.connect(transport.url) as call:
            staying = await speak(call)
            opened = await call.signal("playback_started")
            staying.cancel()
            await call.send_audio(LOUD * 60)
            stopped = await call.until(lambda e: isinstance(e, Playback) and e.action == "stop")
            assert isinstance(stopped, Playback)
            assert stopped.turn_id == opened.turn_id
            heard = call.playout.heard_ms
            await asyncio.sleep(0.1)
            assert call.playout.heard_ms <= heard + stopped.keep_ms

    asyncio.run(main())


def test_a_line_that_is_cut_in_the_middle_of_a_reply_hears_the_rest_when_it_is_back() -> None:
    async def main() -> None:
        async with runtime(LONG) as (host, transport):
            async with Client.connect(transport.url) as call:
                staying = await speak(call)
                opened = await call.signal("playback_started")
                staying.cancel()
                ticket, ear = call.ticket, call.playout
                await call.drop()
            before = ear.heard_ms
            async with Client.connect(transport.url, ticket=ticket, playout=ear) as again:
                assert again.welcome.resumed
                told = await again.signal("connected")
                assert told.epoch == again.epoch
                await eventually(lambda: ear.heard_ms > before + 300)
                assert ear.turn_id == opened.turn_id
                assert len(host.sessions) == 1
            await eventually(lambda: not host.sessions)

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.proves("F-091")
def test_a_session_waits_for_a_lost_line_resumes_in_time_and_is_cleaned_up_after_it() -> None:
    brief = "policies: {limits: {disconnect_ms_max: 400}}\n"

    async def main() -> None:
        before = _files()
        recorder = Remembering()
        async with runtime(brief, recorder) as (host, transport):
            async with Client.connect(transport.url) as call:
                sending = asyncio.create_task(call.send_audio(LOUD * 20))
                await call.signal("speech_started")
                ticket = call.ticket
                await call.drop()
            with pytest.raises(ConnectionLost):
                await sending
            session = host.sessions[ticket.session]
            await eventually(lambda: session.kernel.connection.line is ConnectionState.DISCONNECTED)
            assert not session.ended
            async with Client.connect(transport.url, ticket=ticket) as again:
                assert again.welcome.session == ticket.session
                await again.signal("connected")
                await again.drop()
            await eventually(lambda: not host.sessions)
            assert session.end_reason == "disconnect_deadline"
            assert recorder.signals().count("disconnected") == 2
            assert recorder.signals("disconnect_deadline") == ["session_state_changed"]
            await eventually(lambda: not transport.sittings)
            with pytest.raises(ConnectionLost, match="resume_refused"):
                async with Client.connect(transport.url, ticket=ticket):
                    pass
        mine = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is not mine] == []
        await eventually(lambda: _files() == before)

    asyncio.run(main())


def _files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.proves("F-084")
def test_a_wav_is_streamed_both_controls_act_garbage_is_answered_and_an_abrupt_close_leaves_nothing(
    tmp_path: Path,
) -> None:
    write_wav(tmp_path / "question.wav", Sound(LOUD * 30, 16_000))

    async def main() -> None:
        before = _files()
        async with runtime(LONG + "policies: {limits: {disconnect_ms_max: 200}}\n") as (host, transport):
            async with Client.connect(transport.url) as call:
                await call.send_audio(read_wav(tmp_path / "question.wav").pcm)
                partial = await call.until(lambda e: isinstance(e, Caption) and e.role == "user")
                assert isinstance(partial, Caption)
                assert partial.text
                assert not partial.final
                # Not a frame of silence has been sent: it is the control that ends the turn.
                call.control("end_of_utterance")
                final = await call.until(lambda e: isinstance(e, Caption) and e.role == "user" and e.final)
                assert isinstance(final, Caption)
                assert final.text.startswith(partial.text)
                opened = await call.signal("turn_open")
                silence = asyncio.create_task(call.send_silence(20_000))
                reply = await call.until(lambda e: isinstance(e, Frame) and any(e.pcm))
                assert isinstance(reply, Frame)
                assert reply.turn_id == opened.turn_id
                call.cancel()
                stopped = await call.until(lambda e: isinstance(e, Playback) and e.action == "stop")
                assert isinstance(stopped, Playback)
                assert stopped.turn_id == opened.turn_id
                await call.signal("abort")
                call._transport.send(WSMsgType.BINARY, b"\x01garbage")
                problem = await call.until(lambda e: isinstance(e, Problem))
                assert isinstance(problem, Problem)
                assert problem.code == "truncated"
                call.ping(1)
                await call.until(lambda e: isinstance(e, Pong))
                async with Client.connect(transport.url) as another:
                    assert another.welcome.session != call.welcome.session
                silence.cancel()
                await call.drop()
            await eventually(lambda: not host.sessions)
            await eventually(lambda: not transport.sittings)
            assert transport.counters.connections == 0
        mine = asyncio.current_task()
        assert [task for task in asyncio.all_tasks() if task is not mine] == []
        await eventually(lambda: _files() == before)

    asyncio.run(main())


def test_a_host_that_drains_ends_its_calls_and_refuses_new_ones() -> None:
    async def main() -> None:
        async with runtime() as (host, transport), Client.connect(transport.url) as call:
            assert await host.drain(2_000) == 0
            await eventually(lambda: call.lost)
            assert call.lost is not None
            assert call.lost.close_code == 1000
            with pytest.raises(Exception, match="4016 session_refused"):
                async with Client.connect(transport.url):
                    pass

    asyncio.run(main())


def test_a_wrong_control_message_is_told_and_the_call_goes_on() -> None:
    async def main() -> None:
        async with runtime() as (_, transport), Client.connect(transport.url, encoding="json") as call:
            call.control("make_coffee")
            refused = await call.until(lambda e: isinstance(e, Told) and e.signal == "abi_rejected")
            assert isinstance(refused, Told)
            assert refused.detail is not None
            assert refused.detail["code"] == "signal_unknown"
            call.control("digit", value="5")
            await call.signal("digit_pressed")

    asyncio.run(main())
