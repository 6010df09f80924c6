"""`rspp control audit`, and the check of an exported file, for which the public keys are asked for and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rspp.cli.control.asking import ask
from rspp.cli.control.noun import EPILOG, asking_options, noun, whom_of
from rspp.cli.output import Status, emit_json
from rspp.control.operations import operation_named
from rspp.control.security.audit_export import verify_export
from rspp.control.security.keys import KeyRecord, KeyState


def _verified(answer: Any) -> None:
    click.echo(
        f"{answer['logs']} logs, {answer['records']} records: {'sound' if answer['sound'] else 'BROKEN'}"
    )
    for place in answer["broken"]:
        click.echo(f"not as it was written: {place}")
    if not answer["sound"]:
        click.get_current_context().exit(Status.PROBLEM)


def _exported(answer: Any) -> None:
    """The file itself, so that it can be redirected."""
    click.echo(answer["data"], nl=False)


class _Keys:
    """The public keys that a control plane trusts now."""

    def __init__(self, items: list[Mapping[str, Any]]) -> None:
        self._records = {one["key"]: _record(one) for one in items}

    def key(self, kid: str) -> KeyRecord | None:
        return self._records.get(kid)


def _record(one: Mapping[str, Any]) -> KeyRecord:
    return KeyRecord(
        kid=one["key"],
        public=one["public"],
        holder=one["holder"],
        state=KeyState(one["state"]),
        created_at_ms=one["created_at_ms"],
        activates_at_ms=one["activates_at_ms"],
        age_ms_max=one["over_age_at_ms"] - one["created_at_ms"],
        retires_at_ms=one["retires_at_ms"],
        revoked_at_ms=one["revoked_at_ms"],
    )


def _check(file: Path, as_json: bool, **given: Any) -> None:
    """Check an exported audit log: every record, every chain, and the seal under them.

    \b
    Example:
        rspp control audit check audit.jsonl
    """
    answer = ask(whom_of(**given), operation_named("keys.list"), {})
    found = verify_export(file, _Keys(answer["items"]))
    said = {"sound": not found.broken, "logs": found.logs, "records": found.records, "broken": found.broken}
    if as_json:
        emit_json(said)
        click.get_current_context().exit(Status.OK if said["sound"] else Status.PROBLEM)
    _verified(said)


command = noun(
    "audit",
    "Who did what, who was not let, and whether all of it is still as it was written.",
    columns={"list": ("at_ms", "principal", "action", "decision", "tenant", "reason", "facts")},
    shows={"verify": _verified, "export": _exported},
)
command.add_command(
    click.Command(
        "check",
        callback=_check,
        params=[
            click.Argument(["file"], type=click.Path(exists=True, dir_okay=False, path_type=Path)),
            *asking_options(),
        ],
        help=_check.__doc__,
        short_help="Check an exported audit log.",
        epilog=EPILOG,
    )
)
