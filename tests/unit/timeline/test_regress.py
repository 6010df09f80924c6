"""A corpus done again: unchanged code passes, and each planted change fails with its recording, its class, its line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec
import pytest

from rspp.cli.sim_recorder import record
from rspp.contract.errors import MisuseError
from rspp.contract.event import Event, Text
from rspp.contract.words import RecordingLevel
from rspp.host.steps import Witnessed, each_node
from rspp.kernel.hosting import Context, NodeFactory
from rspp.kernel.inputs import Woken
from rspp.kernel.session import SessionKernel
from rspp.nodes import Segmenter, factories
from rspp.sim.mutants import MUTANTS, planted
from rspp.sim.scenario import draw
from rspp.spec.graph import GraphDefinition, NodeDefinition
from rspp.timeline.diff.expected import Expected
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.ports import Everything
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.regress import Job, Outcome, corpus, judged, kept, percentiles, rank, run
from rspp.timeline.regress_rules import (
    Baseline,
    Budget,
    Gate,
    OfRecording,
    Rules,
    baseline_in,
    rules_in,
    write_baseline,
)
from rspp.timeline.session import SessionRecorder
from tests.unit.timeline.calls import simulated, simulated_bytes
from tests.unit.timeline.diff.planted import replace

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

MUTANT = {mutant.name: mutant for mutant in MUTANTS}


def ours(graph: GraphDefinition) -> Mapping[str, NodeFactory]:
    return factories()


@lru_cache(maxsize=8)
def one_pipeline(seed: int, session: int) -> Recording:
    """A simulated call; all of a seed under the same pipeline."""
    scenario = replace(draw(seed, session, "none"), knobs=draw(seed, 0, "none").knobs)
    return assemble([unframe(record(scenario)[1][0])])


def plain_bytes(seed: int, session: int) -> bytes:
    """A simulated call as a live one is recorded: sync nodes run again in a replay."""
    recording = one_pipeline(seed, session)
    append = MemoryAppend()
    recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 0)
    request, graph = recording.head.request, recording.head.graph
    recorder.opened(request, graph)

    def watched(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
        return Witnessed(factory(config), node.id, recorder.stepped)

    kernel = SessionKernel(request, graph, each_node(graph, factories(), watched))
    recorder.did(recording.began_at, kernel.drain())
    for at, received in recording.input_list():
        recorder.took(at, received)
        if isinstance(received, Woken):
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        recorder.did(at, kernel.drain())
    recorder.closed()
    return bytes(append.data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings."""
    for session in (0, 3):
        (tmp_path / f"call-{session}.rspp").write_bytes(plain_bytes(7, session))
    return tmp_path


def looked(
    folder: Path,
    rules: Rules | None = None,
    *,
    graph: GraphDefinition | None = None,
    nodes: object = ours,
    baseline: Baseline | None = None,
    gate: Gate = Gate.BOTH,
) -> Outcome:
    rules = rules or Rules()
    job = Job(folder, rules, nodes, dict.fromkeys(RecordingLevel, graph) if graph else {})  # type: ignore[arg-type]
    return judged(run(job, corpus(folder, rules, gate)), rules, baseline)


def failing(outcome: Outcome) -> list[tuple[str, str]]:
    return [(one.name, found.kind) for one in outcome.recordings for found in one.failures]


# ---- unchanged, changed --------------------------------------------------------------------------------------------


def test_unchanged_code_passes_with_equal_digests_and_latencies_of_all_stages(folder: Path) -> None:
    outcome = looked(folder)
    assert outcome.ok, failing(outcome)
    assert [one.name for one in outcome.recordings] == ["call-0.rspp", "call-3.rspp"]
    assert all(one.digest_recorded == one.digest_replayed is not None for one in outcome.recordings)
    assert outcome.latency["whole"]["samples"] >= 4
    assert {"whole", "endpointing", "stt", "llm_first_token"} <= set(outcome.latency)


@pytest.mark.parametrize(
    ("name", "faults", "session", "kind"),
    [
        ("never_closes", "none", 0, "OUTCOME_DIVERGENCE"),
        ("opens_without_admit", "none", 0, "OUTCOME_DIVERGENCE"),
        ("plans_under_older_epoch", "none", 0, "PLAN_DIVERGENCE"),
        ("plan_hash_untrue", "none", 0, "PLAN_DIVERGENCE"),
        ("lanes_reversed", "none", 0, "ORDERING_DIVERGENCE"),
        ("telemetry_before_control", "none", 0, "ORDERING_DIVERGENCE"),
        ("second_terminal", "none", 0, "OUTCOME_DIVERGENCE"),
        ("stale_epoch_accepted", "forged_audio", 1, "AUTHORITY_DIVERGENCE"),
        ("cancel_spares_playback", "all", 0, "OUTCOME_DIVERGENCE"),
        ("evidence_without_plan", "none", 0, "PLAN_DIVERGENCE"),
    ],
)
def test_one_line_of_the_kernel_changed_is_found_with_class_position_and_line(
    tmp_path: Path, name: str, faults: str, session: int, kind: str
) -> None:
    (tmp_path / "call.rspp").write_bytes(simulated_bytes(5, session, faults))
    assert looked(tmp_path).ok
    with planted(MUTANT[name]):
        outcome = looked(tmp_path)
    first = outcome.recordings[0].failures[0]
    assert (outcome.recordings[0].session_id, first.kind) == (f"s{session}", kind)
    assert first.scope.startswith(("turn:", "session:"))
    if name != "evidence_without_plan":  # evidence is no item of its own
        assert first.step
        assert first.at_ms
        assert first.line
        assert f"{first.at_ms / 1000:.3f} s" in first.line or first.expected is not None


class Shouting(Segmenter):
    """A new version of a node: what it says has changed."""

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        payload = event.payload
        if isinstance(payload, Text) and payload.text:
            event = msgspec.structs.replace(event, payload=replace(payload, text=payload.text.upper()))
        super().on_event(ctx, port, event)


def shouting(graph: GraphDefinition) -> Mapping[str, NodeFactory]:
    return {**factories(), "segmenter": Shouting}


def slower(graph: GraphDefinition, more_ms: int) -> GraphDefinition:
    """A pipeline that waits longer before it takes a pause for the end."""
    policies = graph.policies
    taking = policies.turn_taking
    made = replace(
        taking,
        silence_ms_min=taking.silence_ms_min + more_ms,
        silence_ms_max=taking.silence_ms_max + more_ms,
    )
    return replace(graph, policies=replace(policies, turn_taking=made))


@pytest.mark.slow
@pytest.mark.proves("F-127")
def test_a_new_node_or_pipeline_fails_by_output_or_by_latency_naming_session_and_metric(folder: Path) -> None:
    graph = simulated(7, 0).head.graph
    assert looked(folder).ok
    assert looked(folder, graph=graph).ok

    changed = looked(folder, nodes=shouting)
    for one in changed.recordings:
        first = one.failures[0]
        assert (first.kind, one.session_id) == (
            "OUTCOME_DIVERGENCE",
            one.name.replace("call-", "s").removesuffix(".rspp"),
        )
        assert any("send text of segmenter" in found.why for found in one.failures)
        assert first.line

    delayed = looked(folder, graph=slower(graph, 400))
    latency = [
        (found.scope, found.metric)
        for one in delayed.recordings
        for found in one.failures
        if found.kind == "LATENCY_REGRESSION"
    ]
    assert ("session:s0", "whole.p50_ms") in latency
    assert ("session:s3", "whole.p50_ms") in latency

    inside = looked(folder, graph=slower(graph, 5))
    assert inside.ok, failing(inside)


# ---- rules ---------------------------------------------------------------------------------------------------------


def test_a_corpus_of_nothing_fails(tmp_path: Path) -> None:
    outcome = looked(tmp_path)
    assert not outcome.ok
    assert outcome.failures[0].kind == "EMPTY"


def test_what_cannot_be_read_or_replayed_fails_by_its_name(folder: Path) -> None:
    (folder / "torn.rspp").write_bytes(b"no recording at all")
    (folder / "empty.rspp").write_bytes(b"")
    outcome = looked(folder)
    assert {("torn.rspp", "UNREADABLE"), ("empty.rspp", "UNREADABLE")} == set(failing(outcome))


def test_a_divergence_that_is_expected_passes_and_once_it_is_gone_fails(folder: Path) -> None:
    expected = OfRecording(divergences=(Expected("OUTCOME_DIVERGENCE", "*"),))
    rules = Rules(recordings={"call-0.rspp": expected, "call-3.rspp": expected})
    with planted(MUTANT["never_closes"]):
        assert looked(folder, rules).ok
    outcome = looked(folder, rules)
    assert [found.why for one in outcome.recordings for found in one.failures] == [
        "was expected, and did not come"
    ] * 2


@pytest.mark.slow
def test_budgets_over_the_corpus_are_nearest_rank_and_a_stage_that_nobody_has_fails(folder: Path) -> None:
    found = looked(folder).latency["whole"]["p95_ms"]
    assert looked(folder, Rules(latency={"whole": Budget(p95_ms=found)})).ok
    over = looked(folder, Rules(latency={"whole": Budget(p95_ms=found - 1)}))
    assert [(one.kind, one.metric) for one in over.failures] == [("LATENCY_REGRESSION", "whole.p95_ms")]
    empty = judged([], Rules(latency={"whole": Budget(p50_ms=1)}), None)
    assert [one.kind for one in empty.failures] == ["EMPTY", "LATENCY_REGRESSION"]
    assert rank([3, 1, 2], 0.5) == 2
    assert rank([1, 2], 0.95) == 2
    assert percentiles([{"t": {"whole": 4.0}}])["whole"] == {"samples": 1.0, "p50_ms": 4.0, "p95_ms": 4.0}


def test_gates_choose_recordings(folder: Path) -> None:
    rules = Rules(recordings={"call-0.rspp": OfRecording(gate=Gate.QUICK)})
    names = {gate: [path.name for path in corpus(folder, rules, gate)] for gate in Gate}
    assert names == {
        Gate.QUICK: ["call-0.rspp"],
        Gate.FULL: ["call-3.rspp"],
        Gate.BOTH: ["call-0.rspp", "call-3.rspp"],
    }


def test_the_baseline_holds_latencies_and_the_files_that_they_were_measured_of(folder: Path) -> None:
    outcome = looked(folder)
    write_baseline(folder, kept(outcome, None))
    baseline = baseline_in(folder)
    assert baseline is not None
    assert looked(folder, baseline=baseline).ok

    faster = {
        name: replace(
            one, turns={turn: {"whole": stages["whole"] - 200} for turn, stages in one.turns.items()}
        )
        for name, one in baseline.recordings.items()
    }
    slow = looked(folder, baseline=Baseline(faster))
    assert {kind for _, kind in failing(slow)} == {"LATENCY_REGRESSION"}

    (folder / "call-0.rspp").write_bytes(plain_bytes(7, 5))
    (folder / "call-3.rspp").unlink()
    other = looked(folder, baseline=baseline)
    assert failing(other) == [("call-0.rspp", "BASELINE")]
    assert [one.scope for one in other.failures] == ["call-3.rspp"]


@pytest.mark.parametrize(
    "text",
    [
        "latency: {mood: {p50_ms: 3}}",
        "latency: {whole: {p50_ms: -3}}",
        "recordings: {gone.rspp: {}}",
        "timing: 3",
        "gate: [",
        "recordings: {a: {gate: never}}",
    ],
)
def test_rules_that_cannot_be_meant_are_refused(tmp_path: Path, text: str) -> None:
    assert rules_in(tmp_path) == Rules()
    assert baseline_in(tmp_path) is None
    (tmp_path / "regress.yaml").write_text(text)
    with pytest.raises(MisuseError, match=r"regress\.yaml"):
        rules_in(tmp_path)


@pytest.mark.slow
def test_recordings_are_done_again_in_other_processes_with_the_same_result(folder: Path) -> None:
    job = Job(folder, Rules(), ours)
    paths = corpus(folder, Rules(), Gate.BOTH)
    alone, beside = list(run(job, paths)), list(run(job, paths, jobs=2))
    assert alone == beside
    assert all(one.ok for one in alone)
