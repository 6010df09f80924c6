"""The supervised side: a process that was handed its work serves it, says how it is, and ends when it is told to.

What it serves is a `Served`, made from the work by whoever wrote the module that runs. The beat comes from the same loop as
the sessions, so that a loop that stands still is a silence.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket as sockets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.control.supervisor.channel import Channel
from rspp.control.supervisor.parenthood import die_with_parent
from rspp.control.supervisor.process import FD_ARGUMENT
from rspp.control.supervisor.words import (
    BEAT_MS,
    REASON_MAX,
    REASONS_MAX,
    Accept,
    Assign,
    Beat,
    Drain,
    Ending,
    Failed,
    Measure,
    Measured,
    Started,
    State,
    ToChild,
    decode_to_child,
)
from rspp.host.meters import Reading

log = logging.getLogger("rspp.control.supervisor")

LAST_WORDS_S: Final = 2.0
# A process whose supervisor is gone drains for so long at most; on Linux it is killed before it could begin.
ORPHAN_MS: Final = 5_000


class Served(Protocol):
    """What a child serves."""

    async def start(self) -> str:
        """Be there for callers; the process's own address."""
        ...

    async def accept(self, on: bool) -> None:
        """Take calls from the shared socket, or leave them to others."""
        ...

    def state(self) -> State: ...
    def reading(self) -> Reading: ...
    async def drain(self, mode: str, deadline_ms: int) -> tuple[int, int]:
        """Take nobody new, let go of all; how many were cut short, and how many given away."""
        ...

    async def stop(self) -> None: ...


Make = Callable[[Assign, sockets.socket], Awaitable[Served]]


class ChildRun:
    """One life of a child process."""

    def __init__(self, channel: Channel[ToChild], make: Make) -> None:
        self._channel = channel
        self._make = make
        self._served: Served | None = None
        self._orders: asyncio.Queue[Drain] = asyncio.Queue(maxsize=4)
        self._assigned: asyncio.Future[Assign | None] = asyncio.get_running_loop().create_future()
        self._lag_ms = 0.0
        self._told: State | None = None
        self._draining = False
        self._accepts = asyncio.Event()  # wanted; `_follow` does it, one change after the other
        self._news = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to end; the exit status."""
        reading = asyncio.create_task(self._listen(), name="channel")
        try:
            return await self._live()
        except RsppError as error:
            log.error("this process cannot serve: %s", error.message)  # noqa: TRY400 - said in words to whoever runs it
            # What was asked for cannot be had, today or tomorrow: whoever asked must change it.
            final = isinstance(error, MisuseError)
            self._channel.send(Failed(why=f"{error.code}: {error.message}"[:REASON_MAX], final=final))
            return 1
        finally:
            await self._channel.flush(LAST_WORDS_S)
            reading.cancel()

    async def _live(self) -> int:
        assign = await self._assigned
        if assign is None or not die_with_parent(assign.parent_pid):
            log.warning("the supervisor was gone before this process began")
            return 1
        asked = Drain(mode=assign.on_stop, deadline_ms=assign.drain_ms)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._order, asked)
        beating = asyncio.create_task(self._beat(), name="beat")
        listening = sockets.socket(fileno=assign.listening_fd)
        listening.setblocking(False)
        try:
            self._served = await self._make(assign, listening)
            endpoint = await self._served.start()
            self._channel.send(Started(endpoint=endpoint))
            self._tell()
            following = asyncio.create_task(self._follow(self._served), name="accepting")
            order = await self._orders.get()
            following.cancel()
            await asyncio.wait([following])
            self._draining = True
            await self._served.accept(False)
            # As long as anybody holds it, callers queue there: where all processes end they are refused at once instead.
            listening.close()
            self._tell()
            cut, moved = await self._served.drain(order.mode, order.deadline_ms)
            await self._served.stop()
            self._channel.send(Ending(cut=cut, moved=moved))
            return 0
        finally:
            beating.cancel()
            listening.close()

    async def _listen(self) -> None:
        await self._channel.run(self._hear)
        self._order(Drain(mode="drain", deadline_ms=ORPHAN_MS))

    async def _follow(self, served: Served) -> None:
        """Take calls, or do not, as was said last."""
        while True:
            await self._news.wait()
            self._news.clear()
            await served.accept(self._accepts.is_set())

    def _hear(self, word: ToChild) -> None:
        match word:
            case Assign():
                if not self._assigned.done():
                    self._assigned.set_result(word)
            case Accept(on=on):
                (self._accepts.set if on else self._accepts.clear)()
                self._news.set()
            case Drain():
                self._order(word)
            case Measure(number=number):
                if self._served is not None:
                    self._channel.send(Measured(number=number, reading=self._served.reading()))

    def _order(self, order: Drain) -> None:
        if not self._orders.full():
            self._orders.put_nowait(order)
        if not self._assigned.done():
            self._assigned.set_result(None)

    # ---- the beat ----------------------------------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Often enough that a change of sessions is known soon; how late a beat is says how late everything is."""
        every_s = BEAT_MS / 1000
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + every_s
            self._tell()
            for _ in range(5):
                await asyncio.sleep(every_s / 5)
                if self._is_news():
                    self._tell()
            self._lag_ms = max(0.0, (loop.time() - due) * 1000)

    def _state(self) -> State:
        state = self._served.state() if self._served is not None else State(reasons=("starting",))
        reasons = tuple(why[:REASON_MAX] for why in state.reasons[:REASONS_MAX])
        draining = state.draining or self._draining
        return msgspec.structs.replace(
            state,
            ready=state.ready and not draining,
            draining=draining,
            reasons=reasons,
            lag_ms=round(self._lag_ms, 1),
            cpu_s=round(time.process_time(), 3),
        )

    def _is_news(self) -> bool:
        """What decides who takes the next call has changed."""
        told, state = self._told, self._state()
        return told is None or (told.ready, told.sessions) != (state.ready, state.sessions)

    def _tell(self) -> None:
        self._told = self._state()
        self._channel.send(Beat(state=self._told))


def main(make: Make, loop_factory: Callable[[], asyncio.AbstractEventLoop], argv: list[str]) -> int:
    """A child's whole life; `argv` is what `Child.start` gave it."""
    parser = argparse.ArgumentParser(description="A worker of `rspp serve`; not to be started by hand.")
    parser.add_argument(FD_ARGUMENT, type=int, required=True, dest="fd")
    fd = parser.parse_args(argv).fd
    os.set_inheritable(fd, False)
    socket = sockets.socket(fileno=fd)
    socket.setblocking(False)

    async def run() -> int:
        channel: Channel[Any] = Channel(socket, decode_to_child)
        return await ChildRun(channel, make).run()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(run())
