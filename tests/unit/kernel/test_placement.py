"""One process owns a session at a time: leases, moves, and state that comes back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.words import ConnectionState, SessionState
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import ClockAnchor, Durable
from rspp.testing.rig import FRAME, Rig

LATER = 900_000 * NS_PER_MS


def talking(**request: Any) -> Rig:
    rig = Rig(**request)
    rig.connect()
    rig.type("hello")
    return rig


def decisions(rig: Rig) -> list[str]:
    return [e.entry.outcome_kind.value for e in rig.of(fx.Record) if isinstance(e.entry, DecisionOutcome)]


# ---- leases ---------------------------------------------------------------------------------------------------------


def test_a_revoked_lease_drains_the_session_and_the_turn_ends_for_that_in_this_order() -> None:
    rig = talking()
    rig.give(i.LeaseChanged("revoked", 7))
    rig.advance(100)
    assert rig.names("deauthorized_drain", "abort", "close") == ["deauthorized_drain", "abort", "close"]
    assert rig.signals("abort")[0].reason == "authority_loss"
    assert decisions(rig) == ["admit", "deauthorized_drain"]
    assert rig.kernel.connection.state in (SessionState.DRAINING, SessionState.ENDED)


def test_an_idle_session_that_loses_its_lease_says_so_and_takes_no_more_turns() -> None:
    rig = Rig()
    rig.connect()
    rig.give(i.LeaseChanged("revoked", 7))
    rig.type("hello")
    assert rig.names("deauthorized_drain", "turn_open", "abort") == ["deauthorized_drain"]


@pytest.mark.parametrize("flags", [None, (1, 2, 3, 4, 5)])
def test_a_session_that_lost_its_authority_over_an_answer_that_still_plays_ends_at_once(
    flags: tuple[int, ...] | None,
) -> None:
    rig = talking(flags=flags)
    rig.answer("Well, yes.", 1_000)
    while not rig.names("commit"):
        rig.advance(20)
    assert rig.kernel.speaking(), "what was sent last is still heard"
    rig.give(i.LeaseChanged("revoked", 7))
    rig.advance(20)
    ended = rig.kernel.connection.state is SessionState.ENDED
    assert ended is (flags is None), "nothing more may be sent, and its caller is needed elsewhere"


def test_a_lease_that_runs_out_is_lost_at_its_instant_and_a_renewed_one_is_not() -> None:
    at = 10_000
    expiring = talking(lease_expires_at=at * NS_PER_MS)
    expiring.answer("Fine.")
    expiring.advance(at - 1)
    assert "deauthorized_drain" not in expiring.names()
    expiring.advance(1)
    assert expiring.signals("deauthorized_drain")[0].reason == "lease_expired"

    renewed = talking(lease_expires_at=at * NS_PER_MS)
    renewed.answer("Fine.")
    renewed.give(i.LeaseChanged("renewed", 7, None, LATER))
    renewed.advance(at + 1)
    assert "deauthorized_drain" not in renewed.names()


def test_a_rotated_lease_ends_what_was_begun_and_the_next_turn_runs_under_the_new_epoch() -> None:
    rig = talking()
    rig.give(i.LeaseChanged("rotated", 8, "lease-8", LATER))
    assert rig.signals("abort")[0].reason == "authority_loss"
    assert rig.events("abort")[0].scope.epoch == 7
    assert rig.events("lease_rotated")[0].scope.epoch == 8
    rig.type("again")
    assert rig.events("turn_open")[-1].scope.epoch == 8
    assert rig.invocations["llm"].epoch == 8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (i.LeaseChanged("issued", 6, "forged", LATER), "lease_stale_epoch"),
        (i.LeaseChanged("rotated", 6, "forged", LATER), "lease_stale_epoch"),
        (i.LeaseChanged("renewed", 6, None, LATER), "lease_stale_epoch"),
        (i.LeaseChanged("renewed", 8, None, LATER), "lease_invalid_input"),
        (i.LeaseChanged("renewed", 7, None, None), "lease_invalid_input"),
        (i.LeaseChanged("revoked", 6), "lease_stale_epoch"),
        (i.LeaseChanged("conquered", 9, "forged", LATER), "lease_invalid_input"),
    ],
)
def test_a_stale_forged_or_senseless_lease_change_is_refused_and_changes_nothing(
    change: i.LeaseChanged, reason: str
) -> None:
    rig = talking()
    before = (rig.kernel.authority.epoch, rig.kernel.authority.expires_at, rig.kernel.state.epoch)
    rig.give(change)
    assert [signal.reason for signal in rig.signals("stale_epoch_reject")] == [reason]
    assert (rig.kernel.authority.epoch, rig.kernel.authority.expires_at, rig.kernel.state.epoch) == before
    rig.answer("Fine.")
    rig.advance(1_000)
    assert rig.names("commit", "abort") == ["commit"]


# ---- stale in and out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [6, 8, 0, 1 << 40])
def test_everything_that_carries_another_epoch_is_refused_at_the_door_and_the_right_one_passes(
    epoch: int,
) -> None:
    """The deciding half of F-156; its counters, trace, logs and alert belong to the exporter."""
    rig = Rig()
    rig.connect()
    rig.type("stale", epoch=epoch)
    rig.control("cancel", scope="turn", epoch=epoch)
    rig.give(i.AudioReceived(Audio(FRAME, 320, 0), 0, epoch))
    rig.give(i.UnknownReceived("acme.thing", 9, epoch))
    assert len(rig.signals("stale_epoch_reject")) == decisions(rig).count("stale_epoch_reject") == 4
    assert rig.names("turn_open") == []
    assert not rig.of(fx.Feed)
    rig.type("fresh", epoch=7)
    assert rig.names("turn_open") == ["turn_open"]


def test_after_a_rotation_old_reports_old_inputs_and_old_outputs_are_all_refused() -> None:
    rig = talking()
    rig.tokens("A long answer. ")
    rig.speech(1_000)
    old = rig.invocations["llm"]
    rig.give(i.LeaseChanged("rotated", 8, "lease-8", LATER))
    rig.forget()
    rig.give(i.DeliveryReported("started", "s1/turn-1", 0, 7))
    rig.give(i.CallProduced(old.call_id, old.attempt, 1, Audio(FRAME, 320, 0)))
    rig.type("old", epoch=7)
    rig.advance(1_000)
    sides = [(signal.detail or {})["side"] for signal in rig.signals("stale_epoch_reject")]
    assert sides == ["egress", "ingress"]
    assert rig.sent_audio() == []
    assert rig.names("playback_started", "turn_open") == []
    assert "late_output_dropped" in rig.names()


def test_a_report_with_a_forged_epoch_is_refused() -> None:
    rig = talking()
    rig.answer("Fine.")
    rig.give(i.DeliveryReported("started", "s1/turn-1", 0, 99))
    assert rig.names("stale_epoch_reject", "playback_started") == ["stale_epoch_reject"]
    rig.give(i.DeliveryReported("started", "s1/turn-1", 0, 7))
    assert rig.names("playback_started") == ["playback_started"]


# ---- moving ---------------------------------------------------------------------------------------------------------


def test_a_session_that_has_moved_drains_with_both_markers_in_order_under_one_id() -> None:
    """The deciding half of F-157."""
    rig = talking()
    rig.give(i.MigrationChanged("start", 8))
    rig.tokens("Still mine. ")
    assert rig.names("migration_start", "call_started")[-1] == "call_started", "until it has moved it goes on"
    rig.give(i.MigrationChanged("handoff", 8))
    rig.give(i.MigrationChanged("finish", 8))
    rig.advance(100)
    assert rig.names(
        "migration_start", "session_handoff", "migration_finish", "deauthorized_drain", "abort"
    ) == [
        "migration_start",
        "session_handoff",
        "migration_finish",
        "deauthorized_drain",
        "abort",
    ]
    assert {event.scope.session_id for event in rig.events("migration_finish") + rig.events("abort")} == {
        "s1"
    }
    assert not rig.kernel.authority.held


def test_a_move_that_failed_has_no_finish_and_leaves_its_owner_in_place() -> None:
    rig = talking()
    rig.give(i.MigrationChanged("start", 8))
    rig.give(i.MigrationChanged("failed", 8))
    rig.give(i.MigrationChanged("finish", 8))
    rig.answer("Still here.")
    rig.advance(1_000)
    assert rig.names("migration_finish", "commit", "abort") == ["commit"]
    assert rig.kernel.authority.held


@pytest.mark.parametrize(("phase", "epoch"), [("finish", 8), ("handoff", 8), ("failed", 8), ("teleport", 8)])
def test_a_step_of_a_move_that_never_began_changes_nothing(phase: str, epoch: int) -> None:
    rig = talking()
    rig.forget()
    rig.give(i.MigrationChanged(phase, epoch))
    assert rig.effects == []
    assert rig.kernel.authority.held


def test_a_late_step_of_another_move_is_refused() -> None:
    rig = talking()
    rig.give(i.MigrationChanged("start", 9))
    rig.give(i.MigrationChanged("finish", 8))
    rig.give(i.MigrationChanged("start", 6))
    assert rig.names("stale_epoch_reject", "migration_finish") == ["stale_epoch_reject"] * 2
    assert rig.kernel.authority.held
    rig.give(i.MigrationChanged("finish", 9))
    assert rig.names("migration_finish") == ["migration_finish"]


def test_an_older_routing_view_is_refused_and_a_fresh_one_asked_for() -> None:
    rig = talking()
    rig.give(i.RoutingViewPublished(3, 7, "here"))
    rig.give(i.RoutingViewPublished(3, 7, "here"))
    assert rig.names("state_refused") == []
    rig.give(i.RoutingViewPublished(2, 7, "there"))
    rig.give(i.RoutingViewPublished(4, 6, "there"))
    assert [s.reason for s in rig.signals("state_refused")] == [
        "routing_view_older",
        "routing_view_epoch_older",
    ]
    assert len(rig.of(fx.RequestSnapshot)) == 2


# ---- failing over ---------------------------------------------------------------------------------------------------


def saved(rig: Rig) -> Durable:
    """What a store outside the process holds, as it would be read back."""
    values: dict[str, object] = {}
    revision = 0
    for effect in rig.of(fx.SaveState):
        assert effect.revision > revision, "the store can refuse a second writer"
        values[effect.key], revision = effect.value, effect.revision
    return msgspec.json.decode(msgspec.json.encode(Durable(revision=revision, values=values)), type=Durable)


def moved() -> tuple[Rig, Rig]:
    """A conversation that goes on in a second process whose clock has nothing to do with the first's."""
    first = Rig(reports_playback=False)
    first.connect()
    first.type("my name is Ada", idempotency_key="k1")
    first.answer("Hello Ada.")
    first.advance(1_000)
    first.give(i.MigrationChanged("start", 8))
    first.give(i.MigrationChanged("finish", 8))
    start = 1 << 50
    second = Rig(
        epoch=8,
        lease_token="lease-8",
        lease_expires_at=start + LATER,
        resume=saved(first),
        next_turn=2,
        anchor=ClockAnchor(monotonic=start, wall=1_700_000_100_000 * NS_PER_MS),
        snapshot=None,
    )
    return first, second


def test_the_next_owner_goes_on_with_the_conversation_and_the_old_one_refuses() -> None:
    """The deciding half of F-095 and F-157."""
    first, second = moved()
    assert second.names("state_attached") == ["state_attached"]
    assert [m.text for m in second.kernel.memory.history()] == ["my name is Ada", "Hello Ada."]
    first.forget()
    first.type("who am I")
    assert first.names("turn_open") == []


def test_a_key_that_the_last_owner_has_done_is_not_done_again_and_its_lineage_is_kept() -> None:
    """The deciding half of F-158."""
    _, second = moved()
    second.now = 1 << 50
    second.connect()
    second.type("my name is Ada", idempotency_key="k1")
    assert second.names("turn_open_proposed", "duplicate_dropped") == ["duplicate_dropped"]
    assert isinstance((second.signals("duplicate_dropped")[0].detail or {})["first"], int)
    second.type("my name is Ada", idempotency_key="k2")
    assert "turn_open_proposed" in second.names(), "a new key with the same words is a new wish"


def test_equal_keys_have_one_effect_over_retries_and_a_reconnect() -> None:
    rig = talking()
    rig.forget()
    for _ in range(3):
        rig.type("again", idempotency_key="once")
    rig.give(i.ConnectionChanged(ConnectionState.RECONNECTING))
    rig.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    rig.type("again", idempotency_key="once")
    assert len(rig.signals("turn_open_proposed")) == 1
    assert len(rig.signals("duplicate_dropped")) == 3


@pytest.mark.parametrize(
    ("durable", "reason"),
    [
        (Durable(revision=5, values={}, age_ms=5_001), "durable_state_stale"),
        (Durable(revision=-1, values={}), "durable_state_older"),
    ],
)
def test_durable_state_that_is_too_old_is_refused_and_said_so(durable: Durable, reason: str) -> None:
    rig = Rig()
    rig.connect()
    rig.give(i.DurableAttached(durable, 7))
    assert [s.reason for s in rig.signals("state_refused")] == [reason]
    assert rig.names("state_attached") == []


def test_durable_state_under_another_epoch_is_refused() -> None:
    rig = Rig()
    rig.connect()
    for epoch in (6, 8):
        rig.give(i.DurableAttached(Durable(revision=5, values={"history": [["user", "forged"]]}), epoch))
    assert [s.reason for s in rig.signals("state_refused")] == ["authority_epoch_mismatch"] * 2
    assert rig.kernel.memory.history() == ()


def test_a_store_full_of_nonsense_harms_nobody() -> None:
    nonsense = {"history": 7, "keys": {"a": "x", "b": [1], "c": ["x", "y"], "d": None, "e": [1, 2]}}
    rig = Rig(resume=Durable(revision=1, values=nonsense))
    rig.connect()
    assert rig.names("state_attached") == ["state_attached"]
    assert rig.kernel.gateway.keys.export() == {"e": (0, 2)}
