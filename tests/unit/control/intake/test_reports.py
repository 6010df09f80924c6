"""What processes tell each other of their use, and how it counts by another clock; windows over meters that only rise."""

from __future__ import annotations

import pytest

from rspp.control.intake.metering import TenantMeter
from rspp.control.intake.quotas import DAY_MS, MINUTE_MS, Usage
from rspp.control.intake.reports import Amounts, Heard, Part, Report, bytes_of, elsewhere, is_past, report_of
from rspp.control.intake.reports import heard as heard_of
from rspp.control.intake.windows import Windows

TEN_DAYS = 10 * DAY_MS
USED = Amounts(3, 400, 5_000, 60_000, 7)


def heard(minutes_ahead: int = 0, age_s: float = 0.0, now: int = 10**15) -> Heard:
    wall_ms = TEN_DAYS + DAY_MS // 2 + minutes_ahead * MINUTE_MS
    report = Report(minute=wall_ms // MINUTE_MS, day=wall_ms // DAY_MS, tenants={"t": USED})
    return heard_of(report, now - int(age_s * 1e9))


def counted(one: Heard, now: int = 10**15) -> Usage:
    return elsewhere({"m": one}, "t", TEN_DAYS + DAY_MS // 2, now, Part()).usage()


ALL = Usage(turns_minute=3, tokens_minute=400, audio_ms_minute=5_000, audio_ms_day=60_000, spend_micros_day=7)
DAY_ONLY = Usage(audio_ms_day=60_000, spend_micros_day=7)


@pytest.mark.parametrize(
    ("minutes_ahead", "age_s", "counts"),
    [
        (0, 0, ALL),
        (0, 59, ALL),
        (1, 0, ALL),
        (-1, 0, DAY_ONLY),
        (-5, 3, ALL),  # a clock that is behind hides nothing
        (-5, 61, DAY_ONLY),
        (300, 3, ALL),
        (300, 61, DAY_ONLY),
        (-3 * 24 * 60, 3, ALL),
        (-3 * 24 * 60, 61, Usage()),
        (400 * 24 * 60, 3, ALL),
        (400 * 24 * 60, 61, Usage()),
    ],
)
def test_a_report_counts_while_its_window_is_ours_and_a_wrong_clock_hides_nothing(
    minutes_ahead: int, age_s: float, counts: Usage
) -> None:
    assert counted(heard(minutes_ahead, age_s)) == counts


def test_the_parts_of_all_processes_add_up_for_a_tenant_and_for_all() -> None:
    one = heard()
    other = heard_of(
        Report(minute=one.report.minute, day=one.report.day, tenants={"t": USED, "u": USED}), one.at
    )
    reports = {"m1": one, "m2": other}
    wall_ms = TEN_DAYS + DAY_MS // 2
    assert elsewhere(reports, "t", wall_ms, 10**15, Part()).usage().turns_minute == 6
    assert elsewhere(reports, None, wall_ms, 10**15, Part()).usage().turns_minute == 9
    assert elsewhere(reports, "nobody", wall_ms, 10**15, Part()).usage() == Usage()


def test_a_report_is_forgotten_when_its_day_is_over() -> None:
    wall_ms = TEN_DAYS + DAY_MS // 2
    assert not is_past(heard(), wall_ms, 10**15)
    assert not is_past(heard(age_s=30 * 3600), wall_ms, 10**15)
    assert is_past(heard(age_s=30 * 3600), wall_ms + DAY_MS, 10**15)
    assert not is_past(heard(), wall_ms + DAY_MS, 10**15)


def test_a_report_is_the_same_after_it_was_written_and_read_and_is_small() -> None:
    report = Report(minute=5, day=0, tenants={"t": USED})
    assert report_of(bytes_of(report)) == report
    many = Report(minute=5, day=0, tenants={f"tenant-{number:06}": USED for number in range(1_000)})
    assert len(bytes_of(many)) < 40_000


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        b"{}",
        bytes_of(Report(minute=5, day=0, tenants={"t": Amounts(-1)})),
        bytes_of(Report(minute=5, day=0, tenants={"t": Amounts(spend_micros_day=-5)})),
        bytes_of(Report(minute=5, day=0, tenants={}))[:-1],
    ],
)
def test_what_is_no_report_or_hides_the_use_of_others_is_none(value: bytes) -> None:
    assert report_of(value) is None


def meter(turns: int) -> TenantMeter:
    tenant = TenantMeter("t")
    tenant.turns, tenant.tokens, tenant.audio_us = turns, 10 * turns, 1_000_000 * turns
    return tenant


def test_a_window_counts_what_came_since_it_began() -> None:
    windows, tenant = Windows(), meter(0)
    assert windows.amounts(tenant, TEN_DAYS) == Amounts()
    tenant.turns, tenant.tokens, tenant.audio_us = 2, 20, 2_500_000
    assert windows.amounts(tenant, TEN_DAYS + 59_999) == Amounts(2, 20, 2_500, 2_500, 0)
    assert windows.amounts(tenant, TEN_DAYS + 60_000) == Amounts(0, 0, 0, 2_500, 0)
    assert windows.amounts(tenant, TEN_DAYS + DAY_MS) == Amounts()


def test_a_clock_that_goes_back_a_little_begins_nothing_and_one_that_leaps_begins_anew() -> None:
    windows, tenant = Windows(), meter(0)
    windows.amounts(tenant, TEN_DAYS)
    tenant.turns = 5
    assert windows.amounts(tenant, TEN_DAYS - 90_000).turns_minute == 5
    assert windows.amounts(tenant, TEN_DAYS - 10 * MINUTE_MS).turns_minute == 0
    tenant.turns = 7
    assert windows.amounts(tenant, TEN_DAYS - 10 * MINUTE_MS).turns_minute == 2
    assert windows.amounts(tenant, TEN_DAYS).turns_minute == 0


def test_a_clock_that_is_put_right_within_the_day_forgets_nothing_of_the_day() -> None:
    windows, tenant = Windows(), meter(0)
    noon = TEN_DAYS + DAY_MS // 2
    windows.amounts(tenant, noon)
    tenant.turns, tenant.audio_us = 5, 5_000_000
    assert windows.amounts(tenant, noon - 10 * MINUTE_MS) == Amounts(0, 0, 0, 5_000, 0)
    assert windows.amounts(tenant, noon - DAY_MS).audio_ms_day == 0
