"""A person at the console's Talk page, with a microphone that speaks: two turns, one of them interrupted, and its record."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.console import System, browser, until
from tests.browser.speaking import Caller, device, write_phrase

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("models")]

# Understood by the small recogniser, and answered at length by the small model.
PHRASE = "Please explain how the heart works."
ATTEMPTS = 4
ANSWER_S_MAX = 60.0
HEARD_MS_MIN = 300
# The page's own: from the word of the session to the last sample at the loudspeaker.
STOP_MS_MAX = 300
# From the caller's first sound to silence; a spoken "p" is hardly heard by anybody.
SILENT_MS_MAX = 1_500


def interrupt_an_answer(caller: Caller) -> None:
    """Ask until an answer is long enough to be interrupted, and interrupt it."""
    for _ in range(ATTEMPTS):
        caller.say()
        before = int(caller.talk()["bargeIns"])
        until("an answer is heard", lambda: caller.talk()["state"] == "speaking", ANSWER_S_MAX, caller.talk)
        caller.say()
        if int(caller.talk()["bargeIns"]) > before:
            return
    pytest.fail(f"no answer was long enough to be interrupted: {caller.lines('assistant')}")


def over(caller: Caller) -> dict[str, Any] | None:
    """The latest answer, once it is over and was heard."""
    answers = caller.lines("assistant")
    latest = answers[-1] if answers else None
    heard = latest and latest["done"] == "true" and int(latest["heardMs"]) > 0
    return latest if heard and caller.talk()["state"] == "listening" else None


def hear_an_answer_out(caller: Caller) -> dict[str, Any]:
    """The answer to the words that interrupted; on a machine that is too busy to keep its evidence in time, to a later question."""
    for _ in range(ATTEMPTS):
        until("an answer is heard", lambda: caller.talk()["state"] == "speaking", ANSWER_S_MAX, caller.talk)
        answer: dict[str, Any] = until(
            "the answer is over", lambda: over(caller), ANSWER_S_MAX, lambda: caller.lines("assistant")
        )
        if not answer["failed"] and answer["interrupted"] == "false":
            return answer
        caller.say()
    pytest.fail(f"no answer could be heard to its end: {caller.lines('assistant')}")


def what_was_said(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.locator("[data-testid=said]").evaluate_all(
        "all => all.map(one => ({...one.dataset}))"
    )
    return found


def test_two_turns_with_an_interruption_are_heard_shown_recorded_and_replayed(
    running: System, tmp_path: Path
) -> None:
    """What the page says was heard is what the record says, and the kernel does the same again."""
    file = tmp_path / "phrase.wav"
    period_s = write_phrase(file, PHRASE)
    with browser(*device(file)) as opened:
        page = opened.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        running.open(page, "/talk?tenant=local")
        page.wait_for_selector("[data-testid=call]")
        caller = Caller(page, period_s)
        caller.call()
        interrupt_an_answer(caller)
        answer = hear_an_answer_out(caller)

        talk = caller.talk()
        cut = next(one for one in caller.lines("assistant") if one["interrupted"] == "true")
        assert HEARD_MS_MIN < int(cut["heardMs"]) <= int(cut["sentMs"])
        assert cut["text"].startswith(cut["heard"])
        assert cut["heard"] != cut["text"]
        assert answer["heard"] == answer["text"]
        assert int(answer["heardMs"]) >= int(answer["sentMs"]) - 40
        asked = [one["text"].lower() for one in caller.lines("user")]
        assert len(asked) >= 2
        assert all(re.search(r"explain|heart|work", text) for text in asked[:2]), asked
        assert 0 <= int(talk["stopMs"]) <= STOP_MS_MAX
        assert 0 < int(talk["silentMs"]) <= SILENT_MS_MAX
        assert int(talk["answerMs"]) > 0

        page.click("[data-testid=hang-up]")
        page.click("[data-testid=session-link]")
        page.wait_for_selector(f"[data-testid=session][data-session='{talk['session']}']")
        said = until(
            "the session's transcript", lambda: what_was_said(page), 60, lambda: page.inner_text("main")
        )
        recorded = next(one for one in said if one["interrupted"] == "true")
        assert abs(float(recorded["heardMs"]) - int(cut["heardMs"])) <= 100
        assert {one["speaker"] for one in said} == {"user", "assistant"}

        until(
            "the recording is whole",
            lambda: page.locator("[data-testid=session]").get_attribute("data-state") == "ended",
            60,
        )
        until("the replay is offered", lambda: page.locator("[data-testid=replay]").is_enabled(), 60)
        page.click("[data-testid=replay]")
        page.wait_for_selector("[data-testid=replayed]", timeout=120_000)
        replayed = page.locator("[data-testid=replayed]")
        assert replayed.get_attribute("data-same") == "true", page.inner_text("main")
        assert int(replayed.get_attribute("data-compared") or 0) > 0

        page.click("[data-testid=play]")
        until(
            "the sound moves the play head",
            lambda: page.locator("[data-testid=sound-at]").inner_text() not in ("0:00.0", "0:00.1"),
            30,
        )
        assert faults == []
