"""What is offered follows from the reasons and the table alone, and each action can be performed as it stands."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.surface import LEVELS, Level
from rspp.ops.actions import ACTIONS_MAX, Action, actions_of, id_of
from rspp.ops.health import UNEXPLAINED, Health, Reason
from rspp.ops.offers import OFFERS, Offer
from rspp.ops.reasons import OFFERED, REASONS

# Everything that an offer may ask of a row.
FACTS = {"provider": "asr-1", "worker": "w-1", "tenant": "acme", "pipeline": "front-desk", "step": "3"}


def reason(code: str, **more: Any) -> Reason:
    said: dict[str, Any] = {
        "surface": "workers",
        "aggregate_id": "w-1",
        "level": Level.FAILED,
        "message": "It is gone.",
        "tenant_id": "acme",
        "facts": FACTS,
    }
    return Reason(code=code, **{**said, **more})


def health(*reasons: Reason) -> Health:
    return Health(level=Level.FAILED, as_of_ms=1, sequence=1, stale=False, reasons=reasons)


def offered(*reasons: Reason) -> list[Action]:
    return actions_of(health(*reasons))


@pytest.mark.parametrize("code", sorted(REASONS))
def test_each_reason_offers_what_its_row_says_or_says_why_it_offers_nothing(code: str) -> None:
    meaning = REASONS[code]
    assert meaning.says.endswith(".")
    assert bool(meaning.offers) != bool(meaning.none_because), "one of the two, and not both"
    actions = offered(reason(code))
    assert [one.kind for one in actions] == [one.kind for one in meaning.offers]
    for one in actions:
        assert one.why == f"{code}: It is gone."
        assert one.call.fields
        assert all("{" not in said for said in (one.title, one.call.path, one.call.cli))


@pytest.mark.parametrize("value", [5, True, 1.5, ""])
def test_what_is_no_name_is_offered_to_nobody(value: object) -> None:
    said = Reason(
        surface="circuits",
        aggregate_id="deepgram@w-1",
        level=Level.DEGRADED,
        code="circuit_open",
        message="",
        facts={"provider": value},  # type: ignore[dict-item]
    )
    assert (
        actions_of(Health(level=Level.DEGRADED, as_of_ms=1, sequence=1, stale=False, reasons=(said,))) == []
    )


def test_kinds_are_not_used_twice_and_none_is_left_unoffered() -> None:
    kinds = [one.kind for one in OFFERS]
    assert len(kinds) == len(set(kinds))
    assert {one.kind for offers in OFFERED.values() for one in offers} == set(kinds)


def test_without_a_reason_nothing_is_offered_and_for_an_unknown_one_neither() -> None:
    assert offered() == []
    assert offered(reason("never_heard_of"), reason(UNEXPLAINED)) == []


@pytest.mark.parametrize("offer", OFFERS, ids=lambda one: one.kind)
def test_what_a_row_does_not_tell_is_not_guessed(offer: Offer) -> None:
    code = next(code for code, offers in OFFERED.items() if offer in offers)
    for source in offer.fields.values():
        if source == "aggregate_id":
            continue
        if source == "tenant_id":
            poor = reason(code, tenant_id=None)
        else:
            poor = reason(code, facts={name: value for name, value in FACTS.items() if name != source})
        assert offer.kind not in {one.kind for one in offered(poor)}, source


names = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(names, names, names, st.none() | names), min_size=2, max_size=6, unique=True))
def test_ids_are_of_one_thing_each_whatever_its_name_holds(
    parts: list[tuple[str, str, str, str | None]],
) -> None:
    assert len({id_of(*one) for one in parts}) == len(parts)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(REASONS)), max_size=12), st.sampled_from(LEVELS))
def test_the_same_health_offers_the_same_in_the_same_order(codes: list[str], level: Level) -> None:
    reasons = [reason(code, aggregate_id=f"w-{number}", level=level) for number, code in enumerate(codes)]
    first = offered(*reasons)
    assert offered(*reasons) == first
    assert len({one.id for one in first}) == len(first)
    of_things = [one for one in first if one.id.split(":")[1] == "workers"]
    first = of_things  # what many rows ask for is offered once, and stands where the first of them does
    assert [one.aggregate_id for one in first] == sorted(
        (one.aggregate_id for one in first), key=lambda name: int(name.removeprefix("w-"))
    )


def test_a_flood_of_reasons_is_a_bounded_list() -> None:
    code = next(code for code, offers in OFFERED.items() if offers)
    flood = [reason(code, aggregate_id=f"w-{number}") for number in range(2 * ACTIONS_MAX)]
    assert len(offered(*flood)) == ACTIONS_MAX


def test_what_many_workers_ask_for_is_offered_once_for_the_worst_of_them() -> None:
    seen = [
        reason(code, surface=surface, aggregate_id=f"asr-1@w-{number}", tenant_id=None)
        for surface, code in (("circuits", "circuit_open"), ("provider_health", "provider_unhealthy"))
        for number in range(3)
    ]
    (action,) = offered(*seen)
    assert action.id == "reset_circuit:circuits:asr-1"
    assert (action.surface, action.aggregate_id) == ("circuits", "asr-1@w-0")
    assert action.call.fields["provider"] == "asr-1"


@settings(max_examples=50, deadline=None)
@given(names)
def test_a_name_is_one_word_of_the_command_line_and_one_step_of_the_path(name: str) -> None:
    (action,) = [
        one for one in offered(reason("worker_draining", aggregate_id=name)) if one.kind == "resume_worker"
    ]
    words = shlex.split(action.call.cli)
    assert words[:4] == ["rspp", "control", "workers", "resume"]
    assert words[-1] == name
    assert action.call.path.count("/") == "/v1/workers/{worker}/resume".count("/")
    assert action.call.fields["worker"] == name
    assert "worker" not in action.call.body
    assert action.call.body["reason"] == action.why
