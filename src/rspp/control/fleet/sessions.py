"""Who asks after sessions asks for one tenant's, and gets nothing of any other's: not even that it is there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.control import names
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.fleet.status_writer import status_of
from rspp.host.ports import Store

PAGE_MAX: Final = 200
# Records that are read for one page at most: a filter that few pass gives a short page, and a place to go on from.
LOOKED_AT_MAX: Final = 1_000
AT_ONCE: Final = 32


class StatusFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is wanted; what is not named does not matter."""

    states: tuple[SessionWord, ...] = ()
    region: str | None = None
    pipeline: str | None = None
    owner: str | None = None

    def passes(self, status: Status) -> bool:
        return (
            (not self.states or status.state in self.states)
            and self.region in (None, status.region)
            and self.pipeline in (None, status.pipeline, status.pipeline.partition("@")[0])
            and self.owner in (None, status.owner)
        )


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some sessions, in the order of their keys. `after` is where the next page begins; None after the last."""

    sessions: tuple[Status, ...]
    after: str | None = None


EVERYTHING: Final = StatusFilter()


class Sessions:
    """The status of sessions, one tenant at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, tenant_id: str, session_id: str) -> Status | None:
        entry = await self._store.get(names.STATUS, names.key(tenant_id, session_id))
        return None if entry is None else status_of(entry)

    async def list(
        self,
        tenant_id: str,
        filters: StatusFilter = EVERYTHING,
        *,
        limit: int = PAGE_MAX,
        after: str | None = None,
    ) -> Page:
        """One page; raises MisuseError for a page of no size, or a place that is not this tenant's."""
        prefix = names.of_tenant(tenant_id)
        if not 0 < limit <= PAGE_MAX:
            raise MisuseError("page_invalid", f"a page has 1 to {PAGE_MAX} sessions")
        if after is not None and not after.startswith(prefix):
            raise MisuseError("page_invalid", "that is no place in this list")
        keys = [key for key in await self._store.keys(names.STATUS, prefix) if after is None or key > after]
        found: list[Status] = []  # bounded: PAGE_MAX
        for start in range(0, min(len(keys), LOOKED_AT_MAX), AT_ONCE):
            lot = keys[start : min(start + AT_ONCE, LOOKED_AT_MAX)]
            entries = await asyncio.gather(*(self._store.get(names.STATUS, key) for key in lot))
            for key, entry in zip(lot, entries, strict=True):
                status = status_of(entry) if entry is not None else None
                if status is None or not filters.passes(status):
                    continue
                found.append(status)
                if len(found) == limit:
                    return Page(sessions=tuple(found), after=key if key != keys[-1] else None)
        rest = keys[LOOKED_AT_MAX - 1] if len(keys) > LOOKED_AT_MAX else None
        return Page(sessions=tuple(found), after=rest)

    async def watch(self, tenant_id: str, filters: StatusFilter = EVERYTHING) -> AsyncIterator[Status]:
        """Each session as it is, and then each change; values in between may be skipped."""
        async for entry in self._store.watch(names.STATUS, names.of_tenant(tenant_id)):
            status = status_of(entry)
            if status is not None and filters.passes(status):
                yield status
