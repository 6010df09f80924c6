"""Against a real server that somebody else wrote: llama.cpp's own, with a small model, over a real socket."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from rspp.adapters.providers.local.fetch import fetch
from rspp.adapters.providers.local.weights import cache_folder, known, locate
from rspp.adapters.providers.openai_compatible import ChatModel, providers
from rspp.contract.words import OutcomeClass
from rspp.host.ports import ProviderError
from rspp.host.secrets import Secrets
from tests.unit.adapters.providers.openai_compatible.call import Live

MODEL = "smollm2-135m"
KEY = "sk-of-the-test"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    fetch(known(MODEL), cache_folder(), lambda _: None)
    (weights,) = locate(MODEL).glob("*.gguf")
    program = Path(__file__).with_name("llama_server.py")
    process = subprocess.Popen(
        [sys.executable, str(program), str(weights)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield next((line.strip() for line in process.stdout if line.startswith("http")), "")
    finally:
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def model_of(address: str, key: str = KEY, **settings: Any) -> ChatModel:
    factory = providers(Secrets({"KEY": key}).resolve)["openai-llm"].factory
    made = factory("p", {"base_url": f"{address}/v1", "api_key": "env://KEY", "model": "small", **settings})
    assert isinstance(made, ChatModel)
    return made


def ask(words: str, tokens_max: int) -> Live:
    config = {"system": "You are a helpful assistant.", "temperature": 0.0, "tokens_max": tokens_max}
    return Live(words, config=config)


async def busy_slots(address: str) -> int:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{address}/slots", headers={"authorization": f"Bearer {KEY}"})
    return sum(bool(slot["is_processing"]) for slot in answer.json())


def test_a_chat_is_streamed_and_its_first_words_are_there_long_before_its_last(address: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            model, live = model_of(address), ask("Tell me a story about the sea.", 48)
            await model.open()
            began = time.perf_counter()
            await model.run(live)
            ended = time.perf_counter()
            assert len(live.chunks) >= 10
            assert live.text.strip()
            assert live.tokens in range(len(live.chunks), 49)
            assert live.times[0] - began < (ended - began) / 2
            again = ask("Tell me a story about the sea.", 48)
            await model.run(again)
            assert again.text == live.text
            await model.close()

    asyncio.run(main())


def test_history_and_instructions_reach_the_model(address: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            model = model_of(address)
            await model.open()
            said = []
            for system, history in (
                ("", []),
                ("Answer in French.", []),
                ("", [("user", "I have a red boat."), ("assistant", "What a fine red boat.")]),
            ):
                config = {"system": system, "temperature": 0.0, "tokens_max": 16}
                live = Live("Tell me about my boat.", config=config, history=history)
                await model.run(live)
                said.append(live.text)
            assert len(set(said)) == 3
            await model.close()

    asyncio.run(main())


def test_a_cancel_stops_the_server_from_writing_on(address: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            model, live = model_of(address), ask("Tell me a very long story about the sea.", 900)
            await model.open()
            running = asyncio.create_task(model.run(live))
            await live.heard(3)
            assert await busy_slots(address) == 1
            cancelled = time.perf_counter()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert time.perf_counter() - cancelled < 0.075
            while True:
                if await busy_slots(address) == 0:
                    break
                assert time.perf_counter() - cancelled < 2, "the server still writes for nobody"
                await asyncio.sleep(0.02)
            await model.close()

    asyncio.run(main())


def test_a_wrong_key_and_a_request_that_is_too_long_are_blocked(address: str) -> None:
    async def main() -> None:
        async with asyncio.timeout(30):
            wrong, small = model_of(address, key="sk-wrong-key"), model_of(address)
            for model, live in ((wrong, ask("Hi", 5)), (small, ask("word " * 3000, 5))):
                await model.open()
                with pytest.raises(ProviderError) as caught:
                    await model.run(live)
                assert caught.value.outcome is OutcomeClass.BLOCKED
                assert not caught.value.retryable
                assert "sk-" not in str(caught.value)
                assert live.chunks == []
                await model.close()

    asyncio.run(main())
