"""One epoch may write, and only the one that was issued."""

from __future__ import annotations

import pytest

from rspp.kernel.authority import Authority, Mismatch, Standing


def held() -> Authority:
    return Authority(7, "lease-7", 1_000)


def test_only_the_issued_epoch_passes_and_a_mismatch_says_on_which_side_it_is() -> None:
    authority = held()
    assert authority.check(7) is None
    assert authority.check(None) is None, "what came without an epoch was enriched at the door"
    assert authority.check(6) == Mismatch(6, 7, "stale")
    assert authority.check(8) == Mismatch(8, 7, "unissued")
    assert authority.check(-1) == Mismatch(-1, 7, "stale")


def test_a_forged_higher_epoch_never_advances_what_is_known() -> None:
    authority = held()
    for carried in (8, 9, 1 << 62):
        authority.check(carried)
    assert (authority.epoch, authority.highest_seen) == (7, 7)
    assert authority.check(7) is None


def test_a_rotation_makes_the_old_epoch_stale_and_it_never_comes_back() -> None:
    authority = held()
    assert authority.issue(8, "lease-8", 2_000)
    assert (authority.epoch, authority.token, authority.expires_at) == (8, "lease-8", 2_000)
    assert authority.check(7) == Mismatch(7, 8, "stale")
    assert not authority.issue(7, "lease-7", 9_000)
    assert (authority.epoch, authority.token, authority.expires_at) == (8, "lease-8", 2_000)


def test_the_same_lease_may_be_issued_again_while_it_is_held_and_not_after_it_was_lost() -> None:
    authority = held()
    assert authority.issue(7, None, None)
    assert (authority.token, authority.expires_at) == ("lease-7", 1_000)
    authority.revoke(7)
    assert not authority.issue(7, None, 9_000)
    assert not authority.held
    assert authority.issue(8, "lease-8", 9_000)
    assert authority.held


def test_a_renewal_moves_the_expiry_forward_only() -> None:
    authority = held()
    assert authority.renew(7, 5_000)
    assert authority.renew(7, 2_000)
    assert authority.expires_at == 5_000


@pytest.mark.parametrize(("epoch", "expires_at"), [(6, 9_000), (8, 9_000), (7, None)])
def test_a_renewal_of_another_epoch_or_without_an_expiry_changes_nothing(
    epoch: int, expires_at: int | None
) -> None:
    authority = held()
    assert not authority.renew(epoch, expires_at)
    assert (authority.epoch, authority.expires_at) == (7, 1_000)


def test_what_was_revoked_cannot_be_renewed() -> None:
    authority = held()
    assert authority.revoke(7)
    assert not authority.renew(7, 9_000)
    assert authority.standing is Standing.REVOKED


def test_the_revocation_of_an_older_epoch_says_nothing_about_this_one() -> None:
    authority = held()
    assert not authority.revoke(6)
    assert authority.held


def test_a_lease_expires_at_its_instant_once_and_a_late_renewal_revives_it() -> None:
    authority = held()
    assert not authority.expire(999)
    assert authority.expire(1_000)
    assert not authority.expire(1_001), "it has said so already"
    assert authority.standing is Standing.EXPIRED
    assert authority.renew(7, 5_000)
    assert authority.held


def test_a_revoked_lease_does_not_expire_as_well() -> None:
    authority = held()
    authority.revoke(7)
    assert not authority.expire(2_000)
    assert authority.standing is Standing.REVOKED


def test_a_routing_view_may_repeat_but_not_go_back() -> None:
    authority = held()
    assert authority.route(3, 7) is None
    assert authority.route(3, 7) is None
    assert authority.route(2, 7) == "routing_view_older"
    assert authority.route(4, 6) == "routing_view_epoch_older"
    assert authority.route_version == 3
