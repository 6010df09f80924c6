"""The loudspeaker: what sounded when, to the sample."""

from __future__ import annotations

from rspp.adapters.transports.loopback.speaker import QUEUE_MS_MAX, Speaker

MS = 1_000_000


def tone(ms: int, rate: int = 16_000, value: int = 1_000) -> bytes:
    return value.to_bytes(2, "little", signed=True) * (rate * ms // 1000)


def loud(speaker: Speaker) -> list[tuple[int, int]]:
    """The stretches that are not silent, in samples."""
    found: list[tuple[int, int]] = []
    for index in range(len(speaker.timeline) // 2):
        if speaker.timeline[2 * index : 2 * index + 2] != b"\0\0":
            if found and found[-1][1] == index:
                found[-1] = (found[-1][0], index + 1)
            else:
                found.append((index, index + 1))
    return found


def test_sound_stands_in_the_timeline_at_the_moment_it_came() -> None:
    speaker = Speaker(0)
    speaker.play(100 * MS, "t", tone(40), 16_000)
    speaker.advance(200 * MS)
    assert loud(speaker) == [(1_600, 2_240)]
    assert len(speaker.timeline) == 2 * 3_200
    assert speaker.turns["t"].first_ns == 100 * MS
    assert speaker.turns["t"].last_ns == 140 * MS


def test_what_comes_ahead_of_time_waits_its_turn_and_leaves_no_gap() -> None:
    speaker = Speaker(0)
    for _ in range(5):
        speaker.play(0, "t", tone(20), 16_000)
    speaker.advance(150 * MS)
    assert loud(speaker) == [(0, 1_600)]
    assert speaker.turns["t"].dry_most == 0


def test_what_comes_late_leaves_silence_and_is_counted() -> None:
    speaker = Speaker(0)
    speaker.play(0, "t", tone(20), 16_000)
    speaker.play(70 * MS, "t", tone(20), 16_000)
    speaker.advance(100 * MS)
    assert loud(speaker) == [(0, 320), (1_120, 1_440)]
    assert speaker.turns["t"].dry_most == 800


def test_a_pause_is_silence_and_nothing_of_the_sound_is_lost() -> None:
    speaker = Speaker(0)
    speaker.play(0, "t", tone(100), 16_000)
    speaker.pause(40 * MS)
    assert speaker.played_ms("t") == 40
    speaker.resume(240 * MS)
    speaker.advance(400 * MS)
    assert loud(speaker) == [(0, 640), (3_840, 4_800)]
    assert speaker.turns["t"].dry_most == 0


def test_after_a_stop_only_what_was_to_be_kept_sounds_and_what_still_comes_is_refused() -> None:
    speaker = Speaker(0)
    speaker.play(0, "t", tone(200), 16_000)
    speaker.stop(50 * MS, "t", keep_ms=10)
    speaker.play(60 * MS, "t", tone(20), 16_000)
    speaker.advance(300 * MS)
    assert loud(speaker) == [(0, 960)]
    assert speaker.dropped == 320


def test_a_stop_of_one_turn_leaves_the_next_one_alone() -> None:
    speaker = Speaker(0)
    speaker.play(0, "a", tone(100), 16_000)
    speaker.play(0, "b", tone(20), 16_000)
    speaker.stop(0, "a", keep_ms=0)
    speaker.advance(100 * MS)
    assert (speaker.played_ms("a"), speaker.played_ms("b")) == (0, 20)


def test_a_second_rate_is_converted_and_lasts_as_long() -> None:
    speaker = Speaker(0)
    speaker.play(0, "a", tone(20, 24_000), 24_000)
    speaker.play(20 * MS, "b", tone(100, 8_000), 8_000)
    speaker.advance(500 * MS)
    assert speaker.rate == 24_000
    assert speaker.played_ms("b") == 100


def test_a_sender_without_a_lead_does_not_fill_the_memory() -> None:
    speaker = Speaker(0)
    for _ in range(QUEUE_MS_MAX // 1000 + 5):
        speaker.play(0, "t", tone(1_000), 16_000)
    assert speaker.turns["t"].came == QUEUE_MS_MAX * 16
    assert speaker.dropped == 5 * 16_000
