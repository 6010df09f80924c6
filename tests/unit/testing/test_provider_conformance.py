"""The provider suite passes what keeps its word, and each way of breaking it is caught by the checks that are about it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, ClassVar

import msgspec
import pytest

from rspp.contract.event import Audio, Text
from rspp.host.ports import LiveCall, ProviderInfo
from rspp.testing import scripted
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import Check, parametrize, run_suite, verify
from rspp.testing.conformance import async_node as node_suite
from rspp.testing.conformance import provider as suite
from rspp.testing.conformance.trial import Trial, usual

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

STOPS = {
    "acknowledges a hard cancel once, and is silent",
    "acknowledges a soft cancel once, and is silent",
    "can be cancelled before it gave anything",
}
UNFINISHED = {
    "leaves no task behind",
    "serves one call after another",
    "finishes a call",
    "ends each call once",
    "says nothing after the end",
    "ignores what it is told after the end",
    "gives what its modality gives",
    "gives whole chunks in order",
    "keeps its calls apart",
    "never blocks the loop",
}
FINALS = {
    "answers with a final after speech",
    "answers with an empty final after silence",
    "answers each time it is asked",
}
ORDER = {"gives whole chunks in order", "keeps its calls apart"}


def failed(kind: str, **faults: Any) -> set[str]:
    """The checks that a scripted provider with these faults does not pass."""
    made = lambda: scripted.make(kind, faults=faults)  # noqa: E731
    return set(run_suite(suite.conformance(made), "provider", run_virtual).failed())


@pytest.mark.parametrize("kind", sorted(scripted.providers()))
def test_every_scripted_provider_keeps_its_word(kind: str) -> None:
    report = run_suite(suite.conformance(lambda: scripted.make(kind)), "provider", run_virtual)
    assert report.conforms, report.reasons()
    assert {"identity", "lifecycle", "outcome", "output", "cancellation", "isolation"} <= set(
        report.categories
    )


@pytest.mark.parametrize(
    ("kind", "faults", "caught"),
    [
        ("scripted-tts", {"cancel": "ignore"}, STOPS),
        ("scripted-tts", {"cancel": "late"}, STOPS),
        ("scripted-stt", {"cancel": "twice"}, STOPS),
        ("scripted-tts", {"kill": "ignore"}, {"is silent when killed"}),
        ("scripted-stt", {"kill": "ignore"}, {"is silent when killed"}),
        ("scripted-tts", {"ignore_throttle": True}, {"stops while nobody reads, and goes on after"}),
        ("scripted-llm", {"ignore_throttle": True}, {"stops while nobody reads, and goes on after"}),
        ("scripted-vad", {"finish": "twice"}, {"ends each call once"}),
        (
            "scripted-llm",
            {"finish": "never"},
            UNFINISHED | {"stops while nobody reads, and goes on after", "survives input it cannot use"},
        ),
        ("scripted-stt", {"finish": "never"}, UNFINISHED | {"survives input it cannot use"}),
        ("scripted-stt", {"finals": "withheld"}, FINALS),
        ("scripted-vad", {"chunks": "malformed"}, {"scores with probabilities"}),
        ("scripted-tts", {"chunks": "malformed"}, ORDER),
        ("scripted-tts", {"chunks": "duplicate"}, ORDER),
        ("scripted-llm", {"chunks": "reorder"}, ORDER),
        ("scripted-llm", {"leak_task": True}, {"leaves no task behind"}),
        ("scripted-tts", {"raises": "feed"}, {"survives input it cannot use"}),
        (
            "scripted-llm",
            {"raises": "cancel"},
            STOPS | {"keeps its calls apart", "ignores what it is told after the end"},
        ),
        (
            "scripted-llm",
            {"fail_times": -1, "fail_reason": "Bearer abc was refused"},
            {
                "serves one call after another",
                "finishes a call",
                "gives what its modality gives",
                "keeps its calls apart",
                "survives input it cannot use",
                "survives a call without input",
            },
        ),
    ],
    ids=lambda value: "" if isinstance(value, set) else str(value),
)
def test_a_broken_word_is_caught_by_exactly_its_checks(
    kind: str, faults: dict[str, Any], caught: set[str]
) -> None:
    assert failed(kind, **faults) == caught


def test_what_comes_after_the_end_is_caught() -> None:
    assert "says nothing after the end" in failed("scripted-stt", finish="then_produce")


def test_a_provider_that_cannot_be_opened_fails_everything_but_its_name() -> None:
    report = run_suite(
        suite.conformance(lambda: scripted.make("scripted-llm", faults={"open_fails": True})), run=run_virtual
    )
    assert {r.name for r in report.results if r.verdict == "passed"} == {"says what it is"}
    assert "cannot be opened" in report.reasons()


def test_a_provider_that_blocks_the_loop_is_caught() -> None:
    trial = msgspec.structs.replace(usual("llm"), blocked_ms_max=15)
    checks = suite.conformance(lambda: scripted.make("scripted-llm", faults={"block_ms": 25}), trial)
    only = [check for check in checks if check.name == "never blocks the loop"]
    assert run_suite(only, run=run_virtual).failed() == ["never blocks the loop"]


def test_an_exception_in_the_background_is_caught() -> None:
    class Stray:
        def __init__(self) -> None:
            self.inner = scripted.make("scripted-vad")
            self.info = self.inner.info

        async def open(self) -> None: ...
        async def close(self) -> None: ...

        def begin(self, request: Any, answer: Any) -> Any:
            def trip() -> None:
                raise RuntimeError("nobody hears this")

            asyncio.get_running_loop().call_soon(trip)
            return self.inner.begin(request, answer)

    report = run_suite(suite.conformance(Stray), run=run_virtual)
    assert "raised in the background: ['RuntimeError: nobody hears this']" in report.reasons()
    assert "finishes a call" in report.failed()


class Letters:
    """A coroutine provider that keeps its word."""

    info = ProviderInfo(name="letters", modality="llm", version="v1")

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        event = call.request.event
        text = event.payload.text if event and isinstance(event.payload, Text) else ""
        for index, letter in enumerate(text):
            await asyncio.sleep(0.02)
            if call.stopping:
                return
            await call.produce(Text(letter, 0, index, role="assistant"))


class Swallows(Letters):
    async def run(self, call: LiveCall) -> None:
        try:
            await super().run(call)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)


class Raises(Letters):
    async def run(self, call: LiveCall) -> None:
        assert call.request.event is not None
        await super().run(call)


class Stranger(Letters):
    async def run(self, call: LiveCall) -> None:
        await call.produce(Audio(bytes(2), 1, 0))
        await super().run(call)


@pytest.mark.parametrize(
    ("provider", "caught"),
    [
        (Letters, set()),
        (Swallows, {"acknowledges a hard cancel once, and is silent"}),
        (Raises, {"survives a call without input"}),
        (Stranger, {"gives what its modality gives"}),
    ],
)
def test_coroutine_providers_are_held_to_the_same_word(provider: Any, caught: set[str]) -> None:
    assert set(run_suite(suite.conformance(provider), run=run_virtual).failed()) == caught


class Echo:
    """An async node that keeps its word."""

    port = "text"

    async def run(self, call: LiveCall) -> None:
        event = call.request.event
        if event is None or not isinstance(event.payload, Text):
            return
        for index, word in enumerate(event.payload.text.split()):
            await asyncio.sleep(0.01)
            if call.stopping:
                return
            await call.produce(Text(word, 0, index), port=self.port)


class Elsewhere(Echo):
    port = "elsewhere"


class Leaves(Echo):
    left: ClassVar[list[asyncio.Task[None]]] = []

    async def run(self, call: LiveCall) -> None:
        self.left.append(asyncio.get_running_loop().create_task(asyncio.sleep(100)))
        await super().run(call)


class LateWord(Echo):
    async def run(self, call: LiveCall) -> None:
        await super().run(call)
        asyncio.get_running_loop().create_task(self.late(call))

    async def late(self, call: LiveCall) -> None:
        await asyncio.sleep(0.1)
        await call.produce(Text("late", 9))


@pytest.mark.parametrize(
    ("node", "caught"),
    [
        (Echo, set()),
        (Elsewhere, {"keeps to its ports"}),
        (Leaves, {"leaves no task behind"}),
        (
            LateWord,
            {
                "says nothing after the end",
                "ignores what it is told after the end",
                "acknowledges a soft cancel once, and is silent",
            },
        ),
    ],
)
def test_async_nodes_are_held_to_the_same_word(node: Any, caught: set[str]) -> None:
    trial = Trial(modality="external", said=Text("one two three four five six", final=True), ports=("text",))
    checks = node_suite.conformance(node, trial)
    assert set(run_suite(checks, run=run_virtual).failed()) == caught


def test_a_report_is_json_with_a_verdict_for_each_category() -> None:
    report = run_suite(
        suite.conformance(lambda: scripted.make("scripted-tts", faults={"cancel": "ignore"})),
        "provider",
        run_virtual,
    )
    written = json.loads(msgspec.json.encode(report))
    assert written["port"] == "provider"
    assert written["conforms"] is False
    assert written["categories"]["cancellation"]["failed"] == 3
    assert "was not acknowledged within 75 ms" in written["categories"]["cancellation"]["reasons"][0]
    assert written["categories"]["identity"]["failed"] == 0


@parametrize(suite.conformance(lambda: scripted.make("scripted-vad")))
def test_the_suite_runs_under_pytest(check: Check) -> None:
    verify(check, run_virtual)


def test_a_check_that_fails_under_pytest_says_which_and_why() -> None:
    checks = suite.conformance(lambda: scripted.make("scripted-vad", faults={"finish": "twice"}))
    check = next(check for check in checks if check.name == "ends each call once")
    with pytest.raises(AssertionError, match="outcome: ends each call once: the call ended 2 times"):
        verify(check, run_virtual)
