"""A node in a process of its own is a provider to the kernel, and must be one: the suite against real processes."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.contract.words import EventKind
from rspp.host.isolation import Isolated, Isolation
from rspp.nodes import factories
from rspp.spec.graph import ISOLATED, NodeDefinition, Port, Role
from rspp.testing.conformance import provider as suite
from rspp.testing.conformance import run_suite
from rspp.testing.conformance.profiles import MANDATORY, certify
from rspp.testing.conformance.trial import Trial

pytestmark = pytest.mark.slow

NODE = NodeDefinition(
    id="segmenter",
    type="segmenter",
    version="v1",
    role=Role.SYNC,
    scope="turn",
    inputs=(Port(name="text", kinds=(EventKind.TEXT,)),),
    outputs=(Port(name="text", kinds=(EventKind.TEXT,)),),
)
SENTENCES = tuple(
    Text(f"This is sentence number {number}. ", segment=number, role="assistant") for number in range(8)
)


def trial(**changes: object) -> Trial:
    # A process is begun within the loop, and a busy machine takes its time over that.
    config, blocked_ms_max = msgspec.to_builtins(Isolated(NODE)), 1_000
    told = Trial(
        modality=ISOLATED, config=config, ports=("text",), settle_ms=50, blocked_ms_max=blocked_ms_max
    )
    return msgspec.structs.replace(told, **changes)


@pytest.mark.parametrize(
    "tried",
    [
        trial(said=Text("One thing is said. " * 30, final=True, role="assistant")),
        trial(fed=True, speech=SENTENCES, silence=(Text("", final=True, role="assistant"),)),
    ],
    ids=["an event at a time", "fed for a session"],
)
def test_it_does_what_every_provider_must(tried: Trial) -> None:
    report = run_suite(suite.conformance(lambda: Isolation(factories()), tried), "provider")
    assert report.failed() == [], report.reasons()
    verdicts = certify(report).verdicts
    # What a node makes of one event is one step, and may come whole: then there is nothing left to hold back.
    assert verdicts.pop("backpressure", "omitted") in ("passed", "omitted")
    assert verdicts == dict.fromkeys(MANDATORY["provider"], "passed")
