"""Pipelines, providers and load are told as they are, and what nobody knows is not told at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.surface import Level, Row
from rspp.control.config import rollout
from rspp.control.config.policy import POLICY
from rspp.control.fleet.provider_health import ProviderReport, ProviderState
from rspp.control.names import HEALTH, key
from rspp.host.meters import Meters
from rspp.server.recorded.fleet import TurnRate, load_of, point_of, stages_told
from rspp.server.recorded.words import Provider
from tests.unit.control.config.test_view_on_stage import REDACT
from tests.unit.control.published import spec_text
from tests.unit.server.recorded.given import ADMIN, OPERATOR, TENANT, row, scene


def test_a_pipeline_has_its_versions_with_their_shares_and_the_graph_with_what_a_policy_put_in(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as it:
            plane = it.plane
            for version in ("v1.0", "v1.1", "v1.2"):
                await plane.registry.publish(spec_text(version), "ada")
            await plane.registry.publish(spec_text("v1", "unserved"), "bob")
            await plane.rollouts.begin("voice", "v1.0", author="ada")
            await plane.rollouts.change(
                "voice", "canary", lambda now: rollout.canary(now, "v1.1", 30), author="ada", reason="try"
            )
            await plane.policies.publish(TENANT, "v1", json.dumps({"nodes": [REDACT]}), author="ada")
            await plane.policies.put_in_force(TENANT, "v1", author="ada")
            assert plane.policies.kind == POLICY
            served, unserved = sorted(
                await it.recorded.pipelines(OPERATOR, None), key=lambda one: one.name, reverse=True
            )
            assert (served.name, served.version, unserved.version) == ("voice", "v1.0", "v1")
            assert {one.version: one.share for one in served.versions} == {
                "v1.0": 0.7,
                "v1.1": 0.3,
                "v1.2": 0.0,
            }
            assert all(len(one.sha256) == 64 and one.author == "ada" for one in served.versions)
            assert served.rollout is not None
            assert served.rollout["changes"][-1]["reason"] == "try"
            assert unserved.rollout is None
            assert not any(node.inserted for node in served.nodes)
            assert {edge.to for edge in served.edges} <= {node.id for node in served.nodes}
            assert next(node.provider for node in served.nodes if node.type == "llm") == "llm-a"
            (mine,) = [one for one in await it.recorded.pipelines(OPERATOR, TENANT) if one.name == "voice"]
            (inserted,) = [node for node in mine.nodes if node.inserted]
            assert inserted.id.startswith("policy/tenant-redact")
            assert any(edge.to == inserted.id for edge in mine.edges)
            assert not any(
                node.inserted for one in await it.recorded.pipelines(OPERATOR, "other") for node in one.nodes
            ), "another tenant's policies are not theirs to see"
            other = await it.recorded.pipeline(ADMIN, "voice", "v1.1")
            assert other is not None
            assert (other.version, other.problems) == ("v1.1", [])
            assert '"about": "v1.1"' in other.text
            assert await it.recorded.pipeline(ADMIN, "voice", "v9") is None
            assert await it.recorded.pipeline(ADMIN, "nothing", None) is None

    asyncio.run(main())


def test_a_provider_is_told_by_its_slowest_worker_and_one_that_nobody_called_is_unknown(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with scene(tmp_path) as it:
            await it.plane.registry.publish(spec_text("v1"), "ada")
            await it.plane.rollouts.begin("voice", "v1", author="ada")
            for member, state, p95, cut in (("w1", "healthy", 300, False), ("w2", "unhealthy", 900, True)):
                report = ProviderReport(
                    provider="llm-a",
                    member=member,
                    region="eu",
                    state=ProviderState(state),
                    at_ms=1,
                    availability=90,
                    circuit_open=cut,
                    price=7 if cut else None,
                    calls=10,
                    failures=1 if not cut else 9,
                    latency_p50_ms=p95 // 2,
                    latency_p95_ms=p95,
                    beat=1,
                )
                await it.plane.store.put(
                    HEALTH, key("provider", "llm-a", member), msgspec.json.encode(report)
                )
            it.rows["circuits"] = [Row(aggregate_id="stt-a@w1", state="open", facts={"provider": "stt-a"})]
            found = {one.name: one for one in await it.recorded.providers(lambda name: it.rows.get(name, []))}
            ill = found["llm-a"]
            assert (ill.modality, ill.state, ill.circuit, ill.workers) == ("llm", "unhealthy", "open", 2)
            assert (ill.p50_ms, ill.p95_ms, ill.calls, ill.failures, ill.price) == (
                450.0,
                900.0,
                20.0,
                10.0,
                7.0,
            )
            assert ill.availability == 0.5
            assert ill.level is Level.DEGRADED
            assert ill.reason == "fails, as 1 of 2 workers see it"
            quiet = found["llm-b"]
            assert (quiet.state, quiet.availability, quiet.p95_ms, quiet.price) == (
                "unknown",
                None,
                None,
                None,
            )
            assert (found["stt-a"].circuit, found["tts-a"].circuit) == ("open for some", "closed")

    asyncio.run(main())


def worker(name: str, state: str = "up", **facts: Any) -> Row:
    known = {"kind": "worker", "capacity": 10, "ready": True, **facts}
    return Row(aggregate_id=name, state=state, facts=known, over=state == "left")


def test_load_counts_what_the_rows_say_and_nothing_that_they_do_not() -> None:
    rows = {
        "sessions": [
            row("a", turns=3),
            row("b", state="degraded"),
            row("c", state="ended"),
            row("d", tenant="other"),
        ],
        "workers": [
            worker("w1"),
            worker("w2", "draining", ready=False),
            worker("w3", "lost"),
            worker("w4", "left"),
            worker("p", kind="control"),
        ],
        "turns": [
            Row(aggregate_id=name, tenant_id=TENANT, state="commit", facts={"heard_ms": ms}, since_ms=1)
            for name, ms in (("a", 100), ("b", 300))
        ],
    }
    rate = TurnRate()
    every = load_of(lambda name: rows.get(name, []), None, 1_000_000, rate)
    assert (every.sessions, every.degraded, every.capacity, every.workers, every.workers_ready) == (
        3,
        1,
        10,
        2,
        1,
    )
    assert (every.answer.p50_ms, every.answer.p95_ms, every.answer.count) == (100.0, 300.0, 2.0)
    assert every.stages == []
    assert every.interrupt_stop_ms.p50_ms is None
    mine = load_of(lambda name: rows.get(name, []), "other", 1_000_000, rate)
    assert (mine.sessions, mine.answer.p50_ms) == (1, None)
    nothing = load_of(lambda _: [], None, 0, rate)
    assert (nothing.sessions, nothing.capacity, nothing.turns_per_minute, nothing.workers) == (0, 0, 0.0, 0)


def test_turns_a_minute_are_those_that_were_had_between_two_looks() -> None:
    rate = TurnRate()
    rows = [row("a", turns=3), row("old", turns=50)]
    rate.take(1_000_000, rows)
    later = [row("a", turns=5), row("old", turns=50), row("new", turns=1, opened_ms=1_010_000)]
    hidden = row("never-told", turns=80)
    assert rate.a_minute(1_030_000, [*later, hidden], []) == 6.0
    rate.take(1_030_000, later)
    assert rate.a_minute(1_100_000, later, []) == 0.0, "what was had more than a minute ago does not count"


def test_stages_of_this_process_are_its_own_meters() -> None:
    meters = Meters()
    for modality, ms in (("llm", 200), ("llm", 400), ("tts", 90)):
        meters.histogram(
            "provider_rtt_ms", pipeline="p", pipeline_version="v", modality=modality, provider=f"x{ms}"
        ).record(ms * 1_000_000)
    found = load_of(lambda _: [], None, 0, TurnRate(), meters.read())
    assert [one.name for one in found.stages] == ["llm", "tts"]
    assert found.stages[0].p50_ms == pytest.approx(400, rel=1 / 32)
    assert found.stages[0].count == 2.0
    assert load_of(lambda _: [], TENANT, 0, TurnRate(), meters.read()).stages == []


def test_where_other_processes_serve_the_stages_are_what_they_tell_and_the_slowest_provider_speaks_for_its_kind() -> (
    None
):
    told = [
        Provider(
            name="a",
            modality="llm",
            state="healthy",
            circuit="closed",
            level=Level.OK,
            p50_ms=200,
            p95_ms=900,
            calls=3,
        ),
        Provider(
            name="b",
            modality="llm",
            state="healthy",
            circuit="closed",
            level=Level.OK,
            p50_ms=300,
            p95_ms=700,
            calls=2,
        ),
        Provider(name="c", modality="tts", state="unknown", circuit="closed", level=Level.OK),
    ]
    (llm,) = stages_told(told)
    assert (llm.name, llm.p50_ms, llm.p95_ms, llm.p99_ms, llm.count) == ("llm", 300, 900, None, 5)


def test_a_point_of_nothing_is_unknown() -> None:
    assert point_of("x", [None, "1"]).p50_ms is None
    assert point_of("x", [5]).p99_ms == 5.0
