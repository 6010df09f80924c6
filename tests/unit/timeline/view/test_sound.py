"""What there is to listen to: each side at its time, cut where it was cut, and never larger than allowed."""

from __future__ import annotations

from array import array
from functools import cache
from itertools import pairwise

import msgspec
import pytest

from rspp.contract.event import Audio
from rspp.kernel.inputs import AudioReceived, SpeechScored
from rspp.media.mulaw import decode_mulaw
from rspp.nodes import factories
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.story import Story, told
from rspp.timeline.view.again import again
from rspp.timeline.view.sound import RATE, SECONDS_MAX, Track, assistant_track, caller_track, stereo_wav
from rspp.timeline.waterfall import Marks, watched
from tests.unit.timeline.tones import sounding_bytes


def recorded(session: int = 0) -> Recording:
    return assemble([unframe(_bytes(session))])


@cache
def _bytes(session: int) -> bytes:
    return sounding_bytes(7, session)


def both(recording: Recording) -> tuple[Story, dict[str, Marks], Track, Track]:
    story = told(recording)
    run = again(recording, factories(), frames=True).story
    assert run is not None
    marks = watched(story)
    return story, marks, caller_track(story), assistant_track(run, run.frames, marks)


def loud(track: Track, from_ms: float, to_ms: float) -> float:
    """The share of this stretch that is not silence."""
    samples = array("h", track.pcm)[round(from_ms * RATE / 1000) : round(to_ms * RATE / 1000)]
    return sum(abs(one) > 300 for one in samples) / max(len(samples), 1)


def test_the_caller_is_heard_when_the_detector_heard_a_voice() -> None:
    story, _, caller, _ = both(recorded())
    voiced = [
        at for at, one in story.inputs.values() if isinstance(one, SpeechScored) and one.probability > 0.5
    ]
    first, last = (
        voiced[0] / 1e6,
        next(at for at, after in pairwise(voiced) if after - at > 1e9) / 1e6,
    )
    assert loud(caller, first, last) > 0.9
    assert loud(caller, 0, first - 25) == 0
    assert loud(caller, last + 25, last + 1_000) == 0


def test_an_answer_is_heard_from_its_first_sound_on_for_as_long_as_it_was_heard() -> None:
    _, marks, _, assistant = both(recorded())
    turn = next(iter(marks.values()))
    assert turn.played_at is not None
    began, ended = turn.played_at / 1e6, turn.played_at / 1e6 + turn.heard_ms
    assert loud(assistant, began, ended) > 0.9
    assert loud(assistant, began - 500, began) == 0
    assert loud(assistant, ended + 25, ended + 500) == 0


def test_what_was_thrown_away_is_not_heard() -> None:
    story, marks, _, assistant = both(recorded())
    cut = next(turn for turn in marks.values() if turn.terminal == "abort")
    assert cut.played_at is not None
    sent = sum(run.samples for run in story.runs if run.turn == cut.turn_id) / RATE * 1000
    assert sent > cut.heard_ms > 0
    began = cut.played_at / 1e6
    assert loud(assistant, began, began + cut.heard_ms) > 0.9
    assert loud(assistant, began + cut.heard_ms + 25, began + sent + 1_000) == 0


@pytest.mark.parametrize(
    ("bytes_max", "form", "seconds"),
    [
        (4 * RATE * 10, "PCM, 16 kHz", 10),
        (4 * RATE * 10 - 1, "mu-law, 16 kHz", 10),
        (2 * RATE * 10 - 1, "mu-law, 8 kHz", 10),
        (RATE * 4, "mu-law, 8 kHz", 4),
        (0, "mu-law, 8 kHz", 0),
    ],
)
def test_a_file_is_as_good_as_its_size_allows_and_says_how_much_is_in_it(
    bytes_max: int, form: str, seconds: float
) -> None:
    side, other = Track(bytes(2 * RATE * 10)), Track(b"\x00\x10" * RATE * 2)
    wav = stereo_wav(side, other, bytes_max)
    assert (wav.form, wav.seconds, wav.of_seconds) == (form, seconds, 10)
    assert len(wav.data) <= bytes_max + 64
    kind, channels, rate = wav.data[20], wav.data[22], int.from_bytes(wav.data[24:28], "little")
    assert (kind, channels, rate) == (1 if "PCM" in form else 7, 2, 8_000 if "8 kHz" in form else 16_000)
    body = wav.data[wav.data.index(b"data") + 8 :]
    pcm = body if kind == 1 else decode_mulaw(body)
    left, right = array("h", pcm)[0::2], array("h", pcm)[1::2]
    assert not any(left)
    assert all(one > 3_000 for one in right[100 : rate * 2 - 100 if seconds else 0])


@pytest.mark.parametrize(
    "lie",
    [
        {"sample_index": 2**60},
        {"rate": 0},
        {"rate": 3},
        {"channels": 7},
        {"samples": 0},
    ],
)
def test_a_frame_that_lies_about_itself_is_left_out(lie: dict[str, int]) -> None:
    recording = recorded()
    honest = len(caller_track(told(recording)).pcm)
    step = next(step for step, (_, one) in recording.inputs.items() if isinstance(one, AudioReceived))
    at, received = recording.inputs[step + 200]
    while not isinstance(received, AudioReceived):
        step += 1
        at, received = recording.inputs[step + 200]
    audio: Audio = msgspec.structs.replace(received.audio, **lie)
    recording.inputs[step + 200] = (at, msgspec.structs.replace(received, audio=audio))
    size = len(caller_track(told(recording)).pcm)
    assert abs(size - honest) <= 2 * RATE
    assert size < SECONDS_MAX * RATE * 2


def test_levels_are_small_numbers() -> None:
    _, _, caller, assistant = both(recorded())
    for track in (caller, assistant):
        assert 0 == min(track.levels) < max(track.levels) <= 100
