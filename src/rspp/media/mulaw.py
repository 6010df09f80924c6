"""Mu-law (G.711): eight bits a sample, at the rate of the PCM it stands for. Tables, so that a frame is one look-up."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

BIAS: Final = 0x84
CLIP: Final = 32_635


def _expansions() -> npt.NDArray[np.int16]:
    code = ~np.arange(256, dtype=np.uint8)
    exponent = (code >> 4) & 7
    size = (((code & 15).astype(np.int32) << 3) + BIAS << exponent) - BIAS
    return np.where(code & 0x80, -size, size).astype(np.int16)


def _compressions() -> npt.NDArray[np.uint8]:
    """The code of every sample, indexed by its bits without a sign."""
    samples = np.arange(65_536, dtype=np.uint16).view(np.int16).astype(np.int32)
    size = np.minimum(np.abs(samples), CLIP) + BIAS
    exponent = np.floor(np.log2(size)).astype(np.int32) - 7
    mantissa = (size >> (exponent + 3)) & 15
    sign = np.where(samples < 0, 0x80, 0)
    codes: npt.NDArray[np.uint8] = (~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8)
    return codes


EXPANSIONS: Final = _expansions()
COMPRESSIONS: Final = _compressions()


def decode_mulaw(data: bytes) -> bytes:
    """PCM16 of mu-law: twice as many bytes."""
    return EXPANSIONS[np.frombuffer(data, np.uint8)].tobytes()


def encode_mulaw(pcm: bytes) -> bytes:
    """Mu-law of PCM16: half as many bytes."""
    return COMPRESSIONS[np.frombuffer(pcm, np.uint16)].tobytes()
