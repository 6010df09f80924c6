"""`local-smollm2`: a small language model in this process; or any other GGUF file that a setting names.

What the model says is handed on token by token. It looks after each token, and after each part of the prompt, whether it
is still wanted, so a cancel is obeyed within milliseconds. One model serves all sessions; who finds no free place waits a
bounded time and is told of an overload.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from rspp.adapters.providers.local.llama import Llama, LlamaCall, Wish
from rspp.adapters.providers.local.settings import settings_of
from rspp.adapters.providers.local.weights import locate
from rspp.adapters.providers.local.workers import Workers
from rspp.contract.event import Text
from rspp.contract.words import OutcomeClass
from rspp.host.calls import REFUSING
from rspp.host.ports import Answer, Call, CallRequest, ProviderError, ProviderInfo

WEIGHTS: Final = "smollm2-135m"
WEIGHTS_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Old messages go in groups, so that the beginning of the prompt stays the same, and known to the model, for a while.
MESSAGES_A_GROUP: Final = 8


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `provider_settings`."""

    model_path: str | None = None
    sessions: int = 2  # answers made side by side
    threads: int = 1  # two wait for each other on a busy machine
    context_tokens_max: int = 2_048
    history_characters_max: int = 2_000
    tokens_max: int = 256
    temperature: float = 0.0  # a model this small is best at its likeliest word
    waiting_max: int = 8
    queue_ms_max: int = 2_000


class LocalSmolLm2:
    """The provider."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        self.settings = settings_of(name, settings, Settings)
        path = self.settings.model_path
        self.info = ProviderInfo(
            name=name, modality="llm", version="1", model=Path(path).stem if path else WEIGHTS
        )
        self._llama: Llama | None = None
        self._workers: Workers | None = None

    async def open(self) -> None:
        settings = self.settings
        file = Path(settings.model_path) if settings.model_path else locate(WEIGHTS) / WEIGHTS_FILE
        self._llama = await asyncio.to_thread(
            Llama,
            file,
            slots=settings.sessions,
            threads=settings.threads,
            context_tokens_max=settings.context_tokens_max,
        )
        self._workers = Workers(
            self.info.name,
            threads=settings.sessions,
            waiting_max=settings.waiting_max,
            queue_ms_max=settings.queue_ms_max,
        )

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        if self._llama is None or self._workers is None:
            raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_not_open", retryable=True)
        try:
            wish = self._wish(request)
        except ProviderError as error:
            answer.fail(error)
            return REFUSING
        return LlamaCall(answer, self._workers, self._llama, wish)

    async def close(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            await workers.close()
        if self._llama is not None:
            llama, self._llama = self._llama, None
            await asyncio.to_thread(llama.close)

    def _wish(self, request: CallRequest) -> Wish:
        """What is asked of the model: the instructions, what was said so far, and what the caller says now."""
        payload = request.event.payload if request.event is not None else None
        if not isinstance(payload, Text):
            raise ProviderError(OutcomeClass.BLOCKED, "payload_mismatch", "a language model answers a text")
        config, settings = request.config, self.settings
        messages = [{"role": m.role, "content": m.text} for m in request.history if m.text]
        while sum(len(m["content"]) for m in messages) > settings.history_characters_max:
            del messages[:MESSAGES_A_GROUP]
        if system := config.get("system"):
            messages.insert(0, {"role": "system", "content": str(system)})
        messages.append({"role": "user", "content": payload.text})
        tokens_max, temperature = config.get("tokens_max"), config.get("temperature")
        return Wish(
            messages=messages,
            tokens_max=min(tokens_max, settings.tokens_max)
            if isinstance(tokens_max, int)
            else settings.tokens_max,
            temperature=float(temperature) if isinstance(temperature, (int, float)) else settings.temperature,
        )
