"""Where a console finds recordings, and what is said to whoever is to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click

from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.server.pages import is_built
from rspp.server.recorded.places import Places


@asynccontextmanager
async def recorded_places(
    data: Path | None, recordings: str | None, secrets: Secrets
) -> AsyncIterator[Places]:
    """The data folder, and the store that recordings are exported to if that is another one."""
    store = None if recordings is None else open_store(recordings, secrets)
    try:
        yield Places(data, store)
    finally:
        if store is not None:
            await store.close()


def tell_console(url: str, token_file: Path | None) -> None:
    """One line: the address to open. The token of dev mode stands after `#`, which no browser sends to any server."""
    if token_file is not None:
        click.echo(f"console at {url}/#token={token_file.read_text().strip()}")
    else:
        click.echo(
            f"console at {url}/   sign in with a token: rspp control principals token NAME --store STORE --keys KEYS"
        )
    if not is_built():
        click.echo("the console's page is not built: run `make web`", err=True)
