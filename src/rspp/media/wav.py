"""WAV files in and out. Any file that says plainly what it holds becomes PCM16 mono; one that does not is refused by name."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from rspp.contract.errors import PeerFault
from rspp.media.mulaw import decode_mulaw
from rspp.media.resample import to_pcm16

PCM, FLOAT, MULAW, EXTENSIBLE = 1, 3, 7, 0xFFFE
# An hour of 48 kHz stereo in 32 bits is 1.4 GB: nobody means that as a question.
FILE_BYTES_MAX: Final = 512 * 1024 * 1024


class WavError(PeerFault):
    """This is no WAV file that can be read."""

    def __init__(self, message: str) -> None:
        super().__init__("wav_unreadable", message)


class Sound(msgspec.Struct, frozen=True):
    """PCM16 mono, and its rate."""

    pcm: bytes
    rate: int

    @property
    def ms(self) -> int:
        return len(self.pcm) * 500 // self.rate


class _Format(msgspec.Struct, frozen=True):
    kind: int
    channels: int
    rate: int
    bits: int


def read_wav(path: Path) -> Sound:
    """The sound of a file, its channels mixed to one."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise WavError(f"{path.name}: larger than {FILE_BYTES_MAX} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise WavError(f"{path.name}: {error.strerror or 'cannot be read'}") from error
    try:
        return parse_wav(data)
    except WavError as error:
        raise WavError(f"{path.name}: {error.message}") from error


def write_wav(path: Path, sound: Sound) -> None:
    path.write_bytes(format_wav(sound))


def format_wav(sound: Sound) -> bytes:
    """The bytes of a file: PCM16 mono."""
    head = struct.pack("<HHIIHH", PCM, 1, sound.rate, 2 * sound.rate, 2, 16)
    size = 36 + len(sound.pcm)
    return b"RIFF%sWAVEfmt %s%sdata%s" % (_u32(size), _u32(16), head, _u32(len(sound.pcm))) + sound.pcm


def parse_wav(data: bytes) -> Sound:
    """The sound in the bytes of a file."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("no RIFF/WAVE header; convert it to WAV first")
    form: _Format | None = None
    place = 12
    while place + 8 <= len(data):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        # A writer that could not go back leaves the size of what it streamed at its largest: take what is there.
        body = data[place + 8 : place + 8 + size]
        if name == b"fmt ":
            form = _format(body)
        elif name == b"data":
            if form is None:
                raise WavError("its samples come before their format")
            return Sound(_samples(body, form), form.rate)
        place += 8 + size + (size & 1)
    raise WavError("it has no samples" if form else "it does not say its format")


def _format(body: bytes) -> _Format:
    if len(body) < 16:
        raise WavError("its format chunk is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", body)
    if kind == EXTENSIBLE and len(body) >= 26:
        kind = int.from_bytes(body[24:26], "little")
    if not 1 <= channels <= 32:
        raise WavError(f"{channels} channels; 1 to 32 can be read")
    if not 1_000 <= rate <= 384_000:
        raise WavError(f"{rate} Hz; 1000 to 384000 can be read")
    if (kind, bits) not in _READERS:
        raise WavError(f"format {kind} with {bits} bits; use PCM (8 to 32 bits), float or mu-law")
    return _Format(kind, channels, rate, bits)


def _samples(body: bytes, form: _Format) -> bytes:
    whole = form.channels * form.bits // 8
    sound = _READERS[form.kind, form.bits](body[: len(body) // whole * whole])
    if form.channels > 1:
        sound = sound.reshape(-1, form.channels).mean(axis=1)
    finite = np.nan_to_num(sound, nan=0.0, posinf=32_767.0, neginf=-32_768.0)
    return to_pcm16(finite)


def _int24(body: bytes) -> npt.NDArray[Any]:
    wide = np.zeros((len(body) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(body, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0] / 65_536.0


# (format, bits) -> samples on the scale of 16 bits.
_READERS: Final[Mapping[tuple[int, int], Callable[[bytes], npt.NDArray[Any]]]] = {
    (PCM, 8): lambda body: (np.frombuffer(body, np.uint8).astype(np.float32) - 128.0) * 256.0,
    (PCM, 16): lambda body: np.frombuffer(body, "<i2").astype(np.float32),
    (PCM, 24): _int24,
    (PCM, 32): lambda body: np.frombuffer(body, "<i4") / 65_536.0,
    (FLOAT, 32): lambda body: np.frombuffer(body, "<f4") * 32_768.0,
    (FLOAT, 64): lambda body: np.frombuffer(body, "<f8") * 32_768.0,
    (MULAW, 8): lambda body: np.frombuffer(decode_mulaw(body), np.int16).astype(np.float32),
}


def _u32(number: int) -> bytes:
    return min(number, 0xFFFFFFFF).to_bytes(4, "little")
