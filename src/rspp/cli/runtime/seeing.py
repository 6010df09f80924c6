"""How the commands see health and actions: asked of a server, or read from its store as whoever is logged in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar
from urllib.parse import quote

import click
import msgspec

from rspp.cli.control.asking import Whom, request, worded
from rspp.cli.runtime.looking import must_be_there
from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.plane import ControlPlane, opened_plane, os_principal
from rspp.ops.actions import actions_of
from rspp.ops.health import Health, health_of
from rspp.ops.journal.journal import Journal
from rspp.ops.snapshots import Snapshots
from rspp.ops.surfaces import Surfaces
from rspp.server.acting import act, health_for
from rspp.server.acting_routes import Actions, Offered, may_take
from rspp.server.state import told
from rspp.server.surfaces import SURFACES

ResultT = TypeVar("ResultT")
NOTHING: Final[Mapping[str, str]] = {}
NOT_OFFERED: Final[Mapping[str, str]] = {
    "not_found": ". It is not offered now; `rspp runtime actions` shows what is",
}


class StoreSight:
    """The surfaces' rows as one look at the store has them, or as a longer look does: who is silent is known by waiting."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._surfaces = Surfaces(SURFACES)
        self.snapshots = Snapshots(plane.store, self._surfaces, plane.clock)
        self._journal = Journal(plane.store, self._surfaces, plane.clock)
        self._sequence = 0

    async def look(self, for_ms: int) -> None:
        """Read everything; keep looking for so long."""
        await self.snapshots.load()
        self._sequence = (await self._journal.page(after=0, limit=1)).last
        if for_ms:
            following = asyncio.create_task(self.snapshots.run())
            try:
                await asyncio.wait([following], timeout=for_ms / 1000)
            finally:
                following.cancel()
                await asyncio.wait([following])

    def health(self) -> Health:
        return health_of(
            self.snapshots.by_surface(),
            self._surfaces,
            as_of_ms=self._plane.clock.wall() // NS_PER_MS,
            sequence=self._sequence,
            stale=self.snapshots.stale,
        )


def health(whom: Whom, look_ms: int = 0) -> Any:
    """How everything is, as plain data."""

    async def of_store(_: ControlPlane, sight: StoreSight) -> Any:
        return health_for(os_principal(), sight)

    return _asked(whom, of_store, lambda: request(whom, "GET", "/v1/health", {}), look_ms)


def actions(whom: Whom, look_ms: int = 0) -> list[Any]:
    """What can be done, as plain data: each action, and whether the asker may."""

    async def of_store(_: ControlPlane, sight: StoreSight) -> Any:
        principal = os_principal()
        offered = actions_of(health_for(principal, sight))
        return Actions(items=[Offered(action=one, allowed=may_take(principal, one)) for one in offered])

    said = _asked(whom, of_store, lambda: request(whom, "GET", "/v1/actions", {}), look_ms)
    return list(said["items"])


def take(whom: Whom, action_id: str, key: str, reason: str, look_ms: int = 0) -> Any:
    """Take an action; what came of it."""

    async def of_store(plane: ControlPlane, sight: StoreSight) -> Any:
        return await act(plane, sight, os_principal(), action_id, key, reason)

    path = f"/v1/actions/{quote(action_id, safe='')}"
    body = {"key": key, "reason": reason}
    return _asked(whom, of_store, lambda: request(whom, "POST", path, body), look_ms, NOT_OFFERED)


def _asked(
    whom: Whom,
    of_store: Callable[[ControlPlane, StoreSight], Awaitable[Any]],
    of_server: Callable[[], Any],
    look_ms: int,
    next_steps: Mapping[str, str] = NOTHING,
) -> Any:
    async def main(url: str) -> Any:
        async with _sight(whom, url, look_ms) as (plane, sight):
            return msgspec.to_builtins(await of_store(plane, sight))

    try:
        if whom.store is None:
            return of_server()
        must_be_there(whom.store)
        return asyncio.run(main(whom.store))
    except MisuseError as error:
        raise click.UsageError(worded(error)) from error
    except RsppError as error:
        said = f"{error.code}: {error.message}{next_steps[error.code]}" if error.code in next_steps else None
        raise click.ClickException(said or worded(error)) from error


@asynccontextmanager
async def _sight(whom: Whom, url: str, look_ms: int) -> AsyncIterator[tuple[ControlPlane, StoreSight]]:
    async with opened_plane(url, keys=whom.keys, within=told) as plane:
        sight = StoreSight(plane)
        await sight.look(look_ms)
        yield plane, sight
