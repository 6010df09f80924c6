"""Which way an event goes, and which of several sources is heard: pure answers from attributes and facts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rspp.contract.event import Audio, Event, Text
from rspp.spec.graph import Absent, Condition, MergeRule, SelectRule

Fact = str | int | float | bool

_ORDERED: Final = ("lt", "le", "gt", "ge")


class Answer(StrEnum):
    YES = "yes"
    NO = "no"
    ERROR = "attribute_absent"


def attribute(event: Event | None, facts: Mapping[str, Fact], name: str) -> object:
    """An event's own attribute, or the session's fact of that name; None where there is neither."""
    if event is not None and isinstance(event.payload, Text):
        text = event.payload
        if name == "language" and text.language is not None:
            return text.language
        if name == "confidence" and text.confidence is not None:
            return text.confidence
        if text.attributes and name in text.attributes:
            return text.attributes[name]
    return facts.get(name)


def holds(condition: Condition, event: Event | None, facts: Mapping[str, Fact]) -> Answer:
    """Does the condition hold? What it says of an absent attribute is declared in it."""
    actual = attribute(event, facts, condition.attribute)
    if actual is None:
        return {Absent.TAKE: Answer.YES, Absent.SKIP: Answer.NO, Absent.ERROR: Answer.ERROR}[condition.absent]
    wanted = condition.value
    if condition.op == "in":
        return _answer(isinstance(wanted, tuple) and actual in wanted)
    if condition.op in ("eq", "ne"):
        return _answer((actual == wanted) is (condition.op == "eq"))
    if not isinstance(actual, (int, float)) or not isinstance(wanted, (int, float)):
        return Answer.NO
    return _answer(_compare(condition.op, actual, wanted))


def _answer(yes: bool) -> Answer:
    return Answer.YES if yes else Answer.NO


def _compare(op: str, actual: float, wanted: float) -> bool:
    if op == "lt":
        return actual < wanted
    if op == "le":
        return actual <= wanted
    return actual > wanted if op == "gt" else actual >= wanted


def choose(rule: SelectRule, facts: Mapping[str, Fact]) -> str | None:
    """The first candidate whose condition holds, or None: never two at once."""
    for name, condition in rule.candidates:
        if condition is None or holds(condition, None, facts) is Answer.YES:
            return name
    return None


def event_time(event: Event) -> int:
    """When an event happened in its own stream: media time for audio, `at_ms` for text that has it, else its birth."""
    payload = event.payload
    if isinstance(payload, Audio):
        return payload.sample_index * 1_000_000_000 // payload.rate
    if isinstance(payload, Text) and payload.attributes:
        at_ms = payload.attributes.get("at_ms")
        if isinstance(at_ms, int):
            return at_ms * 1_000_000
    return event.at


def merge_key(rule: MergeRule, rank: int, event: Event) -> tuple[int, int, int]:
    """The place of an event in a merged stream; ties go to the earlier input, then to the earlier sequence."""
    if rule.order == "source_priority":
        return rank, event_time(event), event.sequence
    return event_time(event), rank, event.sequence
