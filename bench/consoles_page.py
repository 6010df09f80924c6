"""A real page in a real browser, for `bench/consoles.py`: how it feels to whoever looks at the list of sessions.

    python bench/consoles_page.py JSON

A headless Chromium signs in and opens the page Sessions. From `begin` to `end` the page itself notes: the gaps between two frames
it could draw, tasks that kept it for longer than 50 ms, when each session's row was first there, and of each key that is typed
into the filter how long it took until the next frame was drawn. Needs Playwright for Python and a Chromium, Debian's for one.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import Any, Final

import msgspec
from playwright.async_api import Page, async_playwright

from rspp.cli import bench_machine as machine
from rspp.cli.bench_socket_server import lines, say

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
TYPED: Final = "bench-no-such"
BETWEEN_KEYS_S: Final = 0.15
# What the page notes of itself; `noted` is emptied by `begin`.
NOTES: Final = """
(() => {
  const fresh = () => ({ gaps: [], tasks: [], keys: [], rows: {}, answers: [] });
  window.noted = fresh();
  window.forget = () => { const old = window.noted; window.noted = fresh(); return old; };
  let last = performance.now();
  const frame = (now) => { window.noted.gaps.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) window.noted.tasks.push(one.duration);
  }).observe({ type: "longtask" });
  new PerformanceObserver((list) => {
    for (const one of list.getEntries()) if (one.name.endsWith("/graphql")) window.noted.answers.push(one.duration);
  }).observe({ type: "resource" });
  addEventListener("keydown", (event) => {
    requestAnimationFrame(() => setTimeout(() => window.noted.keys.push(performance.now() - event.timeStamp), 0));
  }, true);
  const known = new Set();
  const look = () => {
    for (const link of document.querySelectorAll("a.row-link")) {
      const id = link.textContent;
      if (known.has(id)) continue;
      known.add(id);
      window.noted.rows[id] = performance.timeOrigin + performance.now();
    }
  };
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true });
  look();
})()
"""


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    token: str


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the page noted, in milliseconds."""

    gaps: list[float]
    tasks: list[float]  # longer than 50 ms
    keys: list[float]
    answers: list[float]
    rows: dict[str, float]  # session: when its row was there, on the wall clock


def chromium() -> str:
    found = os.environ.get("RSPP_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise SystemExit("no Chromium: apt-get install chromium, or name one in RSPP_CHROMIUM")
    return found


async def open_page(browser: Any, order: Order) -> Page:
    page: Page = await browser.new_page(viewport={"width": 1280, "height": 900})
    await page.goto(f"{order.url}/#token={order.token}")
    await page.wait_for_selector("main h1")
    await page.evaluate("location.hash = '/sessions'")
    await page.wait_for_selector("a.row-link", timeout=30_000)
    await page.evaluate(NOTES)
    return page


async def typed(page: Page) -> None:
    """Somebody types into the filter, letter by letter, and takes it out again."""
    field = page.get_by_label("Find a session")
    await field.focus()
    for letter in TYPED:
        await page.keyboard.press(letter)
        await asyncio.sleep(BETWEEN_KEYS_S)
    for _ in TYPED:
        await page.keyboard.press("Backspace")
        await asyncio.sleep(BETWEEN_KEYS_S)


async def run(order: Order) -> None:
    words = await lines()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page: Page | None = None
        say(b"ready")
        while word := (await words.readline()).strip():
            if word == b"open":
                page = await open_page(browser, order)
                say(b"opened")
            elif word == b"begin" and page is not None:
                await page.evaluate("window.forget() && null")
            elif word == b"type" and page is not None:
                await typed(page)
                say(b"typed")
            elif word == b"end" and page is not None:
                noted = await page.evaluate("window.forget()")
                say(msgspec.json.encode(msgspec.convert(noted, Shown, strict=False)))
            elif word == b"close" and page is not None:
                await page.close()
                page = None
                say(b"closed")
        await browser.close()


def main() -> None:
    machine.run(run(msgspec.json.decode(sys.argv[1], type=Order)))


if __name__ == "__main__":
    main()
