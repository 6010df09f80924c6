"""What is due goes, what is asked for goes, what is left still replays, and all of it is on record."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import msgspec
import pytest

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import Text
from rspp.contract.evidence import missing_fields
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.host.ports import Recorder
from rspp.kernel.inputs import CallProduced
from rspp.spec import voice_template
from rspp.testing.store import MemoryStore
from rspp.timeline import catalogue
from rspp.timeline import records as r
from rspp.timeline.audit import AuditLog, records, verify
from rspp.timeline.library import Filter, Library
from rspp.timeline.ports import Everything
from rspp.timeline.recorders import Recorders, Sampling
from rspp.timeline.recording import Recording
from rspp.timeline.retention import (
    DAY_MS,
    STRAY_MS,
    DeleteRequest,
    InForce,
    Retention,
    RetentionPolicy,
    in_force,
    load,
    span_ms,
)
from rspp.timeline.spool import Spool
from tests.unit.timeline.calls import replayed, simulated_bytes
from tests.unit.timeline.spooled import Moody, exporting, fill, renamed

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

L2 = RecordingLevel.L2
DEFAULT = InForce(RetentionPolicy(), "default")


def rules(**everybody: str) -> InForce:
    windows = {PayloadClass(name): span for name, span in everybody.items()}
    return InForce(RetentionPolicy(name="test", everybody=windows), "file:test.yaml")


def keeping(store: MemoryStore, policy: InForce = DEFAULT) -> Retention:
    return Retention(store, policy, AuditLog(store, wall_ms=lambda: 7, writer="sweeper"))


async def shelved(
    store: MemoryStore, data: Path, *names: str, level: RecordingLevel = L2, tenant: str = "t"
) -> None:
    async with exporting(store, data) as (spool, exporter):
        for name in names:
            await fill(spool, renamed(simulated_bytes(level=level), name, tenant), name, tenant)
        assert await exporter.drain(5_000) == 0


async def ended_at(
    store: MemoryStore, name: str, *, tenant: str = "t", classes: list[str] | None = None
) -> int:
    held = await catalogue.get(store, catalogue.key_of(tenant, name))
    assert held is not None
    if classes is not None:
        held.entry.classes = classes
        assert await catalogue.put(store, held.key, held.entry, held.revision)
    return held.entry.age_from_ms


def same_decisions(recording: Recording) -> bool:
    assert recording.end is not None
    return replayed(recording).digest == recording.end.digest


def test_a_recording_that_cannot_be_cut_keeps_none_of_the_others(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "a", "b", "c")
        for name in ("a", "b", "c"):
            held = await catalogue.get(store, catalogue.key_of("t", name))
            assert held is not None
            held.entry.ended_wall_ms = 1
            await catalogue.put(store, held.key, held.entry, held.revision)
        blobs = await store.blobs(f"{catalogue.BLOBS}/t/a/")
        await store.put_blob(blobs[0], b"a bit of the disk has turned")
        await store.put(catalogue.BUCKET, "t/b", b"{")
        with pytest.raises(RsppError, match="not what the catalogue says"):
            await keeping(store, rules(text_raw="1d", audio_raw="1d")).sweep(2 * DAY_MS)
        held = await catalogue.get(store, catalogue.key_of("t", "c"))
        assert held is not None
        assert set(held.entry.dropped) == {"text_raw", "audio_raw"}

    asyncio.run(main())


def test_a_recording_is_gone_when_its_time_is_over_and_reading_it_finds_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "s")
        library, retention = Library(store, tmp_path), keeping(store, rules(metadata="5s"))
        found, end = await library.find("s"), await ended_at(store, "s")
        assert await retention.sweep(end + 5_000) == []
        (swept,) = await retention.sweep(end + 5_001, dry_run=True)
        assert (swept.name, swept.deleted, swept.age_ms) == ("s", True, 5_001)
        assert (await library.read(found)).whole, "a dry run deletes nothing"
        (swept,) = await retention.sweep(end + 5_001)
        assert await store.blobs() == []
        with pytest.raises(MisuseError, match="session_not_found"):
            await library.find("s")
        with pytest.raises(MisuseError, match="session_not_found"):
            await library.read(found)
        assert (await library.sessions()).total == 0
        assert await retention.sweep(end + 10_000) == []
        said = await records(store, "sweeper")
        assert [(one.action, one.decision, one.reason) for one in said] == [
            ("retention", "allow", "expired"),
            ("retention", "done", "expired"),
        ]
        assert said[0].facts["source"] == "file:test.yaml"
        assert (await verify(store)).broken == ()

    asyncio.run(main())


@pytest.mark.parametrize("gone", ["audio_raw", "text_raw"])
def test_what_was_said_or_heard_goes_first_and_the_rest_still_replays(tmp_path: Path, gone: str) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "s0")
        library = Library(store, tmp_path)
        before = await library.read(await library.find("s0"))
        assert not before.without_sound
        assert not before.withheld_texts
        words = [text for item in before.inputs.values() if (text := getattr(item[1], "text", None))]
        (swept,) = await keeping(store, rules(**{gone: "1d"})).sweep(await ended_at(store, "s0") + DAY_MS + 1)
        assert (swept.deleted, swept.dropped) == (False, [gone])
        after = await library.read(await library.find("s0"))
        assert bool(after.without_sound) is (gone == "audio_raw")
        assert bool(after.withheld_texts) is (gone == "text_raw")
        assert same_decisions(after)
        assert after.evidence == before.evidence
        stamps = {stamp.turn_id: stamp for stamp in after.stamps.values()}
        assert [missing_fields(one, stamps.get(one.turn_id)) for one in after.evidence.values()] == [()] * 3
        raw = b"".join([blob for name in await store.blobs() if (blob := await store.get_blob(name))])
        if gone == "text_raw":
            heard = [said(one) for one in _texts(before) if len(said(one)) > 8]
            assert heard
            assert not any(text.encode() in raw for text in heard)
            assert not any(len(text) > 8 and text.encode() in raw for text in words)
        else:
            assert b"sound" not in {bytes(tag) for tag in _tags(raw)}
        found = await library.find("s0")
        assert list(found.entry.dropped) == [gone]
        assert set(await store.blobs()) == {part.blob for part in found.entry.parts}
        assert (
            await keeping(store, rules(**{gone: "1d"})).sweep(await ended_at(store, "s0") + DAY_MS + 2) == []
        )

    asyncio.run(main())


def _texts(recording: Recording) -> list[CallProduced]:
    return [
        one
        for _, one in recording.inputs.values()
        if isinstance(one, CallProduced) and isinstance(one.payload, Text)
    ]


def said(one: CallProduced) -> str:
    assert isinstance(one.payload, Text)
    return one.payload.text


def _tags(raw: bytes) -> list[bytes]:
    return [type(one).__struct_config__.tag.encode() for one in r.unframe(raw).records]  # type: ignore[union-attr]


def test_personal_and_health_data_go_by_their_own_hard_windows(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "plain", "pii", "phi")
        ends = [
            await ended_at(store, "plain"),
            await ended_at(store, "pii", classes=["PII", "text_raw"]),
            await ended_at(store, "phi", classes=["PHI", "text_raw"]),
        ]
        end, retention = max(ends), keeping(store)
        assert [one.name for one in await retention.sweep(end + DAY_MS + 1_000_000)] == ["phi"]
        assert [one.name for one in await retention.sweep(end + 7 * DAY_MS + 1_000_000)] == ["pii"]
        library = Library(store, tmp_path)
        assert not (await library.read(await library.find("plain"))).withheld_texts
        for name in ("pii", "phi"):
            left = await library.read(await library.find(name))
            assert left.withheld_texts
            assert left.without_sound
            assert left.whole
        swept = await retention.sweep(end + 31 * DAY_MS)
        assert [one.deleted for one in swept] == [True] * 3
        assert await store.blobs() == []

    asyncio.run(main())


def test_each_tenant_has_its_own_windows(tmp_path: Path) -> None:
    policy = RetentionPolicy(name="x", tenants={"clinic": {PayloadClass.METADATA: "1h"}})

    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "a", tenant="clinic")
        await shelved(store, tmp_path, "b", tenant="shop")
        now = await ended_at(store, "a", tenant="clinic") + 2 * 3_600_000
        retention = keeping(store, InForce(policy, "file"))
        assert await retention.sweep(now, tenant="shop") == []
        assert [one.tenant_id for one in await retention.sweep(now)] == ["clinic"]
        page = await Library(store).sessions(Filter())
        assert [one.name for one in page.sessions] == ["b"]

    asyncio.run(main())


def test_a_session_is_deleted_on_request_and_nothing_that_comes_later_brings_it_back(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        request = DeleteRequest(tenant_id="t", session_id="s", requester="anna", at_wall_ms=5)
        async with exporting(store, tmp_path) as (spool, exporter):
            data = renamed(simulated_bytes(), "s")
            await fill(spool, data, "s")
            await exporter.drain(5_000)
            with pytest.raises(MisuseError, match="session_not_found"):
                await keeping(store).delete(msgspec.structs.replace(request, tenant_id="other"))
            assert await keeping(store).delete(request) == ["s"]
            for segment in list(spool.sealed()):
                spool.release(segment)
            # A part of it that was still on its way.
            held = await catalogue.get(store, catalogue.key_of("t", "s"))
            assert held is not None
            late = msgspec.structs.replace(held.entry)
            assert late.deleted
            with pytest.raises(MisuseError, match="session_not_found"):
                await keeping(store).delete(request)
        assert await store.blobs() == []
        said = await records(store, "sweeper")
        assert [(one.action, one.decision, one.principal_id) for one in said] == [
            ("deletion", "allow", "anna"),
            ("deletion", "done", "anna"),
        ]

    asyncio.run(main())


def test_parts_of_a_deleted_session_that_were_still_here_are_released_and_not_exported(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = Moody()
        async with exporting(store, tmp_path) as (spool, exporter):
            data = renamed(simulated_bytes(), "s")
            await fill(spool, data, "s")
            for _ in range(2_000):
                if exporter.meters.exported_parts_total:
                    break
                await asyncio.sleep(0.001)
            store.full = True
            await asyncio.sleep(0)
            left = len(spool.sealed())
            store.full = False
            await keeping(store).delete(
                DeleteRequest(tenant_id="t", session_id="s", requester="anna", at_wall_ms=5)
            )
            assert await exporter.drain(5_000) == 0
            assert left > 0
        assert await store.blobs() == []
        assert (await Library(store, tmp_path).sessions()).total == 0

    asyncio.run(main())


def test_one_turn_is_forgotten_and_the_others_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "s0")
        library = Library(store, tmp_path)
        before = await library.read(await library.find("s0"))
        turns = [one.turn_id for one in before.evidence.values()]
        request = DeleteRequest(tenant_id="t", turn_id=turns[1], requester="anna", at_wall_ms=5)
        assert await keeping(store).delete(request) == ["s0"]
        found = await library.find("s0")
        after = await library.read(found)
        assert found.entry.forgotten == [turns[1]]
        assert same_decisions(after)
        assert after.evidence == before.evidence
        evidence = {one.turn_id: one for one in before.evidence.values()}
        first, last = (
            getattr(evidence[turns[1]], name) for name in ("audio_input_ingress_at", "turn_terminal_at")
        )
        missing = after.without_sound | after.withheld_texts
        assert missing
        stamp = {one.turn_id: one.turn_close_at for one in before.stamps.values()}[turns[1]]
        assert all(first <= before.inputs[step][0] <= max(last, stamp) for step in missing)
        sounding = {
            step for step, (at, _) in before.inputs.items() if first <= at <= last
        } - before.without_sound
        assert not (after.inputs.keys() - missing) & {
            step for step in sounding if step in after.without_sound
        }
        others = [said(one) for one in _texts(after) if said(one).strip("xX0 .,?!'")]
        assert others, "what was said in the other turns is still there"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"kind": "crypto_inaccessible"}, "deletion_unsupported"),
        ({"kind": "shred"}, "deletion_invalid"),
        ({"session_id": None}, "deletion_invalid"),
        ({"turn_id": "s/turn-1"}, "deletion_invalid"),
        ({"requester": " "}, "deletion_invalid"),
        ({"tenant_id": ""}, "deletion_invalid"),
        ({"at_wall_ms": 0}, "deletion_invalid"),
        ({"session_id": None, "turn_id": "turn-1"}, "deletion_invalid"),
    ],
)
def test_a_request_to_delete_that_is_not_whole_deletes_nothing(wrong: dict[str, object], code: str) -> None:
    request = DeleteRequest(tenant_id="t", session_id="s", requester="anna", at_wall_ms=5)
    store = MemoryStore()
    with pytest.raises(MisuseError, match=code):
        asyncio.run(keeping(store).delete(msgspec.structs.replace(request, **wrong)))


def test_without_an_audit_record_nothing_is_deleted(tmp_path: Path) -> None:
    class Mute(MemoryStore):
        async def append(self, log: str, record: bytes) -> int:
            raise OSError("no")

    async def main() -> None:
        store = Mute()
        await shelved(store, tmp_path, "s")
        request = DeleteRequest(tenant_id="t", session_id="s", requester="anna", at_wall_ms=5)
        with pytest.raises(Exception, match="audit_sink_write_failed"):
            await keeping(store).delete(request)
        with pytest.raises(Exception, match="audit_sink_write_failed"):
            await keeping(store, rules(metadata="1s")).sweep(await ended_at(store, "s") + 5_000)
        library = Library(store, tmp_path)
        assert (await library.read(await library.find("s"))).whole

    asyncio.run(main())


def test_blobs_that_no_entry_names_are_cleared_after_a_while_and_not_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        store = MemoryStore()
        await shelved(store, tmp_path, "s")
        await store.put_blob("recordings/t/s/left-behind", b"x")
        now, retention = await ended_at(store, "s"), keeping(store)
        await retention.sweep(now)
        await retention.sweep(now + STRAY_MS - 1)
        assert "recordings/t/s/left-behind" in await store.blobs()
        await retention.sweep(now + STRAY_MS)
        assert "recordings/t/s/left-behind" not in await store.blobs()
        library = Library(store, tmp_path)
        assert (await library.read(await library.find("s"))).whole

    asyncio.run(main())


def test_a_policy_says_where_it_comes_from_and_one_that_is_wrong_is_no_default(tmp_path: Path) -> None:
    path = tmp_path / "retention.yaml"
    path.write_text("{name: ours, everybody: {audio_raw: 7d, PHI: 30m}, tenants: {clinic: {text_raw: 1h}}}")
    told = in_force(path, RetentionPolicy(name="plane"))
    assert (told.policy.name, told.source) == ("ours", "file:retention.yaml")
    assert told.policy.window_ms("clinic", PayloadClass.TEXT_RAW) == 3_600_000
    assert told.policy.window_ms("shop", PayloadClass.TEXT_RAW) == 30 * DAY_MS
    assert told.policy.window_ms("shop", PayloadClass.PHI) == 30 * 60_000
    assert in_force(None, RetentionPolicy(name="plane")).source == "snapshot"
    assert in_force(None).source == "default"
    for text in (
        "{everybody: {PHI: 2d}}",
        "{everybody: {PII: 8d}}",
        "{everybody: {audio_raw: 31d}}",
        "{everybody: {audio_raw: soon}}",
        "{everybody: {audio_raw: -1d}}",
        "{everybody: {sound: 1d}}",
        "{everyone: {audio_raw: 1d}}",
        "",
        "{",
    ):
        path.write_text(text)
        with pytest.raises(MisuseError, match="retention_policy_invalid"):
            load(path)
    with pytest.raises(MisuseError, match="retention_policy_invalid"):
        in_force(tmp_path / "none.yaml")


def test_spans_are_read_to_the_letter() -> None:
    assert [span_ms(text) for text in ("250ms", "5s", "90m", "12h", "30d")] == [
        250,
        5_000,
        5_400_000,
        12 * 3_600_000,
        30 * DAY_MS,
    ]


@pytest.mark.proves("F-071")
def test_a_quarter_of_the_sessions_is_recorded_the_others_leave_no_file_and_expired_ones_are_gone(
    tmp_path: Path,
) -> None:
    """400 sessions at 25 %: within four standard deviations of 100; the 5 s of retention are those of the sweep's clock."""
    graph = voice_template()
    (head,) = r.unframe(simulated_bytes()[: next(r.ends(simulated_bytes()))]).records
    assert isinstance(head, r.Head)

    async def main() -> None:
        store = MemoryStore()
        async with exporting(store, tmp_path) as (spool, exporter):
            assert isinstance(spool, Spool)
            recorders = Recorders(spool, lambda *_: Everything(), Sampling(rate=0.25), wall_ms=lambda: 1_000)
            for number in range(400):
                recorder: Recorder = recorders(f"s{number}")
                request = msgspec.structs.replace(head.request, session_id=f"s{number}", tenant_id="t")
                recorder.opened(request, graph)
                recorder.closed()
            await spool.drained()
            folders = {path.name for path in tmp_path.glob("spool/*/*") if path.is_dir()}  # noqa: ASYNC240
            assert await exporter.drain(20_000) == 0
        library = Library(store, tmp_path)
        page = await library.sessions()
        sampled = {one.name for one in page.sessions}
        assert abs(page.total - 100) <= 4 * math.sqrt(400 * 0.25 * 0.75)
        assert spool.meters.sessions_unsampled_total == 400 - page.total
        assert len(folders) <= page.total, "who is not sampled leaves no folder"
        assert all(one.entry.sampled == "rate:0.25" for one in page.sessions)
        unsampled = next(f"s{n}" for n in range(400) if f"s{n}" not in sampled)
        with pytest.raises(MisuseError, match="session_not_found"):
            await library.find(unsampled, "t")
        one = page.sessions[0]
        assert (await library.read(one)).session_id == one.name
        retention = keeping(store, rules(metadata="5s"))
        end = max(each.entry.age_from_ms for each in page.sessions)
        assert await retention.sweep(min(each.entry.age_from_ms for each in page.sessions) + 5_000) == []
        assert len(await retention.sweep(end + 5_001)) == page.total
        with pytest.raises(MisuseError, match="session_not_found"):
            await library.read(one)
        with pytest.raises(MisuseError, match="session_not_found"):
            await library.find(one.name, "t")
        assert await store.blobs() == []
        assert list(tmp_path.glob("spool/*/*/*.seg")) == []  # noqa: ASYNC240

    asyncio.run(main())
