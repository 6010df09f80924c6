"""How loud PCM16 is, without numpy: for frames of a few milliseconds a plain loop is as fast, and needs nothing."""

from __future__ import annotations

import sys
from array import array
from operator import mul


def mean_square(pcm: bytes) -> float:
    """Of whole samples, the least significant byte first; 0 where there is none."""
    if not pcm:
        return 0.0
    samples = array("h", pcm)
    if sys.byteorder == "big":
        samples.byteswap()
    total: int = sum(map(mul, samples, samples))
    return total / len(samples)
