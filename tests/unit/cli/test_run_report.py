"""The report of a call: stages that add up, and an end of speech that nobody believed but measured."""

from __future__ import annotations

import pytest

from rspp.cli.call_report import STAGES, Heard, TurnNotes, _interrupted_at, _silenced, _speech_ended, _stages

MS = 1_000_000


def turn(**moments_ms: int) -> TurnNotes:
    moments = {name: at * MS for name, at in moments_ms.items()}
    return TurnNotes("t", moments.pop("opened_at", 0), **moments)  # type: ignore[arg-type]


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
    whole, stages = _stages(turn(**moments), 1_000 * MS, Heard(first_ns=1_710 * MS))
    assert whole == 710
    assert tuple(stages[name] for name in STAGES) == expected
    assert sum(stages.values()) == pytest.approx(whole)


def test_the_end_of_speech_is_the_last_frame_with_a_voice_before_the_session_thought_so() -> None:
    speech = frames((100, 1_000), (5_000, 6_000))
    asked = turn(opened_at=1_500, stopped_at=1_450)
    assert _speech_ended(asked, speech, Heard(first_ns=2_000 * MS)) == 1_000 * MS


def test_an_answer_that_was_never_heard_or_came_unasked_has_no_latency() -> None:
    speech = frames((100, 1_000))
    assert _speech_ended(turn(opened_at=1_500), speech, Heard()) is None
    assert _speech_ended(turn(opened_at=50), speech, Heard(first_ns=80 * MS)) is None
    assert _stages(turn(), None, Heard()) == (None, {})


def test_silence_is_measured_from_the_first_frame_of_the_speech_that_interrupted() -> None:
    speech = frames((100, 1_000), (3_000, 3_400))
    cut = turn(cut_at=3_300)
    assert _interrupted_at(cut, speech) == 3_000 * MS
    assert _silenced(cut, speech, Heard(first_ns=2_000 * MS, last_ns=3_120 * MS)) == 120
    assert _silenced(cut, speech, Heard(first_ns=2_000 * MS, last_ns=2_900 * MS)) == 0
    assert _silenced(turn(), speech, Heard(last_ns=1)) is None
