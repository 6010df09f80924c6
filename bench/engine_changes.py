"""What the state engine costs a thousand changes: telling them, keeping them in the journal, and following them.

    python bench/engine_changes.py [--json] [--changes 2000] [--per-s 200] [--sessions 500]

Sessions' statuses are written to the embedded store at a steady rate, one phase after the other: plainly; through the store that
tells, with the journal's writer; the same while an engine in this process follows both; and the same while its health is asked
for after every tenth change. CPU is that of all threads of the process; the first phase and what the engine costs while nothing
happens are taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, process_time, time
from typing import Any, Final

import msgspec

from rspp.cli import bench_machine as machine
from rspp.control import names
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.ops.engine import StateEngine
from rspp.server.state import Told

TENANT: Final = "bench"
HEALTH_EVERY: Final = 10
IDLE_S: Final = 5.0
SETTLE_S: Final = 1.0

Act = Callable[[int], Awaitable[None]]


def status(number: int, turns: int) -> tuple[str, str, bytes]:
    """Bucket, key and value of one session with so many turns."""
    session, wall_ms = f"s-{number:06}", int(time() * 1000)
    word = SessionWord.RUNNING if turns else SessionWord.CONNECTED
    found = Status(
        tenant=TENANT,
        session=session,
        state=word,
        since_ms=wall_ms,
        opened_ms=wall_ms,
        epoch=1,
        owner="bench",
        turns=turns,
    )
    return names.STATUS, names.key(TENANT, session), msgspec.json.encode(found)


class Phases:
    """One store, and what each way of writing to it costs."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._given = given
        self._round = 0

    async def written(self, store: Store, after: Act) -> float:
        """CPU milliseconds of a thousand changes, everything included."""
        given = self._given
        self._round += given.changes // given.sessions + 1
        began, cpu = monotonic(), process_time()
        for number in range(given.changes):
            turns = self._round + number // given.sessions
            await store.put(*status(number % given.sessions, turns))
            await after(number)
            await asyncio.sleep(max(0.0, began + (number + 1) / given.per_s - monotonic()))
        await asyncio.sleep(SETTLE_S)
        self.took_s = monotonic() - began
        return (process_time() - cpu) * 1e6 / given.changes

    async def run(self, url: str) -> dict[str, float]:
        async def nothing(_: int) -> None: ...

        bare = open_store(url, Secrets())
        plain = await self.written(bare, nothing)
        told = Told(bare, source="bench")
        told.begin()
        telling = await self.written(told.store, nothing)
        engine = told.engine()
        await engine.load()
        following = asyncio.create_task(engine.run())
        idle_share = await idle()
        followed = await self.written(told.store, nothing)
        idle_ms = idle_share * self.took_s * 1e6 / self._given.changes

        async def look(number: int) -> None:
            if not number % HEALTH_EVERY:
                engine.health()

        looked = await self.written(told.store, look)
        health_ms = asked(engine)
        following.cancel()
        await asyncio.wait((following,))
        await told.end()
        await bare.close()
        return {
            "put_ms": round(plain, 1),
            "told_and_journalled_ms": round(telling - plain, 1),
            "followed_ms": round(followed - telling - idle_ms, 1),
            "health_every_tenth_ms": round(looked - followed, 1),
            "health_ms_once": round(health_ms, 2),
            "engine_idle_cpu_share": round(idle_share, 4),
        }


async def idle() -> float:
    """The share of a core that the process takes while nothing happens."""
    began, cpu = monotonic(), process_time()
    await asyncio.sleep(IDLE_S)
    return (process_time() - cpu) / (monotonic() - began)


def asked(engine: StateEngine) -> float:
    """CPU milliseconds of health made anew, over all rows that there are."""
    times = 20
    cpu = process_time()
    for _ in range(times):
        engine._health = None
        engine.health()
    return (process_time() - cpu) * 1000 / times


async def measure(given: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="rspp-bench-") as folder:
        return await Phases(given).run(f"sqlite://{Path(folder) / 'store.db'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--changes", type=int, default=2_000)
    parser.add_argument("--per-s", type=float, default=200.0)
    parser.add_argument("--sessions", type=int, default=500)
    given = parser.parse_args()
    found: dict[str, Any] = machine.run(measure(given))
    if given.json:
        print(json.dumps({"asked": vars(given), **found}, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:28}{value:>10}")


if __name__ == "__main__":
    main()
