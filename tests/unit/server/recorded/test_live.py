"""A call is followed while another process writes its recording, and a machine is not busy with reading because of it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rspp.server.recorded.words import Session
from rspp.timeline import records as r
from rspp.timeline.segments import SPOOL
from tests.unit.server.recorded.given import OPERATOR, TENANT, Readers, row, scene, shelve
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.spooled import frames, renamed

pytestmark = pytest.mark.slow

# Writes a recording into a data folder, one record for each line that it is told, and never ends it.
WRITER = """
import asyncio, sys
from pathlib import Path
from rspp.timeline.spool import Spool
from tests.unit.timeline.spooled import frames, opened

async def main():
    spool = Spool(Path(sys.argv[1]))
    spool.start()
    append = opened(spool, sys.argv[3], sys.argv[4])
    for one in frames(Path(sys.argv[2]).read_bytes()):
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            break
        assert append.append(one)
        await spool.drained()
        print("written", flush=True)
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


class Writer:
    """Another process that records."""

    def __init__(self, folder: Path, data: bytes, session: str) -> None:
        file = folder / "call.rspp"
        file.write_bytes(data)
        arguments = [str(folder / "data"), str(file), session, TENANT]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path.cwd(),
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        )

    async def write(self, count: int) -> None:
        for _ in range(count):
            await asyncio.to_thread(self._one)

    def _one(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("on\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "written\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def turns_at(data: bytes) -> list[int]:
    """After how many records each turn has its evidence."""
    found = []
    for number, one in enumerate(frames(data), 1):
        if any(isinstance(record, r.Evidence) for record in r.unframe(one).records):
            found.append(number)
    return found


def test_turns_and_words_appear_while_another_process_records_them(readers: Readers, tmp_path: Path) -> None:
    data = renamed(simulated_bytes(7, 17), "call", TENANT)
    marks = turns_at(data)
    assert len(marks) >= 2

    async def main() -> None:
        writer = Writer(tmp_path, data, "call")
        try:
            async with scene(tmp_path, readers.children) as it:
                it.rows["sessions"] = [row("call")]

                async def seen() -> Session:
                    found = await it.recorded.session(OPERATOR, TENANT, "call")
                    assert found is not None
                    return found

                assert "exports" in (await seen()).withheld
                found, written = await seen(), 0
                for number, mark in enumerate(marks, 1):
                    await writer.write(mark - written)
                    written = mark
                    began = time.monotonic()
                    found = await seen()
                    assert len([one for one in found.turns if one.outcome != "open"]) >= number
                    assert time.monotonic() - began < 10  # under whatever else this machine does
                    assert found.transcript
                    assert found.item.state == "running"
                    assert found.sound == []
                # A record that is not whole yet is left out until it is.
                (segment,) = (it.data / SPOOL).glob("*/*/*.seg")
                with segment.open("ab") as file:
                    file.write(frames(data)[written][:-7])
                torn = await seen()
                assert len(torn.turns) == len(found.turns)
                writer.kill()
                it.rows.clear()
                gone = await seen()
                assert (gone.item.state, gone.item.reason) == ("ended", "its end is not recorded")
                assert gone.turns
        finally:
            writer.kill()

    readers.play(main())


def test_a_call_on_another_machine_is_shown_as_far_as_it_was_exported_and_says_so(
    readers: Readers, tmp_path: Path
) -> None:
    data = renamed(simulated_bytes(7, 17), "far", TENANT)
    part = b"".join(frames(data)[: turns_at(data)[0]])

    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, {(TENANT, "far"): part})
            it.rows["sessions"] = [row("far")]
            found = await it.recorded.session(OPERATOR, TENANT, "far")
            assert found is not None
            assert found.turns
            assert found.item.state == "running"
            assert "It goes on elsewhere" in found.withheld

    readers.play(main())


def test_many_who_look_at_once_are_answered_by_one_reading(readers: Readers, tmp_path: Path) -> None:
    data = renamed(simulated_bytes(7, 17), "call", TENANT)

    async def main() -> None:
        async with scene(tmp_path, readers.children) as it:
            await shelve(it.data, {(TENANT, "call"): data})
            asked = 0
            ask = readers.children.ask

            async def counted(*arguments: object) -> object:
                nonlocal asked
                asked += 1
                return await ask(*arguments)  # type: ignore[arg-type]

            readers.children.ask = counted  # type: ignore[method-assign,assignment]
            try:
                found = await asyncio.gather(
                    *(it.recorded.session(OPERATOR, TENANT, "call") for _ in range(40))
                )
            finally:
                readers.children.ask = ask  # type: ignore[method-assign]
            assert asked == 1
            assert len({id(one.turns) for one in found if one is not None}) == 1
            assert len(await it.audited()) == 1

    readers.play(main())
