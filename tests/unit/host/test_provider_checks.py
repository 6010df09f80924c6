"""What stands behind a provider is asked after without a call; what is found changes its readiness and nothing else."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from rspp.adapters.providers.openai_compatible.settings import LlmSettings
from rspp.adapters.providers.openai_compatible.upstream import Upstream
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError
from rspp.host.providers import Providers
from rspp.host.registry import ProviderKind, Registry
from rspp.spec import compile_text
from rspp.testing.scripted import make

SPEC = """
pipeline: p
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  llm: {type: llm, version: v1}
  speaker: {type: transport.out, version: v1}
edges: [{from: caller.text, to: llm.text}, {from: llm.text, to: speaker.text}]
turn_input: caller.text
providers: {llm: [checked]}
"""


class Checked:
    """A scripted provider whose endpoint does what the test says."""

    def __init__(self) -> None:
        self._inner = make("scripted-llm")
        self.finding: Exception | None = None
        self.hangs = False
        self.info, self.begin = self._inner.info, self._inner.begin

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def check(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.finding is not None:
            raise self.finding


GONE = ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "provider_unreachable", "nobody answers")


def test_a_check_that_fails_costs_readiness_until_one_that_does_not_and_calls_are_made_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rspp.host.providers.CHECK_S_MAX", 0.05)

    async def main() -> None:
        checked, blamed = Checked(), []
        registry = Registry(providers={"checked": ProviderKind("llm", lambda *_: checked)})
        providers = Providers(registry, lambda what, error: blamed.append(what))
        graph = compile_text(SPEC)
        providers.bind(graph)
        await providers.check()  # what is not open is not asked
        await providers.open()
        for finding, failure in (
            (GONE, "nobody answers"),
            (OSError("x"), "its check raised OSError"),
            (None, None),
        ):
            checked.finding = finding
            await providers.check()
            (one,) = providers.readiness()
            assert (one.ready, one.failure) == (failure is None, failure)
            assert providers.find(graph, "checked") is checked
        checked.hangs = True
        await providers.check()
        assert providers.readiness()[0].failure == "did not answer within 0 s"
        assert blamed == ["provider checked"]
        await providers.close()

    asyncio.run(main())


def test_a_server_that_listens_is_there_and_one_that_does_not_is_not() -> None:
    async def main() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        upstream = Upstream(
            "x", LlmSettings(base_url=f"http://127.0.0.1:{port}/v1"), lambda _: pytest.fail("no key")
        )
        await upstream.check()
        server.close()
        with pytest.raises(ProviderError) as caught:
            await upstream.check()
        assert caught.value.reason == "provider_unreachable"
        assert str(httpx.URL(f"http://127.0.0.1:{port}")) not in caught.value.message

    asyncio.run(main())
