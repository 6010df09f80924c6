"""A comparison as one page: everything is in it, nothing is fetched, and no word of a caller is ever taken for markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rspp.timeline.diff.findings import Divergence, Position
from rspp.timeline.diff.outputs import TurnPair, TurnSide
from rspp.timeline.diff.plots import SIDES, latencies, timelines, turn_name
from rspp.timeline.diff.report import Report, Run
from rspp.timeline.view import page as shell
from rspp.timeline.view.page import Markup, element, section, table

ROWS_MAX: Final = 2_000

# A row has no class of its own: what follows from another divergence is known by what stands in it.
STYLE: Final = """
tr:has(.follows) { color: var(--soft); }
tr:has(:target) { background: var(--panel); }
#runs code, #turns td:nth-child(3), #divergences td { overflow-wrap: anywhere; }
#turns td:nth-child(3) { min-width: 10rem; }
#divergences td:nth-child(3) { min-width: 7rem; }
#divergences td:nth-child(4) { min-width: 5rem; }
#divergences .words { min-width: 10.5rem; }
#turns td:first-child, #divergences td:nth-child(2) { white-space: nowrap; }
.lane { fill: var(--line); }
.mark { fill: var(--bad); }
"""


def page(report: Report) -> str:
    """The whole page."""
    title = f"{report.expected.label} and {report.got.label}"
    return shell.page(
        title,
        element("header", element("h1", title), _verdict(report), _runs(report.expected, report.got)),
        section("Timelines", timelines(report)),
        section("Latency by stage", latencies(report)),
        section("Turns", _turns(report.turns)),
        section("Divergences", _divergences(report)),
        section("Why it fails", _failures(report)),
        styles=(STYLE,),
    )


def _verdict(report: Report) -> Markup:
    if report.ok:
        return element("p", "Nothing differs but what was expected.", class_="good")
    failures = len(report.verdict.failures)
    said = f"{failures} failures; {report.total} divergences, {report.roots} causes."
    return element("p", said, class_="bad")


def _runs(expected: Run, got: Run) -> Markup:
    """Both runs' facts beside each other."""

    def row(name: str, *values: object) -> tuple[object, ...]:
        return (element("span", name, class_="soft"), *values)

    runs = (expected, got)
    rows = (
        row("run", *(run.label for run in runs)),
        row("session", *(run.session_id for run in runs)),
        row("mode", *(f"{run.mode}, {run.decisions}" for run in runs)),
        row("lasted", *(f"{run.seconds:g} s" for run in runs)),
        row("turns", *(run.turns for run in runs)),
        row("inputs", *(run.inputs for run in runs)),
        row("items", *(run.items for run in runs)),
        row("digest", *(element("code", run.digest or "none") for run in runs)),
    )
    return table(("", *SIDES), rows, id_="runs")


def _turns(turns: Sequence[TurnPair]) -> Markup:
    rows = [
        _side(name, side, pair)
        for pair in turns[:ROWS_MAX]
        for name, side in zip(SIDES, (pair.expected, pair.got), strict=True)
    ]
    numbers = ("latency ms", "text alike", "sound alike")
    columns = ("turn", "", "ending", "caller", "answer", "providers", *numbers)
    if not rows:
        return Markup("")
    return table(columns, rows, numbers=numbers, words=("caller", "answer"), id_="turns")


def _side(name: str, side: TurnSide | None, pair: TurnPair) -> Sequence[object]:
    if side is None:
        return ("", element("span", name, class_="follows"), "no such turn", "", "", "", "", "", "")
    providers = "; ".join(f"{modality}: {', '.join(names)}" for modality, names in side.providers.items())
    alike = (pair.text_similarity, pair.audio_similarity) if name == "got" else (None, None)
    said = element("span", "not known", class_="soft") if side.said is None else side.said
    whole = None if side.whole_ms is None else f"{side.whole_ms:g}"
    return (turn_name(side), name, side.ending, side.heard, said, providers, whole, *alike)


def _divergences(report: Report) -> Markup:
    if not report.divergences:
        return Markup("")
    rows = [_divergence(one) for one in report.divergences[:ROWS_MAX]]
    more = report.total - len(rows)
    note = element("p", f"and {more} more", class_="soft") if more > 0 else Markup("")
    columns = ("no", "class", "scope", "at", "what", "expected", "got", "ms apart", "follows from")
    numbers = ("no", "ms apart", "follows from")
    words = ("what", "expected", "got")
    return Markup(table(columns, rows, numbers=numbers, words=words, id_="divergences") + note)


def _divergence(one: Divergence) -> Sequence[object]:
    place = one.expected_position or one.got_position
    at = f"{place.at_ms / 1000:.3f} s, input {place.step}" if place else ""
    style = None if one.root is None else "follows"
    number = element("span", one.number, id=f"d{one.number}", class_=style)
    values = (_shown(one.expected, one.expected_position), _shown(one.got, one.got_position))
    return (number, one.kind.value, one.scope, at, one.message, *values, one.diff_ms, _link(one.root))


def _shown(value: object, place: Position | None) -> object:
    return value if value is not None or place is None else place.line


def _link(number: int | None) -> Markup:
    """To the row of a divergence, if it is on the page."""
    if number is None:
        return Markup("")
    return element("a", number, href=f"#d{number}", class_="jump")


def _failures(report: Report) -> Markup:
    rows = [
        (_link(one.divergence), one.kind, one.scope, one.why) for one in report.verdict.failures[:ROWS_MAX]
    ]
    return (
        table(("divergence", "class", "scope", "why"), rows, numbers=("divergence",)) if rows else Markup("")
    )
