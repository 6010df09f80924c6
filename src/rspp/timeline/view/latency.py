"""How long each turn's caller waited, as a chart: each stage a piece of the bar, in the colours of `page.css`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate

from rspp.timeline.view.page import Markup, bars, element
from rspp.timeline.waterfall import STAGES

Waited = tuple[str, Mapping[str, float], float | None]


def latency(rows: Sequence[Waited], label: str) -> Markup:
    """A row's name, its stages in milliseconds, and the whole; None where nothing was heard."""
    high = max((whole or 0 for _, _, whole in rows), default=0)
    drawn = [
        (name, _pieces(stages_ms, whole), "not heard" if whole is None else f"{whole:.0f} ms")
        for name, stages_ms, whole in rows
    ]
    chart = bars(drawn, high=high, unit="ms", label=label)
    legend = (element("li", stage.replace("_", " "), class_=stage) for stage in STAGES)
    return Markup(
        element("ul", *legend, class_="legend") + element("div", chart, class_="wide", tabindex="0")
    )


def _pieces(stages_ms: Mapping[str, float], whole: float | None) -> list[tuple[str, float, float]]:
    """Stage, from, to; one piece of no stage where only the whole is known."""
    if whole is None:
        return []
    lengths = [stages_ms.get(stage, 0.0) for stage in STAGES]
    ends = accumulate(lengths)
    pieces = [
        (stage, end - length, end) for stage, length, end in zip(STAGES, lengths, ends, strict=True) if length
    ]
    return pieces or [("unknown", 0.0, whole)]
