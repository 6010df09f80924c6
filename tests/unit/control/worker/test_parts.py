"""A worker of a fleet as it is put together: over a real file, with a control plane beside it and scripted providers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from rspp.contract.event import NS_PER_MS
from rspp.contract.words import ConnectionState
from rspp.control.authority.leases import LeaseState
from rspp.control.commands import Command, CommandKind, Commands, Outcome, new_command_id
from rspp.control.config.policy import FLEET
from rspp.control.fleet.residency import Residencies, Residency
from rspp.control.fleet.status import SessionWord
from rspp.control.fleet.status_writer import status_of
from rspp.control.intake.limits import QuotaRecord
from rspp.control.intake.quotas import Limit, TenantLimits
from rspp.control.operations.routes import CreateRoute, create
from rspp.control.plane import ControlPlane, PlaneSettings, os_principal
from rspp.control.security.audit_view import AuditQuery, page
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.stores import open_store
from rspp.control.worker import Worker, WorkerSettings
from rspp.control.worker import parts as parts_module
from rspp.control.worker.parts import FleetParts, PartsSettings
from rspp.host.clock import MachineClock
from rspp.host.host import Host
from rspp.host.meters import Meters
from rspp.host.ports import Bootstrap, Refused, Store
from rspp.host.recorder import MemoryRecorder
from rspp.host.secrets import Secrets
from rspp.kernel import inputs as i
from tests.unit.host.stage import SPEC, Caller, VirtualClock, bootstrap_of, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ENDPOINT = "ws://here"


class RealClock(VirtualClock):
    """The machine's, as a caller of the stage wants it."""

    now, wall = MachineClock().now, MachineClock().wall


class Fleet:
    def __init__(self, store: Store, plane: ControlPlane, parts: FleetParts, worker: Worker) -> None:
        self.store, self.plane, self.parts, self.worker = store, plane, parts, worker

    async def token(self, tenant: str = "acme") -> str:
        await self.plane.look_at_fleet()
        return (await create(self.plane, os_principal(), CreateRoute(tenant=tenant))).token

    async def call(self, token: str | None, tenant: str = "acme") -> Caller:
        caller = Caller(RealClock())
        bootstrap: Bootstrap = bootstrap_of(tenant, token=token, transport_kind="websocket", resume="own")
        caller.seat = await self.worker.enter(bootstrap, caller)  # type: ignore[assignment]
        caller.give(i.ConnectionChanged(ConnectionState.CONNECTED))
        return caller

    async def denials(self) -> list[str]:
        entries = (await page(self.store, AuditQuery(decision="deny"))).entries
        return [entry.record.reason for entry in entries]


async def met(condition: Callable[[], Awaitable[object]], within_s: float = 10) -> None:
    for _ in range(int(within_s / 0.02)):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to that in time")


@asynccontextmanager
async def fleet_in(folder: Path) -> AsyncIterator[Fleet]:
    store = open_store(f"sqlite:///{folder / 'fleet.db'}", Secrets())
    clock, meters = MachineClock(), Meters()
    keys = KeyFolder(folder / "keys")
    first_key(keys, clock.wall() // NS_PER_MS)
    plane = ControlPlane(store, keys=keys, settings=PlaneSettings(name="plane"))
    await plane.load()
    await plane.registry.publish(SPEC, "ada")
    await plane.rollouts.begin("stage", "v1", author="ada")
    parts = FleetParts(store, clock, PartsSettings(name="w", endpoints=(ENDPOINT,)), meters)
    host = Host(
        registry_of(),
        recorders=parts.recorders(lambda _: MemoryRecorder()),
        snapshots=parts.snapshot,
        state=parts.state,
        meters=meters,
    )
    await host.start()
    worker = parts.worker(host, WorkerSettings(name="w", endpoint=ENDPOINT))
    await parts.start()
    await worker.start()
    parts.obey()
    running = asyncio.get_running_loop().create_task(plane.run())
    fleet = Fleet(store, plane, parts, worker)

    async def seen() -> bool:
        await plane.look_at_fleet()
        return any(place.ready for place in (await plane.routing.current()).places)

    await met(seen)
    try:
        yield fleet
    finally:
        await worker.stop()
        assert await host.stop() == []
        await parts.stop()
        running.cancel()
        await asyncio.wait([running])
        await store.close()
    mine = asyncio.current_task()
    left = [task.get_name() for task in asyncio.all_tasks() if task is not mine]
    assert [name for name in left if name.startswith(("part:", "worker:", "host:"))] == []


def test_a_caller_with_a_route_is_served_counted_and_seen_and_an_order_is_obeyed(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path) as fleet:
            token = await fleet.token()
            caller = await fleet.call(token)
            assert caller.seat is not None
            session = caller.seat.session_id
            held = await fleet.worker.leases.get("acme", session)
            assert held is not None
            assert held.lease.owner == fleet.worker.id
            assert held.lease.token_id
            assert caller.seat.epoch == held.epoch
            caller.give(i.TextReceived("hello", 0))
            await caller.until("commit")

            async def word() -> SessionWord | None:
                entry = await fleet.store.get("status", f"acme/{session}")
                status = status_of(entry) if entry is not None else None
                return status.state if status is not None else None

            await met(lambda: _is(word, SessionWord.RUNNING))
            with pytest.raises(Refused, match="session_exists"):
                await fleet.call(token)  # a token opens once
            order = Command(id=new_command_id(), kind=CommandKind.CLOSE, tenant="acme", session=session)
            result = await Commands(fleet.store).ask(fleet.worker.id, order)
            assert result is not None
            assert result.outcome is Outcome.DONE
            await met(lambda: _is(word, SessionWord.ENDED))
            await met(lambda: _none_owned(fleet))
            held = await fleet.worker.leases.get("acme", session)
            assert held is not None
            assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "operator")
            await fleet.worker.slots.settled()  # type: ignore[attr-defined]
            assert fleet.worker.slots.held == {}  # type: ignore[attr-defined]
            assert await fleet.store.keys("state", "acme/") == []

    asyncio.run(main())


async def _is(word: Callable[[], Awaitable[object]], wanted: object) -> bool:
    return await word() is wanted


async def _none_owned(fleet: Fleet) -> bool:
    return not fleet.worker.owned


def test_policy_quotas_and_residency_hold_and_what_they_deny_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with fleet_in(tmp_path) as fleet:
            plane, parts = fleet.plane, fleet.parts
            for token, tenant in ((None, "acme"), ("a guess", "acme"), (await fleet.token(), "another")):
                with pytest.raises(Refused, match="token_refused: the token does not open this door"):
                    await fleet.call(token, tenant)
            tokens = [await fleet.token() for _ in range(3)]
            elsewhere = await fleet.token("far")

            policy = plane.policies
            await policy.publish(FLEET, "v1", json.dumps({"facts": {"greeting": "short"}}), author="ada")
            await policy.put_in_force(FLEET, "v1", author="ada")
            limits = TenantLimits(sessions=Limit(most=1))
            await parts.quotas.put(
                QuotaRecord(tenant="acme", limits=limits, author="ada", reason="test", at_ms=1)
            )
            far = Residency(tenant_id="far", process=("elsewhere",), author="ada", reason="law")
            await Residencies(fleet.store).put(far)
            await parts.residencies.refresh()
            graph = parts.view.graph(parts.view.choose("acme", "s"))

            async def in_force() -> bool:
                snapshot = parts.snapshot(parts.clock.now(), "acme", graph)
                return (
                    snapshot is not None
                    and snapshot.facts.get("greeting") == "short"
                    and parts.quotas.of("acme").sessions.most == 1
                )

            await met(in_force)
            await fleet.call(tokens[0])
            with pytest.raises(Refused, match="cp_admission_reject_quota") as refusal:
                await fleet.call(tokens[1])
            assert refusal.value.retry_after_ms
            with pytest.raises(Refused, match="residency_denied"):
                await fleet.call(elsewhere, "far")
            wanted = {"residency_denied", "token_missing", "token_malformed", "token_tenant_wrong"}

            async def recorded() -> bool:
                return wanted <= set(await fleet.denials())

            await met(recorded)

    asyncio.run(main())


def test_parts_that_stop_while_the_store_is_away_stop_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "FLUSH_S", 0.2)

    async def main() -> None:
        async with fleet_in(tmp_path) as fleet:

            async def never(*_: object) -> int:
                await asyncio.Event().wait()
                return 0

            fleet.parts.status.flush = never  # type: ignore[method-assign, assignment]
            began = asyncio.get_running_loop().time()
            await fleet.parts.stop()
            assert asyncio.get_running_loop().time() - began < 5
            assert not fleet.parts._tasks.names()

    asyncio.run(main())


def test_settings_take_nothing_that_they_do_not_know() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "w", "open_dor": True}, PartsSettings)
