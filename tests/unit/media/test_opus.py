from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError
from rspp.media import opus
from rspp.media.opus import OpusDecoder, OpusEncoder, OpusError, opus_available

TONE = (8_000 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype("<i2").tobytes()

needs_opus = pytest.mark.skipif(not opus_available(), reason="no libopus here")


@needs_opus
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_a_tone_survives_and_comes_out_at_the_rate_that_is_asked_for(rate: int) -> None:
    packets = OpusEncoder(48_000).encode(TONE)
    assert len(packets) == 50
    assert max(map(len, packets)) < 200
    decoder = OpusDecoder(rate)
    sound = np.frombuffer(b"".join(decoder.decode(packet) for packet in packets), "<i2").astype(float)
    assert len(sound) == rate
    assert np.argmax(np.abs(np.fft.rfft(sound))) == pytest.approx(440, abs=2)


@needs_opus
def test_pieces_of_any_size_fill_packets_and_the_rest_is_flushed() -> None:
    encoder, packets = OpusEncoder(16_000), []
    for start in range(0, 3_000, 300):
        packets += encoder.encode(TONE[start : start + 300])
    assert len(packets) == 4
    assert len(encoder.flush()) == 1
    assert encoder.flush() == []


@needs_opus
@given(st.binary(max_size=300))
def test_hostile_packets_are_sound_or_an_error_and_the_decoder_goes_on(packet: bytes) -> None:
    decoder = OpusDecoder(16_000)
    with contextlib.suppress(OpusError):
        assert len(decoder.decode(packet)) <= 2 * 16_000 * opus.PACKET_MS_MAX // 1000
    good = OpusEncoder(16_000).encode(TONE[:640])[0]
    assert len(decoder.decode(good)) == 640


@needs_opus
def test_a_lost_packet_is_concealed_for_as_long_as_it_would_have_lasted() -> None:
    assert len(OpusDecoder(16_000).conceal(20)) == 640


@needs_opus
def test_what_opus_cannot_do_is_refused() -> None:
    with pytest.raises(MisuseError, match="opus runs at"):
        OpusDecoder(44_100)
    with pytest.raises(MisuseError, match="not 30"):
        OpusEncoder(16_000, 30)
    with pytest.raises(OpusError):
        OpusDecoder(16_000).decode(b"")


def test_without_a_library_the_refusal_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from rspp.contract.words import Codec
    from rspp.media import transcode

    monkeypatch.setattr(opus, "_library", lambda: None)
    assert not opus.opus_available()
    assert "opus" not in transcode.codecs()
    with pytest.raises(MisuseError, match="opuslib-next-bundled"):
        OpusDecoder(16_000)
    with pytest.raises(MisuseError, match="audio_codec_unsupported"):
        transcode.reader(Codec.OPUS, 48_000, 16_000, 20)
