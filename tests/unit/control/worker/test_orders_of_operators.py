"""What operators order of a whole worker: to take callers again, and to call a provider again."""

from __future__ import annotations

import asyncio

import pytest

from rspp.control.commands import Command, CommandKind, Commands, Outcome, Result, new_command_id
from rspp.control.worker import Worker
from rspp.control.worker.orders import Orders
from rspp.host.ports import Refused
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from tests.unit.control.worker.stage import Stage, on_stage, turn


async def obeying(stage: Stage, name: str, vouched: list[str] | None = None) -> Worker:
    async def hears(provider: str) -> None:
        if vouched is not None:
            vouched.append(provider)

    async def exports(command: Command) -> tuple[Outcome, str]:
        return Outcome.DONE, f"{command.by} says so"

    worker = await stage.worker(name)
    also = {CommandKind.RETRY_EXPORT: exports}
    orders = Orders(worker, stage.store, stage.clock, also=also, vouched=hears)
    worker.tasks.spawn(orders.run(), "orders")
    return worker


async def told(stage: Stage, worker: Worker, kind: CommandKind, **more: str) -> Result:
    command = Command(id=new_command_id(), kind=kind, by="ada", **more)  # type: ignore[arg-type]
    result = await Commands(stage.store).ask(worker.id, command)
    assert result is not None
    return result


def test_a_worker_that_was_drained_takes_callers_again_when_it_is_told_so() -> None:
    async def scene(stage: Stage) -> None:
        worker = await obeying(stage, "a")
        caller = await stage.call(worker, "s1")
        assert (await told(stage, worker, CommandKind.DRAIN)).outcome is Outcome.DONE
        with pytest.raises(Refused, match="runtime_draining"):
            await stage.call(worker, "s2")
        assert (await told(stage, worker, CommandKind.RESUME)).outcome is Outcome.DONE
        await stage.call(worker, "s2")
        await asyncio.sleep(40)  # longer than a drain waits
        assert not caller.closed, "who was there all along is not cut short by a drain that was taken back"
        await turn(caller, "still there?")

    on_stage(scene)


def test_a_worker_that_has_emptied_takes_callers_again_when_it_is_told_so() -> None:
    async def scene(stage: Stage) -> None:
        worker = await obeying(stage, "a")
        caller = await stage.call(worker, "s1")
        await told(stage, worker, CommandKind.DRAIN)
        await asyncio.sleep(40)
        assert caller.closed, "the drain's time was over"
        assert worker.host.draining
        assert (await told(stage, worker, CommandKind.RESUME)).outcome is Outcome.DONE
        await turn(await stage.call(worker, "s2"), "hello")

    on_stage(scene)


def test_what_does_not_drain_and_what_ends_is_not_resumed() -> None:
    async def scene(stage: Stage) -> None:
        worker = await obeying(stage, "a")
        said = await told(stage, worker, CommandKind.RESUME)
        assert (said.outcome, said.message) == (Outcome.REFUSED, "it does not drain")
        await worker.drain("drain", 10)
        said = await told(stage, worker, CommandKind.RESUME)
        assert (said.outcome, said.message) == (Outcome.REFUSED, "its process ends")
        assert worker.draining

    on_stage(scene)


def test_every_session_of_a_worker_hears_that_a_provider_is_vouched_for_and_so_does_the_fleet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, i.Input]] = []
    ingest = LiveSession.ingest

    def listening(session: LiveSession, received: i.Input) -> bool:
        if isinstance(received, i.CircuitReset):
            heard.append((session.session_id, received))
        return ingest(session, received)

    monkeypatch.setattr(LiveSession, "ingest", listening)

    async def scene(stage: Stage) -> None:
        vouched: list[str] = []
        worker = await obeying(stage, "a", vouched)
        for name in ("s1", "s2"):
            await stage.call(worker, name)
        said = await told(stage, worker, CommandKind.RESET_CIRCUIT, provider="asr-1")
        assert (said.outcome, said.message) == (Outcome.DONE, "2 sessions")
        assert heard == [(name, i.CircuitReset("asr-1")) for name in ("s1", "s2")]
        assert vouched == ["asr-1"]

    on_stage(scene)


def test_what_the_process_does_is_asked_of_it_and_what_it_does_not_is_refused() -> None:
    async def scene(stage: Stage) -> None:
        worker = await obeying(stage, "a")
        said = await told(stage, worker, CommandKind.RETRY_EXPORT)
        assert (said.outcome, said.message) == (Outcome.DONE, "ada says so")
        said = await told(stage, worker, CommandKind.FREE_RECORDINGS)
        assert said.outcome is Outcome.REFUSED

    on_stage(scene)
