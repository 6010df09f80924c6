"""What a manifest is given to be seen by others: it puts each line on record in a store, and hands out operators' signals.

A manifest waits for nobody: it says its updates from a plain script, or in the middle of somebody's event loop. So the store
lives in a loop of its own, in a thread of its own, and whoever calls waits a few seconds at most. What cannot be told in time
raises, and the manifest tells it again with its next update.

    with WorkTeller("sqlite:///var/lib/rspp/control.db") as teller:
        manifest = Manifest("RUNTIME_MANIFEST.yaml", tells=teller)
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.fleet.work import Work, WorkSessions
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Clock, Store
from rspp.host.secrets import Secrets
from rspp.manifest.telling import Mark, WorkSnapshot
from rspp.server.state import Told
from rspp.server.work.kept import KeptWork

log = logging.getLogger("rspp.server.work")

WITHIN_S: Final = 4.0
CLOSE_S: Final = 3.0
# The word that a manifest takes for a signal; who gave it is on record.
SIGNAL: Final = "go"
# The stores of `rspp run --control` and of `rspp serve` in a data folder: the first that is there.
STORE_FILES: Final = ("control.db", "serve.db")
ResultT = TypeVar("ResultT")


class WorkTeller:
    """Safe from any thread. Its first use opens the store; close it, or leave its context."""

    def __init__(
        self,
        store: str | Path,
        *,
        secrets: Secrets | None = None,
        within_s: float = WITHIN_S,
        clock: Clock | None = None,
    ) -> None:
        """`store` is an address, or a data folder. Raises `MisuseError` for an address that is none."""
        self._address = _address_in(store) if isinstance(store, Path) else store
        self._within_s, self._clock = within_s, clock or MachineClock()
        # Not connected yet: its first call tells whether it can be reached.
        self._store: Store = open_store(self._address, secrets or Secrets(), clock)
        self._source = f"work:{os.getpid()}"
        self._warned = self._closed = False
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._told: Told | None = None  # the loop's own
        self._kept: KeptWork | None = None  # likewise

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        """They are on record, each as one record of the journal; raises `RsppError` or `OSError` when they are not."""
        if snapshots:
            self._asked(lambda: self._tell(list(snapshots)))

    def last(self, session: str) -> Mark | None:
        """What is on record of the session of this name, and in the journal for certain; raises as `told` does."""
        work = self._asked(lambda: self._last(session))
        return Mark(line=work.line, trace=work.trace) if work is not None else None

    def signal(self, session: str, step: str) -> str | None:
        """The signal that an operator gave for this step of this session, taken by asking; None where there is none, or
        nobody can say: who works goes on without it, or waits.
        """
        try:
            taken = self._asked(lambda: WorkSessions(self._store, self._wall_ms).take(session, step))
        except (RsppError, OSError) as error:
            self._warn("no signal can be asked for", error)
            return None
        if taken is None:
            return None
        log.info("the signal for step %s of %s was given by %s: %s", step, session, taken.by, taken.reason)
        return SIGNAL

    def close(self) -> None:
        """What was told is written, if the store takes it in time. It may be called again."""
        with self._starting:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            self._closed = True
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._end(), loop).result(CLOSE_S)
        except (RsppError, OSError, TimeoutError) as error:
            self._warn("the store was not closed in order", error)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- in its own loop -----------------------------------------------------------------------------------------------

    async def _tell(self, snapshots: Sequence[WorkSnapshot]) -> None:
        await self._keeping().tell(snapshots)

    async def _last(self, session: str) -> Work | None:
        return await self._keeping().last(session)

    def _keeping(self) -> KeptWork:
        if self._kept is None:
            self._told = Told(self._store, self._clock, source=self._source)
            self._told.begin()
            self._kept = KeptWork(self._told, source=self._source, wall_ms=self._wall_ms)
        return self._kept

    async def _end(self) -> None:
        if self._told is not None:
            await self._told.end()
            await self._told.store.close()
        else:
            await self._store.close()

    def _wall_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS

    # ---- from whatever thread --------------------------------------------------------------------------------------------

    def _asked(self, doing: Callable[[], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """What it gives, within the time that a caller has; raises `PeerFault` for what takes longer."""
        loop = self._running()
        asked = asyncio.run_coroutine_threadsafe(doing(), loop)
        try:
            return asked.result(self._within_s)
        except TimeoutError:
            asked.cancel()
            message = f"the store did not take it within {self._within_s:g} s"
            raise PeerFault("work_untold", message) from None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._closed:
                raise MisuseError("store_closed", "this teller is closed")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                # A daemon: a process that ends without closing it must not hang.
                self._thread = threading.Thread(target=_run, args=(loop,), name="work-teller", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def _warn(self, what: str, error: Exception) -> None:
        if not self._warned:
            self._warned = True
            said = error.message if isinstance(error, RsppError) else type(error).__name__
            log.warning("%s: %s", what, said)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def _address_in(folder: Path) -> str:
    there = [folder / name for name in STORE_FILES if (folder / name).is_file()]
    chosen = there[0] if there else folder / STORE_FILES[0]
    return f"sqlite://{quote(str(chosen.absolute()))}"
