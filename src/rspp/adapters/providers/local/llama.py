"""llama.cpp inside this process, through `xllamacpp`: messages in, tokens out one by one, stopped by a flag.

The library opens a socket on the loopback for its own use; a secret made for each model keeps everybody else out of it.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from pathlib import Path
from typing import Any, Final, NamedTuple

from rspp.adapters.providers.local.runtime import runtime
from rspp.adapters.providers.local.workers import Workers
from rspp.contract.errors import MisuseError
from rspp.contract.event import Event, Text
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.ports import Answer, ProviderError

# The prompt is read in parts of this many tokens; between two of them a cancel is seen.
PROMPT_PART_TOKENS: Final = 64
SEED: Final = 1


class Wish(NamedTuple):
    """What is asked for."""

    messages: list[dict[str, str]]
    tokens_max: int
    temperature: float


class Llama:
    """One loaded model."""

    def __init__(self, file: Path, *, slots: int, threads: int, context_tokens_max: int) -> None:
        if not file.is_file():
            raise MisuseError("model_missing", f"there is no model file {file.name} where the settings say")
        engine = runtime("xllamacpp")
        params = engine.CommonParams()
        params.model.path = str(file)
        params.n_parallel = slots
        params.n_ctx = context_tokens_max * slots
        params.n_batch = params.n_ubatch = PROMPT_PART_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.hostnames = ["127.0.0.1"]
        params.api_keys = [secrets.token_urlsafe(32)]
        params.verbosity = -1  # it would log to stderr
        self._server: Any = engine.Server(params)

    def chat(self, wish: Wish, on_chunk: Any) -> None:
        """Answer; `on_chunk` is called with each piece and says whether to stop."""
        self._server.handle_chat_completions(
            {
                "messages": wish.messages,
                "max_tokens": wish.tokens_max,
                "temperature": wish.temperature,
                "seed": SEED,
                "stream": True,
                "return_progress": True,
                "cache_prompt": True,
            },
            on_chunk,
        )

    def close(self) -> None:
        self._server = None


class LlamaCall:
    """One answer, on its way from a worker thread to the loop. It is fed nothing: all that it needs is in the wish."""

    def __init__(self, answer: Answer, workers: Workers, llama: Llama, wish: Wish) -> None:
        self._answer = answer
        self._llama = llama
        self._wish = wish
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._error: ProviderError | None = None
        self._held: list[str] = []  # bounded: by the tokens of one answer; what came while nobody read
        self._tokens = 0
        self._throttled = self._over = self._generated = False
        answer.accepted()
        self._job = self._loop.create_task(workers.run(self._generate))
        self._job.add_done_callback(self._ended)

    # ---- the Call ------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None: ...
    def end(self, last: bool) -> None: ...

    def throttle(self, on: bool) -> None:
        self._throttled = on
        if not on:
            self._flush()

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self.kill()
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
        self._stop.set()
        self._job.cancel()

    # ---- in the worker thread ------------------------------------------------------------------------------------

    def _generate(self) -> None:
        if not self._stop.is_set():
            self._llama.chat(self._wish, self._said)

    def _said(self, piece: dict[str, Any]) -> bool:
        """One piece from the model; True stops it."""
        if "error" in piece:
            self._error = _refusal(piece["error"])
            return True
        text = "".join(choice.get("delta", {}).get("content") or "" for choice in piece.get("choices", ()))
        if text:
            try:
                self._loop.call_soon_threadsafe(self._take, text)
            except RuntimeError:  # the loop is closed: nobody listens any more
                return True
        return self._stop.is_set()

    # ---- on the loop ---------------------------------------------------------------------------------------------

    def _take(self, text: str) -> None:
        self._held.append(text)
        self._flush()

    def _flush(self) -> None:
        """Hand on what is there, while somebody reads; after the last of it, the end."""
        if self._over or self._throttled:
            return
        held, self._held = self._held, []
        for text in held:
            self._answer.produce(Text(text, revision=self._tokens, role="assistant"))
            self._tokens += 1
        if self._generated:
            self._over = True
            self._answer.finish(self._tokens)

    def _ended(self, job: asyncio.Task[None]) -> None:
        error = None if job.cancelled() else job.exception()
        if self._over:
            return
        if error is not None and not isinstance(error, ProviderError):
            error = _failed(type(error).__name__)
        failed = self._error or error
        if failed is not None:
            self._over = True
            self._answer.fail(failed)
            return
        self._generated = True
        self._flush()


def _refusal(error: dict[str, Any]) -> ProviderError:
    kind = str(error.get("type", "unknown"))
    if kind == "exceed_context_size_error":
        return ProviderError(
            OutcomeClass.BLOCKED, "prompt_too_long", "the prompt exceeds the model's context"
        )
    return _failed(kind)


def _failed(kind: str) -> ProviderError:
    return ProviderError(
        OutcomeClass.INFRASTRUCTURE_FAILURE, "model_failed", f"the model failed: {kind}", retryable=True
    )
