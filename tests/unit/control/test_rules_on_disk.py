"""Keys, principals, approvals and the audit log do on a store of a file what they do in memory, also when it is opened again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import PeerFault
from rspp.control.security.approvals import PRODUCTION, ApprovalPolicy, Approvals
from rspp.control.security.audit_export import exported, make_checkpoint, verify, verify_export
from rspp.control.security.principals import EVERYWHERE, Principal, Principals, Role
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock
from rspp.testing.cluster import NatsCluster
from tests.unit.control.ruled import Ruled
from tests.unit.control.signed import claims

WHAT = ("rollout.change", "voice", "a" * 64)
BEN = Principal(id="ben", roles={EVERYWHERE: (Role.ADMIN,)})


def test_what_was_decided_before_a_restart_holds_after_it(tmp_path: Path) -> None:
    clock = ManualClock()
    restarted(tmp_path, lambda: SqliteStore(tmp_path / "control.db", clock))


@pytest.mark.slow
def test_what_was_decided_before_a_restart_holds_after_it_on_jetstream(tmp_path: Path) -> None:
    async def main() -> None:
        async with NatsCluster(tmp_path / "nats", nodes=1) as nats:
            url = nats.store_url
            await asyncio.to_thread(restarted, tmp_path, lambda: open_store(url, Secrets()))

    asyncio.run(main())


def restarted(folder: Path, store: Callable[[], Store]) -> None:
    def opened() -> Ruled:
        return Ruled(folder, store=store())

    async def before() -> str:
        ruled = await opened().begin()
        people = Principals(ruled.store, ruled.audit, ruled.clock)
        ann = await people.first_admin("ann", "os:me")
        approvals = Approvals(ruled.store, ruled.audit, ruled.signer, ruled.ring, ruled.clock)
        await approvals.set_policy(ann, ApprovalPolicy(kinds=PRODUCTION))
        proposal = await approvals.propose(ann, *WHAT)
        await approvals.approve(BEN, proposal.id)
        await make_checkpoint(ruled.store, ruled.signer, ruled.now_ms)
        token = ruled.signer.sign(claims(iat_ms=ruled.now_ms, exp_ms=ruled.now_ms + 5_000))
        await ruled.store.close()
        return token

    async def after() -> None:
        ruled = opened()
        await ruled.rotation.adopt("os:again")
        assert len(ruled.rotation.list()) == 1  # the key that was there
        ann = (await Principals(ruled.store, ruled.audit, ruled.clock).list())[0]
        approvals = Approvals(ruled.store, ruled.audit, ruled.signer, ruled.ring, ruled.clock)
        used = await approvals.require(*WHAT, ann)
        assert used is not None
        assert used.decided_by == "ben"
        with pytest.raises(PeerFault):
            await approvals.require(*WHAT, ann)
        found = await verify(ruled.store, ruled.ring)
        assert found.broken == ()
        assert found.logs == 2  # one each life
        path = folder / "audit.jsonl"
        lines = [line async for line in exported(ruled.store, ruled.signer, ruled.now_ms)]
        path.write_bytes(b"".join(lines))
        assert verify_export(path, ruled.ring).records == found.records
        assert len(await ruled.on_record()) == found.records
        await ruled.store.close()

    asyncio.run(before())
    asyncio.run(after())
