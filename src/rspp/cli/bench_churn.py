"""Callers who come and go in virtual time, most of whom or whose providers break their word: what is left of them is counted.

Runs against a real host, with its pump, timer, tasks and scripted providers; only time is virtual, so that minutes of calls
pass in seconds. Everything follows from the seed.
"""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.bench_machine import files_open, rss_bytes
from rspp.cli.bench_talk import LOUD, QUIET, SAMPLES, registry
from rspp.contract.event import Audio, Event
from rspp.contract.words import CancelScope, ConnectionState
from rspp.host.host import Host, HostSettings
from rspp.host.ports import Bootstrap
from rspp.host.recorder import JournalRecorder, MemoryRecorder
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.spec import GraphDefinition, compile_text
from rspp.testing.clock import WALL_START

AT_ONCE: Final = 40
SAMPLES_OF_RSS: Final = 40
FLOOD_FRAMES: Final = 1_200  # more than an inbox holds
JOURNALLED_EVERY: Final = 10
FRAME_S: Final = 0.02
CALM_S: Final = 60.0  # virtual: every deadline of a session is over by then

# What is wrong with whom; the first is nothing.
FAULTS: Final = (
    "",
    "scripted-tts: {speed: 4, faults: {fail_times: -1}}",
    "scripted-tts: {speed: 4, faults: {cancel: ignore, kill: ignore}}",
    "scripted-tts: {speed: 4, faults: {chunks: malformed}}",
    "scripted-tts: {speed: 4, faults: {finish: twice, cancel: twice}}",
    "scripted-llm: {faults: {hang: after_first_chunk}}",
    "scripted-llm: {faults: {raises: begin}}",
    "scripted-llm: {faults: {fail_times: -1, fail_after_chunks: 1}}",
    "scripted-stt: {faults: {finals: withheld}}",
    "scripted-stt: {faults: {raises: feed}}",
    "scripted-vad: {faults: {finish: never, raises: end}}",
    "scripted-vad: {faults: {chunks: malformed}}",
)
SPEC: Final = """
pipeline: churn
version: VERSION
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [scripted-llm]
  tts: [scripted-tts]
"""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a host holds, when all callers have gone."""

    sessions: int
    tasks: int
    timers: int
    waiting: int
    files: int


class Churned(msgspec.Struct, frozen=True, kw_only=True):
    """One soak. `rss_slope_bytes`: a session, over the second half; a straight line through the samples."""

    sessions: int
    virtual_s: float
    turns: int
    ends: dict[str, int]
    blamed: dict[str, int]
    refused: int
    before: Left
    after: Left
    tasks_leaked: list[str]
    rss_slope_bytes: float
    rss_bytes: list[int]


class VirtualClock:
    """The virtual loop's time, as the host's clock."""

    def now(self) -> int:
        return round(asyncio.get_running_loop().time() * 1_000_000_000)

    def wall(self) -> int:
        return WALL_START + self.now()


class Guest:
    """One caller and its line."""

    def __init__(self, raises: bool) -> None:
        self.raises = raises
        self.heard = 0
        self.closed = False
        self.said = 0

    def send(self, event: Event) -> None:
        if self.raises and self.heard > 3:
            raise RuntimeError("this line breaks its word")
        self.heard += isinstance(event.payload, Audio)

    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None:  # noqa: ARG002 - the port's signature
        self.closed = True

    async def talk(self, seat: LiveSession, frames: int, sound: bytes = QUIET) -> None:
        for _ in range(frames):
            self.frame(seat, sound)
            await asyncio.sleep(FRAME_S)

    def frame(self, seat: LiveSession, sound: bytes) -> None:
        seat.ingest(i.AudioReceived(Audio(sound, SAMPLES, self.said * SAMPLES), self.said))
        self.said += 1


def pipelines() -> list[GraphDefinition]:
    """One for each fault."""
    made = []
    for number, fault in enumerate(FAULTS):
        text = SPEC.replace("VERSION", f"v{number}")
        made.append(compile_text(text + (f"provider_settings:\n  {fault}\n" if fault else "")))
    return made


# ---- what callers do -----------------------------------------------------------------------------------------------


async def polite(host: Host, seat: LiveSession, guest: Guest, chance: random.Random) -> None:
    """Listens for a while and hangs up."""
    await guest.talk(seat, chance.randrange(20, 100))
    await host.close_session(seat.session_id, "hung_up", drain=chance.random() < 0.5)


async def cutting(host: Host, seat: LiveSession, guest: Guest, chance: random.Random) -> None:
    """The line is cut; perhaps another takes its place, perhaps nobody comes."""
    await guest.talk(seat, chance.randrange(1, 60))
    seat.ingest(i.ConnectionChanged(ConnectionState.DISCONNECTED))
    if chance.random() < 0.5:
        await asyncio.sleep(chance.random() * 3)
        seat.attach(back := Guest(raises=False))
        back.said = guest.said
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        await back.talk(seat, 20)
        await host.close_session(seat.session_id, "hung_up", drain=False)
    else:
        await asyncio.sleep(seat.graph.policies.limits.disconnect_ms_max / 1000 + 1)


async def flooding(host: Host, seat: LiveSession, guest: Guest, chance: random.Random) -> None:  # noqa: ARG001 - one of a table
    """Far more than anybody can say."""
    for _ in range(FLOOD_FRAMES):
        guest.frame(seat, LOUD)
    seat.ingest(i.MalformedReceived("schema_validation_error", "audio", "no frame"))
    await guest.talk(seat, 20)
    await host.close_session(seat.session_id, "flooded", drain=False)


async def interrupting(host: Host, seat: LiveSession, guest: Guest, chance: random.Random) -> None:
    """Speaks into the answer, and cancels the next one."""
    await guest.talk(seat, 30)
    await guest.talk(seat, chance.randrange(10, 40), LOUD)
    await guest.talk(seat, 40)
    host.cancel(seat.session_id, CancelScope.TURN)
    await guest.talk(seat, 10)
    await host.close_session(seat.session_id, "hung_up")


async def crashing(host: Host, seat: LiveSession, guest: Guest, chance: random.Random) -> None:  # noqa: ARG001 - one of a table
    """Something breaks in the session itself, as a defect of ours or of a node would."""

    def breaks(now: int, received: i.Input) -> None:  # noqa: ARG001 - the kernel's signature
        raise RuntimeError("a defect")

    await guest.talk(seat, 10)
    seat.kernel.receive = breaks  # type: ignore[method-assign]  # that is the fault
    await guest.talk(seat, 3)


BEHAVIOURS: Final[tuple[Callable[..., object], ...]] = (polite, cutting, flooding, interrupting, crashing)
WEIGHTS: Final = (8, 3, 1, 4, 1)


class Churn:
    """Sessions opened and closed, a bounded number at once."""

    def __init__(self, sessions: int, seed: int, folder: Path, at_once: int = AT_ONCE) -> None:
        self.sessions = sessions
        self.turns = 0
        self.ends: dict[str, int] = {}  # bounded: by the reasons there are
        self.rss: list[int] = []  # bounded: SAMPLES_OF_RSS
        self._seed = seed
        self._folder = folder
        self._at_once = at_once
        self._recorders: dict[
            str, MemoryRecorder | JournalRecorder
        ] = {}  # bounded: by the sessions that live
        graphs = pipelines()
        self._versions = [graph.ref for graph in graphs]
        self.host = Host(
            registry(),
            HostSettings(sessions_max=at_once + 1),
            clock=VirtualClock(),
            recorders=self._recorder,
        )
        for graph in graphs:
            self.host.publish(graph)

    async def run(self) -> Churned:
        await self.host.start()
        before = self._left()
        step = max(1, self.sessions // SAMPLES_OF_RSS)
        turnstile = asyncio.Semaphore(self._at_once)
        async with asyncio.TaskGroup() as visits:
            for number in range(self.sessions):
                await turnstile.acquire()
                visit = visits.create_task(self._visit(number))
                visit.add_done_callback(lambda _: turnstile.release())
                if number % step == 0:
                    gc.collect()
                    self.rss.append(rss_bytes())
        await asyncio.sleep(CALM_S)
        after = self._left()
        virtual_s = asyncio.get_running_loop().time()
        leaked = await self.host.stop()
        return Churned(
            sessions=self.sessions,
            virtual_s=round(virtual_s, 1),
            turns=self.turns,
            ends=dict(sorted(self.ends.items())),
            blamed=dict(sorted(self.host.blamed.items())),
            refused=self.host.refused,
            before=before,
            after=after,
            tasks_leaked=leaked,
            rss_slope_bytes=round(slope(self.rss[len(self.rss) // 2 :], step), 1),
            rss_bytes=self.rss,
        )

    async def _visit(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311 - a script of faults, not a secret
        name = f"c-{number}"
        guest = Guest(raises=chance.random() < 0.05)
        seat = self.host.open(
            Bootstrap(
                schema_version="v1.0",
                transport_kind="churn",
                tenant_id=f"t-{number % 5}",
                requested_at_ms=0,
                session_id=name,
                pipeline_version=chance.choice(self._versions)
                if chance.random() < 0.5
                else self._versions[0],
                playback_reports=False,
            ),
            guest,
        )
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        await guest.talk(seat, 5)
        await guest.talk(seat, 25, LOUD)
        behave = chance.choices(BEHAVIOURS, WEIGHTS)[0]
        await behave(self.host, seat, guest, chance)  # type: ignore[misc]  # each is a coroutine function
        if not seat.ended:
            await self.host.close_session(name, "left", drain=False)
        reason = seat.end_reason or "still there"
        self.ends[reason] = self.ends.get(reason, 0) + 1
        self.turns += len(self._recorders.pop(name).turns)
        (self._folder / f"{name}.rspp").unlink(missing_ok=True)

    def _recorder(self, session_id: str) -> MemoryRecorder | JournalRecorder:
        kept = int(session_id[2:]) % JOURNALLED_EVERY == 0
        made = JournalRecorder(self._folder / f"{session_id}.rspp") if kept else MemoryRecorder()
        self._recorders[session_id] = made
        return made

    def _left(self) -> Left:
        """What is there now. The timer's one sleeper a session goes with the session."""
        return Left(
            sessions=len(self.host.sessions),
            tasks=len(asyncio.all_tasks()),
            timers=len(self.host.timer),
            waiting=sum(session.waiting for session in self.host.sessions.values()),
            files=files_open(),
        )


def slope(values: list[int], step: int) -> float:
    """Of the straight line nearest to values that are `step` apart."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    over = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return over / sum((place - middle) ** 2 for place in range(count)) / step
