"""The callers of `bench/consoles.py`, a process of their own: hundreds of calls over real WebSockets that ask, listen and pause.

    python bench/consoles_calls.py JSON

Each caller asks a spoken question every so often, hears the answer out, and sends nothing in between, as clients do that leave
silence out. Now and then one more comes for a moment, so that there is something new to be seen. Told by its standard input:
`begin` forgets what was measured, `end` says it.

A frame of an answer is late by what lies between when the pace wanted it and when it came out of the socket here; the first one
of an answer sets the clock. The first second of an answer does not count: the synthesiser is at double speed and so not ahead of
the pace yet, whatever the runtime does. A ping measures the way there and back through the worker's own loop. How late this process
itself was is measured too: a figure that is no larger than that says nothing about the runtime.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from time import monotonic_ns, process_time, time_ns
from typing import Final

import msgspec
from picows import WSFrame, WSMsgType, WSTransport, ws_connect

from rspp.cli import bench_machine as machine
from rspp.cli.bench_load import FRAMES_PER_REPORT
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_rounds import Rounds
from rspp.cli.bench_socket import ENCODING, SocketCaller
from rspp.cli.bench_socket_server import lines, say
from rspp.cli.bench_talk import FRAME_MS, LOUD, QUESTION_FRAMES, QUIET, SAMPLES
from rspp.contract.wire import SUBPROTOCOLS, Hello, encode_header

FRAMES_PER_S: Final = 50
# After the question so much silence, in which it is found to be over.
PAUSE_FRAMES: Final = 75
STEADY_FRAMES: Final = 50
AT_ONCE: Final = 10
BETWEEN_S: Final = 0.15  # less than what a worker takes a second
PING_EVERY_S: Final = 0.05
TICK_S: Final = 0.005
VISIT_EVERY_S: Final = 2.0
VISIT_S: Final = 1.5
VISITS_MAX: Final = 10_000


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    sessions: int
    every_s: float


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Of many times, in milliseconds, in steps of 0.1."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    count: int


def spread(of: Lateness) -> Spread:
    return Spread(
        p50_ms=of.quantile_ms(0.5), p95_ms=of.quantile_ms(0.95), p99_ms=of.quantile_ms(0.99), count=of.seen
    )


class Heard(msgspec.Struct, frozen=True, kw_only=True):
    """What the callers saw from `begin` to `end`."""

    late: Spread  # frames of answers
    answer: Spread  # from the end of a question to the first frame
    ping: Spread
    own: Spread  # how late this process was
    turns: int
    alive: int
    cpu_s: float
    visits: dict[str, float]  # session: when it was welcomed, in milliseconds of the wall clock


class Figures:
    """Everything that is measured, until it is forgotten."""

    def __init__(self) -> None:
        self.late, self.answer, self.ping, self.own = Lateness(), Lateness(), Lateness(), Lateness()
        self.begun = Lateness()  # of frames that do not count
        self.turns = 0
        self.visits: dict[str, float] = {}  # bounded: VISITS_MAX


class Caller(SocketCaller):
    """Asks, listens, pauses."""

    def __init__(self, figures: Figures, wait: int, every: int) -> None:
        super().__init__(figures.late, wait)
        self.figures = figures
        self.asked_at = 0
        self.cut = False
        self._every, self._round, self._played = every, 0, 0

    def hello(self) -> Hello:
        return Hello(tenant="bench")

    def say(self) -> None:
        """The next 20 ms, of which most are not worth sending."""
        number = self._round
        self._round = number + 1
        place = (number - self._wait) % self._every
        if number >= self._wait and place < QUESTION_FRAMES + PAUSE_FRAMES:
            sound = LOUD if place < QUESTION_FRAMES else QUIET
            header = encode_header(0, self.said, self._epoch, self.said * SAMPLES)
            self._transport.send(WSMsgType.BINARY, header + sound)
            self.said += 1
            if place == QUESTION_FRAMES - 1:
                self.asked_at = monotonic_ns()
        if self._played < self._frames * FRAME_MS and not number % FRAMES_PER_REPORT:
            so_far = (monotonic_ns() - self._started_at) // 1_000_000
            self._played = min(self._frames * FRAME_MS, so_far)
            self._report("position", self._played)

    def begin_turn(self, turn_id: str) -> None:
        super().begin_turn(turn_id)
        self._played = 0
        self.figures.turns += 1

    def _audio(self, data: bytes) -> None:
        before = self._frames
        self._out = self.figures.late if before >= STEADY_FRAMES else self.figures.begun
        super()._audio(data)
        if not before and self._frames and self.asked_at:
            self.figures.answer.add(monotonic_ns() - self.asked_at)
            self.asked_at = 0

    def ping(self) -> None:
        self._transport.send_ping(monotonic_ns().to_bytes(8, "little"))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.PONG:
            self.figures.ping.add(monotonic_ns() - int.from_bytes(frame.get_payload_as_bytes(), "little"))
        elif frame.msg_type is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        else:
            super().on_ws_frame(transport, frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.cut = True
        super().on_ws_disconnected(transport)


class Crowd:
    """All of them."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.figures = Figures()
        self.callers: list[Caller] = []  # bounded: by the order

    async def run(self) -> None:
        count, every = self._order.sessions, int(self._order.every_s * FRAMES_PER_S)
        self.callers = [Caller(self.figures, number * every // count, every) for number in range(count)]
        for start in range(0, len(self.callers), AT_ONCE):
            group = self.callers[start : start + AT_ONCE]
            await asyncio.gather(*(connected(self._order.url, one) for one in group))
            await asyncio.sleep(BETWEEN_S)
        rounds = Rounds(self.callers, Caller.say)
        tasks = [asyncio.create_task(work()) for work in (self._ping, self._tick, self._visit)]
        machine.settle_heap()
        say(b"ready")
        words = await lines()
        cpu = 0.0
        while word := (await words.readline()).strip():
            if word == b"begin":
                self._forget()
                cpu = process_time()
            elif word == b"end":
                say(msgspec.json.encode(self._heard(process_time() - cpu)))
        rounds.stop()
        for task in tasks:
            task.cancel()
        for caller in self.callers:
            caller.hang_up()

    def _forget(self) -> None:
        self.figures = Figures()
        for caller in self.callers:
            caller.figures = self.figures

    def _heard(self, cpu: float) -> Heard:
        figures = self.figures
        return Heard(
            late=spread(figures.late),
            answer=spread(figures.answer),
            ping=spread(figures.ping),
            own=spread(figures.own),
            turns=figures.turns,
            alive=sum(not caller.cut for caller in self.callers),
            cpu_s=round(cpu, 3),
            visits=figures.visits,
        )

    async def _ping(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(PING_EVERY_S)
            number = (number + 7) % len(self.callers)
            if not self.callers[number].cut:
                self.callers[number].ping()

    async def _tick(self) -> None:
        while True:
            due = monotonic_ns() + int(TICK_S * 1e9)
            await asyncio.sleep(TICK_S)
            self.figures.own.add(monotonic_ns() - due)

    async def _visit(self) -> None:
        """Somebody new every now and then, for a moment."""
        while True:
            await asyncio.sleep(VISIT_EVERY_S)
            visitor = Caller(Figures(), 0, FRAMES_PER_S * 3_600)
            with suppress(ConnectionError):
                await connected(self._order.url, visitor)
                if len(self.figures.visits) < VISITS_MAX:
                    self.figures.visits[visitor.session] = time_ns() / 1e6
                await asyncio.sleep(VISIT_S)
                visitor.hang_up()


async def connected(url: str, caller: Caller) -> None:
    subprotocol = next(name for name, words in SUBPROTOCOLS.items() if words == ENCODING)
    await ws_connect(
        lambda: caller, url, extra_headers={"Sec-WebSocket-Protocol": subprotocol}, use_aiofastnet=False
    )
    await caller.welcomed


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    machine.run(Crowd(order).run())


if __name__ == "__main__":
    main()
