"""A crew of processes that do to one journal what they are told, until their time or their work is over, or they are killed.

python -m tests.unit.ops.journal.hammer URL FOLDER SECONDS RECORDS KILLS

Four write and one compacts; some of them are killed on the way and replaced. They end after so many seconds, or when the journal
has so many records, if that is not 0. Each is a fork of a process that has no thread and no loop: they need not import everything
again. A writer says in a file of its own the event id and the number of each record once `append` has answered. All sleep for
chance's sake, not for luck's: what must hold holds for every order.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from rspp.contract.errors import RsppError
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.ops.journal.bounds import Window
from rspp.ops.journal.journal import Journal
from tests.unit.ops.journal.made import SURFACES, change

WRITERS = 4
WINDOW = Window(records_min=512, records_max=1_024, kept_records_max=512, due_pages_min=2)
OUT = "out-"


class Crew:
    """Whom it has begun, and when they end."""

    def __init__(self, url: str, folder: Path, seconds: float, records: int) -> None:
        self._url, self._folder, self._records = url, folder, records
        self._until = time.monotonic() + seconds
        self._chance = random.Random(7)
        self._writers = [self._begun(f"w{number}") for number in range(WRITERS)]
        self._compactor = self._begun("")

    def runs(self, kills: int) -> bool:
        """Did all who were not killed end well?"""
        seconds = self._until - time.monotonic()
        try:
            for kill in range(kills):
                self._waits(kill, kills, seconds)
                place = self._chance.randrange(WRITERS)
                _killed(self._writers[place])
                _killed(self._compactor)
                self._writers[place], self._compactor = self._begun(f"k{kill}"), self._begun("")
            return all(os.waitpid(one, 0)[1] == 0 for one in [*self._writers, self._compactor])
        finally:
            for one in [*self._writers, self._compactor]:
                with suppress(ProcessLookupError, ChildProcessError):
                    _killed(one)

    def _waits(self, kill: int, kills: int, seconds: float) -> None:
        """Until somebody is to be killed: after a part of the work, or of the time."""
        share = self._chance.uniform(0.5, 1.5) / (kills + 1)
        if not self._records:
            time.sleep(max(0.0, min(share * seconds, self._until - time.monotonic())))
        while self._records and _last(self._folder) < self._records * (kill + share) / (kills + 1):
            assert time.monotonic() < self._until, "they write nothing"
            time.sleep(0.005)

    def _begun(self, name: str) -> int:
        child = os.fork()
        if child:
            return child
        ended = 1
        try:
            with (self._folder / f"{OUT}{name}").open("a") as out:
                asyncio.run(self._works(name, out))
            ended = 0
        except BaseException:  # noqa: BLE001 - it is the child's own end, and its only word
            traceback.print_exc()
        finally:
            os._exit(ended)

    async def _works(self, name: str, out: TextIO) -> None:
        store = open_store(self._url, Secrets())
        journal = Journal(store, SURFACES, MachineClock(), window=WINDOW)
        work: Coroutine[Any, Any, None] = self._write(journal, name, out) if name else self._compact(journal)
        await work
        await store.close()

    async def _write(self, journal: Journal, name: str, out: TextIO) -> None:
        chance = random.Random(name)
        number = last = 0
        (once,) = await journal.append([change(f"{name}-once", f"{name}-once", "sessions")])
        out.write(f"{once.event_id} {once.sequence}\n")
        while time.monotonic() < self._until and not 0 < self._records <= last:
            count = chance.choice((1, 1, 2, 5, 20))
            batch = [
                change(
                    f"{name}-{number + one}",
                    f"{name}-{chance.randrange(5)}",
                    chance.choice(("workers", "sessions", "leases")),
                    metadata={"number": number + one, "note": "x" * chance.randrange(200)},
                )
                for one in range(count)
            ]
            number += count
            for record in await journal.append(batch):
                out.write(f"{record.event_id} {record.sequence}\n")
                last = record.sequence
            out.flush()

    async def _compact(self, journal: Journal) -> None:
        over = False
        while time.monotonic() < self._until and not over:
            over = 0 < self._records <= (await journal.status()).last
            with suppress(RsppError):
                await journal.compact()
            await asyncio.sleep(random.random() / 20)


def _killed(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def told_in(folder: Path) -> dict[str, int]:
    """What the writers were told, by event id; a line that somebody died over is none."""
    told: dict[str, int] = {}
    for path in folder.glob(f"{OUT}*"):
        for line in path.read_text().splitlines(keepends=True):
            event, _, sequence = line.partition(" ")
            if sequence.endswith("\n"):
                told[event] = int(sequence)
    return told


def _last(folder: Path) -> int:
    return max(told_in(folder).values(), default=0)


def main(url: str, folder: str, seconds: str, records: str, kills: str) -> int:
    return 0 if Crew(url, Path(folder), float(seconds), int(records)).runs(int(kills)) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:6]))
