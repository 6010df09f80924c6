"""What a process decides from memory is what the store says, no older than its bound; what is broken there never gets in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.plan import ResolvedTurnPlan
from rspp.control.config import rollout as r
from rspp.control.config.documents import digest
from rspp.control.config.feed import STALE_MS
from rspp.control.config.graphs import GraphRef, Graphs, graph_ref_of
from rspp.control.config.plugins import Plugins, PolicyAnswer, PolicyRequest, PolicySight
from rspp.control.config.policy import FLEET, POLICY, PROVIDERS
from rspp.control.config.view import Fallback, View
from rspp.control.fleet.provider_health import FRESH_MS, ProviderReport, ProviderState
from rspp.control.names import CONFIG, HEALTH, key
from rspp.host.clock import MachineClock
from rspp.host.ports import Entry, Refused
from rspp.kernel.planner import build
from rspp.kernel.snapshot import Snapshot
from rspp.testing.store import MemoryStore
from tests.unit.control.published import Plane, points_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

REDACT = {
    "id": "redact",
    "at": "after llm",
    "type": "text_filter",
    "config": {"personal": ["card"]},
    "required": True,
}


async def synced(plane: Plane, **more: Any) -> View:
    view = View(plane.store, plane.clock, points=tuple, **more)
    await view.sync()
    return view


def snapshot_of(view: View, plane: Plane, tenant: str = "acme") -> Snapshot:
    graph = view.graph_for(view.choose(tenant, "s1"))
    found = view.snapshot(plane.clock.now(), tenant, graph)
    assert found is not None
    return found


def run(body: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await body()

    asyncio.run(main())


def refused(call: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        call()
    return caught.value


# ---- which version -------------------------------------------------------------------------------------------------


def test_a_new_session_gets_what_the_rollout_says_and_the_graph_can_be_had() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve("v1")
        await plane.serve("v2")
        await plane.rollouts.change(
            "voice", "canary", lambda now: r.canary(now, "v2", 0, ("acme",)), author="ada"
        )
        view = await synced(plane)
        chosen = view.version_for("acme", "s1")
        assert (chosen.version, chosen.why, chosen.rollout) == ("v2", "tenant", "rollout/voice@2")
        assert view.version_for("other", "s1", "voice").version == "v1"
        assert view.version_for("other", "s1", "voice@v2").why == "requested"
        graph = view.graph_for(chosen.graph_ref)
        assert (graph.ref, graph.version) == ("graph/voice@v2", "v2")
        assert view.graph(chosen.graph_ref) is graph

    run(body)


@pytest.mark.parametrize(
    ("tenant", "session", "pipeline", "code"),
    [
        ("acme", "s1", "nothing", "pipeline_unknown"),
        ("acme", "s1", "voice@v9", "pipeline_unknown"),
        ("", "s1", None, "cp_admission_invalid_input"),
        ("acme", "", None, "cp_admission_invalid_input"),
        (FLEET, "s1", None, "cp_admission_invalid_input"),
    ],
)
def test_what_is_not_served_is_refused_with_a_reason(
    tenant: str, session: str, pipeline: str | None, code: str
) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        assert refused(lambda: view.version_for(tenant, session, pipeline)).code == code

    run(body)


def test_who_names_no_pipeline_gets_the_tenants_the_fleets_the_processs_or_the_only_one() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        assert (await synced(plane)).version_for("acme", "s1").pipeline == "voice"
        await plane.serve(pipeline="desk")
        torn = await synced(plane)
        assert refused(lambda: torn.version_for("acme", "s1")).code == "pipeline_missing"
        view = await synced(plane, default_pipeline="desk")
        assert view.version_for("acme", "s1").pipeline == "desk"
        await plane.govern(FLEET, "v1", pipeline="voice")
        await plane.govern("acme", "v1", pipeline="desk")
        view = await synced(plane)
        assert view.version_for("acme", "s1").pipeline == "desk"
        assert view.version_for("other", "s1").pipeline == "voice"

    run(body)


def test_rolled_back_new_sessions_are_on_the_former_version_at_once_and_old_graphs_are_still_there() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve("v1")
        await plane.serve("v2")
        await plane.rollouts.change("voice", "canary", lambda now: r.canary(now, "v2", 100), author="ada")
        await plane.rollouts.change("voice", "promote", r.promote, author="ada")
        view = await synced(plane)
        running = view.graph_for(view.choose("acme", "s1"))
        await plane.rollouts.change("voice", "roll_back", r.roll_back, author="ada", reason="worse")
        await view.sync()
        assert view.version_for("acme", "s1").version == "v1"
        assert view.graph_for("graph/voice@v2") is running
        assert view.snapshot(plane.clock.now(), "acme", running) is not None

    run(body)


# ---- policies -------------------------------------------------------------------------------------------------------


def test_a_policys_node_is_in_the_graph_under_a_name_that_says_so_and_only_for_whom_it_holds() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern("acme", "v1", nodes=[REDACT])
        view = await synced(plane)
        ref = view.choose("acme", "s1")
        assert ref == "graph/voice@v1+policy/acme@v1"
        graph = view.graph_for(ref)
        assert "policy/tenant-redact/llm" in {node.id for node in graph.nodes}
        assert graph.defaulting_source["nodes.policy/tenant-redact/llm"] == "policy/acme@v1"
        assert view.choose("other", "s1") == "graph/voice@v1"
        assert snapshot_of(view, plane).provenance.policy_resolution_snapshot == "policy/acme@v1"

    run(body)


def test_what_the_fleet_puts_in_stays_in_whatever_the_tenant_says() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern(FLEET, "v1", nodes=[REDACT])
        await plane.govern("acme", "v1", nodes=[{**REDACT, "at": "before llm"}])
        view = await synced(plane)
        ref = view.choose("acme", "s1")
        assert ref == "graph/voice@v1+policy/%2A@v1+policy/acme@v1"
        nodes = {node.id for node in view.graph_for(ref).nodes}
        assert {"policy/fleet-redact/llm", "policy/tenant-redact/llm"} <= nodes

    run(body)


def plan_of(view: View, plane: Plane, ref: str) -> ResolvedTurnPlan:
    graph = view.graph_for(ref)
    snapshot = view.snapshot(plane.clock.now(), "acme", graph)
    assert snapshot is not None
    plan = build(graph, snapshot, "t1", graph.version, 1, frozenset(), {})
    assert isinstance(plan, ResolvedTurnPlan)
    return plan


def test_a_policy_is_rolled_forward_and_back_apart_from_the_spec_and_each_session_records_which() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        policies = plane.kinds[POLICY]
        await plane.govern("acme", "v1", providers=[{"modality": "llm", "providers": ["llm-b"]}])
        await plane.govern("acme", "v1", PROVIDERS, provider_settings={"llm-b": {"model": "small"}})
        view = await synced(plane)
        first = view.choose("acme", "s1")
        await plane.govern("acme", "v2", providers=[{"modality": "llm", "providers": ["llm-c"]}])
        await plane.govern("acme", "v2", PROVIDERS, provider_settings={"llm-b": {"model": "large"}})
        await view.sync()
        second = view.choose("acme", "s2")
        await policies.roll_back("acme", author="bob", reason="v2 is slow")
        await plane.kinds[PROVIDERS].roll_back("acme", author="bob")
        await view.sync()
        third = view.choose("acme", "s3")
        assert [first, second, third] == [f"graph/voice@v1+providers/acme@{v}" for v in ("v1", "v2", "v1")]
        assert view.graph_for(second).provider_settings["llm-b"]["model"] == "large"
        assert view.graph_for(third).provider_settings["llm-b"]["model"] == "small"
        plan = plan_of(view, plane, third)
        assert (plan.pipeline_version, plan.provider_bindings["llm"]) == ("v1", ("llm-b",))
        assert plan.snapshot_provenance.policy_resolution_snapshot == "policy/acme@v1"
        await policies.roll_forward("acme", author="bob")
        await view.sync()
        assert plan_of(view, plane, third).snapshot_provenance.policy_resolution_snapshot == "policy/acme@v2"
        assert plan_of(view, plane, third).provider_bindings["llm"] == ("llm-c",)
        with pytest.raises(PeerFault) as caught:
            await policies.put_in_force("acme", "v9", author="bob")
        assert caught.value.code == "document_missing"
        assert len(await plane.registry.versions("voice")) == 1

    run(body)


@pytest.mark.parametrize(
    "tree",
    [
        {"settings": {"policies": {"flow_control": {"watermarks": {"DataLane": {"high": 2, "low": 90}}}}}},
        {"nodes": [{**REDACT, "type": "tool", "config": {"tool": "x", "has_effects": False}}]},
        {"blocks": {"voice": "whole"}},
    ],
    ids=["settings", "a node without its provider", "blocks"],
)
def test_a_policy_under_which_a_served_pipeline_cannot_run_is_not_put_in_force(tree: dict[str, Any]) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        graph = await plane.registry.graph("voice", "v1")
        if tree.get("blocks"):
            names = ("budgets", "flow_control", "recording_policy")
            whole: dict[str, object] = {
                name: msgspec.to_builtins(getattr(graph, name), str_keys=True) for name in names
            }
            whole |= {
                "provider_bindings": {"llm": ["llm-x"]},
                "edge_buffer_policies": {},
                "node_execution_policies": {},
            }
            tree["blocks"] = {"voice": whole}
        with pytest.raises(MisuseError) as caught:
            await plane.govern("acme", "v1", **tree)
        assert caught.value.code in ("policy_unfit", "policy_invalid")
        assert await plane.kinds[POLICY].in_force("acme") is None

    run(body)


def test_a_provider_config_adds_providers_for_its_tenant_alone() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern(
            "acme",
            "v1",
            PROVIDERS,
            providers={"llm": ["house"]},
            provider_settings={"house": {"use": "openai-llm", "api_key": "env://KEY"}},
        )
        view = await synced(plane)
        assert view.graph_for(view.choose("acme", "s1")).providers["llm"] == ("house",)
        assert view.graph_for(view.choose("other", "s1")).providers["llm"] == ("llm-a", "llm-b", "llm-c")

    run(body)


def denies(request: PolicyRequest, sight: PolicySight) -> PolicyAnswer:
    del sight
    return PolicyAnswer(deny="no more today" if request.tenant_id == "acme" else None)


def test_a_plugin_that_denies_takes_no_new_session_and_no_new_turn() -> None:
    async def body() -> None:
        plugins = Plugins(points_of(denies=f"{__name__}:denies"))
        plane = Plane(plugins=plugins)
        await plane.serve()
        await plane.govern(FLEET, "v1", plugin="denies")
        view = await synced(plane, plugins=plugins)
        refusal = refused(lambda: view.choose("acme", "s1"))
        assert (refusal.code, refusal.message) == ("cp_admission_reject_policy", "no more today")
        graph = view.graph_for(view.choose("other", "s1"))
        there = view.snapshot(plane.clock.now(), "acme", graph)
        assert there is not None
        assert there.capacity == "reject"

    run(body)


@pytest.mark.parametrize(("declared", "code"), [("refuse", "snapshot_invalid_or_missing"), ("ignore", None)])
def test_a_plugin_that_is_not_installed_here_has_its_declared_outcome(
    declared: str, code: str | None
) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern("acme", "v1", plugin="elsewhere", on_plugin_failure=declared)
        view = await synced(plane, plugins=Plugins(tuple))
        if code is None:
            assert snapshot_of(view, plane).capacity == "allow"
        else:
            assert refused(lambda: view.choose("acme", "s1")).code == code
        assert "elsewhere" in " ".join(view.problems.values())

    run(body)


# ---- snapshots ------------------------------------------------------------------------------------------------------


def test_a_snapshot_names_all_six_views_with_their_versions() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern(
            FLEET, "v7", quota={"turns_per_minute": 9}, facts={"house": "rules"}, capabilities={"x": ["y"]}
        )
        view = await synced(
            plane,
            region="eu-1",
            routing_ref=lambda: "routing/12",
            capacity=lambda tenant: "defer" if tenant == "acme" else "allow",
        )
        found = snapshot_of(view, plane)
        assert msgspec.to_builtins(found.provenance) == {
            "routing_view_snapshot": "routing/12",
            "admission_policy_snapshot": "admission/policy/*@v7",
            "abi_compatibility_snapshot": "skew/v1/0.1.0",
            "version_resolution_snapshot": "rollout/voice@1",
            "policy_resolution_snapshot": "policy/*@v7",
            "provider_health_snapshot": f"health/{FRESH_MS}ms@0",
        }
        assert found.quota.turns_per_minute == 9
        assert found.facts == {"region": "eu-1", "house": "rules"}
        assert found.capabilities == {"x": ("y",)}
        assert (found.capacity, found.compatible) == ("defer", True)
        assert snapshot_of(view, plane, "other").capacity == "allow"

    run(body)


def test_a_snapshot_is_as_old_as_the_last_word_of_the_store() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        plane.clock.advance(5_000)
        view = await synced(plane)
        heard_at = plane.clock.now()
        graph = view.graph_for(view.choose("acme", "s1"))
        plane.clock.advance(3_000)
        found = view.snapshot(plane.clock.now(), "acme", graph)
        assert found is not None
        assert found.taken_at == heard_at

    run(body)


def test_the_settings_of_both_policies_are_laid_over_the_spec_the_tenants_last() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern(
            FLEET, "v1", settings={"policies": {"degrade_on": ["tts"], "bad_snapshot": "reject"}}
        )
        await plane.govern(
            "acme", "v1", settings={"policies": {"degrade_on": ["stt"]}, "budgets": {"turn_budget_ms": 999}}
        )
        view = await synced(plane)
        own, fleet = (view.graph_for(view.choose(tenant, "s1")) for tenant in ("acme", "other"))
        assert (own.policies.degrade_on, own.policies.bad_snapshot) == (("stt",), "reject")
        assert own.budgets.turn_budget_ms == 999
        assert fleet.policies.degrade_on == ("tts",)
        assert fleet.budgets.turn_budget_ms != 999

    run(body)


def test_a_spec_of_a_release_that_does_not_go_with_this_one_is_not_run() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        entry = await plane.store.get(CONFIG, key("spec", "voice", "v1"))
        assert entry is not None
        tree = json.loads(entry.value)
        tree["facts"]["release"] = "9.0.0"
        await plane.store.put(CONFIG, entry.key, json.dumps(tree).encode())
        view = await synced(plane)
        assert refused(lambda: view.choose("acme", "s1")).code == "version_skew_unsupported"
        found = view.snapshot(plane.clock.now(), "acme", view.graph_for("graph/voice@v1"))
        assert found is not None
        assert not found.compatible

    run(body)


def test_what_was_not_heard_of_the_store_for_too_long_is_no_view() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = View(plane.store, plane.clock, points=tuple, fallback=Fallback.AVAILABILITY)
        assert not view.fresh(plane.clock.now())
        assert refused(lambda: view.choose("acme", "s1")).code == "snapshot_invalid_or_missing"
        await view.sync()
        graph = view.graph_for(view.choose("acme", "s1"))
        plane.clock.advance(STALE_MS)
        assert view.snapshot(plane.clock.now(), "acme", graph) is not None
        plane.clock.advance(1)
        assert not view.fresh(plane.clock.now())
        assert view.snapshot(plane.clock.now(), "acme", graph) is None
        refusal = refused(lambda: view.choose("acme", "s1"))
        assert refusal.code == "snapshot_invalid_or_missing"
        assert refusal.retry_after_ms

    run(body)


def test_versions_never_fall_and_rise_with_each_change_that_matters() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        first = snapshot_of(view, plane)
        assert snapshot_of(view, plane) == first
        await plane.store.put(CONFIG, "elsewhere/x", b"another part's")
        await view.sync()
        assert view.version == first.version
        await plane.govern("acme", "v1", facts={"a": 1})
        await view.sync()
        second = snapshot_of(view, plane)
        assert second.version > first.version
        assert second.facts["a"] == 1
        view.known.take(Entry(key("rollout", "voice"), b"{}", 1))  # late, and long replaced
        assert view.version == second.version

    run(body)


# ---- what is broken in the store -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm", [b"", b"{}", b"\xff\x00", b"[" * 5_000, b'{"kind":"policy","name":"acme"}', b"null"]
)
@pytest.mark.parametrize("where", [("pointer", "policy", "acme"), ("rollout", "voice")])
def test_a_record_that_cannot_be_read_is_told_and_the_last_good_one_stays(
    harm: bytes, where: tuple[str, ...]
) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern("acme", "v1", facts={"good": True})
        view = await synced(plane)
        before = snapshot_of(view, plane)
        await plane.store.put(CONFIG, key(*where), harm)
        await view.sync()
        assert snapshot_of(view, plane) == before
        assert view.problems[key(*where)].startswith("document_corrupt")

    run(body)


def test_a_policy_that_never_was_readable_here_is_not_taken_for_none() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.store.put(CONFIG, key("pointer", "policy", "acme"), b"garbage")
        strict, lenient = await synced(plane), await synced(plane, fallback=Fallback.AVAILABILITY)
        assert refused(lambda: strict.choose("acme", "s1")).code == "snapshot_invalid_or_missing"
        graph = strict.graph_for(strict.choose("other", "s1"))
        assert strict.snapshot(plane.clock.now(), "acme", graph) is None
        assert snapshot_of(lenient, plane).provenance.policy_resolution_snapshot == "policy/none"
        assert "policy/acme" in " ".join(lenient.problems) + " ".join(strict.problems)

    run(body)


def test_a_pointer_that_comes_before_its_document_waits_for_it() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        await plane.govern("acme", "v1", facts={"a": 1})
        await plane.govern("acme", "v2", facts={"a": 2})
        view = View(plane.store, plane.clock, points=tuple)
        entries = [await plane.store.get(CONFIG, name) for name in await plane.store.keys(CONFIG)]
        for entry in sorted((one for one in entries if one), key=lambda one: -one.revision):
            view.known.take(entry)
            view.known.take(entry)  # and comes twice
        await view.sync()
        assert snapshot_of(view, plane).facts["a"] == 2
        assert view.problems == {}

    run(body)


@pytest.mark.parametrize("whole", [False, True], ids=["text", "text and hash"])
def test_a_document_that_is_altered_under_a_running_process_is_told_and_not_used(whole: bool) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        where = key("spec", "voice", "v1")
        entry = await plane.store.get(CONFIG, where)
        assert entry is not None
        tree = json.loads(entry.value)
        tree["text"] = tree["text"].replace("llm-a", "llm-x")
        if whole:
            tree["sha256"] = digest(tree["text"])
        await plane.store.put(CONFIG, where, json.dumps(tree).encode())
        altered = await plane.store.get(CONFIG, where)
        assert altered is not None
        view.known.take(altered)
        assert view.problems[where].startswith("document_corrupt")
        assert view.graph_for("graph/voice@v1").providers["llm"][0] == "llm-a"

    run(body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "graph/",
        "graph/voice",
        "graph/voice@v1+rollout/x@v1",
        "graph/../x@v1",
        "voice@v1",
        "graph/voice@v1+policy/a@v1" * 3,
        "graph/a@b@c",
    ],
)
def test_a_name_of_no_graph_is_refused(text: str) -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        assert refused(lambda: view.graph_for(text)).code == "pipeline_unknown"

    run(body)


@pytest.mark.parametrize("name", ["acme", "a/b", "a+policy/x@v1", "*", "ä@ö", "a b%2F"])
def test_the_name_of_a_graph_can_be_read_back_whatever_tenants_are_called(name: str) -> None:
    ref = GraphRef(
        "voice", "v1+build.7", ((POLICY, FLEET, "v1"), (POLICY, name, "v2+x"), (PROVIDERS, name, "v3"))
    )
    assert graph_ref_of(str(ref)) == ref


# ---- health --------------------------------------------------------------------------------------------------------


async def report(plane: Plane, member: str, state: str, beat: int = 0, **more: Any) -> None:
    record = ProviderReport(
        provider="llm-a", member=member, region="eu", state=ProviderState(state), at_ms=0, beat=beat, **more
    )
    await plane.store.put(HEALTH, key("provider", "llm-a", member), msgspec.json.encode(record))


async def hear(view: View, plane: Plane) -> None:
    for name in await plane.store.keys(HEALTH):
        entry = await plane.store.get(HEALTH, name)
        assert entry is not None
        view._feed.hear(entry)


def test_the_fleets_word_of_a_provider_is_in_the_snapshot_and_a_beat_alone_is_no_news() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        await report(plane, "w1", "unhealthy", circuit_open=True, price=30, calls=10)
        await hear(view, plane)
        found = snapshot_of(view, plane)
        assert (found.health, found.price, found.circuits_open) == (
            {"llm-a": "unhealthy"},
            {"llm-a": 30},
            ("llm-a",),
        )
        assert found.provenance.provider_health_snapshot == f"health/{FRESH_MS}ms@1"
        await report(plane, "w1", "unhealthy", 1, circuit_open=True, price=30, calls=11)
        await hear(view, plane)
        assert view.version == found.version
        await report(plane, "w2", "healthy", calls=1_000)
        await hear(view, plane)
        assert snapshot_of(view, plane).health == {"llm-a": "healthy"}
        assert view.version > found.version

    run(body)


def test_a_word_that_grew_old_counts_no_more() -> None:
    async def body() -> None:
        plane = Plane()
        await plane.serve()
        view = await synced(plane)
        await report(plane, "w1", "unhealthy", calls=10)
        await hear(view, plane)
        assert snapshot_of(view, plane).health == {"llm-a": "unhealthy"}
        before = view.version
        plane.clock.advance(FRESH_MS + 1)
        await hear(view, plane)  # the same record again is no new word
        assert view.health.settle(plane.clock.now())
        await view.sync()
        assert snapshot_of(view, plane).health == {}
        assert view.version > before

    run(body)


@pytest.mark.parametrize("value", [b"", b"{}", b"\xff", b'{"provider":"llm-b"}'])
def test_a_report_that_is_none_is_counted_and_changes_nothing(value: bytes) -> None:
    async def body() -> None:
        plane = Plane()
        view = View(plane.store, plane.clock)
        assert not view._feed.hear(Entry(key("provider", "llm-a", "w1"), value, 1))
        good = ProviderReport(
            provider="llm-b", member="w1", region="eu", state=ProviderState.HEALTHY, at_ms=0
        )
        assert not view._feed.hear(Entry(key("provider", "llm-a", "w1"), msgspec.json.encode(good), 2))
        assert view.health.refused == 2
        assert view.health.number == 0

    run(body)


# ---- following the store -------------------------------------------------------------------------------------------


class Partitioned(MemoryStore):
    """A store that can be cut off, and whose watches can be made to die without a word."""

    cut = False
    deaf = False
    gets = listed = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        self.gets += 1
        if self.cut:
            raise PeerFault("store_unreachable", "cut off")
        return await super().get(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        self.listed += 1
        if self.cut:
            raise PeerFault("store_unreachable", "cut off")
        return await super().keys(bucket, prefix)

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        async for entry in super().watch(bucket, prefix):
            if not self.deaf:
                yield entry


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is asked has no event
            await asyncio.sleep(0.005)


def following(body: Callable[[Plane, View, Partitioned], Awaitable[None]]) -> None:
    async def main() -> None:
        store = Partitioned()
        plane = Plane(store=store)
        await plane.serve()
        view = View(store, MachineClock(), points=tuple, pulse_ms=10, stale_ms=150)
        task = asyncio.create_task(view.run())
        try:
            await until(lambda: view.fresh(MachineClock.now()) and bool(view.known.rollouts))
            await body(plane, view, store)
        finally:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def test_a_change_in_the_store_is_here_at_once_and_who_asked_is_told() -> None:
    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        del store
        told: list[int] = []
        view.on_change(lambda: told.append(view.version))
        await plane.govern("acme", "v1", facts={"a": 1})
        await report(plane, "w1", "healthy")
        await until(lambda: "acme" in view.known.policies and view.health.number == 1)
        assert told == sorted(set(told))
        assert len(told) >= 2

    following(body)


def test_cut_off_from_the_store_the_view_grows_stale_and_comes_back_with_what_it_missed() -> None:
    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        ref = view.choose("acme", "s1")
        store.cut = True
        await until(lambda: not view.fresh(MachineClock.now()))
        assert view.snapshot(MachineClock.now(), "acme", view.graph_for(ref)) is None
        assert refused(lambda: view.choose("acme", "s1")).code == "snapshot_invalid_or_missing"
        store.cut = False
        await until(lambda: view.fresh(MachineClock.now()))
        await plane.serve("v2")
        await until(lambda: view.known.find("spec", "voice", "v2") is not None)

    following(body)


def test_a_watch_that_died_without_a_word_is_found_out_by_reading() -> None:
    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        store.deaf = True
        await plane.govern("acme", "v1", facts={"a": 1})
        await until(lambda: "acme" in view.known.policies)
        await until(lambda: view.fresh(MachineClock.now()))

    following(body)


def test_on_an_empty_store_the_view_is_fresh_for_as_long_as_the_store_is_there() -> None:
    async def main() -> None:
        store = Partitioned()
        view = View(store, MachineClock(), points=tuple, pulse_ms=10, stale_ms=150)
        await view.sync()
        task = asyncio.create_task(view.run())
        try:
            gets = store.gets
            await until(lambda: store.gets > gets + 20)  # it is asked, though there is nothing to be read
            assert view.fresh(MachineClock.now())
            assert refused(lambda: view.choose("acme", "s1", "voice")).code == "pipeline_unknown"
            store.cut = True
            await until(lambda: not view.fresh(MachineClock.now()))
        finally:
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def test_which_keys_there_are_is_not_asked_at_every_pulse() -> None:
    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        del plane, view
        store.listed, gets = 0, store.gets
        await until(lambda: store.gets > gets + 60)
        assert store.listed <= (store.gets - gets) / 10

    following(body)


def test_a_store_with_many_policies_is_read_however_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.control.config.feed.READ_MS_MAX", 60)

    class Far(MemoryStore):
        async def get(self, bucket: str, key: str) -> Entry | None:
            await asyncio.sleep(0.005)
            return await super().get(bucket, key)

    async def body() -> None:
        plane = Plane(store=Far())
        await plane.serve()
        for number in range(64):
            await plane.kinds[POLICY].publish(f"t{number}", "v1", "tier: gold", author="ada")
        view = View(plane.store, plane.clock, points=tuple)
        await view.sync()
        assert view.known.documents == 65

    run(body)


def test_what_new_sessions_will_run_is_compiled_before_they_come_and_what_cannot_be_is_told() -> None:
    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        await until(lambda: view._graphs.has("graph/voice@v1"))
        await plane.govern("acme", "v1", nodes=[REDACT])
        await until(lambda: view._graphs.has("graph/voice@v1+policy/acme@v1"))
        # A policy that got past the control plane, or a pipeline that came after it.
        await store.put(
            CONFIG,
            key("spec", "desk", "v1"),
            await altered(store, "voice", lambda text: text.replace("llm-c", "llm-a")),
        )
        await plane.rollouts.begin("desk", "v1", author="eve")
        await until(lambda: "graph/desk@v1" in view.problems)
        assert view.problems["graph/desk@v1"].startswith("graph_unusable")

    following(body)


def test_while_graphs_are_compiled_the_store_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    compiling = asyncio.Event()

    async def slowly(graphs: Graphs, ref: str) -> None:
        del graphs, ref
        compiling.set()
        await asyncio.sleep(60)

    async def body(plane: Plane, view: View, store: Partitioned) -> None:
        monkeypatch.setattr(Graphs, "warm", slowly)
        await plane.serve("v2")
        await plane.rollouts.change("voice", "canary", lambda now: r.canary(now, "v2", 5), author="ada")
        await compiling.wait()
        gets = store.gets
        await until(lambda: store.gets > gets + 40)
        assert view.fresh(MachineClock.now())

    following(body)


async def altered(store: MemoryStore, pipeline: str, change: Callable[[str], str]) -> bytes:
    """A document that is sound by itself, and whose spec is none."""
    entry = await store.get(CONFIG, key("spec", pipeline, "v1"))
    assert entry is not None
    tree = json.loads(entry.value)
    tree |= {"name": "desk", "text": change(tree["text"])}
    return json.dumps({**tree, "sha256": digest(tree["text"])}).encode()


def test_what_one_process_publishes_another_sees_through_a_store_on_disk(tmp_path: Path) -> None:
    async def main() -> None:
        here, there = SqliteStore(tmp_path / "store.db"), SqliteStore(tmp_path / "store.db")
        plane = Plane(store=here)
        await plane.serve()
        view = View(there, MachineClock(), points=tuple, pulse_ms=2_000)
        task = asyncio.create_task(view.run())
        try:
            await until(lambda: view.fresh(MachineClock.now()) and bool(view.known.rollouts))
            await plane.govern("acme", "v1", nodes=[REDACT])
            await until(lambda: view.choose("acme", "s1").endswith("+policy/acme@v1"))
            await plane.kinds[POLICY].put_in_force("acme", "v1", author="bob")
        finally:
            task.cancel()
            await asyncio.wait([task])
            await here.close()
            await there.close()

    asyncio.run(main())
