"""A command that works on the store directly tells of what it changes before it ends."""

from __future__ import annotations

import asyncio
from pathlib import Path

from click.testing import CliRunner

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.control.main import command
from rspp.host.clock import MachineClock
from rspp.ops.changes import StateChange
from rspp.ops.journal.journal import Journal
from rspp.server.surfaces import surfaces


def recorded(path: Path) -> list[StateChange]:
    async def main() -> list[StateChange]:
        store = SqliteStore(path)
        try:
            return list((await Journal(store, surfaces(), MachineClock()).page()).records)
        finally:
            await store.close()

    return asyncio.run(main())


def test_a_quota_that_is_set_by_a_command_is_in_the_journal_and_its_record_in_the_audit_log(
    tmp_path: Path,
) -> None:
    path = tmp_path / "control.db"
    said = CliRunner().invoke(
        command,
        [
            *("quotas", "set", "--tenant", "acme", "--store", f"sqlite:///{path}"),
            *("--limits", '{"sessions": {"most": 5}}', "--reason", "a pilot"),
        ],
    )
    assert said.exit_code == 0, said.output
    told = recorded(path)
    quotas = [one for one in told if one.surface == "admission_quotas"]
    assert [(one.change_type, one.aggregate_id, one.metadata["tenant"]) for one in quotas] == [
        ("changed", "acme", "acme")
    ]
    assert quotas[0].mutates_authority_state
    assert quotas[0].source.startswith("command:")
    # Before the change, and after it.
    assert [one.metadata["state"] for one in told if one.surface == "audit_log"][-2:] == ["kept", "kept"]
