"""A real system with its console, and a real browser to look at it with; what is missing is said with its remedy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Error, Page, sync_playwright

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "voice-assistant.yaml"
AXE: Final = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PAGE: Final = ROOT / "src" / "rspp" / "server" / "web" / "index.html"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START: Final = "from rspp.cli.main import main; main()"
STARTED_S_MAX: Final = 120.0
ENDED_S_MAX: Final = 40.0
LINES_MAX: Final = 2_000


def browser_path() -> str:
    """Where Chromium is; a test that needs one fails where there is none."""
    named = os.environ.get("RSPP_CHROMIUM")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None or not Path(found).exists():
        pytest.fail("no Chromium: apt-get install chromium, or name one in RSPP_CHROMIUM")
    return found


def must_be_built() -> None:
    if not PAGE.is_file():
        pytest.fail("the console's page is not built: run `make web`")


@contextmanager
def browser(*arguments: str) -> Iterator[Browser]:
    """A Chromium of its own; nobody has to press a button before sound may play."""
    path = browser_path()
    with sync_playwright() as playwright:
        chosen = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", *arguments]
        opened = playwright.chromium.launch(executable_path=path, args=chosen)
        try:
            yield opened
        finally:
            opened.close()


class System:
    """`rspp run --listen --control` as a process: where its console is, and the token that opens it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []  # bounded: LINES_MAX
        self.url = self.token = self.calls = ""
        self.data = Path()  # its data folder, where it has one
        self._open = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=(stream,), daemon=True)
            for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any) -> None:
        for line in stream:
            if len(self.said) < LINES_MAX:
                self.said.append(line)
            if found := re.search(r"takes calls at (\S+)", line):
                self.calls = found[1]
            if found := re.search(r"console at (\S+?)/#token=(\S+)", line):
                self.url, self.token = found[1], found[2]
                self._open.set()

    def wait(self) -> None:
        deadline = time.monotonic() + STARTED_S_MAX
        while not self._open.wait(0.2):
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the system did not start:\n{''.join(self.said)}")

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(ENDED_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join(5)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def open(self, page: Page, path: str = "/") -> None:
        """The console, signed in, at this page."""
        page.goto(f"{self.url}/#token={self.token}")
        page.wait_for_selector("main h1")
        go(page, path)


def go(page: Page, path: str) -> None:
    page.evaluate("path => { location.hash = path }", path)
    page.wait_for_selector("main h1")


@contextmanager
def system(spec: Path, data: Path) -> Iterator[System]:
    """From its start until it has ended in good order."""
    words = ["run", str(spec), "--data", str(data), "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"]
    with started(*words) as made:
        made.data = data
        yield made


@contextmanager
def started(*words: str) -> Iterator[System]:
    """Any command of `rspp` that serves a console."""
    must_be_built()
    process = subprocess.Popen(
        [sys.executable, "-c", START, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    made = System(process)
    try:
        made.wait()
        yield made
    finally:
        made.end()


def until(what: str, met: Callable[[], Any], seconds: float, told: Callable[[], object] = lambda: "") -> Any:
    """What `met` gives once it gives something; fails with what there was instead."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := met():
                return found
        except Error as error:  # the page is just being drawn anew
            if "Execution context was destroyed" not in str(error):
                raise
        time.sleep(0.05)
    pytest.fail(f"not within {seconds:g} s: {what}; {told()}")
