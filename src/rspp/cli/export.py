"""`rspp export`: sessions as files, to be taken elsewhere: whole recordings, or their rows for other tools."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import click

from rspp.cli.output import emit_json
from rspp.cli.recordings import Where, load, load_whole, where_options
from rspp.cli.timeline import seen_of
from rspp.contract.errors import RsppError
from rspp.timeline.exchange import SUFFIX, JsonLines, ParquetRows, Rows, checked

RSPP, JSONL, PARQUET = "rspp", "jsonl", "parquet"
STDOUT: Final = "-"
_TABLES: Final[dict[str, Callable[[BinaryIO], Rows]]] = {JSONL: JsonLines, PARQUET: ParquetRows}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_CHARS_MAX: Final = 100


@click.command(epilog="Exit status: 0 written, 1 a session is not there or cannot be read, 2 wrong usage.")
@click.argument("sessions", nargs=-1, required=True, metavar="SESSION...")
@click.option(
    "--format",
    "form",
    type=click.Choice([RSPP, JSONL, PARQUET]),
    default=RSPP,
    show_default=True,
    help="The recording itself; or its rows, as JSON lines or a Parquet table.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The file; of several recordings, the folder. - is stdout."
)
@click.option("--no-replay", is_flag=True, help="Run no kernel: rows without the texts that were sent.")
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was written.")
@where_options
def command(
    sessions: tuple[str, ...], where: Where, form: str, out: Path | None, no_replay: bool, as_json: bool
) -> None:
    """Write each SESSION to a file: an id, the beginning of one, `last`, or a file.

    A .rspp file is the recording to the byte: it can be imported, replayed and compared anywhere. Rows are what `rspp timeline`
    shows, one object or table row each; they are for reading, not for replaying.

    \b
    Examples:
      rspp export last --out call.rspp
      rspp export 3f2a 77b1 --format jsonl --out calls.jsonl
      rspp export last --format jsonl --out - | jq 'select(.kind == "signal")'
      rspp export last --format parquet
    """
    written: list[dict[str, object]] = []
    if form == RSPP:
        for session in sessions:
            data = raw(session, where)
            name, inputs = _looked_at(session, data)
            path = _path(out, name, SUFFIX, several=len(sessions) > 1)
            with _opened(path) as file:
                file.write(data)
            written.append({"session": name, "file": str(path), "bytes": len(data), "inputs": inputs})
    else:
        written = _write_rows(sessions, where, form, out, no_replay=no_replay)
    _tell(written, as_json=as_json, to_stdout=out is not None and str(out) == STDOUT)


def raw(reference: str, where: Where) -> bytes:
    """A recording's records, one after the other, as they are."""
    path = Path(reference)
    try:
        if path.is_file():
            return path.read_bytes()
        if path.is_dir():
            return b"".join(piece.read_bytes() for piece in sorted(path.glob("*.seg")))
    except OSError as error:
        raise click.ClickException(f"{reference}: {error.strerror or error}") from error
    return load_whole(reference, where)


def _looked_at(reference: str, data: bytes) -> tuple[str, int]:
    """Whose recording these bytes are, and how many inputs it has; nothing is exported that could not be read again."""
    try:
        recording = checked(data).recording
    except RsppError as error:
        raise click.ClickException(f"{reference}: {error}") from error
    return recording.session_id, len(recording.inputs)


def _write_rows(
    sessions: tuple[str, ...], where: Where, form: str, out: Path | None, *, no_replay: bool
) -> list[dict[str, object]]:
    first = load(sessions[0], where)  # before a file is begun
    path = _path(out, first.session_id, f".{form}", several=False)
    written: list[dict[str, object]] = []
    with _opened(path) as file:
        table = _table(form, file)
        for number, session in enumerate(sessions):
            recording = load(session, where) if number else first
            seen = seen_of(recording, replay=not no_replay)
            table.session(seen.head, seen.rows)
            written.append({"session": recording.session_id, "file": str(path), "rows": len(seen.rows)})
        table.close()
    return written


def _table(form: str, file: BinaryIO) -> Rows:
    try:
        return _TABLES[form](file)
    except RsppError as error:
        raise click.ClickException(error.message) from error


def _path(out: Path | None, name: str, suffix: str, *, several: bool) -> Path:
    """Where to write: what was named, or a name made of the session's in the folder that was named, or here."""
    own = _UNSAFE.sub("_", name)[:_NAME_CHARS_MAX].strip(".") or "session"
    if out is None:
        return Path(f"{own}{suffix}")
    if str(out) == STDOUT:
        if several:
            raise click.UsageError("several recordings do not go to stdout: name a folder with --out")
        return out
    if several or out.is_dir():
        return out / f"{own}{suffix}"
    return out


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A file that is there whole or not at all."""
    if str(path) == STDOUT:
        yield sys.stdout.buffer
        return
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise click.UsageError(
            f"cannot write {path}: {error.strerror or error}. Name another place with --out, or make this one writable."
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _tell(written: list[dict[str, object]], *, as_json: bool, to_stdout: bool) -> None:
    if as_json and not to_stdout:
        emit_json({"written": written})
        return
    for one in written:
        much = f"{one['rows']} rows" if "rows" in one else f"{one['bytes']} bytes, {one['inputs']} inputs"
        click.echo(f"{one['session']}: {much} to {one['file']}", err=to_stdout)
