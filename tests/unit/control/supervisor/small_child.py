"""A child that serves nothing but what a test asks of it, so that processes are real and start at once."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from typing import Any

from rspp.contract.errors import MisuseError
from rspp.control.supervisor.child import Served, main
from rspp.control.supervisor.words import Assign, State
from rspp.host.meters import Meters, Reading


class Small:
    """Answers each connection with its own pid, and does what the line it is sent says."""

    def __init__(self, assign: Assign, listening: socket.socket) -> None:
        self.work: dict[str, Any] = assign.work
        self.listening = listening
        self.meters = Meters()
        self.server: asyncio.Server | None = None
        self.sessions = 0
        self.ready = True
        self.draining = False

    async def start(self) -> str:
        self.meters.counter("answers").add(0)
        if self.work.get("slow_s"):
            await asyncio.sleep(self.work["slow_s"])
        if self.work.get("crash_at_start"):
            os._exit(7)
        return f"pid:{os.getpid()}"

    async def accept(self, on: bool) -> None:
        if on and self.server is None:
            self.server = await asyncio.start_server(self._serve, sock=self.listening.dup())
        elif not on and self.server is not None:
            self.server.close()
            self.server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        writer.write(f"{os.getpid()}\n".encode())
        try:
            while line := await reader.readline():
                self.meters.counter("answers").add()
                if line == b"wedge\n":
                    time.sleep(600)  # noqa: ASYNC251 - this is what a wedged loop is
                elif line == b"unready\n":
                    self.ready = False
                elif line == b"crash\n":
                    os._exit(9)
                writer.write(line)
        finally:
            self.sessions -= 1
            writer.close()

    def state(self) -> State:
        reasons = () if self.ready else ("store_unreachable",)
        return State(
            ready=self.ready, reasons=reasons, sessions=self.sessions, capacity=10, load=self.sessions / 10
        )

    def reading(self) -> Reading:
        return self.meters.read()

    async def drain(self, mode: str, deadline_ms: int) -> tuple[int, int]:
        until = asyncio.get_running_loop().time() + deadline_ms / 1000
        if mode == "drain":
            while self.sessions and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - another process does not wake this one
                await asyncio.sleep(0.01)
        return (self.sessions, 0) if mode == "drain" else (0, self.sessions)

    async def stop(self) -> None:
        if self.work.get("never_ends"):
            await asyncio.sleep(600)


async def make(assign: Assign, listening: socket.socket) -> Served:
    refuses = assign.work.get("refuses")
    if refuses is True or (refuses and os.path.exists(refuses)):  # noqa: ASYNC240, PTH110 - a test's own file
        raise MisuseError("pipeline_missing", "nothing to serve")
    return Small(assign, listening)


if __name__ == "__main__":
    sys.exit(main(make, asyncio.new_event_loop, sys.argv[1:]))
