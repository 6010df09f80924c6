"""`openai-llm`: POST {base_url}/chat/completions, streamed; each delta goes on as it comes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from rspp.adapters.providers.openai_compatible.events import EventReader
from rspp.adapters.providers.openai_compatible.faults import (
    CONTENT_REFUSED,
    NOT_CALLED,
    PROTOCOL,
    REFUSED,
    STREAM_ERROR,
    TRUNCATED,
    fault_of_status,
)
from rspp.adapters.providers.openai_compatible.settings import LlmSettings
from rspp.adapters.providers.openai_compatible.upstream import Resolve, Upstream
from rspp.contract.event import Text
from rspp.host.ports import CallRequest, LiveCall, ProviderError, ProviderInfo

DONE: Final = "[DONE]"
EVENTS: Final = "text/event-stream"


class Delta(msgspec.Struct):
    content: str | None = None


class Choice(msgspec.Struct):
    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None


class Usage(msgspec.Struct):
    completion_tokens: int = 0


class Piece(msgspec.Struct):
    """One event of the stream, as far as anything of it matters."""

    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: Any = None


_PIECE: Final = msgspec.json.Decoder(Piece)


class ChatModel:
    """Writes an answer. A stream without an end of its own is a failure, whatever came before it."""

    def __init__(self, name: str, settings: LlmSettings, resolve: Resolve) -> None:
        self.info = ProviderInfo(name=name, modality="llm", version="1", model=settings.model)
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
        async with self._upstream.post("/chat/completions", EVENTS, json=body) as reply:
            self._upstream.expect(reply, EVENTS)
            call.accepted()
            await self._relay(call, EventReader(self.info.name, reply.chunks, self._settings.read_ms))

    async def _relay(self, call: LiveCall, reader: EventReader) -> None:
        finished, revision = False, 0
        while events := await reader.next():
            for event in events:
                if event == DONE:
                    await reader.drain()
                    return
                piece = self._decoded(event)
                if piece.usage is not None:
                    call.used(max(0, piece.usage.completion_tokens))
                for choice in piece.choices or ():
                    if choice.index != 0:
                        continue
                    if choice.delta is not None and choice.delta.content:
                        await call.produce(Text(choice.delta.content, 0, revision, role="assistant"))
                        revision += 1
                        if call.stopping:
                            return
                    finished = finished or self._is_end(choice)
        if not finished:
            raise TRUNCATED.error(f"{self.info.name}: the stream ended before the answer did")

    def _decoded(self, event: str) -> Piece:
        try:
            piece = _PIECE.decode(event)
        except (msgspec.DecodeError, RecursionError):
            raise PROTOCOL.error(f"{self.info.name}: an event is not of the agreed form") from None
        if piece.error is not None:
            raise stream_error(self.info.name, piece.error)
        return piece

    def _is_end(self, choice: Choice) -> bool:
        if choice.finish_reason == "content_filter":
            raise CONTENT_REFUSED.error(f"{self.info.name}: the answer was withheld")
        return choice.finish_reason is not None


def stream_error(name: str, error: object) -> ProviderError:
    """An error object in the middle of a stream; where it names a status, that one counts."""
    code = error.get("code") if isinstance(error, dict) else None
    fault = fault_of_status(code) if isinstance(code, int) and 400 <= code <= 599 else None
    return (fault or STREAM_ERROR).error(f"{name}: the stream told of an error")


def request_of(request: CallRequest, settings: LlmSettings) -> dict[str, Any]:
    """The body of the request: instructions, what was said before, what is said now."""
    if request.event is None or not isinstance(request.event.payload, Text):
        raise REFUSED.error(f"{request.provider}: there is no text to answer")
    config = request.config
    messages = [{"role": "system", "content": config["system"]}] if config.get("system") else []
    messages += [{"role": message.role, "content": message.text} for message in request.history]
    messages.append({"role": "user", "content": request.event.payload.text})
    body: dict[str, Any] = {**settings.extra, "messages": messages, "stream": True}
    model = settings.model or config.get("model")
    if model is not None:
        body["model"] = model
    if config.get("temperature") is not None:
        body["temperature"] = config["temperature"]
    if config.get("tokens_max") is not None:
        body[settings.tokens_field] = config["tokens_max"]
    if settings.usage:
        body["stream_options"] = {"include_usage": True}
    return body
