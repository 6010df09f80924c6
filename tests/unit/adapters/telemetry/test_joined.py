"""Events, spans, logs and metrics of one run join by session, turn and version; an emitter that drops an id is found."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterable
from typing import Any

import pytest

from rspp.adapters.telemetry.otlp import OtlpTraces
from rspp.contract.event import Audio, Event, Signal, Text, flatten
from rspp.control.supervisor.exposition import Exposition
from rspp.host.logs import LogWriter
from rspp.host.ports import LiveCall, ProviderInfo
from rspp.host.registry import ProviderKind
from rspp.testing.conformance.joined import IDS, joined
from tests.unit.adapters.telemetry.collector import attributes_of, collecting
from tests.unit.host.stage import Stage, on_stage, registry_of

log = logging.getLogger("acme.joined")
# Nodes, modalities and metrics that have no value but of a turn.
OF_TURNS = {"llm", "tts", "rspp_turn_first_output_ms", "rspp_resolved_turn_plan_build_ms"}


class Logging:
    """A provider that says in the log that it was called."""

    def __init__(self, name: str) -> None:
        self.info = ProviderInfo(name=name, version="v1", modality="llm")

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def run(self, call: LiveCall) -> None:
        log.warning("called")
        await call.produce(Text("Yes.", final=True, role="assistant"))


def ids(records: Iterable[Any]) -> list[dict[str, Any]]:
    return [{name: record.get(name) for name in IDS} for record in records]


def exemplars(page: str) -> list[dict[str, Any]]:
    """Of a page as OpenMetrics: the ids of each exemplar, with its series' own labels."""
    found = []
    for line in page.splitlines():
        series, mark, exemplar = line.partition(" # {")
        if mark:
            told = dict(re.findall(r'(\w+)="([^"]*)"', f"{series} {exemplar}"))
            found.append({**told, "name": series.partition("{")[0].removesuffix("_bucket")})
    return found


def is_of_a_turn(event: Event) -> bool:
    """By what it is, not by whether it says so."""
    payload = event.payload
    if isinstance(payload, Signal):
        return payload.signal in ("turn_open", "output_accepted", "commit", "close")
    return isinstance(payload, Audio) or (isinstance(payload, Text) and payload.role == "assistant")


def told_of_one_run() -> dict[str, list[dict[str, Any]]]:
    reads, writes = os.pipe()
    writer = LogWriter(writes, clean=str)
    log.addHandler(writer)
    logging.getLogger().addHandler(writer)  # where a host finds who writes the log
    log.propagate = False
    events: list[dict[str, Any]] = []
    pages: list[str] = []
    try:
        with collecting() as collector:
            traces = OtlpTraces(collector.url)

            async def scene(stage: Stage) -> None:
                caller = stage.call()
                for number in range(2):
                    await caller.speak()
                    for _ in range(400):
                        if len(caller.signals("close")) > number:
                            break
                        await caller.frames(20)
                for _, event in caller.events:
                    if is_of_a_turn(event):
                        flat = flatten(event, 0)
                        events.append({name: getattr(flat, name) for name in IDS})
                exposition = Exposition()
                exposition.take("w0", stage.host.meters.read())
                pages.append(exposition.openmetrics.decode())

            kind = ProviderKind("llm", lambda name, _: Logging(name))
            on_stage(scene, registry=registry_of(scripted_llm=kind), watches=[traces])
            traces.close()
            # All but those of what lasts as long as the session, which are in a trace of its own.
            (session,) = {span.trace_id for span in collector.spans if span.name == "session"}
            spans = [attributes_of(span) for span in collector.spans if span.trace_id != session]
    finally:
        log.propagate = True
        log.removeHandler(writer)
        logging.getLogger().removeHandler(writer)
        writer.close()
        os.close(writes)
    with os.fdopen(reads, "rb") as lines:
        logs = [json.loads(line) for line in lines]
    found = exemplars(pages[0])
    metrics = [one for one in found if OF_TURNS & {one.get("node"), one.get("modality"), one["name"]}]
    assert {one["name"] for one in metrics} >= {"rspp_node_latency_ms", "rspp_turn_first_output_ms"}
    assert pages[0].endswith("# EOF\n")
    return {"events": events, "spans": ids(spans), "logs": ids(logs), "metrics": ids(metrics)}


@pytest.mark.usefixtures("patient")
@pytest.mark.proves("NF-008")
def test_events_spans_logs_and_metrics_of_one_run_join_and_a_dropped_id_is_found() -> None:
    told = told_of_one_run()
    assert {kind: len(records) > 0 for kind, records in told.items()} == dict.fromkeys(told, True)
    assert joined(**told) == []
    assert len({record["turn_id"] for record in told["spans"]}) == 2
    for kind in told:
        for name in IDS:
            spoiled = {**told, kind: [{**told[kind][0], name: None}, *told[kind][1:]]}
            assert joined(**spoiled) == [f"one of the {kind} lacks {name}"]
    other = {**told, "logs": [{**told["logs"][0], "pipeline_version": "v2"}, *told["logs"][1:]]}
    assert any("is of v1" in fault and "v2 by its logs" in fault for fault in joined(**other))
    apart = {**told, "metrics": [{**one, "turn_id": "another"} for one in told["metrics"]]}
    assert any(fault.startswith("no turn is told of in all ways") for fault in joined(**apart))


def test_no_label_of_any_series_holds_a_session() -> None:
    pages: list[str] = []
    names: list[str] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("close")
        assert caller.seat is not None
        names.append(caller.seat.session_id)
        exposition = Exposition()
        exposition.take("w0", stage.host.meters.read())
        pages.append(exposition.body.decode())
        assert names[0] in exposition.openmetrics.decode()

    on_stage(scene)
    assert names[0] not in pages[0]
