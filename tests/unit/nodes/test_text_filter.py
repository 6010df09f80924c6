"""No listed text passes, however the stream is cut."""

from __future__ import annotations

import pytest

from rspp.contract.event import Text
from tests.unit.nodes.conftest import Bench, MakeNode


def stream(bench: Bench, text: str, size: int) -> str:
    passed = [piece for at in range(0, len(text), size) for piece in bench.say(text[at : at + size])]
    return "".join(passed + bench.say("", final=True))


@pytest.mark.proves("F-118")
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_a_banned_text_is_redacted_even_when_it_is_cut_in_two(node: MakeNode, size: int) -> None:
    bench = node("text_filter", replace={"credit card": "[redacted]"}, remove=["darn"])
    assert stream(bench, "The Credit Card is darn good.", size) == "The [redacted] is  good."


def test_a_word_inside_another_word_is_left_alone(node: MakeNode) -> None:
    assert node("text_filter", remove=["um"]).say("An umbrella, um, is here.", final=True) == [
        "An umbrella, , is here."
    ]


def test_clean_text_is_unchanged(node: MakeNode) -> None:
    text = "Nothing to see here, and 3_000 of it."
    assert stream(node("text_filter", remove=["secret"], markdown="strip"), text, 4) == text


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_marks_that_a_voice_cannot_say_are_taken_out(node: MakeNode, size: int) -> None:
    bench = node("text_filter", markdown="strip")
    assert (
        stream(bench, "**Bold** and `code` and [a link](https://x.y/z).", size) == "Bold and code and a link."
    )


@pytest.mark.parametrize("size", [1, 4, 1000])
def test_a_dash_is_a_mark_at_the_beginning_of_a_line_only(node: MakeNode, size: int) -> None:
    bench = node("text_filter", markdown="strip")
    assert stream(bench, "- one\n- two - three [sic] snake_case", size) == "one\ntwo - three [sic] snake_case"


def test_a_bracket_that_is_no_link_holds_nothing_back(node: MakeNode) -> None:
    assert node("text_filter", markdown="strip").say("[aside] this goes on") == ["[aside] this goes "]


def test_each_revision_of_a_transcript_is_filtered_whole(node: MakeNode) -> None:
    bench = node("text_filter", replace={"foo": "bar"})
    assert bench.say("so foo", role="user") == ["so bar"]
    assert bench.say("so foo it is", role="user", final=True) == ["so bar it is"]


def test_a_final_that_is_emptied_still_ends_its_segment(node: MakeNode) -> None:
    given = node("text_filter", remove=["secret"]).give(Text("secret", final=True, role="assistant"))
    assert given == [Text("", final=True, role="assistant")]


def test_what_a_cancelled_turn_held_back_is_forgotten(node: MakeNode) -> None:
    bench = node("text_filter", remove=["long banned text"])
    bench.say("held")
    bench.cancel()
    assert bench.say("new", final=True) == ["new"]
