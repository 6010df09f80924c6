from __future__ import annotations

import numpy as np
import pytest

from rspp.media.mulaw import decode_mulaw, encode_mulaw


@pytest.mark.parametrize(
    ("code", "sample"),
    # From the tables of G.711: the ends of the scale, the least steps, silence.
    [
        (0x00, -32_124),
        (0x80, 32_124),
        (0x7E, -8),
        (0xFE, 8),
        (0xFF, 0),
        (0x0F, -16_764),
        (0xA1, 7_676),
        (0xF1, 112),
    ],
)
def test_a_code_stands_for_its_sample(code: int, sample: int) -> None:
    assert np.frombuffer(decode_mulaw(bytes([code])), "<i2")[0] == sample


def test_every_code_but_the_second_zero_comes_back_as_itself() -> None:
    codes = bytes(range(256))
    again = encode_mulaw(decode_mulaw(codes))
    assert [code for code in range(256) if again[code] != code] == [0x7F]


def test_a_sample_is_at_most_half_a_step_from_what_it_becomes() -> None:
    samples = np.arange(-32_635, 32_636, dtype="<i2")
    again = np.frombuffer(decode_mulaw(encode_mulaw(samples.tobytes())), "<i2").astype(int)
    error = np.abs(again - samples)
    assert np.all(error <= np.maximum(4, np.abs(samples.astype(int)) // 25 + 8))
    assert np.all(np.diff(again) >= 0)


def test_the_loudest_samples_are_clipped_not_wrapped() -> None:
    ends = np.array([-32_768, 32_767], "<i2").tobytes()
    assert np.frombuffer(decode_mulaw(encode_mulaw(ends)), "<i2").tolist() == [-32_124, 32_124]


def test_nothing_is_nothing() -> None:
    assert decode_mulaw(b"") == encode_mulaw(b"") == b""
