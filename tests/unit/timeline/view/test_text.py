"""A terminal shows rows, charts and what is missing, and obeys nothing that a peer wrote."""

from __future__ import annotations

import re

import msgspec
import pytest

from rspp.contract.event import Text
from rspp.contract.words import RecordingLevel
from rspp.kernel.inputs import CallProduced
from rspp.nodes import factories
from rspp.timeline.records import Gap
from rspp.timeline.view.seen import see
from rspp.timeline.view.text import BAR_COLUMNS, cut, foot_lines, head_lines, plain, row_line, turn_lines
from tests.unit.timeline.calls import simulated

EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\u202e gnirts \x9b31m"


def test_what_a_terminal_would_obey_is_shown_as_what_it_is() -> None:
    assert plain(EVIL) == r"\u001b[2J\u001b]0;owned\u0007\u000d\u000a\u202e gnirts \u009b31m"
    recording = simulated(7, 0)
    recording.nodes.clear()
    recording.head = msgspec.structs.replace(recording.head, session_id=EVIL, policy_id=EVIL)
    for step, (at, received) in recording.inputs.items():
        if isinstance(received, CallProduced) and isinstance(received.payload, Text):
            payload = msgspec.structs.replace(received.payload, text=EVIL)
            recording.inputs[step] = (at, msgspec.structs.replace(received, payload=payload))
    seen = see(recording, factories())
    numbers = {turn.turn_id: turn.number for turn in seen.turns}
    printed = [*head_lines(seen.head), *turn_lines(seen.turns), *foot_lines(seen.head)]
    printed += [row_line(row, numbers) for row in seen.rows]
    assert all(line.isprintable() for line in printed)
    assert any("owned" in line for line in printed)


def test_a_row_has_its_time_lane_node_turn_and_words() -> None:
    seen = see(simulated(7, 0), factories())
    numbers = {turn.turn_id: turn.number for turn in seen.turns}
    row = next(row for row in seen.rows if row.kind == "send" and row.turn == "s0/turn-1" and row.text)
    line = row_line(row, numbers)
    assert re.match(r"\s+3\.134  \.\*\.  segmenter +1  send text ", line)
    assert '"Yes, there is."' in line
    voice = next(row for row in seen.rows if row.kind == "audio_received")
    assert "  .>.  caller " in row_line(voice, numbers)
    assert row_line(voice, numbers).endswith("(50)")


def test_a_chart_is_as_long_as_its_turn_and_its_pieces_follow_each_other() -> None:
    seen = see(simulated(7, 0), factories())
    longest = max(turn.whole_ms or 0 for turn in seen.turns)
    for turn in seen.turns:
        lines = list(turn_lines([turn, msgspec.structs.replace(turn, whole_ms=longest)]))[: 3 + 1 + 6]
        bars = [line[31:] for line in lines if "#" in line]
        ends = [len(bar) for bar in bars]
        assert ends == sorted(ends)
        assert abs(ends[-1] - (turn.whole_ms or 0) / longest * BAR_COLUMNS) <= 1
        starts = [bar.index("#") for bar in bars]
        assert all(abs(start - end) <= 1 for start, end in zip(starts[1:], ends[:-1], strict=True))


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (RecordingLevel.L0, "which stage took the time is known from level L1 on"),
        (RecordingLevel.L0, "texts that were sent are not shown: the recording has no inputs"),
        (RecordingLevel.L1, "the kernel, run again, comes to the same"),
        (RecordingLevel.L1, "frames of audio"),
    ],
)
def test_what_is_there_and_what_is_not_is_said(level: RecordingLevel, said: str) -> None:
    seen = see(simulated(7, 0, level=level), factories())
    assert said in "\n".join([*turn_lines(seen.turns), *foot_lines(seen.head)])


def test_inputs_that_are_missing_are_named_and_no_latency_is_made_of_the_rest() -> None:
    recording = simulated(7, 0)
    first = see(recording, None).turns[0]
    ended = (first.speech_ended_ms or 0) * 1_000_000 + recording.began_at
    hole = [step for step, (at, _) in recording.inputs.items() if abs(at - ended) < 200_000_000]
    for step in hole:
        del recording.inputs[step]
    seen = see(recording, None)
    text = "\n".join([*turn_lines(seen.turns[:1]), *foot_lines(seen.head)])
    assert "when the speech before it ended is not known: inputs are missing" in text
    assert f"not whole: inputs {hole[0]} to {hole[-1]} are missing" in text
    assert "endpointing" not in text


def test_a_recording_that_broke_off_does_not_say_that_nothing_was_done() -> None:
    recording = simulated(7, 0)
    recording.end = None
    line = "\n".join(foot_lines(see(recording, None).head))
    assert "inputs, not whole: the end is missing" in line
    assert "effects" not in line


def test_a_call_that_kept_the_caller_waiting_is_named_below_its_turn() -> None:
    recording = simulated(7, 0)
    name, evidence = next(iter(recording.evidence.items()))
    assert not any("trouble" in line for line in turn_lines(see(recording, None).turns))
    slow = msgspec.structs.replace(
        evidence.invocation_outcomes[0], modality="llm", provider="llm-b", attempts=2, total_latency_ms=1_700
    )
    recording.evidence[name] = msgspec.structs.replace(evidence, invocation_outcomes=(slow,))
    lines = list(turn_lines(see(recording, None).turns[:1]))
    assert lines[-1] == "  trouble    llm llm-b: answered at attempt 2, after 1700 ms"


def test_a_row_is_cut_at_a_terminals_width_and_nowhere_else() -> None:
    assert cut("x" * 120, None) == "x" * 120
    assert cut("x" * 100, 100) == "x" * 100
    assert cut("x" * 101, 100) == "x" * 99 + "…"


def test_a_digest_that_does_not_come_again_is_said_loudly() -> None:
    recording = simulated(7, 0)
    assert recording.end is not None
    recording.end = msgspec.structs.replace(recording.end, digest="0" * 64)
    assert "BUT the kernel, run again, comes to" in "\n".join(foot_lines(see(recording, factories()).head))


def test_gaps_torn_ends_and_foreign_records_are_named() -> None:
    recording = simulated(7, 0)
    recording.gaps.append(Gap(step=9, at=0, reason="no_room"))
    recording.torn, recording.unknown = True, 3
    text = "\n".join(foot_lines(see(recording, factories()).head))
    for said in (
        "gap: from input 9 on: no_room",
        "torn: the last record",
        "3 records of a later version",
        "not whole",
    ):
        assert said in text
