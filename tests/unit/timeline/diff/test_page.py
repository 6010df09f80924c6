"""The page needs nothing but itself, and no word in it is ever markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from rspp.timeline.diff import compare
from rspp.timeline.diff.page import page
from tests.unit.timeline.diff.planted import altered, found, replace, story

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

HOSTILE = "</td><script>alert(1)</script><img src=x onerror=alert(2)>"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(text)
    return parser.seen


def hostile_page() -> str:
    one = story()
    said = [replace(text, text=HOSTILE[: len(text.text)].ljust(len(text.text), "<")) for text in one.said]
    heard = [replace(text, text=HOSTILE) for text in one.heard]
    other = altered(one, found(one, "signal", "commit"), {"reason": HOSTILE})
    other = altered(other, found(one, "invoke", "llm"), {"provider": HOSTILE})
    return page(compare(story(), replace(other, said=said, heard=heard, label=HOSTILE, session_id="s0")))


def test_nothing_is_fetched_and_nothing_runs() -> None:
    text = page(compare(story(sound=True), story(sound=True)))
    assert not re.search(r"https?://|url\(|@import|src=", text)
    seen = tags(text)
    assert not {tag for tag, _ in seen} & {"script", "iframe", "img", "object", "base", "form"}
    assert all(attributes["href"] == "data:," for tag, attributes in seen if tag == "link")
    assert not any("style" in attributes for _, attributes in seen)  # the policy would not let them work
    policy = next(str(one["content"]) for tag, one in seen if tag == "meta" and "http-equiv" in one)
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert "prefers-color-scheme" in text


def test_hostile_words_stay_words() -> None:
    text = hostile_page()
    seen = tags(text)
    assert not {tag for tag, _ in seen} & {"script", "img"}
    assert not any(name.startswith("on") for _, attributes in seen for name in attributes)
    assert "&lt;script&gt;" in text


def test_it_plots_both_timelines_and_every_stage_and_marks_what_differs() -> None:
    one = story()
    text = page(compare(story(), altered(one, found(one, "invoke", "llm"), {"provider": "llm-b"})))
    assert text.count("<svg") == 2
    assert 'class="bar llm_first_token"' in text
    assert "turn-1 expected" in text
    assert "turn-1 got" in text
    assert 'href="#d1"' in text
    assert 'id="d1"' in text
    assert "PROVIDER_CHOICE_DIVERGENCE" in text
