"""What a host measures of nodes, edges and providers is true, is named as the table names it, and costs no session anything."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from rspp.contract.event import Event, Text
from rspp.control.supervisor.exposition import Exposition
from rspp.host.meters import CounterReading, GaugeReading, HistogramReading, Meters, Reading
from rspp.host.metric_names import BOUNDS_MS, METRICS
from rspp.host.pipeline_meters import IDLE_VERSIONS_MAX
from rspp.host.ports import LiveCall, ProviderInfo
from rspp.host.registry import ProviderKind, Registry
from rspp.kernel.buffers import EdgeQueue
from rspp.testing import scripted
from rspp.testing.clock import run_virtual
from rspp.testing.conformance import provider as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.metrics import missing_series, undeclared
from tests.unit.host.stage import Caller, Stage, graph_of, on_stage, registry_of


def series(reading: Reading, name: str) -> dict[tuple[str, ...], Any]:
    """The series of a name, by the values of what is neither pipeline nor version."""
    found: dict[tuple[str, ...], Any] = {}
    everything: list[CounterReading | GaugeReading | HistogramReading] = [
        *reading.counters,
        *reading.gauges,
        *reading.histograms,
    ]
    for one in everything:
        if one.name == name:
            rest = [value for label, value in one.labels if not label.startswith("pipeline")]
            found[tuple(rest)] = one
    return found


def scraped(reading: Reading) -> dict[str, float]:
    exposition = Exposition()
    exposition.take("w0", reading)
    lines = exposition.body.decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}


def quantile(figures: Mapping[str, float], series: str, share: float) -> tuple[float, float]:
    """Between which two bounds a quantile lies, by the buckets of a page, as Prometheus finds it."""
    named, _, labels = series.partition("{")
    counts = {}
    for name, value in figures.items():
        if name.startswith(f"{named}_bucket{{{labels.removesuffix('}')},le="):
            bound = name.rpartition('le="')[2].removesuffix('"}')
            counts[float(bound)] = value
    rank, below = share * max(counts.values()), 0.0
    for top in sorted(counts):
        if counts[top] >= rank:
            return below, top
        below = top
    raise AssertionError(series)


class Slow:
    """A language model that takes its known time, another one with each call."""

    def __init__(self, name: str, waits_ms: list[int]) -> None:
        self.info = ProviderInfo(name=name, version="v1", modality="llm")
        self.waits_ms, self.asked = waits_ms, 0

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        wait_ms = self.waits_ms[self.asked % len(self.waits_ms)]
        self.asked += 1
        await asyncio.sleep(wait_ms / 1000)
        await call.produce(Text("Yes.", final=True, role="assistant"))
        call.used(7)


def with_llm(waits_ms: list[int]) -> Registry:
    return registry_of(scripted_llm=ProviderKind("llm", lambda name, _: Slow(name, waits_ms)))


async def turns(caller: Caller, count: int) -> None:
    for number in range(count):
        await caller.speak()
        for _ in range(600):
            if len(caller.signals("close")) > number:
                break
            await caller.frames(20)


@pytest.mark.proves("F-068")
def test_the_quantiles_of_a_page_of_metrics_are_those_of_the_raw_times_within_a_bucket() -> None:
    waits_ms = [40, 60, 120, 180, 250, 400, 60, 90, 120, 700]
    pages: list[dict[str, float]] = []
    readings: list[Reading] = []
    graph = graph_of()

    async def scene(stage: Stage) -> None:
        await turns(stage.call(), len(waits_ms))
        reading = stage.host.meters.read()
        readings.append(reading)
        pages.append(scraped(reading))

    on_stage(scene, graph, registry=with_llm(waits_ms))
    (page,), (reading,) = pages, readings
    raw = sorted(waits_ms)
    llm = 'rspp_node_latency_ms{worker="w0",node="llm",pipeline="stage",pipeline_version="v1",provider="scripted-llm"}'
    assert page[llm.replace("_ms{", "_ms_count{")] == len(raw)
    for share in (0.50, 0.95, 0.99):
        true = raw[max(0, round(share * len(raw) + 0.499) - 1)]
        low, high = quantile(page, llm, share)
        assert low < true <= high, (share, low, true, high)
        (summary,) = [
            h.summary
            for h in reading.histograms
            if ("node", "llm") in h.labels and h.name == "node_latency_ms"
        ]
        exact = {0.50: summary.p50, 0.95: summary.p95, 0.99: summary.p99}[share]
        assert exact is not None
        assert true <= exact / 1e6 <= true * 33 / 32 + 0.001
    # Every node that works and every edge has its series, each with every label.
    working = [node.id for node in graph.nodes if node.role.value in ("sync", "call")]
    assert missing_series(reading, "node_latency_ms", "node", working) == []
    assert missing_series(reading, "edge_latency_ms", "edge", [edge.id for edge in graph.edges]) == []
    assert undeclared(reading) == []


@pytest.mark.proves("F-068")
def test_a_series_that_lacks_a_label_or_its_value_or_is_not_there_is_found() -> None:
    meters = Meters()
    meters.histogram("node_latency_ms", pipeline="p", node="n", provider="").record(1)
    assert undeclared(meters.read()) == [
        "node_latency_ms lacks the label pipeline_version",
        "node_latency_ms says nothing of its provider",
    ]
    assert missing_series(meters.read(), "node_latency_ms", "node", ["n", "m"]) == ["m"]


@pytest.mark.proves("F-068")
def test_an_event_that_waited_on_an_edge_is_in_its_histogram_as_long_as_it_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sound is made at once and sent at the pace of listening: what waits for the caller waits on the last edge."""
    waited: list[HistogramReading] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        assert caller.seat is not None
        raw: list[int] = []
        edge = next(
            e for e in caller.seat.kernel.graph.edges.values() if e.target.id == "speaker" and "audio" in e.id
        )
        poll = EdgeQueue.poll

        def polled(queue: EdgeQueue, now: int) -> Event | None:
            """Measured beside the meter: from the event's birth to when it is taken."""
            event = poll(queue, now)
            if event is not None and queue is edge.queue:
                raw.append(stage.clock.now() - event.at)
            return event

        monkeypatch.setattr(EdgeQueue, "poll", polled)
        await turns(caller, 3)
        (one,) = [
            h
            for h in stage.host.meters.read().histograms
            if h.name == "edge_latency_ms" and ("edge", edge.id) in h.labels
        ]
        waited.append(one)
        assert len(raw) > 10
        assert max(raw) > 0
        straight = one.summary.count - len(raw)
        everything = sorted([0] * straight + raw)
        for share, found in ((0.50, one.summary.p50), (0.95, one.summary.p95), (0.99, one.summary.p99)):
            true = everything[max(0, -(-int(share * 100) * len(everything) // 100) - 1)]
            assert found is not None
            assert true <= found <= true * 33 / 32 + 1

    on_stage(scene)
    assert waited


TIGHT = {
    "drop": "  - {from: llm.text, to: segmenter.text, buffer: {strategy: drop, max_queue_items: 2}}\n",
    "merge": "  - {from: llm.text, to: segmenter.text, buffer: {strategy: merge, max_queue_items: 2}}\n",
}


@pytest.mark.proves("F-069")
@pytest.mark.parametrize("what", ["drops", "merges", "neither"])
def test_only_the_counter_of_what_an_edge_did_moves_by_the_number_of_events(what: str) -> None:
    readings: list[Reading] = []
    lost: list[int] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.frames(100)
        assert caller.seat is not None
        graph = caller.seat.kernel.graph
        edge = next(e for e in graph.edges.values() if e.target.id == "segmenter")
        desk = caller.seat.kernel.desk
        edge.target.open = False  # nothing is taken: the edge fills
        strategy = {"drops": "drop", "merges": "merge", "neither": "drop"}[what]
        policy = edge.queue.policy
        kind = type(policy.strategy)
        edge.queue.adopt(
            msgspec.structs.replace(policy, strategy=kind(strategy), max_queue_items=4, coalesce_ms=None)
        )
        offered = 4 if what == "neither" else 11
        for number in range(offered):
            text = Text(f"{number} ", segment=0, revision=number, role="assistant")
            graph.push(graph.nodes["llm"], "text", desk.event("text", text, "text_raw", node_id="llm"))  # type: ignore[arg-type]
        lost.append(offered - 4)
        reading = stage.host.meters.read()
        readings.append(reading)
        depth = series(reading, "edge_queue_depth")[edge.id, "none"]
        assert depth.value == 4
        # What it counted is not lost with the session.
        await stage.host.close_session(caller.seat.session_id, drain=False)
        after = stage.host.meters.read()
        for name in ("edge_drops_total", "edge_merges_total"):
            assert series(after, name)[edge.id, "none"].value == series(reading, name)[edge.id, "none"].value
        assert series(after, "edge_queue_depth")[edge.id, "none"].value == 0

    on_stage(scene)
    (reading,) = readings
    drops = {key[0]: one.value for key, one in series(reading, "edge_drops_total").items()}
    merges = {key[0]: one.value for key, one in series(reading, "edge_merges_total").items()}
    assert set(drops) == set(merges) == {edge.id for edge in graph_of().edges}
    expected = {"drops": (lost[0], 0), "merges": (0, lost[0]), "neither": (0, 0)}[what]
    assert (sum(drops.values()), sum(merges.values())) == expected


@pytest.mark.proves("F-065")
def test_every_adapter_has_the_same_names_and_label_keys_so_that_one_query_finds_all() -> None:
    """Providers of all modalities, of which one fails at first, in the figures of one scrape."""

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await turns(caller, 2)
        caller.control("cancel", scope="session")
        await stage.host.close_session(caller.seat.session_id)  # type: ignore[union-attr]
        reading = stage.host.meters.read()
        assert undeclared(reading) == []
        for name in ("provider_rtt_ms", "provider_request_bytes", "provider_response_bytes"):
            found = [one for one in reading.histograms if one.name == name and one.summary.count]
            providers = {dict(one.labels)["provider"] for one in found}
            assert providers >= {"scripted-stt", "scripted-llm", "scripted-tts"}, name
            assert {tuple(key for key, _ in one.labels) for one in found} == {
                ("modality", "pipeline", "pipeline_version", "provider")
            }
        (tts,) = [
            o
            for o in reading.histograms
            if o.name == "provider_response_bytes" and ("modality", "tts") in o.labels
        ]
        assert tts.summary.largest is not None
        assert tts.summary.largest >= 640
        errors = series(reading, "provider_errors_total")
        retries = series(reading, "provider_retries_total")
        assert sum(one.value for one in errors.values()) >= 1
        assert {key[1] for key in errors} == {"llm"}
        assert sum(one.value for one in retries.values()) >= 1
        # One expression, as a dashboard has it, covers whatever adapter there is.
        page = scraped(reading)
        assert len([name for name in page if name.startswith("rspp_provider_rtt_ms_count{")]) >= 3

    flaky = ProviderKind("llm", lambda name, _: Flaky(name))
    on_stage(scene, registry=registry_of(scripted_llm=flaky))


class Flaky(Slow):
    """Fails its first attempt with something no table knows."""

    def __init__(self, name: str) -> None:
        super().__init__(name, [30])
        self.failed = False

    async def run(self, call: LiveCall) -> None:
        if not self.failed:
            self.failed = True
            raise RuntimeError("not today")
        await super().run(call)


class Counting:
    """A provider as it is, which also counts for itself."""

    def __init__(self, inner: Any, count: Any) -> None:
        self._inner = inner
        self.meters = Meters()
        count(self.meters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@pytest.mark.proves("F-065")
@pytest.mark.parametrize(
    ("count", "fault"),
    [
        (lambda m: m.counter("inference_requests_total", model="m").add(), ""),
        (lambda m: m.counter("vendor_acme_tokens_total", provider="acme").add(), ""),
        (
            lambda m: m.counter("inference_requests_total", model="m", account="7").add(),
            "account, which is not declared",
        ),
        (lambda m: m.counter("acme_tokens_total", provider="acme").add(), "no metric of the table"),
        (
            lambda m: m.counter("vendor_acme_tokens_total", account="7").add(),
            "account, which is not declared",
        ),
    ],
)
def test_an_adapter_that_adds_an_undeclared_label_does_not_conform(count: Any, fault: str) -> None:
    checks = suite.conformance(lambda: Counting(scripted.make("scripted-llm"), count))
    (check,) = [one for one in checks if one.name == "counts under declared names and labels"]
    report = run_suite([check], "provider", run_virtual)
    assert report.conforms is not bool(fault)
    assert fault in str(report.reasons())


@pytest.mark.proves("F-065")
def test_what_a_vendor_adds_is_shown_if_it_is_declared_and_spoils_no_page_if_it_is_not() -> None:
    host, adapter = Meters(), Meters()
    host.include(adapter)
    host.counter("inference_requests_total", model="m").add(2)
    adapter.counter("inference_requests_total", model="m").add(9)  # the host's own stays
    adapter.counter("inference_requests_total", model="m", account="7").add()
    adapter.counter("vendor_acme_tokens_total", provider="acme").add(3)
    page = scraped(host.read())
    assert page['rspp_inference_requests_total{worker="w0",model="m"}'] == 2
    assert page['rspp_vendor_acme_tokens_total{worker="w0",provider="acme"}'] == 3
    assert not any("account" in name for name in page)


def test_a_cancelled_call_says_how_long_it_took_to_stop() -> None:
    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        for _ in range(200):
            if "turn_confirmed" in caller.names():
                break
            await caller.frames(20)
        caller.control("cancel", scope="turn")
        await caller.frames(3_000)
        found = [one for one in stage.host.meters.read().histograms if one.name == "cancel_latency_ms"]
        assert [dict(one.labels)["node"] for one in found] == ["llm"]
        assert found[0].summary.count == 1
        assert found[0].exemplar is not None
        assert found[0].exemplar.turn_id

    on_stage(scene, registry=with_llm([5_000]))


def test_series_are_few_and_those_of_old_versions_are_forgotten() -> None:
    versions = [graph_of(base=GRAPH.replace("version: v1", f"version: v{number}")) for number in range(20)]

    async def scene(stage: Stage) -> None:
        for graph in versions:
            caller = stage.call(pipeline_version=graph.ref)
            await caller.frames(40)
            assert caller.seat is not None
            await stage.host.close_session(caller.seat.session_id, drain=False)
        reading = stage.host.meters.read()
        shown = {
            dict(one.labels)["pipeline_version"] for one in reading.gauges if one.name == "sessions_open"
        }
        assert len(shown) == IDLE_VERSIONS_MAX + 1
        assert "v19" in shown
        assert "v0" not in shown
        assert not [one for one in reading.histograms if ("pipeline_version", "v0") in one.labels]

    on_stage(scene, *versions)


GRAPH = """
pipeline: stage
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
"""


def test_a_watcher_that_raises_is_let_go_of_and_the_call_goes_on() -> None:
    class Broken:
        closed_ = 0

        def took(self, at: int, received: object) -> None:
            raise RuntimeError("a defect of ours")

        def did(self, at: int, effects: object) -> None: ...
        def closed(self) -> None:
            self.closed_ += 1

    broken = Broken()

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await turns(caller, 1)
        assert "commit" in caller.names()
        assert stage.host.blamed["watcher:RuntimeError"] == 1
        assert broken.closed_ == 1

    on_stage(scene, watches=[lambda _, __: broken])


def test_the_table_names_each_metric_once_and_bounds_rise() -> None:
    assert len({metric.exposed for metric in METRICS.values()}) == len(METRICS)
    assert list(BOUNDS_MS) == sorted(set(BOUNDS_MS))
