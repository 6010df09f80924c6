"""A client's audio frames on their way in: in order, each once, and PCM16 at the session's rate, with counts that are true.

Over one socket frames come in the order they were sent; out of order they are only where the client itself carries them
over something else. The session orders plain frames itself. A codec with a memory must be fed in order before that, so
only its frames wait here.
"""

from __future__ import annotations

import time
from typing import Final

from rspp.adapters.transports.websocket.counters import Counters
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.event import Audio
from rspp.contract.wire import HEADER, HEADER_BYTES, SAMPLE_INDEX_MAX, AudioFormat, decode_header
from rspp.contract.words import Codec
from rspp.kernel.inputs import AudioReceived
from rspp.media.transcode import OpusReader, Reader, reader

# Numbers of frames that were skipped and may still come; whatever is older than these was seen, or is too late.
MISSING_MAX: Final = 64
FRAME_MS_MAX: Final = 120
PCM16: Final = Codec.PCM16
_read = HEADER.unpack_from


class Replayed(PeerFault):
    """A frame whose number was here before, or is long past."""

    def __init__(self, sequence: int) -> None:
        super().__init__("sequence_replayed", f"frame {sequence} was here before", "frame.sequence")


class AudioIn:
    """One connection's audio, from `AudioFormat` to the session's."""

    __slots__ = (
        "_bytes_max",
        "_bytes_min",
        "_counters",
        "_format",
        "_held",
        "_missing",
        "_next",
        "_rate",
        "_reader",
        "_ready",
        "_reorder_max",
        "count_from",
    )

    def __init__(self, form: AudioFormat, rate: int, reorder_max: int, counters: Counters) -> None:
        self._format, self._rate, self._counters = form, rate, counters
        plain = form.codec is PCM16 and form.rate == rate
        self._reader: Reader | None = None if plain else reader(form.codec, form.rate, rate, form.frame_ms)
        width = 2 if form.codec is PCM16 else 1
        packets = form.codec is Codec.OPUS
        # A millisecond is the least that surely is a whole sample at any rate.
        self._bytes_min = 1 if packets else width * form.rate // 1000
        self._bytes_max = 4_000 if packets else width * form.rate * FRAME_MS_MAX // 1000
        self._reorder_max = reorder_max
        self._next = 0
        self._missing: set[int] = set()  # bounded: MISSING_MAX
        self._held: dict[int, bytes] = {}  # bounded: reorder_max
        self._ready = 0  # the next frame that the codec must see
        self.count_from = 0  # what the session's count is at when this line's begins

    @property
    def next_frame(self) -> int:
        """Where the session's count goes on after this line."""
        return self.count_from + self._next

    def take(self, frame: bytes) -> list[AudioReceived]:
        """The inputs that this frame completes, in order; raises a `PeerFault` or `MisuseError` about a frame alone."""
        if len(frame) < HEADER_BYTES:
            decode_header(frame)
        version, flags, turn, sequence, epoch, index = _read(frame)
        if version != 1 or flags > 1 or turn or index > SAMPLE_INDEX_MAX:
            decode_header(frame)
            raise PeerFault("value_invalid", "only the server's frames have a turn", "frame.turn")
        size = len(frame) - HEADER_BYTES
        if (size < self._bytes_min and not (flags and not size)) or size > self._bytes_max:
            raise PeerFault(
                "audio_size_mismatch",
                f"{size} bytes; a frame of this format has {self._bytes_min} to {self._bytes_max}",
                "frame",
            )
        if sequence == self._next:
            self._next = sequence + 1
        else:
            self._out_of_order(sequence)
        if self._reader is not None:
            return self._in_order(sequence, frame)
        sound = frame[HEADER_BYTES:]
        if size & 1:
            raise MisuseError("audio_size_mismatch", "pcm16 has two bytes a sample", "frame")
        audio = Audio(sound, size >> 1, index, self._rate, 1, PCM16, bool(flags))
        return [AudioReceived(audio, self.count_from + sequence, epoch)]

    def _out_of_order(self, sequence: int) -> None:
        """Note what was skipped; refuse what was not."""
        if sequence < self._next:
            if sequence not in self._missing:
                self._counters.replayed += 1
                raise Replayed(sequence)
            self._missing.discard(sequence)
            self._counters.reordered += 1
            return
        self._missing.update(range(max(self._next, sequence - MISSING_MAX), sequence))
        self._next = sequence + 1
        if len(self._missing) > MISSING_MAX:
            self._missing = {number for number in self._missing if number >= sequence - MISSING_MAX}

    def _in_order(self, sequence: int, frame: bytes) -> list[AudioReceived]:
        """Feed the codec in order; give up on a gap when as many frames wait behind it as may."""
        if sequence < self._ready:
            return []  # the codec has gone past it
        held = self._held
        held[sequence] = frame
        made = []
        while held:
            if self._ready not in held:
                if len(held) <= self._reorder_max:
                    break
                self._ready = min(held)
            made.append(self._transcoded(self._ready, held.pop(self._ready)))
            self._ready += 1
        return made

    def _transcoded(self, sequence: int, frame: bytes) -> AudioReceived:
        start = time.perf_counter_ns()
        header, data = decode_header(frame), frame[HEADER_BYTES:]
        assert self._reader is not None
        sound = self._reader.read(data) if data else b""
        place = header.sample_index * self._rate // self._format.rate
        audio = Audio(sound, len(sound) // 2, place, self._rate, 1, PCM16, header.end)
        self._counters.transcode.add(time.perf_counter_ns() - start)
        if isinstance(self._reader, OpusReader) and self._reader.concealed:
            self._counters.concealed += self._reader.concealed
            self._reader.concealed = 0
        return AudioReceived(audio, self.count_from + sequence, header.epoch)
