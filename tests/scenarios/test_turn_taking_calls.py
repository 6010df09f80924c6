"""Who has the floor, in whole calls: guesses taken back, a caller who is speaking already, keys, and what waits."""

from __future__ import annotations

from typing import Any

from rspp.contract.event import Text
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.testing.rig import Rig, snapshot


def call(**policies: Any) -> Rig:
    rig = Rig(voice_template(**policies))
    rig.connect()
    return rig


def speaking(ms: int = 3_000, *, made: bool = False, **policies: Any) -> Rig:
    """An assistant that is being heard; with `made` and little sound, it has said all it will."""
    rig = call(**policies)
    rig.say("tell me")
    rig.tokens("It is ten.")
    if made:
        rig.finish("llm")
    rig.speech(ms, finish=made)
    rig.advance(40)
    rig.forget()
    return rig


def asked(rig: Rig) -> list[str]:
    """What the language model was asked, in order."""
    events = [effect.event for effect in rig.of(fx.Invoke) if effect.node_id == "llm"]
    return [event.payload.text for event in events if event and isinstance(event.payload, Text)]


def test_words_that_were_taken_back_are_not_answered_when_their_deferred_guess_could_open() -> None:
    rig = Rig(snapshot=snapshot(capacity="defer"))
    rig.connect()
    rig.voice(600)
    rig.partial("what time is it")
    rig.hush(100)
    rig.give(i.EndOfTurnScored(0.9))
    assert rig.names("defer") == ["defer"]
    rig.voice(200)
    assert [s.reason for s in rig.signals("overlap_decided")] == ["deferred_intent_superseded"]
    rig.give(i.SnapshotPublished(snapshot(2)))
    rig.partial("what time is it in Paris")
    rig.hush(340)
    rig.give(i.EndOfTurnScored(0.9))
    rig.final("what time is it in Paris")
    assert asked(rig) == ["what time is it in Paris"]


def test_an_assistant_that_begins_while_the_caller_speaks_is_held_at_once() -> None:
    rig = call()
    rig.say("tell me")
    rig.tokens("It is ten.")
    rig.voice(100)
    rig.speech(2_000, finish=False)
    rig.advance(20)
    assert rig.names("playback_paused") == ["playback_paused"]
    rig.voice(800)
    assert rig.names("barge_in", "cancel") == ["barge_in", "cancel"]


def test_an_assistant_does_not_begin_into_a_held_talk_button() -> None:
    rig = call()
    rig.say("tell me")
    rig.tokens("It is ten.")
    rig.kernel.prelude.talk(True)
    rig.speech(2_000, finish=False)
    rig.advance(1_000)
    assert rig.names("cancel", "abort") == ["cancel", "abort"]
    assert len(rig.sent_audio()) <= 1


def test_who_may_not_be_interrupted_is_interrupted_by_nothing_and_what_was_said_waits() -> None:
    rig = speaking(9_000, made=True, turn_taking={"interruption": "never"}, limits={"queued_intents_max": 4})
    rig.kernel.prelude.keyed("4")
    rig.kernel.prelude.keyed("#")
    rig.advance(20)
    rig.say("and another thing")
    assert rig.names("barge_in", "cancel", "abort", "playback_cancelled") == []
    assert rig.names("intent_queued") == ["intent_queued"] * 2


def test_where_words_interrupt_noise_without_a_word_does_not() -> None:
    rig = speaking(9_000, made=True, turn_taking={"interruption": "words"})
    rig.voice(2_000)
    assert rig.names("barge_in") == []
    rig.partial("stop there please")
    assert rig.names("barge_in") == ["barge_in"]


def test_a_click_pauses_at_once_and_is_let_go_within_an_onset() -> None:
    rig = speaking()
    rig.voice(20)
    assert rig.names("playback_paused", "playback_resumed") == ["playback_paused"]
    rig.hush(20)
    assert rig.names("playback_paused", "playback_resumed") == ["playback_paused", "playback_resumed"]
    assert rig.names("speech_started") == []


def test_an_endless_utterance_ends_once() -> None:
    rig = call(turn_taking={"utterance_ms_max": 2_000})
    rig.voice(2_200)
    rig.voice(500)
    assert [s.reason for s in rig.signals("speech_stopped")] == ["utterance_too_long"]


def test_a_likely_end_that_was_none_does_not_cut_the_next_pause_short() -> None:
    rig = call(turn_taking={"speculation": False})
    rig.voice(400)
    rig.partial("I would like")
    rig.hush(200)
    rig.give(i.EndOfTurnScored(0.95))
    rig.voice(200)
    rig.hush(500)
    assert rig.names("speech_stopped") == []


def test_digits_keyed_into_an_utterance_are_part_of_it() -> None:
    rig = call()
    rig.voice(400)
    rig.partial("my code is")
    for digit in "57#":
        rig.kernel.prelude.keyed(digit)
    rig.hush(340)
    rig.give(i.EndOfTurnScored(0.95))
    rig.final("my code is")
    assert asked(rig) == ["my code is 57"]


def test_a_late_final_belongs_to_its_own_utterance_though_the_next_has_begun() -> None:
    rig = call()
    rig.voice(600)
    rig.partial("what time")
    rig.hush(900)
    rig.advance(700)
    rig.voice(200)
    rig.final("what time is it")
    assert rig.names("transcript_amended") == ["transcript_amended"]
    rig.partial("in Paris")
    rig.hush(340)
    rig.give(i.EndOfTurnScored(0.95))
    rig.final("in Paris")
    assert asked(rig) == ["what time", "what time is it", "in Paris"]
    said = [message.text for message in rig.kernel.memory.history()]
    assert said == ["what time is it"], "the turn that was begun over is not remembered beside its better"


def test_what_is_queued_opens_when_the_last_turn_was_heard_and_cuts_nothing() -> None:
    rig = speaking(200, made=True, overlap="queue")
    rig.type("second")
    assert rig.names("turn_open", "playback_cancelled") == []
    rig.give(i.DeliveryReported("completed", "s1/turn-1", heard_ms=200))
    assert rig.names("playback_completed", "turn_open", "playback_cancelled") == [
        "playback_completed",
        "turn_open",
    ]


def test_a_waiting_intent_is_not_dropped_without_a_word() -> None:
    rig = Rig(stores_evidence=False)
    rig.connect()
    for words in ("first", "second", "third"):
        rig.type(words)
    assert [s.reason for s in rig.signals("overlap_decided")] == ["preempt", "intent_superseded"]


def test_a_yes_over_the_last_words_of_a_question_is_its_answer() -> None:
    rig = speaking(400, made=True, playout={"lead_ms": 800})
    rig.voice(200)
    rig.partial("yes")
    rig.hush(320)
    rig.give(i.EndOfTurnScored(0.95))
    rig.final("yes")
    assert rig.names("backchannel") == []
    assert asked(rig) == ["yes"]


def test_a_caller_who_never_speaks_is_noticed_and_not_while_an_answer_is_made() -> None:
    rig = call(turn_taking={"idle_prompt_ms": 500})
    rig.advance(600)
    assert rig.names("caller_idle") == ["caller_idle"]
    rig.forget()
    rig.say("tell me")
    rig.advance(800)
    assert rig.kernel.turns.current is not None
    assert rig.names("caller_idle") == []
