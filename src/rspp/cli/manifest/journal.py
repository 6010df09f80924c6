"""Whose journal is told: that of the store which was named, else of the data folder, as `rspp runtime` finds it.

Imported only by what tells a journal: it brings the stores along.
"""

from __future__ import annotations

from pathlib import Path

import click

from rspp.cli.data_folder import data_folder
from rspp.contract.errors import MisuseError
from rspp.server.work import WorkTeller


def teller(store: str | None, data: Path | None) -> WorkTeller:
    """Open it, and make the data folder where there is none; closed when the command ends."""
    try:
        made = WorkTeller(store or _made(data_folder(data)))
    except MisuseError as error:
        raise click.UsageError(f"{error.code}: {error.message}") from error
    click.get_current_context().call_on_close(made.close)
    return made


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.UsageError(
            f"the journal's folder {folder} cannot be made: {error.strerror or error}. "
            "Name another with --data, a store with --store, or say --no-journal."
        ) from error
    return folder
