"""Surfaces, changes and stores of the journal's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from rspp.contract.errors import PeerFault
from rspp.contract.surface import Coverage, Surface, Truth
from rspp.host.ports import Entry, Store
from rspp.ops.changes import Change
from rspp.ops.journal.bounds import PAGE_RECORDS_MAX, Window
from rspp.ops.journal.journal import Journal
from rspp.ops.journal.pages import BUCKET
from rspp.ops.surfaces import Surfaces
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore

WALL_MS: Final = 1_700_000_000_000
# Two pages of records stay, whatever their age; a page that may go is reason enough.
SMALL: Final = Window(records_min=256, records_max=512, kept_records_max=40, due_pages_min=1)


def surface(name: str, kind: str, **more: Any) -> Surface:
    said: dict[str, Any] = {
        "owner": "tests",
        "summary": "of a test",
        "storage": f"kv:{name}",
        "read": f"rows {name}",
    }
    return Surface(name=name, aggregate_type=kind, truth=Truth.CANONICAL, **(said | more))


SURFACES: Final = Surfaces(
    [
        surface("workers", "worker", affects_health=True, affects_actions=True),
        surface("sessions", "session"),
        surface("leases", "lease", authority=True),
        Surface(
            name="runtime_health",
            owner="tests",
            summary="of a test",
            aggregate_type="health",
            storage="memory",
            truth=Truth.DERIVED,
            derived_from=("workers",),
            coverage=Coverage.NONE,
            read="health",
        ),
    ]
)


def change(event: str, about: str = "w-1", surface: str = "workers", **more: Any) -> Change:
    said: dict[str, Any] = {
        "change_type": "changed",
        "source": "w-1@test",
        "occurred_wall_ms": WALL_MS,
        "metadata": {"row": "ab12"},
    }
    return Change(event_id=event, surface=surface, aggregate_id=about, **(said | more))


def changes(first: int, count: int, things: int = 5, **more: Any) -> list[Change]:
    return [change(f"e{number}", f"w-{number % things}", **more) for number in range(first, first + count)]


def journal(
    store: Store | None = None, *, window: Window = SMALL, clock: ManualClock | None = None
) -> Journal:
    return Journal(store or MemoryStore(), SURFACES, clock or late_clock(), window=window)


def late_clock() -> ManualClock:
    """Hours after every record was made."""
    clock = ManualClock()
    clock.advance(24 * 3_600_000)
    return clock


async def filled(store: Store, pages: int, **more: Any) -> Journal:
    """So many full pages, and a tail with one record."""
    made = journal(store)
    for first in range(0, pages * PAGE_RECORDS_MAX, 64):
        await made.append(changes(first, 64, **more))
    await made.append(changes(pages * PAGE_RECORDS_MAX, 1, **more))
    return made


async def all_of(made: Journal, after: int = 0) -> list[int]:
    """Every number that can be read."""
    found: list[int] = []
    while True:
        page = await made.page(after=after, limit=500)
        found += [one.sequence for one in page.records]
        if page.next == page.last:
            return found
        after = page.next


async def everything(store: Store) -> bytes:
    """What the store holds of the journal, byte for byte."""
    entries = [await store.get(BUCKET, key) for key in await store.keys(BUCKET)]
    return b"\n".join(f"{one.key}\n".encode() + one.value for one in entries if one is not None)


async def deleted(store: Store) -> None:
    for key in await store.keys(BUCKET):
        await store.delete(BUCKET, key)


class StoppedError(BaseException):
    """The process is no more: nothing may catch this."""


class Unsteady:
    """A store whose calls may end otherwise than they went. `plan` is asked before each change of it, with the key.

    Answers: None it is done; "before" it stops there; "after" it is done and then stops; "unknown" it is done and raises;
    "failed" it is not done and raises.
    """

    def __init__(self, store: Store, plan: Any) -> None:
        self._store, self._plan = store, plan

    async def get(self, bucket: str, key: str) -> Entry | None:
        return await self._store.get(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return await self._store.keys(bucket, prefix)

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        return self._store.watch(bucket, prefix)

    async def put(self, bucket: str, key: str, value: bytes, **more: Any) -> int | None:
        revision: int | None = await self._done(key, lambda: self._store.put(bucket, key, value, **more))
        return revision

    async def delete(self, bucket: str, key: str) -> None:
        await self._done(key, lambda: self._store.delete(bucket, key))

    async def _done(self, key: str, call: Any) -> Any:
        how = self._plan(key)
        if how == "before":
            raise StoppedError
        if how == "failed":
            raise PeerFault("store_unreachable", "the store does not answer")
        done = await call()
        if how == "after":
            raise StoppedError
        if how == "unknown":
            raise PeerFault("store_unreachable", "nobody knows whether it was done")
        return done


class Counted:
    """A plan that lets so many changes be, and then does one otherwise."""

    def __init__(self, calm: int, how: str, *, only: str = "") -> None:
        self._calm, self._how, self._only = calm, how, only
        self.happened = False

    def __call__(self, key: str) -> str | None:
        if self.happened or not key.startswith(self._only):
            return None
        self._calm -= 1
        if self._calm >= 0:
            return None
        self.happened = True
        return self._how
