"""A stand-in has its text's shape and equality, and nothing else of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.kernel.listening import same_words, words_of
from rspp.kernel.shapes import shape
from rspp.timeline.redaction.standins import KEY_BYTES, StandIns

KEY = bytes(range(KEY_BYTES))
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TALK = st.lists(
    st.sampled_from(
        [
            "I",
            "a",
            "to",
            "no",
            "on",
            "4",
            "41",
            "one",
            "two",
            "Yes",
            "card",
            "don't",
            "well-known",
            "größe",
            "x9",
        ]
    ),
    max_size=12,
).map(" ".join)


@given(ANY)
def test_the_shape_and_the_size_are_those_of_the_text(text: str) -> None:
    for standin in (StandIns(KEY).text(text), StandIns(KEY).opaque(text)):
        assert shape(standin) == shape(text)
        assert len(standin) == len(text)
        assert len(standin.encode()) == len(text.encode())
        assert standin.split() == [] or len(words_of(standin)) == len(words_of(text))


@given(TALK, TALK)
def test_two_texts_have_the_same_words_exactly_when_their_stand_ins_have(one: str, other: str) -> None:
    standins = StandIns(KEY)
    assert same_words(standins.text(one), standins.text(other)) == same_words(one, other)


@given(st.lists(st.text("abcdef0123456789-", min_size=1, max_size=12), unique=True, max_size=40))
def test_different_identifiers_stay_different_and_equal_ones_equal(names: list[str]) -> None:
    standins = StandIns(KEY)
    assert len({standins.opaque(name) for name in names}) == len(names)
    assert [standins.opaque(name) for name in names] == [standins.opaque(name) for name in names]


def test_equal_words_are_equal_in_any_letters_and_with_any_marks() -> None:
    standins = StandIns()
    one, two = standins.text("Hello, hello!").split()
    assert one.strip(",").lower() == two.strip("!")


def test_short_words_stay_apart() -> None:
    """There are only 64 stand-ins of two letters; the session's words share them out."""
    standins = StandIns(KEY)
    words = [first + second for first in "abcdefg" for second in "hijklmno"]
    assert len({standins.text(word) for word in words}) == len(words)


def test_another_session_has_other_stand_ins() -> None:
    text = "please move my appointment to friday morning"
    assert StandIns().text(text) != StandIns().text(text)


def test_a_number_never_looks_the_same_twice() -> None:
    """Nor can a number that is readable elsewhere be used to read one that is not."""
    standins = StandIns()
    clear = standins.text("we open at nine").split()[-1]
    card = standins.text("my card is nine nine nine nine nine nine nine nine").split()[3:]
    assert clear not in card
    assert len(set(card)) > 4
    digits = StandIns(KEY).text("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1").split()
    assert len(set(digits[1:])) > 3


def test_what_was_said_before_makes_a_number_look_different() -> None:
    standins = StandIns(KEY)
    after = standins.follow(b"", "my card is")
    assert standins.text("four one one", after) != standins.text("four one one")
    assert standins.text("four one one", after) == standins.text("four one one", after)


def test_however_a_number_is_cut_into_segments_it_has_the_same_stand_in() -> None:
    standins = StandIns(KEY)
    whole = standins.text("four one two")
    after = standins.follow(b"", "four")
    assert f"{standins.text('four')} {standins.text('one two', after)}" == whole


def test_hostile_texts_cost_time_in_proportion() -> None:
    for unit in ("1 ", "aA1", "four ", "x", "é", "'"):
        began = time.process_time()
        StandIns(KEY).text(unit * (16_000 // len(unit)))
        assert time.process_time() - began < 1.0, unit


def test_words_that_everybody_says_stand_for_themselves() -> None:
    standins = StandIns(KEY)
    standins.keep(["yeah", "mm-hmm", "i", "see", "one"])
    assert standins.text("Yeah, mm-hmm. See?") == "Yeah, mm-hmm. See?"
    assert standins.text("one") != "one"
    assert all(
        standins.text(word) not in ("yeah", "see") for word in map(str, ("what", "the", "cat", "yeti", "set"))
    )


def test_nothing_of_a_word_is_in_its_stand_in_but_its_form() -> None:
    assert set(StandIns(KEY).text("swordfish and horses")) <= set("xyzqwkjv ")


def test_no_stand_ins_are_made_with_a_short_key_and_none_shows_its_key() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        StandIns(b"short")
    assert repr(StandIns(KEY)) == "StandIns()"
