"""A release as a team does it: over HTTP, with the consent of a second principal, while real callers are led to the canary."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rspp.cli.bench_gates import SPEC as LOAD
from rspp.cli.bench_gates import command as bench_gates
from rspp.cli.control.init import begin
from rspp.client import ControlPlane
from tests.e2e.fleet import CONTROL, READY_S, SERVE, Api, Program, calling, say, until

RELEASE = "from rspp.cli.release import command; command()"
TENANT = "acme"
ENDS_S = 120.0


class House:
    """A control plane, one machine that takes calls, and the people who work there, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs: list[Program] = []
        self.tokens: dict[str, str] = {}
        self.url = ""

    async def open(self) -> None:
        store, keys, token = f"sqlite://{self.folder / 'c.db'}", self.folder / "keys", self.folder / "token"
        await begin(store, keys, "root", token)
        self.tokens["root"] = token.read_text().strip()
        serve = ("serve", "--listen", "127.0.0.1:0", "--store", store, "--keys", str(keys))
        self.programs.append(Program(self.folder / "control.log", CONTROL, *serve))
        self.url = await self.programs[0].address("control plane on")
        for name, role in (("amy", "operator"), ("bob", "admin")):
            await self.api.post(f"/v1/principals/{name}/grant", tenant="*", role=role, reason="a test")
            self.tokens[name] = (await self.api.post(f"/v1/principals/{name}/tokens", ttl_ms=600_000))[
                "token"
            ]
        await self.api.post("/v1/pipelines", text=spec("v1"))
        await self.api.post("/v1/rollouts/desk/begin", version="v1", reason="the first")
        fleet = ("--store", store, "--dev", "--default-pipeline", "desk", "--name", "m", "--workers", "1")
        where = ("--data", str(self.folder / "m"), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        self.programs.append(Program(self.folder / "m.log", SERVE, *fleet, *where, "--wedged-ms", "60000"))
        await self.programs[1].address("listening at")

        async def is_ready() -> bool:
            workers = (await self.api.get("/v1/workers"))["items"]
            return any(one.get("ready") and one.get("kind") == "worker" for one in workers)

        await until(is_ready, READY_S)

    @property
    def api(self) -> Api:
        return Api(self.url, self.tokens["root"])

    def close(self) -> None:
        for program in self.programs:
            program.kill()

    def rspp(self, who: str, code: str, *words: str) -> subprocess.Popen[str]:
        """A command of this principal, as a process."""
        environment = {**os.environ, "RSPP_CONTROL": self.url, "RSPP_TOKEN": self.tokens[who]}
        environment.pop("RSPP_STORE", None)
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    async def ran(self, who: str, code: str, *words: str) -> tuple[int, str]:
        process = self.rspp(who, code, *words)
        said, _ = await asyncio.to_thread(process.communicate, timeout=ENDS_S)
        return process.returncode, said

    async def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = (await self.api.get("/v1/rollouts/desk"))["rollout"]
        return found

    async def call(self, name: str) -> None:
        """A caller of the canary's tenant: asks, hears the answer, hangs up."""
        routes = ControlPlane(self.url, credential=self.tokens["root"])
        async with calling(routes, TENANT, pipeline="desk") as session:
            assert await say(session, f"Hello, this is {name}.")


def spec(version: str) -> str:
    return LOAD.replace("gates-load", "desk").replace("version: v1", f"version: {version}")


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    made = House(folder)
    try:
        await made.open()
        yield made
    finally:
        made.close()


@pytest.mark.slow
@pytest.mark.long
def test_a_release_over_http_with_consent_and_real_callers(tmp_path: Path) -> None:
    made = CliRunner().invoke(bench_gates, [str(tmp_path / "corpus"), "--sessions", "4", "--turns", "2"])
    assert made.exit_code == 0, made.output
    (tmp_path / "desk.yaml").write_text(spec("v2"))

    async def main() -> None:
        async with house(tmp_path) as here:
            await here.api.put("/v1/approval-rule", kinds=["rollout.promote"], reason="production")
            await _stops_for_consent(here)
            await _killed_once_it_publishes(here)
            await _watched_to_its_end(here)
            await _agrees_with_the_log(here)

    asyncio.run(main())


async def _stops_for_consent(here: House) -> None:
    """Everything up to what somebody else must agree to; said again it asks nobody a second time."""
    proofs = ("--corpus", "corpus", "--recordings", "corpus", "--tenants", TENANT, "--any-gates")
    watched = ("--canary", "0", "--observe", "20s", "--every", "200ms", "--min-sessions", "3")
    status, said = await here.ran("amy", RELEASE, "run", "desk.yaml", *proofs, *watched)
    assert status == 1, said
    assert "approval_waiting" in said
    again = await here.ran("amy", RELEASE, "resume", "desk")
    assert again[0] == 1, again[1]
    assert "nobody has decided" in again[1]
    proposals = (await here.api.get("/v1/approvals"))["items"]
    assert [one["operation"] for one in proposals] == ["rollout.promote"]
    wanted = json.loads((await here.ran("amy", RELEASE, "status", "desk", "--json"))[1])["requirements"][0]
    command = shlex.split(wanted[wanted.index("rspp control") :])
    for who, expected in (("amy", 1), ("bob", 0)):
        status, said = await here.ran(who, CONTROL, *command[2:])
        assert status == expected, said


async def _killed_once_it_publishes(here: House) -> None:
    """kill -9 while the server may be busy with it."""
    process = here.rspp("amy", RELEASE, "resume", "desk")

    async def has_asked() -> bool:
        items = (await here.api.get("/v1/audit", action="pipelines.publish", principal="amy"))["items"]
        return bool(items) or process.poll() is not None

    try:
        await until(has_asked, ENDS_S)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        await asyncio.to_thread(process.communicate)


async def _watched_to_its_end(here: House) -> None:
    process = here.rspp("amy", RELEASE, "resume", "desk")
    try:

        async def is_out() -> bool:
            return (await here.rollout()).get("canary") == "v2"

        await until(is_out, ENDS_S)
        await asyncio.gather(*(here.call(f"caller {number}") for number in range(3)))
        said, _ = await asyncio.to_thread(process.communicate, timeout=ENDS_S)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert re.search(r"observe: PASS: [3-9] sessions, 0 failed", said), said
    assert "desk@v2 is released" in said
    assert (await here.rollout())["base"] == "v2"


async def _agrees_with_the_log(here: House) -> None:
    """Who released may not read the log; who may finds both of one mind, and one publication."""
    status, said = await here.ran("amy", RELEASE, "status", "desk", "--verify")
    assert status == 1, said
    assert "nothing was compared" in said
    status, said = await here.ran("bob", RELEASE, "status", "desk", "--verify")
    assert status == 0, said
    assert "0 differences" in said
    items = (await here.api.get("/v1/audit", action="pipelines.publish", decision="done", principal="amy"))[
        "items"
    ]
    assert len(items) == 1
    used = (await here.api.get("/v1/approvals"))["items"][0]
    assert (used["state"], used["author"], used["decided_by"], used["used_by"]) == (
        "used",
        "amy",
        "bob",
        "amy",
    )
