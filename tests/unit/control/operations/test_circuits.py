"""Orders to workers that health asks for: reset a circuit everywhere, take a drain back, settle a lost worker."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.authority.members import MemberState, fence
from rspp.control.commands import Command, CommandKind, Outcome, Result
from rspp.control.operations.circuits import UNANSWERED
from rspp.control.plane import ControlPlane
from tests.unit.control.operations.test_operations import asked, plane_in, worker

Answers = Mapping[str, tuple[Outcome, str]]


async def fleet(folder: Path, answers: Answers, *silent: str) -> tuple[ControlPlane, list[Command]]:
    """Workers that answer so, and some that do not; all that they were told."""
    plane = await plane_in(folder)
    heard: list[Command] = []
    for name in (*answers, *silent):
        await worker(plane, name)

    async def obey(name: str) -> None:
        async for command in plane.commands.watch(name):
            heard.append(command)
            outcome, message = answers[name]
            await plane.commands.answer(name, Result(id=command.id, outcome=outcome, message=message))

    plane.obeying = [asyncio.create_task(obey(name)) for name in answers]  # type: ignore[attr-defined]
    return plane, heard


DONE = (Outcome.DONE, "3 sessions")
FAILED = (Outcome.FAILED, "1 of 3 sessions had no room for it")


def test_a_reset_reaches_every_worker_that_is_there_and_says_which_it_missed(tmp_path: Path) -> None:
    async def main() -> None:
        plane, heard = await fleet(tmp_path, {"w-1": DONE, "w-2": FAILED}, "w-3", "w-4")
        await fence(plane.store, "w-4", "killed")
        said = await asked(plane, "fleet.reset_circuit", provider="asr-1", reason="over", within_ms=200)
        assert said.workers == 1
        assert said.missed == {"w-2": FAILED[1], "w-3": UNANSWERED}, "w-4 is gone, and nobody asks it"
        assert {(one.kind, one.provider, one.reason) for one in heard} == {
            (CommandKind.RESET_CIRCUIT, "asr-1", "over")
        }
        assert all(one.by == "os:" + one.by.removeprefix("os:") for one in heard)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answers", "silent", "code"),
    [
        ({}, (), "worker_gone"),
        ({"w-1": FAILED}, (), "circuit_not_reset"),
        ({}, ("w-1",), "circuit_not_reset"),
    ],
)
def test_a_reset_that_nobody_did_is_no_reset(
    tmp_path: Path, answers: Answers, silent: tuple[str, ...], code: str
) -> None:
    async def main() -> None:
        plane, _ = await fleet(tmp_path, answers, *silent)
        with pytest.raises(PeerFault, match=code):
            await asked(plane, "fleet.reset_circuit", provider="asr-1", reason="r", within_ms=100)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("workers.resume", CommandKind.RESUME),
        ("workers.retry_exports", CommandKind.RETRY_EXPORT),
        ("workers.free_recordings", CommandKind.FREE_RECORDINGS),
        ("workers.give_up_exports", CommandKind.GIVE_UP_EXPORT),
    ],
)
def test_an_order_reaches_its_worker_and_its_answer_comes_back(
    tmp_path: Path, operation: str, kind: CommandKind
) -> None:
    async def main() -> None:
        plane, heard = await fleet(tmp_path, {"w-1": (Outcome.REFUSED, "it is so")}, "w-2")
        said = await asked(plane, operation, worker="w-1", reason="r")
        assert (said.worker, said.outcome, said.message) == ("w-1", Outcome.REFUSED, "it is so")
        assert [one.kind for one in heard] == [kind]
        with pytest.raises(PeerFault, match="command_unanswered"):
            await asked(plane, operation, worker="w-2", reason="r", within_ms=100)
        with pytest.raises(PeerFault, match="not_found"):
            await asked(plane, operation, worker="w-9", reason="r")

    asyncio.run(main())


def test_a_lost_worker_that_was_looked_at_has_left_and_what_it_owned_is_free_all_the_same(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        plane, _ = await fleet(tmp_path, {}, "w-1")
        with pytest.raises(PeerFault, match="worker_not_lost"):
            await asked(plane, "workers.settle", worker="w-1", reason="r")
        await fence(plane.store, "w-1", "silent")
        await asked(plane, "workers.settle", worker="w-1", reason="its disk died")
        seen = await asked(plane, "workers.show", worker="w-1")
        assert seen.state is MemberState.LEFT
        assert seen.reason.startswith("silent; looked at by ")
        assert seen.reason.endswith("its disk died")
        assert await plane.fleet.is_gone("w-1")
        with pytest.raises(PeerFault, match="worker_not_lost"):
            await asked(plane, "workers.settle", worker="w-1", reason="again")

    asyncio.run(main())
