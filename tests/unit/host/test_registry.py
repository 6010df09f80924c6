"""What a registry makes is a provider of its kind, and what is none is refused by name before anybody is served by it."""

from __future__ import annotations

from typing import Any

import pytest

from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from rspp.host.ports import ProviderInfo
from rspp.host.registry import ProviderKind, Registry, misfit
from rspp.testing.scripted import providers

INFO = ProviderInfo(name="mine", modality="llm", version="v1")


class Coroutine:
    info = INFO

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def run(self, call: object) -> None: ...


class Reactive:
    info = INFO

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def begin(self, request: object, answer: object) -> None: ...


def lacking(base: type, **changes: object) -> object:
    return type("Lacking", (base,), changes)()


def plain(self: object) -> None: ...


@pytest.mark.parametrize("kind", [Coroutine, Reactive])
def test_a_provider_of_either_form_fits(kind: type) -> None:
    assert misfit(kind(), "llm") is None
    for name, scripted in providers().items():
        assert misfit(scripted.factory(name, {}), scripted.modality) is None


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (object(), "info"),
        (lacking(Coroutine, info="mine"), "ProviderInfo"),
        (lacking(Coroutine, open=plain), "open"),
        (lacking(Coroutine, close=None), "close"),
        (lacking(Coroutine, run=plain), "run"),
        (lacking(Reactive, begin=3), "begin"),
    ],
)
def test_what_lacks_something_is_told_what(made: Any, said: str) -> None:
    fault = misfit(made, "llm")
    assert fault is not None
    assert said in fault


def test_one_registered_for_another_modality_is_refused_with_the_path_in_the_spec() -> None:
    registry = Registry(providers={"mine": ProviderKind("tts", lambda name, settings: Coroutine())})
    with pytest.raises(MisuseError, match="is registered for 'tts'") as refused:
        registry.make("mine")
    assert (refused.value.code, refused.value.path) == ("provider_unfit", "providers.mine")
    assert refused.value.code in CODES
