"""Telling costs the owner nothing: a bounded queue, a task that writes in batches, and a count of what could not be told.

    tell -> queue (QUEUE_CHANGES_MAX) -> batches -> Journal.append
               full, or not to be recorded: `lost`, by surface, and whoever watches tells it instead

While the journal cannot be written, `problem` says why and the queue fills; the same batch is tried again, with the same event
ids, until it is written. `tell` belongs to the loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from itertools import islice
from typing import Final

from rspp.contract.errors import MisuseError, RsppError
from rspp.ops.changes import Change
from rspp.ops.journal.bounds import (
    BATCH_RECORDS_MAX,
    QUEUE_CHANGES_MAX,
    RETRY_MS,
    RETRY_MS_MAX,
    TIDY_AGAIN_MS,
)
from rspp.ops.journal.journal import Journal

log = logging.getLogger("rspp.ops.journal.writer")

# Under this name stands what belongs to no surface that is declared.
UNDECLARED: Final = "undeclared"
# A fault of our own may be one of the moment, such as no memory: so often the same change is tried again before it is lost.
FAULTS_MAX: Final = 3


class Writer:
    """One a process. `run` writes until it is cancelled; before that, `flush` waits for what was told."""

    def __init__(self, journal: Journal, *, queue_changes_max: int = QUEUE_CHANGES_MAX) -> None:
        self.problem = ""  # why nothing can be written now; empty: it can
        self.refused = ""  # why the last change that cannot be recorded cannot
        self.lost: dict[str, int] = {}  # bounded: by the declarations
        self.written = 0
        self._journal = journal
        self._waiting: deque[Change] = deque(maxlen=queue_changes_max)
        self._told = asyncio.Event()
        self._tidy_at = 0.0
        self._faults = 0  # of our own, in a row, with the change that is the next one
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def tell(self, change: Change) -> None:
        """Never waits, never raises."""
        if len(self._waiting) == self._waiting.maxlen:
            self._lose(change)
            return
        self._waiting.append(change)
        self._empty.clear()
        self._told.set()

    async def flush(self, within_ms: int) -> bool:
        """Is everything that was told so far written, or lost? Waits so long at most; `run` must be running."""
        try:
            async with asyncio.timeout(within_ms / 1000):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        pause_ms = RETRY_MS
        while True:
            await self._told.wait()
            why = await self._write(list(islice(self._waiting, BATCH_RECORDS_MAX)))
            if why is None:
                pause_ms = RETRY_MS
                await self._tidy()
                continue
            if not self.problem:
                log.warning("the journal cannot be written: %s", why)
            self.problem = why
            await asyncio.sleep(pause_ms * random.uniform(0.5, 1.0) / 1000)  # noqa: S311 - no secret hangs on it
            pause_ms = min(2 * pause_ms, RETRY_MS_MAX)

    async def _write(self, batch: list[Change]) -> str | None:
        """Why it cannot be written now; None where each of it is written or lost for good. What is either waits no more."""
        try:
            await self._journal.append(batch)
        except MisuseError as error:
            if error.code == "store_closed":
                return _why(error)
            return await self._one_by_one(batch, error)
        except (RsppError, OSError) as error:
            return _why(error)
        except Exception as error:  # noqa: BLE001 - supervised: what one change does to us, the others must not feel
            if len(batch) == 1 and self._faults < FAULTS_MAX:
                self._faults += 1
                return _why(error)
            return await self._one_by_one(batch, error)
        self._done(len(batch))
        self.written += len(batch)
        self.problem = ""
        return None

    async def _one_by_one(self, batch: list[Change], error: Exception) -> str | None:
        """One of them cannot be recorded, ever. The others can."""
        if len(batch) == 1:
            self._done(1)
            self._lose(batch[0])
            self.problem = ""
            before, self.refused = self.refused, _why(error)
            if self.refused != before:  # said once; the number of them is kept
                log.error("a change of %s cannot be recorded: %s", self._named(batch[0]), self.refused)
            return None
        for one in batch:
            why = await self._write([one])
            if why is not None:
                return why
        return None

    def _done(self, count: int) -> None:
        self._faults = 0
        for _ in range(count):
            self._waiting.popleft()
        if not self._waiting:
            self._told.clear()
            self._empty.set()

    async def _tidy(self) -> None:
        """The journal keeps its bound because whoever writes sees to it. Where that cannot be done, it is tried now and then."""
        now = asyncio.get_running_loop().time()
        if now < self._tidy_at:
            return
        try:
            if self._journal.is_over_bound():
                await self._journal.compact()
        except Exception as error:  # noqa: BLE001 - supervised: it is written on all the same
            self._tidy_at = now + TIDY_AGAIN_MS / 1000
            log.warning("the journal cannot be compacted: %s", _why(error))

    def _lose(self, change: Change) -> None:
        name = self._named(change)
        self.lost[name] = self.lost.get(name, 0) + 1

    def _named(self, change: Change) -> str:
        name = getattr(change, "surface", UNDECLARED)
        return name if isinstance(name, str) and self._journal.surfaces.get(name) else UNDECLARED


def _why(error: Exception) -> str:
    """By code and by the store's own sentence; of what is no error of ours, its kind alone."""
    return f"{error.code}: {error.message}" if isinstance(error, RsppError) else type(error).__name__
