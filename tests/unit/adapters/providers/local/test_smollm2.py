"""The language model streams as it thinks, stops when it is told, and refuses what it cannot hold."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rspp.contract.event import Audio, Text
from rspp.contract.streams import TextStreamCheck
from rspp.contract.words import CancelMode, OutcomeClass
from rspp.host.ports import AnyProvider, Message
from rspp.testing.conformance.attempt import Attempt, Heard
from tests.unit.adapters.providers.local.driving import ANSWER_MS_MAX, attempt, ended, made, opened

QUESTION = Text("What is the capital of France?", final=True, role="user")
STORY = Text("Tell me a long story about a king and his castle.", final=True, role="user")
BRIEF: dict[str, object] = {"system": "Answer in one short sentence."}

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models")]


async def answered(provider: AnyProvider, text: Text, **more: object) -> Heard:
    call = attempt(provider, text, **more)  # type: ignore[arg-type]
    call.end(last=True)
    await ended(call)
    return call.heard


def spoken(heard: Heard) -> str:
    return "".join(text.text for text in heard.texts)


def test_it_answers_in_pieces_remembers_and_keeps_to_its_length() -> None:
    async def main() -> tuple[Heard, Heard, Heard]:
        async with opened("local-smollm2") as provider:
            history = (
                Message("user", "What is an elephant?"),
                Message("assistant", "An elephant is a very large animal with a trunk."),
            )
            return (
                await answered(provider, QUESTION, config=BRIEF),
                await answered(provider, Text("Tell me more about it."), config=BRIEF, history=history),
                await answered(provider, STORY, config={"tokens_max": 7}),
            )

    plain, remembered, short = asyncio.run(main())
    assert "Paris" in spoken(plain)
    assert len(plain.texts) >= 5
    check = TextStreamCheck()
    assert [v for text in plain.texts for v in check.feed(text)] == []
    assert {text.role for text in plain.texts} == {"assistant"}
    assert plain.said[-1].value == len(plain.texts)  # tokens
    assert "elephant" in spoken(remembered).lower()
    assert len(short.texts) == 7


def test_a_cancel_is_obeyed_at_once_and_the_place_is_free_again() -> None:
    """Who waits gets the only place within a second; the story would have held it for several."""

    async def main() -> None:
        async with opened(
            "local-smollm2", {"sessions": 1, "queue_ms_max": 1_000, "tokens_max": 1_500}
        ) as provider:
            calls = []
            for mode in CancelMode:
                call = attempt(provider, STORY)
                calls.append(call)
                await call.heard.until(lambda h: len(h.texts) >= 3, ANSWER_MS_MAX, "no words")
                call.cancel(mode)
                assert call.heard.ends == ["stopped"]
            assert "Paris" in spoken(await answered(provider, QUESTION, config={**BRIEF, "tokens_max": 12}))
            assert all(call.heard.after_the_end() == [] for call in calls)

    asyncio.run(main())


def test_one_too_many_is_an_overload_that_may_be_tried_again() -> None:
    async def main() -> tuple[Attempt, Heard]:
        async with opened("local-smollm2", {"sessions": 1, "waiting_max": 1, "queue_ms_max": 20}) as provider:
            first = attempt(provider, STORY)
            await first.heard.until(lambda h: h.texts, ANSWER_MS_MAX, "no words")
            refused = await answered(provider, QUESTION)
            first.cancel()
            return first, refused

    _, refused = asyncio.run(main())
    assert refused.failure is not None
    assert (refused.failure.outcome, refused.failure.retryable) == (OutcomeClass.OVERLOAD, True)


def test_nobody_reads_and_nothing_is_lost() -> None:
    async def main() -> tuple[str, str]:
        async with opened("local-smollm2") as provider:
            whole = spoken(await answered(provider, QUESTION, config=BRIEF))
            call = attempt(provider, QUESTION, BRIEF)
            call.throttle(True)
            await asyncio.sleep(0.5)
            assert call.heard.texts == []
            call.throttle(False)
            await ended(call)
            return whole, spoken(call.heard)

    whole, late = asyncio.run(main())
    assert late == whole


def test_what_it_cannot_answer_is_refused_by_name() -> None:
    async def main() -> list[Heard]:
        async with opened("local-smollm2", {"context_tokens_max": 256}) as provider:
            return [
                await answered(provider, Text("word " * 2_000)),
                await answered(provider, Audio(b"", 0, 0)),  # type: ignore[arg-type]
            ]

    too_long, no_text = asyncio.run(main())
    assert too_long.failure is not None
    assert (too_long.failure.outcome, too_long.failure.reason) == (OutcomeClass.BLOCKED, "prompt_too_long")
    assert no_text.failure is not None
    assert no_text.failure.reason == "payload_mismatch"


def test_old_messages_go_before_the_context_is_full() -> None:
    async def main() -> Heard:
        async with opened("local-smollm2", {"history_characters_max": 400}) as provider:
            history = tuple(Message(("user", "assistant")[n % 2], f"{n} " + "words " * 20) for n in range(40))
            return await answered(provider, QUESTION, config={**BRIEF, "tokens_max": 12}, history=history)

    assert asyncio.run(main()).ends == ["finished"]


def test_a_model_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    provider = made("local-smollm2", {"model_path": str(tmp_path / "own.gguf")})

    assert provider.info.model == "own"
    with pytest.raises(Exception, match=r"no model file own\.gguf"):
        asyncio.run(provider.open())
