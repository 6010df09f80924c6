"""Health is a pure function of rows: whatever their order, worse never makes it better, and nobody learns of others by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.surface import LEVELS, Coverage, Level, Row, Surface, Truth
from rspp.ops.health import (
    REASONS_MAX,
    UNEXPLAINED,
    Health,
    health_of,
    is_worse,
    visible_to,
    worst,
)
from rspp.ops.surfaces import Surfaces

COUNTS = ("leases", "sessions", "workers")
SILENT = "audit_log"  # does not count
TENANTS = ("acme", "bolt")


def surface(name: str) -> Surface:
    return Surface(
        name=name,
        owner="tests",
        summary="Made for a test.",
        aggregate_type="thing",
        storage="memory",
        truth=Truth.CANONICAL,
        read="nothing",
        affects_health=name in COUNTS,
        coverage=Coverage.NONE,
    )


SURFACES = Surfaces(map(surface, (*COUNTS, SILENT)))


def of(rows: Mapping[str, Sequence[Row]], **more: Any) -> Health:
    return health_of(rows, SURFACES, **{"as_of_ms": 1_000, "sequence": 7, "stale": False, **more})


def row(aggregate_id: str = "a", level: Level = Level.FAILED, **more: Any) -> Row:
    said = {"state": "broken", "reason": "worker_lost", "message": "It is gone."}
    return Row(aggregate_id=aggregate_id, level=level, **{**said, **more})


rows_ = st.builds(
    Row,
    aggregate_id=st.sampled_from("abcdef"),
    state=st.sampled_from(["up", "down"]),
    tenant_id=st.sampled_from([None, *TENANTS]),
    level=st.sampled_from(LEVELS),
    reason=st.sampled_from(["", "worker_lost", "circuit_open"]),
    message=st.sampled_from(["", "It is gone.", "Called no more."]),
    since_ms=st.integers(0, 3),
    facts=st.dictionaries(st.sampled_from(["provider", "worker"]), st.sampled_from(["x", "y"]), max_size=2),
    over=st.booleans(),
    until_ms=st.sampled_from([0, 0, 999, 1_000, 1_001]),
)
states = st.fixed_dictionaries({name: st.lists(rows_, max_size=5) for name in (*COUNTS, SILENT)})


@settings(max_examples=25, deadline=None)
@given(states, st.randoms(use_true_random=False))
def test_the_order_in_which_rows_come_changes_nothing(rows: dict[str, list[Row]], random: Any) -> None:
    before = of(rows)
    shuffled = {
        name: random.sample(some, len(some)) for name, some in random.sample(list(rows.items()), len(rows))
    }
    assert of(shuffled) == before
    assert of({name: tuple(some) for name, some in rows.items()}) == before, "nor does asking again"


@settings(max_examples=25, deadline=None)
@given(states, rows_, st.sampled_from([*COUNTS, SILENT]))
def test_a_row_more_or_a_worse_one_never_makes_it_better(
    rows: dict[str, list[Row]], more: Row, where: str
) -> None:
    before = of(rows)
    with_more = {**rows, where: [*rows[where], more]}
    after = of(with_more)
    assert not is_worse(before.level, after.level)
    for level in LEVELS:
        if is_worse(level, more.level):
            worse = {**rows, where: [*rows[where], msgspec.structs.replace(more, level=level)]}
            assert not is_worse(after.level, of(worse).level)


@settings(max_examples=25, deadline=None)
@given(states)
def test_the_whole_is_as_its_worst_surface_and_that_as_its_worst_row(rows: dict[str, list[Row]]) -> None:
    """Said once more in other words: a reference of a few lines, computed from scratch."""
    health = of(rows)
    live = {
        name: [one for one in rows[name] if not one.over and not 0 < one.until_ms <= 1_000] for name in COUNTS
    }
    levels = {name: worst(one.level for one in some) for name, some in live.items()}
    assert {one.surface: one.level for one in health.surfaces} == levels
    assert {one.surface: one.rows for one in health.surfaces} == {
        name: len(some) for name, some in live.items()
    }
    assert health.level is worst(levels.values())
    ill = sorted((name, one.aggregate_id) for name, some in live.items() for one in some if one.level != "ok")
    assert sorted((one.surface, one.aggregate_id) for one in health.reasons) == ill
    assert (health.as_of_ms, health.sequence, health.stale, health.more) == (1_000, 7, False, 0)


@settings(max_examples=25, deadline=None)
@given(states)
def test_reasons_and_surfaces_stand_worst_first_and_then_by_name(rows: dict[str, list[Row]]) -> None:
    health = of(rows)
    for listed in (health.reasons, *(one.reasons for one in health.surfaces)):
        places = [(-LEVELS.index(one.level), one.surface, one.aggregate_id) for one in listed]
        assert places == sorted(places)
    surfaces = [(-LEVELS.index(one.level), one.surface) for one in health.surfaces]
    assert surfaces == sorted(surfaces)


@settings(max_examples=25, deadline=None)
@given(states, st.sampled_from([(), ("acme",), ("bolt",), TENANTS]))
def test_a_tenants_health_is_the_one_of_its_rows_alone(
    rows: dict[str, list[Row]], tenants: tuple[str, ...]
) -> None:
    """It is byte for byte what it would be if there were no other tenant and no fleet."""
    alone = {name: [one for one in some if one.tenant_id in tenants] for name, some in rows.items()}
    assert visible_to(of(rows), tenants) == visible_to(of(alone), tenants)
    assert msgspec.json.encode(visible_to(of(rows), tenants)) == msgspec.json.encode(
        visible_to(of(alone), None)
    )


@settings(max_examples=25, deadline=None)
@given(states)
def test_who_may_see_everything_sees_everything(rows: dict[str, list[Row]]) -> None:
    health, seen = of(rows), visible_to(of(rows), None)
    assert (seen.level, seen.reasons, seen.more) == (health.level, health.reasons, health.more)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2 * REASONS_MAX), st.integers(0, 2 * REASONS_MAX))
def test_one_tenants_trouble_hides_no_others(mine: int, theirs: int) -> None:
    rows = {
        "sessions": [
            *(row(f"s{number}", tenant_id="acme") for number in range(mine)),
            *(row(f"t{number}", Level.NOTICE, tenant_id="bolt") for number in range(theirs)),
        ]
    }
    health = of(rows)
    for tenant, count in (("acme", mine), ("bolt", theirs)):
        seen = visible_to(health, (tenant,))
        assert len(seen.reasons) == min(count, REASONS_MAX)
        assert seen.more == count - len(seen.reasons)
        assert {one.tenant_id for one in seen.reasons} <= {tenant}
    everything = visible_to(health, None)
    assert len(everything.reasons) == min(min(mine, REASONS_MAX) + min(theirs, REASONS_MAX), REASONS_MAX)
    assert len(everything.reasons) + everything.more == mine + theirs, "what is not listed is counted"
    assert everything.level is health.level


def test_what_is_over_and_what_does_not_count_is_no_reason() -> None:
    rows = {"workers": [row(over=True), row("b", until_ms=1_000)], SILENT: [row()], "nobody's": [row()]}
    health = of(rows)
    assert (health.level, health.reasons) == (Level.OK, ())
    assert {one.surface for one in health.surfaces} == set(COUNTS)
    assert of({"workers": [row(until_ms=1_001)]}).level is Level.FAILED


def test_a_reason_has_what_an_action_on_it_needs() -> None:
    one = row("w-1", tenant_id="acme", facts={"worker": "w-1"}, since_ms=5)
    (reason,) = of({"workers": [one]}).reasons
    assert (reason.surface, reason.aggregate_id, reason.tenant_id, reason.code) == (
        "workers",
        "w-1",
        "acme",
        "worker_lost",
    )
    assert (reason.state, reason.message, reason.since_ms, reason.facts) == (
        "broken",
        "It is gone.",
        5,
        {"worker": "w-1"},
    )


def test_a_row_that_is_ill_and_does_not_say_why_is_told_as_such() -> None:
    (reason,) = of({"workers": [row(reason="")]}).reasons
    assert reason.code == UNEXPLAINED


@pytest.mark.parametrize("stale", [True, False])
def test_nothing_at_all_is_well_and_says_whether_it_is_of_now(stale: bool) -> None:
    health = of({}, stale=stale)
    assert (health.level, health.stale, health.reasons) == (Level.OK, stale, ())
