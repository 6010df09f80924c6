"""Before a turn exists it is admitted, deferred or refused, from the last snapshot alone."""

from __future__ import annotations

import pytest

from rspp.contract.decisions import OutcomeKind
from rspp.contract.event import NS_PER_MS
from rspp.kernel import inputs as i
from rspp.kernel.admission import MINUTE_NS, STARTS_MAX, Admission, Gate
from rspp.kernel.snapshot import Quota
from rspp.testing.rig import Rig, snapshot

AGE_MS_MAX = 1_000


def test_a_fresh_compatible_snapshot_lets_an_intent_pass() -> None:
    assert Admission().snapshot_gate(0, snapshot(), AGE_MS_MAX, "defer") is None


def test_a_snapshot_is_usable_to_its_last_millisecond_and_not_after() -> None:
    view, at = snapshot(at=0), AGE_MS_MAX * NS_PER_MS
    assert Admission().snapshot_gate(at, view, AGE_MS_MAX, "defer") is None
    assert Admission().snapshot_gate(at + 1, view, AGE_MS_MAX, "defer") is not None


@pytest.mark.parametrize(
    ("configured", "kind"), [("defer", OutcomeKind.DEFER), ("reject", OutcomeKind.REJECT)]
)
def test_a_missing_or_incompatible_snapshot_is_answered_as_configured(
    configured: str, kind: OutcomeKind
) -> None:
    expected = Gate(kind, "snapshot_invalid_or_missing")
    assert Admission().snapshot_gate(0, None, AGE_MS_MAX, configured) == expected
    assert Admission().snapshot_gate(0, snapshot(compatible=False), AGE_MS_MAX, configured) == expected


@pytest.mark.parametrize(
    ("capacity", "pool", "expected"),
    [
        ("allow", "open", None),
        ("defer", "open", Gate(OutcomeKind.DEFER, "admission_capacity_defer")),
        ("reject", "open", Gate(OutcomeKind.REJECT, "admission_capacity_reject")),
        ("allow", "saturated", Gate(OutcomeKind.DEFER, "admission_capacity_defer")),
        ("reject", "saturated", Gate(OutcomeKind.REJECT, "admission_capacity_reject")),
        # A closed pool does not open again: waiting for it would be in vain.
        ("allow", "closed", Gate(OutcomeKind.REJECT, "execution_pool_closed")),
        ("defer", "closed", Gate(OutcomeKind.REJECT, "execution_pool_closed")),
    ],
)
def test_capacity_and_pool_decide_together(capacity: str, pool: str, expected: Gate | None) -> None:
    admission = Admission()
    admission.pool = pool
    assert admission.capacity_gate(0, snapshot(capacity=capacity)) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("reject", Gate(OutcomeKind.REJECT, "admission_capacity_reject")),
        ("defer", Gate(OutcomeKind.DEFER, "admission_capacity_defer")),
    ],
)
def test_the_turn_over_the_rate_is_refused_and_the_next_minute_admits_again(
    action: str, expected: Gate
) -> None:
    admission = Admission()
    view = snapshot(quota=Quota(turns_per_minute=2, action=action))
    for at in (0, 1):
        assert admission.capacity_gate(at, view) is None
        admission.admitted(at)
    assert admission.capacity_gate(2, view) == expected
    assert admission.capacity_gate(MINUTE_NS - 1, view) == expected
    assert admission.capacity_gate(MINUTE_NS, view) is None


def test_tokens_count_for_a_minute_and_exactly_the_quota_is_still_admitted() -> None:
    admission = Admission()
    view = snapshot(quota=Quota(tokens_per_minute=100))
    admission.spent(0, 100)
    admission.spent(0, 0)
    assert admission.capacity_gate(1, view) is None
    admission.spent(1, 1)
    assert admission.capacity_gate(2, view) is not None
    assert admission.capacity_gate(MINUTE_NS + 1, view) is None


def test_without_a_quota_nothing_is_counted_against_anybody() -> None:
    admission = Admission()
    for at in range(STARTS_MAX + 10):
        admission.admitted(at)
    assert admission.capacity_gate(STARTS_MAX, snapshot()) is None


def test_places_are_taken_up_to_the_limit_and_given_back_on_every_end() -> None:
    admission = Admission()
    assert [admission.dispatch("llm", 2) for _ in range(3)] == [None, None, "node_concurrency_limited"]
    assert admission.dispatch("tts", 2) is None, "another key has places of its own"
    admission.done("llm")
    assert admission.dispatch("llm", 2) is None
    for _ in range(5):
        admission.done("llm")
    assert admission.in_flight == {"tts": 1}, "a place given back twice is not two places"


def test_a_limit_of_nought_is_none_and_a_pool_that_does_not_take_sheds() -> None:
    admission = Admission()
    assert [admission.dispatch("llm", 0) for _ in range(50)] == [None] * 50
    for pool, reason in (("saturated", "execution_pool_saturated"), ("closed", "execution_pool_closed")):
        admission.pool = pool
        assert admission.dispatch("llm", 0) == reason
    assert admission.in_flight == {"llm": 50}


def test_a_pool_state_that_nobody_knows_is_ignored() -> None:
    rig = Rig()
    rig.connect()
    rig.give(i.PoolChanged("on_fire"))
    assert rig.kernel.admission.pool == "open"


def test_a_session_over_its_quota_is_refused_by_name_and_its_neighbour_is_not() -> None:
    """The deciding half of F-050: one session's rate; the tenant's is the host's to add up."""
    limited = Rig(snapshot=snapshot(quota=Quota(turns_per_minute=1)))
    other = Rig(session_id="s2", tenant_id="t2")
    for rig in (limited, other):
        rig.connect()
        for words in ("one", "two"):
            rig.type(words)
            rig.answer("Fine.")
            rig.advance(1_000)
    assert limited.names("turn_open", "reject") == ["turn_open", "reject"]
    assert other.names("turn_open", "reject") == ["turn_open", "turn_open"]


def test_work_over_a_nodes_limit_is_shed_at_dispatch_and_ends_the_turn_by_that_name() -> None:
    """The deciding half of F-109."""
    rig = Rig()
    rig.connect()
    rig.give(i.PoolChanged("saturated"))
    rig.give(i.SnapshotPublished(snapshot(2)))
    rig.type("hello")
    assert rig.names("turn_open") == []
    rig.give(i.PoolChanged("open"))
    rig.advance(500)
    assert rig.names("turn_open") == ["turn_open"]
    rig.give(i.PoolChanged("closed"))
    rig.tokens("A sentence.")
    sheds = rig.signals("shed")
    assert [signal.reason for signal in sheds] == ["execution_pool_closed"]
    assert rig.signals("abort")[0].reason == "execution_pool_closed"
