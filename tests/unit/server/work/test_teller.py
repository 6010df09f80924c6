"""A manifest's lines reach the store one by one: each is one record of the journal, whoever tells, dies or is away meanwhile."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.control.fleet.work import WORK, WorkSessions, work_of
from rspp.control.names import key
from rspp.control.stores import open_store
from rspp.host.secrets import Secrets
from rspp.manifest.telling import Mark, WorkSnapshot
from rspp.ops.changes import StateChange
from rspp.server.state import Told, telling
from rspp.server.work import WorkTeller, kept
from rspp.server.work.kept import DONE_TTL_MS, TTL_MS, KeptWork
from rspp.server.work.record import ENCODE, recorded
from rspp.testing.store import MemoryStore
from tests.unit.server.work.told import SURFACE, journal_of, on_record, revisions, snapshot, url_of, waiting


def lines(records: list[StateChange]) -> int:
    """How many records there are of r1, each once, in order and without a hole in the journal's numbers."""
    told = revisions(records)
    assert told == sorted(set(told)), "no line twice, none before another"  # type: ignore[type-var]
    numbers = [one.sequence for one in records]
    assert numbers == list(range(1, len(numbers) + 1))
    return len(told)


def test_each_line_is_one_record_of_the_journal_however_often_it_is_told(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1), snapshot(2)])
        teller.told([snapshot(1), snapshot(2), snapshot(3)])
        teller.told([snapshot(2)])
        teller.told([])
    records = journal_of(tmp_path)
    assert lines(records) == 3
    assert [one.change_type for one in records] == ["created", "changed", "changed"]
    assert on_record(tmp_path).line == 3  # type: ignore[union-attr]


def test_two_who_tell_the_same_lines_at_once_never_go_back(tmp_path: Path) -> None:
    def tell(_: int) -> None:
        with WorkTeller(url_of(tmp_path), within_s=20) as teller:
            for line in range(1, 9):
                teller.told([snapshot(line)])

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(tell, range(3)))
    assert lines(journal_of(tmp_path)) == 8
    assert on_record(tmp_path).line == 8  # type: ignore[union-attr]


def test_a_line_whose_teller_died_before_the_journal_had_it_is_told_by_the_next_one(tmp_path: Path) -> None:
    """As a kill leaves it: the value is in the store, and nobody said so."""
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1)])

    async def half_told() -> None:
        store = open_store(url_of(tmp_path), Secrets())
        entry = await store.get(WORK, "r1")
        assert entry is not None
        work = recorded(snapshot(2), work_of(entry))
        assert await store.put(WORK, "r1", ENCODE(work), expect=entry.revision)
        await store.close()

    asyncio.run(half_told())
    assert lines(journal_of(tmp_path)) == 1
    for _ in range(2):
        with WorkTeller(url_of(tmp_path)) as teller:
            teller.told([snapshot(2), snapshot(3)])
    assert lines(journal_of(tmp_path)) == 3


def test_a_store_that_was_away_has_every_line_when_it_is_back(tmp_path: Path) -> None:
    place = tmp_path / "later"
    place.write_text("no folder yet")
    with WorkTeller(url_of(place)) as teller:
        for line in (1, 2, 3):
            with pytest.raises((RsppError, OSError)):
                teller.told([snapshot(one) for one in range(1, line + 1)])
        assert teller.signal("r1", "1") is None, "who works is not stopped by it"
        place.unlink()
        place.mkdir()
        teller.told([snapshot(line) for line in (1, 2, 3, 4)])
    assert lines(journal_of(place)) == 4


def test_nobody_waits_for_a_store_that_does_not_answer(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path), within_s=0.2) as teller:
        get = teller._store.get

        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        teller._store.get = never  # type: ignore[method-assign, assignment]
        began = time.monotonic()
        with pytest.raises(PeerFault, match="work_untold"):
            teller.told([snapshot(1)])
        assert time.monotonic() - began < 2
        teller._store.get = get  # type: ignore[method-assign]
        teller._within_s = 10
        teller.told([snapshot(1), snapshot(2)])
    assert lines(journal_of(tmp_path)) == 2


def test_it_tells_from_inside_a_running_loop_and_ends_its_thread(tmp_path: Path) -> None:
    async def main() -> None:
        with WorkTeller(url_of(tmp_path)) as teller:
            teller.told([snapshot(1)])
            await asyncio.sleep(0)
            teller.told([waiting(2)])
            assert teller.signal("r1", "1") is None
        teller.close()
        with pytest.raises(MisuseError, match="store_closed"):
            teller.told([snapshot(3)])

    asyncio.run(main())
    assert lines(journal_of(tmp_path)) == 2
    assert "work-teller" not in {one.name for one in threading.enumerate()}


def test_an_address_that_is_none_is_refused_at_once_and_a_folder_is_that_of_its_store(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="store_address_invalid"):
        WorkTeller("postgres://nowhere")
    (tmp_path / "a folder").mkdir()
    with WorkTeller(tmp_path / "a folder") as teller:
        teller.told([snapshot(1)])
    assert (tmp_path / "a folder" / "control.db").is_file()


def other(line: int, begun_at_ms: int) -> WorkSnapshot:
    """A line of another session of the same name."""
    trace = hashlib.sha256(f"other {line}".encode()).hexdigest()
    return snapshot(line, trace=trace, begun="f" * 64, begun_at_ms=begun_at_ms, goal="another")


def test_of_two_sessions_of_one_name_the_one_begun_last_is_on_record_and_they_never_take_turns(
    tmp_path: Path,
) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1), snapshot(2), snapshot(3)])
        teller.told([other(1, begun_at_ms=1_002)])
        assert on_record(tmp_path).goal == "another"  # type: ignore[union-attr]
        for line in (1, 2, 4, 9):  # behind, beside and ahead of what is on record
            with pytest.raises(PeerFault, match=r"work_other.*its own name"):
                teller.told([snapshot(line)])
        teller.told([other(2, begun_at_ms=1_002)])
        kept = on_record(tmp_path)
        assert kept is not None
        assert (kept.goal, kept.line, [one.goal for one in kept.past]) == ("another", 2, ["another"])
    assert lines(journal_of(tmp_path)) == 5


def test_a_session_that_was_begun_before_the_one_on_record_is_not_told_whatever_it_does_later(
    tmp_path: Path,
) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1)])
        with pytest.raises(PeerFault, match="work_other"):
            teller.told([other(1, begun_at_ms=1_000), other(2, begun_at_ms=1_000)])
    assert on_record(tmp_path).goal == "lint"  # type: ignore[union-attr]


def test_a_copy_of_the_work_that_went_another_way_is_said_to_be_one(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1), snapshot(2)])
        with pytest.raises(PeerFault, match=r"work_other.*copy"):
            teller.told([snapshot(2, trace="e" * 64)])


def test_it_remembers_what_was_told_last(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        assert teller.last("r1") is None
        teller.told([snapshot(1), snapshot(2)])
    with WorkTeller(url_of(tmp_path)) as teller:
        assert teller.last("r1") == Mark(line=2, trace=snapshot(2).trace)


def test_a_signal_is_handed_out_once_to_whoever_asks_first(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1), waiting(2)])
        give(tmp_path)

        def take(_: int) -> str | None:
            with WorkTeller(url_of(tmp_path), within_s=20) as one:
                return one.signal("r1", "1")

        with ThreadPoolExecutor(4) as threads:
            taken = list(threads.map(take, range(4)))
        assert sorted(map(str, taken)) == ["None", "None", "None", "go"]
        assert teller.signal("r1", "1") is None


def test_a_signal_is_for_the_step_and_the_line_that_it_was_given_at(tmp_path: Path) -> None:
    with WorkTeller(url_of(tmp_path)) as teller:
        teller.told([snapshot(1), waiting(2)])
        give(tmp_path)
        assert teller.signal("r1", "2") is None
        assert teller.signal("r2", "1") is None
        again = msgspec.structs.replace(waiting(3), updated_at_ms=9_000)
        teller.told([again])
        assert teller.signal("r1", "1") is None, "it is not where it was when the signal was given"
        give(tmp_path)
        assert teller.signal("r1", "1") == "go"


def give(folder: Path) -> None:
    async def main() -> None:
        store = open_store(url_of(folder), Secrets())
        sessions = WorkSessions(store, lambda: 5)
        work = await sessions.get("r1")
        assert work is not None
        await sessions.signal(work, by="olga", reason="r")
        await store.close()

    asyncio.run(main())


# ---- how long, and how many --------------------------------------------------------------------------------------------


class Noting(MemoryStore):
    """Notes how long each work session is to be kept."""

    def __init__(self) -> None:
        super().__init__()
        self.ttls: list[int | None] = []

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        if bucket == WORK:
            self.ttls.append(ttl_ms)
        return await super().put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)


def test_a_session_that_is_done_is_kept_for_less_long_than_one_that_is_not() -> None:
    async def main() -> None:
        store = Noting()
        async with telling(store, source="test") as told:
            work = KeptWork(told, source="test", wall_ms=lambda: 0)
            await work.tell([snapshot(1), snapshot(2, state="done")])
        assert store.ttls == [TTL_MS, DONE_TTL_MS]
        assert DONE_TTL_MS < TTL_MS
        await store.close()

    asyncio.run(main())


def test_of_more_sessions_than_are_kept_the_oldest_that_are_done_go_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kept, "SESSIONS_MAX", 4)

    async def main() -> None:
        store = MemoryStore()
        async with telling(store, source="test") as told:
            work = KeptWork(told, source="test", wall_ms=lambda: 0)
            await store.put(WORK, "strange", b"\xff no session")
            for number, state in enumerate(("waiting", "done", "done", "running", "running", "running")):
                await work.tell([snapshot(1, id=f"r{number}", state=state, updated_at_ms=number)])
                assert len(await store.keys(WORK)) <= 4
        assert await store.keys(WORK) == [key("r0"), key("r3"), key("r4"), key("r5")]
        page = await told.journal.page(after=0, limit=100)
        gone = [one.aggregate_id for one in page.records if one.change_type == "deleted"]
        assert gone == ["r1", "r2"]
        assert {one.surface for one in page.records} == {SURFACE}
        await store.close()

    asyncio.run(main())


class Shut(MemoryStore):
    """Its journal cannot be written, for as long as it is shut."""

    shut = True

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        if self.shut and "journal" in bucket:
            raise PeerFault("store_unreachable", "the journal is shut")
        return await super().put(bucket, key, value, expect=expect, ttl_ms=ttl_ms)


def test_no_line_is_put_before_the_journal_has_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a death at any moment leaves one line at most without its record, which the next teller tells again."""
    monkeypatch.setattr(kept, "JOURNAL_MS_MAX", 50)

    async def main() -> None:
        store = Shut()
        told = Told(store, source="test")
        told.begin()
        work = KeptWork(told, source="test", wall_ms=lambda: 0)
        for _ in range(2):
            with pytest.raises(PeerFault, match="work_untold"):
                await work.tell([snapshot(1), snapshot(2), snapshot(3)])
            assert work_of(await store.get(WORK, "r1")).line == 1  # type: ignore[union-attr]
        await told.end(within_ms=10)  # it dies with its record untold
        store.shut = False
        async with telling(store, source="next") as after:
            await KeptWork(after, source="next", wall_ms=lambda: 0).tell([snapshot(1), snapshot(2)])
            page = await after.journal.page(after=0, limit=100)
        assert lines(list(page.records)) == 2
        await store.close()

    asyncio.run(main())
