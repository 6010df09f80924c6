"""The level of sound is that of its samples, in the order of bytes in which they travel."""

from __future__ import annotations

import struct

from rspp.media.level import mean_square


def test_the_mean_square_is_that_of_the_samples_and_nothing_is_silent() -> None:
    assert mean_square(struct.pack("<4h", 3, -4, 0, 5)) == 12.5
    assert mean_square(struct.pack("<2h", -32_768, 32_767)) == (32_768**2 + 32_767**2) / 2
    assert mean_square(bytes(640)) == 0
    assert mean_square(b"") == 0
