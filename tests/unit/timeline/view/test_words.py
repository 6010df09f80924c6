"""No stand-in is ever shown as words: what is masked is named, what is withheld is counted."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.kernel.inputs import CallProduced, TextReceived
from rspp.nodes import factories
from rspp.timeline.recording import Recording
from rspp.timeline.records import Span
from rspp.timeline.story import told
from rspp.timeline.view.seen import see
from rspp.timeline.view.words import Marked, Wording, joined, marked, withheld
from tests.unit.timeline.calls import simulated

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

STAND_IN = "qzv wxk"


def test_masked_places_are_named_and_withheld_texts_counted() -> None:
    recording = simulated(7, 0)
    recording.masked[5] = [Span(11, 30, "card"), Span(40, 47, "phone")]
    text = "my card is 0000 0000 0000 0000 and call 0000000 now"
    assert marked(recording, 5, text).shown == "my card is [card] and call [phone] now"
    recording.withheld_texts.add(6)
    assert marked(recording, 6, "x" * 23).shown == "(withheld, 23 characters)"
    assert marked(recording, 7, "as it was").shown == "as it was"
    assert withheld("").shown == ""


@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, 9, "card"), Span(5, 12, "phone")],
        [Span(5, 12, "phone"), Span(0, 9, "card")],
    ],
)
def test_places_that_overlap_hide_the_whole_text(spans: list[Span]) -> None:
    recording = simulated(7, 0)
    recording.masked[1] = spans
    assert marked(recording, 1, "abcdefghijklmnop").shown == "(withheld, 16 characters)"


def test_a_place_outside_its_text_is_no_place() -> None:
    recording = simulated(7, 0)
    recording.masked[1] = [Span(-2, 3, "card"), Span(2, 99, "card"), Span(3, 3, "card")]
    assert marked(recording, 1, "abcdef") == Marked("abcdef")


def test_what_is_masked_across_a_seam_is_one_place() -> None:
    pieces = [Marked("at 00", (Span(3, 5, "card"),)), Marked("00 ok", (Span(0, 2, "card"),))]
    assert joined(pieces).shown == "at [card] ok"
    assert joined([withheld("ab"), withheld("cde")]).shown == "(withheld, 5 characters)"
    assert joined(pieces).cut(4, 8).shown == "[card] "


def _hide(recording: Recording, modality: str) -> int:
    """Put a stand-in for the first long text of a model into the recording, masked; where."""
    calls = {one.facts["call"]: one.name for one in recording.items if one.what == "invoke"}
    for step, (at, received) in recording.inputs.items():
        if isinstance(received, CallProduced) and isinstance(received.payload, Text):
            text = received.payload.text
            if calls.get(received.call_id) == modality and len(text.strip()) >= len(STAND_IN):
                text = STAND_IN + text[len(STAND_IN) :]
                payload = msgspec.structs.replace(received.payload, text=text)
                recording.inputs[step] = (at, msgspec.structs.replace(received, payload=payload))
                recording.masked[step] = [Span(0, len(STAND_IN), "card")]
                return step
    raise AssertionError("no such text")


def test_what_was_sent_of_a_masked_answer_is_masked_too() -> None:
    recording = simulated(7, 2)
    joined_text = _one_piece(recording)
    seen = see(recording, factories())
    everything = repr([seen.rows, seen.transcript, seen.turns])
    assert STAND_IN not in everything
    assert "[card]" in seen.turns[0].replied
    assert joined_text not in seen.turns[0].replied
    sent = [row.text for row in seen.rows if row.kind == "send" and row.text]
    assert any("[card]" in text for text in sent)


def _one_piece(recording: Recording) -> str:
    """Mask the beginning of the first answer, over as many of its tokens as it takes."""
    calls = {one.facts["call"]: one.name for one in recording.items if one.what == "invoke"}
    recording.nodes.clear()  # the segmenter runs again, on what is in the inputs now
    left, hidden = STAND_IN, ""
    for step, (at, received) in recording.inputs.items():
        if not left:
            break
        if (
            isinstance(received, CallProduced)
            and isinstance(received.payload, Text)
            and calls.get(received.call_id) == "llm"
        ):
            text = received.payload.text
            size = min(len(text), len(left))
            hidden += text[:size]
            payload = msgspec.structs.replace(received.payload, text=left[:size] + text[size:])
            recording.inputs[step] = (at, msgspec.structs.replace(received, payload=payload))
            recording.masked[step] = [Span(0, size, "card")]
            left = left[size:]
    assert not left
    return hidden


def test_what_a_caller_said_that_is_masked_is_masked_wherever_it_is_told_again() -> None:
    recording = simulated(7, 0)
    step = _hide(recording, "stt")
    seen = see(recording, factories())
    assert STAND_IN not in repr([seen.rows, seen.transcript, seen.turns])
    assert any(
        row.step == step and "[card]" in (row.text or "") for row in seen.rows if row.direction == "in"
    )


def test_what_cannot_be_traced_back_is_withheld_if_anything_was_masked() -> None:
    recording = simulated(7, 0)
    wording = Wording(recording, told(recording))
    assert wording.sent("s0/turn-1", "MADE BY A NODE").shown == "MADE BY A NODE"
    _hide(recording, "stt")
    wording = Wording(recording, told(recording))
    assert wording.sent("s0/turn-1", "MADE BY A NODE").shown == "(withheld, 14 characters)"


def test_typed_messages_are_judged_like_spoken_ones() -> None:
    recording = simulated(7, 0)
    recording.inputs[1] = (recording.inputs[1][0], TextReceived(STAND_IN, 1))
    recording.withheld_texts.add(1)
    seen = see(recording)
    assert STAND_IN not in repr([seen.rows, seen.transcript])
    assert "(withheld, 7 characters)" in [line.text for line in seen.transcript]
