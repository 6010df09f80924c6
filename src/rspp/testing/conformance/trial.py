"""What a provider is tried with: a request, something to hear, and how patient to be. Every modality has a usual one."""

from __future__ import annotations

import math
from array import array
from typing import Final

import msgspec

from rspp.contract.event import Audio, Payload, Text
from rspp.host.ports import CallRequest
from rspp.testing.conformance.attempt import event_of

RATE: Final = 16_000
FRAME_MS: Final = 20
FRAME_SAMPLES: Final = RATE * FRAME_MS // 1000
# These are opened with the session, and fed all along.
LISTENERS: Final = ("stt", "vad", "end_of_turn")
QUESTION: Final = "Please tell me, in two or three sentences, when you open and where I can find you."


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """`speech`, then `silence`, is fed to what listens; `said` is given to what answers or speaks.

    A provider may take `answer_ms_max` for anything it is asked, and `cancel_ms_max` to acknowledge a cancel, which is the
    grace that the kernel gives. `settle_ms` is how long a suite waits for what should not come.
    """

    modality: str
    said: Payload | None = None
    speech: tuple[Payload, ...] = ()
    silence: tuple[Payload, ...] = ()
    fed: bool = False  # an external node that lives as long as the session
    ports: tuple[str, ...] = ()  # a node's outputs, if it names them
    config: dict[str, object] = {}
    answer_ms_max: float = 10_000
    cancel_ms_max: float = 75
    settle_ms: float = 300
    blocked_ms_max: float = 100
    chunks_after_throttle_max: int = 1  # what was on its way already

    @property
    def listens(self) -> bool:
        return self.fed or self.modality in LISTENERS

    def request(self, number: int = 1) -> CallRequest:
        """A first attempt of a call; each number is another call."""
        return CallRequest(
            call_id=f"pvi/conformance/turn-1/{number}/{self.modality}",
            attempt=1,
            node_id=self.modality,
            modality=self.modality,
            provider="target",
            idempotency_key=f"conformance/{number}",
            epoch=1,
            deadline_at=None,
            turn_id=None if self.listens else "turn-1",
            event=None if self.said is None else event_of(self.said),
            config=dict(self.config),
        )


def usual(modality: str) -> Trial:
    """What fits any provider of a modality. A model that needs real speech is given its own."""
    if modality in LISTENERS:
        return Trial(modality=modality, speech=hum(1_200), silence=hush(1_000, after=hum(1_200)))
    return Trial(
        modality=modality, said=Text(QUESTION, final=True, role="assistant" if modality == "tts" else "user")
    )


def hum(ms: int) -> tuple[Audio, ...]:
    """Frames of a loud tone: for what knows speech by its loudness."""
    frames = []
    for index in range(ms // FRAME_MS):
        start = index * FRAME_SAMPLES
        wave = (math.sin(2 * math.pi * 180 * (start + at) / RATE) for at in range(FRAME_SAMPLES))
        frames.append(Audio(array("h", (int(12_000 * s) for s in wave)).tobytes(), FRAME_SAMPLES, start))
    return tuple(frames)


def hush(ms: int, after: tuple[Audio, ...] = ()) -> tuple[Audio, ...]:
    """Frames of silence that follow others."""
    start = after[-1].sample_index + after[-1].samples if after else 0
    return tuple(
        Audio(bytes(2 * FRAME_SAMPLES), FRAME_SAMPLES, start + index * FRAME_SAMPLES)
        for index in range(ms // FRAME_MS)
    )
