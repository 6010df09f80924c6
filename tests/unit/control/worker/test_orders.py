from __future__ import annotations

import asyncio

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.authority.leases import LeaseState
from rspp.control.commands import Command, CommandKind, Commands, Outcome, Result, new_command_id
from rspp.control.fleet.regions import Region, RegionMode, Regions
from rspp.control.worker import Worker
from rspp.control.worker.orders import Orders
from rspp.host.ports import Refused
from rspp.kernel import inputs as i
from tests.unit.control.worker.stage import Stage, on_stage, turn


async def obeying(stage: Stage, name: str) -> tuple[Worker, Orders]:
    worker = await stage.worker(name)
    orders = Orders(worker, stage.store, stage.clock)
    worker.tasks.spawn(orders.run(), "orders")
    worker.tasks.spawn(orders.follow_region(), "region")
    return worker, orders


async def told(stage: Stage, worker: Worker, kind: CommandKind, session: str = "s1") -> Result:
    command = Command(id=new_command_id(), kind=kind, tenant="t1", session=session, by="ada")
    result = await Commands(stage.store).ask(worker.id, command)
    assert result is not None
    return result


def test_an_operator_cuts_an_answer_short_and_the_call_goes_on() -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        caller = await stage.call(worker)
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until("turn_open")
        assert (await told(stage, worker, CommandKind.CANCEL)).outcome is Outcome.DONE
        await caller.until("abort")
        assert not caller.closed
        await turn(caller, "another one", 1)

    on_stage(scene)


def test_an_operator_ends_a_session_and_sends_another_one_elsewhere() -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        second = await stage.worker("b")
        await stage.call(worker, "s1")
        caller = await stage.call(worker, "s2")
        assert (await told(stage, worker, CommandKind.CLOSE, "s1")).outcome is Outcome.DONE
        assert (await told(stage, worker, CommandKind.MIGRATE, "s2")).outcome is Outcome.DONE
        await asyncio.sleep(0.2)
        assert caller.closed == "migrated"
        await stage.back(second, "s2")
        held = await second.leases.get("t1", "s1")
        assert held is not None
        assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "operator")

    on_stage(scene)


@pytest.mark.parametrize("kind", [CommandKind.CANCEL, CommandKind.CLOSE, CommandKind.MIGRATE])
def test_an_order_for_a_session_that_is_not_here_is_refused(kind: CommandKind) -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        result = await told(stage, worker, kind)
        assert (result.outcome, result.message) == (Outcome.REFUSED, "the session is not here")

    on_stage(scene)


def test_an_order_is_carried_out_once_however_often_it_is_given() -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        await stage.call(worker)
        command = Command(id=new_command_id(), kind=CommandKind.CLOSE, tenant="t1", session="s1")
        commands = Commands(stage.store)
        first = await commands.ask(worker.id, command)
        again = await commands.ask(worker.id, command)
        assert first == again
        assert first is not None
        assert first.outcome is Outcome.DONE

    on_stage(scene)


def test_a_region_that_is_left_sends_its_calls_on_and_takes_new_ones_when_it_is_open_again() -> None:
    async def scene(stage: Stage) -> None:
        near, _ = await obeying(stage, "near")
        far = await stage.worker("far", region="elsewhere")
        caller = await stage.call(near)
        await turn(caller, "hello")
        regions = Regions(stage.store)
        turned = await regions.put(
            Region(name="local", mode=RegionMode.MIGRATE, author="ada", reason="incident"), expect=0
        )
        await asyncio.sleep(1)
        assert caller.closed == "migrated"
        with pytest.raises(Refused, match="runtime_draining"):
            await stage.call(near, "new")
        again, _ = await stage.back_in_time(far)
        await turn(again, "still there?", 1)
        await regions.put(Region(name="local", author="ada", reason="over"), expect=turned.revision)
        await asyncio.sleep(1)
        await stage.call(near, "new")

    on_stage(scene)


def test_a_region_that_drains_keeps_its_calls_and_takes_no_new_ones() -> None:
    async def scene(stage: Stage) -> None:
        near, _ = await obeying(stage, "near")
        caller = await stage.call(near)
        await Regions(stage.store).put(
            Region(name="local", mode=RegionMode.DRAIN, author="ada", reason="work"), expect=0
        )
        await asyncio.sleep(1)
        assert near.unready() == ("region_drain",)
        with pytest.raises(Refused, match="runtime_draining"):
            await stage.call(near, "new")
        await turn(caller, "hello")

    on_stage(scene)


def test_a_drain_keeps_no_other_order_from_being_heard() -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        caller = await stage.call(worker)
        draining = asyncio.ensure_future(told(stage, worker, CommandKind.DRAIN, ""))
        await asyncio.sleep(0.2)
        assert worker.draining
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until("turn_open")
        assert (await told(stage, worker, CommandKind.CANCEL)).outcome is Outcome.DONE
        assert (await told(stage, worker, CommandKind.CLOSE)).outcome is Outcome.DONE
        assert (await draining).outcome is Outcome.DONE

    on_stage(scene)


@pytest.mark.parametrize("reason", ["migrated", "lease_expired", "lease_deauthorized"])
def test_no_word_of_an_operator_makes_an_end_something_else(reason: str) -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        await stage.call(worker)
        command = Command(
            id=new_command_id(), kind=CommandKind.CLOSE, tenant="t1", session="s1", reason=reason
        )
        await Commands(stage.store).ask(worker.id, command)
        await asyncio.sleep(0.2)
        held = await worker.leases.get("t1", "s1")
        assert held is not None
        assert (held.lease.state, held.lease.reason) == (LeaseState.ENDED, "operator")

    on_stage(scene)


def test_an_order_that_is_told_of_again_before_its_answer_is_kept_is_not_carried_out_again() -> None:
    async def scene(stage: Stage) -> None:
        worker, orders = await obeying(stage, "a")
        caller = await stage.call(worker)
        caller.give(i.TextReceived("tell me a story", 0))
        await caller.until("turn_open")
        answer = orders._commands.answer

        async def unheard(member: str, result: Result) -> None:
            raise PeerFault("store_unreachable", "no answer")

        orders._commands.answer = unheard  # type: ignore[method-assign]
        command = Command(id=new_command_id(), kind=CommandKind.CANCEL, tenant="t1", session="s1")
        await Commands(stage.store).send(worker.id, command)
        await caller.until("abort")
        caller.give(i.TextReceived("another one", 1))
        again = asyncio.get_running_loop().create_task(orders._obey_all(worker.id))
        await asyncio.sleep(0.3)
        orders._commands.answer = answer  # type: ignore[method-assign]
        result = await Commands(stage.store).result(command.id)
        assert result is not None
        await caller.until("commit")
        assert len(caller.signals("abort")) == 1
        again.cancel()

    on_stage(scene)


def test_a_region_that_is_open_again_keeps_what_has_not_gone_yet() -> None:
    async def scene(stage: Stage) -> None:
        near, _ = await obeying(stage, "near")
        caller = await stage.call(near)
        stage.cut(near, 2)  # nothing can be given away while the store is away
        regions = Regions(stage.store)
        turned = await regions.put(
            Region(name="local", mode=RegionMode.MIGRATE, author="ada", reason="incident"), expect=0
        )
        await regions.put(Region(name="local", author="ada", reason="over"), expect=turned.revision)
        await asyncio.sleep(4)
        assert near.ready
        await turn(caller, "hello")

    on_stage(scene)
