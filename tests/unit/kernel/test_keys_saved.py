"""A caller's keys outlive the process: what was answered is not answered again elsewhere, what was not may be."""

from __future__ import annotations

from typing import Any

from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.flags import CURRENT, Flag
from rspp.kernel.identity import KeyBook
from rspp.kernel.memory import CONVERSATION, conversation_in
from rspp.kernel.snapshot import Durable
from rspp.testing.rig import Rig


def keys(rig: Rig) -> list[set[str]]:
    """The keys that were saved, each time that they were."""
    saved: list[Any] = [conversation_in({effect.key: effect.value}) for effect in rig.of(fx.SaveState)]
    return [set(one["keys"]) for one in saved if "keys" in one]


def answered(**request: Any) -> Rig:
    rig = Rig(reports_playback=False, **request)
    rig.connect()
    rig.type("my name is Ada", idempotency_key="k1")
    assert keys(rig) == [], "nobody has answered it yet"
    rig.answer("Hello Ada.")
    rig.advance(1_000)
    return rig


def test_a_turn_is_saved_with_its_key_in_one_record_as_it_closes() -> None:
    """A process may die between any two: whatever its successor finds, it has a turn and its key, or neither."""
    rig = answered()
    rig.type("and without a key")
    rig.answer("Well.")
    rig.advance(1_000)
    rig.type("another", idempotency_key="k2")
    rig.answer("Yes.")
    rig.advance(1_000)
    saved: list[Any] = [effect.value for effect in rig.of(fx.SaveState)]
    assert {effect.key for effect in rig.of(fx.SaveState)} == {CONVERSATION}
    texts = [{text for role, text in one["history"] if role == "user"} for one in saved]
    assert texts[0] == {"my name is Ada"}
    assert texts[-1] == {"my name is Ada", "and without a key", "another"}
    assert [("another" in said, "k2" in known) for said, known in zip(texts, keys(rig), strict=True)] == [
        ("another" in said, "another" in said) for said in texts
    ]
    assert all("k1" in known for known in keys(rig))


def test_a_successor_that_finds_what_was_saved_last_answers_nothing_twice_and_loses_nothing() -> None:
    rig = answered()
    rig.type("another", idempotency_key="k2")
    rig.answer("Yes.")
    rig.advance(1_000)
    saves = rig.of(fx.SaveState)
    for count in range(len(saves) + 1):  # it died after so many of them
        values: dict[str, object] = {effect.key: effect.value for effect in saves[:count]}
        after = Rig(resume=Durable(revision=count, values=values), epoch=8)
        after.connect()
        after.type("my name is Ada", idempotency_key="k1")
        kept = [one.text for one in after.kernel.memory.history() if one.role == "user"]
        assert ("my name is Ada" in kept) != ("turn_open" in after.names())


def test_words_that_wait_behind_a_turn_are_not_called_answered_with_it() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("first", idempotency_key="k1")
    rig.type("second", idempotency_key="k2")
    rig.advance(1_000)
    # Whichever yields: the first is superseded, or the second waits. What is saved never has words that wait.
    while not keys(rig):
        rig.answer("An answer.")
        rig.advance(1_000)
    saved = keys(rig)[0]
    waiting = {intent.key for intent in rig.kernel.turns.waiting}
    current = rig.kernel.turns.current
    assert not saved & waiting
    assert current is None or current.intent.key not in saved


def test_a_turn_that_ends_with_its_owners_authority_may_be_asked_for_again() -> None:
    rig = Rig(reports_playback=False)
    rig.connect()
    rig.type("answered", idempotency_key="k1")
    rig.answer("Yes.")
    rig.advance(1_000)
    rig.type("cut off", idempotency_key="k2")
    rig.give(i.MigrationChanged("start", 8))
    assert keys(rig)[-1] == {"k1"}
    rig.give(i.MigrationChanged("finish", 8))
    rig.advance(100)
    assert rig.signals("abort")
    assert all("k2" not in saved for saved in keys(rig))


def test_words_that_are_begun_again_under_a_new_epoch_are_answered_once_they_are() -> None:
    rig = answered()
    rig.type("under two epochs", idempotency_key="k2")
    rig.give(i.LeaseChanged("rotated", 9, "lease-9", rig.now + 10**12))
    rig.advance(10)
    assert all("k2" not in saved for saved in keys(rig))
    rig.answer("Here.")
    rig.advance(1_000)
    assert keys(rig)[-1] == {"k1", "k2"}


def test_a_recording_of_before_is_decided_as_before() -> None:
    flags = tuple(flag for flag in CURRENT if flag != Flag.KEYS_SAVED_WITH_TURNS)
    rig = answered(flags=flags)
    assert keys(rig) == []
    rig.give(i.MigrationChanged("start", 8))
    assert keys(rig) == [{"k1"}]
    assert [effect.key for effect in rig.of(fx.SaveState)] == ["history", "next_turn", "history", "keys"]


def test_a_key_whose_window_is_over_is_not_carried_on() -> None:
    book = KeyBook(10, 1_000)
    book.register(0, "old", 1)
    book.register(600, "new", 2)
    assert book.in_force(1_200) == {"new": (600, 2)}
