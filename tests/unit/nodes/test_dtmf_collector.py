"""Keyed digits become one text."""

from __future__ import annotations

from rspp.contract import emitters
from rspp.contract.event import Signal, Text
from rspp.contract.signals import SignalName
from tests.unit.nodes.conftest import Bench, MakeNode


def key(bench: Bench, digits: str) -> list[str]:
    given = []
    for digit in digits:
        signal = Signal(SignalName.DIGIT_PRESSED.value, emitters.GATEWAY, detail={"digit": digit})
        given += [payload.text for payload in bench.give(signal) if isinstance(payload, Text)]
    return given


def test_the_terminator_ends_an_entry_and_is_no_part_of_it(node: MakeNode) -> None:
    assert key(node("dtmf_collector"), "12*4#7#") == ["12*4", "7"]


def test_an_entry_ends_with_its_last_digit(node: MakeNode) -> None:
    assert key(node("dtmf_collector", digits_max=3), "123456") == ["123", "456"]


def test_a_terminator_alone_is_nothing(node: MakeNode) -> None:
    assert key(node("dtmf_collector"), "##") == []


def test_a_cancellation_forgets_what_was_keyed(node: MakeNode) -> None:
    bench = node("dtmf_collector")
    key(bench, "12")
    bench.cancel()
    assert key(bench, "3#") == ["3"]


def test_other_signals_are_not_digits(node: MakeNode) -> None:
    assert node("dtmf_collector").give(Signal(SignalName.BARGE_IN.value, emitters.FENCES)) == []
