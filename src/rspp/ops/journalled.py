"""Whoever writes through this store cannot forget to say what has changed: each write that makes another row is told on.

    put      done -> the owner's row of it -> is it another one than was written before? -> told
             outcome unknown -> looked up later, and told if it is there
    delete   told as `deleted`
    append   to a log that is a surface: told as `appended`

It says so after the fact, and whatever goes wrong in saying it is nobody's fault but ours: no write waits for it, and none fails
by it. (A deletion, which is rare, looks first at what it takes away, where somebody else may have written that.) What is told twice
has the same id both times, made of place and revision, and is one record.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.surface import Kept, Level, Row, Surface
from rspp.host.ports import Entry, Store
from rspp.ops.changes import Change, Tells
from rspp.ops.rows import row_of
from rspp.ops.surfaces import Surfaces

log = logging.getLogger("rspp.ops.journalled")

# Keys whose last row is known; one that was forgotten is told once more than needed.
KNOWN_MAX: Final = 50_000
# Writes of unknown outcome that are looked up again: how long after the failure, and after each look. More are left to
# whoever watches.
UNSURE_MAX: Final = 1_024
LOOK_AGAIN_S: Final = (0.5, 2.0, 10.0, 30.0)
SEVERITIES: Final = {
    Level.OK: "info",
    Level.NOTICE: "notice",
    Level.DEGRADED: "warning",
    Level.FAILED: "error",
}

CREATED: Final = "created"
CHANGED: Final = "changed"
ENDED: Final = "ended"
DELETED: Final = "deleted"
APPENDED: Final = "appended"


class Known(msgspec.Struct, frozen=True):
    """What this process wrote last under a key, of one surface."""

    digest: str
    revision: int
    aggregate_id: str
    tenant_id: str | None
    until_ms: int = 0  # when its time to live is over; 0: it has none


def event_id(surface: str, bucket: str, key: str, revision: int, what: str = "") -> str:
    """The same for the same write, whoever tells of it."""
    said = f"{surface}\n{bucket}\n{key}\n{revision}\n{what}"
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def change_of(
    surface: Surface, row: Row, *, what: str, event: str, source: str, revision: int, wall_ms: int
) -> Change:
    """What is told of a row: enough to know it again, and nothing of what only the surface itself may answer."""
    metadata: dict[str, object] = {
        "row": row.digest(),
        "revision": revision,
        "state": row.state,
        "level": row.level.value,
    }
    if row.reason:
        metadata["reason"] = row.reason
    if row.tenant_id is not None:
        metadata["tenant"] = row.tenant_id
    return Change(
        event_id=event,
        surface=surface.name,
        change_type=what,
        aggregate_id=row.aggregate_id,
        source=source,
        occurred_wall_ms=wall_ms,
        severity=SEVERITIES[row.level],
        metadata=metadata,
    )


def gone_of(surface: str, bucket: str, key: str, known: Known, *, source: str, wall_ms: int) -> Change:
    """What is told of a key that is there no more, by whoever took it away or by whoever finds that it has expired."""
    metadata: dict[str, object] = {"row": "", "revision": known.revision, "state": DELETED, "level": "ok"}
    if known.tenant_id is not None:
        metadata["tenant"] = known.tenant_id
    return Change(
        event_id=event_id(surface, bucket, key, known.revision, DELETED),
        surface=surface,
        change_type=DELETED,
        aggregate_id=known.aggregate_id,
        source=source,
        occurred_wall_ms=wall_ms,
        metadata=metadata,
    )


def known_of(row: Row, revision: int, until_ms: int = 0) -> Known:
    return Known(row.digest(), revision, row.aggregate_id, row.tenant_id, until_ms)


class _Unsure(msgspec.Struct, frozen=True):
    """A place of which nobody knows what became of the last write: how often it was looked up, and when it is again."""

    looks: int
    at: float


class Journalled:
    """A `Store` in front of another one."""

    def __init__(
        self,
        store: Store,
        surfaces: Surfaces,
        tells: Tells,
        *,
        source: str,
        wall_ms: Callable[[], int],
    ) -> None:
        self.untold = 0  # writes of which nothing could be said, by our own fault
        self.unsure = 0  # writes whose outcome nobody looked up, because there were too many
        self._store, self._tells, self._source, self._wall_ms = store, tells, source, wall_ms
        self._surfaces = surfaces
        self._places: dict[str, list[tuple[Kept, Surface]]] = {}  # bounded: by the declarations
        self._logs: list[tuple[str, Surface]] = []  # bounded: by the declarations
        for one in surfaces:
            for place in one.places:
                if place.bucket:
                    self._places.setdefault(place.bucket, []).append((place, one))
                if place.log:
                    self._logs.append((place.log, one))
        self._known: OrderedDict[tuple[str, str, str], Known] = OrderedDict()  # bounded: KNOWN_MAX
        self._open: dict[tuple[str, str], _Unsure] = {}  # bounded: UNSURE_MAX
        self._looking: asyncio.Task[None] | None = None

    # ---- what is told ------------------------------------------------------------------------------------------------

    async def put(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        expect: int | None = None,
        ttl_ms: int | None = None,
    ) -> int | None:
        if bucket not in self._places:
            return await self._store.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        try:
            revision = await self._store.put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)
        except BaseException as error:
            # Cancelled or failed: perhaps it is there, perhaps it will be.
            if isinstance(error, RsppError | OSError | asyncio.CancelledError | TimeoutError):
                self._is_unsure(bucket, key)
            raise
        if revision is not None:
            self._guarded(bucket, key, value, revision, expect, ttl_ms)
        return revision

    async def delete(self, bucket: str, key: str) -> None:
        if bucket not in self._places:
            await self._store.delete(bucket, key)
            return
        found = await self._before(bucket, key)
        try:
            await self._store.delete(bucket, key)
        except BaseException:
            self._is_unsure(bucket, key)
            raise
        try:
            self._deleted(bucket, key, found)
        except Exception as error:  # noqa: BLE001 - supervised, as a write is
            self._is_ours(bucket, error)

    async def append(self, log: str, record: bytes) -> int:
        number = await self._store.append(log, record)
        for prefix, surface in self._logs:
            if log.startswith(prefix):
                change = Change(
                    event_id=event_id(surface.name, "", log, number),
                    surface=surface.name,
                    change_type=APPENDED,
                    aggregate_id=log,
                    source=self._source,
                    occurred_wall_ms=self._wall_ms(),
                    metadata={"number": number},
                )
                self._tells.tell(change)
        return number

    def _guarded(
        self, bucket: str, key: str, value: bytes, revision: int, expect: int | None, ttl_ms: int | None
    ) -> None:
        """The write is done: that nothing can be said of it must not become its fault."""
        try:
            self._written(bucket, key, value, revision, expect, ttl_ms)
        except Exception as error:  # noqa: BLE001 - supervised: a row that cannot be made, whatever the reason
            self._is_ours(bucket, error)

    def _is_ours(self, bucket: str, error: Exception) -> None:
        self.untold += 1
        if self.untold == 1:  # said once; the number of them is kept
            log.error("nothing is said of a change in %s: %s", bucket, type(error).__name__)

    def _written(
        self, bucket: str, key: str, value: bytes, revision: int, expect: int | None, ttl_ms: int | None
    ) -> None:
        now_ms = self._wall_ms()
        for place, surface in self._places[bucket]:
            if not key.startswith(place.prefix) or surface.row is None:
                continue
            row, where = row_of(surface, key, value), (surface.name, bucket, key)
            known = self._known.get(where)
            if row is None:
                if known is not None:  # it was one, and nobody can read it any more
                    self._forget(surface, bucket, key, known)
                continue
            found = known_of(row, revision, 0 if ttl_ms is None else now_ms + ttl_ms)
            same = known is not None and known.digest == found.digest
            if not (same and _is_ours_alone(known, place, expect, now_ms)):
                what = ENDED if row.over else CREATED if expect == 0 else CHANGED
                self._tells.tell(self._change(surface, row, bucket, key, what, revision))
            if known is None or revision > known.revision:  # answers may overtake each other
                self._remember(where, found)

    def _change(self, surface: Surface, row: Row, bucket: str, key: str, what: str, revision: int) -> Change:
        return change_of(
            surface,
            row,
            what=what,
            event=event_id(surface.name, bucket, key, revision),
            source=self._source,
            revision=revision,
            wall_ms=self._wall_ms(),
        )

    def _remember(self, where: tuple[str, str, str], known: Known) -> None:
        self._known[where] = known
        self._known.move_to_end(where)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    # ---- deletions ---------------------------------------------------------------------------------------------------

    async def _before(self, bucket: str, key: str) -> Entry | None:
        """What is about to be deleted: somebody else may have written it last. Deletions are rare."""
        there = [(place, one) for place, one in self._places[bucket] if key.startswith(place.prefix)]
        if all(place.sole and (one.name, bucket, key) in self._known for place, one in there):
            return None
        try:
            return await self._store.get(bucket, key)
        except (RsppError, OSError):
            return None  # then what is known of it is told

    def _deleted(self, bucket: str, key: str, found: Entry | None) -> None:
        for place, surface in self._places[bucket]:
            if not key.startswith(place.prefix) or surface.row is None:
                continue
            known = self._known.get((surface.name, bucket, key))
            if found is not None and (known is None or found.revision > known.revision):
                row = row_of(surface, key, found.value)
                known = known if row is None else known_of(row, found.revision)
            if known is not None:
                self._forget(surface, bucket, key, known)

    def _forget(self, surface: Surface, bucket: str, key: str, known: Known) -> None:
        self._known.pop((surface.name, bucket, key), None)
        told = gone_of(surface.name, bucket, key, known, source=self._source, wall_ms=self._wall_ms())
        self._tells.tell(told)

    # ---- what nobody knows yet ---------------------------------------------------------------------------------------

    def _is_unsure(self, bucket: str, key: str) -> None:
        for _, surface in self._places[bucket]:
            self._known.pop((surface.name, bucket, key), None)  # what stands there now is not known
        if (bucket, key) not in self._open and len(self._open) >= UNSURE_MAX:
            self.unsure += 1
            return
        loop = asyncio.get_running_loop()
        self._open[bucket, key] = _Unsure(0, loop.time() + LOOK_AGAIN_S[0])
        if self._looking is None or self._looking.done():
            self._looking = loop.create_task(self._look_again(), name="journalled")

    async def _look_again(self) -> None:
        """Each is looked up a few times: a write that was given up may still arrive. A store that is away is waited for."""
        loop = asyncio.get_running_loop()
        while self._open:
            await asyncio.sleep(LOOK_AGAIN_S[0])
            for (bucket, key), unsure in list(self._open.items()):
                if unsure.at > loop.time():
                    continue
                try:
                    found = await self._store.get(bucket, key)
                except MisuseError:
                    found = None  # no store has such a key, or this one is closed
                except (RsppError, OSError):
                    break
                if found is not None:
                    self._found(bucket, found)
                if self._open.get((bucket, key)) is unsure:
                    self._looked(bucket, key, unsure.looks + 1)

    def _looked(self, bucket: str, key: str, looks: int) -> None:
        if looks == len(LOOK_AGAIN_S):
            del self._open[bucket, key]
        else:
            at = asyncio.get_running_loop().time() + LOOK_AGAIN_S[looks]
            self._open[bucket, key] = _Unsure(looks, at)

    def _found(self, bucket: str, entry: Entry) -> None:
        """It may be anybody's, and told already: whoever else tells of it gives it the same id."""
        places = [one for place, one in self._places[bucket] if entry.key.startswith(place.prefix)]
        known = [self._known.get((one.name, bucket, entry.key)) for one in places]
        if any(one is None or entry.revision > one.revision for one in known):
            self._guarded(bucket, entry.key, entry.value, entry.revision, None, None)

    # ---- as it was ---------------------------------------------------------------------------------------------------

    async def get(self, bucket: str, key: str) -> Entry | None:
        return await self._store.get(bucket, key)

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        return await self._store.keys(bucket, prefix)

    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        return self._store.watch(bucket, prefix)

    def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        return self._store.read(log, after)

    async def trim(self, log: str, through: int) -> None:
        await self._store.trim(log, through)

    async def put_blob(self, name: str, data: bytes) -> None:
        await self._store.put_blob(name, data)

    async def get_blob(self, name: str) -> bytes | None:
        return await self._store.get_blob(name)

    async def delete_blob(self, name: str) -> None:
        await self._store.delete_blob(name)

    async def blobs(self, prefix: str = "") -> list[str]:
        return await self._store.blobs(prefix)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])
        await self._store.close()


def _is_ours_alone(known: Known | None, place: Kept, expect: int | None, now_ms: int) -> bool:
    """Has nobody written in between, and has it not expired? Either nobody else writes there, or it replaced our own write."""
    if known is None:
        return False
    if expect is not None:
        return expect == known.revision
    return place.sole and (not known.until_ms or now_ms < known.until_ms)
