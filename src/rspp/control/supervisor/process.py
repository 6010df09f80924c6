"""One child process, as its supervisor has it: started with the shared socket, heard of by beats, and ended for certain.

A child is a session of its own (a signal of the terminal reaches the supervisor alone), and the kernel kills it when its
supervisor dies (`parenthood`). Whoever awaits `ended` knows that the process is gone, by waiting for it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket as sockets
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rspp.control.supervisor.channel import Channel
from rspp.control.supervisor.health import Seen
from rspp.control.supervisor.words import (
    Accept,
    Assign,
    Beat,
    Drain,
    Ending,
    Failed,
    FromChild,
    Measure,
    Measured,
    Started,
    State,
    decode_from_child,
)
from rspp.host.meters import Reading

log = logging.getLogger("rspp.control.supervisor")

FD_ARGUMENT: Final = "--channel-fd"


class Exit(msgspec.Struct, frozen=True):
    """How a process ended. `asked`: it was told to, and said goodbye."""

    code: int
    asked: bool
    why: str
    final: bool = False


class Child:
    """A process and its channel."""

    def __init__(self, assign: Assign, changed: Callable[[], None]) -> None:
        self.name = assign.name
        self.endpoint = ""
        self.state: State | None = None
        self.ending: Ending | None = None
        self.failed: Failed | None = None
        self.killed_for = ""
        self.accepts = False
        self.serves = asyncio.Event()  # it takes calls, or is gone
        self.is_ready = asyncio.Event()
        self._assign, self._changed = assign, changed
        self._began_at = self._heard_at = time.monotonic_ns()
        self._process: asyncio.subprocess.Process
        self._channel: Channel[FromChild]
        self._numbers = itertools.count(1)
        # Bounded: by the probes that wait, each for a second.
        self._asked: dict[int, asyncio.Future[Reading | None]] = {}
        self.ended: asyncio.Task[Exit]

    async def start(self, command: Sequence[str], listening: sockets.socket) -> None:
        """Run it, and hand it its work; raises OSError where no process can be made."""
        ours, theirs = sockets.socketpair()
        ours.setblocking(False)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                FD_ARGUMENT,
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(), listening.fileno()),
                start_new_session=True,
                stdin=asyncio.subprocess.DEVNULL,
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._heard_at = time.monotonic_ns()
        self._channel = Channel(ours, decode_from_child)
        reading = asyncio.create_task(self._channel.run(self._hear), name=f"channel:{self.name}")
        # The channel opens in the task's first step; then there is somebody to speak to.
        await asyncio.sleep(0)
        while not self._channel.send(self._assign):
            if reading.done():
                break
            await asyncio.sleep(0.001)
        self.ended = asyncio.create_task(self._wait(reading), name=f"child:{self.name}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def seen(self) -> Seen:
        silent_ms = (time.monotonic_ns() - self._heard_at) // 1_000_000
        starting = not self.serves.is_set()
        return Seen(
            name=self.name,
            pid=self.pid,
            starting=starting,
            silent_ms=silent_ms,
            endpoint=self.endpoint,
            state=self.state,
        )

    @property
    def age_ms(self) -> int:
        return (time.monotonic_ns() - self._began_at) // 1_000_000

    # ---- orders ----------------------------------------------------------------------------------------------------

    def accept(self, on: bool) -> None:
        if on != self.accepts and self._channel.send(Accept(on=on)):
            self.accepts = on

    def drain(self, mode: str, deadline_ms: int) -> None:
        self.accepts = False
        self._channel.send(Drain(mode=mode, deadline_ms=deadline_ms))

    def kill(self, why: str) -> None:
        """End it now, whatever it is in; it and what it started."""
        self.killed_for = self.killed_for or why
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it is gone, and about to be waited for

    async def measure(self, within_s: float) -> Reading | None:
        """Its meters, or None if it does not answer in time, or is gone."""
        number = next(self._numbers)
        waiting = self._asked[number] = asyncio.get_running_loop().create_future()
        try:
            if not self._channel.send(Measure(number=number)):
                return None
            return await asyncio.wait_for(waiting, within_s)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    # ---- what it says ------------------------------------------------------------------------------------------------

    def _hear(self, word: FromChild) -> None:
        self._heard_at = time.monotonic_ns()
        match word:
            case Started(endpoint=endpoint):
                self.endpoint = endpoint
                self.serves.set()
            case Beat(state=state):
                self.state = state
                if state.ready:
                    self.is_ready.set()
                self._changed()
            case Measured(number=number, reading=reading):
                waiting = self._asked.get(number)
                if waiting is not None and not waiting.done():
                    waiting.set_result(reading)
            case Ending():
                self.ending = word
            case Failed():
                self.failed = word

    async def _wait(self, reading: asyncio.Task[None]) -> Exit:
        code = await self._process.wait()
        # What it said last is still in the socket, whose other end is closed now.
        await asyncio.wait([reading], timeout=1.0)
        reading.cancel()
        self.serves.set()
        self.is_ready.set()
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_result(None)
        failed = self.failed
        if failed is not None:
            return Exit(code, False, failed.why, failed.final)
        return Exit(code, self.ending is not None and code == 0, self.killed_for or _why(code))


def _why(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def python_module(module: str) -> tuple[str, ...]:
    """A command line that runs a module with this very interpreter."""
    return (sys.executable, "-m", module)
