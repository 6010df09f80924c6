"""One live session can be debugged for a while: it alone tells more, the others notice nothing, and it ends by itself."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest

from rspp.contract.event import Note
from rspp.contract.words import EventKind
from rspp.control.commands import DEBUG_MS_MAX, Command, CommandKind, Commands, Outcome, new_command_id
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call
from rspp.control.operations.operation import NotFound
from rspp.control.plane import ControlPlane, os_principal
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.testing.store import MemoryStore
from tests.unit.control.worker.stage import Stage, on_stage, turn
from tests.unit.control.worker.test_orders import obeying
from tests.unit.host.stage import Stage as HostStage
from tests.unit.host.stage import on_stage as on_host

# What a capture of one session may cost the process with twenty of them.
CPU_MAX = 1.10
MEMORY_BYTES_MAX = 1_000_000
SESSIONS = 20


async def captured(
    stage: Stage, member: str, for_ms: int, session: str = "s1", tenant: str = "t1"
) -> tuple[Outcome, str]:
    command = Command(
        id=new_command_id(), kind=CommandKind.DEBUG, tenant=tenant, session=session, for_ms=for_ms
    )
    result = await Commands(stage.store).ask(member, command)
    assert result is not None
    return result.outcome, result.message


@pytest.mark.proves("F-076")
def test_a_capture_ends_at_its_time_though_whoever_ordered_it_and_the_store_are_gone() -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        caller = await stage.call(worker)
        assert caller.seat is not None
        desk = worker.host.sessions["s1"].kernel.desk
        assert not desk.debugging()
        began = stage.clock.now()
        assert await captured(stage, worker.id, 1_500) == (Outcome.DONE, "")
        await asyncio.sleep(0.01)
        assert desk.debugging()
        stage.cut(worker, 1.0)  # nobody can tell it anything any more
        ended_ms = None
        for _ in range(400):
            await caller.frames(20)
            if not desk.debugging():
                ended_ms = (stage.clock.now() - began) / 1e6
                break
        assert ended_ms == pytest.approx(1_500, abs=45)
        assert "ended" not in caller.names()
        # And it can be ended before that.
        await asyncio.sleep(1.5)
        assert await captured(stage, worker.id, 60_000) == (Outcome.DONE, "")
        await caller.frames(40)
        assert desk.debugging()
        assert await captured(stage, worker.id, 0) == (Outcome.DONE, "")
        await caller.frames(40)
        assert not desk.debugging()

    on_stage(scene)


@pytest.mark.proves("F-076")
def test_a_session_that_nobody_knows_or_that_is_anothers_or_a_time_that_is_none_is_an_error(
    tmp_path: Path,
) -> None:
    async def scene(stage: Stage) -> None:
        worker, _ = await obeying(stage, "a")
        caller = await stage.call(worker)
        for session, tenant in (("nobody", "t1"), ("s1", "t2")):
            assert await captured(stage, worker.id, 1_000, session, tenant) == (
                Outcome.REFUSED,
                "the session is not here",
            )
        assert (await captured(stage, worker.id, DEBUG_MS_MAX + 1))[0] is Outcome.REFUSED
        await caller.frames(40)
        assert not worker.host.sessions["s1"].kernel.desk.debugging()
        assert not worker.host.debug("nobody", 1_000)

    on_stage(scene)

    async def plane() -> None:
        keys = KeyFolder(tmp_path / "keys")
        made = ControlPlane(MemoryStore(), keys=keys)
        first_key(keys, made.wall_ms())
        await made.load()
        operation = operation_named("sessions.debug")
        fields = {"tenant": "t1", "session": "nobody", "reason": "r", "for_ms": 1_000}
        with pytest.raises(NotFound):
            await call(made, os_principal(), operation, msgspec.convert(fields, operation.request))
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**fields, "for_ms": DEBUG_MS_MAX + 1}, operation.request)

    asyncio.run(plane())


class Told:
    """What each session's kernel asked for, but for sound on its way to models; debug remarks are counted apart."""

    def __init__(self) -> None:
        self.remarks: dict[str, int] = {}
        self.rest: dict[str, list[tuple[int, fx.Effect]]] = {}

    def __call__(self, request: Any, graph: Any) -> Any:
        name, told = request.session_id, self
        rest = self.rest[name] = []

        class Watcher:
            awaits = None

            def took(self, at: int, received: i.Input) -> None: ...
            def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
                for effect in effects:
                    if isinstance(effect, fx.Observe) and effect.event.kind is EventKind.DEBUG:
                        assert isinstance(effect.event.payload, Note)
                        told.remarks[name] = told.remarks.get(name, 0) + 1
                    elif isinstance(
                        effect, fx.Observe
                    ):  # its number is of telemetry's own, and rises with remarks
                        rest.append(
                            (
                                at,
                                msgspec.structs.replace(
                                    effect, event=msgspec.structs.replace(effect.event, sequence=0)
                                ),
                            )
                        )
                    elif not isinstance(effect, fx.Feed):
                        rest.append((at, effect))

            def closed(self) -> None: ...

        return Watcher()


def twenty(capture: bool) -> tuple[Told, float, int]:
    """Twenty calls of two turns each; what they told, the CPU seconds that they took, and the bytes that they held."""
    told = Told()
    figures: list[float] = []

    async def scene(stage: HostStage) -> None:
        callers = [stage.call(f"t{number}", session_id=f"s{number}") for number in range(SESSIONS)]
        await asyncio.gather(*(caller.frames(100) for caller in callers))
        if capture:
            assert stage.host.debug("s7", 600_000)
        before = time.process_time()
        for number in range(2):
            await asyncio.gather(*(turn(caller, "hello", number) for caller in callers))
            await asyncio.gather(*(caller.frames(2_000) for caller in callers))
        figures.append(time.process_time() - before)
        if tracemalloc.is_tracing():
            gc.collect()
            figures.append(tracemalloc.get_traced_memory()[0])

    with patch("rspp.host.host.secrets.token_hex", lambda size: "ab" * size):
        on_host(scene, watches=[told])
    return told, figures[0], int(figures[-1])


@pytest.mark.proves("F-076")
@pytest.mark.slow
def test_of_twenty_sessions_only_the_captured_one_tells_more_and_the_others_stay_as_they_were() -> None:
    plain, captured_ = twenty(False), twenty(True)
    assert plain[0].remarks == {}
    assert set(captured_[0].remarks) == {"s7"}
    assert captured_[0].remarks["s7"] >= 4
    # To the last event and nanosecond, the captured one's as well.
    assert captured_[0].rest == plain[0].rest
    # CPU: the best of some rounds each, for the machine has other things to do.
    without = min(plain[1], *(twenty(False)[1] for _ in range(3)))
    with_it = min(captured_[1], *(twenty(True)[1] for _ in range(3)))
    assert with_it < without * CPU_MAX + 0.02, (with_it, without)
    tracemalloc.start()
    try:
        held = twenty(False)[2]
        held_with = twenty(True)[2]
    finally:
        tracemalloc.stop()
    assert held_with < held + MEMORY_BYTES_MAX
