"""When one member of a synchronised group is lost, its group is lost, or the cut is marked."""

from __future__ import annotations

from rspp.contract.words import SyncPolicy
from rspp.kernel.sync import LOST_GROUPS_MAX, SyncGroups
from tests.unit.kernel.given import sync_drop, text


def test_without_a_policy_there_are_no_groups() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.NO_SYNC))
    assert not groups.active
    assert groups.lose(text(1, sync_id="a")) is None
    assert not groups.is_lost(text(2, sync_id="a"))
    assert groups.cut("a->b") is None


def test_an_atomic_group_is_lost_with_its_first_member() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.ATOMIC_DROP))
    assert groups.lose(text(1, sync_id="a")) == "a"
    assert groups.is_lost(text(2, sync_id="a"))
    assert not groups.is_lost(text(3, sync_id="b"))
    assert groups.cut("a->b") is None


def test_an_event_of_no_group_is_lost_alone() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.ATOMIC_DROP))
    assert groups.lose(text(1)) is None
    assert not groups.is_lost(text(2))


def test_grouped_by_event_each_event_is_its_own_group() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.ATOMIC_DROP, group_by="event_id"))
    assert groups.lose(text(1, sync_id="a")) == text(1).event_id
    assert not groups.is_lost(text(2, sync_id="a"))


def test_lost_groups_are_remembered_up_to_a_bound_and_the_oldest_goes_first() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.ATOMIC_DROP))
    for number in range(LOST_GROUPS_MAX + 1):
        groups.lose(text(number, sync_id=f"g{number}"))
    assert not groups.is_lost(text(1, sync_id="g0"))
    assert groups.is_lost(text(1, sync_id="g1"))


def test_each_cut_has_a_fresh_identifier_and_its_domain_defaults_to_the_edge() -> None:
    groups = SyncGroups(sync_drop(SyncPolicy.DROP_WITH_DISCONTINUITY))
    assert [groups.cut("a->b"), groups.cut("a->b")] == [("a->b", "a->b#1"), ("a->b", "a->b#2")]
    assert groups.lose(text(1, sync_id="a")) is None
    assert not groups.is_lost(text(2, sync_id="a"))
