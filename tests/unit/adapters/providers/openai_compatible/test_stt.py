"""Each end of the feed has one final; quiet is never sent; what is held has a bound."""

from __future__ import annotations

import asyncio
import io
import math
import wave
from array import array
from email import message_from_bytes
from typing import Any

import pytest

from rspp.adapters.providers.openai_compatible import Recogniser, providers
from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec, OutcomeClass
from rspp.host.ports import EndOfFeed, ProviderError
from tests.unit.adapters.providers.openai_compatible.call import Live
from tests.unit.adapters.providers.openai_compatible.server import (
    DONE,
    Asked,
    Peer,
    Script,
    Server,
    event,
    serving,
)

NOW, LAST = EndOfFeed(last=False), EndOfFeed(last=True)


def tone(ms: int, level: float = 0.2, rate: int = 16_000) -> list[Audio]:
    """Frames of 20 ms."""
    count = rate // 50
    wave_ = array("h", (int(level * 32767 * math.sin(n * 0.2)) for n in range(count))).tobytes()
    return [Audio(wave_, count, n * count, rate) for n in range(ms // 20)]


def quiet(ms: int) -> list[Audio]:
    return tone(ms, 0.0005)


def form_of(asked: Asked) -> dict[str, bytes]:
    parts = message_from_bytes(
        b"Content-Type: " + asked.headers["content-type"].encode() + b"\r\n\r\n" + asked.body
    )
    found = {}
    for part in parts.walk():
        name = part.get_param("name", header="content-disposition")
        if name:
            found[str(name)] = part.get_payload(decode=True)
    return found  # type: ignore[return-value]  # bytes, for no part is itself in parts


def milliseconds(asked: Asked) -> tuple[float, int]:
    with wave.open(io.BytesIO(form_of(asked)["file"])) as file:
        assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
        return file.getnframes() * 1000 / file.getframerate(), file.getframerate()


def hear(
    script: Script, *items: Any, config: dict[str, Any] | None = None, **settings: Any
) -> tuple[Live, Server]:
    live = Live(modality="stt", config=config)
    for item in items:
        live.give(*(item if isinstance(item, list) else [item]))

    async def main() -> Server:
        async with serving(script) as server, asyncio.timeout(8):
            ears = providers()["openai-stt"].factory("e", {"base_url": server.base_url, **settings})
            assert isinstance(ears, Recogniser)
            await ears.open()
            try:
                await ears.run(live)
            finally:
                await ears.close()
            return server

    return live, asyncio.run(main())


async def whole(peer: Peer, _asked: Asked) -> None:
    await peer.head(200, "application/json")
    await peer.send(b'{"text": " Hello there. ", "usage": {}}')


def final(text: str, segment: int, revision: int = 0) -> Text:
    return Text(text, segment, revision, final=True, role="user")


def test_an_utterance_is_sent_when_it_has_ended_and_comes_back_as_a_final() -> None:
    live, server = hear(whole, quiet(2000), tone(500), quiet(200), NOW, quiet(100), NOW, tone(300), NOW, LAST)
    assert live.chunks == [final("Hello there.", 0), final("", 1), final("Hello there.", 2), final("", 3)]
    assert live.accepts == 1
    assert len(server.asked) == 2
    first, second = (milliseconds(asked) for asked in server.asked)
    assert first[1] == second[1] == 16_000
    assert 700 <= first[0] <= 1200  # the speech, what came after it, and the lead-in
    assert 300 <= second[0] <= 600


def test_the_form_says_what_the_node_and_the_settings_say() -> None:
    config = {"language": "en-GB", "vocabulary": ["RSPP", "kernel"], "model": "node"}
    _, server = hear(whole, tone(200), LAST, config=config, extra={"temperature": 0})
    form = form_of(server.asked[0])
    assert server.asked[0].path == "/v1/audio/transcriptions"
    assert form.pop("file").startswith(b"RIFF")
    assert form == {
        "model": b"node",
        "language": b"en",
        "prompt": b"RSPP, kernel",
        "response_format": b"json",
        "temperature": b"0",
    }


def test_partials_grow_by_revision_where_the_server_streams() -> None:
    async def script(peer: Peer, asked: Asked) -> None:
        assert form_of(asked)["stream"] == b"true"
        await peer.chunked(
            event(type="transcript.text.delta", delta="Hello"),
            event(type="transcript.text.delta", delta=" there"),
            event(type="transcript.text.done", text="Hello there.", usage={}),
            DONE,
        )

    live, _ = hear(script, tone(200), NOW, LAST, stream=True)
    assert live.chunks == [
        Text("Hello", 0, 0, role="user"),
        Text("Hello there", 0, 1, role="user"),
        final("Hello there.", 0, 2),
        final("", 1),
    ]
    live, _ = hear(whole, tone(200), LAST, stream=True)  # one that does not know how
    assert live.chunks == [final("Hello there.", 0)]


def test_a_click_is_no_speech_and_a_word_is() -> None:
    live, server = hear(whole, tone(40), NOW, tone(60), NOW, LAST)
    assert live.texts == ["", "Hello there.", ""]
    assert len(server.asked) == 1
    _, server = hear(whole, quiet(500), NOW, LAST, gate_dbfs=-96.0)
    assert len(server.asked) == 1


def test_an_utterance_without_end_keeps_its_latest_audio_only() -> None:
    _, server = hear(whole, tone(3000), LAST, utterance_ms_max=1000)
    assert milliseconds(server.asked[0])[0] == pytest.approx(1000, abs=20)


def test_empty_and_odd_frames_do_no_harm() -> None:
    odd = Audio(tone(20)[0].data + b"\x01", 320, 0)
    live, _ = hear(whole, [Audio(b"", 0, 0), Audio(b"\x01", 0, 0)], [odd] * 10, NOW, LAST)
    assert live.texts == ["Hello there.", ""]


def test_a_stream_that_changes_its_rate_begins_anew() -> None:
    _, server = hear(whole, tone(400), tone(200, rate=8_000), LAST)
    assert milliseconds(server.asked[0]) == (200.0, 8_000)


@pytest.mark.parametrize(
    "audio",
    [
        Audio(b"\0" * 320, 320, 0, 8_000, codec=Codec.PCMU),
        Audio(b"\0" * 640, 160, 0, channels=2),
        Audio(b"\0" * 640, 320, 0, 11_025),
        Audio(b"\0" * 640, 320, 0, 0),
    ],
)
def test_sound_that_no_such_server_takes_is_refused(audio: Audio) -> None:
    with pytest.raises(ProviderError) as caught:
        hear(whole, audio, LAST)
    assert caught.value.outcome is OutcomeClass.BLOCKED


def says(body: bytes, kind: str = "application/json", status: int = 200) -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.head(status, kind)
        await peer.send(body)

    return script


@pytest.mark.parametrize(
    ("script", "reason", "stream"),
    [
        (says(b""), "provider_stream_truncated", False),
        (says(b"{"), "provider_protocol_error", False),
        (says(b'{"text": 5}'), "provider_protocol_error", False),
        (says(b'{"words": []}'), "provider_protocol_error", False),
        (says(b'{"text": "\xff"}'), "provider_protocol_error", False),
        (says(b"hello", "text/plain"), "provider_protocol_error", False),
        (says(b"x" * (9 << 20)), "provider_protocol_error", False),
        (says(b"{}", status=413), "provider_request_refused", False),
        (
            says(event(type="transcript.text.delta", delta="a"), "text/event-stream"),
            "provider_stream_truncated",
            True,
        ),
        (says(DONE, "text/event-stream"), "provider_stream_truncated", True),
        (
            says(event(type="error", error={"message": "x"}), "text/event-stream"),
            "provider_stream_error",
            True,
        ),
        (says(b"data: 1\n\n", "text/event-stream"), "provider_protocol_error", True),
    ],
)
def test_a_transcript_that_is_none_is_a_failure(script: Script, reason: str, stream: bool) -> None:
    with pytest.raises(ProviderError) as caught:
        hear(script, tone(200), LAST, stream=stream)
    assert caught.value.reason == reason


def test_a_cancel_in_the_middle_of_an_utterance_hangs_up() -> None:
    async def main() -> None:
        gone, there = asyncio.Event(), asyncio.Event()

        async def script(peer: Peer, _asked: Asked) -> None:
            there.set()
            await peer.hung_up()
            gone.set()

        async with serving(script) as server, asyncio.timeout(5):
            ears = providers()["openai-stt"].factory("e", {"base_url": server.base_url})
            assert isinstance(ears, Recogniser)
            await ears.open()
            live = Live(modality="stt")
            live.give(*tone(200), NOW)
            running = asyncio.create_task(ears.run(live))
            await there.wait()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            async with asyncio.timeout(0.5):
                await gone.wait()
            await ears.close()

    asyncio.run(main())
