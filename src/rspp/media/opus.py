"""Opus packets, through libopus: from a Python wheel that carries it, or from the system, else a plain refusal.

Only what a call needs of the library is bound: one channel, one packet a frame. A codec object belongs to one stream.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
from pathlib import Path
from typing import Any, Final

from rspp.contract.errors import MisuseError, PeerFault

PACKAGE: Final = "opuslib-next-bundled"
RATES: Final = (8_000, 12_000, 16_000, 24_000, 48_000)
# The longest packet lasts 120 ms; the largest that is of use for speech is far below this.
PACKET_MS_MAX: Final = 120
PACKET_BYTES_MAX: Final = 4_000
_APPLICATION_VOIP: Final = 2048
_SET_BITRATE: Final = 4002
_SET_COMPLEXITY: Final = 4010
_COMPLEXITY: Final = 5  # of 10: half the time of the default, and at speech rates nobody hears the rest


class OpusError(PeerFault):
    """A packet that libopus does not accept."""

    def __init__(self, message: str) -> None:
        super().__init__("audio_packet_corrupt", message)


def opus_available() -> bool:
    return _library() is not None


class OpusDecoder:
    """Packets of one stream to PCM16 mono at a rate of our choice; libopus converts the rate by itself."""

    __slots__ = ("_free", "_lib", "_out", "_rate", "_state")

    def __init__(self, rate: int) -> None:
        self._lib = _required(rate)
        self._rate = rate
        self._out = (ctypes.c_int16 * (rate * PACKET_MS_MAX // 1000))()
        error = ctypes.c_int()
        self._state = self._lib.opus_decoder_create(rate, 1, ctypes.byref(error))
        self._free = self._lib.opus_decoder_destroy
        if not self._state:
            raise MisuseError("audio_codec_unsupported", f"libopus gives no decoder (error {error.value})")

    def decode(self, packet: bytes) -> bytes:
        """The sound of a packet; a corrupt one raises `OpusError` and leaves the decoder usable."""
        if not packet or len(packet) > PACKET_BYTES_MAX:
            raise OpusError(f"a packet has 1 to {PACKET_BYTES_MAX} bytes, not {len(packet)}")
        return self._run(packet, len(self._out))

    def conceal(self, ms: int) -> bytes:
        """Sound in place of a packet that was lost or could not be read."""
        return self._run(None, min(len(self._out), self._rate * ms // 1000))

    def _run(self, packet: bytes | None, samples_max: int) -> bytes:
        size = len(packet) if packet else 0
        made = self._lib.opus_decode(self._state, packet, size, self._out, samples_max, 0)
        if made < 0:
            raise OpusError(f"libopus refuses the packet (error {made})")
        return ctypes.string_at(self._out, 2 * made)

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._free(self._state)
            self._state = None


class OpusEncoder:
    """PCM16 mono to packets of one length, for speech; what does not fill a packet waits for the next call."""

    __slots__ = ("_frame_bytes", "_free", "_lib", "_out", "_pending", "_state", "frame_samples")

    def __init__(self, rate: int, frame_ms: int = 20, bitrate: int = 24_000) -> None:
        if frame_ms not in (5, 10, 20, 40, 60):
            raise MisuseError(
                "audio_frame_unsupported", f"an opus packet lasts 5, 10, 20, 40 or 60 ms, not {frame_ms}"
            )
        self._lib = _required(rate)
        self.frame_samples = rate * frame_ms // 1000
        self._frame_bytes = 2 * self.frame_samples
        self._out = ctypes.create_string_buffer(PACKET_BYTES_MAX)
        self._pending = b""
        error = ctypes.c_int()
        self._state = self._lib.opus_encoder_create(rate, 1, _APPLICATION_VOIP, ctypes.byref(error))
        self._free = self._lib.opus_encoder_destroy
        if not self._state:
            raise MisuseError("audio_codec_unsupported", f"libopus gives no encoder (error {error.value})")
        self._lib.opus_encoder_ctl(self._state, _SET_BITRATE, ctypes.c_int32(bitrate))
        self._lib.opus_encoder_ctl(self._state, _SET_COMPLEXITY, ctypes.c_int32(_COMPLEXITY))

    def encode(self, pcm: bytes) -> list[bytes]:
        """The packets that are full now."""
        sound, size = self._pending + pcm, self._frame_bytes
        whole = len(sound) // size * size
        self._pending = sound[whole:]
        return [self._packet(sound[start : start + size]) for start in range(0, whole, size)]

    def flush(self) -> list[bytes]:
        """The rest, filled up with silence."""
        rest, self._pending = self._pending, b""
        return [self._packet(rest.ljust(self._frame_bytes, b"\0"))] if rest else []

    def _packet(self, pcm: bytes) -> bytes:
        size = self._lib.opus_encode(self._state, pcm, self.frame_samples, self._out, PACKET_BYTES_MAX)
        if size < 0:
            raise MisuseError("audio_codec_unsupported", f"libopus does not encode this (error {size})")
        return self._out.raw[:size]

    def __del__(self) -> None:
        if getattr(self, "_state", None):
            self._free(self._state)
            self._state = None


def _required(rate: int) -> Any:
    library = _library()
    if library is None:
        raise MisuseError(
            "audio_codec_unsupported", f"opus needs libopus: install {PACKAGE}, or the system's libopus0"
        )
    if rate not in RATES:
        raise MisuseError("audio_rate_unsupported", f"opus runs at {RATES} Hz, not {rate}")
    return library


@functools.cache
def _library() -> Any:
    """The library with its functions declared, or None where there is none."""
    for place in _places():
        try:
            library = ctypes.CDLL(place)
            return _declared(library)
        except (OSError, AttributeError):
            continue
    return None


def _places() -> list[str]:
    """The wheel's own copy first: its version is the one that the lock file names. Its Python code is not imported."""
    places = []
    spec = importlib.util.find_spec("opuslib_next")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        places += [str(path) for path in sorted(Path(folder, "_native").glob("*opus.*"))]
    system = ctypes.util.find_library("opus")
    return [*places, system] if system else places


def _declared(library: Any) -> Any:
    state, number = ctypes.c_void_p, ctypes.c_int
    library.opus_decoder_create.restype = library.opus_encoder_create.restype = state
    library.opus_decoder_create.argtypes = [ctypes.c_int32, number, ctypes.POINTER(number)]
    library.opus_encoder_create.argtypes = [ctypes.c_int32, number, number, ctypes.POINTER(number)]
    library.opus_decoder_destroy.argtypes = library.opus_encoder_destroy.argtypes = [state]
    library.opus_decoder_destroy.restype = library.opus_encoder_destroy.restype = None
    samples = ctypes.POINTER(ctypes.c_int16)
    library.opus_decode.argtypes = [state, ctypes.c_char_p, ctypes.c_int32, samples, number, number]
    library.opus_encode.argtypes = [state, ctypes.c_char_p, number, ctypes.c_char_p, ctypes.c_int32]
    # Variadic: what comes after these is passed as it is, already a C type.
    library.opus_encoder_ctl.argtypes = [state, number]
    return library
