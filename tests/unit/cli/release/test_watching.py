"""Whether a version keeps up is decided from what was seen of it, at each look and at the end."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.cli.release.watching import (
    SESSIONS_MAX,
    Look,
    Rules,
    Verdict,
    Watch,
    Word,
    figures,
    judged,
    watched,
    word_of,
)
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.fleet.status_writer import ENDED_TTL_MS

RULES = Rules(sessions_min=20, errors_max=0.05, aborts_max=1.0)
END = 600_000


def status(name: str, reason: str = "closed", turns: int = 1, **more: Any) -> Status:
    fields = {
        "tenant": "t",
        "state": SessionWord.ENDED,
        "since_ms": 1,
        "opened_ms": 1,
        "epoch": 1,
        "owner": "w",
    }
    return Status(session=name, reason=reason, turns=turns, **{**fields, **more})


def good(count: int, first: int = 0) -> list[Status]:
    return [status(f"g{first + number}") for number in range(count)]


def bad(count: int) -> list[Status]:
    return [status(f"b{number}", "worker_lost") for number in range(count)]


def look(sessions: list[Status], at_ms: int = 1_000, **more: Any) -> Look:
    return Look(at_ms=at_ms, sessions={one.session: one for one in sessions}, **more)


def begun(**more: Any) -> Watch:
    return Watch(**{"started_ms": 0, "until_ms": END, "sessions_min": 20, **more})


def seen(*looks: Look, rules: Rules = RULES, watch: Watch | None = None) -> Watch:
    now = watch or begun()
    for one in looks:
        now = judged(watched(now, one), rules)
    return now


def test_while_time_is_left_and_nothing_is_wrong_it_goes_on() -> None:
    assert seen(look(good(100))).verdict is Verdict.ON


def test_enough_good_sessions_to_the_end_are_healthy() -> None:
    assert seen(look(good(20)), look(good(20), END)).verdict is Verdict.HEALTHY


def test_too_few_sessions_at_the_end_are_no_success() -> None:
    found = seen(look(good(19), END))
    assert (found.verdict, found.why) == (Verdict.TOO_FEW, ("19 sessions were seen, 20 are asked for",))


def test_failures_count_against_as_many_as_are_asked_for_and_end_it_at_once() -> None:
    assert seen(look([*good(1), *bad(1)])).verdict is Verdict.ON, "one of twenty is within five in a hundred"
    found = seen(look([*good(1), *bad(2)]))
    assert found.verdict is Verdict.UNHEALTHY
    assert found.why == ("2 of 20 sessions failed, at most 5.00% may",)
    assert found.bad == ("b0: worker_lost", "b1: worker_lost")
    assert seen(look([*good(98), *bad(5)])).verdict is Verdict.ON


def test_a_verdict_stays_whatever_is_seen_after_it() -> None:
    assert seen(look(bad(9)), look([*good(5_000), *bad(9)], END)).verdict is Verdict.UNHEALTHY


def test_callers_who_leave_before_a_turn_count_where_that_is_asked_for() -> None:
    left = [status(f"a{number}", turns=0) for number in range(5)]
    assert seen(look([*good(15), *left], END)).verdict is Verdict.HEALTHY
    strict = msgspec.structs.replace(RULES, aborts_max=0.25)
    assert seen(look([*good(15), *left]), rules=strict).verdict is Verdict.ON
    few = msgspec.structs.replace(RULES, aborts_max=0.1)
    assert seen(look([*good(15), *left]), rules=few).why == (
        "5 of 20 callers left before a turn, at most 10.00% may",
    )


def test_a_degraded_session_counts_as_failed_when_time_is_up_and_not_before() -> None:
    ill = [status(f"d{n}", state=SessionWord.DEGRADED, missing=("tts",)) for n in range(3)]
    assert seen(look([*good(20), *ill])).verdict is Verdict.ON
    assert seen(look([*good(20), *ill], END)).verdict is Verdict.UNHEALTHY
    well = [msgspec.structs.replace(one, state=SessionWord.RUNNING, missing=()) for one in ill]
    assert seen(look([*good(20), *ill]), look([*good(20), *well], END)).verdict is Verdict.HEALTHY


def test_a_burned_budget_and_a_provider_that_fell_ill_meanwhile_end_it() -> None:
    assert seen(look(good(50), burned="availability 0.9")).why == (
        "the error budget is burned: availability 0.9",
    )
    before = begun(unhealthy_before=("stt-a",))
    assert seen(look(good(50), unhealthy=("stt-a",)), watch=before).verdict is Verdict.ON
    found = seen(look(good(50), unhealthy=("stt-a", "llm-a")), watch=before)
    assert found.why == ("the provider llm-a has become unhealthy",)


def test_a_version_that_somebody_withdrew_is_gone_and_not_ill() -> None:
    assert seen(look(bad(9), there=False)).verdict is Verdict.GONE


def test_what_has_ended_and_is_no_longer_told_stays_counted() -> None:
    found = seen(look(good(20)), look([], END))
    assert (found.verdict, figures(found)["good"]) == (Verdict.HEALTHY, 20)


def test_time_that_nobody_watched_is_added_as_far_as_no_ends_are_left_of_it() -> None:
    away_ms = 2 * ENDED_TTL_MS
    found = seen(look(good(20)), look(good(20), 1_000 + away_ms))
    assert found.until_ms == END + away_ms - ENDED_TTL_MS
    assert seen(look(good(20)), look(good(20), 1_000 + ENDED_TTL_MS)).until_ms == END


def test_a_clock_that_goes_back_ends_nothing_early() -> None:
    back = seen(look(good(20), 5_000), look(good(20), -86_400_000))
    assert back.until_ms - back.looked_ms == END - 5_000, "and it takes no day longer, either"
    assert back.looked_ms - back.started_ms == 5_000


def test_of_too_many_sessions_the_first_ones_count_and_are_followed() -> None:
    many = begun(sessions={f"x{number}": Word.OPEN for number in range(SESSIONS_MAX)})
    found = watched(many, look([status("x7"), *good(3)]))
    assert len(found.sessions) == SESSIONS_MAX
    assert found.sessions["x7"] is Word.GOOD


@pytest.mark.parametrize(
    ("one", "word"),
    [
        (status("s"), Word.GOOD),
        (status("s", turns=0), Word.ABORTED),
        (status("s", "forced"), Word.BAD),
        (status("s", missing=("tts",)), Word.BAD),
        (status("s", state=SessionWord.CONNECTED, turns=0), Word.OPEN),
        (status("s", state=SessionWord.RUNNING), Word.RUNNING),
        (status("s", state=SessionWord.DEGRADED), Word.DEGRADED),
    ],
)
def test_a_sessions_word_follows_from_its_status(one: Status, word: Word) -> None:
    assert word_of(one) is word


def test_an_observation_is_the_same_after_it_was_on_the_disk() -> None:
    found = seen(look([*good(3), *bad(1)]))
    assert msgspec.json.decode(msgspec.json.encode(found), type=Watch) == found
