"""Every page of the console, over a real system with calls of its own: usable by everybody, small, and asking nobody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page

from rspp.client import Client
from rspp.manifest import Manifest
from rspp.server.work import WorkTeller
from tests.browser.console import System, browser, go, until
from tests.browser.looking import SETTLE_MS, Watch, overflow, shots_folder, violations

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.usefixtures("models")]

TENANT = "local"
CALLS = 3
FIRST_LOAD_BYTES_MAX = 300_000
LOOKS = (("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844))
PAGES = (
    "/",
    "/actions",
    "/sessions",
    "/talk",
    "/workers",
    "/providers",
    "/pipelines",
    "/pipelines/voice-assistant",
    "/journal",
    "/manifest",
)


async def call(url: str, question: str) -> str:
    """A short call in words, with silence for what comes of it; its session."""
    async with Client.connect(url, tenant=TENANT) as line:
        welcome = await line.welcomed()
        line.say(question)
        await line.send_silence(3_000)
        await line.hang_up()
        return welcome.session


def recorded(system: System, session: str) -> bool:
    """Has the console the record of a session?"""
    query = f'{{ session(tenant: "{TENANT}", id: "{session}") {{ item {{ recorded state }} turns {{ number }} }} }}'
    request = Request(
        f"{system.url}/graphql",
        json.dumps({"query": query}).encode(),
        {"authorization": f"Bearer {system.token}", "content-type": "application/json"},
    )
    with urlopen(request, timeout=30) as answer:
        found = json.load(answer)["data"]["session"]
    return bool(found and found["turns"] and found["item"]["state"] == "ended")


@pytest.fixture(scope="module")
def session(running: System) -> str:
    """One of a few calls that the system has had."""
    asked = ("What is the capital of France?", "And of Italy?", "Why is the sky blue?")[:CALLS]
    sessions = [asyncio.run(call(running.calls, question)) for question in asked]
    until("the record of a call", lambda: recorded(running, sessions[0]), 60)
    return sessions[0]


@pytest.fixture(scope="module")
def work(running: System, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A session of real work, told over the system's own store: it stopped, and requires something."""
    folder = tmp_path_factory.mktemp("work")
    with WorkTeller(running.data) as teller:
        manifest = Manifest.create(folder / "RUNTIME_MANIFEST.yaml", "release-1", tells=teller)
        (folder / "plan.json").write_text("{}")
        with manifest.step("Compile the plan", route={"REQUIRED_ENG_KEYS": ["KEY:ENG.COMPILE"]}) as step:
            step.engine("KEY:ENG.COMPILE").ran(outputs=["plan.json"])
            step.output("PLAN", "plan.json")
            step.failed(
                "gate_red", ["a gate is red"], fixes=["mend the gate"], requirements=["Show a green gate"]
            )
    return "release-1"


@pytest.fixture(scope="module")
def opened() -> Iterator[Browser]:
    with browser() as made:
        yield made


def settled(page: Page) -> None:
    """Answers have come, and nothing is on its way but what is live."""
    page.wait_for_function("!document.querySelector('main .loading')", timeout=30_000)
    page.wait_for_timeout(SETTLE_MS)


@pytest.mark.parametrize(("theme", "width", "height"), LOOKS)
def test_every_page_is_usable_by_everybody_and_asks_nobody_else(
    running: System,
    session: str,
    work: str,
    opened: Browser,
    tmp_path: Path,
    theme: str,
    width: int,
    height: int,
) -> None:
    """No A or AA violation, nothing wider than the window, no error said, and no request to another origin."""
    folder = shots_folder(tmp_path)
    context = opened.new_context(
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
        bypass_csp=True,  # axe is put into the page; that the page keeps to its policy is another test's
    )
    watch = Watch(context, running.url)
    page = context.new_page()
    running.open(page)
    wrong: list[str] = []
    for path in (*PAGES, f"/sessions/{TENANT}/{session}", f"/manifest/{work}"):
        go(page, path)
        settled(page)
        name = path.strip("/").replace("/", "_").replace(session, "one") or "overview"
        page.screenshot(path=folder / f"{name}-{theme}-{width}.png", full_page=True)
        wrong += [f"{path}: {one}" for one in violations(page)]
        if wider := overflow(page):
            wrong.append(f"{path}: {wider} pixels wider than the window")
    context.close()
    assert wrong == []
    assert watch.elsewhere == []
    assert watch.faults == []


def test_the_first_load_is_small_and_the_page_keeps_to_its_own_policy(
    running: System, opened: Browser
) -> None:
    """Everything that is fetched before a person sees the overview, as it comes over the line."""
    context = opened.new_context()
    watch = Watch(context, running.url)
    page = context.new_page()
    running.open(page)
    settled(page)
    files = {url: size for url, size in watch.bytes.items() if not url.endswith("/graphql")}
    assert any("/assets/" in url for url in files)
    assert sum(files.values()) < FIRST_LOAD_BYTES_MAX, files
    assert watch.elsewhere == []
    assert watch.faults == []
    context.close()


def test_the_timeline_is_worked_by_keys_alone_and_says_the_same_as_a_table(
    running: System, session: str, opened: Browser
) -> None:
    context = opened.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    running.open(page, f"/sessions/{TENANT}/{session}")
    lanes = page.locator("[data-testid=lanes]")
    lanes.wait_for()
    rows = until("rows are drawn", lambda: int(lanes.get_attribute("data-rows") or 0), 30)
    shown = page.locator(".lanes-tools output")
    before = shown.inner_text()
    lanes.focus()
    page.keyboard.press("+")
    until("a closer look", lambda: shown.inner_text() != before, 5)
    closer = shown.inner_text()
    page.keyboard.press("ArrowRight")
    until("a later look", lambda: shown.inner_text() != closer, 5)
    page.keyboard.press("0")
    until("all of it again", lambda: shown.inner_text().startswith("0:00.0"), 5)
    page.keyboard.press("End")
    until("the play head at the end", lambda: page.inner_text("[data-testid=sound-at]") != "0:00.0", 5)

    page.click("[data-testid=rows] summary")
    page.wait_for_selector("[data-testid=rows] tbody tr")
    assert page.locator("[data-testid=rows] tbody tr").count() == min(100, rows)
    page.select_option("[data-testid=rows] select >> nth=0", "control")
    until(
        "only rows of the lane that was chosen",
        lambda: (
            set(page.locator("[data-testid=rows] tbody tr td:nth-child(2)").all_inner_texts()) == {"control"}
        ),
        10,
    )
    context.close()
