"""The Manifest page over real work: it follows the file line by line, and its button is the signal that the next step waits for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from playwright.sync_api import Browser, Page

from rspp.manifest import Manifest
from rspp.manifest.document import ResumeTarget, ValCheck, ValReport
from rspp.server.work import WorkTeller
from tests.browser.console import System, browser, browser_path, go, started, until
from tests.browser.looking import Watch, overflow, shots_folder, violations

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROUTE = {"REQUIRED_ROLES": ["VAL"], "OUTPUT_CONTRACT": ["PLAN"]}
LOOKS = (("light", 1280, 900), ("dark", 390, 844))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite://{tmp_path_factory.mktemp('store') / 'control.db'}"


@pytest.fixture(scope="module")
def watched(store: str) -> Iterator[System]:
    browser_path()
    with started("console", "--dev", "--store", store, "--listen", "127.0.0.1:0") as made:
        yield made


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as made:
        yield made


def report(folder: Path, session: str, step: str) -> str:
    check = ValCheck(key="KEY:VAL.WORDS", verdict="pass")
    said = ValReport(session=session, step=step, verdict="pass", checks=(check,))
    (folder / "val.json").write_bytes(msgspec.json.encode(said))
    return "val.json"


def says(page: Page, words: str) -> None:
    until(f"the page says {words!r}", lambda: words in page.inner_text("main"), 15)


@pytest.mark.parametrize(("theme", "width", "height"), LOOKS)
def test_a_session_is_followed_and_signalled_from_the_page(
    watched: System, store: str, opened: Browser, tmp_path: Path, theme: str, width: int, height: int
) -> None:
    name = f"release-{theme}"
    context = opened.new_context(
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
        bypass_csp=True,  # axe is put into the page
    )
    watch = Watch(context, watched.url)
    page = context.new_page()
    watched.open(page, f"/manifest/{name}")
    says(page, "There is no such work session")
    wrong: list[str] = []

    def looked(what: str) -> None:
        page.screenshot(path=shots_folder(tmp_path) / f"{name}-{what}-{width}.png", full_page=True)
        wrong.extend(f"{what}: {one}" for one in violations(page))
        if wider := overflow(page):
            wrong.append(f"{what}: {wider} pixels wider than the window")

    with WorkTeller(store) as teller:
        manifest = Manifest.create(tmp_path / "RUNTIME_MANIFEST.yaml", name, tells=teller)
        with manifest.step("Compile the plan", route=ROUTE) as step:
            says(page, "Missing for PASS")
            says(page, "role_")
            looked("running")
            step.role("VAL").ran(notes="quiet")
            (tmp_path / "plan.json").write_text("{}")
            step.output("PLAN", "plan.json")
            says(page, "plan.json")
            step.output("VAL_REPORT", report(tmp_path, name, step.id))
            says(page, "Nothing is missing")
            step.passed(target=ResumeTarget(GOAL="Publish it"))
        says(page, "waits for the signal")
        button = page.locator("button:has-text('Continue work')")
        until("the button can be pressed", button.is_enabled, 15)
        looked("waiting")
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog input[name=reason]")
        page.keyboard.type("the plan is right")
        page.keyboard.press("Enter")
        page.wait_for_selector("dialog [role=status]")
        assert "Done." in page.inner_text("dialog")
        page.keyboard.press("Enter")
        says(page, "The signal was given")
        says(page, "the plan is right")
        looked("signalled")
        with manifest.step("Publish it", route=ROUTE) as step:  # by no word but the page's
            says(page, "Step 2, running")
            step.failed("gate_red", ["a gate is red"], requirements=["Show a green gate"])
        says(page, "1 requirement must be met first")
        assert page.locator("button:has-text('Continue work')").is_disabled()
        looked("failed")
    go(page, "/manifest")
    page.wait_for_selector(f"text={name}")
    context.close()
    assert wrong == []
    assert watch.elsewhere == []
    assert watch.faults == []
