"""A session's audio on its way out: frames in the client's format, each with its turn, its number and its place."""

from __future__ import annotations

from typing import Final, Protocol

from rspp.adapters.transports.websocket.counters import Counters
from rspp.contract.event import Audio
from rspp.contract.wire import FLAG_END, FRAME_VERSION, HEADER, AudioFormat, Message, Playback
from rspp.contract.words import Codec
from rspp.media.transcode import Writer

PCM16: Final = Codec.PCM16
TURNS_MAX: Final = 65_535
_header = HEADER.pack


class Wire(Protocol):
    """Where frames go."""

    full: bool

    def send_frame(self, frame: bytes) -> None: ...
    def send_message(self, message: Message) -> None: ...


class AudioOut:
    """One connection's voice. A turn is announced before its first frame; on a full line its frames are let go."""

    __slots__ = (
        "_counters",
        "_ordinal",
        "_plain_rate",
        "_sequence",
        "_unwritten",
        "_wire",
        "_writer",
        "_writing",
        "turn_id",
    )

    def __init__(self, form: AudioFormat, wire: Wire, counters: Counters) -> None:
        self._wire, self._counters = wire, counters
        self._writer = Writer(form.codec, form.rate, form.frame_ms)
        self._plain_rate = form.rate if form.codec is PCM16 else 0
        self._ordinal = self._sequence = 0
        self._unwritten = False  # nothing of the turn has been written yet
        self._writing = False  # the writer knows where the turn's stream is: the last chunk went through it
        self.turn_id: str | None = None

    def send(self, turn_id: str, audio: Audio, epoch: int) -> bool:
        """Write a chunk; says whether now the first of its turn was written here."""
        if turn_id != self.turn_id:
            self._begin(turn_id)
        written = self._sequence
        if audio.channels != 1 or audio.codec is not PCM16:
            self._counters.out_dropped += 1  # pipelines speak PCM16 mono; what else there is has no way here
        elif self._wire.full and not audio.end:
            self._skip(audio)
        elif audio.rate == self._plain_rate:
            self._writing = False
            self._frame(audio.sample_index, audio.data, epoch, audio.end)
        else:
            self._converted(audio, epoch)
        if self._unwritten and self._sequence != written:
            self._unwritten = False
            return True
        return False

    def _begin(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self._ordinal = self._ordinal % TURNS_MAX + 1
        self._unwritten, self._writing = True, False
        self._wire.send_message(Playback(action="start", turn_id=turn_id, turn=self._ordinal))

    def _converted(self, audio: Audio, epoch: int) -> None:
        if not self._writing:
            self._writer.restart(audio.sample_index, audio.rate)
            self._writing = True
        for place, data in self._writer.write(audio.data, audio.rate) if audio.data else ():
            self._frame(place, data, epoch)
        if audio.end:
            for place, data in self._writer.finish():
                self._frame(place, data, epoch)
            self._frame(self._writer.samples, b"", epoch, end=True)

    def _skip(self, audio: Audio) -> None:
        """What is not sent leaves its gap in the stream, so that what follows stands where it belongs."""
        self._counters.out_dropped += 1
        if self._writing:
            self._writer.skip(audio.samples, audio.rate)

    def _frame(self, place: int, data: bytes, epoch: int, end: bool = False) -> None:
        sequence = self._sequence
        self._sequence = (sequence + 1) & 0xFFFFFFFF
        head = _header(FRAME_VERSION, FLAG_END if end else 0, self._ordinal, sequence, epoch, place)
        self._wire.send_frame(head + data)
