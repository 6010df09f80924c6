"""Where a session goes follows from what is known of the places, and a refusal says what speaks against each."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from rspp.control.authority.members import Member, MemberState, Seen
from rspp.control.fleet.places import Place, place_of
from rspp.control.fleet.regions import RegionMode
from rspp.control.fleet.routing import Chosen, Prefer, Refusal, RoutingPolicy, Wish, choose, why_not

NS_PER_MS = 1_000_000


def place(name: str, region: str = "a", **changes: Any) -> Place:
    return Place(**{"id": name, "endpoint": f"ws://{name}", "region": region, "capacity": 100, **changes})


def wish(session: str = "s1", tenant: str = "t1", **changes: Any) -> Wish:
    return Wish(tenant_id=tenant, session_id=session, **changes)


def went(answer: Chosen | Refusal) -> str:
    assert isinstance(answer, Chosen), answer
    return answer.place.id


def refused(answer: Chosen | Refusal) -> Refusal:
    assert isinstance(answer, Refusal), answer
    return answer


def test_of_one_unhealthy_one_full_and_one_fit_every_session_goes_to_the_fit_one() -> None:
    places = [place("ill", healthy=False), place("full", sessions=100), place("fit", sessions=99)]
    assert {went(choose(places, wish(f"s{n}"))) for n in range(500)} == {"fit"}


UNFIT = [
    (place("p", healthy=False), wish(), "unhealthy"),
    (place("p", state=MemberState.LOST), wish(), "unhealthy"),
    (place("p", state=MemberState.LEFT), wish(), "unhealthy"),
    (place("p", state=MemberState.DRAINING), wish(), "draining"),
    (place("p", ready=False), wish(), "not_ready"),
    (place("p", ready=False, reasons=("store", "model")), wish(), "not_ready:store,model"),
    (place("p", sessions=100), wish(), "full"),
    (place("p", capacity=0), wish(), "full"),
    (place("p", load=1.0), wish(), "overloaded"),
    (place("p"), wish(avoid=frozenset({"p"})), "avoided"),
    (place("p"), wish(regions_allowed=frozenset({"b"})), "region_not_allowed"),
    (place("p"), wish(regions_allowed=frozenset()), "region_not_allowed"),
    (place("p"), wish(labels={"gpu": "yes"}), "label_missing"),
    (place("p", labels={"gpu": "no"}), wish(labels={"gpu": "yes"}), "label_missing"),
    (place("p", versions={"rspp": "0.9"}), wish(versions={"rspp": ("1.0", "1.1")}), "version_unfit"),
    (place("p", labels={"transports": "loopback"}), wish(transport_kind="websocket"), "transport_missing"),
    (place("p"), wish(latencies_ms={"a": 301.0}), "too_far"),
]


@pytest.mark.parametrize(("unfit", "asked", "reason"), UNFIT, ids=[reason for _, _, reason in UNFIT])
def test_each_thing_that_speaks_against_a_place_is_named(unfit: Place, asked: Wish, reason: str) -> None:
    policy = RoutingPolicy(latency_ms_max=300)
    assert why_not(unfit, asked, policy) == reason
    fine = place("fine", "b", labels={"gpu": "yes"}, versions={"rspp": "1.0"})
    assert refused(choose([unfit], asked, policy)).unfit == {"p": reason}
    if asked.regions_allowed != frozenset():
        assert went(choose([unfit, fine], asked, policy)) == "fine"


@pytest.mark.parametrize("mode", [RegionMode.DRAIN, RegionMode.MIGRATE, RegionMode.CLOSED])
def test_a_region_that_is_not_open_takes_no_new_session(mode: RegionMode) -> None:
    places = [place("near", "a"), place("far", "b")]
    asked = wish(latencies_ms={"a": 5.0, "b": 90.0})
    assert went(choose(places, asked)) == "near"
    assert went(choose(places, asked, modes={"a": mode})) == "far"
    both = refused(choose(places, asked, modes={"a": mode, "b": mode}))
    assert (both.code, both.unfit) == ("regions_closed", {"near": f"region_{mode}", "far": f"region_{mode}"})


def test_the_region_with_the_least_latency_that_can_take_the_session_is_taken() -> None:
    places = [place("a1", "a"), place("b1", "b"), place("c1", "c")]
    asked = wish(latencies_ms={"a": 40.0, "b": 10.0})
    assert went(choose(places, asked)) == "b1"
    assert went(choose([p for p in places if p.region != "b"], asked)) == "a1"
    ill = [msgspec.structs.replace(p, healthy=False) if p.region == "b" else p for p in places]
    assert went(choose(ill, asked)) == "a1"
    assert went(choose(places, wish(region="c"))) == "c1", "without figures the nearest that was named"
    down = [msgspec.structs.replace(p, healthy=False) for p in places]
    assert refused(choose(down, asked)).message == "no worker can take the session: 3 unhealthy"


def test_active_active_regions_share_sessions_by_weight_and_one_that_is_gone_leaves_its_share() -> None:
    policy = RoutingPolicy(prefer=Prefer.SHARES, shares={"a": 3.0, "b": 1.0})
    places = [place("a1", "a"), place("b1", "b"), place("c1", "c")]
    asked = [wish(f"s{n}", latencies_ms={"b": 1.0}) for n in range(4_000)]
    first = {one.session_id: went(choose(places, one, policy)) for one in asked}
    counts = Counter(first.values())
    assert set(counts) == {"a1", "b1"}, "a region without a share gets none"
    assert 0.72 < counts["a1"] / 4_000 < 0.78
    without = {one.session_id: went(choose(places[1:], one, policy)) for one in asked}
    assert set(without.values()) == {"b1"}
    assert all(without[s] == "b1" for s, where in first.items() if where == "b1")
    assert went(choose(places[2:], asked[0], policy)) == "c1", "better anywhere than nowhere"


def test_the_same_session_goes_to_the_same_place_whatever_the_order_in_which_places_are_known() -> None:
    places = [place(f"m{n}", load=n / 20) for n in range(12)]
    for n in range(50):
        picked = went(choose(places, wish(f"s{n}")))
        assert went(choose(places[::-1], wish(f"s{n}"))) == picked


def test_sessions_spread_over_equal_places_and_the_fuller_of_two_is_spared() -> None:
    places = [place(f"m{n}") for n in range(4)]
    spread = Counter(went(choose(places, wish(f"s{n}"))) for n in range(2_000))
    assert min(spread.values()) > 400, spread
    one_full = [place("m0", sessions=90), *places[1:]]
    spared = Counter(went(choose(one_full, wish(f"s{n}"))) for n in range(2_000))
    assert "m0" not in spared, "it is the fuller one of every two"


def test_one_place_more_moves_only_what_goes_to_it() -> None:
    places = [place(f"m{n}") for n in range(4)]
    before = {n: went(choose(places, wish(f"s{n}"))) for n in range(500)}
    after = {n: went(choose([*places, place("new")], wish(f"s{n}"))) for n in range(500)}
    moved = [n for n in before if before[n] != after[n]]
    assert moved
    assert {after[n] for n in moved} == {"new"}


def test_tenants_and_sessions_whose_names_run_together_are_different_sessions() -> None:
    places = [place(f"m{n}") for n in range(64)]
    one = [went(choose(places, wish("b" + "c" * n, "a"))) for n in range(20)]
    other = [went(choose(places, wish("c" * n, "ab"))) for n in range(20)]
    assert one != other


def test_a_place_whose_beat_is_overdue_is_taken_only_when_there_is_no_other() -> None:
    places = [place("late", late=True), place("timely", sessions=99)]
    assert {went(choose(places, wish(f"s{n}"))) for n in range(50)} == {"timely"}
    assert went(choose(places[:1], wish())) == "late"


@pytest.mark.parametrize(
    ("places", "asked", "code", "again"),
    [
        ([], wish(), "route_no_workers", True),
        ([place("p", sessions=100), place("q", load=2.0)], wish(), "fleet_full", True),
        ([place("p", sessions=100), place("q", healthy=False)], wish(), "route_unfit", True),
        ([place("p")], wish(regions_allowed=frozenset({"b"})), "residency_denied", False),
        ([place("p", labels={"gpu": "no"})], wish(labels={"gpu": "yes"}), "route_unfit", False),
        (
            [place("p"), place("q", "b", sessions=100)],
            wish(regions_allowed=frozenset({"b"})),
            "fleet_full",
            True,
        ),
    ],
)
def test_a_refusal_has_a_code_and_tells_to_come_back_only_if_that_may_help(
    places: list[Place], asked: Wish, code: str, again: bool
) -> None:
    refusal = refused(choose(places, asked))
    assert (refusal.code, refusal.retry_after_ms is not None) == (code, again)
    assert set(refusal.unfit) == {one.id for one in places}


def test_what_a_caller_is_told_names_no_member() -> None:
    refusal = refused(choose([place("secret-host-7", ready=False, reasons=("disk",))], wish()))
    assert "secret-host-7" not in refusal.message
    assert "disk" not in refusal.message


def test_a_hostile_name_finds_a_place_like_any_other() -> None:
    places = [place("m0"), place("m1")]
    for name in ("", "\0", "\ud800", "a" * 100_000, "../..", "💥"):
        assert went(choose(places, wish(name, name))) in ("m0", "m1")


def test_a_members_record_becomes_a_place_and_ages_by_the_clock_that_saw_it() -> None:
    member = Member(
        id="m-1", kind="worker", ttl_ms=15_000, endpoint="ws://m", region="a", ready=True, capacity=2
    )
    seen = Seen(member, 7, 1_000 * NS_PER_MS)
    fresh, late, silent = (place_of(seen, (1_000 + ms) * NS_PER_MS) for ms in (9_999, 10_001, 15_301))
    assert (fresh.healthy, fresh.late) == (True, False)
    assert (late.healthy, late.late) == (True, True)
    assert not silent.healthy
    lost = Seen(msgspec.structs.replace(member, state=MemberState.LOST), 8, 1_000 * NS_PER_MS)
    assert not place_of(lost, 1_000 * NS_PER_MS).healthy
