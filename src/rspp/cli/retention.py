"""`rspp retention`: what is kept how long, what is due, and what somebody wants gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import click

from rspp.cli.data_folder import data_folder
from rspp.cli.output import emit_json, print_table
from rspp.cli.recorded import Choice, export_rest
from rspp.cli.recordings import RETENTION_FILE, is_data_folder, opened_store, own_policy
from rspp.contract.errors import RsppError
from rspp.contract.words import PayloadClass
from rspp.timeline.access import os_user
from rspp.timeline.audit import AuditLog
from rspp.timeline.retention import (
    CRYPTO,
    HARD_DELETE,
    LONGEST,
    DeleteRequest,
    InForce,
    Retention,
    Swept,
    in_force,
)

EPILOG: Final = "Exit status: 0 done, 1 it could not be done, 2 the command was used wrongly."
ResultT = TypeVar("ResultT")

data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Data folder; else $RSPP_DATA, else .rspp here.",
)
policy_option = click.option(
    "--policy",
    "policy_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"The windows, as YAML; else {RETENTION_FILE} in the data folder, else the contract's.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@click.group()
def command() -> None:
    """What is kept how long; delete what is due, or asked for. Every deletion is on record."""


@command.command(epilog=EPILOG)
@data_option
@policy_option
@click.option("--tenant", help="The windows of this tenant.")
@json_option
def policy(data: Path | None, policy_file: Path | None, tenant: str | None, as_json: bool) -> None:
    """Show the policy in force, and where it comes from.

    \b
    A policy is a file like this; no window may be longer than the contract's:
        name: ours
        everybody: {audio_raw: 7d, PHI: 1h}
        tenants: {clinic: {text_raw: 12h}}
    """
    rules = _rules(data_folder(data), policy_file)
    windows = {one: rules.policy.window_ms(tenant or "", one) for one in PayloadClass}
    if as_json:
        emit_json(
            {"policy": rules.policy.name, "source": rules.source, "tenant": tenant, "windows_ms": windows}
        )
        return
    click.echo(f"policy {rules.policy.name}, from {rules.source}" + (f", for {tenant}" if tenant else ""))
    rows = [(one.value, _span(ms), _span(LONGEST[one])) for one, ms in windows.items()]
    print_table(("class", "kept", "at most"), rows)


@command.command(epilog=EPILOG)
@data_option
@policy_option
@click.option("--tenant", help="Only of this tenant.")
@click.option("--dry-run", is_flag=True, help="Say what is due and delete nothing.")
@json_option
def sweep(
    data: Path | None, policy_file: Path | None, tenant: str | None, dry_run: bool, as_json: bool
) -> None:
    """Delete everything that is older than its window: sound and words first, then the whole recording.

    \b
    Example:
        rspp retention sweep --dry-run
    """
    folder = data_folder(data)
    rules = _rules(folder, policy_file)
    now = _now_ms()
    if not dry_run and is_data_folder(folder):
        export_rest(Choice(data=folder))  # what a dead process left has an age, too
    swept = _in(folder, rules, lambda retention: retention.sweep(now, dry_run=dry_run, tenant=tenant))
    if as_json:
        emit_json({"dry_run": dry_run, "source": rules.source, "swept": swept})
        return
    if swept:
        print_table(("session", "tenant", "age", "deleted"), [_row(one) for one in swept])
    would = "would be deleted or cut" if dry_run else "deleted or cut"
    click.echo(f"{len(swept)} recordings {would}, by the policy from {rules.source}")


@command.command(epilog=EPILOG)
@data_option
@click.option("--tenant", required=True, help="Whose.")
@click.option("--session", help="A whole session.")
@click.option("--turn", help="What was said and heard in a turn: SESSION/TURN. Its evidence stays.")
@click.option("--kind", type=click.Choice([HARD_DELETE, CRYPTO]), default=HARD_DELETE, show_default=True)
@click.option("--requester", help="Who asks; without it whoever is logged in.")
@click.option("--dry-run", is_flag=True, help="Say what would be deleted.")
@json_option
def delete(
    data: Path | None,
    tenant: str,
    session: str | None,
    turn: str | None,
    kind: str,
    requester: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete a session, or the contents of one turn, because somebody asks for it.

    \b
    Example:
        rspp retention delete --tenant acme --session s-06fd3effbfd2b7e8
    """
    if (session is None) == (turn is None):
        raise click.UsageError("Say exactly one of --session and --turn.")
    request = DeleteRequest(
        tenant_id=tenant,
        session_id=session,
        turn_id=turn,
        kind=kind,
        requester=requester or os_user(),
        at_wall_ms=_now_ms(),
    )
    folder = data_folder(data)
    names = _in(folder, _rules(folder, None), lambda retention: retention.delete(request, dry_run=dry_run))
    if as_json:
        emit_json({"dry_run": dry_run, "deleted": names, "turn": turn})
        return
    what = f"the contents of {turn}" if turn else ", ".join(names)
    click.echo(f"{what} {'would be' if dry_run else 'is'} deleted")


def _rules(folder: Path, path: Path | None) -> InForce:
    try:
        return in_force(path or own_policy(folder))
    except RsppError as error:
        raise click.UsageError(error.message) from error


def _in(folder: Path, rules: InForce, work: Callable[[Retention], Awaitable[ResultT]]) -> ResultT:
    async def main() -> ResultT:
        async with opened_store(folder) as store:
            return await work(Retention(store, rules, AuditLog(store, wall_ms=_now_ms), os_user()))

    try:
        return asyncio.run(main())
    except RsppError as error:
        raise click.ClickException(f"{error.message} ({folder})") from error


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _row(one: Swept) -> tuple[str, ...]:
    return one.name, one.tenant_id, _span(one.age_ms), "all" if one.deleted else ", ".join(one.dropped)


def _span(ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if ms >= size:
            return f"{ms / size:.4g} {unit}"
    return f"{ms} ms"
