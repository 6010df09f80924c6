"""Limits and verdicts: each quota acts under each action, windows pass, nothing that is no limit is taken for one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.control.intake.quotas import (
    ALLOWED,
    AMOUNT_MAX,
    DAY_MS,
    MINUTE_MS,
    NOTHING_USED,
    UNLIMITED,
    Action,
    Limit,
    Moment,
    QuotaName,
    TenantLimits,
    Usage,
    decide,
    limits_of,
    severest,
)

# quota -> a use at which a limit of 10 is used up, and one below it
USED: dict[QuotaName, tuple[dict[str, int], dict[str, int]]] = {
    QuotaName.SESSIONS: ({"sessions": 10}, {"sessions": 9}),
    QuotaName.SESSIONS_PER_MINUTE: ({"sessions_minute": 10}, {"sessions_minute": 9}),
    QuotaName.TURNS_PER_MINUTE: ({"turns_minute": 10}, {"turns_minute": 9}),
    QuotaName.TOKENS_PER_MINUTE: ({"tokens_minute": 10}, {"tokens_minute": 9}),
    QuotaName.AUDIO_SECONDS_PER_MINUTE: ({"audio_ms_minute": 10_000}, {"audio_ms_minute": 9_999}),
    QuotaName.AUDIO_SECONDS_PER_DAY: ({"audio_ms_day": 10_000}, {"audio_ms_day": 9_999}),
    QuotaName.SPEND_MICROS_PER_DAY: ({"spend_micros_day": 10}, {"spend_micros_day": 9}),
}


def limited(quota: QuotaName, action: Action) -> TenantLimits:
    return limits_of({quota.value: {"most": 10, "action": action.value}})


@pytest.mark.parametrize("quota", QuotaName)
@pytest.mark.parametrize("action", Action)
def test_each_quota_does_its_action_when_it_is_used_up_and_nothing_before(
    quota: QuotaName, action: Action
) -> None:
    limits = limited(quota, action)
    over, under = (Usage(**fields) for fields in USED[quota])
    if quota is QuotaName.TURNS_PER_MINUTE and action is Action.DEGRADE:
        over, under = Usage(turns_minute=11), over  # of turns that are degraded, the eleventh is the first
    verdict = decide(limits, over, 90_500, Moment.SESSION)
    assert (verdict.action, verdict.quota, verdict.most) == (action, quota, 10)
    assert verdict.capacity == {"reject": "reject", "defer": "defer", "degrade": "allow"}[action]
    assert verdict.refuses == (action is not Action.DEGRADE)
    assert verdict.degraded == (action is Action.DEGRADE)
    assert decide(limits, under, 90_500, Moment.SESSION) == ALLOWED
    assert decide(limits, NOTHING_USED, 90_500, Moment.SESSION) == ALLOWED


@pytest.mark.parametrize("quota", QuotaName)
def test_a_turn_is_not_asked_for_what_was_decided_when_its_session_began(quota: QuotaName) -> None:
    over = Usage(**USED[quota][0])
    verdict = decide(limited(quota, Action.REJECT), over, 0, Moment.TURN)
    assert verdict.refuses == (quota not in (QuotaName.SESSIONS, QuotaName.SESSIONS_PER_MINUTE))


def test_a_window_says_when_it_passes_and_a_place_does_not() -> None:
    def window(quota: QuotaName, wall_ms: int) -> int | None:
        return decide(
            limited(quota, Action.REJECT), Usage(**USED[quota][0]), wall_ms, Moment.SESSION
        ).window_ms

    assert window(QuotaName.SESSIONS, 1) is None
    assert window(QuotaName.TURNS_PER_MINUTE, 7 * MINUTE_MS + 59_999) == 1
    assert window(QuotaName.TURNS_PER_MINUTE, 7 * MINUTE_MS) == MINUTE_MS
    assert window(QuotaName.SPEND_MICROS_PER_DAY, 3 * DAY_MS + 1) == DAY_MS - 1


def test_of_several_that_are_used_up_the_severest_counts() -> None:
    limits = TenantLimits(
        turns_per_minute=Limit(most=1, action=Action.DEGRADE),
        tokens_per_minute=Limit(most=1, action=Action.REJECT),
        audio_seconds_per_day=Limit(most=1, action=Action.DEFER),
    )
    usage = Usage(turns_minute=5, tokens_minute=5, audio_ms_day=5_000)
    verdict = decide(limits, usage, 0)
    assert verdict.quota is QuotaName.TOKENS_PER_MINUTE
    degraded = decide(limits, Usage(turns_minute=5), 0)
    assert severest(ALLOWED, degraded, verdict) is verdict
    assert severest(ALLOWED, degraded) is degraded
    assert severest() is ALLOWED


def test_asking_for_several_sessions_asks_for_all_or_none() -> None:
    limits = limited(QuotaName.SESSIONS, Action.REJECT)
    assert not decide(limits, Usage(sessions=7), 0, Moment.SESSION, 3).refuses
    assert decide(limits, Usage(sessions=7), 0, Moment.SESSION, 4).refuses


def test_nought_is_unlimited_and_the_largest_amounts_are_only_numbers() -> None:
    everything = Usage(**dict.fromkeys(Usage.__struct_fields__, 2**62))
    for limits in (UNLIMITED, limits_of({}), limits_of({"sessions": {"most": 0}})):
        assert decide(limits, everything, 2**62, Moment.SESSION) == ALLOWED
    largest = limits_of({"spend_micros_per_day": {"most": AMOUNT_MAX}})
    assert decide(largest, everything, 2**62).refuses
    assert not decide(largest, Usage(spend_micros_day=AMOUNT_MAX - 1), 2**62).refuses


@pytest.mark.parametrize(
    "document",
    [
        {"sessions": {"most": -1}},
        {"sessions": {"most": AMOUNT_MAX + 1}},
        {"sessions": {"most": 1.5}},
        {"sessions": {"most": "10"}},
        {"sessions": {"most": True}},
        {"sessions": {"most": 10, "action": "explode"}},
        {"sessions": {"most": 10, "acton": "defer"}},
        {"sessions": 10},
        {"session": {"most": 10}},
        [],
        None,
        b"{",
        b"\xff",
        b'{"sessions": {"most": 99999999999999999999999}}',
        b'"sessions"',
    ],
)
def test_what_are_no_limits_is_refused(document: Any) -> None:
    with pytest.raises(MisuseError) as caught:
        limits_of(document)
    assert caught.value.code == "quota_invalid"


def test_limits_are_the_same_after_they_were_written_and_read() -> None:
    limits = limits_of(
        {"sessions": {"most": 3, "action": "defer"}, "spend_micros_per_day": {"most": 5_000_000}}
    )
    assert limits_of(msgspec.json.encode(limits)) == limits
    assert limits.sessions == Limit(most=3, action=Action.DEFER)
