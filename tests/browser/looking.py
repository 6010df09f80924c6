"""What a careful visitor checks on every page: that it can be used by everybody, asks nobody else, and says no error."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Error, Page, Request

from tests.browser.console import AXE

LEVELS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
SHOTS_VARIABLE: Final = "RSPP_SCREENSHOTS"
SETTLE_MS: Final = 900


class Watch:
    """Notes of a browsing context: whom it asked, and what went wrong on its pages."""

    def __init__(self, context: BrowserContext, own: str) -> None:
        self._own = urlsplit(own).netloc
        self.elsewhere: list[str] = []  # bounded: by the requests of one test
        self.faults: list[str] = []  # bounded: likewise
        self.bytes: dict[str, int] = {}  # bounded: likewise
        context.on("request", self._asked)
        context.on("requestfinished", self._loaded)
        context.on("page", self._opened)

    def _opened(self, page: Page) -> None:
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        page.on("websocket", lambda socket: self._named(socket.url))

    def _asked(self, request: Request) -> None:
        self._named(request.url)

    def _named(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._own:
            self.elsewhere.append(url)

    def _loaded(self, request: Request) -> None:
        try:
            self.bytes[request.url] = request.sizes()["responseBodySize"]
        except Error:
            return  # the page was closed before it was told


def violations(page: Page) -> list[str]:
    """Every A and AA violation that axe finds, with the place where it is."""
    if not AXE.is_file():
        pytest.fail("axe-core is not here: run `npm ci` in web/")
    page.evaluate(AXE.read_text())
    found: dict[str, Any] = page.evaluate("levels => axe.run(document, {runOnly: levels})", list(LEVELS))
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def shots_folder(otherwise: Path) -> Path:
    """Where screenshots are put for people to look at: $RSPP_SCREENSHOTS, else the test's own folder."""
    folder = Path(os.environ.get(SHOTS_VARIABLE) or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return max(0, wider)
