from __future__ import annotations

import pytest

from rspp.control.authority import members
from rspp.control.authority.members import Fleet, Membership
from rspp.testing.clock import run_virtual
from tests.unit.control.world import World

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def played(seed: int, seconds: float = 120) -> World:
    async def main() -> World:
        world = World(seed)
        await world.run(seconds)
        return world

    return run_virtual(main())


@pytest.mark.parametrize("seed", range(6))
def test_no_session_has_two_owners_at_any_instant_whatever_the_store_and_the_clocks_do(seed: int) -> None:
    world = played(seed)

    assert world.twice == []
    assert sum(map(len, world.epochs.values())) > 20, "sessions changed hands"
    assert any(one.joined > 1 for one in world.processes), "somebody lost its membership and came back"


@pytest.mark.parametrize("seed", range(3))
def test_every_owner_has_a_higher_epoch_than_the_one_before(seed: int) -> None:
    for epochs in played(seed).epochs.values():
        assert epochs == sorted(set(epochs))


def caught() -> bool:
    return any(played(seed).twice for seed in range(12))


def test_who_does_not_wait_for_the_whole_ttl_makes_a_second_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = members.patience_ns
    monkeypatch.setattr(members, "patience_ns", lambda member: whole(member) // 3)

    assert caught()


def test_who_counts_from_when_its_renewal_was_answered_makes_a_second_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if time had begun with the answer, which may come two seconds late.
    monkeypatch.setattr(
        Membership,
        "expires_at",
        property(lambda self: self._sent_at + (self.member.ttl_ms + 2_000) * 1_000_000),
    )

    assert caught()


def test_who_takes_sessions_without_a_fence_makes_a_second_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    async def only_looks(fleet: Fleet, member_id: str) -> bool:
        seen = fleet.seen.get(member_id)
        return seen is not None and (
            seen.member.state in members.GONE or members.is_silent(seen, fleet._clock.now())
        )

    monkeypatch.setattr(Fleet, "is_gone", only_looks)

    assert caught()
