"""Given answers, word by word: the first token after its latency, the others at their rate.

Which answer is given follows from the conversation alone (how often the caller has spoken in it), so calls of other
sessions do not change it. Without answers it repeats what it was told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from rspp.contract.event import Text
from rspp.contract.words import OutcomeClass
from rspp.host.ports import Answer, Call, CallRequest, ProviderError, ProviderInfo
from rspp.testing.scripted.paced import Paced, Refusing


class LlmScript(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`answers` are given in turn; `echo` is said where there are none, with what the caller said in place of `{text}`."""

    answers: tuple[str, ...] = ()
    echo: str = "You said: {text}"
    first_ms: Annotated[float, Meta(ge=0)] = 150
    tokens_per_s: Annotated[float, Meta(gt=0)] = 50


class ScriptedLlm:
    """Answers as its script says."""

    def __init__(self, name: str, script: LlmScript) -> None:
        self.info = ProviderInfo(name=name, modality="llm", version="v1")
        self._script = script

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    def begin(self, request: CallRequest, answer: Answer) -> Call:
        asked = request.event.payload if request.event else None
        if not isinstance(asked, Text):
            answer.fail(ProviderError(OutcomeClass.BLOCKED, "input_unsupported", "this call needs a text"))
            return Refusing()
        answer.accepted()
        words = self._answer(request, asked.text).split(" ")
        return Paced(
            answer, _tokens(words), self._script.first_ms, 1000 / self._script.tokens_per_s, len(words)
        )

    def _answer(self, request: CallRequest, text: str) -> str:
        answers = self._script.answers
        if not answers:
            return self._script.echo.replace("{text}", text)
        # The caller's words may be the last of the history, or not be in it yet.
        earlier = [message.text for message in request.history if message.role == "user"]
        if earlier and earlier[-1] == text:
            earlier.pop()
        return answers[len(earlier) % len(answers)]


def _tokens(words: list[str]) -> Iterator[Text]:
    """A word is a token, the blank before it included."""
    for index, word in enumerate(words):
        yield Text(f" {word}" if index else word, 0, index, role="assistant")
