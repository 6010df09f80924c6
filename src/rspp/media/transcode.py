"""One stream between a peer's format and the session's PCM16, either way, with sample counts that stay true.

What one end sends, the other end gets: a `Reader` makes PCM16 at the session's rate of a peer's frames, a `Writer` makes
frames in a peer's format of PCM16 at whatever rate comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from rspp.contract.errors import MisuseError
from rspp.contract.words import Codec
from rspp.media.mulaw import decode_mulaw, encode_mulaw
from rspp.media.opus import OpusDecoder, OpusEncoder, OpusError, opus_available
from rspp.media.resample import Resampler

RATES: Final = (8_000, 16_000, 24_000, 48_000)


def codecs() -> tuple[str, ...]:
    """What can be read and written here."""
    known = (Codec.PCM16, Codec.PCMU, Codec.MULAW)
    return tuple(codec.value for codec in (*known, Codec.OPUS) if codec is not Codec.OPUS or opus_available())


def check_format(codec: Codec, rate: int, frame_ms: int = 20) -> None:
    """A format that is served, or a `MisuseError` that says what to use."""
    if rate not in RATES:
        raise MisuseError("audio_rate_unsupported", f"{rate} Hz; use one of {', '.join(map(str, RATES))}")
    if codec.value not in codecs():
        raise MisuseError("audio_codec_unsupported", f"{codec.value}; here: {', '.join(codecs())}")
    if codec is Codec.OPUS and frame_ms not in (5, 10, 20, 40, 60):
        raise MisuseError("audio_frame_unsupported", "an opus packet lasts 5, 10, 20, 40 or 60 ms")


class Reader(Protocol):
    """A peer's frames to PCM16."""

    def read(self, data: bytes) -> bytes: ...


class PlainReader:
    """PCM16 or mu-law at one rate, to PCM16 at another."""

    __slots__ = ("_decode", "_resampler")

    def __init__(self, decode: Callable[[bytes], bytes], rate: int, to: int) -> None:
        self._decode = decode
        self._resampler = Resampler(rate, to)

    def read(self, data: bytes) -> bytes:
        return self._resampler.process(self._decode(data))


class OpusReader:
    """Opus packets to PCM16; a packet that cannot be read is concealed, and counted."""

    __slots__ = ("_decoder", "_frame_ms", "concealed")

    def __init__(self, to: int, frame_ms: int) -> None:
        self._decoder = OpusDecoder(to)
        self._frame_ms = frame_ms
        self.concealed = 0

    def read(self, data: bytes) -> bytes:
        try:
            return self._decoder.decode(data)
        except OpusError:
            self.concealed += 1
            return self._decoder.conceal(self._frame_ms)


def check_pcm(data: bytes) -> bytes:
    """PCM16 has two bytes a sample: half a one is a peer's mistake."""
    if len(data) & 1:
        raise MisuseError("audio_size_mismatch", "pcm16 has two bytes a sample")
    return data


def reader(codec: Codec, rate: int, to: int, frame_ms: int) -> Reader:
    """The way in for this format."""
    check_format(codec, rate, frame_ms)
    if codec is Codec.OPUS:
        return OpusReader(to, frame_ms)
    return PlainReader(check_pcm if codec is Codec.PCM16 else decode_mulaw, rate, to)


class Writer:
    """PCM16 at a rate that may change, to frames of one format. Say `restart` where a new stream begins."""

    __slots__ = ("_codec", "_encoder", "_frame_ms", "_from", "_rate", "_resampler", "samples")

    def __init__(self, codec: Codec, rate: int, frame_ms: int) -> None:
        check_format(codec, rate, frame_ms)
        self._codec, self._rate, self._frame_ms = codec, rate, frame_ms
        self._encoder: OpusEncoder | None = None
        self.restart()

    def restart(self, place: int = 0, rate: int = 1) -> None:
        """A new stream, the first samples of which stand at `place`, counted at `rate`."""
        self._from = 0
        self._resampler: Resampler | None = None
        self._encoder = OpusEncoder(self._rate, self._frame_ms) if self._codec is Codec.OPUS else None
        self.samples = place * self._rate // rate  # where the next frame begins

    def write(self, pcm: bytes, rate: int) -> list[tuple[int, bytes]]:
        """The frames that this completes: where each begins, and its bytes."""
        if rate != self._from:
            self._from = rate
            self._resampler = Resampler(rate, self._rate) if rate != self._rate else None
        sound = self._resampler.process(pcm) if self._resampler else pcm
        if self._encoder is not None:
            return [
                self._placed(packet, self._encoder.frame_samples) for packet in self._encoder.encode(sound)
            ]
        if not sound:
            return []
        return [self._placed(sound if self._codec is Codec.PCM16 else encode_mulaw(sound), len(sound) // 2)]

    def skip(self, samples: int, rate: int) -> None:
        """Leave a gap for what is not written."""
        self.samples += samples * self._rate // rate

    def finish(self) -> list[tuple[int, bytes]]:
        """What still waited to fill a packet."""
        if self._encoder is None:
            return []
        return [self._placed(packet, self._encoder.frame_samples) for packet in self._encoder.flush()]

    def _placed(self, data: bytes, samples: int) -> tuple[int, bytes]:
        place = self.samples
        self.samples += samples
        return place, data
