"""A collector gets one tree of spans a turn, with all ids; one that is slow or gone costs no session anything."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import defaultdict
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from rspp.adapters.telemetry.otlp import QUEUE_SPANS_MAX, OtlpTraces, address_of, is_sampled
from rspp.adapters.telemetry.spans import (
    CONTENT_CHARACTERS_MAX,
    SessionSpans,
    Span,
    messages,
    span_of,
    trace_of,
)
from rspp.cli.tracing import masked
from rspp.contract.errors import MisuseError
from rspp.host.meters import Meters
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from tests.unit.adapters.telemetry.collector import Collector, attributes_of, collecting
from tests.unit.host.stage import Stage, on_stage

WORDS = "hello"


def call_of(traces: OtlpTraces, turns: int = 2, watch: Any = None) -> list[str]:
    """One call with so many turns, traced; the turns' ids."""
    ids: list[str] = []

    async def scene(stage: Stage) -> None:
        traces.count_in(stage.host.meters)
        caller = stage.call()
        for number in range(turns):
            await caller.speak()
            for _ in range(500):
                if len(caller.signals("close")) > number:
                    break
                await caller.frames(20)
        closed = [e for _, e in caller.events if getattr(e.payload, "signal", "") == "close"]
        ids.extend(str(event.scope.turn_id) for event in closed)

    on_stage(scene, watches=[traces, *([watch] if watch else [])])
    traces.close()
    return ids


def trees(collector: Collector) -> dict[bytes, dict[bytes, Any]]:
    found: dict[bytes, dict[bytes, Any]] = defaultdict(dict)
    for span in collector.spans:
        assert span.span_id not in found[span.trace_id], "two spans of one id"
        found[span.trace_id][span.span_id] = span
    return found


@pytest.mark.usefixtures("patient")
@pytest.mark.proves("F-070")
def test_a_collector_gets_one_tree_a_turn_with_a_span_for_each_node_and_call() -> None:
    seen: list[tuple[str, str]] = []  # what the kernel really asked for: turn, node

    class Asked:
        awaits = None

        def took(self, at: int, received: i.Input) -> None: ...
        def did(self, at: int, effects: Any) -> None:
            seen.extend((e.turn_id, e.node_id) for e in effects if isinstance(e, fx.Invoke) and e.turn_id)

        def closed(self) -> None: ...

    with collecting() as collector:
        turns = call_of(OtlpTraces(collector.url, instance="w0"), 2, lambda _, __: Asked())
    assert len(turns) == 2
    found = trees(collector)
    for turn_id in turns:
        tree = found[trace_of(turn_id).to_bytes(16, "big")]
        roots = [span for span in tree.values() if not span.parent_span_id]
        assert [root.name for root in roots] == ["turn"]
        assert all(span.parent_span_id in tree for span in tree.values() if span.parent_span_id)
        names = sorted(span.name for span in tree.values())
        nodes = {attributes_of(s)["node_id"]: s for s in tree.values() if s.name.startswith("node ")}
        assert set(nodes) == {"llm", "tts", "segmenter"}
        calls = [span for span in tree.values() if span.kind == span.SPAN_KIND_CLIENT]
        assert sorted(attributes_of(one)["node_id"] for one in calls) == sorted(
            n for t, n in seen if t == turn_id
        )
        for call in calls:
            parent = tree[call.parent_span_id]
            assert parent is nodes[attributes_of(call)["node_id"]]
            assert tree[parent.parent_span_id] is roots[0]
            assert parent.start_time_unix_nano <= call.start_time_unix_nano
            assert call.end_time_unix_nano <= parent.end_time_unix_nano
        for span in tree.values():
            told = attributes_of(span)
            assert told["turn_id"] == turn_id
            assert turn_id.startswith(told["session_id"])
            assert told["pipeline_version"] == "v1"
            assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        (chat,) = [span for span in calls if attributes_of(span).get("gen_ai.operation.name") == "chat"]
        told = attributes_of(chat)
        assert told["gen_ai.provider.name"] == told["gen_ai.request.model"] == "scripted-llm"
        assert told["gen_ai.conversation.id"] == told["session_id"]
        assert chat.name == "chat scripted-llm"
        assert attributes_of(roots[0])["rspp.turn.outcome"] == "commit"
        assert names.count("turn") == 1
    # What lasts as long as the session has the session's own tree.
    (session,) = [span for span in collector.spans if span.name == "session"]
    lasting = [span for span in collector.spans if span.parent_span_id == session.span_id]
    assert {attributes_of(span)["node_id"] for span in lasting} >= {"stt", "vad"}
    assert collector.resources[0]["service.instance.id"] == "w0"


@pytest.mark.usefixtures("patient")
def test_no_span_says_what_was_said_unless_that_is_asked_for_and_then_it_is_masked() -> None:
    with collecting() as silent:
        call_of(OtlpTraces(silent.url), 1)
    assert silent.raw
    assert not any(b"gen_ai.input.messages" in body for body in silent.raw)
    with collecting() as telling:
        call_of(OtlpTraces(telling.url, content=lambda text: f"<{len(text)}>"), 1)
    (chat,) = [attributes_of(s) for s in telling.spans if s.name.startswith("chat")]
    assert '"role": "user", "content": "<' in chat["gen_ai.input.messages"]
    assert '"role": "assistant", "content": "<' in chat["gen_ai.output.messages"]
    for told in (chat["gen_ai.input.messages"], chat["gen_ai.output.messages"]):
        assert all(set(message) == {"role", "content"} for message in json.loads(told))
    words = masked("call me at 030 1234567 or a@b.de, the password is hunter2secret")
    assert not {"1234567", "a@b.de", "hunter2secret"} & set(words.split())
    assert "1234567" not in words


@pytest.mark.proves("F-070")
def test_a_collector_that_is_down_or_slow_costs_a_session_nothing_and_what_is_lost_is_counted() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{taken.getsockname()[1]}"  # bound, and nobody listens
    times: dict[str, float] = {}
    results: dict[str, OtlpTraces] = {}
    with collecting(sleeps_s=0.6) as slow:
        for name, url in (("down", down), ("slow", slow.url)):
            traces = results[name] = OtlpTraces(url)
            spans = SessionSpansStub(traces)
            worst = 0.0
            began = time.monotonic()
            for number in range(3 * QUEUE_SPANS_MAX):
                before = time.monotonic()
                traces.put(spans.make(number))
                worst = max(worst, time.monotonic() - before)
            times[name] = time.monotonic() - began
            assert len(traces._spans) <= QUEUE_SPANS_MAX
            assert traces.dropped >= QUEUE_SPANS_MAX / 2
            closing = time.monotonic()
            traces.close()
            assert time.monotonic() - closing < 2.0
    # Taking spans never waits for the network: thousands a second whatever is at the other end.
    assert all(took < 0.2 for took in times.values()), times
    for traces in results.values():
        meters = Meters()
        traces.count_in(meters)
        counted = {dict(o.labels)["outcome"]: o.value for o in meters.read().counters}
        assert counted["exported"] == 0
        assert counted["failed"] + counted["dropped"] == 3 * QUEUE_SPANS_MAX
        assert counted["failed"] > 0


@pytest.mark.usefixtures("patient")
def test_words_are_masked_before_they_are_cut_and_not_while_the_call_waits() -> None:
    """On the loop nothing is masked: that takes longer than a frame lasts."""
    masking: list[int] = []

    def mask(text: str) -> str:
        masking.append(threading.get_ident())
        return text.replace("030 1234567", "[phone]")

    with collecting() as collector:
        call_of(OtlpTraces(collector.url, content=mask), 1)
    assert masking
    assert threading.get_ident() not in masking
    long = "x" * (CONTENT_CHARACTERS_MAX - 5)
    told = json.loads(messages((("user", "old"), ("user", f"{long}030 1234567"), ("user", "newer")), mask))
    assert [message["content"][-5:] for message in told] == ["xxxxx", "newer"]
    assert "030" not in str(told)
    assert sum(len(message["content"]) for message in told) == CONTENT_CHARACTERS_MAX
    many = tuple(("user", "y" * 100) for _ in range(1_000))
    assert len(json.loads(messages(many, mask))) == CONTENT_CHARACTERS_MAX // 100 + 1


class SessionSpansStub:
    def __init__(self, traces: OtlpTraces) -> None:
        self._traces = traces

    def make(self, number: int) -> Span:
        return Span(
            name="turn",
            trace_id=trace_of("t"),
            span_id=span_of(number),
            parent_id=0,
            began=1,
            ended=2,
            attributes={"session_id": "s"},
        )


@pytest.mark.proves("F-070")
def test_the_words_of_a_call_come_at_the_same_times_with_a_collector_that_is_down() -> None:
    """In virtual time whatever waited for a collector would shift what the caller hears."""

    def heard(watches: list[Any]) -> list[tuple[int, str]]:
        told: list[tuple[int, str]] = []

        async def scene(stage: Stage) -> None:
            caller = stage.call()
            await caller.speak()
            await caller.until("close")
            told.extend((at, event.kind.value) for at, event in caller.events)

        on_stage(scene, watches=watches)
        return told

    traces = OtlpTraces("http://127.0.0.1:9")
    assert heard([traces]) == heard([])
    traces.close()
    assert traces.failed + traces.dropped > 0


def test_it_goes_on_when_the_collector_is_back_and_survives_an_exporter_that_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rspp.adapters.telemetry.otlp.PAUSE_S", 0.05)
    answers: list[Exception | SpanExportResult] = [
        RuntimeError("odd"),
        SpanExportResult.FAILURE,
        SpanExportResult.SUCCESS,
    ]
    taken: list[int] = []

    class Odd:
        def export(self, spans: Any) -> SpanExportResult:
            answer = answers[min(len(taken), 2)]
            taken.append(len(spans))
            if isinstance(answer, Exception):
                raise answer
            return answer

        def shutdown(self) -> None: ...

    traces = OtlpTraces("http://127.0.0.1:4318", exporter=Odd)
    stub = SessionSpansStub(traces)
    deadline = time.monotonic() + 10
    number = 0
    while traces.exported == 0 and time.monotonic() < deadline:
        traces.put(stub.make(number))
        number += 1
        time.sleep(0.02)
    assert traces.exported > 0
    assert traces.failed >= 2
    traces.close()


def test_one_session_in_n_is_traced_and_every_process_decides_alike() -> None:
    names = [f"s-{number}" for number in range(4_000)]
    sampled = [name for name in names if is_sampled(name, 8)]
    assert 400 < len(sampled) < 600
    assert sampled == [name for name in names if is_sampled(name, 8)]
    assert all(is_sampled(name, 1) for name in names)


@pytest.mark.parametrize("url", ["", "collector:4318", "ftp://x", "http://", "unix:///x"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(MisuseError):
        address_of(url)


def test_a_collectors_address_alone_means_its_usual_path() -> None:
    assert address_of("http://c:4318") == address_of("http://c:4318/") == "http://c:4318/v1/traces"
    assert address_of("http://c/otlp/v1/traces") == "http://c/otlp/v1/traces"


def test_spans_of_one_session_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.adapters.telemetry.spans.OPEN_MAX", 3)
    with collecting() as collector:
        traces = OtlpTraces(collector.url)
        made: list[SessionSpans] = []

        def watch(request: Any, graph: Any) -> SessionSpans:
            made.append(SessionSpans(request, graph, traces.put))
            return made[0]

        call_of_watch(watch)
        traces.close()
    assert made[0].untold > 0
    assert len(made[0]._open) == 0


def call_of_watch(watch: Any) -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("close")

    on_stage(scene, watches=[watch])
