"""Load for the gates: callers of a real host in virtual time, recorded as live ones are, who report what they play."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from functools import lru_cache
from typing import Any

import msgspec

from rspp.contract.event import Audio, Event
from rspp.contract.words import CancelScope, RecordingLevel
from rspp.host.registry import Registry
from rspp.kernel import inputs as i
from rspp.spec.graph import GraphDefinition
from rspp.timeline import records as r
from rspp.timeline.gates.judge import Judge
from rspp.timeline.gates.report import Gate, GateReport
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.session import Everything, SessionRecorder
from tests.unit.host.stage import Caller, Stage, bootstrap_of, graph_of, on_stage

MADE_AT_MS = 1_800_000_000_000
TURNS = 2
START_MS = 40  # from the first frame that came to the word that it is played
SPOKEN_MS = 300  # how long a caller speaks

Scene = Callable[["Load"], Coroutine[Any, Any, None]]


class Listener(Caller):
    """A caller whose client says when it plays and when it is through."""

    def __init__(self, stage: Stage, start_ms: int = START_MS) -> None:
        super().__init__(stage.clock)
        self.start_ms = start_ms
        self._heard: set[str] = set()

    def send(self, event: Event) -> None:
        super().send(event)
        turn = event.scope.turn_id
        if not isinstance(event.payload, Audio) or turn is None:
            return
        later = asyncio.get_running_loop().call_later
        if turn not in self._heard:
            self._heard.add(turn)
            later(self.start_ms / 1000, self._report, "accepted", turn, 0)
            later(self.start_ms / 1000, self._report, "started", turn, 0)
        if event.payload.end:
            whole_ms = event.payload.sample_index * 1000 // event.payload.rate
            later(0.3, self._report, "completed", turn, whole_ms)

    def _report(self, what: str, turn: str, heard_ms: int) -> None:
        self.give(i.DeliveryReported(what, turn, heard_ms))

    async def ask(self) -> None:
        """A short question, and its answer to the end."""
        closed = len(self.signals("close"))
        await self.speak(SPOKEN_MS)
        while len(self.signals("close")) == closed:
            await self.frames(100)
        await self.frames(600)

    async def interrupt(self) -> None:
        """A question whose answer is cancelled."""
        heard, closed = len(self.signals("playback_started")), len(self.signals("close"))
        await self.speak(SPOKEN_MS)
        while len(self.signals("playback_started")) == heard:
            await self.frames(20)
        self.control("cancel", scope=CancelScope.TURN)
        while len(self.signals("close")) == closed:
            await self.frames(20)
        await self.frames(400)


class Load:
    """A stage whose sessions are recorded."""

    def __init__(self, level: RecordingLevel = RecordingLevel.L1) -> None:
        self.level = level
        self.stage: Stage | None = None
        self.appends: list[MemoryAppend] = []

    def recorder(self, session_id: str) -> SessionRecorder:
        append = MemoryAppend()
        self.appends.append(append)
        return SessionRecorder(append, Everything(), wall_ms=lambda: MADE_AT_MS)

    def call(self, **more: Any) -> Listener:
        assert self.stage is not None
        caller = Listener(self.stage)
        seat = self.stage.host.open(bootstrap_of(playback_reports=True, **more), caller)
        caller.take(seat)
        return caller


def load(
    scene: Scene,
    *,
    spec: str = "",
    registry: Registry | None = None,
    level: RecordingLevel = RecordingLevel.L1,
    beside: Iterable[GraphDefinition] = (),
    **ports: Any,
) -> list[bytes]:
    """Play a scene; the recordings of its sessions, each as a file's bytes."""
    made = Load(level)

    async def play(stage: Stage) -> None:
        made.stage = stage
        await scene(made)

    graphs = [recorded_at(one, made.level) for one in (*beside, graph_of(spec))]
    on_stage(play, *graphs, registry=registry, recorders=made.recorder, **ports)
    return [bytes(append.data) for append in made.appends]


def read(data: bytes) -> Recording:
    return assemble([unframe(data)])


def spoiled(data: bytes, change: Callable[[r.AnyRecord], r.AnyRecord | None]) -> bytes:
    """The file, with each of its records as `change` would have it; None leaves it out."""
    records = (change(record) for record in unframe(data).records)
    return b"".join(r.frame(record) for record in records if record is not None)


def amended(data: bytes, of: str | None = None, /, **changes: Any) -> bytes:
    """The file, with some fields of its turns' evidence otherwise; of one turn, or of all."""

    def change(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Evidence) or of not in (None, record.evidence.turn_id):
            return record
        found = {
            name: value(getattr(record.evidence, name)) if callable(value) else value
            for name, value in changes.items()
        }
        return msgspec.structs.replace(record, evidence=msgspec.structs.replace(record.evidence, **found))

    return spoiled(data, change)


def recorded_at(graph: GraphDefinition, level: RecordingLevel) -> GraphDefinition:
    policy = msgspec.structs.replace(graph.recording_policy, level=level)
    return msgspec.structs.replace(graph, recording_policy=policy)


async def questions(made: Load) -> None:
    """Two callers with their questions, one who cancels, and a lease that is rotated under stale audio."""
    first, second, third = (
        made.call(session_id="s-1"),
        made.call(session_id="s-2"),
        made.call(session_id="s-3"),
    )

    async def asks(caller: Listener) -> None:
        for _ in range(TURNS):
            await caller.ask()

    await asyncio.gather(asks(first), asks(second), third.interrupt())
    rotate(third)
    await third.ask()


def rotate(caller: Listener) -> None:
    """A new lease; then a frame and a report under the old one, and a frame under one that nobody issued."""
    seat = caller.seat
    assert seat is not None
    old = seat.epoch
    caller.give(i.LeaseChanged("rotated", old + 1, "token-2", 1 << 62))
    caller.give(i.AudioReceived(Audio(bytes(640), 320, caller._frames * 320), caller._frames, epoch=old))
    caller.give(i.DeliveryReported("started", f"{seat.session_id}/turn-1", epoch=old))
    caller.give(i.AudioReceived(Audio(bytes(640), 320, caller._frames * 320), caller._frames, epoch=old + 9))


@lru_cache(maxsize=1)
def usual() -> tuple[bytes, ...]:
    """The recordings of a load that passes every gate."""
    return tuple(load(questions))


def judged(recordings: Iterable[bytes], **more: Any) -> GateReport:
    judge = Judge(**more)
    for data in recordings:
        judge.take(read(data))
    return judge.report(MADE_AT_MS)


def first_at(data: bytes, name: str) -> dict[str | None, int]:
    """When each turn first had a signal."""
    found: dict[str | None, int] = {}
    for item in read(data).items:
        if item.what == "signal" and item.name == name:
            found.setdefault(item.turn, item.at)
    return found


def voices(data: bytes) -> list[int]:
    """When each voice began: a score of speech after one of silence, or after none."""
    scored = [
        (at, one.probability) for at, one in read(data).inputs.values() if isinstance(one, i.SpeechScored)
    ]
    before = [0.0, *(score for _, score in scored)]
    return [at for (at, score), last in zip(scored, before, strict=False) if score >= 0.5 > last]


def gate_of(report: GateReport, number: int) -> Gate:
    return next(one for one in report.gates if one.number == number)


def failed(report: GateReport) -> list[int]:
    return [one.number for one in report.gates if not one.passed]


def violations(recordings: Iterable[bytes], number: int) -> list[tuple[str | None, str]]:
    """Which turns fail a gate, and by which anchor or field."""
    return [(one.turn, one.anchor) for one in gate_of(judged(recordings), number).violations]
