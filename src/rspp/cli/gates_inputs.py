"""What `rspp gates` is held to, read from files: limits, a pipeline's targets, the stored overhead."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from rspp.cli.recordings import opened_store
from rspp.contract.errors import MisuseError, RsppError
from rspp.host.overhead import FILE_BYTES_MAX, FILE_NAME, LOG
from rspp.spec import load as load_spec
from rspp.spec.graph import Targets
from rspp.timeline.declared import declared_in
from rspp.timeline.gates import overhead
from rspp.timeline.gates.report import Overhead, Thresholds


def thresholds_of(path: Path) -> Thresholds:
    """Limits from YAML: what it does not name is the contract's, what it names wrongly is an error."""
    try:
        found = declared_in(path, Thresholds, "malformed", empty=Thresholds())
    except MisuseError as error:
        raise click.UsageError(f"{path}: {error}") from error
    for name in Thresholds.__struct_fields__:
        if not 0 <= getattr(found, name) < float("inf"):
            raise click.UsageError(f"{path}: {name} must be 0 or more milliseconds, and finite")
    return found


def targets_of(path: Path) -> Targets:
    """The targets of a pipeline's spec, its profile's where it names none."""
    try:
        loaded = load_spec(path.read_text(), file=str(path))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is no text: {error}") from error
    if loaded.graph is None or loaded.graph.targets is None:
        first = loaded.errors[0].message if loaded.errors else "it does not compile"
        raise click.UsageError(f"{path} is no pipeline: {first}; `rspp lint` says more")
    return loaded.graph.targets


def overhead_of(path: Path) -> Overhead:
    """The stored windows of a file, or of a data folder's store and file."""
    try:
        if path.is_file():
            return overhead.judge(overhead.read(_lines(path)))
        stored = asyncio.run(_stored(path))
        return overhead.judge(overhead.read([*stored, *_lines(path / FILE_NAME)]))
    except (RsppError, OSError) as error:
        raise click.ClickException(f"{path}: {error}") from error


def _lines(path: Path) -> list[bytes]:
    found: list[bytes] = []
    for one in (path.with_name(f"{path.name}.1"), path):
        if one.exists():
            if one.stat().st_size > 2 * FILE_BYTES_MAX:
                raise click.ClickException(f"{one} is larger than any file of the host's meter")
            found += one.read_bytes().splitlines()
    return found


async def _stored(folder: Path) -> list[bytes]:
    async with opened_store(folder) as store:
        return [record async for _, record in store.read(LOG)]
