"""State by how long it must live: a turn's, a hot one, a durable one."""

from __future__ import annotations

import pytest

from rspp.contract.errors import MisuseError
from rspp.kernel.snapshot import Durable
from rspp.kernel.state import KEYS_MAX, State, StateClass

TURN, HOT, DURABLE = StateClass.TURN, StateClass.HOT, StateClass.DURABLE


def full() -> State:
    state = State(7)
    state.open_turn("t1")
    state.put(TURN, "canary", 1, 7, "t1")
    state.put(HOT, "canary", 2, 7)
    state.put(DURABLE, "canary", 3, 7)
    return state


def test_each_class_keeps_its_own() -> None:
    state = full()
    assert state.get(TURN, "canary", "t1") == 1
    assert state.get(HOT, "canary") == 2
    assert state.get(DURABLE, "canary") == 3
    assert state.get(HOT, "other") is None


def test_a_turns_state_is_gone_with_it_and_unreachable_outside() -> None:
    state = full()
    state.close_turn("t1")
    state.close_turn("t1")
    for turn_id in ("t1", "t2", None):
        with pytest.raises(MisuseError, match="turn_state_unreachable"):
            state.get(TURN, "canary", turn_id)
    state.open_turn("t1")
    assert state.get(TURN, "canary", "t1") is None


@pytest.mark.parametrize("epoch", [6, 8, -1])
@pytest.mark.parametrize("kind", list(StateClass))
def test_a_write_under_another_epoch_is_refused_and_writes_nothing(kind: StateClass, epoch: int) -> None:
    state = full()
    with pytest.raises(MisuseError, match="authority_epoch_mismatch"):
        state.put(kind, "canary", 99, epoch, "t1")
    assert state.get(kind, "canary", "t1") != 99
    assert state.revision == 1


def test_durable_writes_have_rising_revisions_and_the_others_none() -> None:
    state = full()
    assert [state.put(DURABLE, "k", n, 7) for n in range(3)] == [2, 3, 4]
    assert state.put(HOT, "k", 1, 7) is None


def test_a_full_shelf_takes_no_new_key_and_still_changes_the_old_ones() -> None:
    state = State(7)
    for n in range(KEYS_MAX):
        state.put(HOT, f"k{n}", n, 7)
    with pytest.raises(MisuseError, match="state_full"):
        state.put(HOT, "one too many", 1, 7)
    state.put(HOT, "k0", "changed", 7)
    assert state.get(HOT, "k0") == "changed"


def test_a_new_epoch_does_not_trust_what_was_hot_and_keeps_what_is_durable() -> None:
    state = full()
    state.rotate(8)
    assert state.get(HOT, "canary") is None
    assert state.get(DURABLE, "canary") == 3
    with pytest.raises(MisuseError, match="authority_epoch_mismatch"):
        state.put(HOT, "k", 1, 7)


def test_another_process_takes_over_what_is_durable_and_nothing_else() -> None:
    """The deciding half of F-155: the two other classes come with the snapshot and are the host's to keep."""
    old, new = full(), State(8)
    durable = Durable(revision=old.revision, values=dict(old.durable()), age_ms=100)
    assert new.reattach(durable, 5_000) is None
    assert new.get(DURABLE, "canary") == 3
    assert new.get(HOT, "canary") is None
    with pytest.raises(MisuseError):
        new.get(TURN, "canary", "t1")
    assert new.put(DURABLE, "k", 1, 8) == 2, "revisions go on where the last owner stopped"


def test_state_that_is_staler_than_its_bound_or_older_than_ours_is_refused_and_changes_nothing() -> None:
    state = full()
    assert (
        state.reattach(Durable(revision=9, values={"canary": 0}, age_ms=5_001), 5_000)
        == "durable_state_stale"
    )
    assert state.reattach(Durable(revision=0, values={"canary": 0}), 5_000) == "durable_state_older"
    assert state.get(DURABLE, "canary") == 3
    assert state.get(HOT, "canary") == 2
    assert state.reattach(Durable(revision=9, values={"canary": 0}, age_ms=5_000), 5_000) is None
