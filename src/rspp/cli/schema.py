"""`rspp schema`: write the contract's schemas, or say what changed between two versions and whether it breaks peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import Status, emit_json, print_table, write_bytes
from rspp.contract.compat import Change, compare, compare_all
from rspp.contract.errors import MisuseError
from rspp.contract.schema import HASH_KEY, schemas

SUFFIX: Final = ".schema.json"
INDEX: Final = "index.json"


@click.group(
    epilog="Exit status: 0 all is well, 1 a breaking change was found, 2 the command was used wrongly."
)
def command() -> None:
    """Write the contract's JSON Schemas, and compare two versions of them.

    \b
    Examples:
        rspp schema export build/schemas
        rspp schema check released/schemas build/schemas
    """


@command.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was written as one JSON document.")
def export(directory: Path, as_json: bool) -> None:
    """Write every schema into DIRECTORY, one file each, with an index of their hashes."""
    rows = []
    for name, schema in schemas().items():
        path = directory / f"{name}{SUFFIX}"
        write_bytes(path, _pretty(schema))
        rows.append({"name": name, "id": schema["$id"], "hash": schema[HASH_KEY], "file": path.name})
    write_bytes(directory / INDEX, _pretty(rows))
    if as_json:
        emit_json(rows)
    else:
        print_table(("schema", "hash"), [(row["id"], row["hash"][:16]) for row in rows])
        click.echo(f"{len(rows)} schemas written to {directory}")


@command.command()
@click.argument("old", type=click.Path(exists=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check(context: click.Context, old: Path, new: Path, as_json: bool) -> None:
    """Compare OLD with NEW, two directories of schemas or two schema files.

    A breaking change fails, unless the major version in the schema's $id was raised.
    """
    try:
        found = _compare(old, new)
    except MisuseError as error:
        raise click.UsageError(str(error)) from error
    changes = [(name, change) for name, every in found.items() for change in every]
    broken = sum(change.breaking for _, change in changes)
    if as_json:
        emit_json({"breaking": broken, "changes": found})
    else:
        for name, change in sorted(changes, key=lambda one: not one[1].breaking):
            click.echo(_line(name, change))
        click.echo(f"{len(changes)} changes, {broken} of them breaking")
    context.exit(Status.PROBLEM if broken else Status.OK)


def _compare(old: Path, new: Path) -> dict[str, list[Change]]:
    if old.is_dir() != new.is_dir():
        raise click.UsageError("OLD and NEW are two directories or two files")
    if old.is_dir():
        return compare_all(_read_all(old), _read_all(new))
    return {_name(new): compare(_read(old), _read(new))}


def _read_all(directory: Path) -> dict[str, dict[str, Any]]:
    found = {_name(path): _read(path) for path in sorted(directory.glob(f"*{SUFFIX}"))}
    if not found:
        raise click.UsageError(f"there is no *{SUFFIX} in {directory}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise click.UsageError(f"{path} is not a JSON Schema: {error}") from error


def _name(path: Path) -> str:
    return path.name.removesuffix(SUFFIX)


def _line(name: str, change: Change) -> str:
    weight = "breaking" if change.breaking else "fine"
    return f"{name}: {weight}: {change.path or 'the root'}: {change.rule}: {change.message}"


def _pretty(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"
