"""The store suite passes the store in memory, and each broken store fails the checks that are about what it broke."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rspp.contract.errors import MisuseError
from rspp.host.ports import Entry
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.conformance import run_suite
from rspp.testing.conformance import store as suite
from rspp.testing.store import MemoryStore


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
        found = await self.get(bucket, key)
        if expect is not None and expect != (found.revision if found else 0):
            return None
        await asyncio.sleep(0)
        return await super().put(bucket, key, value, ttl_ms=ttl_ms)


class IgnoresExpectation(MemoryStore):
    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: Any = None, ttl_ms: Any = None
    ) -> Any:
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
        if "%" in prefix or "_" in prefix:
            return await super().keys(bucket, prefix.rstrip("%_"))
        return await super().keys(bucket, prefix)


class ForgetsAppends(MemoryStore):
    async def append(self, log: str, record: bytes) -> int:
        held = len(self._logs.get(log, ()))
        await asyncio.sleep(0)
        self._logs[log] = [*self._logs.get(log, ())[:held], bytes(record)]
        return held + 1


class OffByOne(MemoryStore):
    async def read(self, log: str, after: int = 0) -> AsyncIterator[tuple[int, bytes]]:
        async for record in super().read(log, max(0, after - 1)):
            yield record


class TextBlobs(MemoryStore):
    async def put_blob(self, name: str, data: bytes) -> None:
        await super().put_blob(name, data.strip(b"\0"))


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
        (OneBucket, {"keeps buckets apart", "tells what is there and what changes, in order"}),
        (GlobKeys, {"lists by prefix, letter by letter"}),
        (ForgetsAppends, {"keeps what is appended at once"}),
        (OffByOne, {"numbers and keeps records"}),
        (TextBlobs, {"keeps blobs"}),
        (NeverLetsGo, {"closes"}),
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
