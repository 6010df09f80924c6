"""A limited node runs as often as it may, over all sessions; what ends gives its place back once."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.contract.words import OutcomeClass
from rspp.host.places import Places
from rspp.host.ports import CallRequest, ProviderError
from rspp.spec.graph import NodeDefinition
from tests.unit.host.stage import graph_of

GRAPH = graph_of()
LLM = next(node for node in GRAPH.nodes if node.id == "llm")


def limited(limit: int, key: str | None = None, node_id: str = "llm") -> NodeDefinition:
    policy = msgspec.structs.replace(LLM.policy, concurrency_limit=limit, fairness_key=key)
    return msgspec.structs.replace(LLM, id=node_id, policy=policy)


def request(call_id: str, attempt: int = 1) -> CallRequest:
    return CallRequest(call_id, attempt, "llm", "llm", "p", call_id, 1, None)


def test_one_more_than_the_limit_fails_as_an_overload_that_may_be_tried_again() -> None:
    places, node = Places(), limited(2)
    places.take(GRAPH, node, request("a"))
    places.take(GRAPH, node, request("b"))
    with pytest.raises(ProviderError) as refused:
        places.take(GRAPH, node, request("c"))
    assert (refused.value.outcome, refused.value.reason) == (
        OutcomeClass.OVERLOAD,
        "node_concurrency_limited",
    )
    assert refused.value.retryable
    assert refused.value.reason in CODES
    places.give(request("a"))
    places.take(GRAPH, node, request("c"))
    assert len(places) == 2


def test_a_place_is_given_back_once_and_only_by_who_has_it() -> None:
    places, node = Places(), limited(1)
    places.take(GRAPH, node, request("a", 2))
    for _ in range(2):
        places.give(request("a", 1))
        places.give(request("b", 1))
    with pytest.raises(ProviderError):
        places.take(GRAPH, node, request("b"))
    places.give(request("a", 2))
    places.give(request("a", 2))
    places.take(GRAPH, node, request("b"))
    with pytest.raises(ProviderError):
        places.take(GRAPH, node, request("c"))


def test_nodes_share_a_limit_by_their_key_and_pipelines_do_not() -> None:
    places = Places()
    places.take(GRAPH, limited(1, "models"), request("a"))
    with pytest.raises(ProviderError):
        places.take(GRAPH, limited(1, "models", "small"), request("b"))
    places.take(GRAPH, limited(1, None, "small"), request("b"))
    other = graph_of(
        base="\npipeline: other\nversion: v1\ntemplate: voice\nproviders: {stt: a, llm: b, tts: c}\n"
    )
    places.take(other, limited(1, "models"), request("c"))


def test_without_a_limit_nothing_is_counted() -> None:
    places = Places()
    for number in range(100):
        places.take(GRAPH, limited(0), request(str(number)))
    assert len(places) == 0
