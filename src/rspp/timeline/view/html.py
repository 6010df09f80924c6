"""A recording as one page: lanes over time, turns, signals, latency, words, rows with filters, and the sound to listen to.

Self-contained, and readable without its script but for the lanes and rows. Everything that a peer wrote is escaped by
`view.page`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final

from rspp.kernel.inputs import SpeechScored
from rspp.timeline.story import Story
from rspp.timeline.view.latency import latency
from rspp.timeline.view.page import Markup, asset, element, facts, page, section, table
from rspp.timeline.view.rows import Row
from rspp.timeline.view.seen import CallSeen, Head, Line, Seen, TurnSeen, ms_of
from rspp.timeline.view.sound import LEVEL_MS, Track, Wav, assistant_track, caller_track, stereo_wav
from rspp.timeline.view.text import unheard
from rspp.timeline.waterfall import heard_ms, watched

SOUND_MB: Final = 16
ROWS_MAX: Final = 100_000
SCORES_MAX: Final = 20_000


def session_page(seen: Seen, rows: Sequence[Row], *, sound_bytes_max: int = SOUND_MB * 1_000_000) -> str:
    """The page of one recording, with these of its rows."""
    head = seen.head
    caller, assistant = _tracks(seen)
    wav = stereo_wav(caller, assistant, sound_bytes_max) if (caller.pcm or assistant.pcm) else None
    return page(
        f"Session {head.session_id}",
        _header(head),
        _missing(head),
        section("Sound", _sound(head, wav), id_="sound"),
        section("Lanes", _lanes(), id_="lanes"),
        section("Turns", _turns(seen.turns)),
        section("Latency", _latency(seen.turns)),
        section("Transcript", _transcript(seen.transcript)),
        section("Rows", _rows_place(len(rows)), id_="rows"),
        section("Evidence", _evidence(seen.turns)),
        styles=(asset("session.css"),),
        scripts=(asset("session.js"),),
        data={"session": _data(seen, rows, caller, assistant)},
    )


def _tracks(seen: Seen) -> tuple[Track, Track]:
    """Both sides, if there is any sound; a recording whose audio is silence in its place has none."""
    if seen.replayed is None or seen.story.has_sound is False:
        return Track(b""), Track(b"")
    return (
        caller_track(seen.story),
        assistant_track(seen.replayed, seen.replayed.frames, watched(seen.story)),
    )


def _header(head: Head) -> Markup:
    path = " · ".join((head.level, *head.level_path))
    known = (
        ("pipeline", f"{head.pipeline}@{head.version}"),
        ("tenant", head.tenant_id),
        ("opened", head.opened),
        ("lasted", f"{head.duration_ms / 1000:.1f} s"),
        ("turns", head.turns),
        ("taken back", head.superseded or None),
        ("ended", head.ended or "not in the recording"),
        ("level", path),
        ("policy", head.policy_id),
        ("origin", head.origin),
        ("inputs", head.inputs),
        ("effects", head.effects),
        ("not whole", head.lacks),
    )
    return element("header", element("h1", f"Session {head.session_id}"), facts(known), _digest(head))


def _digest(head: Head) -> Markup:
    if head.digest is None:
        return element("p", "There is no digest: not all inputs are in the recording.", class_="soft")
    digest = element("code", head.digest)
    if head.digest_replayed is None:
        return element("p", "digest ", digest, class_="soft")
    if head.digest_replayed == head.digest:
        return element("p", "digest ", digest, " · the kernel, run again, comes to the same", class_="soft")
    other = element("code", head.digest_replayed)
    return element("p", "digest ", digest, " · BUT the kernel, run again, comes to ", other, class_="bad")


def _missing(head: Head) -> Markup:
    said = [f"Gap {gap}" for gap in head.gaps]
    if head.torn:
        said.append("The last record is not whole and was left out.")
    if head.unknown_records:
        said.append(f"{head.unknown_records} records of a later version were skipped.")
    if head.withheld_texts:
        said.append(f"{head.withheld_texts} texts are withheld, wholly or in part.")
    if head.not_replayed:
        said.append(f"Texts that were sent are not shown: {head.not_replayed}.")
    return element("ul", *(element("li", one) for one in said), class_="missing") if said else Markup("")


def _sound(head: Head, wav: Wav | None) -> Markup:
    if wav is None:
        why = f"The sound is not in this recording ({head.withheld_audio} frames are withheld)."
        return element("p", why, class_="soft")
    source = f"data:audio/wav;base64,{base64.b64encode(wav.data).decode()}"
    said = f"Left the caller, right the assistant as it was heard; {wav.form}, {len(wav.data) / 1e6:.1f} MB."
    player = element("audio", src=source, controls="", preload="auto", id="player")
    cut = Markup("")
    if wav.seconds < wav.of_seconds:
        text = f"Only the first {wav.seconds:.0f} s of {wav.of_seconds:.0f} s fit in this page; allow more with --sound-mb."
        cut = element("p", text, class_="bad")
    silent = Markup("")
    if head.withheld_audio:
        text = f"{head.withheld_audio} frames of the caller's sound are withheld, wholly or in part: they are silent here."
        silent = element("p", text, class_="bad")
    return Markup(player + element("p", said, class_="soft") + silent + cut)


def _lanes() -> Markup:
    """The place for the drawing, and what moves it; the script draws it."""
    tools = (("back", "◀", "Earlier"), ("on", "▶", "Later"), ("in", "+", "Closer"), ("out", "−", "Wider"))
    buttons = [
        element("button", sign, type="button", data_do=do, aria_label=label) for do, sign, label in tools
    ]
    buttons.append(element("button", "all", type="button", data_do="all"))
    keys = "Drag or arrow keys move, + and − or the wheel with Ctrl zoom, a click shows the row."
    drawing = element(
        "div",
        id="drawing",
        tabindex="0",
        role="group",
        aria_label="Lanes over time: arrow keys move, plus and minus zoom; the rows below hold the same",
    )
    return Markup(
        element("div", *buttons, element("output", id="window"), class_="tools")
        + drawing
        + element("div", id="overview", aria_hidden="true")
        + element("p", keys, class_="soft")
        + element("noscript", element("p", "The lanes and rows are drawn by a script.", class_="bad"))
    )


def _turns(turns: Sequence[TurnSeen]) -> Markup:
    columns = ("turn", "opened s", "caller", "assistant", "ends", "heard after ms", "heard ms", "providers")
    rows = [
        (
            element("a", turn.number, href=f"#t{turn.number}", data_at=turn.opened_ms, class_="jump"),
            f"{turn.opened_ms / 1000:.2f}",
            turn.asked,
            turn.replied,
            turn.ends,
            turn.whole_ms if turn.whole_ms is not None else element("span", unheard(turn), class_="soft"),
            turn.heard_ms,
            _providers(turn),
        )
        for turn in turns
    ]
    return (
        table(
            columns,
            rows,
            numbers=("opened s", "heard after ms", "heard ms"),
            words=("caller", "assistant", "providers"),
        )
        if turns
        else Markup("")
    )


def _providers(turn: TurnSeen) -> Markup:
    """One a line, each once."""
    return Markup(
        "<br>".join(element("span", one) for one in dict.fromkeys(_call(call) for call in turn.calls))
    )


def _call(call: CallSeen) -> str:
    again = f" in {call.attempts} attempts" if call.attempts > 1 else ""
    failed = (
        ""
        if call.outcome == "success"
        else f" ({call.outcome if call.reason in (None, call.outcome) else f'{call.outcome}: {call.reason}'})"
    )
    return f"{call.provider}{again}{failed}"


def _latency(turns: Sequence[TurnSeen]) -> Markup:
    """From the caller's last word to the first sound of the answer, each stage a piece of the bar."""
    answered = [turn for turn in turns if turn.whole_ms is not None]
    if not answered:
        return element("p", "No turn answered speech that is in this recording.", class_="soft")
    rows = [(f"turn {turn.number}", turn.stages_ms, turn.whole_ms) for turn in answered]
    ends = sorted({f"speech ended by {turn.speech_by}, heard by {turn.heard_by}" for turn in answered})
    chart = latency(rows, "Latency of each turn by stage")
    return Markup(chart + element("p", "; ".join(ends), class_="soft"))


def _transcript(lines: Iterable[Line]) -> Markup:
    made = [
        element(
            "li",
            element("a", f"{line.time_ms / 1000:.2f}", href="#lanes", data_at=line.time_ms, class_="jump"),
            element("span", line.text),
            class_=f"{line.role} cut" if line.cut else line.role,
        )
        for line in lines
    ]
    return element("ol", *made, class_="talk") if made else Markup("")


def _rows_place(count: int) -> Markup:
    filters = [
        element("label", name, element("select", element("option", "all", value=""), id=f"by-{name}"))
        for name in ("lane", "kind", "node", "turn", "signal")
    ]
    find = element("label", "find", element("input", type="search", id="by-find", autocomplete="off"))
    inside = element("label", element("input", type="checkbox", id="by-window"), "only what the lanes show")
    columns = ("time s", "lane", "kind", "name", "node", "turn", "text", "what")
    return Markup(
        element("form", *filters, find, inside, element("output", f"{count} rows", id="count"), id="filters")
        + table(columns, (), numbers=("time s",), id_="table")
        + element("button", "more rows", type="button", id="more", hidden="")
    )


def _evidence(turns: Sequence[TurnSeen]) -> Markup:
    rows = [
        (
            turn.number,
            turn.turn_id,
            element("span", "complete", class_="good")
            if not turn.evidence_missing
            else element("span", f"lacks {', '.join(turn.evidence_missing)}", class_="bad"),
            element("code", turn.plan_hash or "none"),
        )
        for turn in turns
    ]
    return table(("turn", "id", "evidence", "plan hash"), rows, numbers=("turn",)) if turns else Markup("")


# ---- for the script --------------------------------------------------------------------------------------------------


def _data(seen: Seen, rows: Sequence[Row], caller: Track, assistant: Track) -> dict[str, Any]:
    """What the lanes are drawn from, small."""
    numbers = {turn.turn_id: turn.number for turn in seen.turns}
    said = caller.levels if any(caller.levels) else []
    return {
        "duration": seen.head.duration_ms,
        "turns": [
            {"number": turn.number, "from": turn.opened_ms, "to": turn.ended_ms, "ends": turn.ends}
            for turn in seen.turns
        ],
        "level_ms": LEVEL_MS,
        "caller": said,
        "assistant": assistant.levels,
        "scores": [] if said else _scores(seen.story),
        "played": _played(seen),
        "waits": [
            {
                "turn": turn.number,
                "from": turn.speech_ended_ms,
                "whole": turn.whole_ms,
                "stages": turn.stages_ms,
            }
            for turn in seen.turns
            if turn.whole_ms is not None
        ],
        "rows": [
            [
                row.time_ms,
                row.duration_ms,
                row.lane,
                row.direction,
                row.kind,
                row.name,
                row.node,
                numbers.get(row.turn or "", _taken_back(row.turn)),
                row.text,
                row.what,
                row.count,
            ]
            for row in rows[:ROWS_MAX]
        ],
        "left_out": max(0, len(rows) - ROWS_MAX),
        "gaps": [row.time_ms for row in seen.rows if row.kind == "gap"],
    }


def _taken_back(turn_id: str | None) -> str | None:
    """A turn without a number, by the end of its id."""
    return None if turn_id is None else f"{turn_id.rpartition('/')[2]} (taken back)"


def _scores(story: Story) -> list[list[float]]:
    """How much of a voice the detector heard, as times and scores; every so many if there are more than can be drawn."""
    scored = [
        [ms_of(story, at) or 0.0, round(received.probability, 2)]
        for at, received in story.inputs.values()
        if type(received) is SpeechScored
    ]
    return scored[:: len(scored) // SCORES_MAX + 1]


def _played(seen: Seen) -> list[list[float]]:
    """From when to when each turn was to be heard: as long as the client says, or else as much as was sent."""
    heard = heard_ms(seen.story, watched(seen.story))
    return [
        [turn.heard_from_ms, turn.heard_from_ms + round(heard[turn.turn_id], 1)]
        for turn in seen.turns
        if turn.heard_from_ms is not None
    ]
