"""A microphone that says one phrase over and over, as Chromium's fake device plays a file; the page's Mute says when it counts.

    0 .. quiet .. BEFORE_S | the phrase | .. quiet .. PERIOD

A call begins muted. `say` opens the microphone in the quiet before a phrase and mutes it in the quiet after, so what is said
and when does not hang on how fast models or machines are.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page

from rspp.adapters.providers.local import providers
from rspp.cli.demo import VOICE, spoken
from rspp.host.ports import ReactiveProvider
from rspp.media.resample import resample
from rspp.media.wav import Sound, write_wav
from tests.browser.console import until

RATE: Final = 48_000
BEFORE_S: Final = 1.2
AFTER_S: Final = 1.2
# The device begins a little before or after the page hears of it.
SLACK_S: Final = 0.5


def write_phrase(path: Path, text: str) -> float:
    """The file, and how long one round of it is, in seconds."""

    async def main() -> Sound:
        voice = providers()[VOICE].kind.factory(VOICE, {})
        assert not isinstance(voice, ReactiveProvider)
        await voice.open()
        try:
            return await spoken(voice, text)
        finally:
            await voice.close()

    sound = asyncio.run(main())
    pcm = resample(sound.pcm, sound.rate, RATE)
    quiet = [bytes(2 * int(seconds * RATE)) for seconds in (BEFORE_S, AFTER_S)]
    whole = Sound(quiet[0] + pcm + quiet[1], RATE)
    write_wav(path, whole)
    return len(whole.pcm) / 2 / RATE


def device(path: Path) -> tuple[str, ...]:
    """Chromium's arguments for that microphone, which it may use without asking."""
    return (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={path}",
    )


class Caller:
    """Somebody at the Talk page, who reads what it says in its data attributes."""

    def __init__(self, page: Page, period_s: float) -> None:
        self.page, self.period_s = page, period_s
        self._began = 0.0

    def call(self) -> None:
        """The microphone is muted before it is there; its file begins when it is."""
        self.page.click("[data-testid=call]")
        self.page.click("[data-testid=mute]")
        until("the microphone", lambda: self.talk()["state"] != "microphone", 20, self.talk)
        self._began = time.monotonic()
        until("a call", lambda: self.talk()["state"] == "listening", 60, self.talk)

    def say(self) -> None:
        """The next whole phrase, and nothing else."""
        phase = (time.monotonic() - self._began) % self.period_s
        time.sleep(self.period_s - phase + BEFORE_S - SLACK_S)
        self.page.click("[data-testid=mute]")
        time.sleep(self.period_s - BEFORE_S - AFTER_S + 2 * SLACK_S)
        self.page.click("[data-testid=mute]")

    def talk(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.locator("[data-testid=talk]").evaluate("one => ({...one.dataset})")
        return found

    def lines(self, role: str) -> list[dict[str, Any]]:
        """What was said by one side and has words, in order."""
        every: list[dict[str, Any]] = self.page.locator("[data-testid=line]").evaluate_all(
            "all => all.map(one => ({...one.dataset}))"
        )
        return [one for one in every if one["role"] == role and one["text"]]
