"""What a command prints is the same to the byte for the same data, and coloured only for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wide enough for a field path beside its message. Without a terminal, rich would cut lines at 80 columns.
PIPED_WIDTH_COLUMNS = 160


class Status(IntEnum):
    """How every command ends. Usage errors are raised as click.UsageError, which ends with the same 2."""

    OK = 0
    PROBLEM = 1
    USAGE = 2


def emit_json(data: Any) -> None:
    """One JSON document, keys sorted, closed by a newline. Structs and dataclasses may be anywhere inside."""
    encoded = msgspec.json.format(msgspec.json.encode(data, order="sorted"), indent=2)
    click.echo(encoded.decode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, and make its directory; a place that cannot be written to is wrong usage, not a traceback."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise click.UsageError(
            f"cannot write {path}: {error.strerror or error}. Name another place, or make this one writable."
        ) from error


def write_text(path: Path, content: str) -> None:
    """The same for text, as UTF-8 with plain newlines."""
    write_bytes(path, content.encode())


def console(*, stderr: bool = False) -> Console:
    """A console that colours for terminals only, and not when NO_COLOR is set (rich reads both itself).

    Made anew for each call, because it must write to whatever sys.stdout is now: tests replace it.
    """
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = PIPED_WIDTH_COLUMNS
    return made


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    numbers: Sequence[str] = (),
) -> None:
    """A table of plain text: what looks like rich markup in a cell is printed as it stands.

    Columns named in `numbers` are set flush right.
    """
    table = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_plain(cell) for cell in row))
    console().print(table)


def _plain(cell: object) -> Text:
    return Text("" if cell is None else visible(str(cell)))


def visible(text: str) -> str:
    """The text, with what a terminal would obey written out: names and sentences come from callers and peers."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\xa0" else one.encode("unicode_escape").decode() for one in text
    )
