"""What changes is on record before it changes; what is on record cannot be changed, taken out, moved or cut without being found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.security.audit import Audit
from rspp.control.security.audit_export import CHECKPOINTS, exported, make_checkpoint, verify, verify_export
from rspp.control.security.audit_view import AuditQuery, page, unsettled
from rspp.control.security.seals import seal_holds
from rspp.control.security.strangers import RECORDS_MAX, WINDOW_MS, Strangers
from rspp.host.ports import Entry
from rspp.testing.store import MemoryStore
from rspp.timeline.audit import BUCKET, PREFIX, AuditFault, Head, heads
from rspp.timeline.audit import verify as chain_verify
from tests.unit.control.ruled import Ruled
from tests.unit.control.signed import Keys, Pair


async def filled(ruled: Ruled, count: int = 6) -> None:
    for number in range(count):
        ruled.clock.advance(10)
        await ruled.audit.done("ann", "pipelines.publish", "acme", f"r{number}", {"version": f"v{number}"})


async def to_file(ruled: Ruled, path: Path) -> list[bytes]:
    lines = [line async for line in exported(ruled.store, ruled.signer, ruled.now_ms)]
    path.write_bytes(b"".join(lines))  # noqa: ASYNC240 - a test may wait for its disk
    return lines


def raw(ruled: Ruled, writer: str) -> list[bytes]:
    assert isinstance(ruled.store, MemoryStore)
    return ruled.store._logs[PREFIX + writer].records


async def writer_of(ruled: Ruled) -> str:
    return (await ruled.on_record())[-1].writer


# ---- written ----------------------------------------------------------------------------------------------------------


def test_a_change_is_on_record_before_it_is_made_and_its_end_names_its_beginning(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = Ruled(tmp_path)
        async with ruled.audit.change("ann", "rollout.promote", "acme", "better", {"to": "v2"}) as told:
            assert await ruled.said() == [("allow", "ann", "better")]
            told["revision"] = "17"
        with pytest.raises(PeerFault):
            async with ruled.audit.change("ann", "rollout.promote", "acme", "better"):
                raise PeerFault("store_unreachable", "gone")
        with pytest.raises(asyncio.CancelledError):
            async with ruled.audit.change("ann", "rollout.promote", None, "better"):
                raise asyncio.CancelledError
        entries = await ruled.on_record()
        assert [(one.record.decision, one.record.reason) for one in entries] == [
            ("allow", "better"),
            ("done", "better"),
            ("allow", "better"),
            ("failed", "store_unreachable"),
            ("allow", "better"),
            ("failed", "interrupted"),
        ]
        end = entries[1].record
        assert end.facts == {"intent": entries[0].place, "to": "v2", "revision": "17"}
        assert (end.tenant_id, end.principal_id, end.action) == ("acme", "ann", "rollout.promote")
        assert entries[-1].record.tenant_id == "*"

    asyncio.run(main())


class Broken(MemoryStore):
    """A store whose log takes nothing, or takes it and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.late: list[tuple[str, bytes]] = []

    async def append(self, log: str, record: bytes) -> int:
        if self.fault is not None:
            self.late.append((log, record))
            raise self.fault
        return await super().append(log, record)


def test_what_cannot_be_put_on_record_is_not_done(tmp_path: Path) -> None:
    async def main() -> None:
        store = Broken()
        ruled = Ruled(tmp_path, store=store)
        store.fault = PeerFault("store_unreachable", "gone")
        done = False
        with pytest.raises(AuditFault) as error:
            async with ruled.audit.change("ann", "a", None, "r"):
                done = True
        assert error.value.code == "audit_sink_write_failed"
        assert not done

    asyncio.run(main())


def test_a_record_that_arrives_after_it_was_given_up_breaks_no_chain(tmp_path: Path) -> None:
    async def main() -> None:
        store = Broken()
        ruled = Ruled(tmp_path, store=store)
        await filled(ruled, 2)
        for fault in (TimeoutError(), asyncio.CancelledError()):
            store.fault = fault  # type: ignore[assignment]
            with pytest.raises((AuditFault, asyncio.CancelledError)):
                await ruled.audit.done("ann", "a", None, "lost?")
            store.fault = None
            await ruled.audit.done("ann", "a", None, "after it")
            log, record = store.late.pop()
            await store.append(log, record)  # here it comes
            await ruled.audit.done("ann", "a", None, "and on")
        verified = await verify(store, Keys())
        assert verified.broken == ()
        assert verified.records == 8
        assert (await ruled.said("a")).count(("done", "ann", "lost?")) == 2

    asyncio.run(main())


def test_a_change_that_was_made_is_not_said_to_have_failed_and_one_without_an_end_is_named(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        store = Broken()
        ruled = Ruled(tmp_path, store=store)
        async with ruled.audit.change("ann", "a", None, "made"):
            store.fault = PeerFault("store_unreachable", "gone")
        store.fault = None
        async with ruled.audit.change("ann", "b", None, "made"):
            pass
        left = await unsettled(store, 0, ruled.now_ms + 1)
        assert [(one.record.action, one.record.reason) for one in left] == [("a", "made")]
        assert await unsettled(store, 0, ruled.now_ms) == []

    asyncio.run(main())


def test_an_end_in_the_same_millisecond_in_another_log_is_an_end(tmp_path: Path) -> None:
    async def main() -> None:
        for number in range(8):  # whose name sorts first is a matter of chance
            store = Broken()
            ruled = Ruled(tmp_path / str(number), store=store)
            async with ruled.audit.change("ann", "a", None, "made"):
                store.fault = PeerFault("store_unreachable", "gone")
                with pytest.raises(AuditFault):
                    await ruled.audit.done("ann", "other", None, "made")
                store.fault = None
            assert len(await heads(store)) > 1
            assert await unsettled(store, 0, ruled.now_ms + 1) == []

    asyncio.run(main())


def test_a_write_that_is_cancelled_half_way_breaks_no_chain(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = Ruled(tmp_path)
        store = ruled.store
        for steps in range(1, 12):
            await ruled.audit.done("ann", "before", None, "made")
            task = asyncio.create_task(ruled.audit.done("ann", "cancelled", None, "made"))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await ruled.audit.done("ann", "after", None, "made")
        found = await chain_verify(store)
        assert not found.broken
        assert [one.record.action for one in await ruled.on_record()].count("before") == 11

    asyncio.run(main())


def test_a_head_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        writer = await writer_of(ruled)
        await ruled.store.put(BUCKET, writer, b"\xff")
        with pytest.raises(AuditFault) as error:
            await page(ruled.store, AuditQuery())
        assert (error.value.code, error.value.path) == ("audit_chain_broken", f"{BUCKET}:{writer}")
        with pytest.raises(AuditFault):
            await to_file(ruled, tmp_path / "export")

    asyncio.run(main())


def test_strangers_do_not_fill_the_record_and_how_many_were_left_out_is_on_it(tmp_path: Path) -> None:
    async def main() -> None:
        store = Broken()
        ruled = Ruled(tmp_path, store=store)
        strangers = Strangers(ruled.audit, ruled.clock)

        async def come(count: int) -> None:
            await asyncio.gather(
                *(strangers.refused(f"2001:db8::{n:x}", "token_expired") for n in range(count))
            )

        await come(RECORDS_MAX + 900)
        assert len(await ruled.on_record("authenticate")) == RECORDS_MAX
        assert strangers.unrecorded == 900
        ruled.clock.advance(WINDOW_MS)
        store.fault = PeerFault("store_unreachable", "gone")
        with pytest.raises(AuditFault):
            await strangers.refused("a", "token_expired")
        assert strangers.unrecorded == 901
        store.fault = None
        await strangers.refused("b", "token_missing")
        last = (await ruled.on_record("authenticate"))[-1].record
        assert (last.principal_id, last.decision, last.reason) == ("anonymous", "deny", "token_missing")
        assert last.facts == {"address": "b", "unrecorded_before": "901"}
        assert strangers.unrecorded == 0

    asyncio.run(main())


def test_two_processes_of_one_name_write_two_logs_and_hostile_words_are_cut_down(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = Ruled(tmp_path)
        twin = Audit(ruled.store, "control", ruled.clock)
        await asyncio.gather(
            *(one.done("p", "a", None, "r") for one in (ruled.audit, twin) for _ in range(5))
        )
        assert (await verify(ruled.store, Keys())).logs == 2
        facts = {f"f{n}" * 400: "v" * 10_000 for n in range(100)}
        entry = await ruled.audit.denied("p\ud800" * 300, "a", "t" * 9_999, "r\ud800\x00", facts)
        assert len(entry.record.facts) <= 32
        verified = await verify(ruled.store, Keys())
        assert (verified.broken, verified.records) == ((), 11)

    asyncio.run(main())


# ---- read -------------------------------------------------------------------------------------------------------------


def test_the_list_is_newest_first_over_all_writers_and_its_pages_miss_and_repeat_nothing(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        ruled = Ruled(tmp_path)
        writers = [ruled.audit, *(Audit(ruled.store, f"w{n}", ruled.clock) for n in range(3))]
        for number in range(700):  # more than two lots of one writer
            if number % 3 == 0:
                ruled.clock.advance(1)
            tenant = "acme" if number % 5 else "other"
            await writers[number % 4 if number < 100 else 0].done("p", f"a{number % 2}", tenant, str(number))

        async def all_of(**asked: Any) -> list[str]:
            found: list[str] = []
            after = None
            while True:
                one = await page(ruled.store, AuditQuery(limit=37, after=after, **asked))
                found += [entry.record.reason for entry in one.entries]
                after = one.next
                if after is None:
                    return found

        everything = await all_of()
        assert sorted(map(int, everything)) == list(range(700))
        at = {entry.record.reason: entry.record.at_wall_ms for entry in await ruled.on_record()}
        times = [at[reason] for reason in everything]
        assert times == sorted(times, reverse=True)
        assert sorted(map(int, await all_of(tenant_id="other"))) == list(range(0, 700, 5))
        assert sorted(map(int, await all_of(tenant_id="other", action="a1"))) == list(range(5, 700, 10))
        assert await all_of(tenant_id="nobody") == []
        middle = at["350"]
        since, until = await all_of(since_ms=middle), await all_of(until_ms=middle)
        assert sorted(since + until) == sorted(everything)
        assert all(at[reason] >= middle for reason in since)

    asyncio.run(main())


@pytest.mark.parametrize("after", ["", "x", "1:2", "1:2:", "-1:2:w", "1:2:" + "w" * 1_000, "\ud800:1:w"])
def test_a_place_in_the_list_that_is_none_is_refused(after: str) -> None:
    with pytest.raises(MisuseError):
        asyncio.run(page(MemoryStore(), AuditQuery(after=after)))
    for limit in (0, -1, 1_001):
        with pytest.raises(MisuseError):
            asyncio.run(page(MemoryStore(), AuditQuery(limit=limit)))


# ---- verified ---------------------------------------------------------------------------------------------------------


def on_disk(harm: Callable[[list[Any]], object], path: Path) -> None:
    """Do something to the lines of a file."""
    lines = path.read_bytes().splitlines(keepends=True)
    harm(lines)
    path.write_bytes(b"".join(lines))


def edited(line: bytes, **changes: Any) -> bytes:
    """The line of one record with other fields; with a digest that fits, as a careful forger would."""
    import hashlib

    one = json.loads(line)
    record = msgspec.json.encode(one["record"] | changes, order="deterministic")
    digest = hashlib.sha256(record).hexdigest()
    return b'{"writer":"%s","digest":"%s","record":%s}\n' % (one["writer"].encode(), digest.encode(), record)


@pytest.mark.proves("F-170")
@pytest.mark.parametrize(
    ("harm", "place"),
    [
        (lambda lines: lines.__setitem__(3, lines[3].replace(b"r2", b"rX")), "line 4: {log}[3] is not"),
        (lambda lines: lines.__setitem__(3, edited(lines[3], reason="rX")), "line 5: {log}[4] does not follow"),
        (lambda lines: lines.__setitem__(6, edited(lines[6], reason="rX")), "line 8: the checkpoint knows {log}[6]"),
        (lambda lines: lines.pop(3), "line 4: {log}[3] does not follow"),
        (lambda lines: lines.insert(3, lines[3]), "line 5: {log}[4] does not follow"),
        (lambda lines: lines.__setitem__(slice(3, 5), [lines[4], lines[3]]), "line 4: {log}[3] does not follow"),
        (lambda lines: lines.pop(6), "line 7: the checkpoint knows {log}[6]"),
        (lambda lines: lines.pop(7), "line 8: the checkpoint is missing"),
        (lambda lines: lines.__delitem__(slice(3, None)), "line 4: the checkpoint is missing"),
        (lambda lines: lines.clear(), "line 1: the checkpoint is missing"),
        (lambda lines: lines.__setitem__(5, lines[5][:-9]), "line 6: "),
        (lambda lines: lines.append(lines[2]), "line 9: something follows"),
        (lambda lines: lines.__setitem__(0, lines[0].replace(b"at_ms\":1", b"at_ms\":2")), "line 8: the checkpoint is of"),
        (lambda lines: lines.__setitem__(4, b"\xff\n"), "line 5: it cannot be read"),
        (lambda lines: lines.__setitem__(7, lines[7].replace(b'"records":6', b'"records":7')), "line 8: the checkpoint is not"),
    ],
)  # fmt: skip
def test_an_export_that_was_touched_is_found_and_the_place_is_named(
    tmp_path: Path, harm: Callable[[list[Any]], object], place: str
) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        for entry in await ruled.store.keys(BUCKET):
            await ruled.store.delete(BUCKET, entry)  # of the beginning: one log is easier to count in
        own = Audit(ruled.store, "own", ruled.clock)
        ruled.audit = own
        await filled(ruled)
        path = tmp_path / "audit.jsonl"
        assert len(await to_file(ruled, path)) == 8
        found = verify_export(path, ruled.ring)
        assert (found.logs, found.records, found.broken) == (1, 6, ())
        on_disk(harm, path)
        log = PREFIX + await writer_of(ruled)
        broken = verify_export(path, ruled.ring).broken
        assert len(broken) == 1
        assert broken[0].startswith(place.format(log=log))

    asyncio.run(main())


def test_every_flipped_bit_of_an_export_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        await filled(ruled, 1)
        path = tmp_path / "audit.jsonl"
        data = b"".join(await to_file(ruled, path))
        for place in range(0, len(data), 5):
            flipped = bytearray(data)
            flipped[place] ^= 1 << (place % 8)
            path.write_bytes(flipped)
            assert verify_export(path, ruled.ring).broken != (), (place, data[place : place + 20])

    asyncio.run(main())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_a_file_that_is_no_export_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert verify_export(path, Keys()).broken != ()


def test_only_a_key_of_the_deployment_seals_an_export(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        await filled(ruled)
        path = tmp_path / "audit.jsonl"
        await to_file(ruled, path)
        assert "not sealed by a key" in verify_export(path, Keys()).broken[0]
        # A forger rewrites everything and seals it with a key of their own.
        forger = Pair(9)
        lines = [line async for line in exported(ruled.store, forger.signer, ruled.now_ms)]
        path.write_bytes(b"".join(lines))
        assert verify_export(path, Keys(forger.record)).broken == ()
        assert "not sealed by a key" in verify_export(path, ruled.ring).broken[0]
        # The file outlives its key: over age is not revoked.
        await to_file(ruled, path)
        ruled.clock.advance(10**9)
        await ruled.ring.load()
        assert verify_export(path, ruled.ring).broken == ()
        await ruled.rotation.revoke(ruled.rotation.list()[0].kid, "ann", "leaked")
        assert "not sealed by a key" in verify_export(path, ruled.ring).broken[0]

    asyncio.run(main())


def test_every_flipped_byte_in_the_store_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = Ruled(tmp_path)
        await filled(ruled, 3)
        log = raw(ruled, await writer_of(ruled))
        for number, record in enumerate(log):
            for place in range(0, len(record), 2):
                flipped = bytearray(record)
                flipped[place] ^= 1 << (place % 7)
                log[number] = bytes(flipped)
                (broken,) = (await verify(ruled.store, Keys())).broken
                # The place is where the chain breaks: the record itself, or the next one, which vouches for it.
                assert broken in {f"{PREFIX}{await _name(ruled)}[{n}]" for n in (number + 1, number + 2)}
            log[number] = record
        assert (await verify(ruled.store, Keys())).broken == ()

    async def _name(ruled: Ruled) -> str:
        return next(iter(await heads(ruled.store)))

    asyncio.run(main())


def test_a_log_that_was_rewritten_together_with_its_head_is_found_by_a_sealed_checkpoint(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        await filled(ruled)
        writer = await writer_of(ruled)
        kept = await make_checkpoint(ruled.store, ruled.signer, ruled.now_ms)
        assert seal_holds(
            ruled.ring,
            "audit-checkpoint",
            msgspec.json.encode(kept.checkpoint, order="deterministic"),
            kept.seal,
        )
        await filled(ruled, 2)  # the log has grown since
        assert (await verify(ruled.store, ruled.ring, [kept])).broken == ()
        # Who can write to the store cuts the log and mends its head ...
        log = raw(ruled, writer)
        length = kept.checkpoint.heads[writer].count - 2
        del log[length:]
        import hashlib

        head = Head(length, hashlib.sha256(log[-1]).hexdigest())
        await ruled.store.put(BUCKET, writer, msgspec.json.encode(head))
        assert (await verify(ruled.store, ruled.ring)).broken == (f"{PREFIX}{writer}[{length + 1}]",)
        # ... and the checkpoints in the store; a copy that was kept elsewhere still knows.
        await ruled.store.trim(CHECKPOINTS, 1)
        assert (await verify(ruled.store, ruled.ring)).broken == ()
        assert (await verify(ruled.store, ruled.ring, [kept])).broken == (f"{PREFIX}{writer}[{length + 1}]",)
        # A checkpoint that nobody sealed is not believed.
        forged = msgspec.structs.replace(kept, checkpoint=msgspec.structs.replace(kept.checkpoint, records=1))
        await ruled.store.append(CHECKPOINTS, msgspec.json.encode(forged))
        await ruled.store.append(CHECKPOINTS, b"\xff")
        found = (await verify(ruled.store, ruled.ring)).broken
        assert found == (f"{CHECKPOINTS}[2]", f"{CHECKPOINTS}[3]")

    asyncio.run(main())


def test_a_log_that_is_broken_is_not_exported(tmp_path: Path) -> None:
    async def main() -> None:
        ruled = await Ruled(tmp_path).begin()
        await filled(ruled)
        log = raw(ruled, await writer_of(ruled))
        log[2] = log[2].replace(b"done", b"deny").replace(b"allow", b"deny!")
        with pytest.raises(AuditFault) as error:
            await to_file(ruled, tmp_path / "audit.jsonl")
        assert error.value.code == "audit_chain_broken"
        assert error.value.path is not None
        assert error.value.path.endswith("[4]")

    asyncio.run(main())


def test_nothing_here_edits_or_deletes_a_record(tmp_path: Path) -> None:
    """Whatever the audit's own calls do to the store, they append records and raise heads."""

    class Watched(MemoryStore):
        async def delete(self, bucket: str, key: str) -> None:
            raise AssertionError(f"{bucket}/{key} was deleted")

        async def trim(self, log: str, through: int) -> None:
            assert not log.startswith(PREFIX), f"{log} was trimmed"

        async def put(self, bucket: str, key: str, value: bytes, **asked: Any) -> int | None:
            if bucket == BUCKET:
                old: Entry | None = await self.get(bucket, key)
                was = msgspec.json.decode(old.value, type=Head).count if old else -1
                assert msgspec.json.decode(value, type=Head).count > was
            return await super().put(bucket, key, value, **asked)

    async def main() -> None:
        store = Watched()
        audit = Audit(store, "w")
        calls: list[Callable[..., Awaitable[object]]] = [
            audit.allowed,
            audit.done,
            audit.failed,
            audit.denied,
        ]
        for call in calls:
            await call("p", "a", None, "r")
        async with audit.change("p", "a", None, "r"):
            pass
        public = {name for name in dir(audit) if not name.startswith("_")}
        assert public == {"allowed", "change", "denied", "done", "failed"}

    asyncio.run(main())
