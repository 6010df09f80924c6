"""A recording in a terminal: rows with their lanes as marks, a chart of each turn's latency, and what is missing.

Texts come from peers: what a terminal would obey is shown as what it is, not obeyed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rspp.timeline.view.rows import CONTROL, DATA, TELEMETRY, Row
from rspp.timeline.view.seen import Head, TurnSeen
from rspp.timeline.waterfall import STAGES

LANES: Final = (CONTROL, DATA, TELEMETRY)
BAR_COLUMNS: Final = 56
HEADING: Final = f"{'time s':>9}  cdt  {'node':14} {'turn':>4}  what"


def plain(text: str) -> str:
    """The text without anything that moves a cursor, sets a colour or turns the writing around."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text)


def cut(line: str, columns: int | None) -> str:
    """A line that fits: what is too long for a terminal would break the columns of all others."""
    return line if columns is None or len(line) <= columns else f"{line[: columns - 1]}…"


def row_line(row: Row, numbers: Mapping[str, int]) -> str:
    """One row: an input is a `>` in its lane, what the kernel did a `*`; a turn that was taken back unheard is a `~`."""
    mark = ">" if row.direction == "in" else "*"
    lanes = "".join(mark if row.lane == lane else "." for lane in LANES)
    turn = numbers.get(row.turn or "", "~" if row.turn else "")
    what = f"{row.kind} {row.name}" if row.name and row.name != row.kind else row.kind
    said = f'"{row.text}"' if row.text is not None else ""
    more = "  ".join(filter(None, (said, row.what, f"({row.count})" if row.count > 1 else "")))
    node = (row.node or "")[:14]
    return plain(f"{row.time_ms / 1000:9.3f}  {lanes}  {node:14} {turn!s:>4}  {what[:30]:30} {more}").rstrip()


def head_lines(head: Head) -> Iterator[str]:
    """What was recorded, and how."""
    yield plain(
        f"session {head.session_id}  tenant {head.tenant_id}  {head.pipeline}@{head.version}  {head.profile}"
    )
    yield plain(
        f"opened {head.opened}  {head.duration_ms / 1000:.1f} s  {head.turns} {'turn' if head.turns == 1 else 'turns'}"
        f"{f' and {head.superseded} taken back' if head.superseded else ''}  ended: {head.ended or 'not in the recording'}"
    )
    path = "".join(f", {change}" for change in head.level_path)
    yield plain(f"level {head.level}{path}  policy {head.policy_id}  sampled {head.sampled}  {head.origin}")


def foot_lines(head: Head) -> Iterator[str]:
    """What of it is missing, and what it comes to."""
    for gap in head.gaps:
        yield plain(f"gap: {gap}")
    if head.torn:
        yield "torn: the last record is not whole and was left out"
    if head.unknown_records:
        yield f"{head.unknown_records} records of a later version were skipped"
    if head.withheld_texts or head.withheld_audio:
        yield f"withheld, wholly or in part: {head.withheld_texts} texts, {head.withheld_audio} frames of audio"
    if head.not_replayed:
        yield plain(f"texts that were sent are not shown: {head.not_replayed}")
    done = "" if head.effects is None else f", {head.effects} effects"
    yield f"{head.inputs} inputs{done}, {'whole' if head.whole else f'not whole: {head.lacks}'}"
    yield f"digest {head.digest or 'none'}"
    if head.digest_replayed is not None and head.digest_replayed == head.digest:
        yield "the kernel, run again, comes to the same"
    elif head.digest_replayed is not None:
        yield f"BUT the kernel, run again, comes to {head.digest_replayed}"


def turn_lines(turns: Sequence[TurnSeen]) -> Iterator[str]:
    """Each turn with its words, and its latency as a chart; all charts are of one scale."""
    longest = max((turn.whole_ms or 0 for turn in turns), default=0)
    for turn in turns:
        evidence = "complete" if not turn.evidence_missing else f"lacks {', '.join(turn.evidence_missing)}"
        yield plain(f"turn {turn.number}  {turn.turn_id}  {turn.ends}  evidence {evidence}")
        if turn.asked:
            yield plain(f"  caller     {turn.asked}")
        if turn.replied:
            yield plain(f"  assistant  {turn.replied}")
        yield from _chart(turn, longest)
        for call in turn.calls:
            if call.trouble:
                yield plain(f"  trouble    {call.trouble}")


def unheard(turn: TurnSeen) -> str:
    """Why there is no latency of a turn."""
    if turn.heard_from_ms is None:
        return "nothing was heard of it"
    return (
        "when the speech before it ended is not known: inputs are missing"
        if turn.broken
        else "it answers no speech"
    )


def _chart(turn: TurnSeen, longest: float) -> Iterator[str]:
    if turn.whole_ms is None or turn.speech_ended_ms is None or turn.heard_from_ms is None:
        yield f"  {unheard(turn)}"
        return
    ends = (
        f"from {turn.speech_ended_ms / 1000:.3f} s ({turn.speech_by}) to {turn.heard_from_ms / 1000:.3f} s"
        f" ({turn.heard_by})"
    )
    yield f"  {'heard after':16}{turn.whole_ms:8.1f} ms  {ends}"
    if turn.broken:
        yield "  which stage took the time is not known: inputs of it are missing"
    elif not turn.stages_ms:
        yield "  which stage took the time is known from level L1 on"
    done = 0.0
    for stage in STAGES:
        if stage in turn.stages_ms:
            after = done + turn.stages_ms[stage]
            first, last = (round(at / longest * BAR_COLUMNS) if longest else 0 for at in (done, after))
            bar = " " * first + "#" * (last - first or (1 if after > done else 0))
            yield f"  {stage:16}{turn.stages_ms[stage]:8.1f}     {bar}".rstrip()
            done = after
