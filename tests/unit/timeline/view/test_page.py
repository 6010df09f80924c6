"""A page holds what it is given as text, and runs and fetches nothing but its own."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from rspp.timeline.view.page import (
    Markup,
    asset,
    bars,
    element,
    escape,
    facts,
    island,
    page,
    section,
    table,
    ticks,
)

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\u2028<!--"


class Elements(HTMLParser):
    """Every element that a browser would make, with its attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> set[str]:
        return {name for name, _ in self.found}


def test_whatever_a_peer_wrote_stays_text() -> None:
    html = page(
        HOSTILE,
        section(HOSTILE, table((HOSTILE,), [[HOSTILE]])),
        facts([(HOSTILE, HOSTILE)]),
        element("p", HOSTILE, title=HOSTILE),
        bars([(HOSTILE, [("stt", 0, 1)], HOSTILE)], high=1, unit="ms", label=HOSTILE),
        scripts=("let x;",),
        data={"rows": [HOSTILE]},
    )
    read = Elements(html)
    assert "img" not in read.names()
    assert not any(name.startswith("on") for _, attributes in read.found for name in attributes)
    assert read.text.count(HOSTILE) >= 6
    assert [name for name, _ in read.found].count("script") == 2


def test_data_comes_to_the_script_as_it_was() -> None:
    text = re.fullmatch(r"<script[^>]*>(.*)</script>", island("data", {"said": HOSTILE}), re.DOTALL)
    assert text is not None
    assert "<" not in text[1]
    assert json.loads(text[1]) == {"said": HOSTILE}


def test_only_what_the_page_brings_may_run_and_nothing_may_be_fetched() -> None:
    html = page("t", scripts=("let one;", "let two;"), styles=("p {}",))
    policy = next(
        attributes["content"]
        for name, attributes in Elements(html).found
        if name == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for kind, texts in (("script-src", ("let one;", "let two;")), ("style-src", (asset("page.css"), "p {}"))):
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert rules[kind].split() == [f"'sha256-{one}'" for one in hashes]
    assert "http:" not in html.replace("http://www.w3.org", "")
    assert "https:" not in html
    assert " style=" not in html


def test_markup_is_not_escaped_twice_and_everything_else_once() -> None:
    assert element("p", element("b", "a<b"), "&") == "<p><b>a&lt;b</b>&amp;</p>"
    assert escape(Markup("<i>")) == "<i>"
    assert escape(None) == ""
    assert element("p", class_="x", data_at=1, title=None) == '<p class="x" data-at="1"></p>'
    assert section("nothing") == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1_234), (0, 0.07), (3, 3.3), (0, 600_000), (0, 1e-6)])
def test_ticks_are_round_and_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 8)
    assert 3 <= len(found) <= 9
    assert low <= found[0] <= found[-1] <= high * (1 + 1e-9)
    steps = {f"{after - before:.6g}" for before, after in pairwise(found)}
    assert len(steps) == 1
    assert steps.pop().strip("0.").rstrip("0")[0] in "125"


def test_an_axis_without_length_has_one_tick() -> None:
    assert ticks(5, 5) == [5]


def test_a_bar_ends_where_its_last_piece_does() -> None:
    made = Elements(
        bars([("turn 1", [("stt", 0, 100), ("llm", 100, 400)], "400 ms")], high=400, unit="ms", label="x")
    )
    pieces = [attributes for name, attributes in made.found if name == "rect"]
    first, last = pieces
    assert float(first["x"] or 0) + float(first["width"] or 0) == pytest.approx(float(last["x"] or 0))
    assert [piece["class"] for piece in pieces] == ["bar stt", "bar llm"]
