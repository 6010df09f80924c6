"""`local-whisper`: partials while the caller speaks, a final whenever one is asked for, and no words for silence.

Whisper does not stream, so growing beginnings of the utterance are decoded anew: one decode at a time for a session, after
every third of a second of new speech, and once when a pause begins. So the final is mostly known when it is asked for.
Decodes share a few threads; a session that finds them taken listens on and asks again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from rspp.adapters.providers.local.settings import settings_of
from rspp.adapters.providers.local.silero_model import SileroModel
from rspp.adapters.providers.local.sound import RATE_HZ, Ear, refused
from rspp.adapters.providers.local.utterance import Utterance
from rspp.adapters.providers.local.whisper_model import WhisperModel, Words
from rspp.adapters.providers.local.workers import Workers
from rspp.contract.event import Audio, Event, Text
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.calls import REFUSING
from rspp.host.ports import Answer, Call, CallRequest, ProviderError, ProviderInfo

# Looked at in one go: four of the detector's windows.
STEP_BYTES: Final = 2 * RATE_HZ * 128 // 1_000
# Sound that waits for a thread; more means that the machine is far behind, and the oldest goes.
WAITING_BYTES_MAX: Final = 2 * RATE_HZ * 25
ENDINGS_MAX: Final = 8  # finals that are owed; the kernel has at most two


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of `provider_settings`."""

    model: str = "tiny.en"
    language: str = "en"
    workers: int = 2
    waiting_max: int = 32
    queue_ms_max: int = 2_000


class LocalWhisper:
    """The provider: one model and its threads for all sessions."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        self.settings = settings_of(name, settings, Settings)
        self.info = ProviderInfo(
            name=name,
            modality="stt",
            version="1",
            streaming=True,
            cancellable=False,
            rates=RATES_HZ,
            model=self.settings.model,
        )
        self._detector: SileroModel | None = None
        self._model: WhisperModel | None = None
        self._workers: Workers | None = None

    async def open(self) -> None:
        settings = self.settings
        self._detector = await asyncio.to_thread(SileroModel)
        self._model = await asyncio.to_thread(
            WhisperModel, f"whisper-{settings.model}", workers=settings.workers, language=settings.language
        )
        self._workers = Workers(
            self.info.name,
            threads=settings.workers,
            waiting_max=settings.waiting_max,
            queue_ms_max=settings.queue_ms_max,
        )

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        if self._model is None or self._detector is None or self._workers is None:
            raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_not_open", retryable=True)
        try:
            self._check(request)
        except ProviderError as error:
            answer.fail(error)
            return REFUSING
        answer.accepted()
        utterance = Utterance(self._detector, self._model.decode)
        return WhisperCall(answer, self._workers, utterance, self.settings.language)

    async def close(self) -> None:
        if self._workers is not None:
            workers, self._workers = self._workers, None
            await workers.close()
        self._model = self._detector = None

    def _check(self, request: CallRequest) -> None:
        """A node may name the model and the language that are open, and no other."""
        model, language = request.config.get("model"), request.config.get("language")
        if model is not None and model != self.settings.model:
            raise refused("model_unknown", f"{self.info.name} runs {self.settings.model}, not {model}")
        if language is not None and str(language).partition("-")[0].lower() != self.settings.language:
            raise refused("language_unknown", f"{self.info.name} hears {self.settings.language}")


class Ending(NamedTuple):
    """A final that is owed, and the sound before it that nobody has looked at yet."""

    sound: bytes
    last: bool


class WhisperCall:
    """One session's recognition. One step at a time is under way, in a worker thread; the utterance is that step's."""

    def __init__(self, answer: Answer, workers: Workers, utterance: Utterance, language: str) -> None:
        self._answer = answer
        self._workers = workers
        self._utterance = utterance
        self._language = language
        self._ear = Ear()
        self._sound = b""
        self._endings: deque[Ending] = deque()  # bounded: by ENDINGS_MAX, in `end`
        self._step: asyncio.Task[None] | None = None
        self._over = False
        self._segment = 0
        self._revision = 0
        self._said = ""

    # ---- the Call ------------------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        if self._over or not isinstance(event.payload, Audio):
            return
        try:
            self._sound = (self._sound + self._ear.hear(event.payload))[-WAITING_BYTES_MAX:]
        except ProviderError as error:
            self._fail(error)
            return
        self._next()

    def end(self, last: bool) -> None:
        if self._over:
            return
        if len(self._endings) >= ENDINGS_MAX:
            self._fail(ProviderError(OutcomeClass.OVERLOAD, "provider_overload", retryable=True))
            return
        self._endings.append(Ending(self._sound, last))
        self._sound = b""
        self._next()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self.kill()
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True
        self._endings.clear()
        self._sound = b""
        if self._step is not None:
            self._step.cancel()

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _next(self) -> None:
        """Begin the next step, if none is under way: a final that is owed, else what has come in, if it is enough."""
        if self._over or self._step is not None:
            return
        if self._endings:
            self._begin(self._finish(self._endings.popleft()))
        elif len(self._sound) >= STEP_BYTES:
            sound, self._sound = self._sound, b""
            self._begin(self._listen(sound))

    def _begin(self, step: Coroutine[Any, Any, None]) -> None:
        self._step = asyncio.get_running_loop().create_task(step)
        self._step.add_done_callback(self._stepped)

    def _stepped(self, step: asyncio.Task[None]) -> None:
        self._step = None
        error = None if step.cancelled() else step.exception()
        if self._over:
            return
        if isinstance(error, ProviderError):
            self._fail(error)
        elif error is not None:
            self._fail(
                ProviderError(
                    OutcomeClass.INFRASTRUCTURE_FAILURE,
                    "model_failed",
                    f"the recogniser raised {type(error).__name__}",
                    retryable=True,
                )
            )
        else:
            self._next()

    async def _listen(self, sound: bytes) -> None:
        try:
            heard = await self._workers.run(lambda: self._utterance.listen(sound))
        except ProviderError as error:
            if error.outcome is not OutcomeClass.OVERLOAD:
                raise
            self._put_back(sound)
            return
        if heard is None:
            return
        if heard.final:
            self._say_final(heard.words)
        elif heard.words.text and heard.words.text != self._said and not self._answer.throttled:
            self._say(heard.words, final=False)

    async def _finish(self, ending: Ending) -> None:
        """Answer with a final; the very last end is answered only if something was said."""
        words = await self._workers.run(lambda: self._utterance.finish(ending.sound), urgent=True)
        if not ending.last or words.text or self._revision:
            self._say_final(words)
        if ending.last:
            self._over = True
            self._answer.finish()

    def _put_back(self, sound: bytes) -> None:
        """Nobody has looked at it: it goes before whatever has come since."""
        if self._endings:
            first = self._endings[0]
            self._endings[0] = first._replace(sound=(sound + first.sound)[-WAITING_BYTES_MAX:])
        else:
            self._sound = (sound + self._sound)[-WAITING_BYTES_MAX:]

    # ---- saying --------------------------------------------------------------------------------------------------

    def _say_final(self, words: Words) -> None:
        self._say(words, final=True)
        self._segment += 1
        self._revision = 0
        self._said = ""

    def _say(self, words: Words, *, final: bool) -> None:
        if self._over:
            return
        text = Text(
            words.text,
            segment=self._segment,
            revision=self._revision,
            final=final,
            language=self._language,
            confidence=round(words.confidence, 3),
            role="user",
        )
        self._revision += 1
        self._said = words.text
        self._answer.produce(text)

    def _fail(self, error: ProviderError) -> None:
        self.kill()
        self._answer.fail(error)
