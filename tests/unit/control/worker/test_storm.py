from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rspp.control.authority.members import Fleet, Membership
from rspp.control.worker import Worker
from rspp.control.worker.letting_go import LettingGo
from rspp.control.worker.owned import OwnedLine
from rspp.control.worker.sweeper import Sweeper
from rspp.host.ports import Refused
from rspp.testing.clock import run_virtual
from tests.unit.control.worker.storm import Storm

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def played(seed: int, seconds: float = 40) -> Storm:
    async def main() -> Storm:
        storm = Storm(seed)
        await storm.blow(seconds)
        return storm

    return run_virtual(main())


def is_calm(storm: Storm) -> None:
    assert storm.wrong == []
    assert storm.judges.violations() == []


def test_in_any_weather_a_session_has_one_voice_is_not_lost_and_leaves_nothing() -> None:
    storm = played(2)

    is_calm(storm)
    assert storm.lost, "a process was killed"
    assert sum(one.number for one in storm.callers) > 3, "callers hung up and came as somebody new"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_so_it_is_in_every_weather(seed: int) -> None:
    is_calm(played(seed))


# ---- it is seen when something is wrong ------------------------------------------------------------------------------


def without_waiting(patch: pytest.MonkeyPatch) -> None:
    """Takes sessions of whoever was not heard of just now."""

    async def is_gone(fleet: Fleet, member_id: str) -> bool:
        return fleet.wait_ms(member_id) < 2_000

    patch.setattr(Fleet, "is_gone", is_gone)


def with_what_it_had_to_say(patch: pytest.MonkeyPatch) -> None:
    """Tells what waited for the store, after the session is another's."""

    def close(line: OwnedLine, reason: str) -> None:
        line._line.close(line._word(reason))

    patch.setattr(OwnedLine, "close", close)
    patch.setattr(OwnedLine, "cut", lambda _: None)


def with_its_membership_alone(patch: pytest.MonkeyPatch) -> None:
    """Goes on with what it had when it is a member again."""
    patch.setattr(Worker, "_lost", lambda worker, _: worker.tasks.spawn(worker._rejoin(), "rejoin"))
    patch.setattr(Membership, "expires_at", property(lambda one: one._sent_at + 20_000_000_000))


def with_ends_for_who_lives(patch: pytest.MonkeyPatch) -> None:
    """Ends sessions of whoever it has not heard of."""
    patch.setattr(Sweeper, "_has_owner", lambda sweeper, held: held.lease.owner == sweeper._worker.id)
    patch.setattr(Fleet, "is_gone", _yes)


def without_forgetting(patch: pytest.MonkeyPatch) -> None:
    """Ends a lease whose answer was lost, and leaves its state."""

    async def let_go(letting: LettingGo, owned: Any, reason: str | None) -> None:
        del letting._worker.owned[owned.where]

    patch.setattr(LettingGo, "let_go", let_go)


async def _yes(*_: object) -> bool:
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant",
    [
        without_waiting,
        with_what_it_had_to_say,
        with_its_membership_alone,
        with_ends_for_who_lives,
        without_forgetting,
    ],
)
def test_what_is_wrong_in_a_worker_is_seen(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    def seen(seed: int) -> bool:
        try:
            return played(seed).wrong != []
        except (AssertionError, KeyError, Refused):
            return True

    assert any(map(seen, range(4)))
