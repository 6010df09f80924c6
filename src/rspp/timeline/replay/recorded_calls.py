"""The calls of a recording: which node asked, when each attempt began, and what came of it, by input.

A call's id names its session, its turn and a number, so it means nothing in another run: calls of two runs are matched by
their node and by their order there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.errors import MisuseError
from rspp.kernel.inputs import (
    CallAccepted,
    CallCancelled,
    CallFailed,
    CallFinished,
    CallProduced,
    EndOfTurnScored,
    Input,
    SpeechScored,
)
from rspp.kernel.trace import Item
from rspp.spec.graph import GraphDefinition, Lifetime, NodeDefinition, Role
from rspp.timeline.recording import Recording

FactsT = TypeVar("FactsT")
CallInput = CallAccepted | CallProduced | CallFinished | CallFailed | CallCancelled
CALL_INPUTS = (CallAccepted, CallProduced, CallFinished, CallFailed, CallCancelled)


class Moment(msgspec.Struct, frozen=True, gc=False):
    """An input of the recording, with its number and its time."""

    step: int
    at: int
    received: Input


class Attempt(msgspec.Struct):
    """One attempt of a recorded call."""

    number: int
    invoked_at: int
    said: list[Moment] = []
    cancel_at: int | None = None  # when the kernel told it to stop
    cancelled_at: int | None = None  # when it said that it has


class RecordedCall(msgspec.Struct):
    """One call, as it was recorded."""

    call_id: str
    node_id: str
    modality: str
    attempts: dict[int, Attempt] = {}

    def attempt(self, number: int) -> Attempt | None:
        return self.attempts.get(number)


class _Invoked(msgspec.Struct):
    call: str
    node: str
    attempt: int


class _Cancelled(msgspec.Struct):
    call_id: str
    attempt: int


def _facts(item: Item, kind: type[FactsT]) -> FactsT:
    """The facts of an item that is not ours: raises CodecError if they are not what they should be."""
    try:
        return msgspec.convert(item.facts, kind)
    except msgspec.ValidationError as error:
        raise CodecError("malformed", f"trace.{item.what}", str(error)) from error


def calls_of(recording: Recording, through: int) -> dict[str, RecordedCall]:
    """By call id, in the order in which they were begun."""
    calls: dict[str, RecordedCall] = {}
    for item in recording.items:
        if item.step > through:
            break
        if item.what == "invoke":
            made = _facts(item, _Invoked)
            call = calls.setdefault(made.call, RecordedCall(made.call, made.node, item.name, {}))
            call.attempts[made.attempt] = Attempt(made.attempt, item.at)
        elif item.what == "cancel_call":
            told = _facts(item, _Cancelled)
            attempt = calls[told.call_id].attempt(told.attempt) if told.call_id in calls else None
            if attempt is not None and attempt.cancel_at is None:
                attempt.cancel_at = item.at
    for step, (at, received) in recording.inputs.items():
        if step > through or not isinstance(received, CALL_INPUTS):
            continue
        known = calls.get(received.call_id)
        attempt = known.attempt(received.attempt) if known else None
        if attempt is None:
            continue
        if isinstance(received, CallCancelled):
            attempt.cancelled_at = at
        attempt.said.append(Moment(step, at, received))
    return calls


def by_node(calls: Iterable[RecordedCall]) -> dict[str, list[RecordedCall]]:
    """Each node's calls, in order."""
    found: dict[str, list[RecordedCall]] = {}
    for call in calls:
        found.setdefault(call.node_id, []).append(call)
    return found


def lasts(node: NodeDefinition) -> bool:
    """Is a call of this node open for as long as the session?"""
    return node.role is Role.CALL and node.lifetime is Lifetime.SESSION


def modality_of(node: NodeDefinition) -> str:
    return node.modality or node.type


def places(recording: Recording, graph: GraphDefinition, through: int) -> dict[str, str]:
    """Recorded call node -> the node of this graph that takes its outputs: of that id, else the only one of its modality.

    Raises MisuseError, which names the node, for one whose recorded outputs have nowhere to go.
    """
    here = {node.id: node for node in graph.nodes if node.role is Role.CALL}
    found: dict[str, str] = {}
    for node_id, modality in _speaking(recording, through).items():
        if node_id in here and modality_of(here[node_id]) == modality:
            found[node_id] = node_id
            continue
        alike = [node.id for node in here.values() if modality_of(node) == modality]
        if len(alike) != 1:
            raise MisuseError(
                "replay_node_missing",
                f"the recording has outputs of the node {node_id!r} ({modality}), and pipeline {graph.ref} has "
                f"{'no such node' if not alike else 'several that could take them'}",
                f"nodes.{node_id}",
            )
        found[node_id] = alike[0]
    return found


def _speaking(recording: Recording, through: int) -> dict[str, str]:
    """The nodes of which there are recorded outputs or scores, and their modalities."""
    speaking = {
        call.node_id: call.modality
        for call in calls_of(recording, through).values()
        if any(attempt.said for attempt in call.attempts.values())
    }
    kinds = {type(received) for step, (_, received) in recording.inputs.items() if step <= through}
    for node in recording.head.graph.nodes:
        modality = modality_of(node)
        scored = (modality == "vad" and SpeechScored in kinds) or (
            modality == "end_of_turn" and EndOfTurnScored in kinds
        )
        if node.role is Role.CALL and scored:
            speaking[node.id] = modality
    return speaking
