"""What is remembered is what was said and, of the assistant's words, what was heard."""

from __future__ import annotations

from rspp.contract.words import CancelScope
from rspp.kernel import effects as fx
from rspp.kernel.effects import Message
from rspp.kernel.memory import ASSISTANT, USER, Conversation, conversation_in
from rspp.spec import voice_template
from rspp.testing.rig import Rig


def history(rig: Rig) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in rig.kernel.memory.history()]


def test_a_committed_turn_is_remembered_whole_and_the_model_is_told_next_time() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("what time is it")
    rig.answer("It is ten.")
    rig.advance(1_000)
    rig.type("and now")
    assert rig.invocations["llm"].history == (
        Message(USER, "what time is it"),
        Message(ASSISTANT, "It is ten."),
    )


def test_of_an_interrupted_answer_only_what_was_heard_is_kept() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("tell me")
    rig.answer("One two three four five six seven eight.", ms=4_000)
    rig.advance(1_000)
    rig.control("cancel", scope=CancelScope.TURN)
    (user, (role, heard)) = history(rig)
    assert user == (USER, "tell me")
    assert role == ASSISTANT
    assert "One two three four five six seven eight.".startswith(heard.rstrip("."))
    assert 0 < len(heard) < len("One two three four five six seven eight.")
    assert "memory_truncated" in rig.names()


def test_an_answer_cut_before_its_first_sound_leaves_the_question_alone() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("tell me")
    rig.control("cancel", scope=CancelScope.TURN)
    assert history(rig) == [(USER, "tell me")]


def test_a_guess_that_was_wrong_is_forgotten() -> None:
    rig = Rig(voice_template(turn_taking={"speculation": True}))
    rig.connect()
    rig.say("what time")
    if rig.kernel.turn() is not None and rig.kernel.turns.current is not None:
        rig.kernel.turns.current.speculative = True
        rig.control("cancel", scope=CancelScope.TURN)
    assert history(rig) == []


def test_the_oldest_goes_first_and_the_memory_never_grows() -> None:
    rig = Rig(voice_template(limits={"history_messages_max": 4}), reports_playback=False)
    rig.connect()
    for n in range(5):
        rig.type(f"q{n}")
        rig.answer(f"A{n}.", ms=20)
        rig.advance(500)
    assert history(rig) == [(USER, "q3"), (ASSISTANT, "A3."), (USER, "q4"), (ASSISTANT, "A4.")]


def test_memory_is_saved_after_each_turn_and_restored_to_the_same() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("q")
    rig.answer("A.", ms=20)
    rig.advance(500)
    saved = [conversation_in({effect.key: effect.value}) for effect in rig.of(fx.SaveState)][-1]
    memory = Conversation(10)
    memory.restore(saved["history"])
    assert memory.history() == rig.kernel.memory.history()


def test_a_store_that_holds_nonsense_restores_an_empty_conversation() -> None:
    memory = Conversation(10)
    for nonsense in (None, 5, "text", {"a": 1}, [1, "ab", ["one"], ["a", "b", "c"], {}]):
        memory.restore(nonsense)
        assert memory.history() == ()
    memory.restore([["user", "hello"], "xy"])
    assert memory.history() == (Message(USER, "hello"),)


def test_a_later_transcript_mends_the_last_time_it_was_said_and_nothing_else() -> None:
    memory = Conversation(10)
    memory.restore([[USER, "fore"], [ASSISTANT, "fore"], [USER, "fore"]])
    assert memory.amend_user("fore", "four")
    assert [message.text for message in memory.history()] == ["fore", "fore", "four"]
    assert not memory.amend_user("five", "six")
