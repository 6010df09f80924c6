"""Whatever happened to a call (it ended, was interrupted, cut off, its server was killed), it is recorded, found by its name
and replayed to the same decisions; and every turn that was committed has its evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from click.testing import CliRunner

from rspp.cli.main import main as rspp
from rspp.cli.recordings import Where, load
from rspp.client import Call, Client, ConnectionLost
from rspp.contract.evidence import missing_fields
from rspp.contract.wire import Told
from rspp.testing.scripted.tts import tone
from rspp.timeline.export import PROCESS_LOST
from tests.e2e.test_listen import SPEC, START

LOUD: Final = tone(300, 16_000, 9_000)
TENANT: Final = "desk"


@asynccontextmanager
async def server(spec: Path, data: Path) -> AsyncIterator[tuple[Process, str]]:
    """`rspp run --listen` as a process of its own, recording by default, and where it takes calls."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, str(spec), "--listen", "127.0.0.1:0", "--drain", "300"),
        *("--data", str(data)),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield process, line.decode().split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ended(process: Process) -> str:
    process.send_signal(signal.SIGTERM)
    out, errors = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, errors.decode()
    return out.decode()


def cli(*arguments: object) -> Any:
    """What a command prints as JSON; it must be content."""
    result = CliRunner().invoke(rspp, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def asked(call: Call) -> str:
    """A question is asked, and its answer has begun."""
    await call.send_audio(LOUD)
    silence = asyncio.ensure_future(call.send_silence(20_000))
    told = await call.signal("playback_started")
    silence.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await silence
    return told.signal


async def heard_out(call: Call) -> None:
    silence = asyncio.ensure_future(call.send_silence(30_000))
    await call.signal("playback_completed")
    silence.cancel()


async def interrupted(call: Call) -> None:
    """The caller speaks into the answer until it is cut."""
    talking = asyncio.ensure_future(call.send_audio(LOUD * 2 + bytes(96_000)))
    await call.until(lambda event: isinstance(event, Told) and event.signal == "playback_cancelled", 10)
    await talking


def look_at(data: Path, name: str) -> dict[str, Any]:
    """The session replays exactly, and each of its turns is on record, whole."""
    replayed = cli("replay", name, "--mode", "re-simulate", "--data", data, "--tenant", TENANT)
    assert replayed["divergences"] == 0
    recording = load(name, Where(data=data, tenant=TENANT))
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}
    committed = {item.turn for item in recording.items if item.what == "signal" and item.name == "commit"}
    evidence = {one.turn_id: one for one in recording.evidence.values()}
    assert committed <= evidence.keys()
    closed = [one for turn, one in evidence.items() if turn in stamps]
    assert [missing_fields(one, stamps[one.turn_id]) for one in closed] == [()] * len(closed)
    return {"replayed": replayed, "recording": recording, "committed": committed, "turns": len(evidence)}


@pytest.mark.slow
def test_calls_that_end_are_interrupted_or_cut_off_are_listed_and_replay_exactly(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC)

    names: dict[str, str] = {}

    async def held(url: str, how: str) -> None:
        async with Client.connect(url, tenant=TENANT) as call:
            names[how] = (await call.welcomed()).session
            await asked(call)
            if how == "cut":
                await call.drop()
                return
            await (heard_out(call) if how == "whole" else interrupted(call))
            await call.hang_up()

    async def calls() -> str:
        async with server(spec, data) as (process, url):
            await asyncio.gather(*(held(url, how) for how in ("whole", "interrupted", "cut")))
            return await ended(process)

    said = asyncio.run(calls())
    assert "3 sessions were recorded" in said
    assert f"--mode re-simulate --tenant {TENANT}" in said
    listed = cli("sessions", "--data", data, "--tenant", TENANT)
    assert {one["session"] for one in listed["sessions"]} == set(names.values())
    assert all(one["complete"] and one["parts_local"] == 0 for one in listed["sessions"])
    found = {one["session"]: look_at(data, one["session"]) for one in listed["sessions"]}
    assert all(one["recording"].whole for one in found.values())
    for one in found.values():
        assert one["replayed"]["digest_recorded"] == one["replayed"]["digest_replayed"] is not None
    assert len(found[names["whole"]]["committed"]) == 1
    assert any(one.cancel_scope for one in found[names["interrupted"]]["recording"].evidence.values())
    assert found[names["cut"]]["turns"] == 1
    assert cli("sessions", "--data", data, "--tenant", "another") == {"sessions": [], "total": 0}
    refused = CliRunner().invoke(rspp, ["replay", names["cut"], "--mode", "re-simulate", "--data", str(data)])
    assert refused.exit_code == 1
    assert "cross_tenant_denied" in refused.output


@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_of_a_call_leaves_it_to_be_replayed(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC)

    names: dict[str, str] = {}

    async def killed() -> None:
        async with server(spec, data) as (process, url):
            with contextlib.suppress(ConnectionLost):
                async with Client.connect(url, tenant=TENANT) as call:
                    names["killed"] = (await call.welcomed()).session
                    await asked(call)
                    await heard_out(call)
                    await asked(call)
                    process.kill()
                    await process.wait()

    async def after() -> None:
        async with server(spec, data) as (process, _):
            await ended(process)

    asyncio.run(killed())
    (one,) = cli("sessions", "--data", data, "--tenant", TENANT)["sessions"]
    assert one["parts_local"] > 0
    assert one["consistency"] == "eventual"
    before = look_at(data, names["killed"])
    assert before["committed"]
    asyncio.run(after())
    (one,) = cli("sessions", "--data", data, "--tenant", TENANT)["sessions"]
    assert (one["parts_local"], one["complete"], one["end_reason"]) == (0, True, PROCESS_LOST)
    found = look_at(data, names["killed"])
    assert found["committed"] == before["committed"]
    assert len(found["recording"].inputs) == len(before["recording"].inputs)
    assert found["recording"].evidence == before["recording"].evidence
    assert not list(data.glob("spool/*/*/*.seg"))
