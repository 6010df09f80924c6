from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rspp.client.playout import Playout

MS = 1_000_000


def pcm(ms: int, value: int = 1) -> bytes:
    return value.to_bytes(2, "little") * (16 * ms)


def playing(*, lead_ms: int = 100, **settings: int) -> Playout:
    ear = Playout(16_000, **settings)
    ear.start(0, "t1")
    ear.frame(0, 0, pcm(lead_ms))
    return ear


def told(ear: Playout) -> list[tuple[str, int]]:
    return [(report.what, report.heard_ms) for report in ear.reports()]


def test_sound_is_heard_at_the_pace_of_the_clock() -> None:
    ear = playing()
    assert ear.advance(30 * MS) == pcm(30)
    assert (ear.heard_ms, ear.buffered_ms) == (30, 70)
    assert ear.advance(30 * MS) == b""


def test_reports_say_accepted_started_positions_and_completed() -> None:
    ear = playing(lead_ms=500)
    assert told(ear) == [("accepted", 0), ("started", 0)]
    ear.frame(100 * MS, 8_000, b"", end=True)
    for at in range(120, 700, 20):
        ear.advance(at * MS)
    assert told(ear) == [("position", 200), ("position", 400), ("completed", 500)]
    assert not ear.active


def test_a_pause_stands_still_and_a_resume_goes_on_where_it_stood() -> None:
    ear = playing()
    ear.pause(40 * MS, "t1")
    assert ear.advance(900 * MS) == b""
    assert ear.heard_ms == 40
    ear.resume(900 * MS, "t1")
    assert ear.advance(920 * MS) == pcm(20)
    assert ear.stats.underruns == 0


def test_a_stop_throws_away_all_but_what_is_to_be_kept() -> None:
    ear = playing()
    ear.stop(30 * MS, "t1", keep_ms=20)
    assert ear.buffered_ms == 20
    ear.frame(35 * MS, 1_600, pcm(50))
    ear.advance(200 * MS)
    assert ear.heard_ms == 50
    assert not ear.active
    assert told(ear)[-1] == ("position", 50)
    assert "completed" not in [what for what, _ in told(ear)]


def test_a_stop_while_paused_lets_the_rest_play_out() -> None:
    ear = playing()
    ear.pause(30 * MS, "t1")
    ear.stop(500 * MS, "t1", keep_ms=10)
    ear.advance(600 * MS)
    assert (ear.heard_ms, ear.active) == (40, False)


def test_commands_for_another_turn_change_nothing() -> None:
    ear = playing()
    ear.pause(10 * MS, "other")
    ear.stop(10 * MS, "other")
    ear.advance(50 * MS)
    assert ear.heard_ms == 50


def test_a_late_frame_is_an_underrun_and_not_something_heard() -> None:
    ear = playing(lead_ms=20)
    ear.advance(50 * MS)
    assert ear.heard_ms == 20
    ear.frame(70 * MS, 320, pcm(20))
    assert ear.advance(80 * MS) == pcm(10)
    assert (ear.stats.underruns, ear.stats.late_ns_max) == (1, 50 * MS)
    assert ear.heard_ms == 30


def test_a_gap_is_played_as_silence_and_counted() -> None:
    ear = playing(lead_ms=20)
    ear.frame(0, 640, pcm(20))
    assert ear.advance(60 * MS) == pcm(20) + pcm(20, 0) + pcm(20)
    assert ear.stats.gap_samples == 320


def test_what_comes_twice_or_after_its_moment_is_not_played_again() -> None:
    ear = playing(lead_ms=40)
    ear.frame(10 * MS, 320, pcm(40, 2))
    assert ear.advance(100 * MS) == pcm(30) + pcm(20, 2)
    assert ear.stats.late_samples == 320


def test_a_prebuffer_waits_for_enough_or_for_the_end() -> None:
    ear = playing(lead_ms=20, prebuffer_ms=60)
    assert ear.advance(100 * MS) == b""
    ear.frame(100 * MS, 320, pcm(10), end=True)
    assert ear.advance(200 * MS) == pcm(30)


def test_a_turn_that_was_joined_late_begins_where_its_first_frame_stands() -> None:
    ear = Playout(16_000)
    ear.start(0, "t1")
    ear.frame(0, 16_000, pcm(20))
    ear.advance(20 * MS)
    assert ear.heard_ms == 1_020


def test_no_server_fills_the_memory() -> None:
    ear = playing()
    ear.frame(0, 1 << 50, pcm(20))
    assert ear.buffered_ms == 100
    assert ear.stats.refused_samples == 320


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["frame", "pause", "resume", "stop", "tick"]),
            st.integers(0, 20),
        ),
        max_size=60,
    )
)
def test_whatever_happens_what_is_heard_rises_and_never_passes_what_was_sent(
    steps: list[tuple[int, str, int]],
) -> None:
    ear, now, place, played, heard = Playout(16_000), 0, 0, b"", 0
    ear.start(0, "t1")
    for wait, what, extra in steps:
        now += wait * MS
        if what == "frame":
            place += 16 * extra  # a gap, now and then
            played += ear.frame(now, place, pcm(20))
            place += 320
        elif what == "tick":
            played += ear.advance(now)
        elif what == "stop":
            played += ear.stop(now, "t1", extra)
        else:
            played += getattr(ear, what)(now, "t1")
        assert heard <= ear.heard_ms <= place * 1000 // 16_000
        heard = ear.heard_ms
        assert len(played) // 32 <= now // MS + 1
    reports = [report.heard_ms for report in ear.reports() if report.what == "position"]
    assert reports == sorted(reports)


def test_a_turn_whose_end_is_all_that_is_left_of_it_has_been_played() -> None:
    """So it is for a line that came back when everything but the end had gone over the old one."""
    ear = Playout(16_000)
    ear.start(0, "t1")
    ear.frame(0, 3_200, b"", end=True)
    ear.advance(20 * MS)
    assert told(ear) == [("accepted", 0), ("completed", 200)]
    assert not ear.active


def test_a_stop_before_anything_was_played_is_the_end_of_it() -> None:
    ear = playing(prebuffer_ms=200)
    ear.stop(30 * MS, "t1", keep_ms=20)
    ear.advance(60 * MS)
    assert ear.heard_ms == 0
    assert not ear.active


def test_a_turn_that_is_announced_again_plays_whatever_was_said_of_it_on_the_line_before() -> None:
    """The command to go on may have been lost with that line; frames come only of a turn that plays."""
    ear = playing()
    ear.pause(40 * MS, "t1")
    ear.start(900 * MS, "t1")
    assert ear.advance(920 * MS) == pcm(20)
    assert ear.heard_ms == 60
