"""`rspp control backup`."""

from __future__ import annotations

from typing import Any

import click

from rspp.cli.control.noun import noun
from rspp.cli.output import Status


def _made(answer: Any) -> None:
    """The file itself, so that it can be redirected: `rspp control backup make > backup.jsonl`."""
    click.echo(answer["data"], nl=False)
    click.echo(f"{answer['entries']} entries, sha256 {answer['sha256']}", err=True)


def _restored(answer: Any) -> None:
    click.echo(f"{answer['written']} of {answer['entries']} entries written, the others were there")
    if answer["kept"]:
        click.echo(f"{answer['kept']} have ended since the backup (revoked, removed, used) and stay so")
    click.echo(
        f"took {answer['took_ms']} ms; changes of the last {answer['data_loss_ms'] / 60_000:.1f} min may be lost"
    )
    for what, kept in (("RPO", answer["within_rpo"]), ("RTO", answer["within_rto"])):
        click.echo(f"{what}: {'kept' if kept else 'BREACHED'}")
    if not (answer["within_rpo"] and answer["within_rto"]):
        click.get_current_context().exit(Status.PROBLEM)


command = noun(
    "backup",
    "One file with everything that the control plane cannot make again, and the way back from it.",
    columns={
        "restores": (
            "made_at_ms",
            "entries",
            "written",
            "data_loss_ms",
            "took_ms",
            "within_rpo",
            "within_rto",
        )
    },
    shows={"make": _made, "restore": _restored},
)
