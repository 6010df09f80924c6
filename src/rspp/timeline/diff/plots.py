"""Plots of a comparison: how long each turn's caller waited in both runs, and where on their timelines they part."""

from __future__ import annotations

from typing import Final

from rspp.timeline.diff.findings import Divergence
from rspp.timeline.diff.outputs import TurnPair, TurnSide
from rspp.timeline.diff.report import Report
from rspp.timeline.view.latency import Waited, latency
from rspp.timeline.view.page import Markup, element, svg, ticks

SIDES: Final = ("expected", "got")
WIDTH: Final = 880
LABEL: Final = 80
LANE: Final = 40
BAR: Final = 20
TURNS_MAX: Final = 200


def latencies(report: Report) -> Markup:
    """A pair of bars a turn: the expected run above, the other below; nothing where no turn was heard."""
    heard = [pair for pair in report.turns if _whole(pair.expected) or _whole(pair.got)]
    rows = [row for pair in heard[:TURNS_MAX] for row in _rows(pair)]
    return latency(rows, "Latency of each turn by stage, in both runs") if rows else Markup("")


def _whole(side: TurnSide | None) -> float | None:
    return None if side is None else side.whole_ms


def _rows(pair: TurnPair) -> list[Waited]:
    """Each side by its own turn's name; one that is missing has none."""
    return [
        (f"{turn_name(side)} {name}" if side else name, side.stages_ms if side else {}, _whole(side))
        for name, side in zip(SIDES, (pair.expected, pair.got), strict=True)
    ]


def turn_name(side: TurnSide) -> str:
    """A turn within its session."""
    return side.turn_id.rpartition("/")[2]


def timelines(report: Report) -> Markup:
    """Both runs on one scale of time, with a mark at each divergence that does not follow from another."""
    seconds = max(report.expected.seconds, report.got.seconds, 0.001)
    scale = (WIDTH - LABEL - 20) / seconds
    drawn: list[Markup] = []
    for at in ticks(0, seconds, 10):
        x = f"{LABEL + at * scale:.1f}"
        drawn.append(element("line", x1=x, x2=x, y1=0, y2=2 * LANE, class_="grid"))
        drawn.append(element("text", f"{at:g} s", x=x, y=2 * LANE + 16, class_="tick"))
    for lane, run in enumerate((report.expected, report.got)):
        y, width = lane * LANE + 10, f"{max(run.seconds * scale, 1):.1f}"
        drawn.append(element("text", SIDES[lane], x=LABEL - 8, y=y + 14, class_="name"))
        drawn.append(element("rect", x=LABEL, y=y, width=width, height=BAR, class_="lane"))
    causes = (one for one in report.divergences if one.root is None)
    drawn.extend(mark for one in causes for mark in _marks(one, scale))
    chart = svg(WIDTH, 2 * LANE + 24, *drawn, label="Both timelines, and where they part")
    return element("div", chart, class_="wide", tabindex="0")


def _marks(one: Divergence, scale: float) -> list[Markup]:
    """Where it is in each run, linked to its row."""
    made = []
    for lane, place in enumerate((one.expected_position, one.got_position)):
        if place is not None:
            at = place.at_ms / 1000
            title = element("title", f"{one.number}. {one.kind.value}: {one.message} ({at:.3f} s)")
            x, y = f"{LABEL + at * scale - 1:.1f}", lane * LANE + 5
            mark = element("rect", title, x=x, y=y, width=2, height=BAR + 10, class_="mark")
            made.append(element("a", mark, href=f"#d{one.number}"))
    return made
