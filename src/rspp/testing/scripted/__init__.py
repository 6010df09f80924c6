"""Scripted providers with real timing: what they say is written down before, when they say it is a setting.

They are for tests, demonstrations and measurements of everything around a model. Each is a real `ReactiveProvider`, so a
spec names one like any other:

    providers: {vad: [scripted-vad], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}

Their settings are the records in the modules beside this one. Under `faults` every kind takes the same ones
(`rspp.testing.scripted.faults`), so any failure can be had on demand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

from rspp.contract.errors import MisuseError
from rspp.host.ports import ReactiveProvider
from rspp.host.registry import ProviderKind
from rspp.testing.scripted.end_of_turn import EndOfTurnScript, ScriptedEndOfTurn
from rspp.testing.scripted.faults import Faults, Faulty
from rspp.testing.scripted.llm import LlmScript, ScriptedLlm
from rspp.testing.scripted.stt import ScriptedStt, SttScript
from rspp.testing.scripted.tts import ScriptedTts, TtsScript
from rspp.testing.scripted.vad import ScriptedVad, VadScript

__all__ = [
    "EndOfTurnScript",
    "Faults",
    "Faulty",
    "LlmScript",
    "ScriptedEndOfTurn",
    "ScriptedLlm",
    "ScriptedStt",
    "ScriptedTts",
    "ScriptedVad",
    "SttScript",
    "TtsScript",
    "VadScript",
    "make",
    "providers",
]

Script = TypeVar("Script", bound=msgspec.Struct)
NO_FAULTS: Final = Faults()


def providers() -> dict[str, ProviderKind]:
    """Kind -> its modality and what makes one; a fresh table each time."""
    return {
        "scripted-vad": ProviderKind("vad", _factory(ScriptedVad, VadScript), "speech by loudness"),
        "scripted-end-of-turn": ProviderKind(
            "end_of_turn", _factory(ScriptedEndOfTurn, EndOfTurnScript), "the end by the length of a pause"
        ),
        "scripted-stt": ProviderKind(
            "stt", _factory(ScriptedStt, SttScript), "given texts, as speech is heard"
        ),
        "scripted-llm": ProviderKind("llm", _factory(ScriptedLlm, LlmScript), "given answers, or an echo"),
        "scripted-tts": ProviderKind("tts", _factory(ScriptedTts, TtsScript), "a tone as long as the text"),
    }


def make(kind: str, **settings: object) -> ReactiveProvider:
    """One scripted provider, named after its kind; for tests."""
    made = providers()[kind].factory(kind, settings)
    assert isinstance(made, ReactiveProvider)
    return made


def _factory(
    build: Callable[[str, Script], ReactiveProvider], script: type[Script]
) -> Callable[[str, Mapping[str, object]], ReactiveProvider]:
    """What makes a provider from its settings; what does not fit them is told with its path."""

    def factory(name: str, settings: Mapping[str, object]) -> ReactiveProvider:
        own = {key: value for key, value in settings.items() if key != "faults"}
        provider = build(name, _read(own, script, name))
        faults = _read(settings.get("faults", {}), Faults, f"{name}.faults")
        return provider if faults == NO_FAULTS else Faulty(provider, faults)

    return factory


def _read(value: object, kind: type[Script], path: str) -> Script:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise MisuseError("schema_validation_error", str(error), path) from error
