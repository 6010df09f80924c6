from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.media.mulaw import encode_mulaw
from rspp.media.wav import Sound, WavError, format_wav, parse_wav, read_wav, write_wav

TONE = (8_000 * np.sin(np.arange(400) / 10)).astype("<i2")


def wav(
    body: bytes, kind: int = 1, channels: int = 1, rate: int = 16_000, bits: int = 16, **more: Any
) -> bytes:
    width = channels * bits // 8
    head: bytes = struct.pack("<HHIIHH", kind, channels, rate, rate * width, width, bits) + more.get(
        "extra", b""
    )
    size: int = more.get("size", len(body))
    chunks = b"LIST\x03\x00\x00\x00abc\x00" + b"fmt " + struct.pack("<I", len(head)) + head
    return b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data" + struct.pack("<I", size) + body


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    sound = Sound(TONE.tobytes(), 24_000)
    write_wav(tmp_path / "a.wav", sound)
    assert read_wav(tmp_path / "a.wav") == sound
    assert sound.ms == 16


WIDE = TONE.astype("<i4")


@pytest.mark.parametrize(
    ("kind", "bits", "body", "off"),
    [
        (1, 8, ((TONE >> 8) + 128).astype("u1").tobytes(), 256),
        (1, 24, b"".join(struct.pack("<i", int(v) << 8)[:3] for v in TONE), 0),
        (1, 32, (WIDE << 16).astype("<i4").tobytes(), 0),
        (3, 32, (TONE / 32_768).astype("<f4").tobytes(), 0),
        (3, 64, (TONE / 32_768).astype("<f8").tobytes(), 0),
        (7, 8, encode_mulaw(TONE.tobytes()), 300),
    ],
)
def test_any_width_becomes_sixteen_bits(kind: int, bits: int, body: bytes, off: int) -> None:
    made = np.frombuffer(parse_wav(wav(body, kind, bits=bits)).pcm, "<i2").astype(int)
    assert np.max(np.abs(made - TONE)) <= off


def test_channels_are_mixed_and_an_odd_tail_is_left() -> None:
    stereo = np.stack([TONE, -TONE // 2], axis=1).tobytes() + b"\x01"
    made = np.frombuffer(parse_wav(wav(stereo, channels=2)).pcm, "<i2")
    assert np.max(np.abs(made - TONE / 4)) <= 1


def test_the_extensible_format_says_its_kind_further_back() -> None:
    extra = struct.pack("<HHIH", 22, 16, 4, 1) + bytes(14)
    assert parse_wav(wav(TONE.tobytes(), 0xFFFE, extra=extra)).pcm == TONE.tobytes()


def test_a_stream_whose_size_was_never_filled_in_is_read_to_its_end() -> None:
    assert parse_wav(wav(TONE.tobytes(), size=0xFFFFFFFF)).pcm == TONE.tobytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no RIFF/WAVE"),
        (b"ID3\x04" + bytes(100), "no RIFF/WAVE"),
        (b"RIFF\x04\x00\x00\x00WAVE", "does not say its format"),
        (wav(b"", kind=0x55), "format 85"),
        (wav(b"", bits=12), "12 bits"),
        (wav(b"", channels=0, bits=16), "0 channels"),
        (wav(b"", rate=5), "5 Hz"),
        (wav(b"")[:50], "no samples"),
        (format_wav(Sound(b"", 8_000))[:30], "cut off"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(data: bytes, says: str) -> None:
    with pytest.raises(WavError, match=says) as refused:
        parse_wav(data)
    assert refused.value.code == "wav_unreadable"


def test_a_file_that_is_not_there_or_no_wav_is_named(tmp_path: Path) -> None:
    with pytest.raises(WavError, match=r"nothing\.wav"):
        read_wav(tmp_path / "nothing.wav")
    (tmp_path / "bad.wav").write_bytes(b"hello")
    with pytest.raises(WavError, match=r"bad\.wav: no RIFF"):
        read_wav(tmp_path / "bad.wav")
    with pytest.raises(WavError):
        read_wav(tmp_path)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_hostile_bytes_are_a_sound_or_a_wav_error(noise: bytes, keep: int) -> None:
    for data in (noise, b"RIFF\0\0\0\0WAVE" + noise, wav(noise)[:keep] + noise):
        with contextlib.suppress(WavError):
            assert len(parse_wav(data).pcm) % 2 == 0
