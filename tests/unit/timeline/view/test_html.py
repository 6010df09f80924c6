"""The page of a session: complete, small, and deaf to what a caller says to it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.kernel.inputs import CallProduced
from rspp.nodes import factories
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import Gap, unframe
from rspp.timeline.view.html import session_page
from rspp.timeline.view.seen import Seen, see
from tests.unit.timeline.calls import simulated
from tests.unit.timeline.tones import sounding_bytes
from tests.unit.timeline.view.test_page import Elements

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

HOSTILE = "</script><img src=x onerror=\"document.title='pwned'\"><svg onload=alert(1)>"


def shown(recording: Recording, *, frames: bool = False) -> tuple[Seen, str]:
    seen = see(recording, factories(), frames=frames)
    return seen, session_page(seen, seen.rows)


def data_of(html: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="session">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data


def hostile(recording: Recording) -> Recording:
    """Everybody in it says the same bad thing, and it is called so, too."""
    recording.nodes.clear()
    for step, (at, received) in recording.inputs.items():
        if isinstance(received, CallProduced) and isinstance(received.payload, Text):
            payload = msgspec.structs.replace(received.payload, text=HOSTILE)
            recording.inputs[step] = (at, msgspec.structs.replace(received, payload=payload))
    request = msgspec.structs.replace(recording.head.request, session_id=HOSTILE)
    recording.head = msgspec.structs.replace(
        recording.head, session_id=HOSTILE, tenant_id=HOSTILE, request=request, policy_id=HOSTILE
    )
    return recording


def test_what_a_caller_or_a_model_says_never_becomes_markup() -> None:
    seen, html = shown(hostile(simulated(7, 0)))
    assert any(HOSTILE in line.text for line in seen.transcript)
    read = Elements(html)
    assert "img" not in read.names()
    assert [name for name, _ in read.found].count("script") == 2
    assert not any(key.startswith("on") for _, attributes in read.found for key in attributes)
    assert HOSTILE in read.text


def test_nothing_is_fetched_from_anywhere() -> None:
    _, html = shown(assemble([unframe(sounding_bytes())]), frames=True)
    for name, attributes in Elements(html).found:
        for key in ("src", "href"):
            value = attributes.get(key) or ""
            assert value == "" or value.startswith(("data:", "#")), (name, value)
    assert "@import" not in html
    assert "url(" not in html


def test_the_page_holds_turns_latency_words_evidence_and_all_rows() -> None:
    seen, html = shown(simulated(7, 3, "all"))
    text = Elements(html).text
    for turn in seen.turns:
        assert turn.asked in text
        assert turn.replied in text
        assert f"{turn.whole_ms:.0f} ms" in text
        assert (turn.plan_hash or "") in text
    assert seen.head.digest is not None
    assert seen.head.digest in text
    assert "complete" in text
    rows = data_of(html)["rows"]
    assert isinstance(rows, list)
    assert len(rows) == len(seen.rows)
    assert "The sound is not in this recording" in text
    assert "audio" not in Elements(html).names()


def test_the_lanes_hold_what_the_caller_waited_for() -> None:
    seen, html = shown(simulated(7, 0))
    waits = data_of(html)["waits"]
    assert isinstance(waits, list)
    assert [(one["from"], one["whole"], one["stages"]) for one in waits] == [
        (turn.speech_ended_ms, turn.whole_ms, turn.stages_ms)
        for turn in seen.turns
        if turn.whole_ms is not None
    ]


def test_evidence_that_lacks_something_says_what() -> None:
    recording = simulated(7, 0)
    record, evidence = next(iter(recording.evidence.items()))
    recording.evidence[record] = msgspec.structs.replace(evidence, determinism_seed=None)
    assert "lacks determinism_seed" in Elements(shown(recording)[1]).text


def test_sound_is_in_the_page_where_there_is_sound() -> None:
    _, html = shown(assemble([unframe(sounding_bytes())]), frames=True)
    player = next(attributes for name, attributes in Elements(html).found if name == "audio")
    assert (player["src"] or "").startswith("data:audio/wav;base64,UklGR")
    data = data_of(html)
    for side in ("caller", "assistant"):
        levels = data[side]
        assert isinstance(levels, list)
        assert max(levels) > 50


def test_sound_that_does_not_fit_is_cut_and_the_page_says_so() -> None:
    seen = see(assemble([unframe(sounding_bytes())]), factories(), frames=True)
    html = session_page(seen, seen.rows, sound_bytes_max=160_000)
    assert len(html) < 160_000 * 4 / 3 + 400_000
    assert re.search(r"Only the first 10 s of \d+ s fit in this page", Elements(html).text)


@pytest.mark.parametrize("missing", ["gap", "torn", "later"])
def test_what_is_missing_is_said_on_top(missing: str) -> None:
    recording = simulated(7, 0)
    if missing == "torn":
        recording.torn = True
        said = "The last record is not whole"
    elif missing == "later":
        recording.unknown = 2
        said = "2 records of a later version were skipped"
    else:
        recording.gaps.append(Gap(step=5, at=0, reason="no_room"))
        said = "Gap from input 5 on: no_room"
    assert said in Elements(shown(recording)[1]).text
