"""When the caller began, paused, ended, interrupted or only coughed; and no state is ever a trap."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS, Text
from rspp.contract.words import InterruptionMode as Mode
from rspp.kernel.flags import Flag, resolve
from rspp.kernel.listening import CALLER, OVERLAP, Caller, Do, Heard, Over, Overlap
from rspp.kernel.turn_taking import TurnTaking
from rspp.spec import voice_template

PROFILE = voice_template().policies.turn_taking
FRAME_MS = 20


class Ear:
    """A listener, and the hand that moves its time."""

    def __init__(self, flags: frozenset[int] | None = None, **settings: Any) -> None:
        self.listener = TurnTaking(
            msgspec.structs.replace(PROFILE, **settings), resolve(None) if flags is None else flags
        )
        self.now = 0

    def advance(self, ms: int) -> None:
        until = self.now + ms * NS_PER_MS
        while (at := self.listener.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.listener.wake(self.now)
        self.now = until

    def scores(self, score: float, ms: int) -> None:
        for _ in range(ms // FRAME_MS):
            self.listener.scored(self.now, score)
            self.advance(FRAME_MS)

    def voice(self, ms: int) -> None:
        self.scores(0.95, ms)

    def hush(self, ms: int) -> None:
        self.scores(0.02, ms)

    def end(self, probability: float) -> None:
        self.listener.end_scored(self.now, probability)

    def hear(self, words: str, *, final: bool = False) -> None:
        self.listener.heard(self.now, Text(words, final=final))

    def assistant(self, audible: bool) -> None:
        self.listener.assistant_changed(self.now, audible)

    def say(self, words: str) -> None:
        """A whole utterance, the ordinary way."""
        self.voice(400)
        self.hear(words)
        self.hush(340)
        self.end(0.7)
        self.hear(words, final=True)

    def did(self, *kinds: Do) -> list[tuple[Do, str]]:
        """What it decided since the last time, or only the moves of these kinds."""
        moves, self.listener.moves = self.listener.moves, []
        return [(move.do, move.reason) for move in moves if not kinds or move.do in kinds]


# ---- the tables ----------------------------------------------------------------------------------------------------


def in_state(state: Caller) -> Ear:
    ear = Ear()
    if state is Caller.TALKING:
        ear.listener.pressed(0)
    elif state is not Caller.QUIET:
        ear.voice(20 if state is Caller.ONSET else 400)
        if state in (Caller.PAUSING, Caller.ENDING):
            ear.hush(20)
        if state is Caller.ENDING:
            ear.listener.ended(ear.now)
    assert ear.listener.caller is state
    return ear


@pytest.mark.parametrize("state", list(Caller))
def test_every_state_but_the_resting_one_has_a_deadline_and_leaves_by_it(state: Caller) -> None:
    """Nothing arrives any more: no score, no transcript, no release of the button."""
    ear = in_state(state)
    if state is Caller.QUIET:
        assert ear.listener.deadline() is None
        return
    assert "state" in ear.listener.timers
    assert (state, Heard.DEADLINE) in CALLER
    ear.advance(200_000)
    assert ear.listener.caller is Caller.QUIET
    assert ear.listener.timers == {}


@pytest.mark.parametrize("overlap", [Overlap.HELD, Overlap.WATCHING])
def test_every_overlap_has_a_deadline_and_is_over_by_it(overlap: Overlap) -> None:
    ear = Ear(interruption=Mode.PAUSE_THEN_DECIDE if overlap is Overlap.HELD else Mode.SPEECH)
    ear.assistant(True)
    ear.voice(100)
    assert ear.listener.overlap is overlap
    assert (overlap, Over.DEADLINE) in OVERLAP
    ear.advance(PROFILE.decide_ms_max)
    assert ear.listener.overlap is Overlap.CLEAR


def test_every_state_can_be_reached_and_left() -> None:
    assert set(CALLER.values()) == set(Caller)
    assert {before for before, _ in CALLER} == set(Caller)
    assert {before for before, _ in OVERLAP} == set(Overlap)


def test_no_order_of_inputs_leaves_a_state_without_its_deadline() -> None:
    chance = random.Random(4)
    for _ in range(60):
        ear = Ear(speculation=chance.random() < 0.5, interruption=chance.choice(list(Mode)))
        listener = ear.listener
        for _ in range(200):
            match chance.randrange(9):
                case 0 | 1 | 2:
                    listener.scored(ear.now, chance.choice([0.0, 0.4, 0.95, float("nan")]))
                case 3:
                    ear.end(chance.random())
                case 4:
                    ear.hear(
                        chance.choice(["", "mhm", "no wait", "stop it now"]), final=chance.random() < 0.5
                    )
                case 5:
                    chance.choice([listener.pressed, listener.released, listener.ended])(ear.now)
                case 6:
                    listener.keyed(ear.now, chance.choice("1#"))
                case 7:
                    ear.assistant(chance.random() < 0.5)
                case _:
                    ear.advance(chance.choice([1, 20, 300, 2_000]))
            if listener.caller is not Caller.QUIET:
                assert "state" in listener.timers
            if listener.overlap is not Overlap.CLEAR:
                assert "overlap" in listener.timers
            assert len(listener.timers) <= 7


# ---- an utterance --------------------------------------------------------------------------------------------------


def test_a_click_is_not_speech() -> None:
    ear = Ear()
    ear.voice(60)
    ear.hush(100)
    assert ear.did() == []
    assert ear.listener.caller is Caller.QUIET


def test_an_utterance_starts_ends_at_a_likely_end_and_is_proposed_with_its_final() -> None:
    ear = Ear()
    ear.say("what time is it")
    assert ear.did() == [
        (Do.SPEECH_STARTED, ""),
        (Do.SPEECH_STOPPED, "end_of_turn"),
        (Do.FINALISE, ""),
        (Do.PROPOSE, "final"),
    ]


@pytest.mark.parametrize(("probability", "ends_ms"), [(0.7, 300), (0.1, 900)])
def test_a_likely_end_ends_after_the_shortest_silence_and_any_end_after_the_longest(
    probability: float, ends_ms: int
) -> None:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time is it")
    ear.listener.scored(ear.now, 0.02)
    ear.end(probability)
    began = ear.now
    while ear.listener.caller is Caller.PAUSING:
        ear.advance(1)
    assert (ear.now - began) // NS_PER_MS == ends_ms


def test_a_pause_inside_a_sentence_does_not_end_it() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hush(280)
    ear.end(0.7)
    ear.voice(400)
    assert Do.SPEECH_STOPPED not in dict(ear.did())


def test_scores_between_the_thresholds_neither_begin_nor_end_speech() -> None:
    ear = Ear()
    ear.scores(0.4, 400)
    assert ear.did() == []
    ear.voice(200)
    ear.scores(0.4, 400)
    assert ear.did() == [(Do.SPEECH_STARTED, "")]


def test_without_a_final_the_partial_is_taken_when_the_wait_for_it_is_over() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time")
    ear.hush(900)
    ear.advance(PROFILE.final_wait_ms_max)
    assert ear.did(Do.PROPOSE) == [(Do.PROPOSE, "final_overdue")]


def test_an_utterance_without_words_is_nothing() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hush(900)
    ear.advance(PROFILE.final_wait_ms_max)
    assert ear.did(Do.PROPOSE, Do.NOTHING) == [(Do.NOTHING, "final_overdue")]


def test_an_endless_monologue_is_cut_at_its_longest() -> None:
    ear = Ear(utterance_ms_max=2_000)
    ear.voice(2_100)
    assert (Do.SPEECH_STOPPED, "utterance_too_long") in ear.did()


def test_words_of_all_segments_are_proposed_together() -> None:
    ear = Ear()
    ear.voice(300)
    ear.hear("book a room", final=True)
    ear.voice(300)
    ear.hear("for two")
    ear.hush(340)
    ear.end(0.7)
    ear.hear("for two nights", final=True)
    assert [move.text for move in ear.listener.moves if move.do is Do.PROPOSE] == [
        "book a room for two nights"
    ]


def test_scores_that_stop_arriving_are_a_pause() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time is it", final=True)
    ear.advance(PROFILE.silence_ms_max * 2 + PROFILE.final_wait_ms_max)
    assert Do.PROPOSE in dict(ear.did())


def test_where_nothing_scores_speech_words_are_proof_of_a_voice() -> None:
    ear = Ear()
    ear.listener.voiced_by_text(0)
    ear.hear("what time is it")
    assert ear.did() == [(Do.SPEECH_STARTED, "")]
    ear.advance(5_000)
    assert Do.PROPOSE in dict(ear.did())


# ---- late transcripts ----------------------------------------------------------------------------------------------


def test_a_late_final_amends_its_turn_and_one_that_says_the_same_does_not() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time")
    ear.hush(900)
    ear.advance(700)
    ear.did()
    ear.hear("What time.", final=True)
    assert ear.did() == []
    ear.hear("what time is it", final=True)
    assert ear.did() == [(Do.AMEND, "late_final")]


def test_a_final_that_is_too_late_and_a_late_partial_amend_nothing() -> None:
    ear = Ear()
    ear.say("what time")
    ear.did()
    ear.hear("something else")
    ear.advance(PROFILE.late_final_ms_max + 1)
    ear.hear("something else", final=True)
    assert ear.did() == []


def test_a_final_before_any_utterance_amends_nothing() -> None:
    ear = Ear()
    ear.hear("ghost", final=True)
    assert ear.did() == []


# ---- speculation ---------------------------------------------------------------------------------------------------


def guessing() -> Ear:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time is it")
    ear.hush(100)
    ear.end(0.85)
    return ear


def test_a_very_likely_end_is_answered_early_and_confirmed_when_the_words_stay() -> None:
    ear = guessing()
    assert ear.did(Do.SPECULATE)
    ear.hush(300)
    ear.hear("What time is it?", final=True)
    assert ear.did(Do.CONFIRM, Do.PROPOSE, Do.SUPERSEDE) == [(Do.CONFIRM, "final")]


def test_a_guess_is_taken_back_when_the_caller_goes_on() -> None:
    ear = guessing()
    ear.voice(200)
    assert ear.did(Do.SPECULATE, Do.SUPERSEDE) == [(Do.SPECULATE, ""), (Do.SUPERSEDE, "caller_went_on")]


def test_a_guess_is_taken_back_when_the_final_has_other_words() -> None:
    ear = guessing()
    ear.hush(300)
    ear.hear("what time is it in Paris", final=True)
    assert ear.did(Do.CONFIRM, Do.PROPOSE, Do.SUPERSEDE) == [
        (Do.SUPERSEDE, "words_changed"),
        (Do.PROPOSE, "final"),
    ]


def test_one_utterance_is_guessed_at_so_often_and_no_more() -> None:
    ear = Ear()
    for number in range(5):
        ear.voice(200)
        ear.hear("and " * (number + 1))
        ear.hush(100)
        ear.end(0.85)
    assert len(ear.did(Do.SPECULATE)) == PROFILE.speculations_per_utterance_max


def test_nothing_is_guessed_without_words_over_the_assistant_or_when_it_is_off() -> None:
    mute = Ear()
    mute.voice(400)
    mute.hush(100)
    mute.end(0.85)
    assert mute.did(Do.SPECULATE) == []
    off = Ear(speculation=False)
    off.voice(400)
    off.hear("what time is it")
    off.hush(100)
    off.end(0.85)
    assert off.did(Do.SPECULATE) == []


def test_keyed_digits_take_back_a_guess_at_what_was_said() -> None:
    ear = guessing()
    ear.listener.keyed(ear.now, "1")
    ear.listener.keyed(ear.now, "#")
    assert ear.did(Do.SPECULATE, Do.SUPERSEDE) == [(Do.SPECULATE, ""), (Do.SUPERSEDE, "digits")]
    ear.hush(300)
    ear.hear("my code is", final=True)
    assert [move.text for move in ear.listener.moves if move.do is Do.PROPOSE] == ["my code is 1"]


# ---- over the assistant --------------------------------------------------------------------------------------------


def over(**settings: Any) -> Ear:
    ear = Ear(**settings)
    ear.assistant(True)
    return ear


def test_a_cough_pauses_the_assistant_and_lets_it_go_on() -> None:
    ear = over()
    ear.voice(200)
    assert ear.did() == [(Do.HOLD, "voice_over_assistant"), (Do.SPEECH_STARTED, "")]
    ear.hush(PROFILE.silence_ms_min + FRAME_MS)
    assert ear.did() == [(Do.RESUME, "no_words")]


def test_sessions_recorded_before_coughs_resumed_early_keep_waiting_for_the_deadline() -> None:
    ear = over(flags=resolve(()))
    ear.voice(200)
    ear.hush(400)
    assert Do.RESUME not in dict(ear.did())
    assert Flag.COUGH_RESUMES_EARLY in resolve(None)
    ear.hush(600)
    assert Do.RESUME in dict(ear.did())


def test_a_click_over_the_assistant_is_a_very_short_pause() -> None:
    ear = over()
    ear.voice(40)
    ear.hush(20)
    assert ear.did() == [(Do.HOLD, "voice_over_assistant"), (Do.RESUME, "no_voice")]


def test_speech_that_lasts_interrupts() -> None:
    ear = over()
    ear.voice(80 + PROFILE.interruption_ms_min + 2 * FRAME_MS)
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "speech")]


def test_words_interrupt_before_the_time_for_speech_is_up() -> None:
    ear = over()
    ear.voice(200)
    ear.hear("wait")
    assert ear.did(Do.INTERRUPT) == []
    ear.hear("wait a moment")
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "words")]


def test_by_words_only_words_interrupt_however_long_the_noise() -> None:
    ear = over(interruption=Mode.WORDS, decide_ms_max=5_000)
    ear.voice(2_000)
    assert ear.did(Do.HOLD, Do.INTERRUPT) == []
    ear.hear("stop there please")
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "words")]


def test_by_speech_nothing_is_paused_before_it_is_decided() -> None:
    ear = over(interruption=Mode.SPEECH)
    ear.voice(600)
    assert ear.did(Do.HOLD, Do.RESUME, Do.INTERRUPT) == [(Do.INTERRUPT, "speech")]


def test_never_means_never() -> None:
    ear = over(interruption=Mode.NEVER)
    ear.voice(2_000)
    ear.hear("stop there please", final=True)
    assert ear.did(Do.HOLD, Do.INTERRUPT) == []


@pytest.mark.parametrize("words", ["mhm", "Yeah, okay.", "I see", "right right"])
def test_a_backchannel_does_not_interrupt(words: str) -> None:
    ear = over()
    ear.voice(700)
    ear.did()
    ear = over()
    ear.voice(200)
    ear.hear(words)
    ear.voice(500)
    ear.hush(320)
    ear.end(0.7)
    ear.hear(words, final=True)
    decided = ear.did(Do.INTERRUPT, Do.RESUME, Do.PROPOSE)
    assert [do for do, _ in decided] == [Do.RESUME]


def test_undecided_and_still_speaking_at_the_deadline_is_an_interruption() -> None:
    ear = over(interruption_ms_min=60_000)
    ear.voice(1_000)
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "undecided_and_speaking")]


def test_when_the_assistant_falls_silent_there_is_nothing_left_to_decide() -> None:
    ear = over()
    ear.voice(200)
    ear.did()
    ear.assistant(False)
    ear.voice(1_000)
    assert ear.did(Do.INTERRUPT, Do.RESUME) == []


# ---- talk button, client's end, digits, idleness -------------------------------------------------------------------


def test_while_the_button_is_held_silence_ends_nothing() -> None:
    ear = Ear()
    ear.listener.pressed(0)
    ear.hear("what time is it")
    ear.hush(3_000)
    assert Do.SPEECH_STOPPED not in dict(ear.did())
    ear.listener.released(ear.now)
    ear.hear("what time is it", final=True)
    assert (Do.PROPOSE, "final") in ear.did()


def test_a_stuck_button_is_released_by_its_deadline() -> None:
    ear = Ear(push_to_talk_ms_max=1_000)
    ear.listener.pressed(0)
    ear.advance(1_000)
    assert (Do.SPEECH_STOPPED, "deadline") in ear.did()


def test_pressing_the_button_over_the_assistant_interrupts_at_once() -> None:
    ear = over()
    ear.listener.pressed(0)
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "talk_pressed")]


def test_a_second_press_changes_nothing_and_a_release_without_a_press_is_marked() -> None:
    ear = Ear()
    ear.listener.released(0)
    assert ear.did() == [(Do.IGNORED, "not_talking")]
    ear.listener.pressed(0)
    ear.did()
    ear.listener.pressed(0)
    assert ear.did() == []


def test_the_clients_end_of_utterance_finalises_without_waiting_for_silence() -> None:
    ear = Ear()
    ear.voice(400)
    ear.hear("what time is it")
    ear.listener.ended(ear.now)
    ear.hear("what time is it", final=True)
    assert ear.did(Do.FINALISE, Do.PROPOSE) == [(Do.FINALISE, ""), (Do.PROPOSE, "final")]


def test_an_end_of_utterance_with_no_utterance_open_is_ignored_with_a_marker() -> None:
    ear = Ear()
    ear.listener.ended(0)
    assert ear.did() == [(Do.IGNORED, "no_open_utterance")]


def test_digits_are_an_utterance_at_their_terminator_or_when_no_more_come() -> None:
    ear = Ear()
    for digit in "42#":
        ear.listener.keyed(ear.now, digit)
    for digit in "17":
        ear.listener.keyed(ear.now, digit)
    ear.advance(PROFILE.digit_gap_ms_max)
    said = [move.text for move in ear.listener.moves if move.do is Do.PROPOSE]
    assert said == ["42", "17"]


def test_a_terminator_alone_is_nothing_and_endless_digits_are_cut() -> None:
    ear = Ear()
    ear.listener.keyed(0, "#")
    assert ear.did() == []
    for _ in range(200):
        ear.listener.keyed(0, "1")
    assert all(len(move.text) <= 64 for move in ear.listener.moves)


def test_a_digit_over_the_assistant_interrupts_it() -> None:
    ear = over()
    ear.listener.keyed(0, "1")
    assert ear.did(Do.INTERRUPT) == [(Do.INTERRUPT, "digit")]


def test_a_caller_who_says_nothing_is_noticed_once_each_time_and_only_where_asked_for() -> None:
    ear = Ear(idle_prompt_ms=1_000)
    ear.assistant(True)
    ear.advance(2_000)
    assert ear.did() == []
    ear.assistant(False)
    ear.advance(5_000)
    assert ear.did() == [(Do.IDLE, "")]
    quiet = Ear()
    quiet.assistant(False)
    quiet.advance(100_000)
    assert quiet.did() == []
