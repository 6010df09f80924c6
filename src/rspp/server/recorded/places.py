"""Where recordings lie: in a data folder (its spool, and the store in it), in a store of their own, or in both.

A folder in which nothing was ever recorded is looked at without making a file in it; its store is opened once there is one.
"""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

import msgspec

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import RsppError
from rspp.host.ports import Store
from rspp.testing.store import MemoryStore
from rspp.timeline.access import AccessPolicy, load
from rspp.timeline.catalogue import Catalogued
from rspp.timeline.library import Found, Library
from rspp.timeline.prices import Prices, read_prices
from rspp.timeline.segments import is_alive

log = logging.getLogger("rspp.server.recorded")

STORE_FILE: Final = "store.db"
POLICY_FILE: Final = "access.yaml"
PRICES_FILE: Final = "prices.yaml"
# Whoever exports a running session does so every 30 s; of one that was silent for longer nobody says that it goes on.
SILENT_MS_MAX: Final = 90_000


def _seen(path: Path) -> tuple[int, int] | None:
    """When the file was changed and how large it is; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_mtime_ns, stat.st_size


class Placed(msgspec.Struct, frozen=True):
    """A recording, the library that has it, and whether more comes of it, as far as can be seen."""

    library: Library
    found: Found
    live: bool = False


def part_name(placed: Placed) -> str:
    """A name that no other recording of its session has."""
    return f"{placed.found.entry.session_id}~{placed.found.entry.run}"


class Places:
    """All places of one server. `store` is the one that recordings are exported to, if that is not the folder's own."""

    def __init__(self, data: Path | None = None, store: Store | None = None) -> None:
        self.data = data
        self._own: SqliteStore | None = None
        # What is not exported yet is asked for beside the first store alone, so that it is found once.
        self._given = None if store is None else Library(store, data)
        self._local = None if store is not None or data is None else Library(MemoryStore(), data)
        self._policy: tuple[tuple[int, int], AccessPolicy] | None = None
        self._prices: tuple[tuple[int, int], Prices | None] | None = None

    def libraries(self) -> list[Library]:
        """Those that there are now."""
        if self._own is None and self.data is not None and (self.data / STORE_FILE).is_file():
            self._own = SqliteStore(self.data / STORE_FILE)
            self._local = Library(self._own, None if self._given else self.data)
        return [one for one in (self._given, self._local) if one is not None]

    async def runs(self, tenant_id: str, session_id: str, wall_ms: int) -> list[Placed]:
        """Every recording of a session, the newest last, or the one of this very name; nothing if there is none.

        Raises what a store raises.
        """
        placed: dict[str, Placed] = {}
        for library in self.libraries():
            for found in await library.runs(tenant_id, session_id):
                live = self.is_live(found.entry, wall_ms)
                placed.setdefault(found.entry.run, Placed(library, found, live))
        whole, tilde, _ = session_id.rpartition("~")
        if tilde and not placed:  # one of several recordings of a session
            every = await self.runs(tenant_id, whole, wall_ms)
            return [one for one in every if session_id in (one.found.name, part_name(one))]
        return sorted(placed.values(), key=lambda one: (one.found.entry.opened_wall_ms, one.found.key))

    def is_live(self, entry: Catalogued, wall_ms: int) -> bool:
        """Does it go on, as far as can be seen: its process is here, or something of it was exported a moment ago?"""
        if not entry.running:
            return False
        here = self.data is not None and is_alive(self.data, entry.run)
        return here or wall_ms - entry.exported_wall_ms < SILENT_MS_MAX

    async def policy(self) -> AccessPolicy | None:
        """The data folder's own policy, read anew when its file changes; raises MisuseError if it cannot be read."""
        return (
            None if self.data is None else await asyncio.to_thread(self._read_policy, self.data / POLICY_FILE)
        )

    def _read_policy(self, path: Path) -> AccessPolicy | None:
        seen = _seen(path)
        if seen is None:
            return None
        if self._policy is None or self._policy[0] != seen:
            self._policy = None  # until the new one is read there is none, and that is an error, not a grant
            self._policy = (seen, load(path))
        return self._policy[1]

    def prices(self) -> Prices | None:
        """What providers cost, by the folder's own table, read anew when it has changed. One that cannot be read is none."""
        path = None if self.data is None else self.data / PRICES_FILE
        seen = None if path is None else _seen(path)
        if path is None or seen is None:
            return None
        if self._prices is None or self._prices[0] != seen:
            try:
                self._prices = (seen, read_prices(path))
            except RsppError as error:
                log.warning("no cost is told: %s", error)
                self._prices = (seen, None)
        return self._prices[1]

    async def close(self) -> None:
        """Close the folder's own store; whoever gave another one closes it."""
        if self._own is not None:
            own, self._own = self._own, None
            try:
                await own.close()
            except RsppError:
                return
