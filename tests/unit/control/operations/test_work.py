"""Work sessions, asked for through the door: who may look, who may signal, and when there is nothing to signal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.control.fleet.work import SIGNALS, WORK, Requirement, Signal, Work, WorkSessions
from rspp.control.names import key
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call
from rspp.control.operations.operation import Conflict, Denied, NotFound
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from tests.unit.control.operations.test_operations import plane_in

VERA = Principal(id="vera", roles={EVERYWHERE: (Role.VIEWER,)})
OLGA = Principal(id="olga", roles={EVERYWHERE: (Role.OPERATOR,)})
ANN = Principal(id="ann", roles={"acme": (Role.ADMIN,)})
MET = "mend the gate"


def work(**more: Any) -> Work:
    fields = {"id": "r1", "state": "waiting", "step": "2", "line": 9, "resume_allowed": True, **more}
    return Work(**fields)


async def kept(folder: Path, *sessions: Work) -> ControlPlane:
    plane = await plane_in(folder)
    for one in sessions:
        await put(plane, one)
    return plane


async def put(plane: ControlPlane, one: Work) -> None:
    await plane.store.put(WORK, key(one.id), msgspec.json.encode(one))


async def asked(plane: ControlPlane, name: str, by: Principal = OLGA, **fields: Any) -> Any:
    operation = operation_named(name)
    return await call(plane, by, operation, msgspec.convert(fields, operation.request))


async def signal(plane: ControlPlane, step: str = "2", by: Principal = OLGA, session: str = "r1") -> Signal:
    given: Signal = await asked(plane, "work.signal", by, session=session, step=step, reason="it was quiet")
    return given


def test_a_signal_is_given_once_however_often_it_is_asked_for_and_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work())
        first, again = await signal(plane), await signal(plane, by=plane_admin())
        assert first == again
        assert (first.session, first.step, first.line, first.by) == ("r1", "2", 9, "olga")
        shown = await asked(plane, "work.show", session="r1")
        assert (shown.work, shown.signal) == (work(), first)
        sessions = WorkSessions(plane.store, plane.wall_ms)
        taken = await sessions.take("r1", "2")
        assert taken is not None
        assert taken.taken_at_ms
        assert await sessions.take("r1", "2") is None
        assert (await signal(plane)).taken_at_ms == 0, "who took it and did not begin may be told again"
        page = (await asked(plane, "audit.list", plane_admin(), action="work.signal")).items
        done = next(one for one in page if one.decision == "done")
        assert (done.principal, done.facts["step"], done.facts["reason"]) == ("olga", "2", "it was quiet")

    asyncio.run(main())


def plane_admin() -> Principal:
    return Principal(id="root", roles={EVERYWHERE: (Role.ADMIN,)})


@pytest.mark.parametrize(
    ("one", "step", "code", "says"),
    [
        (work(state="running", resume_allowed=False), "2", "work_not_waiting", "runs step 2"),
        (work(state="done", resume_allowed=False), "2", "work_not_waiting", "nothing is left"),
        (work(state="blank", step="1", resume_allowed=False), "1", "work_not_waiting", "is blank"),
        (
            work(state="failed", requirements=(Requirement(what=MET), Requirement(what="b", ref="x"))),
            "2",
            "work_requirements_unmet",
            MET,
        ),
        (work(requirements=(Requirement(what=MET),)), "2", "work_requirements_unmet", MET),
        (work(), "1", "work_step_stale", "at 2, not at 1"),
        (work(), "3", "work_step_stale", "at 2, not at 3"),
    ],
)
def test_a_session_that_does_not_wait_is_not_signalled_and_the_refusal_says_why(
    tmp_path: Path, one: Work, step: str, code: str, says: str
) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, one)
        with pytest.raises(Conflict, match=says) as refused:
            await signal(plane, step)
        assert refused.value.code == code
        assert await plane.store.get(SIGNALS, key("r1")) is None

    asyncio.run(main())


def test_a_session_that_waits_after_its_requirements_were_met_is_signalled(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work(requirements=(Requirement(what=MET, ref="a.txt"),)))
        assert (await signal(plane)).step == "2"

    asyncio.run(main())


def test_who_is_there_to_look_may_not_signal_and_a_tenants_admin_may_neither(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work())
        assert (await asked(plane, "work.show", VERA, session="r1")).signal is None
        with pytest.raises(Denied):
            await signal(plane, by=VERA)
        for name, fields in (("work.list", {}), ("work.show", {"session": "r1"})):
            with pytest.raises(Denied):
                await asked(plane, name, ANN, **fields)
        with pytest.raises(Denied):
            await signal(plane, by=ANN)
        with pytest.raises(NotFound):
            await signal(plane, session="another")
        with pytest.raises(NotFound):
            await asked(plane, "work.show", session="another")

    asyncio.run(main())


def test_sessions_are_listed_newest_first_and_what_is_none_is_left_out(tmp_path: Path) -> None:
    async def main() -> None:
        sessions = [
            work(id=f"r/{n}", updated_at_ms=n, state="done" if n % 2 else "running") for n in range(4)
        ]
        plane = await kept(tmp_path, *sessions)
        for name, value in (("x", b"\xff"), ("y", b"[]"), ("z", msgspec.json.encode(work(id="other")))):
            await plane.store.put(WORK, name, value)
        page = await asked(plane, "work.list")
        assert ([one.id for one in page.items], page.total) == (["r/3", "r/2", "r/1", "r/0"], 4)
        page = await asked(plane, "work.list", state="done", limit=1)
        assert ([one.id for one in page.items], page.total) == (["r/3"], 2)
        assert (await asked(plane, "work.show", session="r/3")).work.id == "r/3"

    asyncio.run(main())


def test_a_signal_for_a_session_of_another_time_is_nothing_for_this_one(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work())
        sessions = WorkSessions(plane.store, plane.wall_ms)
        await signal(plane)
        for later in (work(line=10), work(step="3"), work(state="running")):
            await put(plane, later)
            assert await sessions.take("r1", later.step) is None
            await put(plane, work())
        await plane.store.delete(WORK, key("r1"))
        assert await sessions.take("r1", "2") is None
        await put(plane, work())
        assert await sessions.take("r1", "2") is not None

    asyncio.run(main())


def test_a_signal_that_cannot_be_read_is_none_and_is_given_over(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work())
        await plane.store.put(SIGNALS, key("r1"), b"\xff nothing")
        sessions = WorkSessions(plane.store, plane.wall_ms)
        assert await sessions.take("r1", "2") is None
        await signal(plane)
        assert await sessions.take("r1", "2") is not None

    asyncio.run(main())


def test_a_signal_that_others_write_over_all_the_time_is_said_not_to_be_given(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await kept(tmp_path, work())
        put_as_it_was = plane.store.put

        async def lost(bucket: str, *rest: Any, **how: Any) -> int | None:
            return None if bucket == SIGNALS else await put_as_it_was(bucket, *rest, **how)

        plane.store.put = lost  # type: ignore[method-assign]
        with pytest.raises(PeerFault, match="store_contended"):
            await signal(plane)

    asyncio.run(main())
