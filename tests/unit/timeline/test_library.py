"""The library: what there is, wherever it is; one session by its name; and nobody reads what is not theirs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Entry
from rspp.testing.store import MemoryStore
from rspp.timeline import catalogue
from rspp.timeline.access import Access, AccessDenied, own_machine
from rspp.timeline.audit import AuditLog, heads, records
from rspp.timeline.export import Exporter
from rspp.timeline.library import Asker, Filter, Library, local_segments, spooled
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from rspp.timeline.segments import SPOOL, SUFFIX
from rspp.timeline.spool import Spool, SpoolSettings
from tests.unit.timeline.calls import replayed, simulated_bytes
from tests.unit.timeline.spooled import SMALL, Moody, exporting, fill, frames, opened, renamed

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ME = Asker(tenant_id="t", principal_id="os:me", role="operator", purpose="debug")


def call(session_id: str = "s", tenant_id: str = "t", seed: int = 7) -> bytes:
    return renamed(simulated_bytes(seed), session_id, tenant_id)


async def shelved(store: MemoryStore, data: Path, *sessions: tuple[str, str]) -> None:
    """These sessions (and their tenants), exported."""
    async with exporting(store, data) as (spool, exporter):
        for session_id, tenant_id in sessions:
            await fill(spool, call(session_id, tenant_id), session_id, tenant_id)
        assert await exporter.drain(5_000) == 0


async def move(
    store: MemoryStore, tenant_id: str, session_id: str, opened_wall_ms: int, **facts: object
) -> None:
    """The entry as if the session had begun at another time, say."""
    held = await catalogue.get(store, catalogue.key_of(tenant_id, session_id))
    assert held is not None
    entry = msgspec.structs.replace(held.entry, opened_wall_ms=opened_wall_ms, **facts)
    assert await catalogue.put(store, held.key, entry, held.revision)


def test_sessions_are_listed_newest_first_filtered_and_in_pages(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, ("a", "t"), ("b", "t"), ("c", "t"), ("d", "other"))
        for number, (name, tenant) in enumerate([("a", "t"), ("b", "t"), ("c", "t"), ("d", "other")], 1):
            await move(store, tenant, name, number * 1_000, pipeline="one" if name == "a" else "two")
        library = Library(store, tmp_path)

        async def names(count: int = 100, skip: int = 0, **wanted: object) -> list[str]:
            page = await library.sessions(Filter(**wanted), count=count, skip=skip)  # type: ignore[arg-type]
            return [one.name for one in page.sessions]

        assert await names() == ["d", "c", "b", "a"]
        assert await names(tenant="t") == ["c", "b", "a"]
        assert await names(tenant="nobody") == []
        assert await names(pipeline="one") == ["a"]
        assert await names(since_wall_ms=3_000) == ["d", "c"]
        assert await names(until_wall_ms=2_000) == ["b", "a"]
        assert await names(running=True) == []
        assert await names(level=RecordingLevel.L2) == []
        assert await names(count=2, skip=1) == ["c", "b"]
        assert (await library.sessions(count=1)).total == 4

    asyncio.run(main())


def test_a_session_is_found_by_its_name_or_enough_of_it_and_the_newest_is_last(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, ("s-abc", "t"), ("s-abd", "t"), ("s-abc", "other"), ("s-ab", "t"))
        for number, name in enumerate(["s-abc", "s-abd", "s-ab"], 1):
            await move(store, "t", name, number * 1_000)
        await move(store, "other", "s-abc", 500)
        library = Library(store, tmp_path)
        assert (await library.find("s-abd")).entry.session_id == "s-abd"
        assert (await library.find("s-ab")).name == "s-ab", "a whole name is no beginning"
        assert (await library.find("last")).name == "s-ab"
        assert (await library.find("s-abc", "other")).entry.tenant_id == "other"
        for reference, tenant in (("s-a", "t"), ("s-abc", None), ("s-", None)):
            with pytest.raises(MisuseError, match="session_ambiguous"):
                await library.find(reference, tenant)
        for reference, tenant in (
            ("x", None),
            ("s-abd", "other"),
            ("S-abd", None),
            ("s-abd%", None),
            ("", "x"),
        ):
            with pytest.raises(MisuseError, match="session_not_found"):
                await library.find(reference, tenant)

    asyncio.run(main())


def test_a_session_that_runs_is_read_from_the_store_and_the_local_append_together(tmp_path: Path) -> None:
    async def main() -> None:
        store, data = Moody(), call("s0")
        every = frames(data)
        async with exporting(store, tmp_path) as (spool, exporter):
            append = opened(spool, "s0")
            for one in every[: len(every) // 3]:
                append.append(one)
            await spool.drained()
            assert await exporter.drain(5_000) == 0
            store.full = True  # from here on nothing is exported
            for one in every[len(every) // 3 : -1]:
                append.append(one)
            await spool.drained()
            library = Library(store, tmp_path)
            found = await library.find("s0")
            assert found.entry.parts
            assert found.local
            assert found.entry.markers["consistency"] == "eventual"
            assert found.entry.recorded_through > found.entry.exported_through > 0
            half = await library.read(found)
            assert len(half.inputs) == len(assemble([unframe(b"".join(every[:-1]))]).inputs)
            assert not half.gaps
            assert half.end is None
            assert (await library.sessions(Filter(running=False))).total == 1  # it said that it has ended
            append.append(every[-1])
            append.close()
            await spool.drained()
            store.full = False
            assert await exporter.drain(5_000) == 0
            whole = await library.read(found)
            assert whole.whole
            assert whole.end is not None
            assert whole.end.digest == replayed(whole).digest

    asyncio.run(main())


def test_a_session_of_which_nothing_is_exported_is_found_and_read(tmp_path: Path) -> None:
    async def main() -> None:
        store = Moody()
        store.hangs = True
        async with exporting(store, tmp_path) as (spool, _):
            await fill(spool, call(), "s")
            library = Library(MemoryStore(), tmp_path)
            found = await library.find("last")
            assert (found.name, found.revision) == ("s", 0)
            assert found.entry.turns > 0
            assert (await library.read(found)).whole
            assert (await library.raw(found)).count(b"rspp-recording-v1") == 1

    asyncio.run(main())


def test_reading_goes_on_while_segments_move_from_the_spool_to_the_store(tmp_path: Path) -> None:
    """Each read gives the whole call, wherever its parts are at that moment."""

    async def main() -> None:
        store, data = Moody(), call()
        store.delay_s = 0.005
        async with exporting(store, tmp_path) as (spool, exporter):
            await fill(spool, data, "s")
            library = Library(store, tmp_path)
            reads = 0
            while spool.sealed():
                recording = await library.read(await library.find("s"))
                assert recording.whole
                assert not recording.gaps
                reads += 1
            assert reads > 1
            assert await exporter.drain(1_000) == 0

    asyncio.run(main())


class Moving(MemoryStore):
    """A store at which all that is local arrives between a reader's question for the entry and its next step."""

    def __init__(self) -> None:
        super().__init__()
        self.move: Callable[[], Awaitable[object]] | None = None

    async def get(self, bucket: str, key: str) -> Entry | None:
        found = await super().get(bucket, key)
        if self.move is not None and bucket == catalogue.BUCKET:
            move, self.move = self.move, None
            await move()
        return found


def test_what_moves_to_the_store_right_behind_the_readers_question_is_not_lost(tmp_path: Path) -> None:
    async def main() -> None:
        store = Moving()
        local = Spool(tmp_path, SMALL)
        local.start()
        await fill(local, call(), "s")
        exporter = Exporter(store, local)

        async def move() -> None:
            for segment in local.sealed():
                await exporter._export(segment)
                local.release(segment)
            await local.drained()

        library = Library(store, tmp_path)
        found = await library.find("s")
        store.move = move
        assert (await library.read(found)).whole
        assert local.sealed() == []
        await local.close()

    asyncio.run(main())


def test_a_run_is_read_as_itself_though_another_one_took_its_name_in_the_store(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        local = Spool(tmp_path, SMALL)
        local.start()
        await fill(local, call(seed=7), "s")
        library = Library(store, tmp_path)
        found = await library.find("s")
        first = await library.raw(found)
        await fill(local, call(seed=8), "s")
        exporter = Exporter(store, local)
        for segment in local.sealed():
            if segment.run != found.entry.run:
                await exporter._export(segment)
        assert await library.raw(found) == first
        await local.close()

    asyncio.run(main())


@pytest.mark.parametrize("run", ["run", "*.1", "../../elsewhere.1", "", ".", "/.1", "0-1.x"])
def test_a_run_that_no_process_ever_had_is_looked_for_nowhere(tmp_path: Path, run: str) -> None:
    entry = catalogue.begun("t/s", "t", "s", run)
    assert local_segments(tmp_path, entry) == []


def test_a_part_that_is_nowhere_is_a_gap_by_name(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path, spool=SpoolSettings(segment_bytes_max=20_000)) as (
            spool,
            exporter,
        ):
            await fill(spool, call(), "s")
            assert await exporter.drain(5_000) == 0
        held = await catalogue.get(store, catalogue.key_of("t", "s"))
        assert held is not None
        assert len(held.entry.parts) > 3
        del held.entry.parts[2]
        assert await catalogue.put(store, held.key, held.entry, held.revision)
        library = Library(store, tmp_path)
        recording = await library.read(await library.find("s"))
        assert [gap.reason for gap in recording.gaps] == ["part_missing:3"]

    asyncio.run(main())


def test_what_the_catalogue_does_not_name_is_not_read_and_what_is_damaged_is_refused(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, ("s", "t"))
        await store.put_blob("recordings/t/s/zzz", b"not a part")
        library = Library(store, tmp_path)
        found = await library.find("s")
        assert (await library.read(found)).whole
        await store.put_blob(found.entry.parts[-1].blob, b"?")
        with pytest.raises(PeerFault, match="recording_damaged"):
            await library.read(found)

    asyncio.run(main())


def test_only_who_may_reads_and_it_is_on_record_either_way(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, ("s", "t"), ("x", "other"))
        library = Library(store, tmp_path)
        access = Access(own_machine("t", "os:me"), AuditLog(store, wall_ms=lambda: 1, writer="me"))
        mine, others = await library.find("s", "t"), await library.find("x", "other")
        seen = await library.seen(mine, access, ME)
        assert seen.recording.whole
        assert seen.grant.fidelity is RecordingLevel.L2
        low = await library.seen(mine, access, msgspec.structs.replace(ME, fidelity=RecordingLevel.L0))
        assert low.recording.inputs == {}
        assert low.recording.evidence == seen.recording.evidence
        wrong = {
            "cross_tenant_denied": (others, ME),
            "role_not_authorized": (mine, msgspec.structs.replace(ME, role="compliance")),
            "purpose_not_authorized": (mine, msgspec.structs.replace(ME, purpose="compliance")),
            "policy_tenant_scope_missing": (others, msgspec.structs.replace(ME, tenant_id="other")),
            "invalid_request_attributes": (mine, msgspec.structs.replace(ME, role="king")),
        }
        for reason, (found, asker) in wrong.items():
            with pytest.raises(AccessDenied, match=reason):
                await library.seen(found, access, asker)
        with pytest.raises(AccessDenied, match="audit_sink_unavailable"):
            await library.seen(mine, Access(own_machine("t", "os:me"), None), ME)
        said = [(one.decision, one.reason) for one in await records(store, "me")]
        assert said == [("allow", "granted")] * 2 + [("deny", reason) for reason in wrong]
        assert (await heads(store))["me"].count == len(said)

    asyncio.run(main())


def test_the_recordings_of_one_session_are_found_without_opening_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, ("s-a", "t"), ("s-ab", "t"), ("s-a", "other"))
        await shelved(store, tmp_path, ("s-a", "t"))  # opened once more
        spool = Spool(tmp_path, SMALL)
        spool.start()
        await fill(spool, call("s-here"), "s-here", "t", close=False)
        await fill(spool, call("s-other"), "s-other", "t", close=False)
        library = Library(store, tmp_path)
        opened: list[str] = []
        read = Path.read_bytes

        def noted(path: Path) -> bytes:
            opened.append(path.parent.name)
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", noted)
        runs = await library.runs("t", "s-a")
        assert [one.entry.session_id for one in runs] == ["s-a", "s-a"]
        assert {one.name for one in runs} > {"s-a"}
        assert [len(one.local) > 0 for one in await library.runs("t", "s-here")] == [True]
        assert all(name.startswith("s-here") for name in opened)
        for tenant, session in (("t", "s"), ("other", "s-ab"), ("t", "../s-a"), ("t", "s-*"), ("", "")):
            assert await library.runs(tenant, session) == []
        listed = sorted((one.tenant_id, one.name.partition("~")[0]) for one in await library.entries())
        assert listed == [
            ("other", "s-a"),
            *(("t", name) for name in ("s-a", "s-a", "s-ab", "s-here", "s-other")),
        ]
        assert [one.name for one in await library.entries("other")] == ["s-a"]
        assert all(one.pipeline for one in await library.entries("t")), "also of what is only here"
        await spool.close()

    asyncio.run(main())


@pytest.mark.parametrize("gone", ["boot", "s1"])
def test_what_goes_from_the_spool_while_it_is_listed_keeps_nothing_else_from_being_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    for folder in ("boot/s1", "boot/s2", "other/s1", "other/s3"):
        (tmp_path / SPOOL / folder).mkdir(parents=True)
        (tmp_path / SPOOL / folder / f"1{SUFFIX}").touch()
    scandir = os.scandir

    def racing(path: os.PathLike[str]) -> object:
        if Path(path).name == gone:
            raise FileNotFoundError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", racing)
    left = {str(path.parent.relative_to(tmp_path / SPOOL)) for path in spooled(tmp_path)}
    assert left == ({"other/s1", "other/s3"} if gone == "boot" else {"boot/s2", "other/s3"})
