"""Whether what a worker needs answers: its store and its providers, looked at every second, each within its own time.

What fails makes the worker not ready and nothing else: the sessions that run have their own answers to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from rspp.contract.errors import RsppError
from rspp.control.names import MEMBERS
from rspp.host.host import Host
from rspp.host.ports import Bootstrap, Line, Refused, Seat, Store
from rspp.host.providers import Providers

log = logging.getLogger("rspp.serve")

EVERY_S: Final = 1.0
STORE_S_MAX: Final = 2.0
RETRY_MS: Final = 2_000
PROBE_KEY: Final = "probe"  # nobody's; to be told that it is not there is an answer


class Dependencies:
    """Looks, and remembers what failed at the last look."""

    def __init__(
        self, store: Store, providers: Providers, changed: Callable[[], None], *, own_pipelines: bool = True
    ) -> None:
        """Without `own_pipelines` providers are tenants' own: one's broken one must not turn away all the others."""
        self._store, self._providers, self._changed = store, providers, changed
        self._own_pipelines = own_pipelines
        self._store_failing = False
        self._tasks: list[asyncio.Task[None]] = []  # bounded: one for each of the two

    def failing(self) -> tuple[str, ...]:
        reasons = ["store_unreachable"] if self._store_failing else []
        if self._own_pipelines:
            # One that is being opened, for a pipeline that is new here, is no reason: its own callers wait for it.
            failing = (one.name for one in self._providers.readiness() if one.failure is not None)
            reasons += [f"provider:{name}" for name in failing]
        return tuple(reasons)

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        for name, look in (("store", self._look_at_store), ("providers", self._providers.check)):
            self._tasks.append(loop.create_task(self._again_and_again(look), name=f"dependency:{name}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _again_and_again(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            before = self.failing()
            await look()
            if self.failing() != before:
                log.warning("dependencies that fail now: %s", ", ".join(self.failing()) or "none")
                self._changed()
            await asyncio.sleep(EVERY_S)

    async def _look_at_store(self) -> None:
        try:
            async with asyncio.timeout(STORE_S_MAX):
                await self._store.get(MEMBERS, PROBE_KEY)
        except (RsppError, TimeoutError):
            self._store_failing = True
        else:
            self._store_failing = False


class Enters(Protocol):
    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat: ...


class Doorkeeper:
    """A door that takes nobody new while something fails without which no call could be answered.

    Whoever is back is let through: its session runs already, and has its own answer to what fails.
    """

    def __init__(self, worker: Enters, host: Host, failing: Callable[[], tuple[str, ...]]) -> None:
        self._worker, self._host, self._failing = worker, host, failing

    def find(self, session_id: str) -> Seat | None:
        return self._host.find(session_id)

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        failing = self._failing()
        if failing and not bootstrap.back:
            raise Refused("runtime_not_ready", "what a call needs does not answer", RETRY_MS)
        return await self._worker.enter(bootstrap, line)
