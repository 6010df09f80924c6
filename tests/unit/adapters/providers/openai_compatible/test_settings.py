"""Settings are checked when a provider is made; what is wrong is named, and no value repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rspp.adapters.providers.openai_compatible import SETTINGS, providers
from rspp.contract.errors import MisuseError
from rspp.host.ports import ProviderError
from rspp.host.registry import Registry
from rspp.host.secrets import Secrets
from tests.unit.adapters.providers.openai_compatible.call import Live

URL = "http://127.0.0.1:1/v1"
PLANTED = "sk-planted-4711"


def test_every_kind_is_made_from_an_address_alone_and_says_what_it_is() -> None:
    registry = Registry(providers=providers())
    assert set(SETTINGS) == set(registry.providers)
    for kind, entry in registry.providers.items():
        made = registry.make("mine", {"use": kind, "base_url": URL})
        assert (made.info.name, made.info.modality) == ("mine", entry.modality)


@pytest.mark.parametrize("kind", sorted(SETTINGS))
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, "base_url"),
        ({"base_url": 5}, "base_url"),
        ({"base_url": ""}, "base_url"),
        ({"base_url": "ftp://host"}, "base_url"),
        ({"base_url": "host/v1"}, "base_url"),
        ({"base_url": "http://"}, "base_url"),
        ({"base_url": "http://[::1"}, "base_url"),
        ({"base_url": f"http://u:{PLANTED}@host"}, "base_url"),
        ({"base_url": f"http://host/?key={PLANTED}"}, "base_url"),
        ({"base_url": URL, "api_key": PLANTED}, "api_key"),
        ({"base_url": URL, "api_key": ""}, "api_key"),
        ({"base_url": URL, "headers": {"X-Api-Key": PLANTED}}, "X-Api-Key"),
        ({"base_url": URL, "headers": {"X": 5}}, "headers"),
        ({"base_url": URL, "modle": "x"}, "modle"),
        ({"base_url": URL, "read_ms": "5"}, "read_ms"),
        ({"base_url": URL, "read_ms": 0}, "read_ms"),
        ({"base_url": URL, "read_ms": True}, "read_ms"),
        ({"base_url": URL, "connections_max": 10**9}, "connections_max"),
        ({"base_url": URL, "proxy": "socks9://x"}, "proxy"),
        ({"base_url": URL, "ca_file": "no/such/file"}, "ca_file"),
        ({"base_url": URL, "extra": {"stream": False}}, "stream"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(kind: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(MisuseError) as caught:
        providers()[kind].factory("mine", settings)
    assert caught.value.code == "provider_settings_invalid"
    assert caught.value.path == "provider_settings.mine"
    assert named in str(caught.value)
    assert PLANTED not in str(caught.value)


def test_a_missing_secret_shows_when_the_provider_is_opened_and_a_closed_one_takes_no_call() -> None:
    async def main() -> None:
        environment: dict[str, str] = {}
        factory = providers(Secrets(environment).resolve)["openai-llm"].factory
        made: Any = factory("mine", {"base_url": URL, "api_key": "env://KEY"})
        with pytest.raises(MisuseError, match="env://KEY"):
            await made.open()
        with pytest.raises(MisuseError, match="not open"):
            await made.run(Live("x"))
        environment["KEY"] = PLANTED
        await made.open()
        await made.open()
        with pytest.raises(ProviderError):
            await made.run(Live("x"))
        await made.close()
        await made.close()
        with pytest.raises(MisuseError, match="not open"):
            await made.run(Live("x"))
        assert PLANTED not in repr(made) + repr(vars(made)) + repr(vars(made._upstream))

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["openai-llm", "openai-tts"])
def test_a_call_without_words_is_refused(kind: str) -> None:
    async def main() -> None:
        made: Any = providers()[kind].factory("mine", {"base_url": URL})
        await made.open()
        with pytest.raises(ProviderError) as caught:
            await made.run(Live())
        assert caught.value.reason == "provider_request_refused"
        await made.close()

    asyncio.run(main())
