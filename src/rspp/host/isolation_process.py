"""One process of an isolated node and its pipes: started, written to, listened to, stopped, killed, never left behind.

It begins a process group of its own, so that what it has begun ends with it, and sees nothing of our environment that
could be a secret. What it says is cut into frames and checked here; what that means is the slot's affair.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Final, Protocol, cast

import msgspec

from rspp.host.isolation_worker import FRAME_BYTES_MAX, LENGTH, REPORTS, Ready, Report, Stop, framed

STOP_S_MAX: Final = 0.25  # for `on_stop`
BOOT: Final = "from rspp.host.isolation_worker import main; main()"
# What a node's process sees of our environment: no secret is among it.
ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "SYSTEMROOT")


class Slot(Protocol):
    """Whom a process works for."""

    def said(self, report: Report, size: int) -> None: ...
    def broke(self, reason: str) -> None: ...
    def died(self, status: int | None) -> None: ...


class Process(asyncio.SubprocessProtocol):
    """One process and its pipes."""

    def __init__(self, loop: asyncio.AbstractEventLoop, living: set[Process]) -> None:
        self.gone: asyncio.Future[None] = loop.create_future()
        self.ready = False
        self._loop = loop
        self._living = living
        self._slot: Slot | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._received = bytearray()
        self._held = False
        self._doomed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        return not self._doomed and not self.gone.done()

    async def start(self) -> None:
        environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        environment["MALLOC_ARENA_MAX"] = "1"  # an arena for each thread would count as the node's memory
        try:
            await self._loop.subprocess_exec(
                lambda: self,
                sys.executable,
                "-P",
                "-c",
                BOOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # with a group of its own: nobody's Ctrl-C, and its children end with it
            )
        except OSError:
            self._over(None)

    def serve(self, slot: Slot | None) -> None:
        self._slot = slot

    def send(self, frame: bytes) -> None:
        """To a process that is ready; what waits until then waits with its slot."""
        if self._transport is not None and not self._doomed:
            pipe = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(0))
            pipe.write(frame)

    def throttle(self, on: bool) -> None:
        """Nothing more is heard from it at once: what the loop has read already waits here, and is one read at most."""
        if self._transport is not None and not self._doomed:
            pipe = cast(asyncio.ReadTransport, self._transport.get_pipe_transport(1))
            self._held = on
            if on:
                pipe.pause_reading()
            else:
                self._loop.call_soon(self._cut)
                pipe.resume_reading()

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if not self.ready:
            self.kill()
            return
        self.send(framed(Stop()))
        if self._timer is None and self.alive:
            self._timer = self._loop.call_later(STOP_S_MAX, self.kill)

    def kill(self) -> None:
        """End it now, and whatever it has begun."""
        self._doomed = True
        transport = self._transport
        if transport is not None and transport.get_returncode() is None and not self.gone.done():
            try:
                os.killpg(transport.get_pid(), signal.SIGKILL)
            except ProcessLookupError:
                return

    # ---- what the loop says --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        if self._doomed:
            self.kill()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._received += data
        self._cut()

    def _cut(self) -> None:
        received = self._received
        while len(received) >= LENGTH.size and not self._held and not self._doomed:
            length = LENGTH.unpack_from(received)[0]
            if length > FRAME_BYTES_MAX:
                self._break()
                return
            end = LENGTH.size + length
            if len(received) < end:
                return
            body = bytes(received[LENGTH.size : end])
            del received[:end]
            try:
                report = REPORTS.decode(body)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                self._break()
                return
            self._heard(report, length)

    def _heard(self, report: Report, size: int) -> None:
        if isinstance(report, Ready):
            if self.ready:
                return
            self.ready = True
        if self._slot is not None:
            self._slot.said(report, size)

    def _break(self) -> None:
        slot = self._slot
        self.kill()
        if slot is not None:
            slot.broke("isolated_output_broken")

    def process_exited(self) -> None:
        transport = self._transport
        self._over(transport.get_returncode() if transport is not None else None)

    def _over(self, status: int | None) -> None:
        if self.gone.done():
            return
        self.gone.set_result(None)
        self._living.discard(self)
        self._doomed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()
        slot, self._slot = self._slot, None
        if slot is not None:
            slot.died(status)
