"""`openai-stt`: POST {base_url}/audio/transcriptions for each utterance, when the session says that it has ended.

Such a server takes no stream, so an utterance is held, within a bound, and sent whole. Quiet is never sent: these models
put words into it. Where the server streams its answer the words go on as partials.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rspp.adapters.providers.openai_compatible.events import EventReader, read_whole
from rspp.adapters.providers.openai_compatible.faults import NOT_CALLED, PROTOCOL, REFUSED, TRUNCATED
from rspp.adapters.providers.openai_compatible.gate import Utterance
from rspp.adapters.providers.openai_compatible.llm import DONE, EVENTS, stream_error
from rspp.adapters.providers.openai_compatible.settings import SttSettings
from rspp.adapters.providers.openai_compatible.upstream import Reply, Resolve, Upstream
from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec
from rspp.host.ports import CallRequest, EndOfFeed, LiveCall, ProviderInfo

MODEL: Final = "whisper-1"
RATES: Final = (16_000, 8_000, 24_000, 48_000)
JSON: Final = "application/json"


class Transcript(msgspec.Struct):
    text: str


class Heard(msgspec.Struct):
    """One event of a streamed transcript: `transcript.text.delta`, then `transcript.text.done`."""

    type: str = ""
    delta: str = ""
    text: str | None = None
    error: Any = None


_TRANSCRIPT: Final = msgspec.json.Decoder(Transcript)
_HEARD: Final = msgspec.json.Decoder(Heard)


class Recogniser:
    """Hears. Each end of the feed is answered with one final, an empty one where nobody spoke."""

    def __init__(self, name: str, settings: SttSettings, resolve: Resolve) -> None:
        self.info = ProviderInfo(
            name=name,
            modality="stt",
            version="1",
            streaming=settings.stream,
            rates=RATES,
            model=settings.model,
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
        call.accepted()
        utterance = Utterance(self._settings)
        segment = 0
        async for item in call.feed():
            if isinstance(item, EndOfFeed):
                await self._answer(call, utterance, segment)
                segment += 1
                utterance.clear()
                if item.last or call.stopping:
                    return
            elif isinstance(item.payload, Audio):
                self._take(utterance, item.payload)

    def _take(self, utterance: Utterance, audio: Audio) -> None:
        if audio.codec is not Codec.PCM16 or audio.channels != 1 or audio.rate not in RATES:
            raise REFUSED.error(f"{self.info.name}: it takes pcm16, mono, at {' '.join(map(str, RATES))} Hz")
        if utterance.rate not in (0, audio.rate):
            utterance.clear()  # the stream began anew; two rates make no one file
        utterance.add(audio.data, audio.rate)

    async def _answer(self, call: LiveCall, utterance: Utterance, segment: int) -> None:
        if not utterance.spoken:
            await call.produce(Text("", segment, 0, final=True, role="user"))
            return
        body = {
            "files": {"file": ("speech.wav", utterance.wav(), "audio/wav")},
            "data": request_of(call.request, self._settings),
        }
        accept = EVENTS if self._settings.stream else JSON
        async with self._upstream.post("/audio/transcriptions", accept, **body) as reply:
            self._upstream.expect(reply, *((EVENTS, JSON) if self._settings.stream else (JSON,)))
            if self._settings.stream and reply.content_type == EVENTS:
                text, revision = await self._partials(call, reply, segment)
            else:
                text, revision = await self._whole(reply), 0
        await call.produce(Text(text.strip(), segment, revision, final=True, role="user"))

    async def _whole(self, reply: Reply) -> str:
        body = await read_whole(self.info.name, reply.chunks, self._settings.read_ms)
        try:
            return _TRANSCRIPT.decode(body).text
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise PROTOCOL.error(f"{self.info.name}: the transcript is not of the agreed form") from None

    async def _partials(self, call: LiveCall, reply: Reply, segment: int) -> tuple[str, int]:
        """The whole text, and how many partials there were of it."""
        reader = EventReader(self.info.name, reply.chunks, self._settings.read_ms)
        said, revision = "", 0
        while events := await reader.next():
            for event in events:
                if event == DONE:
                    break
                heard = self._decoded(event)
                if heard.text is not None and heard.type.endswith(".done"):
                    await reader.drain()
                    return heard.text, revision
                if heard.delta:
                    said += heard.delta
                    await call.produce(Text(said, segment, revision, role="user"))
                    revision += 1
        raise TRUNCATED.error(f"{self.info.name}: the stream ended before the transcript did")

    def _decoded(self, event: str) -> Heard:
        try:
            heard = _HEARD.decode(event)
        except (msgspec.DecodeError, RecursionError):
            raise PROTOCOL.error(f"{self.info.name}: an event is not of the agreed form") from None
        if heard.error is not None:
            raise stream_error(self.info.name, heard.error)
        return heard


def request_of(request: CallRequest, settings: SttSettings) -> dict[str, str]:
    """The fields of the form beside the file."""
    config = request.config
    form = {name: str(value) for name, value in settings.extra.items()}
    form["model"] = str(settings.model or config.get("model") or MODEL)
    form["response_format"] = "json"
    if config.get("language"):
        # The API takes the language alone, as ISO 639-1.
        form["language"] = str(config["language"]).partition("-")[0].lower()
    words = config.get("vocabulary")
    if isinstance(words, list | tuple) and words:
        form["prompt"] = ", ".join(map(str, words))
    if settings.stream:
        form["stream"] = "true"
    return form
