"""Rounds of a process that records and exports and is killed somewhere in the middle of it, and of the next that finishes.

    python -m tests.unit.timeline.export_rounds DATA ROUNDS SEED

Run as a process of its own: it forks, and nothing else may run in it. Prints one JSON line with what was found.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.timeline import records as r
from rspp.timeline.export import Exporter, ExportSettings
from rspp.timeline.library import Library
from rspp.timeline.spool import Spool, SpoolSettings
from tests.unit.timeline.calls import simulated_bytes
from tests.unit.timeline.spooled import frames, opened, renamed

SESSIONS = 3
DELAY_S_MAX = 0.06
DRAIN_MS = 20_000
ACK = struct.Struct(">HI")
QUICK = ExportSettings(try_ms=2_000, pause_ms=1, pause_ms_max=5)


@lru_cache(maxsize=SESSIONS)
def small_call(session_id: str) -> list[bytes]:
    """The frames of a recording that is long enough to be killed in: a few tens of kilobytes in many records."""
    every = frames(renamed(simulated_bytes(7), session_id))
    return [every[0], *every[-60:]]


async def record_and_export(data: Path, names: list[str], acks: int) -> None:
    """Until it is killed."""
    store = SqliteStore(data / "store.db")
    spool = Spool(data, SpoolSettings(segment_bytes_max=6_000))
    spool.start()
    exporter = Exporter(store, spool, QUICK)
    spool.on_sealed = exporter.sealed
    task = asyncio.get_running_loop().create_task(exporter.run())
    appends = [opened(spool, name) for name in names]
    calls = [small_call(name) for name in names]

    def kept(session: int, number: int) -> Callable[[str | None], None]:
        def told(why: str | None) -> None:
            if why is None:
                os.write(acks, ACK.pack(session, number))

        return told

    for number in range(len(calls[0])):
        for session, append in enumerate(appends):
            append.append(calls[session][number], reserved=True, kept=kept(session, number))
        if number % 4 == 0:
            await asyncio.sleep(0.0005)
    for append in appends:
        append.close()
    await task


async def finish(data: Path, names: list[str], acked: dict[int, int]) -> str:
    """Export what is left, and look at all of it; what is wrong, if anything is."""
    store = SqliteStore(data / "store.db")
    spool = Spool(data)
    spool.start()
    exporter = Exporter(store, spool, QUICK)
    spool.on_sealed = exporter.sealed
    await exporter.adopt()
    task = asyncio.get_running_loop().create_task(exporter.run())
    left = await exporter.drain(DRAIN_MS)
    wrong = [f"{left} segments are left"] if left else []
    library = Library(store)  # of the store alone
    for session, name in enumerate(names):
        wrong += await _look_at(library, name, acked.get(session, -1))
    for _ in range(200):
        if not await store.keys("recordings_open"):
            break
        await asyncio.sleep(0.005)
    wrong += [f"{key} is open for ever" for key in await store.keys("recordings_open")]
    task.cancel()
    await asyncio.wait([task])
    await spool.close()
    await store.close()
    return "; ".join(wrong)


async def _look_at(library: Library, name: str, last: int) -> list[str]:
    """The records of a session in the store are the first ones of what was recorded, and all that were acknowledged."""
    page = [one for one in await library._all("t", name) if one.entry.session_id == name]
    if not page:
        return [f"{name} is lost, of which {last + 1} records were acknowledged"] if last >= 0 else []
    if len(page) > 1:
        return [f"{name} is there {len(page)} times"]
    entry = page[0].entry
    raw = frames(await library.raw(page[0]))
    found = [one for one in raw if not isinstance(r.unframe(one).records[0], r.Part)]
    if found != small_call(name)[: len(found)]:
        return [f"{name}: records are twice, missing or out of order"]
    if len(found) <= last:
        return [f"{name}: {len(found)} records in the store, {last + 1} acknowledged"]
    if not entry.complete:
        return [f"{name}: the entry says that more comes"]
    turns = sum(isinstance(r.unframe(one).records[0], r.Evidence) for one in found)
    return [] if entry.turns == turns else [f"{name}: {entry.turns} turns counted, {turns} there"]


def forked(work: Callable[[], str]) -> tuple[int, int]:
    """A child that does this, and the end of a pipe on which it says what was wrong."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            said = work()
        except BaseException:  # noqa: BLE001 - a child tells what went wrong and ends, whatever it was
            said = traceback.format_exc()
        os.write(write, said.encode()[:60_000])
        os._exit(0)
    os.close(write)
    return pid, read


def drained(fd: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        return file.read()


def one_round(data: Path, number: int, dice: random.Random) -> tuple[str, int]:
    """Kill, finish, look: what was wrong, and how many records were acknowledged before the kill."""
    names = [f"r{number}-{session}" for session in range(SESSIONS)]
    acks_read, acks_write = os.pipe()

    def child() -> str:
        os.close(acks_read)
        asyncio.run(record_and_export(data, names, acks_write))
        return ""

    pid, said = forked(child)
    os.close(acks_write)
    time.sleep(dice.uniform(0.002, DELAY_S_MAX))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    failed = drained(said).decode()
    acked: dict[int, int] = {}
    raw = drained(acks_read)
    for session, last in ACK.iter_unpack(raw[: len(raw) // ACK.size * ACK.size]):
        acked[session] = max(acked.get(session, -1), last)
    pid, said = forked(lambda: asyncio.run(finish(data, names, acked)))
    os.waitpid(pid, 0)
    return failed or drained(said).decode(), sum(last + 1 for last in acked.values())


def main() -> None:
    data, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    data.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    wrong: list[str] = []
    acknowledged = []
    small_call("warm")  # made once, before the forks
    for number in range(rounds):
        said, count = one_round(data, number, dice)
        acknowledged.append(count)
        if said:
            wrong.append(f"round {number}: {said}")
    sys.stdout.write(json.dumps({"rounds": rounds, "wrong": wrong, "acknowledged": acknowledged}))


if __name__ == "__main__":
    main()
