"""A page in one file: no request to anywhere, works from a disk, and nothing that was said in a call can become markup.

    page("A call", section("Turns", table(("turn", "ends"), rows)), scripts=(asset("session.js"),), data={"rows": rows})

Whatever comes from a recording goes through `escape`, `table`, `element` or the data island, which all escape it. The page's
policy names its own scripts and styles by their hashes: a script that got in otherwise would not run. For the same reason
there are no `style` attributes: use classes, or the attributes of SVG.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import msgspec

# What may stand inside <script type="application/json"> without ending it; JSON reads these escapes as the characters.
_UNSAFE_IN_SCRIPT: Final = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_STEPS: Final = (1, 2, 5)


class Markup(str):
    """Text that is markup already. Everything else is escaped."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """A value as text that can stand anywhere in a page, also inside an attribute in quotes."""
    if isinstance(value, Markup):
        return value
    return Markup("" if value is None else html.escape(str(value)))


def element(name: str, *inside: object, **attributes: object) -> Markup:
    """`element("rect", x=1, class_="turn")`: names lose a trailing underscore, inner ones become dashes; None is left out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{''.join(map(escape, inside))}</{name}>")


def section(title: str, *inside: object, id_: str | None = None) -> Markup:
    """A part of the page under a heading; nothing if there is nothing in it."""
    body = Markup("".join(map(escape, inside)))
    return element("section", element("h2", title), body, id=id_) if body else Markup("")


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names and values in one flow; what has no value is left out."""
    shown = (
        element("div", element("dt", name), element("dd", value))
        for name, value in pairs
        if value not in (None, "")
    )
    return element("dl", *shown, class_="facts")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    numbers: Sequence[str] = (),
    words: Sequence[str] = (),
    id_: str | None = None,
) -> Markup:
    """A table that scrolls sideways where the screen is narrow. Columns named in `numbers` are set flush right, those in
    `words` are never narrow.
    """
    kinds = {**dict.fromkeys(numbers, "number"), **dict.fromkeys(words, "words")}
    classes = [kinds.get(column) for column in columns]
    head = element(
        "tr",
        *(
            element("th", column, class_=one, scope="col")
            for column, one in zip(columns, classes, strict=True)
        ),
    )
    body = (
        element("tr", *(element("td", cell, class_=one) for cell, one in zip(row, classes, strict=True)))
        for row in rows
    )
    made = element("table", element("thead", head), element("tbody", *body), id=id_)
    return element("div", made, class_="wide", tabindex="0")


def svg(width: float, height: float, *inside: object, label: str, class_: str | None = None) -> Markup:
    """A drawing in these units, as wide as its place; `label` says what it shows to those who cannot see it."""
    return element(
        "svg",
        *inside,
        viewBox=f"0 0 {_number(width)} {_number(height)}",
        role="img",
        aria_label=label,
        class_=class_,
    )


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round values from `low` to `high`, at most so many, in steps of 1, 2 or 5."""
    span = high - low
    if span <= 0 or most < 1:
        return [low]
    power = 10.0 ** _exponent(span / most)
    step = next(power * one for one in (*_STEPS, 10) if span / (power * one) <= most)
    first = -(-low // step)
    made: list[float] = []
    while (first + len(made)) * step <= high + step * 1e-9:
        made.append(round((first + len(made)) * step, 9))
    return made[:most] if made else [low]


def bars(
    rows: Sequence[tuple[str, Sequence[tuple[str, float, float]], str]], *, high: float, unit: str, label: str
) -> Markup:
    """A chart of bars on one axis from 0 to `high`: each row has a name, its pieces (class, from, to) and words after it."""
    name_width, width, row_height = 150.0, 620.0, 24.0
    height = row_height * len(rows) + 24
    scale = width / high if high > 0 else 0.0
    drawn: list[Markup] = []
    for value in ticks(0, high):
        at = _number(name_width + value * scale)
        drawn.append(element("line", x1=at, x2=at, y1=0, y2=_number(height - 20), class_="grid"))
        drawn.append(element("text", f"{_number(value)} {unit}", x=at, y=_number(height - 6), class_="tick"))
    for number, (name, pieces, words) in enumerate(rows):
        y = number * row_height
        drawn.append(element("text", name, x=_number(name_width - 8), y=_number(y + 16), class_="name"))
        end = 0.0
        for class_, first, last in pieces:
            end = max(end, last)
            title = element("title", f"{name}: {class_} {_number(last - first)} {unit}")
            x, length = name_width + first * scale, max((last - first) * scale, 0.75)
            drawn.append(
                element(
                    "rect",
                    title,
                    x=_number(x),
                    y=_number(y + 4),
                    width=_number(length),
                    height=16,
                    rx=2,
                    class_=f"bar {class_}",
                )
            )
        drawn.append(
            element("text", words, x=_number(name_width + end * scale + 6), y=_number(y + 16), class_="words")
        )
    return svg(name_width + width + 110, height, *drawn, label=label, class_="bars")


def asset(name: str) -> str:
    """A style or script that comes with this package."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def island(name: str, value: Any) -> Markup:
    """Data for the page's script: `JSON.parse(document.getElementById(name).textContent)`."""
    text = msgspec.json.encode(value).decode().translate(_UNSAFE_IN_SCRIPT)
    return element("script", Markup(text), type="application/json", id=name)


def page(
    title: str,
    *body: object,
    styles: Iterable[str] = (),
    scripts: Iterable[str] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """The whole document. `styles` and `scripts` are this program's own texts; `data` are islands for the scripts."""
    css = [asset("page.css"), *styles]
    code = list(scripts)
    policy = "; ".join(
        (
            "default-src 'none'",
            "style-src " + " ".join(map(_hash, css)),
            "script-src " + (" ".join(map(_hash, code)) or "'none'"),
            "img-src data:",
            "media-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return "".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n',
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n',
            '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n',
            element("title", title),
            "\n",
            *(f"<style>{one}</style>\n" for one in css),
            "</head>\n<body>\n",
            *map(escape, body),
            *(island(name, value) for name, value in (data or {}).items()),
            *(f"\n<script>{one}</script>" for one in code),
            "\n</body>\n</html>\n",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _number(value: float) -> str:
    """A number as short as it can be written."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _exponent(value: float) -> int:
    """The power of ten at or below a positive value."""
    exponent = 0
    while value >= 10:
        value, exponent = value / 10, exponent + 1
    while value < 1:
        value, exponent = value * 10, exponent - 1
    return exponent
