"""Of several endings at one point the strongest is the turn's, in whichever order they come."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from rspp.contract.words import AbortReason, CancelScope
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.arbiter import RANK_OF
from rspp.spec import voice_template
from rspp.testing.rig import Rig


def talking(*, stores_evidence: bool = True, **policies: Any) -> Rig:
    rig = Rig(voice_template(**policies), stores_evidence=stores_evidence)
    rig.connect()
    rig.type("what time is it")
    rig.forget()
    return rig


def store(rig: Rig, *, ok: bool = True) -> None:
    """The recorder answers the last question."""
    rig.give(i.EvidenceStored(rig.of(fx.StoreEvidence)[-1].record_id, ok, None if ok else "disk_full"))


def step(rig: Rig) -> None:
    """Something that changes nothing, so that the kernel settles what has been said of the turn."""
    rig.judged = False  # the monitor misses the inputs that would explain such an ending
    rig.give(i.PoolChanged("open"))


# ---- evidence that fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["revoke", "cancel"])
def test_t9_failing_evidence_does_not_replace_a_stronger_ending(end: str) -> None:
    rig = talking(stores_evidence=False)
    if end == "revoke":
        rig.give(i.LeaseChanged("revoked", 7))
    else:
        rig.control("cancel", scope=CancelScope.TURN)
    store(rig, ok=False)
    assert rig.signals("abort")[0].reason == ("authority_loss" if end == "revoke" else "cancelled")
    assert "evidence_append_failed" in rig.names()


def test_t9_failing_evidence_replaces_a_weaker_ending() -> None:
    rig = talking(stores_evidence=False, calls={"provider_timeout_ms": 9_000})
    rig.advance(2_000)
    store(rig, ok=False)
    assert rig.signals("abort")[0].reason == "recording_evidence_unavailable"


@pytest.mark.parametrize("end", ["revoke", "cancel"])
def test_a_stronger_ending_takes_over_while_the_evidence_of_a_weaker_one_is_on_its_way(end: str) -> None:
    rig = talking(stores_evidence=False)
    rig.answer("It is ten.", ms=20)
    first = rig.of(fx.StoreEvidence)[-1].record_id
    if end == "revoke":
        rig.give(i.LeaseChanged("revoked", 7))
    else:
        rig.control("cancel", scope=CancelScope.TURN)
    rig.give(i.EvidenceStored(first))
    assert rig.names("commit", "abort") == [], "the answer to the earlier question says nothing"
    store(rig)
    assert rig.names("commit", "abort", "close") == ["abort", "close"]
    assert rig.signals("abort")[0].reason == ("authority_loss" if end == "revoke" else "cancelled")


def test_a_weaker_ending_does_not_take_over() -> None:
    rig = talking(stores_evidence=False)
    rig.give(i.LeaseChanged("revoked", 7))
    asked = len(rig.of(fx.StoreEvidence))
    rig.kernel.turns.condition(AbortReason.CANCELLED, "late")
    step(rig)
    assert len(rig.of(fx.StoreEvidence)) == asked


# ---- the precedence list, in pairs ----------------------------------------------------------------------------------

BY_RANK = sorted(RANK_OF, key=lambda reason: RANK_OF[reason])


def test_every_abort_reason_has_its_rank() -> None:
    assert set(RANK_OF) == set(AbortReason)


@pytest.mark.parametrize(
    ("stronger", "weaker"),
    [(a, b) for a, b in itertools.combinations(BY_RANK, 2) if RANK_OF[a] < RANK_OF[b]],
)
def test_of_two_endings_at_one_point_the_stronger_wins_in_whichever_order_they_come(
    stronger: AbortReason, weaker: AbortReason
) -> None:
    for order in ((stronger, weaker), (weaker, stronger)):
        rig = talking()
        for reason in order:
            rig.kernel.turns.condition(reason, "test")
        step(rig)
        assert [signal.reason for signal in rig.signals("abort")] == [stronger.value]
        assert rig.names("abort", "close") == ["abort", "close"]


def test_any_ending_is_stronger_than_success() -> None:
    for reason in AbortReason:
        rig = talking(stores_evidence=False)
        rig.answer("It is ten.", ms=20)
        rig.kernel.turns.condition(reason, "test")
        step(rig)
        store(rig)
        assert [signal.reason for signal in rig.signals("abort")] == [reason.value]
        assert rig.names("commit") == []
