"""What is kept while a call has no line: the microphone's last moments, and typed words until nobody can miss them.

Typed words go with a key, and the session takes each key once. So they need no receipt: what was sent a while ago is sent
again on every new line, and has its one effect whether or not it had come through.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from rspp.contract.wire import Say

WORDS_MAX: Final = 64


class Microphone:
    """Sound that waits, oldest first: so much of it, and no older than so long."""

    def __init__(self, ms_max: int) -> None:
        self._ms_max = ms_max
        self._pieces: deque[tuple[int, bytes, int]] = deque()  # bounded: by ms_max, in `put`
        self._ms = 0.0
        self.dropped_ms = 0.0

    def put(self, now_ms: int, pcm: bytes, rate: int) -> None:
        self._pieces.append((now_ms, pcm, rate))
        self._ms += _ms(pcm, rate)
        while self._ms > self._ms_max:
            self._drop()

    def take(self, now_ms: int) -> list[tuple[bytes, int]]:
        """What is worth being heard still."""
        while self._pieces and now_ms - self._pieces[0][0] > self._ms_max:
            self._drop()
        taken = [(pcm, rate) for _, pcm, rate in self._pieces]
        self._pieces.clear()
        self._ms = 0.0
        return taken

    def _drop(self) -> None:
        _, pcm, rate = self._pieces.popleft()
        self._ms -= _ms(pcm, rate)
        self.dropped_ms += _ms(pcm, rate)


def _ms(pcm: bytes, rate: int) -> float:
    return len(pcm) * 500 / rate


class _Word(msgspec.Struct):
    say: Say
    at_ms: int  # when it was sent first; until then, when it was said
    sent: bool


class Words:
    """Typed messages, each with its key, for as long as one may have been lost with a line or a process."""

    def __init__(self, kept_ms: int) -> None:
        self._kept_ms = kept_ms
        self._words: deque[_Word] = deque()  # bounded: WORDS_MAX, in `put`
        self.resent = self.dropped = 0

    def put(self, now_ms: int, say: Say, *, sent: bool) -> None:
        """Keep it; where there is no room the oldest is let go, which is a loss only if it was never sent."""
        if any(word.say.key == say.key for word in self._words):
            return  # a retry of ours: it is kept already
        if len(self._words) >= WORDS_MAX:
            self.dropped += not self._words.popleft().sent
        self._words.append(_Word(say, now_ms, sent))

    def again(self, now_ms: int, lost_at_ms: int) -> list[Say]:
        """What a new line is told, in order: all but what was sent long before the last line was lost."""
        while self._words and self._words[0].sent and lost_at_ms - self._words[0].at_ms > self._kept_ms:
            self._words.popleft()
        for word in self._words:
            self.resent += word.sent
            if not word.sent:
                word.sent, word.at_ms = True, now_ms
        return [word.say for word in self._words]
