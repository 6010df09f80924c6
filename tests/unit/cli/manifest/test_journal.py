"""The journal is told of every update, in the store that was named or in the data folder's; away, it fails nothing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rspp.cli.control import asking
from rspp.cli.control.main import command as control
from rspp.cli.manifest import place
from rspp.cli.run_control_options import STORE_FILE
from rspp.cli.serve_settings import SERVED_STORE_FILE
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.ops.journal.journal import Journal
from rspp.server.surfaces import surfaces
from tests.unit.cli.manifest.working import Work

pytestmark = pytest.mark.slow  # processes, or stores
SURFACE = "runtime_work_session"


def told(store: Path) -> list[Any]:
    async def main() -> list[Any]:
        opened = open_store(f"sqlite://{store}", Secrets())
        try:
            page = await Journal(opened, surfaces(), MachineClock()).page(after=0, limit=100)
        finally:
            await opened.close()
        return [one for one in page.records if one.surface == SURFACE]

    return asyncio.run(main())


def test_it_is_the_data_folders_and_made_where_there_is_none(work: Work) -> None:
    work.done("init", "--session", "greeting", journal=True)
    work.done("step", "begin", "--goal", "g", journal=True)
    work.done("route", "--engine", "K", journal=True)
    records = told(work.folder / ".rspp" / STORE_FILE)
    assert len(records) == 3
    assert {one.aggregate_id for one in records} == {"greeting"}


def test_it_is_the_one_that_is_named(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.done("init", "--session", "a", "--store", f"sqlite://{work.folder / 'named.db'}", journal=True)
    assert len(told(work.folder / "named.db")) == 1
    monkeypatch.setenv("RSPP_STORE", f"sqlite://{work.folder / 'environment.db'}")
    work.done("step", "begin", "--goal", "g", journal=True)
    assert len(told(work.folder / "environment.db")) == 2, "and is told what it has not heard yet"
    monkeypatch.delenv("RSPP_STORE")
    work.done("route", "--engine", "K", "--data", "data", journal=True)
    assert len(told(work.folder / "data" / STORE_FILE)) == 3
    assert not (work.folder / ".rspp").exists()


def test_the_store_of_rspp_serve_is_told_where_there_is_only_that(work: Work) -> None:
    work.done("init", "--session", "a", "--data", "d", journal=True)
    (work.folder / "d" / STORE_FILE).rename(work.folder / "d" / SERVED_STORE_FILE)
    work.done("step", "begin", "--goal", "g", "--data", "d", journal=True)
    assert not (work.folder / "d" / STORE_FILE).exists()
    assert len(told(work.folder / "d" / SERVED_STORE_FILE)) == 2


def test_nobody_is_told_when_nobody_is_to_be(work: Work) -> None:
    work.begin()
    work.done("show")
    assert not (work.folder / ".rspp").exists()
    work.refused("role", "QA", "--ran", "--data", "d", status=2, says=["--no-journal"])


def test_looking_and_a_manifest_that_is_not_there_make_no_store(work: Work) -> None:
    work.refused("role", "QA", "--ran", journal=True)
    assert list(work.folder.iterdir()) == []


def test_a_store_that_is_away_fails_nothing_and_is_told_later(work: Work) -> None:
    work.write("no-folder", "a file")
    away = ("--store", f"sqlite://{work.folder / 'no-folder' / 'x.db'}")
    work.done("init", "--session", "a", *away, journal=True)
    assert work.json("validate")["ok"]
    work.done("step", "begin", "--goal", "g", "--data", "d", journal=True)
    assert len(told(work.folder / "d" / STORE_FILE)) == 2


@pytest.mark.parametrize("url", ["nothing://x", "sqlite:", "", "x" * 5000])
def test_an_address_that_is_no_store_is_told_and_nothing_is_a_traceback(work: Work, url: str) -> None:
    result = work.run("init", "--session", "a", "--store", url, journal=True)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)


def test_a_data_folder_that_cannot_be_made_is_wrong_usage_and_writes_nothing(work: Work) -> None:
    work.write("file", "x")
    work.refused("init", "--session", "a", "--data", "file/d", status=2, says=["--no-journal"], journal=True)
    assert not work.file.exists()


def test_who_has_a_file_for_a_store_imports_no_client_of_another_one() -> None:
    """A verb says one line: it must not wait for what it does not use."""
    asked = (
        "import sys; from pathlib import Path; import rspp.cli.manifest.journal; from rspp.server.work import WorkTeller; "
        "WorkTeller(Path('.')).close(); print(sorted({one.partition('.')[0] for one in sys.modules} & {'nats', 'aiohttp', 'strawberry'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", asked], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_names_are_those_of_the_other_commands() -> None:
    assert place.STORE_VARIABLE == asking.STORE_VARIABLE


def test_the_journal_never_holds_the_token(work: Work) -> None:
    work.done("init", "--session", "greeting", journal=True)
    work.done("step", "begin", "--goal", "g", journal=True)
    work.done("result", "fail", "--code", "c", "--requirement", "r", journal=True)
    work.meet(journal=True)
    token = work.show()["document"]["RESUME"]["RESUME_TOKEN"]
    assert token
    for path in (work.folder / ".rspp").iterdir():
        assert token.encode() not in path.read_bytes(), path


def test_the_signal_that_an_operator_gave_opens_the_next_step_once(work: Work) -> None:
    url = f"sqlite://{work.folder / 'named.db'}"
    where = ("--store", url)
    work.done("init", "--session", "greeting", *where, journal=True)
    work.done("step", "begin", "--goal", "g", *where, journal=True)
    work.done("result", "fail", "--code", "c", "--requirement", "r", *where, journal=True)
    work.meet(*where, journal=True)
    work.refused(
        "step", "begin", "--goal", "g", *where, says=["manifest_signal_missing", "signal"], journal=True
    )
    given = CliRunner().invoke(
        control, ["work", "signal", "greeting", "--step", "1", "--reason", "it is mended", *where]
    )
    assert given.exit_code == 0, given.output
    work.done("step", "begin", "--goal", "g", *where, journal=True)
    assert work.show()["document"]["CURRENT_STEP"]["STEP_ID"] == "2"
    work.done("result", "fail", "--code", "c", "--requirement", "r", *where, journal=True)
    work.meet(*where, journal=True)
    work.refused("step", "begin", "--goal", "g", *where, says=["manifest_signal_missing"], journal=True)


def test_the_store_is_closed_when_the_command_ends(work: Work) -> None:
    before = set(threading.enumerate())
    work.done("init", "--session", "greeting", journal=True)
    work.refused("role", "QA", "--ran", journal=True)
    for left in set(threading.enumerate()) - before:
        left.join(10)  # the store's own thread is told to end, and not waited for
        assert not left.is_alive()
