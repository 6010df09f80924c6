"""A call at the console's Talk page whose line is cut: it goes on as the same session, and nothing that was said is lost or doubled."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, WebSocketRoute

from tests.browser.console import System, browser, until
from tests.browser.speaking import Caller

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("models")]

ANSWER_S_MAX = 60.0


class Lines:
    """Every WebSocket of a call goes through here, to the real server; `cut` takes away the one that there is."""

    def __init__(self, page: Page) -> None:
        self.opened = 0
        self._near: WebSocketRoute | None = None
        self._far: WebSocketRoute | None = None
        page.route_web_socket("**/v1/rtc/**", self._open)

    def _open(self, near: WebSocketRoute) -> None:
        self.opened += 1
        self._near, self._far = near, near.connect_to_server()

    def cut(self) -> None:
        assert self._near is not None
        assert self._far is not None
        self._far.close(code=3000, reason="cut")
        self._near.close(code=3000, reason="cut")


def ask(page: Page, caller: Caller, words: str) -> None:
    """Type it, and wait until one more answer is there and done."""
    before = len(caller.lines("assistant"))
    page.fill("[data-testid=words]", words)
    page.keyboard.press("Enter")
    until(
        "an answer",
        lambda: (
            len(caller.lines("assistant")) > before
            and caller.lines("assistant")[-1]["done"] == "true"
            and caller.talk()["state"] == "listening"
        ),
        ANSWER_S_MAX,
        lambda: (caller.talk(), caller.lines("assistant")),
    )


def test_a_call_whose_line_is_cut_goes_on_as_the_same_session(running: System) -> None:
    with browser() as opened:
        page = opened.new_page()
        lines = Lines(page)
        running.open(page, "/talk?tenant=local")
        page.click("[data-testid=words-only]")
        caller = Caller(page, 0.0)
        until("a call", lambda: caller.talk()["state"] == "listening", 60, caller.talk)
        session = caller.talk()["session"]
        ask(page, caller, "What is the capital of France?")

        lines.cut()
        until("the loss is shown", lambda: caller.talk()["reconnects"] == "1", 20, caller.talk)
        until("the call is back", lambda: caller.talk()["state"] == "listening", 30, caller.talk)
        assert caller.talk()["session"] == session
        assert lines.opened >= 2

        ask(page, caller, "And of Italy?")
        assert [one["text"] for one in caller.lines("user")] == [
            "What is the capital of France?",
            "And of Italy?",
        ]
        assert len(caller.lines("assistant")) == 2
        assert page.locator("[data-testid=problem]").count() == 0
        page.click("[data-testid=hang-up]")
        until("the end", lambda: caller.talk()["state"] == "off", 20, caller.talk)
