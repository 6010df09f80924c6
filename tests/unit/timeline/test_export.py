"""The export: exactly once through every failure of the store, and nobody waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rspp.contract.errors import PeerFault
from rspp.testing.store import MemoryStore
from rspp.timeline import catalogue, parts
from rspp.timeline import records as r
from rspp.timeline.catalogue import Catalogued
from rspp.timeline.export import PROCESS_LOST, Exporter, ExportSettings
from rspp.timeline.recording import assemble
from rspp.timeline.spool import Spool, SpoolSettings
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.spooled import QUICK, SMALL, Moody, exporting, fill, frames, opened, renamed

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def call(session_id: str = "s", seed: int = 7) -> bytes:
    return renamed(simulated_bytes(seed), session_id)


async def until(holds: Callable[[], bool]) -> None:
    """Five seconds at most."""
    for _ in range(2_500):
        if holds():
            return
        await asyncio.sleep(0.002)
    pytest.fail("it did not come to pass in time")


def segments_in(data: Path) -> list[Path]:
    return sorted(data.glob("spool/*/*/*.seg"))


def tear(paths: list[Path]) -> None:
    """As a process leaves its last file that is killed in the middle of a write."""
    for path in paths:
        with path.open("ab") as file:
            file.write(b"\0\0\1\0torn")


async def entry_of(store: MemoryStore, session_id: str, tenant_id: str = "t") -> Catalogued | None:
    held = await catalogue.get(store, catalogue.key_of(tenant_id, session_id))
    return None if held is None else held.entry


async def exported(store: MemoryStore, session_id: str, tenant_id: str = "t") -> bytes:
    """What the catalogue names, without the segments' own first records."""
    entry = await entry_of(store, session_id, tenant_id)
    assert entry is not None
    found = []
    for part in entry.parts:
        data = await parts.read(store, part)
        assert data is not None
        found += [one for one in frames(data) if not isinstance(r.unframe(one).records[0], r.Part)]
    return b"".join(found)


def test_a_call_is_exported_in_parts_that_are_the_call_and_its_segments_are_removed(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = MemoryStore(), call()
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, data, "s")
            assert await exporter.drain(5_000) == 0
            await spool.drained()
            assert not segments_in(tmp_path)
        assert await exported(store, "s") == data
        entry = await entry_of(store, "s")
        assert entry is not None
        whole = assemble([r.unframe(data)])
        assert len(entry.parts) > 1
        assert entry.complete
        assert entry.turns == len(whole.evidence) > 0
        assert whole.end is not None
        assert entry.exported_through == entry.recorded_through == whole.end.steps
        assert (entry.pipeline, entry.level) == (whole.head.graph.pipeline, whole.head.level)
        assert entry.ended_wall_ms is not None
        assert entry.ended_wall_ms - entry.opened_wall_ms == (whole.end.at - whole.began_at) // 1_000_000
        assert entry.markers["consistency"] == "complete"
        assert await store.keys(catalogue.OPEN) == []

    asyncio.run(main())


def test_while_a_call_goes_on_its_entry_says_that_more_comes(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = MemoryStore(), call()
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s")
            every = frames(data)
            for one in every[: len(every) // 2]:
                append.append(one)
            await spool.drained()
            await exporter.drain(5_000)
            entry = await entry_of(store, "s")
            assert entry is not None
            assert not entry.complete
            assert entry.markers["consistency"] == "eventual"
            half = entry.exported_through
            assert half > 0
            assert await store.keys(catalogue.OPEN) == [catalogue.key_of("t", "s")]
            for one in every[len(every) // 2 :]:
                append.append(one)
            append.close()
            await spool.drained()
            await exporter.drain(5_000)
        entry = await entry_of(store, "s")
        assert entry is not None
        assert entry.complete
        assert entry.exported_through > half

    asyncio.run(main())


def test_a_stopped_store_costs_nobody_a_wait_and_gets_everything_once_when_it_is_back(tmp_path: Path) -> None:
    async def main() -> None:
        store = Moody()
        store.hangs = True
        calls = {f"s{n}": call(f"s{n}", seed) for n, seed in enumerate((7, 8, 9))}
        settings = ExportSettings(try_ms=20, tries_short=10_000, pause_ms=1, pause_ms_max=10)
        async with exporting(store, tmp_path, settings) as (spool, exporter):
            for session_id, data in calls.items():
                await asyncio.wait_for(fill(spool, data, session_id), 2)
            meters = exporter.meters
            await until(lambda: meters.durable_export_retries_total > 5)
            await until(lambda: meters.durable_export_lag_ms > 100)
            assert spool.lag_ms > 0
            assert meters.durable_export_failures_total["timeout"] > 5
            assert meters.durable_export_queue_depth == len(spool.sealed()) > 3
            assert await exporter.drain(50) == len(spool.sealed())
            store.hangs = False
            assert await exporter.drain(5_000) == 0
            await until(lambda: spool.lag_ms == 0)
        for session_id, data in calls.items():
            assert await exported(store, session_id) == data
            entry = await entry_of(store, session_id)
            assert entry is not None
            assert entry.complete
            assert entry.lag_ms > 100
        assert meters.given_up_total == 0

    asyncio.run(main())


def test_a_slow_store_gets_more_time_after_the_first_tries_and_then_everything(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = Moody(), call()
        store.delay_s = 0.03
        settings = ExportSettings(try_ms=10, pause_ms=1, pause_ms_max=5)
        large = SpoolSettings(segment_bytes_max=60_000)
        async with exporting(store, tmp_path, settings, large) as (spool, exporter):
            await fill(spool, data, "s")
            assert await exporter.drain(20_000) == 0
        assert await exported(store, "s") == data
        assert exporter.meters.durable_export_failures_total["timeout"] > 0

    asyncio.run(main())


def test_a_full_store_is_named_and_retried_until_there_is_room(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = Moody(), call()
        store.full = True
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, data, "s")
            await until(lambda: exporter.meters.durable_export_failures_total.get("store_full", 0) > 3)
            assert len(segments_in(tmp_path)) == len(spool.sealed()) > 0
            store.full = False
            assert await exporter.drain(5_000) == 0
        assert await exported(store, "s") == data

    asyncio.run(main())


def test_an_acknowledgement_that_was_lost_makes_no_record_count_twice(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = Moody(), call()
        store.lose_acks = 3
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, data, "s")
            assert await exporter.drain(5_000) == 0
        assert await exported(store, "s") == data
        assert exporter.meters.durable_export_failures_total == {"ConnectionResetError": 3}
        entry = await entry_of(store, "s")
        assert entry is not None
        assert entry.turns == len(assemble([r.unframe(data)]).evidence)

    asyncio.run(main())


def test_one_session_whose_parts_no_store_takes_does_not_hold_up_the_others(tmp_path: Path) -> None:
    class Picky(MemoryStore):
        async def put_blob(self, name: str, data: bytes) -> None:
            if "/bad/" in name:
                raise ValueError("not this one")
            await super().put_blob(name, data)

    async def main() -> None:
        store = Picky()
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, call("bad"), "bad")
            await fill(spool, call("good"), "good")
            await until(lambda: all(one.session_id == "bad" for one in spool.sealed()))
            assert spool.sealed()
            for segment in spool.sealed():
                await exporter.give_up(segment)
            assert not spool.sealed()
        assert await exported(store, "good") == call("good")
        entry = await entry_of(store, "bad")
        assert entry is not None
        assert entry.parts == []
        assert len(entry.given_up) == entry.gaps == exporter.meters.given_up_total > 1

    asyncio.run(main())


def test_two_processes_export_into_one_store_and_the_second_run_of_a_session_has_an_entry_of_its_own(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = Moody()
        store.delay_s = 0.001
        first, second = call("both", 7), call("both", 8)
        async with (
            exporting(store, tmp_path / "a") as (one, export_one),
            exporting(store, tmp_path / "b") as (two, export_two),
        ):
            await asyncio.gather(fill(one, first, "both"), fill(two, second, "both"))
            await asyncio.gather(fill(one, call("a"), "a"), fill(two, call("b"), "b"))
            assert await export_one.drain(5_000) == 0
            assert await export_two.drain(5_000) == 0
        assert await exported(store, "a") == call("a")
        assert await exported(store, "b") == call("b")
        keys = await store.keys(catalogue.BUCKET, catalogue.key_of("t", "both"))
        entries = [held.entry for key in keys if (held := await catalogue.get(store, key))]
        assert len(entries) == 2
        assert len({entry.run for entry in entries}) == 2
        found: list[bytes] = []
        for entry in entries:
            pieces = [await parts.read(store, part) for part in entry.parts]
            records = [one for piece in pieces if piece for one in frames(piece)]
            found.append(
                b"".join(one for one in records if not isinstance(r.unframe(one).records[0], r.Part))
            )
        assert sorted(found) == sorted([first, second])
        named = {part.blob for entry in entries for part in entry.parts}
        assert set(await store.blobs(f"{catalogue.BLOBS}/t/both")) == named

    asyncio.run(main())


def test_what_a_dead_process_left_is_exported_by_the_next_and_its_session_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = MemoryStore(), call()
        every = frames(data)[:-10]
        dead = Spool(tmp_path, SMALL)
        dead.start()
        append = opened(dead, "s")
        for one in every:
            append.append(one)
        await dead.drained()
        tear(segments_in(tmp_path))
        assert dead._home is not None
        assert dead._home._lock is not None
        os.close(dead._home._lock)  # as the system does when a process dies
        async with exporting(store, tmp_path) as (_, exporter):
            assert await exporter.adopt() > 2
            assert await exporter.drain(5_000) == 0
        assert await exported(store, "s") == b"".join(every)
        entry = await entry_of(store, "s")
        assert entry is not None
        assert entry.complete
        assert entry.end_reason == PROCESS_LOST

    asyncio.run(main())


def test_a_session_whose_process_died_between_two_segments_is_closed_by_the_next_start(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s")
            for one in frames(call())[:20]:
                append.append(one)
            await exporter.drain(5_000)
            spool._seal(append)
            await spool.drained()
            await exporter.drain(5_000)
        entry = await entry_of(store, "s")
        assert entry is not None
        assert not entry.complete
        async with exporting(store, tmp_path):
            for _ in range(1_000):
                entry = await entry_of(store, "s")
                if entry is not None and entry.complete:
                    break
                await asyncio.sleep(0.005)
        assert entry is not None
        assert entry.end_reason == PROCESS_LOST
        assert await store.keys(catalogue.OPEN) == []

    asyncio.run(main())


def test_a_session_that_a_dead_process_had_wholly_exported_is_closed_beside_one_that_it_had_not(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = MemoryStore()
        dead = Spool(tmp_path, SMALL)
        dead.start()
        exporter = Exporter(store, dead, QUICK)
        dead.on_sealed = exporter.sealed
        task = asyncio.get_running_loop().create_task(exporter.run())
        through, behind = opened(dead, "through"), opened(dead, "behind")
        for one in frames(call("through"))[:20]:
            through.append(one)
        dead._seal(through)
        await dead.drained()
        assert await exporter.drain(5_000) == 0
        task.cancel()
        await asyncio.wait([task])
        for one in frames(call("behind"))[:20]:
            behind.append(one)
        await dead.drained()
        assert dead._home is not None
        assert dead._home._lock is not None
        os.close(dead._home._lock)
        async with exporting(store, tmp_path) as (spool, exporter):
            await exporter.adopt()
            assert spool.adopted
            assert await exporter.drain(5_000) == 0
            for _ in range(1_000):
                if not await store.keys(catalogue.OPEN):
                    break
                await asyncio.sleep(0.005)
        for name in ("through", "behind"):
            entry = await entry_of(store, name)
            assert entry is not None
            assert (entry.complete, entry.end_reason) == (True, PROCESS_LOST)

    asyncio.run(main())


def died(spool: Spool) -> None:
    """The system lets go of its lock."""
    assert spool._home is not None
    assert spool._home._lock is not None
    os.close(spool._home._lock)


def test_a_session_is_closed_whose_last_segment_counted_already_when_its_process_died(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        dead = Spool(tmp_path, SMALL)
        dead.start()
        append = opened(dead, "s")
        for one in frames(call())[:20]:
            append.append(one)
        dead._seal(append)
        await dead.drained()
        exporter = Exporter(store, dead, QUICK)
        for segment in dead.sealed():  # and it dies before one of them is removed
            await exporter._export(segment)
        died(dead)
        async with exporting(store, tmp_path) as (_, second):
            await second.adopt()
            assert await second.drain(5_000) == 0
        entry = await entry_of(store, "s")
        assert entry is not None
        assert (entry.complete, entry.end_reason) == (True, PROCESS_LOST)
        assert len(entry.parts) == len({part.number for part in entry.parts})
        assert segments_in(tmp_path) == []

    asyncio.run(main())


class Contended(MemoryStore):
    """A store in which somebody else changes each entry once, at the worst moment."""

    def __init__(self) -> None:
        super().__init__()
        self.others = 0

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        if bucket == catalogue.BUCKET and self.others:
            self.others -= 1
            await super().put(bucket, key, (await super().get(bucket, key)).value)  # type: ignore[union-attr]
        return await super().put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)


def test_a_lost_session_whose_entry_somebody_changes_meanwhile_is_closed_all_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        store = Contended()
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s")
            for one in frames(call())[:20]:
                append.append(one)
            spool._seal(append)
            await spool.drained()
            assert await exporter.drain(5_000) == 0
        await store.put(catalogue.OPEN, "t/broken", f"{exporter._place} 1-1.000001".encode())
        await store.put(catalogue.BUCKET, "t/broken", b"{")
        store.others = 1
        async with exporting(store, tmp_path) as (_, second):
            entry = await entry_of(store, "s")
            for _ in range(1_000):
                if entry is not None and entry.complete:
                    break
                await asyncio.sleep(0.005)
                entry = await entry_of(store, "s")
            assert second.lag_ms == 0
        assert entry is not None
        assert entry.end_reason == PROCESS_LOST
        assert await store.keys(catalogue.OPEN) == ["t/broken"]

    asyncio.run(main())


def test_a_part_of_a_deleted_session_leaves_no_blob_whichever_try_put_it(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        spool = Spool(tmp_path, SMALL)
        spool.start()
        await fill(spool, call(), "s")
        segment = spool.sealed()[0]
        key = catalogue.key_of("t", "s")
        gone = catalogue.begun(key, "t", "s", segment.run)
        gone.deleted_wall_ms, gone.complete = 1, True
        await catalogue.put(store, key, gone, 0)
        await store.put_blob(
            catalogue.blob_of(key, segment.part), segment.read()
        )  # by a try that took too long
        await Exporter(store, spool)._export(segment)
        assert await store.blobs() == []
        await spool.close()

    asyncio.run(main())


def test_a_record_that_cannot_be_read_is_named_and_keeps_nothing_else_out_of_the_store(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s")
            for one in [*frames(call()), catalogue.framed(b"\x81\xa1r\xa4head"), catalogue.framed(b"\xc1")]:
                append.append(one)
            append.close()
            await spool.drained()
            assert await exporter.drain(5_000) == 0
            assert exporter.meters.durable_export_failures_total == {}
        entry = await entry_of(store, "s")
        assert entry is not None
        assert len(entry.damaged) == 2
        assert entry.complete

    asyncio.run(main())


def test_a_part_that_comes_after_a_sweep_is_cut_by_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s")
            every = frames(call())
            for one in every[:20]:
                append.append(one)
            spool._seal(append)
            await spool.drained()
            assert await exporter.drain(5_000) == 0
            held = await catalogue.get(store, catalogue.key_of("t", "s"))
            assert held is not None
            held.entry.dropped = {"text_raw": 1}
            await catalogue.put(store, held.key, held.entry, held.revision)
            append.append(every[20])
            append.close()
            await spool.drained()
            assert await exporter.drain(5_000) == 0
        entry = await entry_of(store, "s")
        assert entry is not None
        assert entry.dropped == {}

    asyncio.run(main())


def test_who_loses_the_race_for_an_entry_leaves_the_winners_parts_alone(tmp_path: Path) -> None:
    """Two processes sweep one store at the same time."""

    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, call(), "s")
            assert await exporter.drain(5_000) == 0
        held = await catalogue.get(store, catalogue.key_of("t", "s"))
        assert held is not None
        first = held.entry.parts[0]
        mine, theirs = (parts.made(held, first, first, data) for data in (b"mine", b"theirs"))
        assert await parts.replace(store, held, [first], [(mine, b"mine")])
        assert not await parts.replace(store, held, [first], [(theirs, b"theirs")])
        entry = await entry_of(store, "s")
        assert entry is not None
        assert await parts.read(store, entry.parts[0]) == b"mine"

    asyncio.run(main())


def test_parts_of_a_long_call_become_few_and_stay_the_call(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = MemoryStore(), call()
        tiny = SpoolSettings(segment_bytes_max=200)
        async with exporting(store, tmp_path, QUICK, tiny) as (spool, exporter):
            await fill(spool, data, "s")
            assert await exporter.drain(20_000) == 0
            segments = exporter.meters.exported_parts_total
        entry = await entry_of(store, "s")
        assert entry is not None
        assert segments > parts.MERGE_PARTS
        assert len(entry.parts) <= segments // parts.MERGE_PARTS + parts.MERGE_PARTS
        assert entry.parts[0].last == parts.MERGE_PARTS
        assert [one.number for one in entry.parts[1:]] == [one.last + 1 for one in entry.parts[:-1]]
        assert await exported(store, "s") == data
        assert len(await store.blobs()) == len(entry.parts)

    asyncio.run(main())


def test_a_segment_that_was_removed_underneath_is_named_in_the_entry(tmp_path: Path) -> None:
    async def main() -> None:
        store = Moody()
        store.full = True
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, call(), "s")
            victim = spool.sealed()[1]
            victim.path.unlink()
            store.full = False
            assert await exporter.drain(5_000) == 0
        entry = await entry_of(store, "s")
        assert entry is not None
        assert entry.damaged == [f"{victim.part}: its file is gone"]
        assert not entry.has(victim.number)

    asyncio.run(main())


def test_a_tenants_or_sessions_name_reaches_into_nobody_elses() -> None:
    hostile = ["a/b", "a", "a%2Fb", "..", "", " ", "a~run", "é" * 500, "\ud800", "x" * 2_000, "a\n"]
    keys = {
        catalogue.key_of(tenant, session, run)
        for tenant in hostile
        for session in hostile
        for run in (None, "r")
    }
    assert len(keys) == len(hostile) ** 2 * 2
    assert all(key.count("/") == 1 and len(catalogue.blob_of(key, "9" * 60).encode()) < 1_024 for key in keys)


def test_a_part_that_is_not_what_the_catalogue_says_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, call(), "s")
            await exporter.drain(5_000)
        entry = await entry_of(store, "s")
        assert entry is not None
        part = entry.parts[0]
        data = await parts.read(store, part)
        assert data is not None
        assert hashlib.sha256(data).hexdigest() == part.sha256
        await store.put_blob(part.blob, data[:-1] + b"?")
        with pytest.raises(PeerFault, match="recording_damaged"):
            await parts.read(store, part)

    asyncio.run(main())


def test_the_exporter_is_made_for_a_place(tmp_path: Path) -> None:
    async def main() -> None:
        here, there = Spool(tmp_path / "a"), Spool(tmp_path / "b")
        store = MemoryStore()
        assert Exporter(store, here)._place != Exporter(store, there)._place

    asyncio.run(main())


def rounds(data: Path, count: int, seed: int) -> dict[str, list[int]]:
    """So many rounds of a process that is killed while it records and exports; what was wrong fails the test."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.timeline.export_rounds", str(data), str(count), str(seed)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said: dict[str, list[int]] = json.loads(done.stdout)
    assert said["wrong"] == []
    return said


@pytest.mark.slow
def test_kill_9_while_recording_and_exporting_loses_no_record_and_doubles_none(tmp_path: Path) -> None:
    said = rounds(tmp_path / "data", 12, seed=1)
    assert any(said["acknowledged"])


@pytest.mark.slow
@pytest.mark.long
def test_kill_9_two_hundred_times_loses_no_record_and_doubles_none(tmp_path: Path) -> None:
    said = rounds(tmp_path / "data", 200, seed=2)
    whole = 3 * 61
    assert sum(0 < count < whole for count in said["acknowledged"]) > 50, "it was killed in the middle"
