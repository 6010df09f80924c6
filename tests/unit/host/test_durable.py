"""What sessions save reaches the store, whatever stands in its way, and nobody writes over a later owner."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.host import durable
from rspp.host.durable import BUCKET, Saved, StateWriter, state_key
from rspp.host.ports import Entry
from rspp.host.stored import NAME_BYTES_MAX, VALUE_BYTES_MAX
from rspp.host.unsaved import Item, Unsaved
from rspp.kernel.effects import SaveState
from rspp.testing.clock import run_virtual
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import VirtualClock


def save(key: str, value: object, revision: int = 1, epoch: int = 1) -> SaveState:
    return SaveState(key=key, value=value, revision=revision, epoch=epoch)


class SlowStore(MemoryStore):
    """A store that takes its time, may fail before or after it has done what was asked, and notes what it was asked."""

    def __init__(self, seconds: float = 0.001) -> None:
        super().__init__()
        self.seconds = seconds
        self.puts: list[str] = []
        self.reads = 0
        self.before: list[Exception] = []  # raised instead of a put
        self.after: list[Exception] = []  # raised after a put that was done
        self.at_once = self.most = 0

    async def get(self, bucket: str, key: str) -> Entry | None:
        self.reads += 1
        await asyncio.sleep(self.seconds)
        return await super().get(bucket, key)

    async def put(self, bucket: str, key: str, value: bytes, **more: Any) -> int | None:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.seconds)
            if self.before:
                raise self.before.pop()
            self.puts.append(key)
            revision = await super().put(bucket, key, value, **more)
            if self.after:
                raise self.after.pop()
            return revision
        finally:
            self.at_once -= 1

    def saved(self, key: str, session_id: str = "s1") -> Saved:
        kept = self._live(BUCKET, state_key("t", session_id, key))
        assert kept is not None
        return msgspec.msgpack.decode(kept.entry.value, type=Saved)


async def running(writer: StateWriter) -> asyncio.Task[None]:
    task = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    return task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def test_a_name_reaches_into_no_other_room() -> None:
    assert state_key("a/b", "c", "d") != state_key("a", "b/c", "d")
    assert state_key("acme", "s 1", "histöry/%") == "acme/s%201/hist%C3%B6ry%2F%25"
    with pytest.raises(MisuseError):
        state_key("\ud800", "s", "k")


def test_what_no_store_takes_is_dropped_and_keeps_nobody_else_from_being_written() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = StateWriter(store)
        writer.put("t", "s" * NAME_BYTES_MAX, save("k", 1))
        writer.put("t", "large", save("k", bytes(VALUE_BYTES_MAX + 1)))
        writer.put("t", "odd", save("\ud800", 1))
        writer.put("t", "object", save("k", object()))
        writer.put("t", "s1", save("k", 2))
        assert await writer.flush(10) == 0
        assert writer.dropped == 4
        assert await store.keys(BUCKET) == ["t/s1/k"]
        found = await store.get(BUCKET, "t/s1/k")
        assert found is not None
        assert msgspec.msgpack.decode(found.value, type=Saved) == Saved(2, 1, 1)

    asyncio.run(main())


def test_a_store_that_is_closed_loses_nothing_silently() -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = StateWriter(store)
        writer.put("t", "s1", save("k", 1))
        await store.close()
        assert await writer.flush(0.05) == 1
        assert (writer.dropped, writer.failures) == (0, 1)
        with pytest.raises(PeerFault, match="durable_state_unsaved"):
            await writer.flushed("t", "s1", 0.01)

    asyncio.run(main())


def test_the_newest_value_of_each_key_is_written_in_order_and_whoever_waits_is_told_when_it_is() -> None:
    async def main() -> None:
        store = SlowStore(0.01)
        writer = StateWriter(store)
        task = await running(writer)
        for revision in range(1, 7):
            writer.put("t", "s1", save("ab"[revision % 2], revision, revision))
        await writer.flushed("t", "s1")
        assert (store.saved("b"), store.saved("a")) == (Saved(5, 5, 1), Saved(6, 6, 1))
        assert store.puts == [state_key("t", "s1", "b"), state_key("t", "s1", "a")]
        writer.put("t", "s1", save("a", 7, 7))
        await asyncio.sleep(0.005)  # it is being written
        writer.put("t", "s1", save("a", 8, 8))
        writer.put("t", "s1", save("a", 9, 9))
        await writer.flushed("t", "s1")
        assert store.saved("a").value == 9
        assert writer.pending == 0
        assert store.reads == 2  # once a key: later it is known
        await stopped(task)

    run_virtual(main())


def test_a_value_that_was_replaced_before_it_was_written_is_not_called_written() -> None:
    async def main() -> None:
        store = SlowStore(0.01)
        store.before = [PeerFault("store_unreachable", "no leader")] * 3
        writer = StateWriter(store)
        task = await running(writer)
        writer.put("t", "s1", save("a", 1, 1))
        waiting = asyncio.create_task(writer.flushed("t", "s1"))
        await asyncio.sleep(0.1)
        writer.put("t", "s1", save("a", 2, 2))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await waiting
        assert store.saved("a").value == 2
        await stopped(task)

    run_virtual(main())


def test_a_write_that_seemed_to_fail_is_read_before_it_is_tried_again() -> None:
    async def main() -> None:
        store = SlowStore()
        store.after = [PeerFault("store_unreachable", "after it was done")]
        writer = StateWriter(store)
        writer.put("t", "s1", save("k", 1))
        assert await writer.flush(5) == 0
        assert (len(store.puts), writer.failures, writer.written) == (1, 1, 1)

    run_virtual(main())


def test_a_lost_race_with_a_predecessor_is_run_again_and_a_successor_is_never_written_over() -> None:
    async def main() -> None:
        store, told = SlowStore(), []
        old = StateWriter(store, on_stale=lambda *where: told.append(where))
        new = StateWriter(store)
        old.put("t", "s1", save("k", "old", 5, epoch=3))
        await old.flush(5)
        new.put("t", "s1", save("k", "new", 1, epoch=4))
        await new.flush(5)
        assert store.saved("k") == Saved("new", 1, 4)
        old.put("t", "s1", save("k", "late", 6, epoch=3))
        old.put("t", "s1", save("other", "late", 7, epoch=3))
        assert await old.flush(5) == 0
        old.put("t", "s1", save("other", "later", 8, epoch=3))
        assert await old.flush(5) == 0
        assert store.saved("k") == Saved("new", 1, 4)
        assert await store.keys(BUCKET) == [state_key("t", "s1", "k")]
        assert (told, old.stale) == ([("t", "s1")], 3)
        with pytest.raises(PeerFault, match="authority_epoch_mismatch"):
            await old.flushed("t", "s1")
        # It is given back, under a later epoch.
        old.put("t", "s1", save("k", "again", 2, epoch=5))
        await asyncio.gather(old.flush(5), old.flushed("t", "s1"))
        assert store.saved("k") == Saved("again", 2, 5)

    run_virtual(main())


def test_two_owners_who_write_at_once_leave_the_later_ones_state() -> None:
    async def main() -> None:
        for _ in range(20):
            store = SlowStore()
            writers = [StateWriter(store) for _ in range(6)]
            for epoch, writer in enumerate(writers, start=1):
                writer.put("t", "s1", save("k", epoch, 1, epoch))
            await asyncio.gather(*(writer.flush(5) for writer in writers))
            assert store.saved("k").epoch == 6

    run_virtual(main())


def test_a_hundred_sessions_with_three_keys_each_are_written_side_by_side() -> None:
    async def main() -> float:
        store = SlowStore(0.001)
        writer = StateWriter(store)
        task = await running(writer)
        loop = asyncio.get_running_loop()
        began = 0.0
        for turn in range(2):
            began = loop.time()
            for session in range(100):
                for key in ("history", "next_turn", "keys"):
                    writer.put("t", f"s{session}", save(key, turn, turn + 1))
            await asyncio.gather(*(writer.flushed("t", f"s{session}") for session in range(100)))
        assert len(store.puts) == 600
        assert store.most == durable.AT_ONCE_MAX
        took = loop.time() - began
        await stopped(task)
        return took

    assert run_virtual(main()) <= 0.013


def test_what_is_beyond_the_bound_is_not_taken_and_not_called_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "PENDING_MAX", 3)

    async def main() -> None:
        store = SlowStore()
        writer = StateWriter(store)
        for key in "abcd":
            writer.put("t", "s1", save(key, 1))
        writer.put("t", "s1", save("a", 2, 2))
        assert (writer.pending, writer.dropped) == (3, 1)
        assert await writer.flush(5) == 0
        assert store.saved("a").value == 2
        assert len(store.puts) == 3

    run_virtual(main())


def test_sessions_long_gone_are_forgotten_before_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "KNOWN_MAX", 4)

    async def main() -> None:
        writer = StateWriter(MemoryStore())
        for session in range(10):
            writer.put("t", f"s{session}", save("k", 1))
            await writer.flush(5)
        assert len(writer._sessions) == 4
        for session in range(10):
            writer.put("t", f"w{session}", save("k", 1))
        assert writer.pending == 10
        assert await writer.flush(5) == 0

    run_virtual(main())


# ---- for successors -------------------------------------------------------------------------------------------------


def test_a_successor_finds_all_values_and_the_highest_revision_and_nothing_of_others() -> None:
    async def main() -> None:
        store = SlowStore(0.01)
        writer = StateWriter(store, clock=VirtualClock())
        assert await writer.load("t", "s1") is None
        writer.put("t", "s1", save("history", [{"text": "hello"}], 4, 2))
        writer.put("t", "s1", save("node/a b", {"n": 1}, 9, 2))
        writer.put("t", "s10", save("history", "another's", 99, 2))
        writer.put("t/s1", "s", save("history", "another's", 99, 2))
        await writer.flush(5)
        found = await writer.load("t", "s1")
        assert found is not None
        assert found.values == {"history": [{"text": "hello"}], "node/a b": {"n": 1}}
        assert (found.revision, found.age_ms) == (9, 10)  # as long as the store took
        await writer.forget("t", "s1")
        assert await writer.load("t", "s1") is None
        assert len(await store.keys(BUCKET)) == 2

    run_virtual(main())


# Bytes in a text that are not UTF-8, and more arrays in each other than a decoder goes down.
NO_TEXT = b"\x83\xa5value\xa2\xff\xfe\xa8revision\x01\xa5epoch\x01"
DEEP = b"\x83\xa5value" + b"\x91" * 5_000


@pytest.mark.parametrize(
    "damage", [b"", b"\x93\x01", b"\xc1", b"\x83\xa5value\x01", b"not msgpack at all", NO_TEXT, DEEP]
)
def test_a_record_that_cannot_be_read_is_never_taken_for_empty_and_its_owner_writes_it_anew(
    damage: bytes,
) -> None:
    async def main() -> None:
        store = MemoryStore()
        writer = StateWriter(store)
        writer.put("t", "s1", save("a", 1))
        writer.put("t", "s1", save("b", 1))
        await writer.flush(5)
        await store.put(BUCKET, state_key("t", "s1", "b"), damage)
        with pytest.raises(PeerFault, match="durable_state_corrupt") as corrupt:
            await writer.load("t", "s1")
        assert corrupt.value.path == state_key("t", "s1", "b")
        writer.put("t", "s1", save("b", 2, 2))
        assert await writer.flush(5) == 0
        found = await writer.load("t", "s1")
        assert found is not None
        assert found.values == {"a": 1, "b": 2}
        assert writer.mended == 1

    run_virtual(main())


def test_what_is_being_written_when_its_session_is_forgotten_does_not_come_back() -> None:
    async def main() -> None:
        store = SlowStore(0.01)
        writer = StateWriter(store)
        task = await running(writer)
        writer.put("t", "s1", save("a", 1))
        writer.put("t", "s1", save("b", 1))
        await asyncio.sleep(0.015)
        await writer.forget("t", "s1")
        await asyncio.sleep(1)
        assert await store.keys(BUCKET) == []
        assert writer.pending == 0
        await stopped(task)

    run_virtual(main())


def test_who_has_a_session_again_finds_what_it_could_not_write_before() -> None:
    async def main() -> None:
        store = SlowStore()
        store.before = [PeerFault("store_unreachable", "no leader")] * 2
        writer = StateWriter(store)
        task = await running(writer)
        writer.put("t", "s1", save("history", "told, and not kept yet", 1, epoch=3))
        found = await writer.load("t", "s1")
        assert found is not None
        assert found.values == {"history": "told, and not kept yet"}
        store.before = [PeerFault("store_unreachable", "no quorum")] * 1_000
        writer.put("t", "s1", save("history", "newer", 2, epoch=3))
        with pytest.raises(PeerFault, match="durable_state_unsaved"):
            await writer.load("t", "s1")  # rather than what is older than what its caller has heard
        await stopped(task)

    run_virtual(main())


def test_what_a_former_time_here_left_unwritten_does_not_cost_the_session_that_is_back() -> None:
    async def main() -> None:
        store = SlowStore()
        told: list[tuple[str, str]] = []
        here = StateWriter(store, on_stale=lambda *where: told.append(where))
        store.before = [PeerFault("store_unreachable", "cut off")] * 3
        here.put("t", "s1", save("history", "first", 1, epoch=3))
        here.put("t", "s1", save("keys", "first", 2, epoch=3))
        task = await running(here)
        await asyncio.sleep(0.01)
        for key in ("history", "keys"):  # another process has had it meanwhile
            record = msgspec.msgpack.encode(Saved("second", 4, 4))
            await MemoryStore.put(store, BUCKET, state_key("t", "s1", key), record)
        found = await here.load("t", "s1")  # for epoch 5
        assert found is not None
        assert found.values == {"history": "second", "keys": "second"}
        assert told == [("t", "s1")]  # of epoch 3, before there is a session of epoch 5
        here.put("t", "s1", save("history", "third", 6, epoch=5))
        await here.flushed("t", "s1")
        assert (store.saved("history"), store.saved("keys").value) == (Saved("third", 6, 5), "second")
        assert (told, here.pending) == ([("t", "s1")], 0)
        await stopped(task)

    run_virtual(main())


def test_those_who_waited_in_vain_are_not_kept() -> None:
    async def main() -> None:
        store = SlowStore()
        store.before = [PeerFault("store_unreachable", "no leader")] * 1_000
        writer = StateWriter(store)
        writer.put("t", "s1", save("a", 1))
        for _ in range(50):
            with pytest.raises(PeerFault, match="durable_state_unsaved"):
                await writer.flushed("t", "s1", 0.01)
        assert len(writer._sessions["t", "s1"].unsaved._waiting) <= 1

    run_virtual(main())


def test_state_that_changes_under_every_reading_is_an_error_and_not_half_of_it() -> None:
    class Vanishing(MemoryStore):
        async def keys(self, bucket: str, prefix: str = "") -> list[str]:
            return [*await super().keys(bucket, prefix), f"{prefix}gone"]

    async def main() -> None:
        with pytest.raises(PeerFault, match="durable_state_unreadable"):
            await StateWriter(Vanishing()).load("t", "s1")

    asyncio.run(main())


def test_a_value_that_took_anothers_place_still_owes_what_that_one_owed() -> None:
    async def main() -> None:
        unsaved = Unsaved()
        for key in ("a", "b"):
            unsaved.put(save(key, 1))
        waiting = unsaved.when_saved()
        unsaved.put(save("a", 2, 2))
        first = unsaved.first()
        assert first is not None
        assert (first.effect.key, first.effect.value) == ("a", 2)
        unsaved.written(Item(save("b", 1), 2, 2))
        assert not waiting.done()
        unsaved.written(first)
        assert waiting.result()
        assert len(unsaved) == 0

    asyncio.run(main())
