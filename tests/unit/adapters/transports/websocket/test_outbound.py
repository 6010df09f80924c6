"""A session's voice on its way out: every sound in its place, and nothing said to be accepted that was not written."""

from __future__ import annotations

import numpy as np
import pytest

from rspp.adapters.transports.websocket.counters import Counters
from rspp.adapters.transports.websocket.outbound import AudioOut
from rspp.contract.event import Audio
from rspp.contract.wire import HEADER_BYTES, AudioFormat, Message, Playback, decode_header
from rspp.contract.words import Codec
from rspp.media.opus import opus_available


class Wire:
    def __init__(self) -> None:
        self.full = False
        self.frames: list[bytes] = []
        self.messages: list[Message] = []

    def send_frame(self, frame: bytes) -> None:
        self.frames.append(frame)

    def send_message(self, message: Message) -> None:
        self.messages.append(message)

    def stretches(self) -> list[tuple[int, int]]:
        """Where each frame begins and ends, in samples."""
        places = [
            (decode_header(frame).sample_index, (len(frame) - HEADER_BYTES) // 2) for frame in self.frames
        ]
        return [(place, place + samples) for place, samples in places]


def sound(rate: int, ms: int, index: int) -> Audio:
    samples = rate * ms // 1000
    wave = (8_000 * np.sin(2 * np.pi * 300 * np.arange(samples) / rate)).astype("<i2").tobytes()
    return Audio(wave, samples, index, rate)


@pytest.mark.parametrize(
    "rates", [(16_000, 24_000), (24_000, 16_000), (16_000, 24_000, 16_000, 8_000, 16_000)]
)
def test_a_voice_that_changes_its_rate_within_a_turn_goes_on_where_it_was(rates: tuple[int, ...]) -> None:
    """Another provider took over in the middle of the answer."""
    wire = Wire()
    out = AudioOut(AudioFormat(rate=16_000), wire, Counters())
    for ordinal, rate in enumerate(rates):
        for chunk in range(10):
            out.send("turn-1", sound(rate, 20, rate * (200 * ordinal + 20 * chunk) // 1000), 1)
    edge = 0
    for begin, end in wire.stretches():
        assert abs(begin - edge) <= 1
        edge = end
    assert edge == pytest.approx(3_200 * len(rates), abs=2)


def test_accepted_means_written() -> None:
    wire = Wire()
    out = AudioOut(AudioFormat(), wire, Counters())
    wire.full = True
    assert not out.send("turn-1", sound(16_000, 20, 0), 1)
    wire.full = False
    assert out.send("turn-1", sound(16_000, 20, 320), 1)
    assert not out.send("turn-1", sound(16_000, 20, 640), 1)
    stereo = Audio(bytes(1_280), 320, 0, 16_000, 2)
    assert not out.send("turn-2", stereo, 1)
    assert out.send("turn-2", sound(16_000, 20, 320), 1)
    assert [m.turn for m in wire.messages if isinstance(m, Playback)] == [1, 2]


@pytest.mark.skipif(not opus_available(), reason="no libopus")
def test_a_packet_that_is_not_full_is_not_accepted_yet() -> None:
    wire = Wire()
    out = AudioOut(AudioFormat(codec=Codec.OPUS, frame_ms=40), wire, Counters())
    assert not out.send("turn-1", sound(16_000, 20, 0), 1)
    assert out.send("turn-1", sound(16_000, 20, 320), 1)
    assert len(wire.frames) == 1
