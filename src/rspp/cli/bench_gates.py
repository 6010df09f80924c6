"""`rspp bench gates`: a load that goes through every gate, recorded: questions, cancels, rotations, and what is stale.

The host and its loop are real and so is time; the providers are scripted. Each caller is a client that says when it plays.
What comes of it is a corpus for `rspp gates`, which judges it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli.bench_talk import FRAME_MS, LOUD, QUIET, SAMPLES, registry
from rspp.cli.output import emit_json, write_bytes
from rspp.contract.event import Audio, Event, Signal
from rspp.contract.words import CancelScope, ConnectionState, RecordingLevel
from rspp.host.host import Host, HostSettings
from rspp.host.overhead import FILE_NAME, FileSink
from rspp.host.ports import Bootstrap
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.spec import GraphDefinition, compile_text
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.session import Everything, SessionRecorder

SPEC: Final = """
pipeline: gates-load
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
policies: {recording_policy: {level: L1}}
"""
QUESTION_MS: Final = 300
PLAYED_AFTER_S: Final = 0.04
STEP_MS: Final = 100
WAIT_MS_MAX: Final = 20_000
ROTATED_EACH: Final = 4  # every fourth session is tried by a rotation
FAR_NS: Final = 1 << 62


class Client:
    """A caller on a line of his own, frame by frame."""

    def __init__(self) -> None:
        self.seat: LiveSession | None = None
        self.counts: dict[str, int] = {}  # bounded: by the signals' names
        self._frames = self._controls = 0
        self._playing = ""
        self._loop = asyncio.get_running_loop()

    # ---- the line ----------------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        turn = event.scope.turn_id
        if not isinstance(event.payload, Audio) or turn is None:
            return
        if turn != self._playing:
            self._playing = turn
            self._loop.call_later(PLAYED_AFTER_S, self._report, "accepted", turn, 0)
            self._loop.call_later(PLAYED_AFTER_S, self._report, "started", turn, 0)
        if event.payload.end:
            whole_ms = event.payload.sample_index * 1000 // event.payload.rate
            self._loop.call_later(2 * PLAYED_AFTER_S, self._report, "completed", turn, whole_ms)

    def announce(self, event: Event) -> None:
        if isinstance(event.payload, Signal):
            name = event.payload.signal
            self.counts[name] = self.counts.get(name, 0) + 1

    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...

    # ---- the caller ----------------------------------------------------------------------------------------------------

    def give(self, received: i.Input) -> None:
        if self.seat is not None:
            self.seat.ingest(received)

    def _report(self, what: str, turn: str, heard_ms: int) -> None:
        self.give(i.DeliveryReported(what, turn, heard_ms))

    async def say(self, ms: int, data: bytes = QUIET) -> None:
        for _ in range(ms // FRAME_MS):
            self.give(i.AudioReceived(Audio(data, SAMPLES, self._frames * SAMPLES), self._frames))
            self._frames += 1
            await asyncio.sleep(FRAME_MS / 1000)

    async def ask(self, *, cancel: bool = False) -> None:
        """A short question; its answer to the end, or cancelled as soon as it is heard."""
        closed, started = self.counts.get("close", 0), self.counts.get("playback_started", 0)
        await self.say(QUESTION_MS, LOUD)
        if cancel:
            await self.until("playback_started", started)
            self.give(i.ControlReceived("cancel", self._controls, scope=CancelScope.TURN))
            self._controls += 1
        await self.until("close", closed)
        await self.say(5 * STEP_MS)

    async def until(self, name: str, before: int) -> None:
        for _ in range(WAIT_MS_MAX // STEP_MS):
            if self.counts.get(name, 0) > before:
                return
            await self.say(STEP_MS)
        raise click.ClickException(f"no {name} within {WAIT_MS_MAX} ms; came: {self.counts}")

    def rotate(self) -> None:
        """A new lease, and then what is stale under it: a frame, words, a control, a report."""
        seat = self.seat
        assert seat is not None
        old, at = seat.epoch, self._frames
        self.give(i.LeaseChanged("rotated", old + 1_000, "rotated", FAR_NS))
        self.give(i.AudioReceived(Audio(QUIET, SAMPLES, at * SAMPLES), at, epoch=old))
        self.give(i.TextReceived("stale", self._controls, epoch=old))
        self.give(i.ControlReceived("cancel", self._controls, epoch=old, scope=CancelScope.TURN))
        self.give(i.DeliveryReported("started", f"{seat.session_id}/turn-1", epoch=old))


class Made(msgspec.Struct, frozen=True):
    """What the load left behind."""

    folder: str
    recordings: int
    bytes: int
    turns: int
    seconds: float


@click.command(
    name="gates", epilog="Exit status: 0 recorded, 1 the load failed, 2 the command was used wrongly."
)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--sessions", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Callers at once."
)
@click.option("--turns", type=click.IntRange(1, 100), default=3, show_default=True, help="Questions of each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(folder: Path, sessions: int, turns: int, as_json: bool) -> None:
    """Record a load for the release gates: questions, cancels, rotated leases, stale inputs.

    The overhead of the kernel is metered beside the recordings, in `overhead.jsonl`.

    \b
    Examples:
        rspp bench gates corpus && rspp gates corpus --overhead corpus --out gates.json
    """
    made = asyncio.run(recorded_load(folder, sessions, turns))
    if as_json:
        emit_json(made)
    else:
        click.echo(
            f"{made.recordings} recordings of {made.turns} turns, {made.bytes} bytes, in {made.folder}"
        )


async def recorded_load(folder: Path, sessions: int, turns: int) -> Made:
    """So many callers at once, each with so many questions, recorded into the folder with the kernel's overhead beside it."""
    appends: dict[str, MemoryAppend] = {}

    def recorder(session_id: str) -> SessionRecorder:
        append = appends[session_id] = MemoryAppend()
        return SessionRecorder(append, Everything(), wall_ms=_wall_ms, origin="bench")

    sink = FileSink(folder / FILE_NAME)
    host = Host(registry(), HostSettings(sessions_max=sessions), recorders=recorder, overhead_to=sink)
    host.publish(_graph())
    began = time.monotonic()
    await host.start()
    try:
        async with asyncio.TaskGroup() as group:
            clients = [_seat(host, f"load-{number}") for number in range(sessions)]
            for number, client in enumerate(clients):
                group.create_task(_talk(client, turns, tried=number % ROTATED_EACH == 0))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    finally:
        await host.stop()
    for name, append in appends.items():
        write_bytes(folder / f"{name}.rspp", bytes(append.data))
    return Made(
        folder=str(folder),
        recordings=len(appends),
        bytes=sum(len(append.data) for append in appends.values()),
        turns=sum(client.counts.get("turn_open", 0) for client in clients),
        seconds=round(time.monotonic() - began, 1),
    )


def _seat(host: Host, name: str) -> Client:
    client = Client()
    bootstrap = Bootstrap(
        schema_version="v1.0",
        transport_kind="bench",
        tenant_id="bench",
        requested_at_ms=0,
        session_id=name,
        playback_reports=True,
    )
    client.seat = host.open(bootstrap, client)
    client.give(i.ConnectionChanged(ConnectionState.CONNECTED))
    return client


async def _talk(client: Client, turns: int, *, tried: bool) -> None:
    await client.say(STEP_MS)
    for number in range(turns):
        await client.ask(cancel=number % 3 == 1 or turns == 1)
        if tried and number == 0:
            client.rotate()


def _graph() -> GraphDefinition:
    graph = compile_text(SPEC, file="<gates load>")
    assert graph.recording_policy.level is RecordingLevel.L1
    return graph


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
