"""What comes in goes out."""

from __future__ import annotations

import pytest

from rspp.contract import emitters
from rspp.contract.event import Audio, Fault, Note, Payload, Sample, Signal, Text
from rspp.contract.signals import SignalName
from tests.unit.nodes.conftest import MakeNode


@pytest.mark.parametrize(
    "payload", [Audio(b"ab", 1, 0), Text("hello"), Sample("a", 1.0), Note("b"), Fault("c", "d")]
)
def test_data_and_telemetry_go_out_as_they_came(node: MakeNode, payload: Payload) -> None:
    assert node("tee").give(payload) == [payload]


def test_control_is_not_repeated_because_only_the_kernel_may_emit_a_signal(node: MakeNode) -> None:
    assert node("tee").give(Signal(SignalName.BARGE_IN.value, emitters.FENCES)) == []
