"""The audio of what is masked is silence; what could not be judged in time is silence, too.

Audio is held until the texts that were spoken in it are known, and is kept where `hearing` knows that none were. Where a final says when each of its words was spoken
(`WORD_TIMES`), only the masked words are silenced, else all that was heard since the final before. An answer's audio is
judged by the text that the synthesiser was given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.event import Audio
from rspp.contract.words import Codec
from rspp.timeline.records import Sound, Span
from rspp.timeline.redaction.hearing import OVERLAP_NS, Hearing

# Of `Text.attributes`: one "begin-end" a word, in ms of the caller's stream: "120-340 350-600".
WORD_TIMES: Final = "word_times_ms"
WORD_MARGIN_MS: Final = 120
# Held at most so long, and so much, of each side; then it is given as silence, if anybody may have spoken.
HELD_NS_MAX: Final = 60_000_000_000
HELD_BYTES_MAX: Final = 6_000_000
CALLS_MAX: Final = 1_024
_SILENCE: Final = {Codec.MULAW: b"\xff", Codec.PCMU: b"\xff"}


class Frame(msgspec.Struct, gc=False):
    """Audio that waits to be judged."""

    step: int
    at: int
    audio: Audio
    data: bytes
    call: str | None = None
    masked: bool = False  # is a part of it silence?
    whole: bool = False  # must all of it be?


class Sounds:
    """The held audio of one session. `judge` says whether a text may be heard as it is."""

    def __init__(self, judge: Callable[[str], bool]) -> None:
        self._judge = judge
        self.hearing = Hearing()
        self._caller: list[Frame] = []  # bounded: HELD_NS_MAX and HELD_BYTES_MAX
        self._spoken: list[Frame] = []  # bounded: likewise
        self._bytes = 0
        self._says: dict[str, str] = {}  # bounded: CALLS_MAX
        self._clear: dict[str, bool] = {}  # bounded: CALLS_MAX
        self._final: int | None = None  # when the last final came
        self._began = 0  # what belongs to no later final was heard before
        self._ready: list[Frame] = []  # bounded: taken away with each batch
        self.masked = 0

    # ---- taking --------------------------------------------------------------------------------------------------

    def hear(self, frame: Frame) -> None:
        """A frame of the caller's."""
        self.hearing.heard(frame.at)
        self._caller.append(frame)
        self._hold(frame)

    def speak(self, frame: Frame) -> None:
        """A chunk of a synthesiser's."""
        self._spoken.append(frame)
        self._hold(frame)

    def allow(self, frame: Frame) -> None:
        """A frame that a policy lets be heard as it is."""
        self._ready.append(frame)

    def says(self, call_id: str, text: str) -> None:
        """What a synthesiser was given to say."""
        if call_id not in self._says and len(self._says) >= CALLS_MAX:
            oldest = next(iter(self._says))
            del self._says[oldest]
            self._clear.pop(oldest, None)
        self._says[call_id] = self._says.get(call_id, "") + text
        self._clear.pop(call_id, None)

    def _hold(self, frame: Frame) -> None:
        self._bytes += len(frame.data)
        while self._bytes > HELD_BYTES_MAX or self._oldest(frame.at):
            side = self._caller
            if not side or (self._spoken and self._spoken[0].at <= side[0].at):
                side = self._spoken
            frame = side.pop(0)
            self._give(frame, masked=side is self._spoken or self.hearing.is_open(frame.at))

    def _oldest(self, now: int) -> bool:
        return any(side and now - side[0].at > HELD_NS_MAX for side in (self._caller, self._spoken))

    # ---- judging -------------------------------------------------------------------------------------------------

    def final(self, at: int, until: int, text: str, spans: list[Span], times: object) -> None:
        """A final has been judged, which answers for what was heard `until` then. What came well before is of no later one."""
        if spans:
            windows = _windows(text, spans, times)
            for frame in self._caller:
                if frame.at > at:
                    break
                if windows is None:
                    frame.whole = frame.whole or frame.at >= self._began
                else:
                    _silence(frame, windows)
        self._final = at
        self._began = max(self._began, min(until, at - OVERLAP_NS))

    def settled(self) -> None:
        """All finals that are known are judged: give what no later one can be of."""
        self.hearing.settle()
        if self._final is None:
            return
        before = min(self.hearing.answered, self._final - OVERLAP_NS)
        while self._caller and self._caller[0].at < before:
            self._give(self._caller.pop(0))

    def answered(self) -> None:
        """No answer is open: what was said can be judged by its text."""
        held: list[Frame] = []
        for frame in self._spoken:
            call = frame.call or ""
            if call not in self._says:
                held.append(frame)
                continue
            if call not in self._clear:
                self._clear[call] = self._judge(self._says[call])
            self._give(frame, masked=not self._clear[call])
        self._spoken = held

    def close(self) -> None:
        """The session is over: what is not judged is silence, where anybody may have spoken."""
        self.hearing.close()
        for frame in self._caller:
            self._give(frame)
        for frame in self._spoken:
            self._give(frame, masked=True)
        self._caller, self._spoken = [], []

    def take(self) -> list[Sound]:
        ready, self._ready = self._ready, []
        if not ready:
            return []
        return [
            Sound(
                steps=[frame.step for frame in ready],
                sizes=[len(frame.data) for frame in ready],
                data=b"".join(frame.data for frame in ready),
                masked=[frame.step for frame in ready if frame.masked],
            )
        ]

    def _give(self, frame: Frame, *, masked: bool = False) -> None:
        self._bytes -= len(frame.data)
        if masked or frame.whole or (frame.call is None and self.hearing.is_lost(frame.at)):
            frame.masked = True
            frame.data = silent(frame.audio.codec, len(frame.data))
        self.masked += frame.masked
        self._ready.append(frame)


def silent(codec: Codec, size: int) -> bytes:
    """Silence of so many bytes, as the codec writes it; of a compressed one there is none, and zeros stand for it."""
    return _SILENCE.get(codec, b"\0") * size


def _windows(text: str, spans: list[Span], times: object) -> list[tuple[int, int]] | None:
    """When the masked words were spoken, in ms of the stream; None if that is not known of every word."""
    words: list[tuple[int, int]] = []
    at = 0
    for word in text.split():
        begin = text.index(word, at)
        at = begin + len(word)
        words.append((begin, at))
    try:
        spoken = [tuple(map(int, one.split("-"))) for one in str(times).split()] if times else []
    except ValueError:
        return None
    if len(spoken) != len(words) or any(len(one) != 2 or not 0 <= one[0] <= one[1] for one in spoken):
        return None
    return [
        (when[0] - WORD_MARGIN_MS, when[1] + WORD_MARGIN_MS)
        for (begin, end), when in zip(words, spoken, strict=True)
        if any(span.start < end and span.end > begin for span in spans)
    ]


def _silence(frame: Frame, windows: list[tuple[int, int]]) -> None:
    """Take these times out of a frame: to the sample where its bytes are samples, else the whole of it."""
    audio = frame.audio
    first, last = audio.sample_index, audio.sample_index + audio.samples
    for begin_ms, end_ms in windows:
        begin = max(first, begin_ms * audio.rate // 1000)
        end = min(last, -(-end_ms * audio.rate // 1000))
        if begin >= end:
            continue
        frame.masked = True
        size = 2 * audio.channels if audio.codec is Codec.PCM16 else audio.channels
        if audio.codec is Codec.OPUS or len(frame.data) != audio.samples * size:
            frame.data = silent(audio.codec, len(frame.data))
            continue
        cut, upto = (begin - first) * size, (end - first) * size
        frame.data = frame.data[:cut] + silent(audio.codec, upto - cut) + frame.data[upto:]
