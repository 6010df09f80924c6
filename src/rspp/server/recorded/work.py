"""What a reading process does with a recording's bytes: nothing here waits, and nothing here knows who asked.

view      the transcript, the turns, the rows, the evidence, the figures, the graph in force
sound     each recorded side as a WAV, and how loud it is over its length
replay    a kernel on the same inputs, held against what was recorded
diff      two recordings, held against each other
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from rspp.contract.errors import MisuseError, RsppError
from rspp.kernel.hosting import NodeFactory
from rspp.media.wav import Sound as Samples
from rspp.media.wav import format_wav
from rspp.nodes import factories
from rspp.server.recorded.job import (
    ENCODE,
    ROWS_IN_CHUNK,
    Job,
    Kind,
    Side,
    Source,
    View,
    Withheld,
)
from rspp.server.recorded.resolved import of_recording
from rspp.server.recorded.words import DiffResult, ReplayResult, Said, Stage, TimelineRow, Turn
from rspp.timeline.diff import Report, compare
from rspp.timeline.diff.sources import EXACT, recorded
from rspp.timeline.library import assembled
from rspp.timeline.packing import sound_of
from rspp.timeline.prices import Prices
from rspp.timeline.recording import Recording
from rspp.timeline.redaction.reading import redacted
from rspp.timeline.replay.exact import ExactRun
from rspp.timeline.replay.installed import nodes_for
from rspp.timeline.replay.integrity import checked
from rspp.timeline.story import told
from rspp.timeline.summary import summarise
from rspp.timeline.view.again import again
from rspp.timeline.view.rows import Row
from rspp.timeline.view.seen import Line, Seen, TurnSeen, ms_of, see
from rspp.timeline.view.sound import RATE, Track, assistant_track, caller_track
from rspp.timeline.waterfall import STAGES, watched

PEAKS: Final = 600
CALLER: Final = "caller"
ASSISTANT: Final = "assistant"
# A page is for people: what is longer is cut, and ends with a mark of that.
LINE_CHARACTERS_MAX: Final = 20_000
ROW_CHARACTERS_MAX: Final = 1_000
DIFFERENCES_MAX: Final = 200
PROBLEMS_MAX: Final = 50

# The bytes of each part of a recording, in the order of its pieces.
Parts = Sequence[bytes]


def done(job: Job, parts: Sequence[Parts]) -> list[bytes]:
    """The answer's blobs; raises RsppError for a recording that is none, or of which this cannot be had."""
    given = [_read(source, blobs) for source, blobs in zip(job.sources, parts, strict=True)]
    if job.kind is Kind.VIEW:
        recording, withheld = given[0]
        return view(recording, withheld, again_too=job.again, prices=job.prices)
    if job.kind is Kind.SOUND:
        return sound(given[0][0])
    if job.kind is Kind.REPLAY:
        return [ENCODE(replay(given[0][0]))]
    return [ENCODE(diff(given[0][0], given[1][0], [one.name for one in job.sources]))]


def _read(source: Source, parts: Parts) -> tuple[Recording, list[Withheld]]:
    """The recording as its grant shows it, and what that does not show."""
    pieces = {one.first: (one.last, data) for one, data in zip(source.pieces, parts, strict=True)}
    seen = redacted(assembled(pieces, source.name), source.grant)
    return seen.recording, [Withheld(one.payload_class.value, one.count) for one in seen.markers]


def _nodes(recording: Recording) -> Mapping[str, NodeFactory]:
    """The nodes of its graph; those of RSPP alone where its own are not here."""
    try:
        return nodes_for(recording.head.graph)
    except RsppError:
        return factories()


# ---- the view ------------------------------------------------------------------------------------------------------


def view(
    recording: Recording, withheld: list[Withheld], *, again_too: bool, prices: Prices | None = None
) -> list[bytes]:
    """What is shown of a session, and its rows in chunks."""
    seen = see(recording, _nodes(recording) if again_too else None)
    numbers = {turn.turn_id: turn.number for turn in seen.turns}
    rows = [timeline_row(row, numbers) for row in seen.rows]
    chunks = [ENCODE(rows[at : at + ROWS_IN_CHUNK]) for at in range(0, len(rows), ROWS_IN_CHUNK)]
    made = View(
        pipeline=recording.head.graph.ref,
        opened_wall_ms=recording.head.opened_wall_ms,
        opened_seconds=seen.head.duration_ms / 1000,
        ended=seen.head.ended,
        epoch=recording.head.request.epoch,
        level=" > ".join([recording.head.level.value, *(one.new.value for one in recording.levels)]),
        transcript=transcript(seen, numbers),
        turns=[turn_of(turn) for turn in seen.turns],
        withheld=withheld,
        problems=_problems(seen),
        has_sound=_has_sound(recording),
        rows=len(rows),
        chunks=len(chunks),
    )
    figures = summarise(recording, prices, seen=seen)
    return [ENCODE(made), *map(ENCODE, (_evidence(recording), figures, of_recording(recording))), *chunks]


def timeline_row(row: Row, numbers: Mapping[str, int]) -> TimelineRow:
    """One row, with what it says in words."""
    name = row.name if row.name != row.kind else ""
    said = f'"{row.text}"' if row.text is not None else ""
    text = "  ".join(filter(None, (name, said, row.what)))
    return TimelineRow(
        number=row.row,
        at_ms=row.time_ms,
        direction=row.direction,
        lane=row.lane,
        node=row.node or "",
        turn=numbers.get(row.turn or ""),
        kind=row.kind,
        text=_cut(text, ROW_CHARACTERS_MAX),
        count=row.count,
    )


def turn_of(turn: TurnSeen) -> Turn:
    """One turn; its stages stand one after the other, from the end of the caller's speech."""
    stages: list[Stage] = []
    at = turn.speech_ended_ms or 0.0
    for name in STAGES if turn.stages_ms else ():
        took = turn.stages_ms.get(name, 0.0)
        stages.append(Stage(name=name, began_ms=round(at, 3), took_ms=took))
        at += took
    trouble = [one.trouble for one in turn.calls if one.trouble is not None]
    if turn.broken:
        trouble.append("inputs of it are not in the recording")
    if turn.ended_ms is not None and turn.evidence_missing:
        trouble.append(f"its evidence lacks {', '.join(turn.evidence_missing)}")
    return Turn(
        number=turn.number,
        id=turn.turn_id,
        began_ms=turn.opened_ms,
        ended_ms=turn.ended_ms,
        outcome="open" if turn.terminal == "none" else turn.terminal,
        reason=turn.reason or ("interrupted" if turn.interrupted else ""),
        stages=stages,
        heard_after_ms=turn.whole_ms,
        interrupt_stop_ms=turn.stopped_after_ms,
        trouble=trouble,
    )


def transcript(seen: Seen, numbers: Mapping[str, int]) -> list[Said]:
    """Who said what; last, of a session that goes on, what is being said and is not final yet."""
    turns = {turn.turn_id: turn for turn in seen.turns}
    lines = [_said(line, numbers, turns.get(line.turn_id or "")) for line in seen.transcript]
    latest = seen.story.heard[-1] if seen.story.heard else None
    if seen.head.ended is None and latest is not None and not latest.final and not latest.masked:
        withheld = seen.head.withheld_texts > 0
        text = f"(withheld, {len(latest.text)} characters)" if withheld else _cut(latest.text)
        at_ms = ms_of(seen.story, latest.at) or 0.0
        lines.append(Said(turn=0, speaker="user", text=text, at_ms=at_ms, final=False))
    return lines


def _said(line: Line, numbers: Mapping[str, int], turn: TurnSeen | None) -> Said:
    answer = line.role == "assistant" and turn is not None
    return Said(
        turn=numbers.get(line.turn_id or "", 0),
        speaker=line.role,
        text=_cut(line.text),
        at_ms=line.time_ms,
        heard_ms=float(turn.heard_ms) if answer and turn is not None else None,
        heard=None if line.heard is None else _cut(line.heard),
        interrupted=line.cut,
        final=not answer or turn is None or turn.ended_ms is not None,
    )


def _evidence(recording: Recording) -> list[dict[str, Any]]:
    stamps = {one.turn_id: one for one in recording.stamps.values()}
    return [
        {
            "record_id": record_id,
            "turn": one.turn_id,
            "evidence": msgspec.to_builtins(one),
            "close": msgspec.to_builtins(stamps.get(one.turn_id)),
        }
        for record_id, one in recording.evidence.items()
    ]


def _problems(seen: Seen) -> list[str]:
    """What is wrong with the recording itself, or with what a kernel makes of it now."""
    head = seen.head
    found = [f"a gap {gap}" for gap in head.gaps]
    if head.torn:
        found.append("its last record is not whole and was left out")
    if head.unknown_records:
        found.append(f"{head.unknown_records} records are of a kind that this version does not know")
    if head.digest_replayed not in (None, head.digest):
        found.append("the kernel of this version does not do the same again on its inputs")
    if head.ended is not None and head.lacks is not None:
        found.append(head.lacks)
    return found[:PROBLEMS_MAX]


def _cut(text: str, most: int = LINE_CHARACTERS_MAX) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


# ---- sound ---------------------------------------------------------------------------------------------------------


def _has_sound(recording: Recording) -> bool:
    """Is any sound in it that is more than a stand-in?"""
    return any(
        step not in recording.without_sound and sound_of(received)
        for step, (_, received) in recording.inputs.items()
    )


def sound(recording: Recording) -> list[bytes]:
    """The sides that were recorded, as WAV; nothing of a side that is silence from end to end because nothing was kept."""
    if not _has_sound(recording):
        return [ENCODE([])]
    seen = again(recording, _nodes(recording), frames=True).story
    sides: list[Side] = []
    wavs: list[bytes] = []
    story = told(recording)
    tracks = [(CALLER, caller_track(story))]
    if seen is not None and seen.frames:
        tracks.append((ASSISTANT, assistant_track(seen, seen.frames, watched(story))))
    for side, track in tracks:
        if track.pcm:
            sides.append(Side(side=side, seconds=round(len(track.pcm) / 2 / RATE, 3), peaks=peaks_of(track)))
            wavs.append(format_wav(Samples(track.pcm, RATE)))
    return [ENCODE(sides), *wavs]


def peaks_of(track: Track, count: int = PEAKS) -> list[float]:
    """How loud it is at most in each of so many equal parts, from 0 to 1."""
    samples = np.abs(np.frombuffer(track.pcm, dtype="<i2").astype(np.int32))
    if not len(samples):
        return []
    count = min(count, len(samples))
    ends = np.linspace(0, len(samples), count, endpoint=False, dtype=np.int64)
    return [round(float(one) / 32_768, 4) for one in np.maximum.reduceat(samples, ends)]


# ---- again, and side by side ---------------------------------------------------------------------------------------


def replay(recording: Recording) -> ReplayResult:
    """The kernel of this version on the recorded inputs; the first difference is told with its place."""
    try:
        problems = checked(recording)
        run = ExactRun(recording, nodes_for(recording.head.graph), EXACT)
    except MisuseError as error:
        return ReplayResult(same=False, message=f"it cannot be replayed: {error.message}")
    while run.step() is not None:
        pass
    found = run.comparison
    same = not found.count and not problems
    reached = f"{run.number} inputs, {run.reach.why}"
    if found.first is not None:
        message = f"{found.count} things are not as recorded; the first: {found.first.line()}"
    elif problems:
        message = f"all decisions are as recorded ({reached}), but its evidence is not: {problems[0].message}"
    else:
        message = f"everything is as recorded: {reached}"
    return ReplayResult(
        same=same,
        message=message,
        compared=run.number,
        digest=run.digest(),
        divergence=None if found.first is None else msgspec.to_builtins(found.first),
    )


def diff(expected: Recording, got: Recording, names: Sequence[str]) -> DiffResult:
    """What differs between two recordings; what follows from a cause stands behind it."""
    report = compare(recorded(expected, _nodes(expected), names[0]), recorded(got, _nodes(got), names[1]))
    ordered = sorted(report.divergences, key=lambda one: (one.root is not None, one.number))
    return DiffResult(
        same=report.ok,
        message=_compared(report),
        differences=[msgspec.to_builtins(one) for one in ordered[:DIFFERENCES_MAX]],
    )


def _compared(report: Report) -> str:
    if not report.total:
        return f"no difference; times are at most {report.apart_most_ms:g} ms apart"
    kinds = ", ".join(
        f"{count} {kind.removesuffix('_DIVERGENCE').lower().replace('_', ' ')}"
        for kind, count in report.counts.items()
        if count
    )
    return f"{report.total} differences, {report.roots} of them causes: {kinds}"
