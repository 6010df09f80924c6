"""Where the commands find recordings: a file, a folder of segments, or a session of the data folder, by its id or the
beginning of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from rspp.contract.errors import RsppError
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe

DATA_VARIABLE: Final = "RSPP_DATA"
DATA_DEFAULT: Final = Path(".rspp")

Command = TypeVar("Command", bound=Callable[..., Any])


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which recordings are meant, and in whose name they are read."""

    data: Path
    tenant: str | None = None
    role: str = "operator"
    purpose: str = "debug"


def data_folder(given: Path | None) -> Path:
    """The folder that was named, else $RSPP_DATA, else `.rspp` here."""
    return given or Path(os.environ.get(DATA_VARIABLE) or DATA_DEFAULT)


def where_options(command: Command) -> Command:
    """`--data`, `--tenant`, `--role`, `--purpose`: given to the command as one `where`."""

    def wrapped(
        *arguments: Any, data: Path | None, tenant: str | None, role: str, purpose: str, **more: Any
    ) -> Any:
        where = Where(data=data_folder(data), tenant=tenant, role=role, purpose=purpose)
        return command(*arguments, where=where, **more)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    folder = click.Path(file_okay=False, path_type=Path)
    for option in (
        click.option(
            "--purpose",
            default="debug",
            show_default=True,
            help="What for: debug, incident, eval, compliance.",
        ),
        click.option(
            "--role", default="operator", show_default=True, help="Who asks: oncall, operator, compliance."
        ),
        click.option("--tenant", help="Whose session; without it your own machine's."),
        click.option("--data", type=folder, help="Data folder; else $RSPP_DATA, else .rspp here."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # as it was, with four options more


def load(reference: str, where: Where) -> Recording:
    """The recording that is meant, or a click error that says what to do."""
    path = Path(reference)
    try:
        if path.is_file():
            return assemble([unframe(path.read_bytes())])
        if path.is_dir():
            return assemble(unframe(piece.read_bytes()) for piece in sorted(path.glob("*.seg")))
    except (RsppError, OSError) as error:
        raise click.ClickException(f"{reference}: {error}") from error
    raise click.ClickException(
        f"no session and no file {reference!r} in {where.data}; `rspp sessions` lists what there is"
    )
