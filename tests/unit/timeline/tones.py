"""Recordings with sound in them: the simulator's are silence, so the frames are given a tone where there is a voice."""

from __future__ import annotations

import math
from array import array

import msgspec

from rspp.contract.event import Audio
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived, CallProduced, SpeechScored
from rspp.timeline import records as r
from rspp.timeline.recording import assemble
from tests.unit.timeline.calls import simulated_bytes

CALLER_HZ, ASSISTANT_HZ = 200, 500
LOUD = 8_000


def tone(hertz: int, samples: int, first: int, rate: int = 16_000) -> bytes:
    """This many samples of a tone that goes on from sample `first`."""
    turn = 2 * math.pi * hertz / rate
    return array("h", (round(LOUD * math.sin(turn * (first + one))) for one in range(samples))).tobytes()


def sounding_bytes(seed: int = 7, session: int = 0, faults: str = "none") -> bytes:
    """A simulated call at L2, the caller's speech and the assistant's replies as tones."""
    frames = r.unframe(simulated_bytes(seed, session, faults, RecordingLevel.L2))
    recording = assemble([frames])
    spoken = {
        at
        for at, received in recording.inputs.values()
        if isinstance(received, SpeechScored) and received.probability > 0.5
    }
    out = []
    for record in frames.records:
        if isinstance(record, r.Sound):
            pieces = []
            for step, size in zip(record.steps, record.sizes, strict=True):
                at, received = recording.inputs[step]
                if isinstance(received, AudioReceived):
                    said = tone(CALLER_HZ, size // 2, received.audio.sample_index)
                    pieces.append(said if at in spoken else bytes(size))
                else:
                    assert isinstance(received, CallProduced)
                    assert isinstance(received.payload, Audio)
                    pieces.append(tone(ASSISTANT_HZ, size // 2, received.payload.sample_index))
            out.append(r.frame(msgspec.structs.replace(record, data=b"".join(pieces))))
        else:
            out.append(r.frame(record))
    return b"".join(out)
