"""A region is left when it has been in trouble for long enough and there is somewhere to go, and not before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rspp.control.authority.members import MemberState
from rspp.control.fleet.failover import (
    Change,
    Evidence,
    FailoverPolicy,
    Since,
    decide,
    evidence_of,
    triggers_of,
    trouble_of,
)
from rspp.control.fleet.places import Place
from rspp.control.fleet.provider_health import FleetHealth, ProviderState
from rspp.control.fleet.regions import Region, RegionMode

S = 1_000_000_000
POLICY = FailoverPolicy(hold_ms=10_000, recover_ms=60_000)


def ev(region: str, *, well: int = 4, workers: int = 4, **more: Any) -> Evidence:
    return Evidence(**{"region": region, "workers": workers, "well": well, "capacity": 400, **more})


def health(*ill: str, well: tuple[str, ...] = ()) -> dict[str, FleetHealth]:
    return {
        **{name: FleetHealth(provider=name, state=ProviderState.UNHEALTHY) for name in ill},
        **{name: FleetHealth(provider=name, state=ProviderState.HEALTHY) for name in well},
    }


class Film:
    """Looks at the regions once a second, and turns what is to be turned."""

    def __init__(self, policy: FailoverPolicy = POLICY, **regions: Region) -> None:
        self.policy = policy
        self.regions: dict[str, Region] = dict(regions)
        self.memory: Mapping[str, Since] = {}
        self.now = 100 * S
        self.changes: list[tuple[int, Change]] = []
        self.stuck: tuple[str, ...] = ()

    def look(self, seconds: int, *evidence: Evidence) -> list[tuple[int, str, RegionMode]]:
        """How it goes while it is like this; what was turned, and after how many seconds."""
        before = len(self.changes)
        for second in range(seconds + 1):
            found = decide(
                {one.region: one for one in evidence}, self.regions, self.memory, self.policy, self.now, 7
            )
            self.memory, self.stuck = found.memory, found.stuck
            for change in found.changes:
                self.regions[change.region.name] = change.region
                self.changes.append((second, change))
            self.now += S
        return [(at, change.region.name, change.region.mode) for at, change in self.changes[before:]]


@pytest.mark.parametrize("mode", ["drain", "migrate"])
def test_a_region_that_stays_in_trouble_is_left_after_the_hold_time_in_the_way_that_is_set(mode: Any) -> None:
    film = Film(FailoverPolicy(mode=mode, hold_ms=10_000))
    assert film.look(30, ev("a", well=2), ev("b")) == [(10, "a", RegionMode(mode))]
    turned = film.regions["a"]
    assert turned.automatic
    assert turned.author == "failover"
    assert "2 of 4 workers are well" in turned.reason
    assert turned.facts["trouble"] == "0.50"
    assert "workers" in turned.facts


def test_a_fault_below_the_threshold_changes_nothing_however_long_it_lasts() -> None:
    film = Film()
    assert film.look(600, ev("a", well=3, providers=health("p", well=("q", "r", "s", "t"))), ev("b")) == []
    assert film.stuck == ()


def test_a_short_fault_changes_nothing_and_the_hold_time_begins_anew() -> None:
    film = Film()
    for _ in range(5):
        assert film.look(8, ev("a", well=0), ev("b")) == []
        assert film.look(0, ev("a"), ev("b")) == []


def test_small_faults_of_several_kinds_weigh_together() -> None:
    mixed = ev("a", well=3, providers=health("p", well=("q", "r")))
    assert trouble_of(triggers_of(mixed, POLICY)) == pytest.approx(0.25 + 1 / 3)
    assert Film().look(20, mixed, ev("b")) == [(10, "a", RegionMode.DRAIN)]
    only_workers = FailoverPolicy(hold_ms=10_000, providers_weight=0.0)
    assert Film(only_workers).look(60, mixed, ev("b")) == []


def test_between_the_marks_a_region_that_was_left_stays_left_and_one_in_use_stays_in_use() -> None:
    film = Film()
    film.look(10, ev("a", well=1), ev("b"))
    assert film.look(600, ev("a", well=3), ev("b")) == [], "0.25 is below 0.5 and above 0.2"
    assert film.look(100, ev("a"), ev("b")) == [(60, "a", RegionMode.OPEN)]
    assert not film.regions["a"].automatic


def test_a_region_that_flaps_is_turned_once() -> None:
    film = Film()
    for _ in range(20):
        film.look(12, ev("a", well=0), ev("b"))
        film.look(12, ev("a"), ev("b"))
    assert [change.region.mode for _, change in film.changes] == [RegionMode.DRAIN]


def test_an_incident_that_somebody_has_reported_is_reason_enough() -> None:
    film = Film()
    assert film.look(11, ev("a", incident="power"), ev("b")) == [(10, "a", RegionMode.DRAIN)]
    assert film.regions["a"].facts["incident"] == "1.00 x 1: power"


def test_where_no_other_region_is_well_the_trouble_is_told_and_nothing_is_turned() -> None:
    film = Film()
    assert film.look(60, ev("a", well=0), ev("b", well=1)) == []
    assert film.stuck == ("a", "b")
    alone = Film()
    assert alone.look(60, ev("a", well=0)) == []
    assert alone.stuck == ("a",)
    closed = Film(b=Region(name="b", mode=RegionMode.CLOSED, author="ann", reason="sold"))
    assert closed.look(60, ev("a", well=0), ev("b")) == []
    empty = Film()
    assert empty.look(60, ev("a", well=0), ev("b", workers=0, well=0, capacity=0)) == []
    stopping = Film()
    assert stopping.look(60, ev("a", well=0), ev("b", capacity=0)) == [], "well, and takes nobody"
    assert stopping.stuck == ("a",)


def test_of_two_regions_that_fail_together_both_are_left_only_while_a_third_is_well() -> None:
    film = Film()
    assert film.look(20, ev("a", well=0), ev("b", well=0), ev("c")) == [
        (10, "a", RegionMode.DRAIN),
        (10, "b", RegionMode.DRAIN),
    ]
    assert film.look(20, ev("a", well=0), ev("b", well=0), ev("c", well=0)) == []


def test_what_an_operator_has_turned_or_pinned_is_left_as_it_is() -> None:
    pinned = Film(a=Region(name="a", pinned=True, author="ann", reason="test"))
    assert pinned.look(60, ev("a", well=0), ev("b")) == []
    by_hand = Film(a=Region(name="a", mode=RegionMode.DRAIN, author="ann", reason="works"))
    assert by_hand.look(600, ev("a"), ev("b")) == []


def test_a_region_whose_room_runs_out_is_in_trouble_by_how_little_is_left() -> None:
    def room(sessions: int) -> float:
        return trouble_of(triggers_of(ev("a", sessions=sessions), POLICY))

    assert room(380) == pytest.approx(0.0)
    assert room(390) == pytest.approx(0.5)
    assert room(400) == pytest.approx(1.0)
    assert trouble_of(triggers_of(ev("a", well=0, capacity=0), POLICY)) == 1.0, "counted once, as workers"


def test_with_groups_a_provider_that_another_stands_in_for_is_no_trouble() -> None:
    policy = FailoverPolicy(provider_groups={"llm": ("p", "q"), "stt": ("r",)})
    assert triggers_of(ev("a", providers=health("p", well=("q", "r"))), policy) == ()
    (trigger,) = triggers_of(ev("a", providers=health("p", "q", well=("r",))), policy)
    assert (trigger.factor, trigger.severity, trigger.told) == ("providers", 1.0, "no provider left for llm")


def test_evidence_counts_places_of_the_region_and_nobody_elses() -> None:
    def place(name: str, region: str = "a", **changes: Any) -> Place:
        return Place(**{"id": name, "region": region, "capacity": 10, "sessions": 4, **changes})

    found = evidence_of(
        "a",
        [
            place("up"),
            place("draining", state=MemberState.DRAINING, ready=False),
            place("ill", healthy=False),
            place("unready", ready=False),
            place("over", sessions=15),
            place("other", "b"),
        ],
        {},
    )
    assert (found.workers, found.well, found.capacity, found.sessions) == (5, 3, 20, 14)
