"""Providers that speak the OpenAI API, whoever serves it: a cloud, vLLM, Ollama, llama.cpp, a server of one's own.

openai-llm   POST /chat/completions       streamed text
openai-stt   POST /audio/transcriptions   an utterance at a time
openai-tts   POST /audio/speech           streamed samples
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from rspp.adapters.providers.openai_compatible.llm import ChatModel
from rspp.adapters.providers.openai_compatible.settings import (
    LlmSettings,
    Settings,
    SttSettings,
    TtsSettings,
    settings_of,
)
from rspp.adapters.providers.openai_compatible.stt import Recogniser
from rspp.adapters.providers.openai_compatible.tts import SpeechModel
from rspp.adapters.providers.openai_compatible.upstream import Resolve
from rspp.host.ports import Provider, ProviderFactory
from rspp.host.registry import ProviderKind
from rspp.host.secrets import resolve

__all__ = ["SETTINGS", "ChatModel", "Recogniser", "SpeechModel", "providers"]

# What each kind may be told, for documentation and for checks before anything is made.
SETTINGS: Final[Mapping[str, type[Settings]]] = {
    "openai-llm": LlmSettings,
    "openai-stt": SttSettings,
    "openai-tts": TtsSettings,
}

SettingsT = TypeVar("SettingsT", bound=Settings)


def providers(resolve: Resolve = resolve) -> dict[str, ProviderKind]:
    """For a registry. `resolve` is where secrets come from: that of a `Secrets` lets its logs be scrubbed of them."""
    return {
        "openai-llm": ProviderKind("llm", _factory(LlmSettings, ChatModel, resolve), "chat completions"),
        "openai-stt": ProviderKind("stt", _factory(SttSettings, Recogniser, resolve), "transcriptions"),
        "openai-tts": ProviderKind("tts", _factory(TtsSettings, SpeechModel, resolve), "speech"),
    }


def _factory(
    kind: type[SettingsT], make: Callable[[str, SettingsT, Resolve], Provider], resolve: Resolve
) -> ProviderFactory:
    def factory(name: str, settings: Mapping[str, object]) -> Provider:
        return make(name, settings_of(kind, name, settings), resolve)

    return factory
