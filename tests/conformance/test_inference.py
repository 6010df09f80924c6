"""The models that sessions share keep to their port: a session's result does not depend on whose else it was made with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rspp.adapters.providers.local import smart_turn
from rspp.adapters.providers.local.catalogue import CATALOGUE
from rspp.adapters.providers.local.fetch import fetch
from rspp.adapters.providers.local.silero_model import (
    WINDOW_BYTES,
    Scored,
    SileroModel,
    Window,
    nothing_heard,
)
from rspp.adapters.providers.local.smart_turn import SmartTurnModel
from rspp.adapters.providers.local.weights import cache_folder, is_present, locate
from rspp.testing.conformance import inference as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.profiles import certify
from rspp.testing.conformance.trial import hum

TOLERANCE = 1e-3  # another batch size is another order of additions


def sounds(ms: int) -> list[bytes]:
    """A tone, noise at two levels, and silence."""
    draw = np.random.default_rng(3)
    noise = [(draw.normal(0, level, 16 * ms)).astype("<i2").tobytes() for level in (300, 6_000)]
    return [b"".join(frame.data for frame in hum(ms)), *noise, bytes(32 * ms)]


def near(one: Scored, other: Scored) -> bool:
    return abs(one.probability - other.probability) < TOLERANCE and all(
        np.allclose(a, b, atol=10 * TOLERANCE) for a, b in zip(one.memory, other.memory, strict=True)
    )


def conforms(make: Callable[[], suite.InferenceTarget]) -> None:
    report = run_suite(suite.conformance(make), "inference")
    assert certify(report).certified, report.reasons()


def test_the_voice_detector_conforms() -> None:
    """In the middle of what it heard: each request carries its session's memory."""
    model = SileroModel()

    def requests() -> list[Window]:
        made = []
        for pcm in sounds(200):
            (first,) = model.infer([Window(nothing_heard(), pcm[:WINDOW_BYTES])])
            made.append(Window(first.memory, pcm[WINDOW_BYTES : 2 * WINDOW_BYTES]))
        return made

    conforms(lambda: suite.InferenceTarget(model=model, requests=requests(), same=near))


@pytest.mark.slow
def test_the_judge_of_pauses_conforms() -> None:
    """With sounds of different lengths in one batch."""
    weights = CATALOGUE[smart_turn.WEIGHTS]
    if not is_present(weights, cache_folder()):
        fetch(weights, cache_folder(), lambda line: None)
    model = SmartTurnModel(locate(smart_turn.WEIGHTS) / smart_turn.WEIGHTS_FILE)
    requests = [
        pcm[: len(pcm) * share // 4 // 2 * 2] for pcm, share in zip(sounds(2_000), (4, 3, 2, 1), strict=True)
    ]

    conforms(
        lambda: suite.InferenceTarget(
            model=model, requests=requests, same=lambda one, other: abs(one - other) < TOLERANCE
        )
    )
