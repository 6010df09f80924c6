"""One logical call: attempts, chunks, one outcome; what follows a failure is a table."""

from __future__ import annotations

import pytest

from rspp.contract.event import NS_PER_MS, Scope, Text
from rspp.contract.words import AdaptiveAction as A
from rspp.contract.words import OutcomeClass
from rspp.kernel.calls import (
    Call,
    CallState,
    Circuits,
    Failure,
    Next,
    after_failure,
    backoff_ms,
    scrubbed,
)
from rspp.spec import voice_template
from rspp.spec.graph import CallPolicy

POLICY: CallPolicy = voice_template().policies.calls
ALL = (A.RETRY, A.PROVIDER_SWITCH, A.FALLBACK)
OVERLOAD = Failure(OutcomeClass.OVERLOAD, "busy", retryable=True, circuit=True)
TIMEOUT = Failure(OutcomeClass.TIMEOUT, "provider_timeout", retryable=True)
BLOCKED = Failure(OutcomeClass.BLOCKED, "forbidden")
NONE: tuple[str, ...] = ()


def call(attempts: int = 1, here: int = 1, candidate: int = 0) -> Call:
    scope = Scope(session_id="s", tenant_id="t", pipeline_version="v", epoch=1, turn_id="s/turn-1")
    made = Call(
        id="pvi/1",
        node_id="llm",
        modality="llm",
        scope=scope,
        candidates=("a", "b", "c"),
        generation=1,
        started_at=0,
        timeout_ms=1_000,
        candidate=candidate,
    )
    for _ in range(attempts):
        made.begin_attempt(0)
    made.attempts_here = here
    return made


# ---- chunks ---------------------------------------------------------------------------------------------------------


def test_chunks_rise_from_nought_and_a_repeated_or_earlier_one_is_a_duplicate() -> None:
    made = call()
    assert [made.take_chunk(1, 1, n) for n in (0, 1, 1, 0, 3, 2)] == [
        None,
        None,
        "duplicate_chunk",
        "duplicate_chunk",
        None,
        "duplicate_chunk",
    ]
    assert made.produced == 3
    assert made.state is CallState.STREAMING


def test_a_chunk_of_another_attempt_is_refused_and_counted() -> None:
    made = call(attempts=2)
    assert made.take_chunk(1, 1, 0) == "other_attempt"
    assert made.take_chunk(1, 3, 0) == "other_attempt"
    assert made.late_dropped == 2
    assert made.take_chunk(1, 2, 0) is None


def test_what_comes_after_a_cancel_or_an_end_is_late_by_that_name() -> None:
    made = call()
    made.state = CallState.CANCELLING
    assert made.take_chunk(1, 1, 0) == "late_after_cancel"
    made.end(5, OutcomeClass.SUCCESS, "")
    assert made.take_chunk(6, 1, 1) == "late_after_end"
    assert made.late_dropped == 2
    assert made.produced == 0


def test_the_last_attempts_time_counts_from_its_own_start() -> None:
    made = call()
    made.begin_attempt(500 * NS_PER_MS)
    made.end(700 * NS_PER_MS, OutcomeClass.SUCCESS, "")
    assert made.final_attempt_ms == 200


def test_a_call_that_was_never_tried_has_no_latency() -> None:
    made = call(attempts=0)
    made.end(700 * NS_PER_MS, OutcomeClass.BLOCKED, "cost_cap_reached")
    assert made.final_attempt_ms == 0


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "answers"),
    [
        ([Text("a", 0, 1), Text("ab", 0, 2), Text("abc", 0, 3, final=True)], [None, None, None]),
        ([Text("ab", 0, 2), Text("a", 0, 1)], [None, "text_reordered"]),
        ([Text("ab", 0, 2), Text("ac", 0, 2)], [None, "text_reordered"]),
        ([Text("a", 0, 1, final=True), Text("a b", 0, 2)], [None, "text_after_final"]),
        ([Text("a", 0, 1, final=True), Text("a", 0, 2, final=True)], [None, "text_final_repeated"]),
        ([Text("a", 0, 1, final=True), Text("b", 0, 2, final=True)], [None, "text_final_changed"]),
        ([Text("a", 0, 1, final=True), Text("b", 1, 0), Text("c", 0, 9)], [None, None, "text_after_final"]),
        ([Text("a", 0, 5), Text("b", 1, 0)], [None, None]),
    ],
)
def test_recognised_text_only_moves_forward_and_a_final_is_the_last_word(
    texts: list[Text], answers: list[str | None]
) -> None:
    made = call()
    assert [made.take_text(text) for text in texts] == answers


def test_another_attempt_begins_its_text_anew() -> None:
    made = call()
    made.take_text(Text("a", 0, 5, final=True))
    made.begin_attempt(1)
    assert made.take_text(Text("a", 0, 1)) is None


# ---- what follows a failure -----------------------------------------------------------------------------------------


def following(
    made: Call,
    failure: Failure,
    left: int | None = 2_000,
    allowed: tuple[A, ...] = ALL,
    circuits: object = NONE,
) -> Next:
    assert isinstance(circuits, tuple)
    return after_failure(made, failure, left, POLICY, allowed, circuits)


@pytest.mark.parametrize(
    ("made", "failure", "left", "allowed", "circuits", "expected"),
    [
        # A retryable failure, with attempts and budget left, is tried again where it is.
        (call(1, 1), TIMEOUT, 2_000, ALL, NONE, Next("retry", 0, 0)),
        (call(1, 1), OVERLOAD, 2_000, ALL, NONE, Next("retry", 500, 0)),
        (call(1, 1), OVERLOAD, None, ALL, NONE, Next("retry", 500, 0)),
        # The wait would outlast the budget, or just fill it: switch at once instead.
        (call(1, 1), OVERLOAD, 500, ALL, NONE, Next("provider_switch", 0, 1)),
        # Not retryable, not allowed, circuit open, attempts spent: the next candidate.
        (call(1, 1), BLOCKED, 2_000, ALL, NONE, Next("provider_switch", 0, 1)),
        (call(1, 1), TIMEOUT, 2_000, (A.PROVIDER_SWITCH,), NONE, Next("provider_switch", 0, 1)),
        (call(1, 1), TIMEOUT, 2_000, ALL, ("a",), Next("provider_switch", 0, 1)),
        (call(2, 2), TIMEOUT, 2_000, ALL, NONE, Next("provider_switch", 0, 1)),
        (call(2, 2), TIMEOUT, 2_000, ALL, ("b",), Next("provider_switch", 0, 2)),
        # `fallback` permits a switch as well.
        (call(2, 2), TIMEOUT, 2_000, (A.FALLBACK,), NONE, Next("provider_switch", 0, 1)),
        # Nothing follows.
        (call(2, 2), TIMEOUT, 2_000, (A.RETRY,), NONE, Next("none", why="switch_not_allowed")),
        (call(2, 2), TIMEOUT, 249, ALL, NONE, Next("none", why="budget_too_small")),
        (call(2, 2), TIMEOUT, 250, ALL, NONE, Next("provider_switch", 0, 1)),
        (call(3, 2, 2), TIMEOUT, 2_000, ALL, NONE, Next("none", why="candidates_exhausted")),
        (call(2, 2), TIMEOUT, 2_000, ALL, ("b", "c"), Next("none", why="candidates_exhausted")),
        (call(4, 1), TIMEOUT, 2_000, ALL, NONE, Next("none", why="attempts_exhausted")),
    ],
)
def test_what_follows_a_failed_attempt_is_decided_by_one_table(
    made: Call,
    failure: Failure,
    left: int | None,
    allowed: tuple[A, ...],
    circuits: tuple[str, ...],
    expected: Next,
) -> None:
    assert following(made, failure, left, allowed, circuits) == expected


def test_a_half_stream_is_never_begun_again() -> None:
    made = call()
    made.take_chunk(1, 1, 0)
    assert following(made, TIMEOUT) == Next("none", why="output_already_released")


@pytest.mark.parametrize(
    ("failure", "waits"),
    [
        (OVERLOAD, [500, 1_000, 2_000, 4_000, 4_000]),
        (TIMEOUT, [0, 500, 500, 500, 500]),
        (Failure(OutcomeClass.OVERLOAD, "busy", retryable=True, retry_after_ms=700), [700] * 5),
        (Failure(OutcomeClass.OVERLOAD, "busy", retryable=True, retry_after_ms=-5), [0] * 5),
    ],
)
def test_waits_double_up_to_their_bound_unless_the_provider_named_one(
    failure: Failure, waits: list[int]
) -> None:
    assert [backoff_ms(failure, attempts, POLICY) for attempts in range(1, 6)] == waits


def test_a_provider_that_asks_for_longer_than_we_wait_is_not_tried_again() -> None:
    asked = Failure(OutcomeClass.OVERLOAD, "busy", retryable=True, retry_after_ms=POLICY.backoff_ms_max + 1)
    assert following(call(), asked, None) == Next("provider_switch", 0, 1)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("", ""),
        ("provider_timeout", "provider_timeout"),
        ("http_500", "http_500"),
        ("The caller said: my PIN is 1234", "reason_withheld"),
        ("sk-ant-0123456789", "reason_withheld"),
        ("x" * 200, "reason_withheld"),
        ("a\nb", "reason_withheld"),
    ],
)
def test_a_reason_is_a_word_and_a_sentence_is_withheld(reason: str, kept: str) -> None:
    assert scrubbed(reason) == kept


# ---- circuits -------------------------------------------------------------------------------------------------------


def opened(at: int = 0) -> Circuits:
    circuits = Circuits(POLICY)
    for _ in range(POLICY.circuit_failures - 1):
        assert circuits.failed(at, "a") is None
    assert circuits.failed(at, "a") == "opened"
    return circuits


COOLDOWN = POLICY.circuit_cooldown_ms * NS_PER_MS
WINDOW = POLICY.circuit_window_ms * NS_PER_MS


def test_enough_failures_in_the_window_open_a_circuit_for_its_cooldown() -> None:
    circuits = opened()
    assert circuits.open_at(0) == {"a"}
    assert circuits.open_at(COOLDOWN - 1) == {"a"}
    assert circuits.open_at(COOLDOWN) == frozenset()
    assert not circuits.probe(COOLDOWN - 1, "a")


def test_failures_that_are_older_than_the_window_do_not_count() -> None:
    circuits = Circuits(POLICY)
    for _ in range(POLICY.circuit_failures - 1):
        circuits.failed(0, "a")
    assert circuits.failed(WINDOW, "a") is None
    assert circuits.open_at(WINDOW) == frozenset()


def test_one_provider_is_not_blamed_for_another() -> None:
    circuits = opened()
    assert circuits.failed(0, "b") is None
    assert circuits.open_at(0) == {"a"}


def test_after_the_cooldown_one_probe_goes_and_its_answer_decides() -> None:
    for verdict in ("closed", "opened"):
        circuits = opened()
        assert circuits.probe(COOLDOWN, "a")
        assert not circuits.probe(COOLDOWN, "a"), "one probe, not two"
        assert circuits.open_at(COOLDOWN) == {"a"}, "nobody else calls it meanwhile"
        answer = circuits.succeeded("a") if verdict == "closed" else circuits.failed(COOLDOWN, "a")
        assert answer == verdict
        assert bool(circuits.open_at(COOLDOWN)) is (verdict == "opened")


def test_a_probe_that_is_cancelled_lets_the_next_attempt_probe() -> None:
    circuits = opened()
    circuits.probe(COOLDOWN, "a")
    circuits.abandoned("a")
    assert circuits.probe(COOLDOWN, "a")
    circuits.abandoned("nobody")


def test_a_success_begun_before_the_circuit_opened_does_not_close_it() -> None:
    circuits = opened()
    assert circuits.succeeded("a") is None
    assert circuits.open_at(1) == {"a"}


def test_a_success_forgets_earlier_failures() -> None:
    circuits = Circuits(POLICY)
    for _ in range(POLICY.circuit_failures - 1):
        circuits.failed(0, "a")
    assert circuits.succeeded("a") is None
    assert circuits.failed(0, "a") is None
    assert circuits.succeeded("nobody") is None
