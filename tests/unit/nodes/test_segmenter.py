"""Streamed text is cut into sentences: none lost, none twice, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.event import Text
from tests.unit.nodes.conftest import Bench, MakeNode


def stream(bench: Bench, text: str, size: int) -> list[str]:
    pieces = [piece for at in range(0, len(text), size) for piece in bench.say(text[at : at + size])]
    return pieces + bench.say("", final=True)


def test_a_sentence_leaves_when_the_next_one_begins(node: MakeNode) -> None:
    segmenter = node("segmenter")
    assert segmenter.say("This is the first.") == []
    assert segmenter.say(" And") == ["This is the first."]


def test_the_final_lets_go_of_what_is_held(node: MakeNode) -> None:
    segmenter = node("segmenter")
    assert segmenter.say("No full stop here") == []
    assert segmenter.say("", final=True) == ["No full stop here"]
    assert segmenter.say("", final=True) == []


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("It costs 3.5 euros today. Thanks.", ["It costs 3.5 euros today.", "Thanks."]),
        ("Please ask Dr. Smith about it. He knows.", ["Please ask Dr. Smith about it.", "He knows."]),
        ("We met J. R. Tolkien there. Really!", ["We met J. R. Tolkien there.", "Really!"]),
        ("1. Open the door. 2. Close it again.", ["1. Open the door.", "2. Close it again."]),
        ("Wait for it... now it comes. Yes.", ["Wait for it...", "now it comes.", "Yes."]),
        ('He said "come back soon." Then he left.', ['He said "come back soon."', "Then he left."]),
        ("Is that really so?! Yes it is.", ["Is that really so?!", "Yes it is."]),
        ("One line without an end\nand another", ["One line without an end", "and another"]),
        ("Well… I am not so sure… Really", ["Well… I am not so sure…", "Really"]),
        (
            "今日はとても良い天気ですね。散歩に行きましょう。",
            ["今日はとても良い天気ですね。", "散歩に行きましょう。"],
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_sentence_ends_where_a_reader_says_it_does(
    node: MakeNode, text: str, sentences: list[str], size: int
) -> None:
    assert stream(node("segmenter"), text, size) == sentences


def test_short_sentences_travel_together(node: MakeNode) -> None:
    assert stream(node("segmenter", characters_min=12), "Yes. No. Perhaps so. Bye.", 4) == [
        "Yes. No. Perhaps so.",
        "Bye.",
    ]


def test_a_piece_that_does_not_end_is_cut_between_words(node: MakeNode) -> None:
    pieces = stream(node("segmenter", characters_max=40), "word " * 50, 7)
    assert all(len(piece) <= 40 for piece in pieces)
    assert " ".join(pieces).split() == ["word"] * 50


def test_a_cancelled_turn_leaves_nothing_behind_for_the_next(node: MakeNode) -> None:
    segmenter = node("segmenter")
    segmenter.say("This will not be")
    segmenter.cancel()
    assert segmenter.say("Fresh start here.", final=True, turn="turn-2") == ["Fresh start here."]


def test_pieces_are_numbered_finals_of_the_assistant(node: MakeNode) -> None:
    given = node("segmenter").give(Text("The first piece. The second piece. ", final=True, role="assistant"))
    assert [(p.segment, p.final, p.role) for p in given if isinstance(p, Text)] == [
        (0, True, "assistant"),
        (1, True, "assistant"),
    ]


def test_a_very_long_delta_stays_within_the_outputs_of_one_step(node: MakeNode) -> None:
    text = "This is one sentence. " * 300
    pieces = node("segmenter").say(text, final=True)
    assert len(pieces) <= 64
    assert " ".join(pieces).split() == text.split()


@given(st.text(alphabet="ab .!?\n…,31", max_size=300), st.integers(1, 20))
def test_no_character_but_white_space_is_lost_however_the_stream_is_cut(text: str, size: int) -> None:
    pieces = stream(Bench("segmenter", {"characters_max": 30}), text, size)
    assert "".join("".join(pieces).split()) == "".join(text.split())
