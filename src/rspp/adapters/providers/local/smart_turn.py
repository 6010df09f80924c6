"""`local-smart-turn`: how likely the caller has finished, judged once in each pause by the melody of what was said.

It is asked when a voice has gone over into a short pause, never on silence alone; if the caller goes on before the
answer is there, the answer is dropped. It judges real voices; on synthetic ones it is unreliable, and a pipeline keeps
its silence timeout in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from rspp.adapters.providers.local.energy import Levels, Loudness
from rspp.adapters.providers.local.log_mel import LogMel
from rspp.adapters.providers.local.runtime import runtime
from rspp.adapters.providers.local.sound import RATE_HZ, Ear, to_float
from rspp.adapters.providers.local.weights import locate
from rspp.contract.event import Audio, Event
from rspp.contract.streams import RATES_HZ
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.batching import Batcher
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo

WEIGHTS: Final = "smart-turn-v3.2"
WEIGHTS_FILE: Final = "smart-turn-v3.2-cpu.onnx"
BATCH_MAX: Final = 8
QUEUE_MS_MAX: Final = 500
QUEUE_MAX: Final = 64
CLOSE_MS_MAX: Final = 1_000
SOUND_MS: Final = 8_000  # what the model looks back on
SOUND_SAMPLES: Final = RATE_HZ * SOUND_MS // 1_000
# A pause is this long, after at least this much voice: a click is no utterance.
PAUSE_MS: Final = 200
VOICE_MS: Final = 200


class SmartTurnModel:
    """An `Inference` over sounds of at most eight seconds."""

    def __init__(self, file: Path) -> None:
        onnx = runtime("onnxruntime")
        options = onnx.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session: Any = onnx.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._log_mel = LogMel()

    def infer(self, batch: Sequence[bytes]) -> list[float]:
        if not batch:
            return []
        features = np.stack([self._features(pcm) for pcm in batch])
        (finished,) = self._session.run(None, {"input_features": features})
        return [min(1.0, max(0.0, float(row[0]))) for row in finished]

    def _features(self, pcm: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
        """The end of the sound, with silence before it where it is short, at unit loudness."""
        sound = np.zeros(SOUND_SAMPLES, np.float32)
        heard = to_float(pcm)[-SOUND_SAMPLES:]
        if len(heard):
            sound[-len(heard) :] = heard
        level = (sound - sound.mean()) / np.sqrt(sound.var() + np.float32(1e-7))
        return self._log_mel.features(level)


class Pauses:
    """Finds the moment in which a voice has paused; once in each pause."""

    __slots__ = ("_levels", "_loudness", "_quiet_ms", "_voice_ms", "speaking")

    def __init__(self) -> None:
        self._levels = Levels()
        self._loudness = Loudness()
        self._voice_ms = 0
        self._quiet_ms = 0
        self.speaking = False

    def paused(self, audio: Audio) -> bool:
        found = False
        for level in self._levels.measure(audio):
            if self._loudness.probability(level) >= 0.5:
                self._voice_ms += self._levels.window_ms
                self._quiet_ms = 0
                self.speaking = self._voice_ms >= VOICE_MS
                continue
            self._quiet_ms += self._levels.window_ms
            if self._quiet_ms >= PAUSE_MS:
                found = found or self.speaking
                self.speaking = False
                self._voice_ms = 0
        return found


class LocalSmartTurn:
    """The provider: one model for all sessions."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        del settings  # it has none
        self.info = ProviderInfo(
            name=name, modality="end_of_turn", version="3.2", rates=RATES_HZ, model=WEIGHTS, streaming=False
        )
        self._batcher: Batcher[bytes, float] | None = None

    async def open(self) -> None:
        file = locate(WEIGHTS) / WEIGHTS_FILE
        model = await asyncio.to_thread(SmartTurnModel, file)
        self._batcher = Batcher(
            self.info.name, model, batch_max=BATCH_MAX, queue_ms_max=QUEUE_MS_MAX, capacity=QUEUE_MAX
        )

    def begin(self, request: CallRequest, answer: Answer) -> SmartTurnCall:
        if self._batcher is None:
            raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_not_open", retryable=True)
        wanted_ms = request.config.get("audio_ms_max", SOUND_MS)
        sound_ms = min(SOUND_MS, wanted_ms) if isinstance(wanted_ms, int) else SOUND_MS
        answer.accepted()
        return SmartTurnCall(answer, self._batcher, 2 * RATE_HZ * sound_ms // 1_000)

    async def close(self) -> None:
        if self._batcher is not None:
            batcher, self._batcher = self._batcher, None
            await batcher.close(CLOSE_MS_MAX)


class SmartTurnCall:
    """One session's last seconds, and its pauses."""

    __slots__ = (
        "_answer",
        "_asked",
        "_batcher",
        "_bytes",
        "_bytes_max",
        "_ear",
        "_ending",
        "_heard",
        "_over",
        "_pauses",
        "_question",
    )

    def __init__(self, answer: Answer, batcher: Batcher[bytes, float], bytes_max: int) -> None:
        self._answer = answer
        self._batcher = batcher
        self._ear = Ear()
        self._pauses = Pauses()
        self._heard: deque[bytes] = deque()  # bounded: by bytes_max, in `_keep`; the oldest goes
        self._bytes = 0
        self._bytes_max = bytes_max
        self._question = 0  # an answer to an earlier one is stale
        self._asked = 0  # questions that have no answer yet
        self._ending = False
        self._over = False

    def feed(self, event: Event) -> None:
        audio = event.payload
        if self._over or self._ending or not isinstance(audio, Audio):
            return
        try:
            self._keep(self._ear.hear(audio))
            paused = self._pauses.paused(audio)
        except ProviderError as error:
            self._over = True
            self._answer.fail(error)
            return
        if paused:
            self._question += 1
            question = self._question
            self._asked += 1
            self._batcher.submit(b"".join(self._heard), lambda result: self._judged(question, result))
        elif self._pauses.speaking:
            self._question += 1

    def end(self, last: bool) -> None:
        self._ending = self._ending or last
        self._finish_if_done()

    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        del reason, mode
        if not self._over:
            self._over = True
            self._answer.stopped()

    def kill(self) -> None:
        self._over = True

    def _keep(self, pcm: bytes) -> None:
        if not pcm:
            return
        self._heard.append(pcm)
        self._bytes += len(pcm)
        while self._bytes - len(self._heard[0]) >= self._bytes_max:
            self._bytes -= len(self._heard.popleft())

    def _judged(self, question: int, result: float | ProviderError) -> None:
        self._asked -= 1
        if self._over:
            return
        if question != self._question:
            pass
        elif isinstance(result, float):
            self._answer.score(result)
        elif result.outcome not in (
            OutcomeClass.OVERLOAD,
            OutcomeClass.TIMEOUT,
        ):  # then the silence timeout decides this one
            self._over = True
            self._answer.fail(result)
            return
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._ending and not self._asked and not self._over:
            self._over = True
            self._answer.finish()
