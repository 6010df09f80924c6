"""What sessions save reaches the store, whatever stands in its way."""

from __future__ import annotations

import asyncio

import msgspec

from rspp.host.durable import BUCKET, Saved, StateWriter
from rspp.host.stored import NAME_BYTES_MAX, VALUE_BYTES_MAX
from rspp.kernel.effects import SaveState
from rspp.testing.store import MemoryStore


def save(key: str, value: object) -> SaveState:
    return SaveState(key=key, value=value, revision=1, epoch=1)


def test_what_no_store_takes_is_dropped_and_keeps_nobody_else_from_being_written() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = StateWriter(store)
        writer.put("s" * NAME_BYTES_MAX, save("k", 1))
        writer.put("large", save("k", bytes(VALUE_BYTES_MAX + 1)))
        writer.put("s1", save("k", 2))
        assert await writer.flush(10) == 0
        assert writer.dropped == 2
        assert await store.keys(BUCKET) == ["s1/k"]
        found = await store.get(BUCKET, "s1/k")
        assert found is not None
        assert msgspec.msgpack.decode(found.value, type=Saved) == Saved(2, 1, 1)

    asyncio.run(main())


def test_a_store_that_is_closed_loses_nothing_silently() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = StateWriter(store)
        writer.put("s1", save("k", 1))
        await store.close()
        assert await writer.flush(10) == 1
        assert (writer.dropped, writer.failures) == (0, 1)

    asyncio.run(main())
