"""For development only: writes a picture of each page and asks axe about it, wide and narrow, light and dark.

    python dev/look.py http://127.0.0.1:8080 --token trouble --out /somewhere [--page /workers]

It ends with status 1 if a page has a violation of WCAG A or AA, an error in the browser's console, or something that is
wider than the page.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Browser, ConsoleMessage, Error, Page, sync_playwright

WEB: Final = Path(__file__).resolve().parent.parent
AXE: Final = WEB / "node_modules" / "axe-core" / "axe.min.js"
PAGES: Final = (
    "/",
    "/actions",
    "/sessions",
    "/talk",
    "/workers",
    "/providers",
    "/pipelines",
    "/journal",
    "/manifest",
    "/manifest/release-0.1.0",
)
SIZES: Final = {"wide": (1280, 800), "phone": (390, 844)}
TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
SETTLE_MS: Final = 900


def look(browser: Browser, address: str, token: str, out: Path, pages: list[str]) -> list[str]:
    troubles: list[str] = []

    def heard(said: ConsoleMessage) -> None:
        if said.type == "error":
            troubles.append(f"console: {said.text}")

    def broke(error: Error) -> None:
        troubles.append(f"error: {error}")

    for size, theme in itertools.product(SIZES, ("light", "dark")):
        width, height = SIZES[size]
        context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=theme)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", broke)
        page.goto(f"{address}/#token={token}")
        page.wait_for_timeout(SETTLE_MS)
        for path in pages:
            page.goto(f"{address}/#{path}")
            page.wait_for_timeout(SETTLE_MS)
            name = re.sub(r"\W+", "-", path).strip("-") or "overview"
            page.screenshot(path=out / f"{name}-{size}-{theme}.png")
            troubles += [f"{path} {size} {theme}: {one}" for one in judged(page)]
        context.close()
    return troubles


def judged(page: Page) -> list[str]:
    # Playwright evaluates outside of the page's policy, so that the policy stays on.
    page.evaluate(AXE.read_text())
    result: dict[str, Any] = page.evaluate(
        "tags => axe.run(document, {runOnly: {type: 'tag', values: tags}})", list(TAGS)
    )
    found = [
        f"{one['id']} ({one['impact']}): "
        + "; ".join(
            " ".join(node["target"]) + " " + node["failureSummary"][:200] for node in one["nodes"][:3]
        )
        for one in result["violations"]
    ]
    over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if over > 0:
        found.append(f"{over} pixels wider than the page")
    return found


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("address")
    options.add_argument("--token", default="trouble")
    options.add_argument("--out", type=Path, default=Path("pictures"))
    options.add_argument("--page", action="append")
    options.add_argument("--browser", help="the path of a Chromium, if it is not Playwright's own")
    given = options.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=given.browser, args=["--no-sandbox"])
        troubles = look(browser, given.address, given.token, given.out, given.page or list(PAGES))
        browser.close()
    for one in troubles:
        sys.stdout.write(one + "\n")
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
