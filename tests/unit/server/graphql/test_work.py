"""A work session is asked for whole: by who may see the fleet, and nothing of it by anybody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from rspp.control.fleet.work import WORK, Missing, Output, Requirement, Result, Run, Step, Work
from rspp.control.names import key
from rspp.ops.work_session import row_of
from tests.unit.server.given_console import ConsoleWorld, console

pytestmark = pytest.mark.slow  # a whole console

WHOLE = Work(
    id="r-1",
    state="waiting",
    step="2",
    goal="publish",
    line=7,
    trace="ab" * 32,
    updated_at_ms=5,
    past=(Step(step="2", goal="publish", status="PASS", at_ms=5),),
    routing={"DOMAIN": "SYS"},
    roles=(Run(name="VAL", status="ran", outputs=("VAL_REPORT",)),),
    outputs=(Output(name="VAL_REPORT", present=True, ref="v.json#sha256=" + "cd" * 32),),
    missing=(Missing(code="x", what="y", fix="z"),),
    requirements=(Requirement(what="a", ref="b"),),
    result=Result(status="PASS"),
)
QUERY = """query($id: String!) { workSession(id: $id) {
  id state line routing past { step status atMs } roles { name status outputs notes } outputs { name present ref }
  missing { code what fix } requirements { what ref } result { status reasons } cut signal { by reason takenAtMs } } }"""


async def planted(made: ConsoleWorld) -> None:
    await made.plane.store.put(WORK, key(WHOLE.id), msgspec.json.encode(WHOLE))


def test_a_work_session_is_shown_whole_with_the_signal_that_was_given(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            await planted(made)
            found = (await made.data("fay", QUERY, id="r-1"))["workSession"]
            assert (found["id"], found["line"], found["routing"]) == ("r-1", 7, {"DOMAIN": "SYS"})
            assert found["past"] == [{"step": "2", "status": "PASS", "atMs": 5.0}]
            assert found["roles"] == [
                {"name": "VAL", "status": "ran", "outputs": ["VAL_REPORT"], "notes": ""}
            ]
            assert found["requirements"] == [{"what": "a", "ref": "b"}]
            assert found["signal"] is None
            body = {"step": "2", "reason": "it was quiet"}
            async with made.client("root") as root:
                done = await root.post("/v1/work/r-1/signal", json=body)
            assert done.status_code == 200, done.text
            found = (await made.data("fay", QUERY, id="r-1"))["workSession"]
            assert found["signal"] == {"by": "root", "reason": "it was quiet", "takenAtMs": 0.0}
            assert (await made.data("fay", QUERY, id="another"))["workSession"] is None

    asyncio.run(main())


ACTIONS = "{ actions { kind aggregateId role allowed } }"


def test_a_viewer_sees_what_could_be_done_and_which_role_it_needs_and_a_tenants_people_see_nothing(
    tmp_path: Path,
) -> None:
    """The page's button is off then, and says that role."""

    async def main() -> None:
        async with console(tmp_path) as made:
            await planted(made)
            row = row_of(key(WHOLE.id), msgspec.json.encode(WHOLE))
            assert row is not None
            made.engine.put("runtime_work_session", row)
            for name, allowed in (("fay", False), ("root", True)):
                assert await continuing(made, name) == [
                    {"kind": "continue_work", "aggregateId": "r-1", "role": "operator", "allowed": allowed}
                ]
            for name in ("ann", "olga"):
                assert await continuing(made, name) == []

    asyncio.run(main())


async def continuing(made: ConsoleWorld, name: str) -> list[dict[str, object]]:
    offered = (await made.data(name, ACTIONS))["actions"]
    return [one for one in offered if one["kind"] == "continue_work"]


def test_who_has_a_role_in_one_tenant_alone_hears_nothing_of_any_work(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            await planted(made)
            for name in ("ann", "olga"):
                for session in ("r-1", "another"):
                    assert await made.code(name, QUERY, id=session) == "permission_denied"
            assert ("graphql.workSession", "*") in await made.of.denials("ann")
            async with made.client("fay") as viewer:
                done = await viewer.post("/v1/work/r-1/signal", json={"step": "2", "reason": "r"})
                assert done.status_code == 403
                assert (await viewer.get("/v1/work/r-1")).json()["work"]["state"] == "waiting"
            async with made.client("root") as root:
                stale = await root.post("/v1/work/r-1/signal", json={"step": "1", "reason": "r"})
            assert (stale.status_code, stale.json()["code"]) == (409, "work_step_stale")

    asyncio.run(main())
