"""What holds along a stream, beyond each single item: audio is whole and ends once, text only moves forward.

Each checker is small and keeps only what the next item is compared with. An item with a violation changes nothing: the
stream stands where it stood, and the next item is compared with the last good one.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import Audio, Text
from rspp.contract.rules import Violation
from rspp.contract.words import Codec

RATES_HZ: Final = (8_000, 16_000, 24_000, 48_000)
CHANNELS_MAX: Final = 2
# Codecs whose size follows from the number of samples.
BYTES_PER_SAMPLE: Final = {Codec.PCM16: 2, Codec.PCMU: 1, Codec.MULAW: 1}


def check_audio(audio: Audio) -> list[Violation]:
    """A chunk names a served codec, rate and channels, says when it is, and has as much data as it says."""
    found = []
    if audio.codec not in tuple(Codec):
        found.append(Violation("audio_codec_unsupported", "codec", f"use one of {', '.join(Codec)}"))
    if audio.rate not in RATES_HZ:
        found.append(Violation("audio_rate_unsupported", "rate", f"{audio.rate} Hz is not one of {RATES_HZ}"))
    if not 1 <= audio.channels <= CHANNELS_MAX:
        found.append(Violation("audio_channels_unsupported", "channels", "use one or two channels"))
    if audio.sample_index < 0:
        found.append(Violation("media_time_missing", "sample_index", "count samples from the stream's start"))
    if audio.samples < 0 or (audio.samples == 0 and not audio.end):
        found.append(Violation("audio_empty", "samples", "a chunk has samples, or it is the end"))
    size = BYTES_PER_SAMPLE.get(audio.codec)
    if size is not None and not found and len(audio.data) != size * audio.samples * audio.channels:
        message = f"{len(audio.data)} bytes for {audio.samples} samples of {audio.channels} channels"
        found.append(Violation("audio_size_mismatch", "data", message))
    return found


class AudioStreamCheck:
    """One stream of one turn: one format, samples in order, exactly one end and nothing after it."""

    __slots__ = ("_ended", "_format", "_next")

    def __init__(self) -> None:
        self._format: tuple[Codec, int, int] | None = None
        self._next = 0
        self._ended = False

    def feed(self, audio: Audio) -> list[Violation]:
        """What is wrong with the next chunk; nothing, and it counts. A gap is no fault: the network lost something."""
        if self._ended:
            return [Violation("audio_after_end", "end", "the stream has ended")]
        found = check_audio(audio)
        shape = (audio.codec, audio.rate, audio.channels)
        if self._format is not None and shape != self._format:
            found.append(Violation("audio_format_changed", "codec", f"the stream is {_shape(self._format)}"))
        if audio.sample_index < self._next and not (audio.end and not audio.samples):
            message = f"starts at sample {audio.sample_index}; the last chunk ended at {self._next}"
            found.append(Violation("audio_overlap", "sample_index", message))
        if not found:
            self._format = shape
            self._next = max(self._next, audio.sample_index + audio.samples)
            self._ended = audio.end
        return found

    def close(self) -> list[Violation]:
        """What is wrong when nothing more comes; a stream that never began needs no end."""
        if self._format is None or self._ended:
            return []
        return [Violation("audio_end_missing", "end", "the stream was not ended")]


class TextStreamCheck:
    """One source of text: revisions rise inside a segment, its one final ends it, and no segment comes back."""

    __slots__ = ("_final", "_revision", "_segment")

    def __init__(self) -> None:
        self._segment: int | None = None
        self._revision = -1
        self._final: str | None = None

    def feed(self, text: Text) -> list[Violation]:
        """What is wrong with the next text; nothing, and it counts."""
        found = self._against(text)
        if not found:
            self._segment = text.segment
            self._revision = text.revision
            self._final = text.text if text.final else None
        return found

    def close(self) -> list[Violation]:
        """What is wrong when nothing more comes."""
        if self._segment is None or self._final is not None:
            return []
        return [Violation("text_final_missing", "final", f"segment {self._segment} has no final")]

    def _against(self, text: Text) -> list[Violation]:
        if text.segment < 0 or text.revision < 0:
            return [Violation("number_negative", "revision", "segments and revisions count from 0")]
        if self._segment is None:
            return []
        if text.segment > self._segment:
            return self.close()
        if text.segment < self._segment:
            message = f"segment {text.segment} after segment {self._segment}"
            return [Violation("text_reordered", "segment", message)]
        if self._final is not None:
            return [self._after_final(text)]
        if text.revision <= self._revision:
            message = f"revision {text.revision} after {self._revision}"
            return [Violation("text_reordered", "revision", message)]
        return []

    def _after_final(self, text: Text) -> Violation:
        if not text.final:
            return Violation("text_after_final", "revision", "the segment is final")
        if text.text != self._final:
            return Violation("text_final_changed", "text", "a final never changes")
        return Violation("text_final_repeated", "final", "the segment has its final")


def _shape(shape: tuple[Codec, int, int]) -> str:
    codec, rate, channels = shape
    return f"{codec} at {rate} Hz with {channels} channels"
