"""The loopback transport: each script that is placed is a caller at the door, served like one from a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rspp.adapters.transports.loopback.caller import Caller, CallerOutcome
from rspp.adapters.transports.loopback.script import Step
from rspp.contract.errors import MisuseError
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.host.clock import MachineClock
from rspp.host.ports import Bootstrap, Clock, Door, TransportInfo

INFO: Final = TransportInfo(kind="loopback", rates=(16_000,))
STOP_S_MAX: Final = 5.0


class Loopback:
    """Callers without a network. Who is placed before `start` is called in by it."""

    info = INFO

    def __init__(self, scripts: Sequence[Sequence[Step]] = (), *, clock: Clock | None = None) -> None:
        self._clock = clock or MachineClock()
        self._scripts = scripts
        self._door: Door | None = None
        self._calls: set[asyncio.Task[CallerOutcome]] = set()
        self._callers: set[Caller] = set()
        self.callers: list[Caller] = []  # bounded: those of the scripts given at the beginning

    async def start(self, door: Door) -> None:
        self._door = door
        for steps in self._scripts:
            caller = Caller(steps, self._clock)
            self.callers.append(caller)
            await self.place(caller)

    async def place(self, caller: Caller, tenant_id: str = "local") -> asyncio.Task[CallerOutcome]:
        """Let a caller in; raises `Refused` as the door does. The task ends with the call."""
        if self._door is None:
            raise MisuseError("transport_not_started", "start the transport before callers come")
        bootstrap = Bootstrap(
            schema_version=CORE_SCHEMA_VERSION,
            transport_kind=INFO.kind,
            tenant_id=tenant_id,
            requested_at_ms=self._clock.wall() // 1_000_000,
        )
        seat = await self._door.enter(bootstrap, caller)
        task = asyncio.get_running_loop().create_task(caller.run(seat), name=f"loopback:{seat.session_id}")
        self._calls.add(task)
        self._callers.add(caller)
        task.add_done_callback(self._calls.discard)
        task.add_done_callback(lambda _: self._callers.discard(caller))
        return task

    async def over(self) -> list[CallerOutcome]:
        """Wait until every caller has hung up."""
        return list(await asyncio.gather(*self._calls))

    async def stop(self, reason: str) -> None:
        """No more callers; those who are there hang up."""
        self._door = None
        for caller in list(self._callers):
            caller.leave()
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=STOP_S_MAX)
        for caller in list(self._callers):
            caller.close(reason)  # its session did not let it go in time
        if self._calls:
            await asyncio.wait(set(self._calls))
