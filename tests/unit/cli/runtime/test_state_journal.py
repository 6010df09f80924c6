"""`rspp runtime state-*`: over a store and over a real server, with what each prints and what it ends with."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rspp.cli.control import asking
from rspp.cli.runtime import journal as shown
from rspp.cli.runtime.main import COMMANDS, command
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.ops.changes import Change
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.pages import BUCKET, TAIL
from rspp.server.surfaces import surfaces
from rspp.testing.store import MemoryStore
from tests.unit.ops.journal.planted import JWT
from tests.unit.server.given_console import console, served

VERBS = [name for name in COMMANDS if name.startswith("state-")]


def run(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(command, list(words), **more)


def told(*words: str) -> Any:
    """What a command says as JSON, where it ends well."""
    result = run(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (asking.SERVER_VARIABLE, asking.STORE_VARIABLE, asking.TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A store with a journal of three records."""
    url = f"sqlite://{tmp_path / 'control.db'}"

    async def main() -> None:
        opened = open_store(url, Secrets())
        await filled(Journal(opened, surfaces(), MachineClock()))
        await opened.close()

    asyncio.run(main())
    return url


async def filled(journal: Journal) -> None:
    await journal.append(
        [change("e1", "workers", "w-1"), change("e2", "leases", "s-1"), change("e3", "workers", "w-2")]
    )


def change(event: str, surface: str, about: str) -> Change:
    return Change(
        event_id=event,
        surface=surface,
        change_type="changed",
        aggregate_id=about,
        source="w-1@test",
        occurred_wall_ms=1_700_000_000_000,
        metadata={"row": "ab", "state": "ready"},
    )


def test_every_verb_is_there_and_says_how_it_is_used() -> None:
    assert len(VERBS) == 6
    for verb in VERBS:
        result = run(verb, "--help")
        assert result.exit_code == 0
        assert f"rspp runtime {verb}" in result.output
        assert "Exit status" in result.output


def test_all_surfaces_are_listed_without_any_store() -> None:
    items = told("state-surfaces")["items"]
    by_name = {one["name"]: one for one in items}
    assert by_name["leases"]["authority"] is True
    assert by_name["runtime_health"]["truth"] == "derived"
    table = run("state-surfaces")
    assert all(one["name"] in table.output for one in items)


def test_the_newest_records_are_shown_in_order(store: str) -> None:
    said = told("state-journal", "--store", store, "--limit", "2")
    assert [one["event_id"] for one in said["items"]] == ["e2", "e3"]
    assert {key: said[key] for key in ("next", "last", "compacted", "oldest")} == {
        "next": 3,
        "last": 3,
        "compacted": False,
        "oldest": 1,
    }
    first, *rows = run("state-journal", "--store", store).output.splitlines()
    assert first.split()[:2] == ["sequence", "occurred"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "state=ready" in rows[0]
    assert "row=ab" not in rows[0]


def test_records_after_a_number_and_of_one_surface(store: str) -> None:
    assert [one["sequence"] for one in told("state-journal", "--store", store, "--after", "1")["items"]] == [
        2,
        3,
    ]
    of_workers = told("state-journal", "--store", store, "--surface", "workers")
    assert [one["event_id"] for one in of_workers["items"]] == ["e1", "e3"]
    page = run("state-journal", "--store", store, "--after", "0", "--limit", "1")
    assert page.output.splitlines()[-1] == "more: --after 1"
    assert run("state-journal", "--store", store, "--after", "3").output == "nothing\n"


def test_asking_for_what_is_not_there_any_more_says_so(store: str) -> None:
    result = run("state-journal", "--store", store, "--after", "900")
    assert result.exit_code == 0
    assert "nothing is missing from 1 on" in result.stderr
    assert told("state-journal", "--store", store, "--after", "900")["compacted"] is True


def test_a_record_is_made_once_for_its_event_id(store: str) -> None:
    words = (
        "state-journal-record",
        "--store",
        store,
        "--surface",
        "runtime_work_session",
        "--change-type",
        "heartbeat",
    )
    more = (
        "--event-id",
        "beat-1",
        "--metadata",
        "steps=3",
        "--metadata",
        f"note=Bearer {JWT}",
        "--correlation-id",
        "c-1",
    )
    record = told(*words, *more)
    assert (record["sequence"], record["metadata"]["steps"], record["correlation_id"]) == (4, 3, "c-1")
    assert JWT not in json.dumps(record)
    assert record["source"].startswith("os:")
    assert told(*words, *more)["sequence"] == 4
    again = run(*words)
    assert again.exit_code == 0
    assert again.output.startswith("5: runtime_work_session heartbeat")


@pytest.mark.parametrize(
    "words",
    [
        ("--surface", "nobody", "--change-type", "changed"),
        ("--surface", "runtime_health", "--change-type", "changed"),
        ("--surface", "workers", "--change-type", "Has Space"),
        ("--surface", "workers", "--change-type", "changed", "--severity", "loud"),
        ("--surface", "workers", "--change-type", "changed", "--metadata", "nothing"),
        ("--surface", "workers", "--change-type", "changed", "--event-id", "a b"),
        ("--surface", "workers"),
    ],
)
def test_a_change_that_means_nothing_is_wrong_usage(store: str, words: tuple[str, ...]) -> None:
    assert run("state-journal-record", "--store", store, *words).exit_code == 2
    assert told("state-journal", "--store", store)["last"] == 3


@pytest.mark.parametrize(
    "words",
    [
        ("state-journal", "--after", "-1"),
        ("state-journal", "--limit", "0"),
        ("state-journal", "--limit", "1001"),
        ("state-journal", "--surface", "nobody"),
        ("state-journal-status", "--nothing"),
        ("state-journal-validate", "--server", "http://127.0.0.1:1"),
    ],
)
def test_what_cannot_be_asked_is_wrong_usage(store: str, words: tuple[str, ...]) -> None:
    assert run(*words, "--store", store).exit_code == 2


@pytest.mark.parametrize("verb", [one for one in VERBS if one != "state-surfaces"])
def test_a_store_that_is_not_there_ends_with_1_and_is_not_made(verb: str, tmp_path: Path) -> None:
    more = ("--surface", "workers", "--change-type", "x") if verb == "state-journal-record" else ()
    result = run(verb, *more, "--data", str(tmp_path / "data"))
    assert result.exit_code == 1
    assert "rspp run" in result.output
    assert not (tmp_path / "data").exists()
    assert run(verb, *more, "--store", "nats://127.0.0.1:1?deadline_ms=200").exit_code == 1


def test_the_store_of_the_data_folder_is_asked_where_none_is_named(store: str, tmp_path: Path) -> None:
    assert told("state-journal-status", "--data", str(tmp_path))["last"] == 3, store


def test_the_status_counts_what_is_there(store: str) -> None:
    said = told("state-journal-status", "--store", store)
    counts = {one["surface"]: one["records"] for one in said["surfaces"] if one["records"]}
    assert (said["records"], said["oldest"], said["last"], counts) == (3, 1, 3, {"workers": 2, "leases": 1})
    assert said["writable"] is None, "nobody has tried"
    table = run("state-journal-status", "--store", store).output
    assert table.splitlines()[0].startswith("3 records in ")
    assert "runtime_health" in table


def test_a_sound_journal_ends_with_0_and_a_spoilt_one_with_1_and_the_place(store: str) -> None:
    assert told("state-journal-validate", "--store", store)["sound"] is True
    assert run("state-journal-validate", "--store", store).output == "3 records, whole from 1 to 3: sound\n"

    async def spoil() -> None:
        opened = open_store(store, Secrets())
        entry = await opened.get(BUCKET, TAIL)
        assert entry is not None
        await opened.put(
            BUCKET, TAIL, entry.value.replace(b"w-1@test", b"\xff-1@test").replace(b"info", b"loud")
        )
        await opened.close()

    asyncio.run(spoil())
    result = run("state-journal-validate", "--store", store)
    assert result.exit_code == 1
    assert "page_unreadable" in result.output
    as_json = run("state-journal-validate", "--store", store, "--json")
    assert (as_json.exit_code, json.loads(as_json.output)["problems"][0]["place"]) == (1, "tail")
    assert run("state-journal", "--store", store).exit_code == 1


def test_compacting_a_short_journal_forgets_nothing(store: str) -> None:
    said = told("state-journal-compact", "--store", store)
    assert (said["records_removed"], said["compacted_through"]) == (0, 0)
    assert run("state-journal-compact", "--store", store).output.startswith("0 records on 0 pages forgotten")


@pytest.mark.slow
def test_following_shows_what_comes_until_it_is_stopped(store: str) -> None:
    script = "import sys; from rspp.cli.runtime.main import command; command(sys.argv[1:])"
    words = [sys.executable, "-c", script, "state-journal", "--store", store, "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as following:
        try:
            assert following.stdout is not None
            seen = [json.loads(following.stdout.readline())["sequence"] for _ in range(3)]
            run("state-journal-record", "--store", store, "--surface", "workers", "--change-type", "moved")
            seen.append(json.loads(following.stdout.readline())["sequence"])
            assert seen == [1, 2, 3, 4]
            following.send_signal(signal.SIGINT)
            assert following.wait(10) == 0
        finally:
            following.kill()


# ---- over a server --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_answers_the_same_to_whoever_may(tmp_path: Path) -> None:
    async def main() -> dict[str, Result]:
        async with console(tmp_path / "console") as made, served(made) as url:
            journal = Journal(MemoryStore(), made.engine.surfaces, MachineClock())
            await journal.append([change("e1", "workers", "w-1"), change("e2", "workers", "w-2")])
            made.engine.journal = journal  # type: ignore[assignment]  # the real one
            token = {"RSPP_TOKEN": made.of.token("fay")}
            answers = {}
            for name, words in {
                "surfaces": ("state-surfaces", "--json"),
                "newest": ("state-journal", "--json"),
                "of one": ("state-journal", "--surface", "workers", "--limit", "1", "--json"),
                "table": ("state-journal", "--after", "1"),
                "gone": ("state-journal", "--after", "77"),
                "status": ("state-journal-status", "--json"),
                "status table": ("state-journal-status",),
                "unknown": ("state-journal", "--surface", "nobody"),
            }.items():
                answers[name] = await asyncio.to_thread(run, *words, "--server", url, env=token)
            wrong = {"RSPP_TOKEN": "nobody's"}
            answers["stranger"] = await asyncio.to_thread(run, "state-journal", "--server", url, env=wrong)
            return answers

    found = asyncio.run(main())
    said = {name: json.loads(found[name].output) for name in ("surfaces", "newest", "of one", "status")}
    assert "aggregate_type" in said["surfaces"]["items"][0]
    assert [one["event_id"] for one in said["newest"]["items"]] == ["e1", "e2"]
    assert said["newest"]["items"][0]["metadata"] == {"row": "ab", "state": "ready"}
    assert isinstance(said["newest"]["last"], int)
    assert [one["event_id"] for one in said["of one"]["items"]] == ["e2"]
    assert found["table"].output.splitlines()[1].split()[0] == "2"
    assert "nothing is missing from 1 on" in found["gone"].stderr
    assert (said["status"]["writable"], said["status"]["last"]) == (True, 2)
    assert "workers" in found["status table"].output
    assert found["unknown"].exit_code in (1, 2)
    assert (found["stranger"].exit_code, "unauthenticated" in found["stranger"].output) == (1, True)


def test_following_a_server_asks_no_faster_than_a_person_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    answers = [
        {"items": [], "next": 4, "last": 4, "compacted": False, "oldest": 1},
        {"items": [{"sequence": 5, "metadata": {}}], "next": 5, "last": 5, "compacted": True, "oldest": 5},
    ]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("rspp.cli.runtime.journal.time", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(shown, "_of_server", lambda *_: answers.pop(0))
    result = run(
        "state-journal",
        "--after",
        "4",
        "--follow",
        "--json",
        "--server",
        "http://127.0.0.1:1",
        env=dict(os.environ),
    )
    assert (result.exit_code, set(pauses)) == (0, {shown.EVERY_S})
    assert [json.loads(line)["sequence"] for line in result.stdout.splitlines()] == [5]
    assert "nothing is missing from 5 on" in result.stderr
