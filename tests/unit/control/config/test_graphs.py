"""A graph is what its documents make of it; at which level it is recorded is said by them before it is said by whoever runs it."""

from __future__ import annotations

import hashlib
import json

import pytest

from rspp.contract.words import RecordingLevel
from rspp.control.config.documents import Document
from rspp.control.config.graphs import compile_ref, graph_ref_of
from rspp.control.config.policy import POLICY
from rspp.control.config.rollouts import SPEC
from rspp.spec.graph import GraphDefinition
from tests.unit.control.published import spec_text

L2 = {"recording_policy": {"level": "L2"}}
L0_POLICY = json.dumps({"settings": {"policies": {"recording_policy": {"level": "L0"}}}})


def graph_of(text: str, unstated: RecordingLevel | None, policy: str | None = None) -> GraphDefinition:
    texts = {SPEC: text} if policy is None else {SPEC: text, POLICY: policy}

    def find(kind: str, name: str, version: str) -> Document | None:
        said = texts.get(kind)
        if said is None:
            return None
        sha256 = hashlib.sha256(said.encode()).hexdigest()
        return Document(
            kind=kind, name=name, version=version, text=said, sha256=sha256, author="ada", created_at_ms=0
        )

    over = "" if policy is None else f"+{POLICY}/%2A@v1"
    return compile_ref(graph_ref_of(f"graph/front-desk@v1.0{over}"), find, unstated_level=unstated)


@pytest.mark.parametrize(
    ("unstated", "level"), [(None, RecordingLevel.L0), (RecordingLevel.L1, RecordingLevel.L1)]
)
def test_a_pipeline_that_states_no_level_is_recorded_as_its_worker_records(
    unstated: RecordingLevel | None, level: RecordingLevel
) -> None:
    assert graph_of(spec_text(), unstated).recording_policy.level is level


def test_a_pipeline_that_states_its_level_is_recorded_at_it_wherever_it_runs() -> None:
    stated = graph_of(spec_text(policies=L2), RecordingLevel.L1)
    assert stated.recording_policy.level is RecordingLevel.L2


def test_a_policy_that_states_the_level_counts_before_what_the_worker_does_by_itself() -> None:
    graph = graph_of(spec_text(), RecordingLevel.L1, L0_POLICY)
    assert graph.recording_policy.level is RecordingLevel.L0
