"""Where the time of a turn went: stages that add up, and ends that say by whom they are known."""

from __future__ import annotations

import pytest

from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import AudioReceived, SpeechScored, TextReceived
from rspp.timeline.recording import Recording
from rspp.timeline.story import told
from rspp.timeline.waterfall import (
    STAGES,
    Heard,
    Marks,
    heard_ms,
    holes,
    interrupted_at,
    silenced_ms,
    speech_ended,
    speech_of,
    stages_of,
    watched,
    waterfalls,
)
from tests.unit.timeline.calls import replayed, simulated

MS = 1_000_000


def turn(**moments_ms: int) -> Marks:
    moments = {name: at * MS for name, at in moments_ms.items()}
    return Marks("t", moments.pop("opened_at", 0), **moments)  # type: ignore[arg-type]


def frames(*spans: tuple[int, int]) -> list[int]:
    return [at * MS for first, last in spans for at in range(first, last + 1, 20)]


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        pytest.param(
            {
                "stopped_at": 1_400,
                "words_at": 1_480,
                "token_at": 1_600,
                "sentence_at": 1_650,
                "audio_at": 1_700,
            },
            (400, 80, 120, 50, 50, 10),
            id="one stage after the other",
        ),
        pytest.param(
            {
                "stopped_at": 1_400,
                "words_at": 1_480,
                "token_at": 1_300,
                "sentence_at": 1_450,
                "audio_at": 1_700,
            },
            (400, 80, 0, 0, 220, 10),
            id="a guess that was right hides the model",
        ),
        pytest.param(
            {"stopped_at": 1_400, "words_at": 900, "audio_at": 1_705},
            (400, 0, 0, 0, 305, 5),
            id="stages that the graph does not have",
        ),
        pytest.param(
            {"stopped_at": 1_400, "audio_at": 9_000}, (400, 0, 0, 0, 310, 0), id="a mark after the end"
        ),
    ],
)
def test_the_stages_of_a_turn_add_up_to_its_whole(
    moments: dict[str, int], expected: tuple[float, ...]
) -> None:
    whole, stages = stages_of(turn(**moments), 1_000 * MS, Heard(first_ns=1_710 * MS))
    assert whole == 710
    assert tuple(stages[name] for name in STAGES) == expected
    assert sum(stages.values()) == pytest.approx(whole)


def test_the_end_of_speech_is_the_last_frame_with_a_voice_before_the_session_thought_so() -> None:
    speech = frames((100, 1_000), (5_000, 6_000))
    asked = turn(opened_at=1_500, stopped_at=1_450)
    assert speech_ended(asked, speech, Heard(first_ns=2_000 * MS)) == 1_000 * MS


def test_an_answer_that_was_never_heard_or_came_unasked_has_no_latency() -> None:
    speech = frames((100, 1_000))
    assert speech_ended(turn(opened_at=1_500), speech, Heard()) is None
    assert speech_ended(turn(opened_at=50), speech, Heard(first_ns=80 * MS)) is None
    assert stages_of(turn(), None, Heard()) == (None, {})


def test_silence_is_measured_from_the_first_frame_of_the_speech_that_interrupted() -> None:
    speech = frames((100, 1_000), (3_000, 3_400))
    cut = turn(cut_at=3_300)
    assert interrupted_at(cut, speech) == 3_000 * MS
    assert silenced_ms(cut, speech, Heard(first_ns=2_000 * MS, last_ns=3_120 * MS)) == 120
    assert silenced_ms(cut, speech, Heard(first_ns=2_000 * MS, last_ns=2_900 * MS)) == 0
    assert silenced_ms(turn(), speech, Heard(last_ns=1)) is None


@pytest.mark.parametrize(
    ("session", "faults", "heard_by"),
    [
        pytest.param(0, "none", "playback_started", id="a client that reports what it plays"),
        pytest.param(1, "none", "audio_sent", id="a client that does not"),
        pytest.param(2, "all", "playback_started", id="faults"),
    ],
)
def test_a_recorded_waterfall_adds_up_to_what_the_caller_heard(
    session: int, faults: str, heard_by: str
) -> None:
    found = waterfalls(told(simulated(7, session, faults)))
    answered = [one for one in found if one.whole_ms is not None]
    assert answered
    for one in answered:
        assert one.heard_at is not None
        assert one.speech_ended_at is not None
        assert tuple(one.stages_ms) == STAGES
        assert min(one.stages_ms.values()) >= 0
        assert sum(one.stages_ms.values()) == pytest.approx(
            (one.heard_at - one.speech_ended_at) / MS, abs=0.05
        )
        assert one.speech_by in ("speech_scores", "typed")
        assert one.heard_by == heard_by


def test_a_recording_and_its_replay_have_the_same_waterfalls_and_so_has_a_run_of_frames_that_was_cut() -> (
    None
):
    recording = simulated(7, 2)
    assert len(recording.runs) > len(replayed(recording).runs)
    assert waterfalls(told(recording)) == waterfalls(replayed(recording))


def test_at_the_lowest_level_only_the_whole_is_known_and_it_says_by_whom() -> None:
    low = waterfalls(told(simulated(7, 0, level=RecordingLevel.L0)))
    full = waterfalls(told(simulated(7, 0)))
    assert [one.turn_id for one in low] == [one.turn_id for one in full]
    for lesser, better in zip(low, full, strict=True):
        assert lesser.stages_ms == {}
        assert lesser.speech_by == "speech_stopped"
        assert lesser.heard_at == better.heard_at
        assert lesser.whole_ms == pytest.approx((better.whole_ms or 0) - better.stages_ms["endpointing"])


def test_of_a_client_that_says_what_it_plays_nothing_is_heard_that_it_does_not_say() -> None:
    recording = simulated(7, 0)
    assert recording.head.request.reports_playback
    turn_id = waterfalls(told(recording))[0].turn_id
    recording.items = [
        made for made in recording.items if (made.name, made.turn) != ("playback_started", turn_id)
    ]
    story = told(recording)
    unheard = waterfalls(story)[0]
    assert watched(story)[turn_id].sent_at is not None
    assert (unheard.heard_at, unheard.heard_by, unheard.whole_ms) == (None, None, None)
    marks = watched(story)
    marks[turn_id].heard_ms = 0
    assert heard_ms(story, marks)[turn_id] == 0
    story.reports_playback = False
    assert waterfalls(story)[0].heard_by == "audio_sent"
    assert heard_ms(story, marks)[turn_id] > 0


def test_where_inputs_are_missing_no_figure_is_made_of_what_is_left() -> None:
    whole = waterfalls(told(simulated(7, 0)))
    first = whole[0]
    assert first.speech_ended_at is not None
    assert first.heard_at is not None
    stopped = first.speech_ended_at + round(first.stages_ms["endpointing"] * MS)
    spoken = (
        first.speech_ended_at - 400 * MS,
        first.speech_ended_at + 100 * MS,
    )  # the end of the words is not here
    later = (stopped + MS, first.heard_at - MS)
    for hole, known in ((spoken, None), (later, first.whole_ms)):
        recording = simulated(7, 0)
        recording.inputs = {
            step: one for step, one in recording.inputs.items() if not hole[0] <= one[0] <= hole[1]
        }
        found = waterfalls(told(recording))
        assert (found[0].broken, found[0].whole_ms, found[0].stages_ms) == (True, known, {})
        assert found[1:] == whole[1:]


def test_a_recording_that_went_down_to_l0_has_a_hole_to_its_end() -> None:
    recording = simulated(7, 0)
    last = max(recording.inputs)
    kept = {step: one for step, one in recording.inputs.items() if step <= last // 2}
    recording.inputs = kept
    assert holes(told(recording)) == [(kept[last // 2][0], told(recording).ended_at)]
    assert holes(told(simulated(7, 0))) == holes(told(simulated(7, 0, level=RecordingLevel.L0))) == []


def test_sound_says_when_speech_ended_before_scores_do() -> None:
    recording = simulated(7, 0, level=RecordingLevel.L2)
    assert speech_of(told(recording)).by == "speech_scores"  # silence says nothing
    loud = _loud_until(recording, 2_000 * MS)
    first = waterfalls(told(recording))[0]
    assert first.speech_by == "sound"
    assert first.speech_ended_at == loud


def test_sound_that_is_masked_anywhere_does_not_say_when_speech_ended() -> None:
    recording = simulated(7, 0, level=RecordingLevel.L2)
    _loud_until(recording, 2_000 * MS)
    recording.masked_sound.add(next(iter(recording.inputs)))
    assert waterfalls(told(recording))[0].speech_by == "speech_scores"


def test_a_typed_message_ends_when_it_comes() -> None:
    recording = simulated(7, 0)
    opened = next(iter(watched(told(recording)).values())).opened_at
    step = next(step for step, (at, _) in recording.inputs.items() if at == opened)
    recording.inputs[step] = (opened, TextReceived("hello", 1))
    quiet = {
        number: (at, SpeechScored(0.0) if isinstance(received, SpeechScored) else received)
        for number, (at, received) in recording.inputs.items()
    }
    recording.inputs = quiet
    recording.items = [
        made for made in recording.items if not (made.name == "speech_stopped" and made.at < opened)
    ]
    first = waterfalls(told(recording))[0]
    assert (first.speech_by, first.speech_ended_at) == ("typed", opened)
    assert first.stages_ms["endpointing"] == first.stages_ms["stt"] == 0


def _loud_until(recording: Recording, end: int) -> int:
    """Give the caller a voice until then; the time of its last frame."""
    last = 0
    for step, (at, received) in recording.inputs.items():
        if isinstance(received, AudioReceived) and at <= end:
            data = (b"\x00\x10" + b"\x00\xf0") * (len(received.audio.data) // 4)
            audio = type(received.audio)(data, received.audio.samples, received.audio.sample_index)
            recording.inputs[step] = (at, AudioReceived(audio, received.transport_sequence))
            last = at
    return last
