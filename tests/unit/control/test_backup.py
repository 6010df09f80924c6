"""A control plane's store is lost; the backup brings it back whole, or is refused before anything is written."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.control import backup as files
from rspp.control.backup import RPO_MS, RTO_MS
from rspp.control.config.rollout import canary
from rspp.control.names import CONFIG
from rspp.control.operations import operation_named
from rspp.control.operations.backup import RestoreBackup
from rspp.control.operations.calling import call
from rspp.control.plane import ControlPlane, os_principal
from rspp.control.security.approvals import PRODUCTION, ApprovalPolicy, ProposalState
from rspp.control.security.keys import KeyState
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.host.ports import Store
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.control.published import spec_text
from tests.unit.control.ruled import Ruled

BUCKETS = ("config", "keys")


def run_backup(store: Store, now_ms: int = 1_000) -> bytes:
    return asyncio.run(files.make(store, BUCKETS, made_by="ada", now_ms=now_ms))


async def filled() -> MemoryStore:
    store = MemoryStore()
    await store.put("config", "pointer/policy/acme", b"to v1")
    await store.put("config", "policy/acme/v1", b"\x00\xff text")
    await store.put("keys", "k", b"public")
    await store.put("members", "w-1", b"gone with its process")
    return store


@pytest.mark.proves("F-166", "NF-031")
def test_after_the_store_is_destroyed_the_next_session_gets_the_right_versions_in_time(
    tmp_path: Path,
) -> None:
    """Timed, from a real file to another: pipeline, rollout, policy and roles are back, within the promised times; and a
    backup that is too old is told as a breach.
    """

    async def main() -> None:
        first = SqliteStore(tmp_path / "first.db")
        plane = ControlPlane(first)
        for version in ("v1", "v1.1"):
            await plane.registry.publish(spec_text(version), "ada")
        await plane.rollouts.begin("voice", "v1", author="ada")
        await plane.rollouts.change(
            "voice",
            "canary",
            lambda now: canary(now, "v1.1", 0, ("acme",)),
            author="ada",
            reason="acme first",
        )
        await plane.policies.publish("acme", "p7", "tier: gold", author="ada")
        await plane.policies.put_in_force("acme", "p7", author="ada", reason="r")
        await plane.principals.first_admin("ada", "test")
        data = await files.make(first, plane.kept_buckets, made_by="ada", now_ms=plane.wall_ms())
        await first.close()
        (tmp_path / "first.db").unlink()

        second = SqliteStore(tmp_path / "second.db")
        began = time.monotonic()
        restored = ControlPlane(second)
        asked = RestoreBackup(data=data.decode(), reason="the store was lost")
        result = await call(restored, os_principal(), operation_named("backup.restore"), asked)
        assert await restored.version_for("acme", "s-1", None) == "voice@v1.1"
        assert await restored.version_for("bolt", "s-1", None) == "voice@v1"
        assert int((time.monotonic() - began) * 1_000) < RTO_MS
        in_force = await restored.policies.in_force("acme")
        assert in_force is not None
        assert in_force.version == "p7"
        assert await restored.principals.list() == [Principal(id="ada", roles={EVERYWHERE: (Role.ADMIN,)})]
        assert (result.within_rpo, result.within_rto) == (True, True)
        assert result.took_ms < RTO_MS
        assert result.data_loss_ms < 60_000
        assert await files.results(second) == [result]
        found = files.read(data, restored.kept_buckets)
        stale = files.result_of(found, 0, now_ms=found.header.made_at_ms + RPO_MS + 1, took_ms=1)
        assert (stale.within_rpo, stale.within_rto) == (False, True)
        assert not files.result_of(found, 0, now_ms=found.header.made_at_ms, took_ms=RTO_MS + 1).within_rto
        await second.close()

        broken = bytearray(data)
        broken[len(broken) // 2] ^= 1
        third = ControlPlane(MemoryStore())
        text = RestoreBackup(data=broken.decode(errors="replace"), reason="r")
        with pytest.raises(PeerFault, match="backup_corrupt"):
            await call(third, os_principal(), operation_named("backup.restore"), text)
        assert await third.store.keys(CONFIG) == []

    asyncio.run(main())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_byte_that_is_another_a_cut_and_an_addition_are_all_found(data: st.DataObject) -> None:
    whole = run_backup(asyncio.run(filled()))
    at = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(("flip", "cut", "add", "double")))
    if kind == "flip":
        changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    elif kind == "cut":
        changed = whole[:at]
    elif kind == "add":
        changed = whole + b"\n"
    else:
        changed = whole + whole.splitlines(keepends=True)[-1]
    with pytest.raises(RsppError, match=r"backup_corrupt|backup_unsupported"):
        files.read(changed, BUCKETS)


def test_equal_stores_make_equal_backups_and_what_is_gone_with_its_process_is_not_in_it() -> None:
    one, two = run_backup(asyncio.run(filled())), run_backup(asyncio.run(filled()))
    assert one == two
    assert b"members" not in one
    assert [entry.key for entry in files.read(one, BUCKETS).entries] == [
        "pointer/policy/acme",
        "policy/acme/v1",
        "k",
    ]


def test_what_points_in_a_backup_points_at_what_is_in_it_though_versions_are_published_meanwhile() -> None:
    class Moving(MemoryStore):
        async def get(self, bucket: str, key: str) -> Any:
            if key.startswith("pointer/"):
                await self.put("config", "policy/acme/v2", b"new")
                await self.put("config", "pointer/policy/acme", b"to v2")
            return await super().get(bucket, key)

    async def main() -> None:
        store = Moving()
        await store.put("config", "pointer/policy/acme", b"to v1")
        await store.put("config", "policy/acme/v1", b"old")
        found = files.read(await files.make(store, BUCKETS, made_by="a", now_ms=1), BUCKETS)
        assert [entry.key for entry in found.entries] == [
            "pointer/policy/acme",
            "policy/acme/v1",
            "policy/acme/v2",
        ]

    asyncio.run(main())


def test_a_backup_that_would_write_elsewhere_is_refused() -> None:
    data = asyncio.run(files.make(asyncio.run(filled()), ("config", "members"), made_by="a", now_ms=1))
    with pytest.raises(PeerFault, match="it would write into members"):
        files.read(data, BUCKETS)


def test_what_points_is_written_after_what_it_points_to() -> None:
    order: list[str] = []

    class Watched(MemoryStore):
        async def put(self, bucket: str, key: str, value: bytes, **how: int | None) -> int | None:
            order.append(key)
            return await super().put(bucket, key, value, **how)

    found = files.read(run_backup(asyncio.run(filled())), BUCKETS)
    assert asyncio.run(files.restore(Watched(), found)) == (3, 0)
    assert order[-1] == "pointer/policy/acme"


def test_a_store_with_other_values_is_overwritten_only_by_who_says_so() -> None:
    async def main() -> None:
        found = files.read(await files.make(await filled(), BUCKETS, made_by="a", now_ms=1), BUCKETS)
        store = MemoryStore()
        await store.put("config", "policy/acme/v1", b"newer")
        with pytest.raises(MisuseError, match="backup_store_not_empty"):
            await files.restore(store, found)
        assert await store.keys("keys") == []
        assert await files.restore(store, found, replace=True) == (3, 0)
        assert await files.restore(store, found) == (0, 0)

    asyncio.run(main())


ANN = Principal(id="ann", roles={EVERYWHERE: (Role.ADMIN,)})
BEN = Principal(id="ben", roles={EVERYWHERE: (Role.ADMIN,)})
DIGEST = "a" * 64


async def plane_in(folder: Path) -> ControlPlane:
    ruled = await Ruled(folder).begin()
    plane = ControlPlane(ruled.store, clock=ruled.clock, keys=ruled.folder)
    await plane.load()
    return plane


async def restored(plane: ControlPlane, data: bytes, by: Principal = ANN) -> files.Restored:
    asked = RestoreBackup(data=data.decode(), replace=True, reason="r")
    found = await call(plane, by, operation_named("backup.restore"), asked)
    assert isinstance(found, files.Restored)
    return found


def test_what_was_revoked_removed_withdrawn_or_used_since_the_backup_stays_so_whoever_says_replace(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        clock = plane.clock
        assert isinstance(clock, ManualClock)
        await plane.rotation.rotate("ann", "second", at_once=True)
        kid = plane.rotation.list()[-1].kid
        await plane.principals.first_admin("ann", "test")
        for name in ("gone", "stolen"):
            await plane.principals.add(ANN, name)
            await plane.principals.grant(ANN, name, EVERYWHERE, Role.VIEWER)
        proposed = [await plane.approvals.propose(ANN, "x.y", f"t{n}", DIGEST) for n in range(3)]
        for one in proposed:
            await plane.approvals.approve(BEN, one.id)
        opened = await plane.approvals.propose(ANN, "x.y", "t3", DIGEST)
        data = await files.make(plane.store, plane.kept_buckets, made_by="ann", now_ms=plane.wall_ms())

        clock.advance(1_000)
        await plane.principals.remove(ANN, "gone", "left")
        await plane.principals.withdraw_tokens(ANN, "stolen", "a laptop")
        await plane.approvals.set_policy(ANN, ApprovalPolicy(kinds=("x.y",)))
        await plane.approvals.require("x.y", "t0", DIGEST, ANN)
        await plane.approvals.reject(BEN, opened.id)
        await plane.rotation.revoke(kid, "ann", "stolen")
        await plane.principals.grant(ANN, "stolen", EVERYWHERE, Role.OPERATOR)

        result = await restored(plane, data)
        assert result.kept == 5
        await plane.keyring.load()
        record = next(one for one in plane.keyring.records if one.kid == kid)
        assert record.state is KeyState.REVOKED
        assert await plane.principals.get("gone") is None
        stolen = await plane.principals.get("stolen")
        assert stolen is not None
        assert stolen.roles == {EVERYWHERE: (Role.VIEWER,)}  # as the backup has it
        assert stolen.tokens_from_ms > clock.wall() // 1_000_000 - 10
        states = [await plane.approvals.get(one.id) for one in (*proposed, opened)]
        assert [one.state for one in states if one] == [
            ProposalState.USED,
            ProposalState.APPROVED,
            ProposalState.APPROVED,
            ProposalState.REJECTED,
        ]
        assert (await restored(plane, data)).written == 0

    asyncio.run(main())


def test_where_changes_wait_for_consent_a_restore_does_too_and_is_no_way_around_it(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await plane_in(tmp_path)
        await plane.registry.publish(spec_text("v1"), "ann")
        data = await files.make(plane.store, plane.kept_buckets, made_by="ann", now_ms=plane.wall_ms())
        await plane.approvals.set_policy(ANN, ApprovalPolicy(kinds=PRODUCTION))
        with pytest.raises(PeerFault, match="approval_missing"):
            await restored(plane, data)
        digest = files.read(data, plane.kept_buckets).header.sha256
        propose, approve = operation_named("approvals.propose"), operation_named("approvals.approve")
        wish = {"tenant": "*", "operation": "backup.restore", "request": {"sha256": digest}, "reason": "r"}
        proposed = await call(plane, ANN, propose, msgspec.convert(wish, propose.request))
        seen = {"tenant": "*", "proposal": proposed.proposal, "reason": "r"}
        await call(plane, BEN, approve, msgspec.convert(seen, approve.request))
        await restored(plane, data)
        with pytest.raises(PeerFault, match="approval_missing"):
            await restored(plane, data)

    asyncio.run(main())
