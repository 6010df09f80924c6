"""Personal data and secrets are found however they are said; a sentence with a number in it is no finding."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.timeline.redaction.patterns import find
from rspp.timeline.redaction.spoken import runs
from tests.unit.timeline.redaction.cases import HARMLESS, PLANTED


def masked(text: str) -> str:
    kept = list(text)
    for span in find(text):
        kept[span.start : span.end] = ["#"] * (span.end - span.start)
    return "".join(kept)


def test_there_are_enough_cases() -> None:
    assert len(set(PLANTED)) >= 100
    assert len(set(HARMLESS)) >= 60


@pytest.mark.parametrize(("text", "planted"), PLANTED)
def test_what_is_planted_is_found(text: str, planted: str) -> None:
    at = text.rindex(planted)
    left = masked(text)[at : at + len(planted)]
    assert not any(character.isalnum() for character in left), left


@pytest.mark.parametrize(("text", "planted"), PLANTED)
def test_it_is_found_in_the_middle_of_other_talk_and_in_other_letters(text: str, planted: str) -> None:
    said = f"Well, let me see. {text}. And then we went home"
    for whole, part in ((said, planted), (said.upper(), planted.upper())):
        if "ß" in whole or (
            whole.isupper() and any(mark in text for mark in ("sk-", "xox", "ghp", "eyJ", "AIza"))
        ):
            continue  # a key in other letters is no key
        at = whole.rindex(part)
        left = masked(whole)[at : at + len(part)]
        assert not any(character.isalnum() for character in left), left


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_talk_stays_as_it_is(text: str) -> None:
    assert find(text) == []


def test_a_number_in_a_text_that_is_not_whole_is_found_from_three_digits_on() -> None:
    assert [span.kind for span in find("it is four one one", strict=True)] == ["number"]
    assert find("it is four one", strict=True) == []


def test_only_the_kinds_that_are_asked_for_are_found() -> None:
    text = "john.smith@example.com, 4111 1111 1111 1111, my password is hunter2"
    assert {span.kind for span in find(text)} == {"email", "card", "secret"}
    assert {span.kind for span in find(text, ("email",))} == {"email"}
    assert find(text, ()) == []


@given(st.text(max_size=300))
def test_findings_are_places_of_the_text_in_order_and_apart(text: str) -> None:
    end = 0
    for span in find(text, strict=True):
        assert end <= span.start < span.end <= len(text)
        end = span.end


@given(
    st.lists(
        st.sampled_from(["one", "double", "oh", "twenty", "five", "hundred", "4", "12", "plus", "and", "x"]),
        max_size=40,
    )
)
def test_any_mix_of_number_words_is_read_without_fault(words: list[str]) -> None:
    text = " ".join(words)
    for run in runs(text):
        assert run.digits.isdigit()
        assert text[run.start : run.end].strip() != ""


def test_hostile_texts_cost_time_in_proportion() -> None:
    for unit in (
        "1 ",
        "four ",
        "a@",
        "at dot ",
        "-----BEGIN X-----",
        "password is ",
        "aA1",
        "und",
        "is: ",
        "eyJ.",
        "born ",
    ):
        began = time.process_time()
        find(unit * (16_000 // len(unit)))
        assert time.process_time() - began < 1.0, unit


def test_spoken_digits_are_read_as_they_are_meant() -> None:
    def read(text: str) -> list[str]:
        return [run.digits for run in runs(text)]

    assert read("four one, double five, oh") == ["41550"]
    assert read("twenty five and thirty") == ["2530"]
    assert read("forty-one eleven") == ["4111"]
    assert read("triple seven") == ["777"]
    assert read("eight hundred five") == ["8005"]
    assert read("fünfundzwanzig, einunddreißig") == ["2531"]
    assert read("two thousand people") == []
    assert read("12:30 on 2026-05-17 for $1,250.00") == []
    assert read("five apples, six pears") == ["5", "6"]
