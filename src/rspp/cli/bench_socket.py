"""The callers' half of a measurement over sockets, on the other core: `python -m rspp.cli.bench_socket JSON`.

Starts the server (`bench_socket_server`), connects its callers over real WebSockets, has them ask and listen, and measures
how late each frame of the answers comes out of the socket; the server measures the other way, from the time at which a frame
was due to be sent, which each frame carries, to when the kernel took it. Both processes read the machine's one monotonic clock.

The callers are slimmer than the reference client, so that one core can be three hundred of them: they count frames and
send reports, and play nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from time import monotonic_ns, process_time_ns
from typing import Final

import msgspec
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from rspp.cli import bench_machine as machine
from rspp.cli.bench_load import FIRST, FRAMES_PER_REPORT, LEAD_FRAMES, Measured, Order
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_rounds import Rounds
from rspp.cli.bench_socket_server import Served, ServerOrder
from rspp.cli.bench_talk import (
    ANSWERED_AFTER_MS,
    FRAME_MS,
    FRAME_NS,
    LOUD,
    QUESTION_FRAMES,
    QUIET,
    SAMPLES,
    STAMP,
)
from rspp.contract.wire import (
    SUBPROTOCOLS,
    Delivery,
    Goodbye,
    Hello,
    Playback,
    Problem,
    Welcome,
    decode_header,
    decode_server,
    encode,
    encode_header,
)

ENCODING: Final = "msgpack"
CONNECTING_AT_ONCE: Final = 20
SERVER_START_S_MAX: Final = 30.0


class SocketCaller(WSListener):
    """One caller on one socket."""

    def __init__(self, out: Lateness, wait: int) -> None:
        super().__init__()
        self.first_due = 0
        self.said = self.heard = 0
        self.refused = self.session = ""
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._out = out
        self._wait = wait
        self._transport: WSTransport
        self._turn_id = ""
        self._epoch = 0
        self._frames = self._started_at = 0

    # ---- saying --------------------------------------------------------------------------------------------------

    def say(self) -> None:
        number = self.said
        self.said = number + 1
        sound = LOUD if 0 <= number - self._wait < QUESTION_FRAMES else QUIET
        due = (self.first_due + number * FRAME_NS).to_bytes(8, "little")
        header = encode_header(0, number, self._epoch, number * SAMPLES)
        self._transport.send(WSMsgType.BINARY, header + sound[: STAMP.start] + due + sound[STAMP.stop :])
        self.report_now_and_then()

    def report_now_and_then(self) -> None:
        """How much has been played, every so many frames that were said."""
        if self._frames and not self.said % FRAMES_PER_REPORT:
            played = min(self._frames * FRAME_MS, (monotonic_ns() - self._started_at) // 1_000_000)
            self._report("position", played)

    def _report(self, what: str, heard_ms: int = 0) -> None:
        report = Delivery(what=what, turn_id=self._turn_id, heard_ms=heard_ms)  # type: ignore[arg-type]
        self._transport.send(WSMsgType.BINARY, encode(report, ENCODING))

    # ---- hearing -------------------------------------------------------------------------------------------------

    def hello(self) -> Hello:
        return Hello(tenant="bench")

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.send(WSMsgType.BINARY, encode(self.hello(), ENCODING))

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type is WSMsgType.BINARY:
            data = frame.get_payload_as_bytes()
            if data[:1] == b"\x01":
                self._audio(data)
            else:
                self._message(data)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows' signature
        self.refused = self.refused or "the line was cut"
        if not self.welcomed.done():
            self.welcomed.set_exception(ConnectionError(self.refused))

    def _audio(self, data: bytes) -> None:
        if decode_header(data).end:
            return
        now, frames = monotonic_ns(), self._frames
        if not frames:
            self._started_at = now
            self._report("accepted")
            self._report("started")
        else:
            ahead = frames - LEAD_FRAMES
            self._out.add(now - self._started_at - ahead * FRAME_NS if ahead > 0 else 0)
        self._frames = frames + 1
        self.heard += 1

    def _message(self, data: bytes) -> None:
        message = decode_server(data, ENCODING)
        if isinstance(message, Playback):
            self._playback(message)
        elif isinstance(message, Welcome):
            self._epoch, self.session = message.epoch, message.session
            self.welcomed.set_result(None)
        elif isinstance(message, Goodbye | Problem):
            self.refused = message.code

    def _playback(self, message: Playback) -> None:
        if message.action == "start":
            self.begin_turn(message.turn_id)

    def begin_turn(self, turn_id: str) -> None:
        """What comes from now on is this turn's."""
        self._turn_id, self._frames = turn_id, 0

    def hang_up(self) -> None:
        self._transport.disconnect(graceful=False)


async def connect(url: str, callers: Sequence[SocketCaller]) -> None:
    """Bring these in, a few at a time."""
    subprotocol = next(name for name, words in SUBPROTOCOLS.items() if words == ENCODING)
    for start in range(0, len(callers), CONNECTING_AT_ONCE):
        group = callers[start : start + CONNECTING_AT_ONCE]
        for caller in group:
            await ws_connect(
                lambda caller=caller: caller,
                url,
                extra_headers={"Sec-WebSocket-Protocol": subprotocol},
                use_aiofastnet=False,
            )
        await asyncio.gather(*(caller.welcomed for caller in group))


async def measure(order: Order, server_core: int) -> Measured:
    """One run over sockets, with a server of its own."""
    lead_in = order.spread_s + ANSWERED_AFTER_MS / 1000
    answer_ms = int((lead_in + order.seconds + 1) * 1000)
    wanted = ServerOrder(sessions=order.sessions, answer_ms=answer_ms, core=server_core)
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rspp.cli.bench_socket_server",
        msgspec.json.encode(wanted).decode(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        return await _measure(order, lead_in, server)
    finally:
        if server.returncode is None:
            server.kill()
            await server.wait()


async def _measure(order: Order, lead_in: float, server: asyncio.subprocess.Process) -> Measured:
    assert server.stdin is not None
    assert server.stdout is not None
    out = Lateness()
    waits = max(1, int(order.spread_s * 1000 / FRAME_MS))
    callers = [SocketCaller(out, n * waits // order.sessions) for n in range(order.sessions)]
    url = (await asyncio.wait_for(server.stdout.readline(), SERVER_START_S_MAX)).decode().strip()
    first = min(FIRST, order.sessions // 2)
    await connect(url, callers[:first])
    server.stdin.write(b"base\n")
    await connect(url, callers[first:])
    rounds = Rounds(callers, SocketCaller.say)
    await asyncio.sleep(lead_in)
    machine.settle_heap()
    server.stdin.write(b"begin\n")
    await asyncio.sleep(0.2)
    out.clear()
    heard, since, cpu = sum(c.heard for c in callers), monotonic_ns(), process_time_ns()
    await asyncio.sleep(order.seconds)
    server.stdin.write(b"end\n")
    heard, took = sum(c.heard for c in callers) - heard, monotonic_ns() - since
    cpu = process_time_ns() - cpu
    served = msgspec.json.decode(await server.stdout.readline(), type=Served)
    rounds.stop()
    for caller in callers:
        caller.hang_up()
    await server.wait()
    # The server's clock began a little before the callers' did: frames out are scaled to its span.
    frames_out = heard * served.took_ns // took
    p99_out = out.quantile_ms(0.99)
    frames = served.frames_in + frames_out
    return Measured(
        sessions=order.sessions,
        lateness_ms_p99=max(served.lateness_in_ms_p99 or 0, p99_out or 0),
        lateness_in_ms_p99=served.lateness_in_ms_p99,
        lateness_out_ms_p99=p99_out,
        cpu_us_per_frame=round(served.cpu_ns / machine.US / max(1, frames), 2),
        harness_cpu_us_per_frame=round(cpu / machine.US / max(1, 2 * order.sessions * took // FRAME_NS), 2),
        cpu_share=round(served.cpu_ns / served.took_ns, 3),
        rss_bytes_per_session=served.rss_bytes // max(1, order.sessions - first),
        frames=frames,
        frames_due=int(2 * order.sessions * served.took_ns / FRAME_NS),
        sessions_alive=served.sessions_alive,
    )


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    core = order.core if order.core is not None else machine.cores()[0]
    # Ours first: the server pins itself to its own.
    machine.pin(machine.other_core(core))
    sys.stdout.write(msgspec.json.encode(machine.run(measure(order, core))).decode() + "\n")


if __name__ == "__main__":
    main()
