"""`rspp sessions` and `rspp retention`: what is recorded, who may see it, and how it goes."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.main import main
from rspp.cli.recordings import STORE_FILE, Where, load
from rspp.timeline.audit import heads, verify
from rspp.timeline.export import Exporter
from rspp.timeline.spool import Spool
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.spooled import fill, frames, opened, renamed

HOUR_MS = 3_600_000
SESSIONS = (("s-one", "local"), ("s-two", "local"), ("s-theirs", "acme"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with three sessions in its store."""
    folder = tmp_path / "data"

    async def main() -> None:
        store = SqliteStore(folder / STORE_FILE)
        spool = Spool(folder)
        spool.start()
        exporter = Exporter(store, spool)
        spool.on_sealed = exporter.sealed
        task = asyncio.get_running_loop().create_task(exporter.run())
        for session_id, tenant_id in SESSIONS:
            began = time.time_ns() // 1_000_000 - HOUR_MS
            recording = renamed(simulated_bytes(), session_id, tenant_id, began)
            await fill(spool, recording, session_id, tenant_id)
        assert await exporter.drain(5_000) == 0
        task.cancel()
        await asyncio.wait([task])
        await spool.close()
        await store.close()

    folder.mkdir()
    asyncio.run(main())
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def printed(*arguments: object) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_sessions_are_listed_as_a_table_and_as_json(data: Path) -> None:
    table = run("sessions", "--data", data)
    assert table.exit_code == 0
    assert all(name in table.stdout for name, _ in SESSIONS)
    assert "complete" in table.stdout
    said = printed("sessions", "--data", data, "--tenant", "acme")
    assert said["total"] == 1
    (one,) = said["sessions"]
    assert (one["session"], one["tenant"], one["consistency"], one["turns"]) == (
        "s-theirs",
        "acme",
        "complete",
        3,
    )
    assert one["recorded_through"] == one["exported_through"] > 0
    assert printed("sessions", "--data", data, "--count", 2)["total"] == 3
    assert "1 more: --skip 2" in run("sessions", "--data", data, "--count", "2").stdout


def test_where_nothing_is_recorded_the_list_says_what_to_do_and_makes_no_files(tmp_path: Path) -> None:
    result = run("sessions", "--data", tmp_path / "none")
    assert result.exit_code == 0
    assert "rspp demo" in result.stdout
    assert not (tmp_path / "none").exists()
    assert printed("sessions", "--data", tmp_path / "none") == {"sessions": [], "total": 0}
    lost = run("replay", "last", "--mode", "re-simulate", "--data", tmp_path / "none")
    assert lost.exit_code == 1
    assert "rspp sessions" in lost.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("since", ["soon", "5", "5x", "-5m", "2026-13-01"])
def test_a_span_that_is_none_is_wrong_usage(data: Path, since: str) -> None:
    assert run("sessions", "--data", data, "--since", since).exit_code == 2


def test_a_filter_that_nothing_passes_says_so(data: Path) -> None:
    for options in (["--since", "1s"], ["--pipeline", "another"], ["--running"], ["--level", "L2"]):
        assert "is like that" in run("sessions", "--data", data, *options).stdout


def test_a_session_that_is_not_exported_yet_is_listed_with_its_marker(data: Path) -> None:
    async def leave() -> Spool:
        spool = Spool(data)
        spool.start()
        append = opened(spool, "s-running", "local")
        for one in frames(renamed(simulated_bytes(), "s-running", "local"))[:40]:
            append.append(one)
        await spool.drained()
        return spool

    spool = asyncio.run(leave())  # the process that has it lives: it holds the lock
    assert spool is not None
    found = {one["session"]: one for one in printed("sessions", "--data", data)["sessions"]}
    one = found["s-running"]
    assert (one["consistency"], one["exported_through"], one["parts_local"]) == ("eventual", 0, 1)
    assert one["recorded_through"] > 0
    assert "runs" in run("sessions", "--data", data, "--running").stdout


def test_another_tenants_session_and_one_that_there_is_not_are_refused_and_both_leave_a_record(
    data: Path,
) -> None:
    replay = ("replay", "--mode", "re-simulate", "--data", data)
    theirs = run(*replay, "s-theirs")
    assert theirs.exit_code == 1
    assert "cross_tenant_denied" in theirs.stderr
    unknown = run(*replay, "s-none")
    assert unknown.exit_code == 1
    assert "no recording" in unknown.stderr
    assert "role_not_authorized" in run(*replay, "s-one", "--role", "compliance").stderr
    assert load("s-one", Where(data=data)).session_id == "s-one"
    assert load("s-th", Where(data=data, tenant="acme")).session_id == "s-theirs"

    async def audited() -> int:
        store = SqliteStore(data / STORE_FILE)
        try:
            assert (await verify(store)).broken == ()
            return sum(head.count for head in (await heads(store)).values())
        finally:
            await store.close()

    assert asyncio.run(audited()) == 4


def test_a_policy_of_access_in_the_data_folder_is_in_force_and_a_wrong_one_lets_nobody_in(data: Path) -> None:
    policy = data / "access.yaml"
    policy.write_text("{name: closed}")
    closed = run("replay", "s-one", "--mode", "re-simulate", "--data", data)
    assert closed.exit_code == 1
    assert "policy_tenant_scope_missing" in closed.stderr
    policy.write_text("{name: open, everyone: yes}")
    wrong = run("replay", "s-one", "--mode", "re-simulate", "--data", data)
    assert wrong.exit_code == 1
    assert "access.yaml" in wrong.stderr


def test_retention_shows_its_policy_sweeps_what_is_due_and_a_dry_run_deletes_nothing(
    data: Path, tmp_path: Path
) -> None:
    assert printed("retention", "policy", "--data", data)["source"] == "default"
    policy = tmp_path / "short.yaml"
    policy.write_text("{name: short, everybody: {metadata: 5s}, tenants: {acme: {metadata: 30d}}}")
    shown = printed("retention", "policy", "--data", data, "--policy", policy, "--tenant", "x")
    assert (shown["windows_ms"]["metadata"], shown["source"]) == (5_000, "file:short.yaml")
    due = printed("retention", "sweep", "--data", data, "--policy", policy, "--dry-run")
    assert {one["name"] for one in due["swept"]} == {"s-one", "s-two"}
    assert printed("sessions", "--data", data)["total"] == 3
    assert run("retention", "sweep", "--data", data, "--policy", policy).exit_code == 0
    assert [one["session"] for one in printed("sessions", "--data", data)["sessions"]] == ["s-theirs"]
    assert "no recording" in run("replay", "s-one", "--mode", "re-simulate", "--data", data).stderr


def test_a_session_is_deleted_on_request_and_a_wrong_request_is_refused(data: Path) -> None:
    assert run("retention", "delete", "--data", data, "--tenant", "local").exit_code == 2
    both = ("--session", "s-one", "--turn", "s-one/turn-1")
    assert run("retention", "delete", "--data", data, "--tenant", "local", *both).exit_code == 2
    one = ("retention", "delete", "--data", data, "--tenant", "local", "--session", "s-one")
    crypto = run(*one, "--kind", "crypto_inaccessible")
    assert crypto.exit_code == 1
    assert "encrypted" in crypto.stderr
    assert run("retention", "delete", "--data", data, "--tenant", "acme", "--session", "s-one").exit_code == 1
    assert printed(*one, "--dry-run")["deleted"] == ["s-one"]
    assert printed("sessions", "--data", data)["total"] == 3
    assert printed(*one)["deleted"] == ["s-one"]
    assert run(*one).exit_code == 1
    assert printed("sessions", "--data", data)["total"] == 2
