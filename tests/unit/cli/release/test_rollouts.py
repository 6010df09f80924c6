"""What is to be done with a rollout follows from what it is now, and from what this release has done to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.cli.release.consent import needing, standing, undecided
from rspp.cli.release.rollouts import Seen, foreseen, leading, posture, promoting, seen_of, withdrawing
from rspp.control.config.rollout import BY_BUDGET
from rspp.control.operations.calling import digest_of
from rspp.control.operations.rollout import Promote
from tests.unit.cli.release.fixed import SETTINGS

V1 = Seen(base="v1")
OUT = Seen(base="v1", canary="v2", percent=10, ours=frozenset({"canary"}), led=True)
FIRST = Seen(base="v2", ours=frozenset({"begin"}), led=True)
DONE = Seen(base="v2", former="v1", ours=frozenset({"canary", "promote"}), led=True)
DIRECT = msgspec.structs.replace(SETTINGS, direct=True)


@pytest.mark.parametrize(
    ("now", "action", "code"),
    [
        (Seen(), "rollout.begin", ""),
        (V1, "rollout.canary", ""),
        (OUT, "", ""),
        (FIRST, "", ""),
        (Seen(base="v1", canary="v3"), "", "rollout_taken"),
        (Seen(base="v1", frozen=True, frozen_by="amy"), "", "rollout_frozen"),
        (Seen(base="v1", ours=frozenset({"canary"})), "", "canary_gone"),
    ],
)
def test_how_sessions_come_to_get_a_version(now: Seen, action: str, code: str) -> None:
    found = leading(now, SETTINGS)
    assert (found.action, found.code) == (action, code)
    assert found.action or found.why


def test_a_direct_release_is_a_canary_for_nobody() -> None:
    assert leading(V1, SETTINGS).fields["percent"] == 10
    assert (leading(V1, DIRECT).fields["percent"], leading(V1, DIRECT).fields["tenants"]) == (0, [])


@pytest.mark.parametrize(
    ("now", "action", "code"),
    [
        (OUT, "rollout.promote", ""),
        (FIRST, "", ""),
        (V1, "", "canary_gone"),
        (Seen(base="v1", canary="v3"), "", "canary_gone"),
        (msgspec.structs.replace(OUT, led=False), "", "canary_gone"),
        (Seen(base="v1", canary="v2"), "rollout.promote", ""),
        (msgspec.structs.replace(OUT, frozen=True), "", "rollout_frozen"),
    ],
)
def test_how_every_session_comes_to_get_it(now: Seen, action: str, code: str) -> None:
    assert (promoting(now, SETTINGS).action, promoting(now, SETTINGS).code) == (action, code)


@pytest.mark.parametrize(
    ("now", "action", "to"),
    [
        (OUT, "rollout.rollback", "v1"),
        (DONE, "rollout.rollback", "v1"),
        (FIRST, "rollout.freeze", None),
        (msgspec.structs.replace(FIRST, frozen=True, frozen_by="amy"), "", None),
        (msgspec.structs.replace(FIRST, frozen=True, frozen_by=BY_BUDGET), "rollout.freeze", None),
        (msgspec.structs.replace(OUT, led=False), "", None),
        (msgspec.structs.replace(DONE, led=False), "", None),
        (V1, "", None),
        (Seen(base="v1", canary="v3"), "", None),
        (Seen(base="v2"), "", None),
    ],
)
def test_the_way_back_touches_only_what_this_release_has_led_out(
    now: Seen, action: str, to: str | None
) -> None:
    found = withdrawing(now, SETTINGS)
    assert (found.action, found.fields.get("version")) == (action, to)


def test_the_way_back_is_decided_before_there_is_need_of_it() -> None:
    assert (posture(Seen(), SETTINGS).way, posture(Seen(), SETTINGS).to) == ("freeze", "")
    assert (posture(V1, SETTINGS).way, posture(V1, SETTINGS).to) == ("roll_back", "v1")
    assert posture(DONE, SETTINGS).to == "v1"


def test_a_rollout_is_read_from_what_the_control_plane_tells() -> None:
    mine = {"what": "canary", "base": "v1", "canary": "v2", "reason": SETTINGS.reason}
    changes = [mine, {**mine, "what": "freeze", "reason": f"because of {SETTINGS.reason}"}]
    detail = {
        "number": 7,
        "rollout": {"pipeline": "desk", "base": "v1", "canary": "v2", "bases": ["v0"]},
        "changes": changes,
    }
    found = seen_of(detail, SETTINGS)
    assert (found.base, found.canary, found.former, found.ours) == ("v1", "v2", "v0", frozenset({"canary"}))
    assert (found.number, found.led) == (7, True)
    assert not seen_of(None, SETTINGS).is_served


@pytest.mark.parametrize(
    ("moves", "led"),
    [
        ([("mine", "v1", "v2")], True),
        ([("mine", "v1", "v2"), ("other", "v1", "v2")], True),
        ([("other", "v1", "v2"), ("mine", "v1", "v2")], False),
        ([("mine", "v1", "v2"), ("other", "v1", None), ("other", "v1", "v2")], False),
        ([("mine", "v1", "v2"), ("other", "v1", "v3"), ("mine", "v1", "v2")], True),
        ([("mine", "v1", "v2"), ("other", "v2", None)], False),
        ([("mine", "v1", "v2"), ("mine", "v2", None)], True),
        ([("mine", "v1", "v2"), ("mine", "v1", None)], False),
    ],
)
def test_whoever_led_sessions_to_the_version_where_it_stands_now_has_led_it(
    moves: list[tuple[str, str, str | None]], led: bool
) -> None:
    reasons = {"mine": SETTINGS.reason, "other": "by hand"}
    changes = [{"what": "x", "base": b, "canary": c, "reason": reasons[who]} for who, b, c in moves]
    detail = {"number": 1, "changes": changes, "rollout": {"base": moves[-1][1], "canary": moves[-1][2]}}
    assert seen_of(detail, SETTINGS).led is led


# ---- consent -----------------------------------------------------------------------------------------------------------


def test_all_that_will_be_asked_for_is_foreseen_also_beyond_a_freeze() -> None:
    assert [one.action for one in foreseen(Seen(), SETTINGS)] == ["rollout.begin"]
    frozen = Seen(base="v1", frozen=True)
    assert [one.action for one in foreseen(frozen, SETTINGS)] == ["rollout.canary", "rollout.promote"]
    assert [one.action for one in foreseen(OUT, SETTINGS)] == ["rollout.promote"]
    assert foreseen(DONE, SETTINGS) == ()


@pytest.mark.parametrize(
    ("kinds", "wanted"),
    [
        ((), []),
        (("rollout.promote",), ["rollout.promote"]),
        (("*",), ["rollout.canary", "rollout.promote"]),
        (("policies.activate",), []),
    ],
)
def test_consent_is_needed_for_what_the_rule_names(kinds: tuple[str, ...], wanted: list[str]) -> None:
    assert [one.action for one in needing(kinds, SETTINGS, V1)] == wanted


def test_a_release_may_ask_for_consent_that_no_rule_asks_for() -> None:
    asked = msgspec.structs.replace(SETTINGS, require_approval=True)
    assert [one.action for one in needing((), asked, V1)] == ["rollout.promote"]
    assert [one.action for one in needing((), asked, Seen())] == ["rollout.begin"]


PROMOTE = promoting(OUT, SETTINGS)
DIGEST = digest_of(Promote(pipeline="desk", version="v2", reason="anything"))


def proposal(state: str, **more: Any) -> dict[str, Any]:
    usual = {"proposal": f"p-{state}", "operation": "rollout.promote", "digest": DIGEST, "expires_at_ms": 100}
    return {**usual, "state": state, "author": "amy", "reason": SETTINGS.reason, "decided_by": None, **more}


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ([], ""),
        ([proposal("open")], "open"),
        ([proposal("open"), proposal("approved")], "approved"),
        ([proposal("open", digest="0" * 64)], ""),
        ([proposal("approved", expires_at_ms=50)], ""),
        ([proposal("used")], ""),
        ([proposal("rejected")], "rejected"),
        ([proposal("rejected", reason="release of another day")], ""),
        ([proposal("rejected"), proposal("approved")], "approved"),
    ],
)
def test_of_what_was_proposed_exactly_so_the_best_news_counts(
    given: list[dict[str, Any]], state: str
) -> None:
    assert standing(PROMOTE, given, SETTINGS, now_ms=60).state == state


def test_a_proposal_is_decided_when_it_is_no_longer_open_or_its_time_is_over() -> None:
    facts = {"proposals": [{"proposal": "p-open", "state": "open"}, {"proposal": "p-x", "state": "approved"}]}
    assert undecided([proposal("open")], facts, 60) == ("p-open",)
    assert undecided([proposal("open")], facts, 100) == ()
    assert undecided([proposal("approved", proposal="p-open")], facts, 60) == ()
