"""A voice's samples go on as they come, whole and in order, however its bytes were cut."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from rspp.adapters.providers.openai_compatible import SpeechModel, providers
from rspp.adapters.providers.openai_compatible.tts import CHUNK_MS_MAX
from rspp.contract.event import Audio
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError
from tests.unit.adapters.providers.openai_compatible.call import Live
from tests.unit.adapters.providers.openai_compatible.server import Asked, Peer, Script, Server, serving

SOUND = random.Random(1).randbytes(100_000)


def talk(script: Script, live: Live, **settings: Any) -> Server:
    async def main() -> Server:
        async with serving(script) as server, asyncio.timeout(5):
            voice = providers()["openai-tts"].factory("v", {"base_url": server.base_url, **settings})
            assert isinstance(voice, SpeechModel)
            await voice.open()
            try:
                await voice.run(live)
            finally:
                await voice.close()
            return server

    return asyncio.run(main())


def plays(*pieces: bytes, kind: str = "audio/pcm") -> Script:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.chunked(*pieces, kind=kind)

    return script


def audio_of(live: Live) -> list[Audio]:
    chunks = [chunk for chunk in live.chunks if isinstance(chunk, Audio)]
    index = 0
    for chunk in chunks:
        assert chunk.sample_index == index
        assert len(chunk.data) == 2 * chunk.samples
        assert 0 < chunk.samples <= chunk.rate * CHUNK_MS_MAX // 1000
        index += chunk.samples
    return chunks


@pytest.mark.parametrize("sizes", [[1], [3, 5, 7], [4096], [100_000], [1, 99_999], [2, 1, 1]])
def test_samples_are_whole_and_in_order_wherever_the_bytes_are_cut(sizes: list[int]) -> None:
    sound = SOUND if max(sizes) > 10 else SOUND[:3000]
    pieces, at, turn = [], 0, 0
    while at < len(sound):
        pieces.append(sound[at : at + sizes[turn % len(sizes)]])
        at, turn = at + len(pieces[-1]), turn + 1
    live = Live("Hello.", modality="tts")
    talk(plays(*pieces), live)
    assert b"".join(chunk.data for chunk in audio_of(live)) == sound
    assert {chunk.rate for chunk in audio_of(live)} == {24_000}


def test_half_a_sample_at_the_end_is_left_out() -> None:
    live = Live("Hello.", modality="tts")
    talk(plays(SOUND[:7]), live)
    assert b"".join(chunk.data for chunk in audio_of(live)) == SOUND[:6]


def test_the_first_sound_goes_on_before_the_rest_is_there_and_a_cancel_hangs_up() -> None:
    async def main() -> None:
        gone = asyncio.Event()

        async def script(peer: Peer, _asked: Asked) -> None:
            await peer.chunked(SOUND[:960], kind="audio/pcm", end=False)
            await peer.hung_up()
            gone.set()

        async with serving(script) as server, asyncio.timeout(5):
            voice = providers()["openai-tts"].factory("v", {"base_url": server.base_url})
            assert isinstance(voice, SpeechModel)
            live = Live("Hello.", modality="tts")
            await voice.open()
            running = asyncio.create_task(voice.run(live))
            await live.heard(1)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            async with asyncio.timeout(0.5):
                await gone.wait()
            await voice.close()

    asyncio.run(main())


def test_the_request_says_what_is_to_be_spoken_and_how() -> None:
    live = Live("Hi.", modality="tts", config={"voice": "node-voice", "rate": 1.25, "model": "node-model"})
    server = talk(plays(SOUND[:8]), live, extra={"instructions": "calm"}, rate=16_000)
    assert server.asked[0].path == "/v1/audio/speech"
    assert server.asked[0].json == {
        "model": "node-model",
        "voice": "node-voice",
        "input": "Hi.",
        "response_format": "pcm",
        "speed": 1.25,
        "instructions": "calm",
    }
    assert audio_of(live)[0].rate == 16_000
    own = talk(plays(SOUND[:8]), Live("Hi.", config={"voice": "x", "rate": 1.0}), voice="own", model="m")
    assert (own.asked[0].json["voice"], own.asked[0].json["model"]) == ("own", "m")
    assert "speed" not in own.asked[0].json


def test_nothing_to_say_asks_nobody() -> None:
    live = Live(" \n", modality="tts")
    assert talk(plays(SOUND), live).asked == []
    assert live.chunks == []


def test_a_soft_stop_ends_after_the_chunk_in_flight() -> None:
    live = Live("Hello.", modality="tts")
    live.stop_after = 1
    talk(plays(SOUND), live)
    assert len(live.chunks) == 1


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (plays(kind="audio/pcm"), "provider_stream_truncated"),
        (plays(b"x"), "provider_stream_truncated"),
        (plays(b"RIFF" + SOUND, kind="application/octet-stream"), "provider_protocol_error"),
        (plays(b"R", b"I", b"FF", SOUND), "provider_protocol_error"),
        (plays(SOUND, kind="audio/mpeg"), "provider_protocol_error"),
        (plays(b'{"error": "x"}', kind="application/json"), "provider_protocol_error"),
        (plays(b"<html>", kind="text/html; charset=utf-8"), "provider_protocol_error"),
    ],
)
def test_what_is_no_sound_is_not_played(script: Script, reason: str) -> None:
    live = Live("Hello.", modality="tts")
    with pytest.raises(ProviderError) as caught:
        talk(script, live)
    assert caught.value.reason == reason
    assert caught.value.outcome is OutcomeClass.INFRASTRUCTURE_FAILURE
    assert live.chunks == []


def test_a_stream_that_breaks_off_is_a_failure_after_what_was_heard() -> None:
    async def script(peer: Peer, _asked: Asked) -> None:
        await peer.chunked(SOUND[:9600], kind="audio/pcm", end=False)

    live = Live("Hello.", modality="tts")
    with pytest.raises(ProviderError) as caught:
        talk(script, live)
    assert caught.value.reason == "provider_stream_truncated"
    assert sum(chunk.samples for chunk in audio_of(live)) == 4800
