"""INV-10's ledger: what was sent, what was heard, and which words that was."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS as MS
from rspp.kernel.playout import REPORT_AGE_MS_MAX, Playout, Speech
from rspp.spec import voice_template

SETTINGS = voice_template().policies.playout
LEAD_MS = SETTINGS.lead_ms


def ledger(*, reports: bool = False, **settings: int) -> Playout:
    return Playout("s1/turn-1", msgspec.structs.replace(SETTINGS, **settings), reports)


def send(playout: Playout, ms: int, now_ms: int = 0, call: str = "c1") -> None:
    for _ in range(ms // 20):
        playout.sent(now_ms * MS, 320, 16_000, call)


def spoken(*, reports: bool = False) -> Playout:
    """A second of speech of five words, made in full and sent in full."""
    playout = ledger(reports=reports, lead_ms=10_000)
    playout.speaking("c1", "one two three four five")
    playout.produced("c1", 16_000, 16_000)
    playout.finished("c1")
    send(playout, 1_000)
    return playout


# ---- the pace ------------------------------------------------------------------------------------------------------


def test_no_more_than_the_lead_is_ever_ahead_of_the_caller() -> None:
    playout, now = ledger(), 0
    for _ in range(200):
        while playout.may_send(now):
            playout.sent(now, 320, 16_000, "c1")
        assert playout.sent_ms - now // MS <= LEAD_MS
        now += 7 * MS


def test_it_says_when_there_is_room_again() -> None:
    playout = ledger()
    send(playout, LEAD_MS)
    assert not playout.may_send(0)
    at = playout.room_at()
    assert at is not None
    assert not playout.may_send(at - 1)
    assert playout.may_send(at)


def test_a_gap_in_the_supply_is_not_made_up_for_with_a_longer_lead() -> None:
    playout = ledger()
    send(playout, 20)
    sent = 0
    while playout.may_send(5_000 * MS):
        playout.sent(5_000 * MS, 320, 16_000, "c1")
        sent += 20
    assert sent == LEAD_MS


def test_nothing_is_sent_while_paused_and_what_was_ahead_is_ahead_still_afterwards() -> None:
    playout = ledger()
    send(playout, LEAD_MS)
    playout.pause(100 * MS)
    playout.pause(150 * MS)
    assert not playout.may_send(10_000 * MS)
    assert playout.room_at() is None
    playout.resume(600 * MS)
    assert playout.quiet_at() == (LEAD_MS + 500) * MS
    assert playout.heard_ms(600 * MS) == 100


def test_resuming_what_was_not_paused_changes_nothing() -> None:
    playout = ledger()
    send(playout, 100)
    playout.resume(50 * MS)
    assert playout.quiet_at() == 100 * MS


# ---- what was heard ------------------------------------------------------------------------------------------------


def test_without_reports_the_clock_says_what_was_heard() -> None:
    playout = spoken()
    assert [playout.heard_ms(ms * MS) for ms in (0, 300, 1_000, 9_000)] == [0, 300, 1_000, 1_000]
    assert playout.heard_ms(-50 * MS) == 0


def test_with_reports_only_the_client_says_what_was_heard() -> None:
    playout = spoken(reports=True)
    assert playout.heard_ms(1_000 * MS) == 0
    playout.reported(400 * MS, 300)
    assert playout.heard_ms(5_000 * MS) == 300


def test_a_client_cannot_have_heard_what_was_not_sent_nor_unhear() -> None:
    playout = spoken(reports=True)
    playout.reported(100 * MS, 10**9)
    assert playout.heard_ms(0) == 1_000
    playout.reported(200 * MS, 5)
    assert playout.heard_ms(0) == 1_000


def test_a_slow_reader_moves_the_horizon_so_that_the_lead_stays_a_lead() -> None:
    playout = ledger(reports=True)
    send(playout, LEAD_MS)
    playout.reported(20 * MS, 20)
    playout.reported(200 * MS, 40)
    assert playout.quiet_at() == (200 + LEAD_MS - 40) * MS
    while playout.may_send(200 * MS):
        send(playout, 20, now_ms=200)
    assert playout.sent_ms - 40 == LEAD_MS


def played(delay_ms: int, speed: float, every_ms: int, total_ms: int) -> tuple[int, int]:
    """Feed a reader whose reports come late; how often it ran dry, and the most that was ever ahead of it."""
    playout, heard, dry, ahead = ledger(reports=True), 0.0, 0, 0
    arrivals: list[int] = []  # when each 20 ms of audio reaches the reader
    reports: list[tuple[int, int]] = []
    for now in range(0, total_ms, 5):
        while playout.may_send(now * MS):
            send(playout, 20, now)
            arrivals.append(now + delay_ms // 2)
        here = 20 * sum(1 for at in arrivals[-100:] if at <= now) + 20 * len(arrivals[:-100])
        if now >= delay_ms // 2:
            dry += heard + 5 * speed > here
            heard = min(here, heard + 5 * speed)
        if now % every_ms == 0:
            reports.append((now + delay_ms // 2, int(heard)))
        while reports and reports[0][0] <= now:
            playout.reported(now * MS, reports.pop(0)[1])
        ahead = max(ahead, playout.sent_ms - int(heard))
    return dry, ahead


@pytest.mark.parametrize("delay_ms", [0, 60, 300, 600])
def test_a_long_line_is_no_slow_reader_and_never_runs_dry(delay_ms: int) -> None:
    assert played(delay_ms, 1.0, 200, 10_000)[0] == 0


def test_a_reader_at_half_speed_has_a_bounded_lead_however_old_its_reports_are() -> None:
    for delay_ms in (0, 300):
        short, long = (played(delay_ms, 0.5, 200, seconds * 1_000)[1] for seconds in (10, 40))
        assert long <= LEAD_MS + delay_ms + 200
        assert long - short <= 60


def test_a_reader_that_never_begins_is_not_sent_to_for_ever() -> None:
    assert played(0, 0.0, 200, 40_000)[1] <= LEAD_MS + REPORT_AGE_MS_MAX + 200


def test_what_a_hold_makes_reports_look_like_is_not_taken_for_a_short_line() -> None:
    """The report of a paused client is as fresh as can be; the next one is as old as the line is long again."""
    playout = ledger(reports=True, lead_ms=1_000)
    send(playout, 1_000)
    playout.reported(600 * MS, 300)
    playout.pause(600 * MS)
    playout.resume(1_000 * MS)
    playout.reported(1_010 * MS, 600)
    before = playout.quiet_at()
    playout.reported(1_300 * MS, 600)
    playout.reported(1_310 * MS, 610)
    assert playout.quiet_at() == before


def test_reports_that_are_late_now_and_then_cost_no_lead() -> None:
    """Only the report was late, not the reader: what it moved is moved back by the next one that is in time."""
    playout = ledger(reports=True)
    send(playout, 4_000)
    horizon = playout.quiet_at()
    for number in range(1, 40):
        late_ms = 15 if number % 3 == 0 else 0
        playout.reported((number * 100 + late_ms) * MS, number * 100)
    assert playout.quiet_at() - horizon <= 15 * MS


def test_the_place_of_the_next_frame_counts_what_was_sent_in_the_frames_own_rate() -> None:
    playout = ledger()
    playout.sent(0, 137, 16_000, "c1")
    assert (playout.sample_index(16_000), playout.sample_index(8_000)) == (137, 68)
    playout.sent(0, 160, 8_000, "c2")
    assert playout.sample_index(8_000) == 228


def test_a_report_while_paused_moves_no_horizon() -> None:
    playout = ledger(reports=True)
    send(playout, LEAD_MS)
    playout.pause(50 * MS)
    playout.reported(5_000 * MS, 50)
    assert playout.quiet_at() == LEAD_MS * MS


def test_audible_from_the_first_frame_until_it_was_played_stopped_or_completed() -> None:
    playout = ledger()
    assert not playout.audible(0)
    send(playout, 100)
    assert playout.audible(99 * MS)
    assert not playout.audible(100 * MS)
    playout.pause(50 * MS)
    assert playout.audible(10_000 * MS)
    playout.cancelled = True
    assert not playout.audible(50 * MS)


# ---- which words ---------------------------------------------------------------------------------------------------


def test_remembered_is_what_was_heard_cut_at_a_word() -> None:
    playout = spoken()
    assert playout.heard_text(0) == ""
    assert playout.heard_text(500 * MS) == "one two"
    assert playout.heard_text(1_000 * MS) == "one two three four five"


def test_sentences_are_told_apart_by_their_calls() -> None:
    playout = ledger(lead_ms=10_000)
    for call, words in (("c1", "It is ten."), ("c2", "Good night.")):
        playout.speaking(call, words)
        playout.produced(call, 8_000, 16_000)
        playout.finished(call)
        send(playout, 500, call=call)
    assert playout.heard_text(500 * MS) == "It is ten."
    assert playout.heard_text(1_000 * MS) == "It is ten. Good night."


def test_of_audio_that_is_not_finished_no_more_is_credited_than_a_slow_speaker_says_in_its_time() -> None:
    speech = Speech("a" * 10 + " " + "b" * 89, produced_us=100_000)
    assert speech.spoken_in(100) == ""
    assert speech.spoken_in(1_000) == ""
    assert speech.spoken_in(1_200) == "a" * 10
    speech.finished = True
    assert speech.spoken_in(100) == speech.text


def test_audio_of_no_known_text_speaks_no_words() -> None:
    playout = ledger()
    send(playout, 100, call="unheard-of")
    playout.sent(0, 320, 16_000, None)
    playout.produced("unheard-of", 320, 16_000)
    playout.finished("unheard-of")
    assert playout.heard_text(1_000 * MS) == ""


def test_a_client_that_promised_reports_and_never_sends_one_is_judged_by_the_clock() -> None:
    playout = spoken(reports=True)
    late = SETTINGS.report_ms_max * MS
    assert playout.heard_ms(late - 1) == 0
    assert playout.heard_ms(late) == 1_000
    assert playout.heard_text(late) == "one two three four five"
    playout.reported(late, 40)
    assert playout.heard_ms(late) == 40
