"""The server's half of a measurement over sockets: a host behind real WebSockets, alone on its core.

    python -m rspp.cli.bench_socket_server JSON

Says where it listens, then does what its standard input says, a word a line: `base` (the sessions opened from now on are
the ones weighed), `begin`, and `end`, which prints what was measured and ends the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from time import monotonic_ns, process_time_ns

import msgspec

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.cli import bench_machine as machine
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_talk import STAMP, pipeline, registry
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.host.host import Host, HostSettings
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import AudioReceived, Input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec import GraphDefinition


class ServerOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    sessions: int
    answer_ms: int
    core: int


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What the server saw between `begin` and `end`."""

    cpu_ns: int
    took_ns: int
    rss_bytes: int  # since `base`
    frames_in: int
    lateness_in_ms_p99: float | None
    sessions_alive: int
    loop: str


class Listener:
    """The record of one session: how late its frames were, by the time that each carries."""

    __slots__ = ("_into",)

    def __init__(self, into: Lateness) -> None:
        self._into = into

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...

    def took(self, at: int, received: Input) -> None:
        if received.__class__ is AudioReceived:
            data: bytes = received.audio.data
            self._into.add(at - int.from_bytes(data[STAMP], "little"))

    def did(self, at: int, effects: Sequence[Effect]) -> None: ...
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:  # noqa: ARG002 - the port's signature
        return None

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None: ...
    def closed(self) -> None: ...


class Server:
    """One host, and the figures of one measurement."""

    def __init__(self, order: ServerOrder) -> None:
        self._into = Lateness()
        room = 2 * order.sessions + 20
        self._host = Host(
            registry(),
            HostSettings(sessions_max=room, owns_process=True),
            recorders=lambda _: Listener(self._into),
        )
        self._host.publish(pipeline(order.answer_ms))
        # The allowance for new sockets is not what is measured.
        self._transport = WebSocketTransport(
            Settings(port=0, connections_max=room, connects_per_second=10_000, connects_burst=10_000)
        )
        self._base = self._cpu = self._since = 0

    async def serve(self) -> None:
        await self._host.start()
        await self._transport.start(self._host)
        say(self._transport.url.encode())
        words = await lines()
        while word := (await words.readline()).strip():
            if word == b"base":
                self._base = machine.rss_bytes()
            elif word == b"begin":
                self._into.clear()
                self._cpu, self._since = process_time_ns(), monotonic_ns()
            elif word == b"end":
                say(msgspec.json.encode(self.served()))
                break
        await self._transport.stop("measured")
        await self._host.stop()

    def served(self) -> Served:
        return Served(
            cpu_ns=process_time_ns() - self._cpu,
            took_ns=monotonic_ns() - self._since,
            rss_bytes=machine.rss_bytes() - self._base,
            frames_in=self._into.seen,
            lateness_in_ms_p99=self._into.quantile_ms(0.99),
            sessions_alive=sum(not s.ended and not s.lost for s in self._host.sessions.values()),
            loop=machine.loop_name(),
        )


def say(line: bytes) -> None:
    os.write(sys.stdout.fileno(), line + b"\n")


async def lines() -> asyncio.StreamReader:
    """Standard input, line by line."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    return reader


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=ServerOrder)
    machine.pin(order.core)
    machine.run(Server(order).serve())


if __name__ == "__main__":
    main()
