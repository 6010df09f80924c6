"""`rspp runtime health` and `rspp runtime actions`, over a store and over a server, with what each ends with."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from rspp.cli.control import asking
from rspp.cli.runtime import health as shown
from rspp.cli.runtime.main import command
from rspp.control.authority.members import Member, Membership, MemberState, fence, member_of
from rspp.control.names import MEMBERS, encoded
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Store
from rspp.host.secrets import Secrets

SETTLE = "settle_worker:workers:w-1"


def run(*words: str, **more: Any) -> Result:
    return CliRunner().invoke(command, list(words), **more)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a worker that is there."""
    for name in (asking.SERVER_VARIABLE, asking.STORE_VARIABLE, asking.TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite://{tmp_path / 'control.db'}"

    async def begin(opened: Store) -> None:
        one = Member(id="w-1", kind="worker", ttl_ms=60_000, capacity=1, ready=True)
        await Membership(opened, MachineClock(), one).join()

    in_store(url, begin)
    return url


def in_store(url: str, work: Any) -> Any:
    async def main() -> Any:
        opened = open_store(url, Secrets())
        try:
            return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(main())


def kill(url: str) -> None:
    in_store(url, lambda opened: fence(opened, "w-1", "killed"))


def state(url: str) -> MemberState:
    async def read(opened: Store) -> MemberState:
        entry = await opened.get(MEMBERS, encoded("w-1"))
        assert entry is not None
        member = member_of(entry)
        assert member is not None
        return member.state

    found = in_store(url, read)
    assert isinstance(found, MemberState)
    return found


def test_what_is_well_ends_with_0_and_what_is_not_says_why_and_ends_with_1(store: str) -> None:
    well = run("health", "--store", store)
    assert (well.exit_code, well.output.split()[0]) == (0, "ok")
    kill(store)
    ill = run("health", "--store", store)
    assert ill.exit_code == 1
    assert ill.output.split()[0] == "failed"
    assert "worker_lost" in ill.output
    assert "w-1 is lost: killed" in ill.output


def test_as_json_it_is_the_whole_health(store: str) -> None:
    kill(store)
    result = run("health", "--store", store, "--json")
    said = json.loads(result.output)
    assert (result.exit_code, said["level"], said["stale"]) == (1, "failed", False)
    assert [one["code"] for one in said["reasons"]] == ["worker_lost"]
    assert {one["surface"] for one in said["surfaces"]} >= {"workers", "sessions", "circuits"}


def test_an_action_is_shown_taken_once_for_its_key_and_then_not_offered_any_more(store: str) -> None:
    kill(store)
    shown_ = run("actions", "--store", store)
    assert shown_.exit_code == 0
    assert SETTLE in shown_.output
    assert "rspp control workers settle" in shown_.output
    words = ("actions", "take", SETTLE, "--store", store, "--reason", "its disk died", "--key", "k1")
    assert run(*words).exit_code == 2, "nobody can be asked, and nobody said yes"
    assert state(store) is MemberState.LOST
    first = run(*words, "--yes")
    assert (first.exit_code, first.output.splitlines()) == (0, ["done", "key k1"])
    assert state(store) is MemberState.LEFT
    again = run(*words, "--yes", "--json")
    assert again.exit_code == 0
    assert (json.loads(again.output)["done"], json.loads(again.output)["repeated"]) == (True, True)
    assert run("actions", "--store", store).output == "nothing has to be done\n"
    other = run("actions", "take", SETTLE, "--store", store, "--reason", "r", "--yes")
    assert other.exit_code == 1
    assert "not_found" in other.output
    assert "rspp runtime actions" in other.output, "and says where to look"
    assert run("health", "--store", store).exit_code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("actions", "--store", "sqlite:///x.db", "take", SETTLE, "--reason", "r", "--yes"),
        ("health", "--store", "nothing://x"),
        ("actions", "take", SETTLE, "--yes", "--store", "sqlite:///x.db"),
        ("actions", "take", "--reason", "r", "--yes"),
        ("health", "--look-ms", "-1", "--store", "sqlite:///x.db"),
        ("health", "--store", "sqlite:///x.db", "--server", "http://127.0.0.1:1"),
        ("health", "--server", "http://example.invalid", "--token", "env://HOME"),
    ],
)
def test_what_is_not_said_in_full_is_wrong_usage(
    store: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*words).exit_code == 2, store


@pytest.mark.parametrize(
    "words", [("health",), ("actions",), ("actions", "take", SETTLE, "--reason", "r", "--yes")]
)
def test_a_store_or_a_server_that_is_not_there_ends_with_1_and_no_store_is_made(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (asking.SERVER_VARIABLE, asking.STORE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RSPP_TOKEN", "a token")
    monkeypatch.chdir(tmp_path)
    for where in ((), ("--data", "data"), ("--store", f"sqlite://{tmp_path}/typo.db")):
        result = run(*words, *where)
        assert (result.exit_code, "there is no store" in result.output) == (1, True), result.output
    assert list(tmp_path.iterdir()) == []
    result = run(*words, "--server", "http://127.0.0.1:1")
    assert (result.exit_code, "control_unreachable" in result.output) == (1, True)


def test_the_store_of_the_data_folder_is_asked_where_nobody_is_named(store: str, tmp_path: Path) -> None:
    kill(store)
    assert run("health", "--data", str(tmp_path)).exit_code == 1
    spaced = tmp_path / "with a space"
    spaced.mkdir()
    (tmp_path / "control.db").rename(spaced / "control.db")
    assert SETTLE in run("actions", "--data", str(spaced)).output


def test_watching_shows_it_again_when_it_has_changed_and_ends_with_how_it_was_last(
    store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[float] = []

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 2:
            kill(store)
        if len(rounds) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("rspp.cli.runtime.health.time", SimpleNamespace(sleep=sleep))
    result = run("health", "--store", store, "--watch")
    levels = [line.split()[0] for line in result.output.splitlines() if "journal" in line]
    assert levels == ["ok", "failed"], "the first time, and when it had changed"
    assert (result.exit_code, set(rounds)) == (1, {shown.EVERY_S})


# ---- over a server ------------------------------------------------------------------------------------------------------


class Console:
    """Answers like a console, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any, str]] = []
        self.answers: dict[str, tuple[int, Any]] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content) if request.content else None
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path, body, request.headers["authorization"]))
        status, said = self.answers[path.partition("?")[0]]
        return httpx.Response(status, json=said)


@pytest.fixture
def console(monkeypatch: pytest.MonkeyPatch) -> Console:
    made = Console()
    client = httpx.Client

    def opened(**how: Any) -> httpx.Client:
        assert how["trust_env"] is False
        return client(transport=httpx.MockTransport(made))

    monkeypatch.setattr("rspp.cli.control.asking.httpx.Client", opened)
    monkeypatch.setenv("RSPP_TOKEN", "the-token")
    monkeypatch.delenv("RSPP_STORE", raising=False)
    monkeypatch.setenv("RSPP_CONTROL", "http://127.0.0.1:8700")
    return made


HEALTH = {
    "level": "notice",
    "as_of_ms": 1,
    "sequence": 3,
    "stale": False,
    "reasons": [],
    "surfaces": [],
    "more": 0,
}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({}, 0),
        ({"level": "ok"}, 0),
        ({"level": "degraded"}, 1),
        ({"level": "failed"}, 1),
        ({"stale": True}, 1),
    ],
)
def test_a_servers_health_is_its_answer(console: Console, change: dict[str, Any], status: int) -> None:
    console.answers["/v1/health"] = (200, {**HEALTH, **change})
    result = run("health", "--json")
    assert result.exit_code == status
    assert json.loads(result.output) == {**HEALTH, **change}
    assert console.asked == [("GET", "/v1/health", None, "Bearer the-token")]


def test_a_servers_action_is_taken_by_its_id_whatever_that_holds(console: Console) -> None:
    console.answers["/v1/actions/close_session%3Asessions%3Aa%2Fb%253Ac%3Aacme"] = (
        200,
        {"id": "x", "done": False, "repeated": False, "message": "it is over", "code": "session_over"},
    )
    result = run(
        "actions", "take", "close_session:sessions:a/b%3Ac:acme", "--reason", "stuck", "--key", "k", "--yes"
    )
    assert result.exit_code == 1
    assert result.output.splitlines() == ["not done (session_over): it is over", "key k"]
    assert console.asked[0][2] == {"key": "k", "reason": "stuck"}


def test_a_servers_refusal_is_said_with_its_code(console: Console) -> None:
    console.answers["/v1/actions"] = (403, {"code": "permission_denied", "message": "this needs more"})
    result = run("actions")
    assert result.exit_code == 1
    assert "permission_denied: this needs more" in result.output


def test_what_a_terminal_would_obey_is_written_out(console: Console) -> None:
    title = "Close session \x1b]0;owned\x07\u202e in good order"
    action = {
        **dict.fromkeys(("title", "why", "id"), title),
        "role": "operator",
        "risk": "low",
        "call": {"permission": "p", "cli": title},
    }
    console.answers["/v1/actions"] = (200, {"items": [{"action": action, "allowed": True}]})
    reason = dict.fromkeys(("surface", "aggregate_id", "code", "message"), title)
    ill = {**HEALTH, "reasons": [{**reason, "level": "notice", "tenant_id": None, "since_ms": 0}]}
    console.answers["/v1/health"] = (200, ill)
    for words in (("actions",), ("health",)):
        shown_ = run(*words, env={"COLUMNS": "400"}).output
        assert "\\x1b]0;owned" in shown_
        assert all(one.isprintable() or one == "\n" for one in shown_)
