"""Which way an event goes and which source is heard: pure answers, the same for the same attributes and facts."""

from __future__ import annotations

import itertools

import pytest

from rspp.kernel.routing import Answer, Fact, attribute, choose, event_time, holds, merge_key
from rspp.spec.graph import Absent, Condition, MergeRule, SelectRule
from tests.unit.kernel.given import MS, audio, text

YES, NO = Answer.YES, Answer.NO


@pytest.mark.parametrize(
    ("op", "below", "equal", "above"),
    [
        ("lt", YES, NO, NO),
        ("le", YES, YES, NO),
        ("gt", NO, NO, YES),
        ("ge", NO, YES, YES),
        ("eq", NO, YES, NO),
        ("ne", YES, NO, YES),
    ],
)
def test_a_threshold_answers_below_at_and_above_itself(
    op: str, below: Answer, equal: Answer, above: Answer
) -> None:
    condition = Condition(attribute="confidence", op=op, value=0.5)
    answers = [holds(condition, text(1, confidence=c), {}) for c in (0.4, 0.5, 0.6)]
    assert answers == [below, equal, above]


def test_membership_asks_whether_it_is_one_of_a_list() -> None:
    condition = Condition(attribute="language", op="in", value=("en", "de"))
    assert holds(condition, text(1, language="de"), {}) is YES
    assert holds(condition, text(1, language="fr"), {}) is NO


@pytest.mark.parametrize(
    ("absent", "answer"), [(Absent.TAKE, YES), (Absent.SKIP, NO), (Absent.ERROR, Answer.ERROR)]
)
def test_an_absent_attribute_gets_the_declared_answer(absent: Absent, answer: Answer) -> None:
    condition = Condition(attribute="mood", op="eq", value="calm", absent=absent)
    assert holds(condition, text(1), {}) is answer


def test_words_have_no_order() -> None:
    assert holds(Condition(attribute="language", op="gt", value=1), text(1, language="en"), {}) is NO
    assert holds(Condition(attribute="confidence", op="gt", value="a"), text(1, confidence=0.5), {}) is NO


def test_an_events_own_attribute_goes_before_the_sessions_fact_of_that_name() -> None:
    facts: dict[str, Fact] = {"language": "de", "mood": "calm", "tier": 1}
    event = text(1, language="en", attributes={"mood": "angry"})
    assert attribute(event, facts, "language") == "en"
    assert attribute(event, facts, "mood") == "angry"
    assert attribute(event, facts, "tier") == 1
    assert attribute(audio(1), facts, "language") == "de"
    assert attribute(None, facts, "nothing") is None


def test_a_select_hears_the_first_candidate_that_qualifies_and_nobody_where_none_does() -> None:
    rule = SelectRule(
        candidates=(
            ("a", Condition(attribute="health", op="eq", value="good")),
            ("b", Condition(attribute="language", op="eq", value="en")),
        )
    )
    assert choose(rule, {"health": "good", "language": "en"}) == "a"
    assert choose(rule, {"health": "bad", "language": "en"}) == "b"
    assert choose(rule, {"health": "bad"}) is None
    assert choose(SelectRule(candidates=(("a", None),)), {}) == "a"


def test_an_event_happened_at_its_media_time_or_its_own_word_for_it_else_at_its_birth() -> None:
    assert event_time(audio(3, at_ms=500)) == 60 * MS
    assert event_time(text(1, at_ms=500, attributes={"at_ms": 40})) == 40 * MS
    assert event_time(text(1, at_ms=500, attributes={"at_ms": "soon"})) == 500 * MS
    assert event_time(text(1, at_ms=500)) == 500 * MS


@pytest.mark.parametrize("order", ["timestamp", "source_priority"])
def test_a_merge_orders_by_its_rule_and_breaks_ties_the_same_way_whatever_arrives_first(order: str) -> None:
    rule = MergeRule(order=order)
    arrivals = [(0, text(1, at_ms=10)), (1, text(2, at_ms=5)), (0, text(3, at_ms=5)), (1, text(4, at_ms=5))]
    orders = {
        tuple(event.sequence for _, event in sorted(shuffled, key=lambda item: merge_key(rule, *item)))
        for shuffled in itertools.permutations(arrivals)
    }
    assert orders == {(3, 2, 4, 1) if order == "timestamp" else (3, 1, 2, 4)}
