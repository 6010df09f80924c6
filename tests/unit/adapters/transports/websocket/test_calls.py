"""A caller who behaves: what it says reaches the session, what the session says reaches it."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import numpy as np
import pytest
from picows import WSMsgType

from rspp.adapters.transports.websocket import Page, Settings, WebSocketTransport
from rspp.client import Call, Client, Frame
from rspp.client.call import Event
from rspp.contract.errors import MisuseError
from rspp.contract.event import Text
from rspp.contract.wire import AudioFormat, Caption, Playback, Pong, Told
from rspp.contract.words import CancelScope, Codec
from rspp.kernel import inputs as i
from tests.unit.adapters.transports.websocket.given import eventually, quick, serving

TONE = (8_000 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype("<i2").tobytes()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_caller_is_seated_heard_and_answered(encoding: str) -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            async with Client.connect(
                transport.url, tenant="acme", encoding=encoding, metadata={"a": "b"}
            ) as call:
                seat = door.seat
                assert seat.bootstrap.tenant_id == "acme"
                assert seat.bootstrap.metadata == {"a": "b"}
                assert seat.bootstrap.playback_reports
                assert (call.welcome.session, call.welcome.epoch) == (seat.session_id, 3)
                await call.send_audio(TONE, paced=False)
                await eventually(lambda: len(seat.of(i.AudioReceived)) == 50)
                heard = seat.of(i.AudioReceived)
                assert b"".join(one.audio.data for one in heard) == TONE
                assert [one.transport_sequence for one in heard] == list(range(50))
                assert [one.audio.sample_index for one in heard] == list(range(0, 16_000, 320))
                assert {one.epoch for one in heard} == {3}
                seat.signal("turn_open", "turn-1")
                seat.line.send(seat.event(Text("hello", role="assistant", final=True), "turn-1"))
                told = await call.signal("turn_open")
                assert (told.turn_id, told.at_ms, told.detail) == ("turn-1", 5, {"n": 1})
                caption = await call.until(lambda event: isinstance(event, Caption))
                assert isinstance(caption, Caption)
                assert (caption.text, caption.role) == ("hello", "assistant")
            await eventually(lambda: seat.states() == ["connected", "ended"])

    asyncio.run(main())


def test_every_control_message_becomes_the_kernels_input() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            seat = door.seat
            call.cancel(CancelScope.NODE, "llm")
            for name in ("stop", "barge_in", "end_of_utterance", "talk_pressed", "talk_released"):
                call.control(name)
            call.control("digit", value="7")
            call.say("good day", key="k1")
            call.ping(9)
            pong = await call.until(lambda event: isinstance(event, Pong))
            assert isinstance(pong, Pong)
            assert pong.nonce == 9
            controls = seat.of(i.ControlReceived)
            assert [one.signal for one in controls][1:-1] == [
                *("stop", "barge_in", "end_of_utterance", "talk_pressed", "talk_released")
            ]
            assert (controls[0].scope, controls[0].target) == (CancelScope.NODE, "llm")
            assert (controls[-1].signal, controls[-1].value) == ("digit", "7")
            assert seat.of(i.TextReceived) == [i.TextReceived("good day", 8, None, "k1")]
            assert [one.transport_sequence for one in controls] == [1, 2, 3, 4, 5, 6, 7]

    asyncio.run(main())


def test_a_turns_audio_is_announced_sent_played_and_reported() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            seat = door.seat
            for index in range(0, 3_200, 320):
                seat.audio(TONE[2 * index : 2 * index + 640], index)
            seat.audio(b"", 3_200, end=True)
            await eventually(lambda: [r.what for r in seat.of(i.DeliveryReported)][-1:] == ["completed"])
            reports = seat.of(i.DeliveryReported)
            assert [report.what for report in reports][:2] == ["accepted", "started"]
            assert (reports[-1].turn_id, reports[-1].heard_ms) == ("turn-1", 200)
            assert bytes(call.played) == TONE[:6_400]
            assert call.playout.stats.underruns == 0
            events = [event async for event in _first(call, 12)]
            assert events[0] == Playback(action="start", turn_id="turn-1", turn=1)
            assert all(isinstance(event, Frame) for event in events[1:])

    asyncio.run(main())


async def _first(call: Call, count: int) -> AsyncIterator[Event]:
    async for event in call.events():
        yield event
        count -= 1
        if not count:
            return


def test_pause_resume_and_stop_reach_the_ear() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            seat = door.seat
            seat.audio(TONE, 0)
            seat.line.pause("turn-1")
            await call.until(lambda event: isinstance(event, Playback) and event.action == "pause")
            heard = call.playout.heard_ms
            await asyncio.sleep(0.06)
            assert call.playout.heard_ms == heard
            seat.line.resume("turn-1")
            await eventually(lambda: call.playout.heard_ms > heard + 20)
            seat.line.stop("turn-1", 40)
            await call.until(lambda event: isinstance(event, Playback) and event.action == "stop")
            assert call.playout.buffered_ms <= 40
            await eventually(lambda: not call.playout.active)
            assert call.playout.heard_ms < 900

    asyncio.run(main())


@pytest.mark.proves("F-090")
@pytest.mark.parametrize(
    ("codec", "rate"),
    [
        (Codec.PCM16, 8_000),
        (Codec.PCM16, 24_000),
        (Codec.PCM16, 48_000),
        (Codec.PCMU, 8_000),
        (Codec.OPUS, 48_000),
    ],
)
def test_other_formats_are_carried_both_ways_with_true_counts(codec: Codec, rate: int) -> None:
    form = AudioFormat(codec=codec, rate=rate)

    async def main() -> None:
        async with (
            serving() as (transport, door),
            Client.connect(transport.url, audio_in=form, audio_out=form) as call,
        ):
            seat = door.seat
            await call.send_audio(TONE, rate=16_000, paced=False)
            await eventually(lambda: len(seat.of(i.AudioReceived)) == 50)
            heard = [one.audio for one in seat.of(i.AudioReceived)]
            assert {(a.codec, a.rate, a.channels) for a in heard} == {(Codec.PCM16, 16_000, 1)}
            assert sum(a.samples for a in heard) == 16_000
            assert [a.sample_index for a in heard] == list(range(0, 16_000, 320))
            assert _pitch(b"".join(a.data for a in heard), 16_000) == pytest.approx(440, abs=3)
            for index in range(0, 16_000, 320):
                seat.audio(TONE[2 * index : 2 * index + 640], index)
            seat.audio(b"", 16_000, end=True)
            frames = [event async for event in _first(call, 52) if isinstance(event, Frame)]
            assert [f.header.sample_index for f in frames] == [k * rate // 50 for k in range(51)]
            assert frames[-1].header.end
            assert _pitch(b"".join(f.pcm for f in frames), rate) == pytest.approx(440, abs=3)
            assert transport.counters.transcode.total == 50
            assert transport.counters.transcode.below_us(0.5) < 5_000

    asyncio.run(main())


def _pitch(pcm: bytes, rate: int) -> float:
    sound = np.frombuffer(pcm, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum)) * rate / len(sound)


def test_without_reports_the_transport_says_accepted_once_a_turn() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url, playback_reports=False):
            seat = door.seat
            assert not seat.bootstrap.playback_reports
            for turn in ("turn-1", "turn-2"):
                seat.audio(TONE[:640], 0, turn)
                seat.audio(TONE[640:1280], 320, turn)
            await eventually(lambda: len(seat.of(i.DeliveryReported)) == 2)
            assert [(r.what, r.turn_id) for r in seat.of(i.DeliveryReported)] == [
                ("accepted", "turn-1"),
                ("accepted", "turn-2"),
            ]

    asyncio.run(main())


def test_a_session_that_ends_says_good_bye() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            door.seat.line.close("drained")
            await eventually(lambda: call.lost)
            assert call.lost is not None
            assert (call.lost.close_code, call.lost.reason) == (1000, "normal")

    asyncio.run(main())


def test_a_server_that_stops_says_so_and_leaves_the_session_to_its_host() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            await transport.stop("shutting down")
            assert call.lost is not None or await eventually(lambda: call.lost)
            assert call.lost is not None
            assert call.lost.close_code == 1001
            assert door.seat.states() == ["connected", "disconnected"]

    asyncio.run(main())


def test_pages_are_served_on_the_same_port_and_nothing_else_is() -> None:
    pages = {"/": Page("text/html", b"<p>hello"), "/healthz": Page("text/plain", b"ok")}

    def get(url: str) -> tuple[int, bytes, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b"", ""

    async def main() -> None:
        async with serving(pages=pages) as (transport, _):
            origin = f"http://127.0.0.1:{transport.port}"
            assert await asyncio.to_thread(get, f"{origin}/?x=1") == (200, b"<p>hello", "text/html")
            assert (await asyncio.to_thread(get, f"{origin}/healthz"))[:2] == (200, b"ok")
            assert (await asyncio.to_thread(get, f"{origin}/secret"))[0] == 404

    asyncio.run(main())


def test_a_port_that_is_taken_is_a_clear_failure() -> None:
    async def main() -> None:
        async with serving() as (transport, door):
            second = WebSocketTransport(Settings(port=transport.port))
            with pytest.raises(MisuseError, match=r"address_unusable: cannot listen at 127\.0\.0\.1"):
                await second.start(door)

    asyncio.run(main())


def test_what_a_session_has_no_room_for_waits_and_then_the_oldest_goes() -> None:
    async def main() -> None:
        async with (
            serving(quick(held_frames_max=5)) as (transport, door),
            Client.connect(transport.url) as call,
        ):
            seat = door.seat
            seat.room = 10
            await call.send_audio(TONE[: 640 * 20], paced=False)
            await eventually(lambda: transport.counters.held_dropped == 5)
            seat.room = 1_000
            await eventually(lambda: len(seat.of(i.AudioReceived)) == 15)
            sequences = [one.transport_sequence for one in seat.of(i.AudioReceived)]
            assert sequences == [*range(10), *range(15, 20)]

    asyncio.run(main())


def test_an_unknown_message_is_the_sessions_to_judge() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url, encoding="json") as call:
            call._transport.send(WSMsgType.TEXT, b'{"type":"acme.wave","extensions":{"acme.x":1}}')
            unknown = (await eventually(lambda: door.of(i.UnknownReceived)))[0]
            assert (unknown.kind, unknown.core, unknown.extensions) == ("acme.wave", False, {"acme.x": 1})

    asyncio.run(main())


def test_told_is_all_a_client_sees_of_a_new_epoch() -> None:
    async def main() -> None:
        async with serving() as (transport, door), Client.connect(transport.url) as call:
            seat = door.seat
            seat.epoch = 4
            seat.signal("lease_rotated")
            told = await call.until(lambda event: isinstance(event, Told))
            assert isinstance(told, Told)
            assert (told.epoch, call.epoch) == (4, 4)
            call.send_frame(TONE[:640])
            await eventually(lambda: seat.of(i.AudioReceived))
            assert seat.of(i.AudioReceived)[0].epoch == 4

    asyncio.run(main())
