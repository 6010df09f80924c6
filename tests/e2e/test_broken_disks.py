"""A disk that is full, or read-only, in the middle of a call: the caller is told, the turn is aborted for want of its evidence,
nothing hangs, and when there is room again the next turn and the next call are as ever.

The server has a small disk of its own, in a mount namespace of its own; that needs the right to make one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
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
from rspp.client import Call, Client
from rspp.contract.evidence import missing_fields
from rspp.contract.wire import Told
from rspp.testing.scripted.tts import tone
from tests.e2e.test_listen import SPEC, START

TENANT: Final = "desk"
SPEECH: Final = tone(300, 16_000, 9_000)[: 2 * 16 * 300] + bytes(2 * 16 * 300)
QUICK: Final = SPEC.rstrip() + "\n  scripted-tts: {ms_per_character: 2}\n"
UNAVAILABLE: Final = "recording_evidence_unavailable"
END_OF_A_TURN: Final = ("commit", "abort")


def may_mount() -> bool:
    made = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        shutil.which("nsenter") is not None
        and subprocess.run(made, capture_output=True, check=False).returncode == 0
    )


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not may_mount(), reason="only who may mount can have a small disk"),
]


class Disk:
    """A disk of two megabytes, in a namespace that lasts as long as its holder."""

    def __init__(self, holder: Process, data: Path) -> None:
        self.enter = ("nsenter", "-t", str(holder.pid), "-m")
        self._seen = Path(f"/proc/{holder.pid}/root") / data.relative_to("/")
        self._spool = str(data / "spool")
        self._filler = self._seen / "filler"

    async def full(self) -> None:
        """And it stays full, though what is exported is removed and leaves room."""
        self._filled = asyncio.Event()
        self._filling = asyncio.ensure_future(self._keep_full())
        await self._filled.wait()

    async def _keep_full(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            while True:
                for size in (1 << 16, 1 << 12, 1):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))
                self._filled.set()
                await asyncio.sleep(0.002)

    async def room(self) -> None:
        self._filling.cancel()
        await asyncio.wait([self._filling])
        await asyncio.to_thread(self._filler.unlink)

    async def read_only(self) -> None:
        """Files that are open stay as they are; none can be made, and none opened to be written."""
        await self._do("mount", "--bind", self._spool, self._spool)
        await self._do("mount", "-o", "remount,bind,ro", self._spool)

    async def writable(self) -> None:
        await self._do("umount", self._spool)

    async def _do(self, *command: str) -> None:
        process = await asyncio.create_subprocess_exec(*self.enter, *command)
        assert await process.wait() == 0, command

    async def keep(self, to: Path) -> None:
        """All of it, where others see it."""
        await asyncio.to_thread(shutil.copytree, self._seen, to)


@asynccontextmanager
async def disk_at(data: Path) -> AsyncIterator[Disk]:
    small = 'mount -t tmpfs -o size=2m none "$1" && echo there && exec sleep 300'
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "-m", "sh", "-c", small, "sh", str(data)), stdout=PIPE
    )
    assert holder.stdout is not None
    try:
        assert await asyncio.wait_for(holder.stdout.readline(), 10)
        yield Disk(holder, data)
    finally:
        holder.kill()
        await holder.wait()


@asynccontextmanager
async def server(disk: Disk, spec: Path, data: Path) -> AsyncIterator[str]:
    """`rspp run --listen` over this disk: it ends in order, and with 0."""
    process = await asyncio.create_subprocess_exec(
        *(*disk.enter, sys.executable, "-c", START, str(spec)),
        *("--listen", "127.0.0.1:0", "--data", str(data)),
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield line.decode().split()[-1]
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def turn(call: Call) -> list[tuple[str, str | None]]:
    """A question, and what the caller is told until its turn has ended."""
    speaking = asyncio.ensure_future(call.send_audio(SPEECH))
    told: list[tuple[str, str | None]] = []
    while not told or told[-1][0] not in END_OF_A_TURN:
        event = await call.until(lambda one: isinstance(one, Told), 10)
        assert isinstance(event, Told)
        told.append((event.signal, event.reason))
    await speaking
    return told


def cli(*arguments: object, status: int = 0) -> Any:
    result = CliRunner().invoke(rspp, [*map(str, arguments), "--json"])
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


def committed_in(data: Path, name: str) -> set[str]:
    """Which turns are on record as committed; each of them has all of its evidence."""
    recording = load(name, Where(data=data, tenant=TENANT))
    stamps = {stamp.turn_id: stamp for stamp in recording.stamps.values()}
    committed = [one for one in recording.evidence.values() if one.terminal_outcome == "commit"]
    assert [missing_fields(one, stamps[one.turn_id]) for one in committed] == [()] * len(committed)
    return {one.turn_id for one in committed}


@pytest.mark.parametrize(("way", "reason"), [("full", "disk_full"), ("read_only", "read_only")])
def test_a_disk_that_takes_no_more_aborts_the_turn_and_says_why_and_the_next_is_as_ever(
    tmp_path: Path, way: str, reason: str
) -> None:
    spec, data, kept = tmp_path / "desk.yaml", tmp_path / "data", tmp_path / "kept"
    spec.write_text(QUICK)
    data.mkdir()
    names: list[str] = []

    async def refused(call: Call) -> None:
        told = await turn(call)
        assert told[-1] == ("abort", UNAVAILABLE)
        assert ("evidence_append_failed", reason) in told

    async def calls(url: str, disk: Disk) -> None:
        async with Client.connect(url, tenant=TENANT) as call:
            names.append((await call.welcomed()).session)
            assert (await turn(call))[-1] == ("commit", None)
            await (disk.full() if way == "full" else disk.read_only())
            # One that begins now: what is open has the rest of its last page, which may do for a turn's evidence.
            async with Client.connect(url, tenant=TENANT) as late:
                names.append((await late.welcomed()).session)
                await refused(late)
            await (disk.room() if way == "full" else disk.writable())
            assert (await turn(call))[-1] == ("commit", None)
        async with Client.connect(url, tenant=TENANT) as call:
            names.append((await call.welcomed()).session)
            assert (await turn(call))[-1] == ("commit", None)

    async def main() -> None:
        async with asyncio.timeout(60), disk_at(data) as disk:
            async with server(disk, spec, data) as url:
                await calls(url, disk)
            await disk.keep(kept)

    asyncio.run(main())
    first, lost, after = names
    listed = {one["session"] for one in cli("sessions", "--data", kept, "--tenant", TENANT)["sessions"]}
    assert {first, after} <= listed <= {first, lost, after}
    committed = {name: len(committed_in(kept, name)) for name in listed}
    assert {lost: 0, **committed} == {first: 2, lost: 0, after: 1}
    whole = cli("replay", after, "--mode", "re-simulate", "--data", kept, "--tenant", TENANT)
    assert whole["divergences"] == 0
    assert whole["digest_recorded"] == whole["digest_replayed"] is not None


def test_a_server_whose_disk_cannot_be_written_to_takes_no_call_and_says_the_way_out(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(QUICK)
    data.mkdir()
    read_only = 'mount -t tmpfs -o ro none "$1" && shift && exec "$@"'
    server = (sys.executable, "-c", START, spec, "--listen", "127.0.0.1:0", "--data", data)
    done = subprocess.run(
        ("unshare", "-m", "sh", "-c", read_only, "sh", data, *server),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == b""
    assert b"nothing can be recorded" in done.stderr
    assert b"--record-level off" in done.stderr
