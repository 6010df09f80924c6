"""The store suite passes the store in memory, and each broken store fails the checks that are about what it broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rspp.contract.errors import LimitReached, MisuseError
from rspp.host.ports import Entry
from rspp.host.stored import VALUE_BYTES_MAX, is_condition, is_number, is_prefix, own_bytes
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.conformance import run_suite
from rspp.testing.conformance import store as suite
from rspp.testing.store import MemoryStore

NAMES = "refuses names that are none"


def failed(kind: type[MemoryStore]) -> set[str]:
    def make() -> suite.StoreTarget:
        clock = ManualClock()

        async def pass_ms(ms: float) -> None:
            clock.advance(ms)

        return suite.StoreTarget(store=kind(clock), pass_ms=pass_ms)

    return set(run_suite(suite.conformance(make), "store", run_virtual).failed())


class LosesRaces(MemoryStore):
    """Looks, waits, and writes without looking again."""

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: Any = None, ttl_ms: Any = None
    ) -> Any:
        is_condition(expect, ttl_ms)
        found = await self.get(bucket, key)
        if expect is not None and expect != (found.revision if found else 0):
            return None
        await asyncio.sleep(0)
        return await super().put(bucket, key, value, ttl_ms=ttl_ms)


class IgnoresExpectation(MemoryStore):
    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: Any = None, ttl_ms: Any = None
    ) -> Any:
        is_condition(expect, ttl_ms)
        return await super().put(bucket, key, value, ttl_ms=ttl_ms)


class ReusesRevisions(MemoryStore):
    """A key that was deleted begins at 1 again."""

    async def delete(self, bucket: str, key: str) -> None:
        await super().delete(bucket, key)
        self._revision = 0


class LivesForEver(MemoryStore):
    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: Any = None, ttl_ms: Any = None
    ) -> Any:
        is_condition(expect, ttl_ms)
        return await super().put(bucket, key, value, expect=expect)


class Reorders(MemoryStore):
    """Tells the newest change first."""

    async def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        held: list[Entry] = []
        async for entry in super().watch(bucket, prefix):
            held.append(entry)
            if len(held) == 2:
                yield held[1]
                yield held[0]
                held = []


class TellsAll(MemoryStore):
    def watch(self, bucket: str, prefix: str = "") -> AsyncIterator[Entry]:
        return super().watch(bucket)


class OneBucket(MemoryStore):
    async def get(self, bucket: str, key: str) -> Entry | None:
        return await super().get("b", key)

    async def put(self, bucket: str, key: str, value: bytes, **more: Any) -> Any:
        return await super().put("b", key, value, **more)


class GlobKeys(MemoryStore):
    """Takes % and _ for wild cards, as a careless query does."""

    async def keys(self, bucket: str, prefix: str = "") -> list[str]:
        is_prefix(prefix)
        if "%" in prefix or "_" in prefix:
            return await super().keys(bucket, prefix.rstrip("%_"))
        return await super().keys(bucket, prefix)


class ForgetsAppends(MemoryStore):
    async def append(self, log: str, record: bytes) -> int:
        held = len(self._logs[log].records) if log in self._logs else 0
        await asyncio.sleep(0)
        if log in self._logs:
            del self._logs[log].records[held:]
        return await super().append(log, record)


class OffByOne(MemoryStore):
    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        is_number(after, "a place in a log")
        async for record in super().read(log, max(0, after - 1)):
            yield record


class TextBlobs(MemoryStore):
    async def put_blob(self, name: str, data: bytes) -> None:
        await super().put_blob(name, own_bytes(data).strip(b"\0"))


class TornBlobs(MemoryStore):
    """Writes a blob piece by piece over the old one."""

    async def put_blob(self, name: str, data: bytes) -> None:
        old, new = await self.get_blob(name) or b"", own_bytes(data)
        await super().put_blob(name, new[:8] + old[8:])
        await asyncio.sleep(0)
        await super().put_blob(name, new)


class ListsAsPut(MemoryStore):
    """Blobs by age, not by name."""

    async def blobs(self, prefix: str = "") -> list[str]:
        found = await super().blobs(prefix)
        return [name for name in self._blobs if name in found]


class GlobBlobs(MemoryStore):
    async def blobs(self, prefix: str = "") -> list[str]:
        is_prefix(prefix)
        return await super().blobs(prefix.rstrip("%_"))


class HidesBlobs(MemoryStore):
    """A blob that was deleted is not listed, and is read all the same."""

    async def delete_blob(self, name: str) -> None:
        held = await self.get_blob(name)
        await super().delete_blob(name)
        if held is not None:
            self._hidden = held

    async def get_blob(self, name: str) -> bytes | None:
        found = await super().get_blob(name)
        return getattr(self, "_hidden", None) if found is None else found


class MindsAbsence(MemoryStore):
    async def delete_blob(self, name: str) -> None:
        if await self.get_blob(name) is None:
            raise MisuseError("value_invalid", "there is no such blob")
        await super().delete_blob(name)


class TrimsOneShort(MemoryStore):
    async def trim(self, log: str, through: int) -> None:
        is_number(through, "a place in a log")
        await super().trim(log, max(0, through - 1))


class TrimsAll(MemoryStore):
    async def trim(self, log: str, through: int) -> None:
        is_number(through, "a place in a log")
        await super().trim(log, 10**6)


class BeginsAgain(MemoryStore):
    """A log that was trimmed to its end counts from 1."""

    async def trim(self, log: str, through: int) -> None:
        await super().trim(log, through)
        kept = self._logs.get(log)
        if kept is not None and not kept.records:
            kept.trimmed = 0


class Renumbers(MemoryStore):
    """What is left after a trim counts from 1."""

    async def trim(self, log: str, through: int) -> None:
        await super().trim(log, through)
        if log in self._logs:
            self._logs[log].trimmed = 0


class TakesAnyName(MemoryStore):
    def _open(self, *names: str) -> None:
        super()._open()


class CutsValues(MemoryStore):
    """What is too large is cut, and nobody is told."""

    async def put_blob(self, name: str, data: bytes) -> None:
        try:
            await super().put_blob(name, data)
        except LimitReached:
            await super().put_blob(name, data[:VALUE_BYTES_MAX])


class RoundsNumbers(MemoryStore):
    async def trim(self, log: str, through: int) -> None:
        await super().trim(log, max(0, through))


class AnswersWhenClosed(MemoryStore):
    async def blobs(self, prefix: str = "") -> list[str]:
        is_prefix(prefix)
        return sorted(name for name in self._blobs if name.startswith(prefix))


class NeverLetsGo(MemoryStore):
    """A close that forgets who is watching."""

    async def close(self) -> None: ...


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (MemoryStore, set()),
        (LosesRaces, {"lets one of many win"}),
        (IgnoresExpectation, {"replaces only what is expected", "lets one of many win"}),
        (ReusesRevisions, {"revisions rise past a delete"}),
        (LivesForEver, {"forgets in time", "revisions rise past an expiry"}),
        (Reorders, {"tells what is there and what changes, in order", "keeps watchers apart", "closes"}),
        (TellsAll, {"tells what is there and what changes, in order"}),
        (OneBucket, {"keeps buckets apart", "tells what is there and what changes, in order", NAMES}),
        (GlobKeys, {"lists by prefix, letter by letter"}),
        (ForgetsAppends, {"keeps what is appended at once"}),
        (OffByOne, {"numbers and keeps records", "forgets the oldest, and nothing else"}),
        (TextBlobs, {"keeps blobs"}),
        (TornBlobs, {"replaces a blob whole"}),
        (ListsAsPut, {"lists blobs in order, letter by letter"}),
        (GlobBlobs, {"lists blobs in order, letter by letter"}),
        (HidesBlobs, {"deletes blobs, and again"}),
        (MindsAbsence, {"deletes blobs, and again"}),
        (TrimsOneShort, {"forgets the oldest, and nothing else", "gives no number again past a trim"}),
        (TrimsAll, {"forgets the oldest, and nothing else"}),
        (BeginsAgain, {"gives no number again past a trim"}),
        (Renumbers, {"forgets the oldest, and nothing else", "gives no number again past a trim"}),
        (TakesAnyName, {NAMES}),
        (CutsValues, {"refuses values that it cannot keep"}),
        (RoundsNumbers, {"refuses numbers out of range"}),
        (AnswersWhenClosed, {"refuses whoever comes after the end"}),
        (NeverLetsGo, {"closes", "refuses whoever comes after the end"}),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_store_is_caught_by_exactly_its_checks(kind: type[MemoryStore], caught: set[str]) -> None:
    assert failed(kind) == caught


def test_a_closed_store_says_so() -> None:
    async def main() -> None:
        store = MemoryStore()
        await store.close()
        with pytest.raises(MisuseError, match="store_closed"):
            await store.get("b", "k")

    asyncio.run(main())


def test_manual_time_does_not_go_back() -> None:
    clock = ManualClock()
    clock.advance(1.5)
    assert clock.now() == 1_500_000
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
