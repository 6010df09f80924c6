"""Where the commands find recordings: a file, a folder of segments, or a session of the data folder, by its id or the
beginning of it, or `last` for the newest.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.data_folder import data_folder
from rspp.contract.errors import RsppError
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.store import MemoryStore
from rspp.timeline.access import Access, AccessDenied, AccessPolicy, Reason, os_user, own_machine
from rspp.timeline.access import load as load_policy
from rspp.timeline.audit import AuditLog
from rspp.timeline.library import Asker, Found, Library
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.redaction.reading import Seen
from rspp.timeline.segments import SPOOL

STORE_VARIABLE: Final = "RSPP_RECORDINGS"
STORE_FILE: Final = "store.db"
POLICY_FILE: Final = "access.yaml"
RETENTION_FILE: Final = "retention.yaml"
# Whose the calls of this machine's own commands and page are.
OWN_TENANT: Final = "local"

Command = TypeVar("Command", bound=Callable[..., Any])
ResultT = TypeVar("ResultT")


class Where(msgspec.Struct, frozen=True, kw_only=True):
    """Which recordings are meant, and in whose name they are read."""

    data: Path
    tenant: str | None = None
    role: str = "operator"
    purpose: str = "debug"
    store: str | None = None  # an address, where recordings are not exported into the data folder itself


def where_options(command: Command) -> Command:
    """`--data`, `--recordings`, `--tenant`, `--role`, `--purpose`: given to the command as one `where`."""

    def wrapped(
        *arguments: Any,
        data: Path | None,
        recordings: str | None,
        tenant: str | None,
        role: str,
        purpose: str,
        **more: Any,
    ) -> Any:
        where = Where(data=data_folder(data), tenant=tenant, role=role, purpose=purpose, store=recordings)
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
        click.option(
            "--recordings",
            metavar="URL",
            envvar=STORE_VARIABLE,
            help="The store that recordings were exported to, where it is not the data folder's own.",
        ),
        click.option("--data", type=folder, help="Data folder; else $RSPP_DATA, else .rspp here."),
    ):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # as it was, with five options more


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

    async def main() -> Recording:
        async with opened_store(where.data, where.store) as store:
            library = Library(store, where.data)
            return (await _seen(library, await library.find(reference, where.tenant), store, where)).recording

    return _told(where, main)


def load_whole(reference: str, where: Where) -> bytes:
    """All records of the recording that is meant, as a file has them; refused to those who may not see all of it."""

    async def main() -> bytes:
        async with opened_store(where.data, where.store) as store:
            library = Library(store, where.data)
            found = await library.find(reference, where.tenant)
            seen = await _seen(library, found, store, where)
            if seen.markers:
                hidden = ", ".join(f"{one.count} of {one.payload_class.value}" for one in seen.markers)
                raise AccessDenied(
                    Reason.FIDELITY, f"not all of it may be seen: {hidden} are withheld from you"
                )
            return await library.raw(found)

    return _told(where, main)


async def _seen(library: Library, found: Found, store: Store, where: Where) -> Seen:
    """The recording as far as whoever asks may see it; the question is on record."""
    audit = AuditLog(store, wall_ms=lambda: time.time_ns() // 1_000_000)
    asker = asker_of(where)
    return await library.seen(found, Access(policy_of(where, asker), audit), asker)


def asker_of(where: Where) -> Asker:
    return Asker(
        tenant_id=where.tenant or OWN_TENANT,
        principal_id=os_user(),
        role=where.role,
        purpose=where.purpose,
    )


def policy_of(where: Where, asker: Asker) -> AccessPolicy:
    """The data folder's own policy; without one it is the machine's user who may read what is named."""
    path = where.data / POLICY_FILE
    return load_policy(path) if path.exists() else own_machine(asker.tenant_id, asker.principal_id)


def in_library(where: Where, work: Callable[[Library], Awaitable[ResultT]]) -> ResultT:
    """Do something with the recordings of the data folder; what goes wrong is a click error that says what to do."""

    async def main() -> ResultT:
        async with opened_store(where.data, where.store) as store:
            return await work(Library(store, where.data))

    return _told(where, main)


def _told(where: Where, work: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
    try:
        return asyncio.run(work())
    except AccessDenied as error:
        raise click.ClickException(
            f"{error.message}. Without --tenant it is the tenant {OWN_TENANT!r} who asks; another tenant's sessions are "
            f"asked for by its name, and where there is a {POLICY_FILE} in {where.data}, it says who may."
        ) from error
    except RsppError as error:
        raise click.ClickException(
            f"{error.message} ({where.data}); `rspp sessions` lists what there is"
        ) from error


@asynccontextmanager
async def opened_store(data: Path, url: str | None = None) -> AsyncIterator[Store]:
    """The store at this address, else that of the data folder; looking where there are no recordings makes no files."""
    url = url or os.environ.get(STORE_VARIABLE)
    store: Store
    if url:
        store = store_at(url)
    else:
        store = SqliteStore(data / STORE_FILE) if is_data_folder(data) else MemoryStore()
    try:
        yield store
    finally:
        await store.close()


def store_at(url: str) -> Store:
    """A store by its address, or a usage error that says what is wrong with it."""
    from rspp.control.stores import open_store  # noqa: PLC0415 - a replicated store needs what is not always installed

    try:
        return open_store(url, Secrets())
    except RsppError as error:
        raise click.UsageError(f"--recordings: {error.message}") from error


def own_policy(data: Path) -> Path | None:
    """The data folder's own policy of retention, if it has one."""
    path = data / RETENTION_FILE
    return path if path.exists() else None


def is_data_folder(data: Path) -> bool:
    """Has anything ever been recorded here?"""
    return (data / STORE_FILE).exists() or (data / SPOOL).exists()
