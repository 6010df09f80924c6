"""`rspp control init`: keys and a first admin, made here and now; there is no default of either anywhere."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

import click

from rspp.cli.control.asking import KEYS_VARIABLE, STORE_VARIABLE
from rspp.cli.output import emit_json
from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.operations.people import TOKEN_MS_MAX, token_for
from rspp.control.plane import opened_plane, os_principal
from rspp.control.security.key_folder import KeyFolder
from rspp.host.clock import MachineClock
from rspp.server.state import told

EPILOG: Final = "Exit status: 0 made, 1 it could not be made, 2 the command was used wrongly."
TOKEN_MODE: Final = 0o600


@click.command(epilog=EPILOG)
@click.option("--store", required=True, envvar=STORE_VARIABLE, show_envvar=True, help="The store's address.")
@click.option(
    "--keys",
    required=True,
    envvar=KEYS_VARIABLE,
    show_envvar=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the signing keys; made if it is not there.",
)
@click.option("--admin", default="admin", show_default=True, help="The first admin's name.")
@click.option(
    "--token-file",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the first admin's token here; only you can read it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(store: str, keys: Path, admin: str, token_file: Path, as_json: bool) -> None:
    """Begin a control plane: a signing key, the first admin, and a token for them, good for twelve hours.

    Run it once for each store. Where there are principals already it makes none: it says so, and changes nothing.

    \b
    Example:
        rspp control init --store sqlite://$PWD/control.db --keys keys --token-file admin.token
    """
    try:
        made = asyncio.run(begin(store, keys, admin, token_file))
    except RsppError as error:
        raise click.ClickException(f"{error.code}: {error.message}") from error
    if as_json:
        emit_json(made)
        return
    click.echo(f"signing key {made['key']} in {keys}, readable by you alone")
    click.echo(f"{made['admin']} is admin everywhere; the token is in {token_file}, good for twelve hours")
    click.echo(f"another one later: rspp control principals token {admin} --store {store} --keys {keys}")
    click.echo(f"next: rspp control serve --store {store} --keys {keys}")


async def begin(store: str, keys: Path, admin: str, token_file: Path) -> dict[str, str]:
    """Keys, a principal with every permission, and its token in a file; raises `MisuseError` where there is one already."""
    _is_free(token_file)
    folder = folder_with_key(keys)
    async with opened_plane(store, keys=keys, within=told) as plane:
        await plane.principals.first_admin(admin, os_principal().id)
        issued = token_for(plane, admin, TOKEN_MS_MAX)
        write_token(token_file, issued.token)
        about = {"principal": admin}
        await plane.audit.done(os_principal().id, "principals.token", None, "first admin", about)
        return {"admin": admin, "key": next(iter(folder.held())), "token_file": str(token_file)}


def folder_with_key(path: Path) -> KeyFolder:
    """The folder, made if it is not there, with a key to sign with."""
    folder = KeyFolder(path)
    folder.make()
    if not folder.held():
        folder.create_key(MachineClock().wall() // NS_PER_MS)
    return folder


def _is_free(path: Path) -> None:
    if path.exists():
        raise MisuseError("file_exists", f"{path} is there already; name another file, or remove it")


def write_token(path: Path, token: str) -> None:
    """The token, in a file that nobody else could read at any instant."""
    try:
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, TOKEN_MODE)
        with os.fdopen(number, "w") as file:
            file.write(token + "\n")
    except OSError as error:
        raise MisuseError("file_unwritable", f"{path} cannot be written: {error.strerror}") from error
