"""What a loopback caller does, as a list of steps. A caller who does nothing is silent, which is sound too.

Say(q), UntilAnswered(), HangUp()                                asks, listens to the answer, hangs up
Say(q), UntilHeard(1500), Say(stop), UntilAnswered(), HangUp()   interrupts the answer after a second and a half
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

import msgspec

from rspp.media.resample import resample
from rspp.media.wav import Sound

RATE: Final = 16_000
FRAME_MS: Final = 20
FRAME_SAMPLES: Final = RATE * FRAME_MS // 1000
FRAME_BYTES: Final = 2 * FRAME_SAMPLES
# Speech lies within this of the loudest moment of a recording, and clearly over its quietest.
BELOW_PEAK: Final = 0.03  # -30 dB
OVER_FLOOR: Final = 3.0
# Softer than this (-54 dB of full scale) nothing counts, however quiet the rest is.
LEVEL_MIN: Final = 65.0


class Wait(msgspec.Struct, frozen=True):
    """Be silent for so long."""

    ms: int


class Say(msgspec.Struct, frozen=True):
    """Speak: PCM16 mono at 16 kHz. `speech` says of each 20 ms frame whether there is a voice in it."""

    name: str
    pcm: bytes
    speech: tuple[bool, ...]

    @property
    def frames(self) -> int:
        return -(-len(self.pcm) // FRAME_BYTES)

    def frame(self, index: int) -> bytes:
        """One frame, the last one filled up with silence."""
        return self.pcm[index * FRAME_BYTES : (index + 1) * FRAME_BYTES].ljust(FRAME_BYTES, b"\0")


class Write(msgspec.Struct, frozen=True):
    """Type words, in no time."""

    text: str


class Press(msgspec.Struct, frozen=True):
    """Press a key of the telephone, in no time."""

    digit: str


class UntilHeard(msgspec.Struct, frozen=True):
    """Be silent until so much of the next answer was heard; or until it is over, or `deadline_ms` has passed."""

    ms: int
    deadline_ms: int = 30_000


class UntilAnswered(msgspec.Struct, frozen=True):
    """Be silent until what was said is answered and all is quiet for `quiet_ms`.

    Whoever gets no answer at all gives up after `patience_ms`, and whoever is talked to for ever after `deadline_ms`.
    """

    quiet_ms: int = 1_200
    patience_ms: int = 8_000
    deadline_ms: int = 60_000


class HangUp(msgspec.Struct, frozen=True):
    """Say nothing more, and go."""


Step = Wait | Say | Write | Press | UntilHeard | UntilAnswered | HangUp


def ask(name: str, sound: Sound) -> Say:
    """What is in a recording, as something to say."""
    pcm = resample(sound.pcm, sound.rate, RATE)
    return Say(name, pcm, speech_frames(pcm))


def speech_frames(pcm: bytes) -> tuple[bool, ...]:
    """For each 20 ms, whether its level is that of the recording's speech; told by level alone, by no model."""
    return voiced([level_of(pcm[at : at + FRAME_BYTES]) for at in range(0, len(pcm), FRAME_BYTES)])


def voiced(levels: Sequence[float]) -> tuple[bool, ...]:
    """For each level of a recording, whether it is that of its speech."""
    if not levels:
        return ()
    ranked = sorted(levels)
    floor, peak = ranked[len(ranked) // 10], ranked[-1]
    # A recording without a pause has no floor to stand out from: its quietest tenth is speech too.
    least = max(LEVEL_MIN, peak * BELOW_PEAK, min(floor * OVER_FLOOR, peak * 0.25))
    return tuple(level >= least for level in levels)


def level_of(pcm: bytes) -> float:
    """The root of the mean square of PCM16 samples."""
    samples = array("h", pcm[: len(pcm) // 2 * 2])
    return (sum(sample * sample for sample in samples) / len(samples)) ** 0.5 if samples else 0.0


def spoken_until_ms(say: Say) -> int:
    """Where in what is said the last speech ends; 0 if there is none."""
    last = next((index for index in range(len(say.speech) - 1, -1, -1) if say.speech[index]), -1)
    return (last + 1) * FRAME_MS
