"""The row of dynamic batching, in real time: a batch is made on a thread of its own, which knows no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import pytest

from rspp.contract.event import Text
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.batching import Batcher, Ticket
from rspp.host.clock import MachineClock
from rspp.host.host import Host
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo
from rspp.host.registry import ProviderKind
from rspp.spec import Layer, compile_text
from rspp.spec.graph import GraphDefinition
from tests.features.play import WRITTEN, typed
from tests.unit.host.stage import Caller, bootstrap_of, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

WINDOW_MS = 900


class Upstream:
    """A model that answers many questions in one request."""

    def __init__(self) -> None:
        self.requests: list[list[str]] = []

    def infer(self, batch: Sequence[str]) -> Sequence[str]:
        self.requests.append(list(batch))
        return [f"answer to {question}" for question in batch]


class BatchedLlm:
    """A provider whose calls go upstream together, within each call's own deadline."""

    def __init__(self, name: str, settings: Mapping[str, Any], upstream: Upstream) -> None:
        self.info = ProviderInfo(name=name, modality="llm", version="v1")
        batch_max = int(settings.get("batch_max", 8))
        self.batcher = Batcher(
            name, upstream, batch_max=batch_max, queue_ms_max=5_000, capacity=64, window_ms=WINDOW_MS
        )

    async def open(self) -> None: ...

    async def close(self) -> None:
        await self.batcher.close(1_000)

    def begin(self, request: CallRequest, answer: Answer) -> BatchedCall:
        assert request.event is not None
        assert isinstance(request.event.payload, Text)
        answer.accepted()

        def answered(result: str | ProviderError) -> None:
            if isinstance(result, ProviderError):
                answer.fail(result)
            else:
                answer.produce(Text(result, 0, 0, role="assistant"))
                answer.finish()

        question = request.event.payload.text
        return BatchedCall(self.batcher.submit(question, answered, deadline_at=request.deadline_at), answer)


class BatchedCall:
    def __init__(self, ticket: Ticket[str, str], answer: Answer) -> None:
        self.ticket, self.answer = ticket, answer

    def feed(self, event: object) -> None: ...
    def end(self, last: bool) -> None: ...
    def throttle(self, on: bool) -> None: ...

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        self.ticket.cancel()
        self.answer.stopped()

    def kill(self) -> None:
        self.ticket.cancel()


def pipeline(version: str, timeout_ms: int, batch_max: int = 8) -> GraphDefinition:
    """All of them ask the same provider; how long each can wait for it differs."""
    policy = {
        "providers": {"llm": ["batched-llm"]},
        "provider_settings": {"batched-llm": {"use": "batched-llm", "batch_max": batch_max}},
        "budgets": {"turn_budget_ms": 20_000},
        "policies": {"calls": {"provider_timeout_ms": timeout_ms}},
    }
    return compile_text(
        WRITTEN.replace("version: v1\nnodes", f"version: {version}\nnodes"),
        layers=[Layer.of("tenant", policy)],
    )


def asked(
    questions: Sequence[tuple[str, str]], *graphs: GraphDefinition
) -> tuple[Upstream, dict[str, tuple[str, float]]]:
    """Each question, asked at once by a session of its own on its version: what came for it, and after how long."""
    upstream, answers = Upstream(), {}

    async def ask(host: Host, version: str, question: str) -> None:
        caller = Caller(host.clock)  # type: ignore[arg-type]  # any clock does
        caller.take(host.open(bootstrap_of(pipeline_version=version), caller))
        began = host.clock.now()
        typed(caller, question)
        await caller.until("close")
        at = next(at for at, e in caller.events if isinstance(e.payload, Text) and e.payload.text)
        answers[question] = ("".join(caller.texts()), (at - began) / 1e6)

    async def main() -> None:
        kind = ProviderKind("llm", lambda name, settings: BatchedLlm(name, settings, upstream))
        host = Host(registry_of(batched_llm=kind), clock=MachineClock())
        for graph in graphs:
            host.publish(graph)
        await host.start()
        await asyncio.gather(*(ask(host, version, question) for version, question in questions))
        assert await host.stop() == []

    asyncio.run(main())
    return upstream, answers


EIGHT = [("v1", f"question {number}") for number in range(8)]


@pytest.mark.proves("F-051")
def test_calls_of_eight_sessions_go_upstream_together_and_each_answer_to_its_own_session() -> None:
    upstream, answers = asked(EIGHT, pipeline("v1", timeout_ms=8_000))
    assert len(upstream.requests) < 8
    assert sorted(chain.from_iterable(upstream.requests)) == [question for _, question in EIGHT]
    assert {question: text for question, (text, _) in answers.items()} == {
        q: f"answer to {q}" for _, q in EIGHT
    }


@pytest.mark.proves("F-051")
def test_a_session_that_cannot_wait_for_company_is_served_in_time() -> None:
    tight_ms = WINDOW_MS - 100
    questions = [("v1", "no hurry"), ("v2", "quickly")]
    upstream, answers = asked(
        questions, pipeline("v1", timeout_ms=8_000), pipeline("v2", timeout_ms=tight_ms)
    )
    assert answers["quickly"][0] == "answer to quickly"
    assert answers["quickly"][1] < tight_ms
    # Without it the other waits out its window, so it was the hurry that sent them early.
    _, alone = asked(questions[:1], pipeline("v1", timeout_ms=8_000))
    assert alone["no hurry"][1] >= WINDOW_MS * 0.95
    assert "quickly" in upstream.requests[0]


@pytest.mark.proves("F-051")
def test_with_batching_off_each_call_is_a_request() -> None:
    upstream, answers = asked(EIGHT, pipeline("v1", timeout_ms=8_000, batch_max=1))
    assert sorted(upstream.requests) == [[question] for _, question in EIGHT]
    assert {question: text for question, (text, _) in answers.items()} == {
        q: f"answer to {q}" for _, q in EIGHT
    }
