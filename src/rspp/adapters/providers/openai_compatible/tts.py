"""`openai-tts`: POST {base_url}/audio/speech, `pcm`; sound goes on as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from rspp.adapters.providers.openai_compatible.faults import NOT_CALLED, PROTOCOL, REFUSED, TRUNCATED
from rspp.adapters.providers.openai_compatible.settings import TtsSettings
from rspp.adapters.providers.openai_compatible.upstream import Resolve, Upstream
from rspp.contract.event import Audio, Text
from rspp.host.ports import CallRequest, LiveCall, ProviderInfo

RAW: Final = ("audio/pcm", "audio/x-pcm", "audio/l16", "audio/raw", "application/octet-stream")
# How files begin that are no bare samples: a server which ignores the format would be heard as noise.
FILES: Final = (b"RIFF", b"OggS", b"fLaC", b"ID3\x03", b"ID3\x04")
FILE_MARK_BYTES: Final = 4
MODEL: Final = "tts-1"
VOICE: Final = "alloy"
CHUNK_MS_MAX: Final = 200
SPEECH_MS_MAX: Final = 600_000  # of one sentence; a server that never ends is stopped


class Samples:
    """Bytes become whole samples, whatever their number: half of one waits for its other half."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._bytes_max = 2 * (rate * CHUNK_MS_MAX // 1000)
        self._half = b""
        self.index = 0

    def take(self, data: bytes) -> Iterator[Audio]:
        data = self._half + data
        whole = len(data) & ~1
        self._half = data[whole:]
        for start in range(0, whole, self._bytes_max):
            piece = data[start : min(start + self._bytes_max, whole)]
            yield Audio(piece, len(piece) // 2, self.index, self._rate)
            self.index += len(piece) // 2

    @property
    def elapsed_ms(self) -> int:
        return self.index * 1000 // self._rate


class SpeechModel:
    """Speaks a text. Silence in answer to words is a failure."""

    def __init__(self, name: str, settings: TtsSettings, resolve: Resolve) -> None:
        self.info = ProviderInfo(
            name=name, modality="tts", version="1", rates=(settings.rate,), model=settings.model
        )
        self._settings = settings
        self._upstream = Upstream(name, settings, resolve)

    async def open(self) -> None:
        await self._upstream.open()

    async def check(self) -> None:
        await self._upstream.check()

    async def close(self) -> None:
        await self._upstream.close()

    async def run(self, call: LiveCall) -> None:
        if call.stopping:
            raise NOT_CALLED.error(f"{self.info.name}: cancelled before it was called")
        body = request_of(call.request, self._settings)
        if not body["input"].strip():
            return
        async with self._upstream.post("/audio/speech", "audio/pcm, */*;q=0.1", json=body) as reply:
            self._upstream.expect(reply, *RAW)
            call.accepted()
            await self._relay(call, reply.chunks)

    async def _relay(self, call: LiveCall, chunks: AsyncIterator[bytes]) -> None:
        samples, head = Samples(self._settings.rate), b""
        async for chunk in chunks:
            head += chunk
            if samples.index == 0:
                if len(head) < FILE_MARK_BYTES:
                    continue
                if head.startswith(FILES):
                    raise PROTOCOL.error(f"{self.info.name}: this is a file, not bare samples")
            for audio in samples.take(head):
                await call.produce(audio)
                if call.stopping:
                    return
            head = b""
            if samples.elapsed_ms > SPEECH_MS_MAX:
                raise PROTOCOL.error(f"{self.info.name}: more than {SPEECH_MS_MAX} ms of speech")
        for audio in samples.take(head):
            await call.produce(audio)
        if samples.index == 0:
            raise TRUNCATED.error(f"{self.info.name}: there was no sound")


def request_of(request: CallRequest, settings: TtsSettings) -> dict[str, Any]:
    if request.event is None or not isinstance(request.event.payload, Text):
        raise REFUSED.error(f"{request.provider}: there is no text to speak")
    config = request.config
    body: dict[str, Any] = {
        **settings.extra,
        "model": settings.model or config.get("model") or MODEL,
        "voice": settings.voice or config.get("voice") or VOICE,
        "input": request.event.payload.text,
        "response_format": "pcm",
    }
    if config.get("rate") not in (None, 1, 1.0):
        body["speed"] = config["rate"]
    return body
