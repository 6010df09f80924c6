"""The suite that every provider passes, each of the three against a server on another thread."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rspp.adapters.providers.openai_compatible import providers
from rspp.spec import compile_text
from rspp.testing.conformance.checks import run_suite
from rspp.testing.conformance.provider import conformance
from tests.unit.adapters.providers.openai_compatible.server import DONE, STOP, Asked, Peer, delta, serving

pytestmark = pytest.mark.slow
SOUND = bytes(range(256)) * 4


async def answers(peer: Peer, asked: Asked) -> None:
    """An API of all three endpoints, whose answers take as long as those of a model."""
    if asked.path.endswith("/chat/completions"):
        await peer.chunked(end=False)
        for word in ("We ", "open ", "at nine. ", "It is ", "behind ", "the station."):
            await peer.chunk(delta(word))
            await asyncio.sleep(0.02)
        await peer.chunk(STOP + DONE)
        await peer.send(b"0\r\n\r\n")
    elif asked.path.endswith("/audio/speech"):
        await peer.chunked(kind="audio/pcm", end=False)
        for _ in range(20):
            await peer.chunk(SOUND)
            await asyncio.sleep(0.01)
        await peer.send(b"0\r\n\r\n")
    else:
        await asyncio.sleep(0.05)
        await peer.chunked(b'{"text": "Hello."}', kind="application/json")


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    ready: list[str] = []
    started = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def main() -> None:
        async with serving(answers, keep_alive=True) as server:
            ready.append(server.base_url)
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert started.wait(5)
    yield ready[0]
    loop.call_soon_threadsafe(over.set)
    thread.join(5)
    loop.close()


@pytest.mark.long
def test_the_example_of_the_documentation_conforms_and_its_spec_compiles() -> None:
    page = (Path(__file__).parents[5] / "docs" / "providers.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec("\n".join(text for kind, text in blocks if kind == "python"), names)  # it asserts that it conforms
    assert names["report"].conforms
    assert set(names["providers"]()) == {"echo"}
    (spec,) = (text for kind, text in blocks if kind == "yaml")
    graph = compile_text(spec)
    for own in graph.provider_settings.values():
        kind, settings = str(own["use"]), {key: value for key, value in own.items() if key != "use"}
        assert providers()[kind].factory("mine", settings).info.name == "mine"


@pytest.mark.parametrize("kind", ["openai-llm", "openai-stt", "openai-tts"])
def test_it_conforms(kind: str, base_url: str) -> None:
    factory = providers()[kind].factory
    report = run_suite(conformance(lambda: factory("mine", {"base_url": base_url})), kind)
    assert report.conforms, f"{report.reasons()} {report.categories}"
