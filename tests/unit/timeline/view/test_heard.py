"""Of an answer that was cut, the words that its caller heard are those that the session itself remembers."""

from __future__ import annotations

import pytest

from rspp.nodes import factories
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.view.seen import see
from tests.unit.timeline.tones import sounding_bytes

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def recorded(session: int) -> Recording:
    return assemble([unframe(sounding_bytes(7, session))])


@pytest.mark.parametrize(
    ("session", "heard"),
    [(3, ["I have"]), (4, ["Of course. We close at nine this", ""]), (6, ["You can cancel"])],
)
def test_the_words_that_were_heard_are_how_an_answer_begins_that_was_cut(
    session: int, heard: list[str]
) -> None:
    seen = see(recorded(session), factories())
    cut = [turn for turn in seen.turns if turn.interrupted]
    assert [turn.heard for turn in cut] == heard
    assert all(turn.replied.startswith(turn.heard or "") and turn.replied != turn.heard for turn in cut)
    assert all(turn.heard is None for turn in seen.turns if not turn.interrupted)
    assert {line.heard for line in seen.transcript if not line.cut} == {None}


def test_without_a_kernel_nobody_knows_but_that_nothing_was_heard() -> None:
    seen = see(recorded(4))
    assert [turn.heard for turn in seen.turns if turn.interrupted] == [None, ""]
