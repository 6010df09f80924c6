"""Sound in which nobody spoke is kept, and sound in which somebody may have spoken is kept only once it was judged."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.contract.words import OutcomeClass, RecordingLevel
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.recording import Recording
from rspp.timeline.redaction.policy import RedactionPolicy
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.redaction.sounds import HELD_NS_MAX
from rspp.timeline.session import SessionRecorder
from tests.unit.host.stage import Caller, Stage, graph_of, on_stage
from tests.unit.timeline.redaction.test_sounds import FRAME_MS, LOUD, MS, Line

S = 1_000


class Call(Line):
    """A line with a voice detector and a recogniser."""

    attempt = 0

    def __init__(self) -> None:
        super().__init__()
        self.begin()

    def begin(self) -> None:
        self.attempt += 1
        invoke = fx.Invoke("stt", self.attempt, "stt", "stt", "p", "k", 1, None)
        self.redactor.listens(self.now, invoke)

    def pass_ms(self, ms: int, score: float = 0.02) -> None:
        for _ in range(ms // FRAME_MS):
            self.hear(FRAME_MS)
            self.redactor.scored(self.now, score)

    def speak_ms(self, ms: int) -> None:
        self.pass_ms(ms, 0.95)

    def ask(self) -> None:
        self.redactor.listens(self.now, fx.EndFeed("stt", last=False))

    def says(self, text: str, segment: int = 0, *, final: bool = False) -> None:
        self.give(i.CallProduced("stt", self.attempt, 0, Text(text, segment, 0, final=final, role="user")))

    def give(self, received: i.Input) -> None:
        self.step += 1
        self.redactor.take(self.step, self.now, received)

    def utterance(self, text: str, segment: int = 0) -> None:
        """Two seconds of speech, half a second of a pause, and the final 300 ms after it was asked for."""
        self.speak_ms(2 * S)
        self.pass_ms(500)
        self.ask()
        self.pass_ms(300)
        self.says(text, segment, final=True)
        self.take()

    def over(self) -> None:
        self.take(all_of_it=True)
        assert len(self.out) == self.frames  # each frame is given once, as it is or as silence


def test_before_between_and_after_the_words_all_is_kept() -> None:
    call = Call()
    call.pass_ms(5 * S)
    call.utterance("what a nice day")
    call.pass_ms(8 * S)
    call.utterance("and so it goes", 1)
    call.pass_ms(13 * S)
    call.over()
    assert call.masked == set()


def test_the_last_utterance_is_kept_although_no_final_follows() -> None:
    call = Call()
    call.utterance("stop thank you")
    call.over()
    assert call.masked == set()


def test_speech_after_the_last_final_is_silence_and_the_quiet_before_it_is_kept() -> None:
    call = Call()
    call.utterance("what a nice day")  # 2,800 ms
    call.pass_ms(5 * S)
    call.speak_ms(1 * S)
    call.says("my number", 1)  # a harmless partial is not all that was said
    call.pass_ms(2 * S)
    call.over()
    assert call.loud(0, 6_700) == {True}
    assert call.loud(6_820, 11_000) == {False}


def test_speech_that_no_recogniser_said_a_word_of_is_silence() -> None:
    call = Call()
    call.utterance("what a nice day")
    call.pass_ms(3 * S)
    call.speak_ms(100)
    call.over()
    assert call.loud(4_820, 5_900) == {False}
    assert call.loud(0, 4_700) == {True}


def test_words_that_began_before_the_last_final_came_are_not_judged_by_it() -> None:
    call = Call()
    call.speak_ms(2 * S)
    call.pass_ms(500)
    call.ask()
    call.speak_ms(500)  # the next utterance: its recogniser is slow
    call.says("what a nice day", final=True)
    call.pass_ms(10 * S)
    call.over()
    assert call.loud(0, 2_500) == {True}
    assert call.loud(2_520, 13_000) == {False}


def test_a_final_that_comes_late_gives_nothing_of_what_came_after_it_was_asked_for() -> None:
    call = Call()
    call.speak_ms(2 * S)
    call.pass_ms(500)
    call.ask()
    call.speak_ms(2 * S)
    call.pass_ms(500)
    call.ask()
    call.pass_ms(8 * S)
    call.says("what a nice day", final=True)
    call.take()
    call.says("my pin is 739184, ok", 1, final=True)
    call.over()
    assert call.loud(2_520, 5_000) == {False}


def test_a_final_that_nobody_asked_for_does_not_answer_for_what_was_said_just_before_it() -> None:
    call = Call()
    call.speak_ms(10 * S)
    call.says("what a nice day", final=True)
    call.over()
    assert call.loud(0, 5_980) == {True}
    assert call.loud(6_020, 10_000) == {False}


def test_a_partial_without_any_speech_score_makes_all_since_the_final_silence() -> None:
    call = Call()
    call.utterance("what a nice day")
    call.pass_ms(3 * S)
    call.says("my number", 1)
    call.over()
    assert call.loud(0, 2_500) == {True}
    assert call.loud(2_520, 6_000) == {False}


@pytest.mark.parametrize("stretch", ["in the middle", "at the end"])
def test_sound_that_the_voice_detector_did_not_score_is_silence(stretch: str) -> None:
    call = Call()
    call.utterance("what a nice day")
    call.pass_ms(3 * S)
    call.hear(1 * S)
    if stretch == "in the middle":
        call.pass_ms(1 * S)
    call.over()
    assert call.loud(0, 5_700) == {True}
    assert call.loud(5_820, 9_000) == {False}


@pytest.mark.parametrize("end", ["failed", "killed", "replaced"])
def test_what_a_recogniser_heard_that_failed_is_not_given_by_the_next_one_s_final(end: str) -> None:
    call = Call()
    call.pass_ms(3 * S)
    call.speak_ms(2 * S)
    if end == "failed":
        call.give(i.CallFailed("stt", 1, OutcomeClass.INFRASTRUCTURE_FAILURE, "lost"))
    elif end == "killed":
        call.redactor.listens(call.now, fx.KillCall("stt", 1))
    call.begin()
    call.take()
    call.pass_ms(2 * S)
    call.utterance("what a nice day")
    call.pass_ms(10 * S)
    call.over()
    assert call.loud(0, 1_900) == {True}
    assert call.loud(2_020, 4_980) == {False}
    assert call.loud(5_020, 25_000) == {True}


@pytest.mark.parametrize("known_at_once", [True, False])
def test_what_was_said_while_no_recogniser_listened_is_silence(known_at_once: bool) -> None:
    call = Call()
    call.utterance("what a nice day")  # 2,800 ms
    call.pass_ms(2 * S)
    call.give(i.CallFinished("stt", 1))
    if known_at_once:
        call.take()
    call.speak_ms(1 * S)
    call.begin()
    call.take()
    call.pass_ms(2 * S)
    call.utterance("and so it goes", 1)
    call.pass_ms(10 * S)
    call.over()
    assert call.loud(0, 4_780) == {True}
    assert call.loud(4_820, 5_780) == {False}
    assert call.loud(5_820, 20_000) == {True}


def test_a_final_that_came_while_no_texts_were_kept_answers_for_nothing() -> None:
    call = Call()
    call.speak_ms(2 * S)
    call.redactor.level = RecordingLevel.L0
    call.says("my pin is 739184, ok", final=True)
    call.redactor.level = RecordingLevel.L2
    call.pass_ms(6 * S)
    call.utterance("what a nice day", 1)
    call.pass_ms(10 * S)
    call.over()
    assert call.loud(0, 1_980) == {False}
    assert call.loud(2_020, 20_000) == {True}


def test_a_recogniser_that_ended_properly_has_answered_for_all_that_it_heard() -> None:
    call = Call()
    call.utterance("what a nice day")
    call.speak_ms(100)  # a cough
    call.give(i.CallFinished("stt", 1))
    call.over()
    assert call.masked == set()


def test_a_recogniser_that_ended_with_an_open_partial_has_not() -> None:
    call = Call()
    call.utterance("what a nice day")
    call.speak_ms(1 * S)
    call.says("my number", 1)
    call.give(i.CallFinished("stt", 1))
    call.over()
    assert call.loud(2_520, 3_800) == {False}


def test_a_caller_who_is_silent_for_longer_than_sound_is_held_is_kept_until_somebody_speaks() -> None:
    call = Call()
    call.pass_ms(HELD_NS_MAX // MS + 10 * S)
    assert call.redactor._sounds._bytes <= 60 * 50 * len(LOUD) + len(LOUD)
    call.speak_ms(2 * S)
    call.pass_ms(HELD_NS_MAX // MS + 10 * S)
    call.over()
    assert call.loud(0, 68_900) == {True}
    assert call.loud(69_100, 142_000) == {False}


# ---- in a host -------------------------------------------------------------------------------------------------------


def recorded(scene: Any, texts: str) -> Recording:
    append = MemoryAppend()
    redactor = SessionRedactor(RedactionPolicy(), "t1")

    async def whole(stage: Stage) -> None:
        caller = stage.call(session_id="s1")
        await scene(caller)
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id)

    graph = graph_of(f"provider_settings:\n  scripted-stt: {{texts: {texts}}}\n")
    policy = msgspec.structs.replace(graph.recording_policy, level=RecordingLevel.L2)
    graph = msgspec.structs.replace(graph, recording_policy=policy)
    on_stage(whole, graph, recorders=lambda _: SessionRecorder(append, redactor, wall_ms=lambda: 0))
    return append.recording()


def withheld(recording: Recording) -> set[int]:
    gone = recording.masked_sound | recording.without_sound
    return {n for n, (_, one) in recording.inputs.items() if n in gone and isinstance(one, i.AudioReceived)}


async def interrupted(caller: Caller) -> None:
    await caller.frames(1_000)
    await caller.speak(1_000)
    await caller.until_answered()
    await caller.speak(1_400)
    await caller.frames(13_000)


def test_a_call_that_was_interrupted_is_kept_whole() -> None:
    assert withheld(recorded(interrupted, '["tell me a story", "stop thank you please"]')) == set()


def test_of_an_interruption_with_a_number_the_speech_is_silence() -> None:
    recording = recorded(interrupted, '["tell me a story", "my pin is 739184 ok"]')
    assert len(withheld(recording)) >= 1_400 // FRAME_MS


def test_a_caller_who_hangs_up_in_mid_speech_is_silent_from_there() -> None:
    async def scene(caller: Caller) -> None:
        await caller.speak(1_000)
        await caller.frames(6_000)
        await caller.speak(500)

    recording = recorded(scene, '["tell me a story", "my number is"]')
    gone = withheld(recording)
    spoken = [n for n, (_, one) in recording.inputs.items() if isinstance(one, i.AudioReceived)][-25:]
    assert set(spoken) <= gone
    assert len(gone) <= (1_000 + 500) // FRAME_MS + 2
