"""Every local provider keeps the promises that a host relies on: the shipped suite, against the real models.

The models are loaded once and lent to each check's provider: what is tried is how calls behave, not how long a file takes
to be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import msgspec
import pytest

from rspp.adapters.providers.local import hibari, providers, silero, smart_turn, smollm2, whisper
from rspp.adapters.providers.local.llama import Llama
from rspp.contract.event import Audio, Text
from rspp.testing.conformance import provider as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.trial import Trial
from tests.unit.adapters.providers.local.driving import Say, frames, silence

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]

LISTENING = ("local-silero", "energy-vad", "local-smart-turn", "local-whisper")
# A check that a provider does not keep, with the reason.
NOT_ITS_OWN: dict[str, tuple[str, ...]] = {
    # Saying nothing is all that it is for.
    "silence": ("gives what its modality gives",),
}


@pytest.fixture(scope="module", autouse=True)
def lent() -> Iterator[None]:
    """Each model is loaded once."""
    lend = pytest.MonkeyPatch()
    for module, name in (
        (silero, "SileroModel"),
        (whisper, "SileroModel"),
        (whisper, "WhisperModel"),
        (smart_turn, "SmartTurnModel"),
        (smollm2, "Llama"),
        (hibari, "_load"),
    ):
        loader: Any = getattr(module, name)
        lend.setattr(module, name, cache(loader))
    lend.setattr(Llama, "close", lambda self: None)
    yield
    lend.undo()


def trial(modality: str, say: Say) -> Trial:
    """Half a minute of patience for nothing would be spent on all of them with the suite's own settling time."""
    return msgspec.structs.replace(_trial(modality, say), settle_ms=100)


def _trial(modality: str, say: Say) -> Trial:
    if modality == "llm":
        return Trial(
            modality=modality,
            said=Text("Tell me a story.", final=True, role="user"),
            config={"tokens_max": 24},
        )
    if modality == "tts":
        return Trial(modality=modality, said=Text("One sentence. " * 8, final=True, role="assistant"))
    speech: tuple[Audio, ...] = tuple(frames(say("Hello there, can you tell me what time it is?")))
    quiet = tuple(frames(silence(1_000)))
    return Trial(modality=modality, speech=speech, silence=quiet)


@pytest.mark.parametrize("name", providers())
def test_it_keeps_what_a_host_relies_on(name: str, say: Say) -> None:
    entry = providers()[name]
    checks = suite.conformance(lambda: entry.factory(name, {}), trial(entry.modality, say))

    report = run_suite(check for check in checks if check.name not in NOT_ITS_OWN.get(name, ()))

    assert report.conforms, report.reasons()
