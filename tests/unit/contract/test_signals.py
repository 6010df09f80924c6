"""The registry is closed, whole and consistent with the rest of the contract."""

from __future__ import annotations

import pytest

from rspp.contract import emitters
from rspp.contract.event import Envelope, Signal
from rspp.contract.rules import check_event
from rspp.contract.signals import CORE_SIGNALS, SIGNALS, SignalName, SignalRule
from rspp.contract.words import AbortReason
from tests.unit.contract import samples

ROWS = list(SIGNALS.values())


def test_every_name_has_one_row_and_the_first_43_are_the_contracts() -> None:
    assert list(SIGNALS) == [name.value for name in SignalName]
    assert CORE_SIGNALS == 43
    assert list(SIGNALS)[CORE_SIGNALS - 1] == "recording_level_downgraded"


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name.value)
def test_a_row_names_known_emitters_a_known_scope_and_existing_fields(rule: SignalRule) -> None:
    known = {*Envelope.__struct_fields__, *Signal.__struct_fields__}
    assert rule.emitters
    assert set(rule.emitters) <= emitters.ALL
    assert rule.scope in ("session", "turn", "any")
    assert all(path in known or path.startswith("detail.") for path in rule.requires)
    assert rule.meaning


@pytest.mark.parametrize("rule", ROWS, ids=lambda rule: rule.name.value)
def test_a_signal_with_all_that_its_row_asks_for_is_accepted(rule: SignalRule) -> None:
    assert check_event(samples.signal_of(rule)) == []


def test_turn_scope_always_asks_for_the_turn() -> None:
    assert all("turn_id" in rule.requires for rule in ROWS if rule.scope == "turn")


def test_no_emitter_is_a_number_of_an_older_design() -> None:
    assert not any(character.isdigit() for name in emitters.ALL for character in name)


def test_abort_reasons_have_no_placeholder_among_them() -> None:
    assert "deterministic_reason" not in set(AbortReason)
