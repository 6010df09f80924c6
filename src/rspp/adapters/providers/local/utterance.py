"""What one caller has said since the last final: silence is forgotten, speech is kept, and decoded when it is worth it.

An utterance belongs to one thread at a time. A voice detector scores every 32 ms of it, so that a recogniser which
invents words for silence is never shown any; and what was decoded before a pause is the final, if nothing came after.
Bounded: without speech the last second is kept, with speech `WINDOWS_MAX`, where it is cut at the quietest place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from rspp.adapters.providers.local.silero_model import (
    WINDOW_BYTES,
    WINDOW_MS,
    Scored,
    Window,
    nothing_heard,
)
from rspp.adapters.providers.local.sound import Samples, to_float
from rspp.adapters.providers.local.whisper_model import NO_WORDS, Words

SPEECH_MIN: Final = 0.5  # a window that is speech
SPEECH_GOES_ON_MIN: Final = 0.35  # a window that is the end of it
SPEECH_WINDOWS_MIN: Final = 3  # fewer are a click
PRE_ROLL_WINDOWS: Final = 320 // WINDOW_MS  # before the first and after the last, so that no syllable is lost
QUIET_WINDOWS_MAX: Final = 1_024 // WINDOW_MS
PAUSE_WINDOWS: Final = 160 // WINDOW_MS
NEW_WINDOWS_MIN: Final = 320 // WINDOW_MS
WINDOWS_MAX: Final = 25_000 // WINDOW_MS
CUT_WITHIN_WINDOWS: Final = 4_000 // WINDOW_MS


class Detector(Protocol):
    def infer(self, batch: list[Window]) -> list[Scored]: ...


class Heard(NamedTuple):
    words: Words
    final: bool  # the utterance was too long, and this is its first part


class Utterance:
    """One session's. `listen` and `finish` take time: they run in a worker thread."""

    __slots__ = ("_covered", "_decode", "_detector", "_held", "_memory", "_pcm", "_scores", "_words")

    def __init__(self, detector: Detector, decode: Callable[[Samples], Words]) -> None:
        self._detector = detector
        self._decode = decode
        self._memory = nothing_heard()
        self._held = b""  # less than a window
        self._pcm = bytearray()  # whole windows
        self._scores: list[float] = []  # one for each of them
        self._covered = 0  # windows before this one were decoded
        self._words = NO_WORDS

    def listen(self, pcm: bytes) -> Heard | None:
        """Take more; the words so far, if there is reason to think that there are new ones."""
        self._take(pcm)
        if len(self._scores) >= WINDOWS_MAX:
            return Heard(self._cut(), final=True)
        if not self._is_due():
            return None
        self._recognise()
        return Heard(self._words, final=False)

    def finish(self, pcm: bytes) -> Words:
        """Take the last of it; its words, or none. What comes next is another utterance."""
        self._take(pcm)
        if self._held:
            self._score(self._held + bytes(WINDOW_BYTES - len(self._held)))
            self._held = b""
        if not self._has_speech():
            words = NO_WORDS
        else:
            if self._last() >= self._covered:
                self._recognise()
            words = self._words
        self._forget(min(len(self._scores), self._last() + 1 + PRE_ROLL_WINDOWS))
        return words

    # ---- scoring -------------------------------------------------------------------------------------------------

    def _take(self, pcm: bytes) -> None:
        heard = self._held + pcm
        whole = len(heard) // WINDOW_BYTES * WINDOW_BYTES
        self._held = heard[whole:]
        for at in range(0, whole, WINDOW_BYTES):
            self._score(heard[at : at + WINDOW_BYTES])
        if not self._has_speech():
            self._forget(max(0, len(self._scores) - QUIET_WINDOWS_MAX))

    def _score(self, window: bytes) -> None:
        (scored,) = self._detector.infer([Window(self._memory, window)])
        self._memory = scored.memory
        self._pcm += window
        self._scores.append(scored.probability)

    def _has_speech(self) -> bool:
        return sum(score >= SPEECH_MIN for score in self._scores) >= SPEECH_WINDOWS_MIN

    def _first(self) -> int:
        return next((n for n, score in enumerate(self._scores) if score >= SPEECH_MIN), 0)

    def _last(self) -> int:
        """The last window with speech in it; -1 if there is none."""
        numbered = reversed(list(enumerate(self._scores)))
        return next((n for n, score in numbered if score >= SPEECH_GOES_ON_MIN), -1)

    def _is_due(self) -> bool:
        """Is there enough new speech, or any and then a pause?"""
        if not self._has_speech():
            return False
        new = sum(score >= SPEECH_GOES_ON_MIN for score in self._scores[self._covered :])
        paused = len(self._scores) - 1 - self._last() >= PAUSE_WINDOWS
        return new > 0 if paused else new >= NEW_WINDOWS_MIN

    # ---- recognising ---------------------------------------------------------------------------------------------

    def _recognise(self) -> None:
        last = self._last()
        begin = max(0, self._first() - PRE_ROLL_WINDOWS)
        end = min(len(self._scores), last + 1 + PRE_ROLL_WINDOWS)
        sound = to_float(bytes(self._pcm[begin * WINDOW_BYTES : end * WINDOW_BYTES]))
        self._words = self._decode(sound)
        self._covered = last + 1

    def _cut(self) -> Words:
        """The words up to the quietest of the last windows; the rest is kept."""
        start = len(self._scores) - CUT_WITHIN_WINDOWS
        at = min(range(start, len(self._scores)), key=self._scores.__getitem__)
        self._words = self._decode(to_float(bytes(self._pcm[: at * WINDOW_BYTES])))
        words = self._words
        self._forget(at)
        return words

    def _forget(self, windows: int) -> None:
        """Let go of the first so many windows, and of what was decoded of them."""
        del self._pcm[: windows * WINDOW_BYTES]
        del self._scores[:windows]
        self._covered = max(0, self._covered - windows)
        if not self._covered:
            self._words = NO_WORDS
