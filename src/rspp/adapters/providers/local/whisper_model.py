"""Whisper on CTranslate2: a few seconds of sound in, text out, and how sure of it the model is.

The window is as long as the speech and a bit, instead of the thirty seconds that the model was trained on: three times
as fast, and as often right. A call cannot be stopped once it runs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from rspp.adapters.providers.local.log_mel import LogMel
from rspp.adapters.providers.local.runtime import runtime
from rspp.adapters.providers.local.sound import RATE_HZ, Samples
from rspp.adapters.providers.local.weights import locate
from rspp.contract.errors import MisuseError

WINDOW_S_MIN: Final = 12
WINDOW_S_AFTER: Final = 3
WINDOW_S_MAX: Final = 30
SPEECH_S_MAX: Final = WINDOW_S_MAX - WINDOW_S_AFTER
# Nobody speaks more tokens a second; a decoder that goes round in circles stops here.
TOKENS_A_SECOND_MAX: Final = 12
# The model itself doubts that there is speech, and is not sure of its words either.
NO_SPEECH_MIN: Final = 0.6
LOG_PROBABILITY_MIN: Final = -1.0


class Words(NamedTuple):
    text: str
    confidence: float


NO_WORDS: Final = Words("", 0.0)


class WhisperModel:
    """One model, for all threads: CTranslate2 runs as many decodes side by side as it has workers."""

    def __init__(self, weights: str, *, workers: int, language: str) -> None:
        folder = locate(weights)
        engine = runtime("ctranslate2")
        self._as_view = engine.StorageView.from_array
        self._model: Any = engine.models.Whisper(
            str(folder), device="cpu", compute_type="int8", inter_threads=workers, intra_threads=1
        )
        self._vocabulary = Vocabulary(folder / "vocabulary.txt")
        self._prompt = self._vocabulary.prompt(language if self._model.is_multilingual else None)
        self._log_mel = LogMel()

    def decode(self, sound: Samples) -> Words:
        """The words of at most `SPEECH_S_MAX` seconds; none if the model finds none."""
        seconds = min(SPEECH_S_MAX, len(sound) / RATE_HZ)
        window = np.zeros(int(max(WINDOW_S_MIN, seconds + WINDOW_S_AFTER) * RATE_HZ), np.float32)
        heard = sound[: SPEECH_S_MAX * RATE_HZ]
        window[: len(heard)] = heard
        features = np.ascontiguousarray(self._log_mel.features(window)[None])
        (result,) = self._model.generate(
            self._as_view(features),
            [self._prompt],
            beam_size=1,
            max_length=len(self._prompt) + 16 + int(seconds * TOKENS_A_SECOND_MAX),
            return_scores=True,
            return_no_speech_prob=True,
        )
        score = float(result.scores[0])
        if result.no_speech_prob > NO_SPEECH_MIN and score < LOG_PROBABILITY_MIN:
            return NO_WORDS
        text = self._vocabulary.text(result.sequences_ids[0]).strip()
        return Words(text, min(1.0, math.exp(score))) if text else NO_WORDS


class Vocabulary:
    """Tokens by number. Each is spelled in letters that stand for bytes, so that a text file can hold them all."""

    def __init__(self, file: Path) -> None:
        self._tokens = file.read_text(encoding="utf-8").split("\n")
        self._numbers = {token: number for number, token in enumerate(self._tokens) if token.startswith("<|")}
        self._bytes = {letter: byte for byte, letter in _letters().items()}
        # From here on there are only marks, which are not spoken.
        self._marks_from = self._numbers["<|endoftext|>"]

    def prompt(self, language: str | None) -> list[int]:
        """What the model is told before it listens: the language, if it knows several, and that times are not wanted."""
        told = ["<|startoftranscript|>"]
        if language is not None:
            told += [f"<|{language}|>", "<|transcribe|>"]
        unknown = [token for token in told if token not in self._numbers]
        if unknown:
            raise MisuseError("language_unknown", f"the model does not know the language {language}")
        return [self._numbers[token] for token in (*told, "<|notimestamps|>")]

    def text(self, numbers: list[int]) -> str:
        spelled = "".join(self._tokens[number] for number in numbers if number < self._marks_from)
        return bytes(self._bytes[letter] for letter in spelled).decode("utf-8", errors="replace")


def _letters() -> dict[int, str]:
    """The letter of each byte: itself where it prints, else one from beyond Latin-1, in order."""
    printing = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in printing)
    return {byte: chr(byte) for byte in printing} | {byte: chr(0x100 + n) for n, byte in enumerate(others)}
