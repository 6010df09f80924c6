"""`rspp import`: recordings from files into this machine's store, each looked at whole before any of it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import click

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.output import emit_json
from rspp.cli.recordings import STORE_FILE, Where, where_options
from rspp.contract.errors import RsppError
from rspp.timeline.exchange import FILE_BYTES_MAX, Checked, checked
from rspp.timeline.intake import TakenIn, take_in


@click.command(
    name="import",
    epilog="Exit status: 0 all were taken in, 1 a file is no recording and nothing was stored, 2 wrong usage.",
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--json", "as_json", is_flag=True, help="Say as JSON what was taken in.")
@where_options
def command(files: tuple[Path, ...], where: Where, as_json: bool) -> None:
    """Take the recordings in these .rspp FILEs into the data folder.

    Every record of every file is read and checked first. A torn tail is cut off and said; anything else that is wrong refuses
    the file. The same file twice is one recording. A session that is here already stays as it is: the other comes beside it.

    \b
    Examples:
      rspp import call.rspp
      rspp import calls/*.rspp --tenant default
    """
    looked_at = [(path, _checked(path, where.tenant)) for path in files]
    taken = asyncio.run(_store(looked_at, where))
    if as_json:
        emit_json({"imported": taken})
        return
    for one, (path, _) in zip(taken, looked_at, strict=True):
        how = "taken in" if one.new else "is here already"
        cut = f"; a torn tail of {one.cut} bytes was cut off" if one.cut else ""
        click.echo(
            f"{path}: {one.name} of tenant {one.tenant_id} {how}: {one.turns} turns, {one.inputs} inputs{cut}"
        )


def _checked(path: Path, tenant: str | None) -> Checked:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise click.ClickException(f"{path}: more than {FILE_BYTES_MAX} bytes; nothing was stored")
        file = checked(path.read_bytes())
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror or error}") from error
    except RsppError as error:
        raise click.ClickException(f"{path} is no whole recording: {error}; nothing was stored") from error
    if tenant is not None and file.recording.tenant_id != tenant:
        raise click.ClickException(f"{path} is not of tenant {tenant}; nothing was stored")
    return file


async def _store(files: Sequence[tuple[Path, Checked]], where: Where) -> list[TakenIn]:
    try:
        where.data.mkdir(parents=True, exist_ok=True)
        store = SqliteStore(where.data / STORE_FILE)
    except OSError as error:
        raise click.UsageError(
            f"cannot write to {where.data}: {error.strerror or error}; name another --data"
        ) from error
    try:
        return [await take_in(store, file, time.time_ns() // 1_000_000) for _, file in files]
    except RsppError as error:
        raise click.ClickException(str(error)) from error
    finally:
        await store.close()
