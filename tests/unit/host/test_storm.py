"""Many sessions at once do anything to a host whose providers fail in any way: no invariant breaks, and nothing is left."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import Any, Final

import pytest

from rspp.contract.event import Audio, Event
from rspp.contract.words import CancelMode, CancelScope, ConnectionState
from rspp.host.host import HostSettings
from rspp.host.ports import Refused
from rspp.host.session import LiveSession
from rspp.kernel import inputs as i
from rspp.spec.graph import GraphDefinition
from rspp.testing.judge import Judge, Judges
from rspp.testing.scripted.faults import ScriptedFaultError
from tests.unit.host.stage import LOUD, QUIET, Caller, Stage, bootstrap_of, graph_of, on_stage

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

PIPELINES: Final = 8
CALLERS: Final = 24
ACTIONS_MAX: Final = 30
MODALITIES: Final = ("vad", "end-of-turn", "stt", "llm", "tts")
# Each is one way to break one's word; half of the providers keep it.
FAULTS: Final[tuple[dict[str, Any], ...]] = (
    {"fail_times": 2},
    {"fail_times": 1, "fail_after_chunks": 3},
    {"fail_times": -1, "fail_circuit": True},
    {"fail_times": 2, "fail_outcome": "overload", "fail_retry_after_ms": 40},
    {"hang": "before_first_chunk"},
    {"hang": "after_first_chunk"},
    {"cancel": "ignore", "kill": "ignore"},
    {"cancel": "late"},
    {"cancel": "twice"},
    {"ignore_throttle": True},
    {"finish": "twice"},
    {"finish": "never"},
    {"finish": "then_produce"},
    {"chunks": "malformed"},
    {"chunks": "duplicate"},
    {"chunks": "reorder"},
    {"finals": "withheld"},
    {"raises": "begin"},
    {"raises": "feed"},
    {"raises": "end"},
    {"raises": "throttle"},
    {"raises": "cancel"},
    {"open_fails": True},
)


def pipeline(random: Random, version: int) -> GraphDefinition:
    """A voice pipeline of which each provider may be at fault."""
    settings = {}
    for modality in MODALITIES:
        own: dict[str, Any] = {"use": f"scripted-{modality}"}
        if random.random() < 0.4:
            own["faults"] = random.choice(FAULTS)
        settings[f"p-{modality}"] = own
    bound = {modality.replace("-", "_"): [f"p-{modality}"] for modality in MODALITIES}
    spec = {
        "pipeline": "storm",
        "version": f"v{version}",
        "template": "voice",
        "providers": bound,
        "provider_settings": settings,
    }
    return graph_of(base=json.dumps(spec))


class Wild(Caller):
    """Somebody who does anything at any time, on a line that may break."""

    def __init__(self, stage: Stage, name: str) -> None:
        super().__init__(stage.clock)
        self.stage, self.name, self.random = stage, name, Random(name)
        self.broken = False

    def announce(self, event: Event) -> None:
        if self.raises:
            raise RuntimeError("this line breaks its word")
        super().announce(event)

    def close(self, reason: str) -> None:
        super().close(reason)
        if self.broken:
            raise RuntimeError("nor can it be closed")

    async def live(self) -> LiveSession:
        random = self.random
        await asyncio.sleep(random.random() * 2)
        version = f"v{random.randrange(PIPELINES)}"
        # Named by us: what a kernel draws by lot follows from its session's name, and a seed must give the same storm again.
        named = bootstrap_of(f"t{random.randrange(3)}", pipeline_version=version, session_id=self.name)
        seat = self.stage.host.open(named, self)
        self.seat = seat
        if random.random() < 0.95:
            self.take(seat)
        for _ in range(random.randrange(ACTIONS_MAX)):
            act = random.choices(ACTS, WEIGHTS)[0]
            await act(self)
        if random.random() < 0.8:
            how = random.choice((self.hang_up, self.close_it))
            await how()
        return seat

    # ---- what he may do --------------------------------------------------------------------------------------------

    async def talk(self) -> None:
        await self.speak(self.random.randrange(20, 1_200))

    async def listen(self) -> None:
        await self.frames(self.random.randrange(20, 2_500))

    async def vanish(self) -> None:
        await asyncio.sleep(self.random.random() * 3)

    async def burst(self) -> None:
        for _ in range(self.random.randrange(200)):
            data = self.random.choice((LOUD, QUIET))
            number = self._frames + self.random.choice((0, 0, 0, 0, 1, -1, 7, -300))
            self.give(i.AudioReceived(Audio(data, 320, max(0, number) * 320), max(0, number)))
            self._frames += 1

    async def signal(self) -> None:
        name = self.random.choice(
            ("barge_in", "stop", "end_of_utterance", "talk_pressed", "talk_released", "digit", "nonsense")
        )
        self.control(name, value=self.random.choice(("1", "#", "x", None)))

    async def cancel(self) -> None:
        scope = self.random.choice([*CancelScope, None])
        mode = self.random.choice([*CancelMode, None])
        self.control(
            "cancel", scope=scope, mode=mode, target=self.random.choice(("llm", "tts", "none", None))
        )

    async def cancel_from_above(self) -> None:
        assert self.seat is not None
        self.stage.host.cancel(self.seat.session_id, self.random.choice(list(CancelScope)))

    async def write(self) -> None:
        self.give(i.TextReceived(self.random.choice(("Hello?", "", " ", "\ud800")), self._controls))
        self._controls += 1

    async def spoil(self) -> None:
        received: list[i.Input] = [
            i.MalformedReceived("bad_json", "", "no"),
            i.AudioReceived(Audio(LOUD, 319, 0), self._frames),
            i.ControlReceived("stop", 1, epoch=99),
            i.DeliveryReported("position", "none", 10**9),
            i.CreditGranted("none", -1),
            i.UnknownReceived("vendor.thing", self._controls),
        ]
        self.give(self.random.choice(received))
        self._controls += 1  # else what comes next would be taken for a repetition

    async def line(self) -> None:
        self.give(i.ConnectionChanged(self.random.choice(list(ConnectionState)[:-1])))

    async def come_back(self) -> None:
        """On a line of the same kind, with or without a word of it."""
        assert self.seat is not None
        other = Wild(self.stage, f"{self.name}-again")
        other.broken = self.random.random() < 0.2
        other.seat = self.seat
        self.seat.attach(other)
        self.seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))

    async def break_line(self) -> None:
        self.raises = True

    async def hang_up(self) -> None:
        self.give(i.ConnectionChanged(ConnectionState.ENDED))

    async def close_it(self) -> None:
        assert self.seat is not None
        await self.stage.host.close_session(self.seat.session_id, "storm", drain=self.random.random() < 0.5)

    async def end_it(self) -> None:
        assert self.seat is not None
        self.seat.force("storm")


WEIGHED: Final[tuple[tuple[Callable[[Wild], Any], float], ...]] = (
    (Wild.talk, 10),
    (Wild.listen, 10),
    (Wild.vanish, 3),
    (Wild.burst, 2),
    (Wild.signal, 3),
    (Wild.cancel, 2),
    (Wild.cancel_from_above, 1),
    (Wild.write, 1),
    (Wild.spoil, 2),
    (Wild.line, 1),
    (Wild.come_back, 1),
    (Wild.break_line, 0.3),
    (Wild.hang_up, 0.2),
    (Wild.close_it, 0.2),
    (Wild.end_it, 0.2),
)
ACTS: Final = [act for act, _ in WEIGHED]
WEIGHTS: Final = [weight for _, weight in WEIGHED]


class Closed(Judges):
    """Judges who also see that each session's record was closed, once."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Judge] = []

    def recorder(self, session_id: str) -> Judge:
        self.made.append(super().recorder(session_id))
        return self.made[-1]


@pytest.mark.parametrize("seed", range(6))
def test_a_storm_breaks_no_invariant_and_leaves_nothing_behind(seed: int) -> None:
    random = Random(seed)
    judges = Closed()
    seats: list[LiveSession] = []

    async def scene(stage: Stage) -> None:
        host = stage.host
        callers = [Wild(stage, f"s{seed}-{number}") for number in range(CALLERS)]
        seats.extend(await asyncio.gather(*(caller.live() for caller in callers)))
        if seed % 2:
            await host.drain(5_000)
            with pytest.raises(Refused):
                stage.call()
        else:
            await asyncio.sleep(180)  # every deadline of everybody who was left alone is over
        if not seed % 2:
            for session_id in list(host.sessions):
                await host.close_session(session_id, drain=False)
        assert host.sessions == {}
        await asyncio.sleep(1)
        mine = asyncio.current_task()
        assert [one.get_name() for one in asyncio.all_tasks() if one is not mine] == ["host:snapshots"]
        assert (len(host.timer), len(host.places)) == (0, 0)
        assert host._scheduler.next() is None
        assert host._closing == {}
        assert set(host.blamed) <= BLAMABLE, host.blamed

    # The watchdog looks at real time, and a busy machine is not at issue here.
    settings = HostSettings(blocked_ms=60_000, break_ms=120_000)
    graphs = [pipeline(random, version) for version in range(PIPELINES)]
    on_stage(scene, *graphs, recorders=judges.recorder, settings=settings)
    assert judges.violations() == []
    assert all(judge.over for judge in judges.made)
    assert [seat.crash for seat in seats if seat.crash] == []
    assert sum(seat.open_calls + seat.waiting + len(seat.tasks) for seat in seats) == 0
    assert all(seat.end_reason for seat in seats)


BLAMABLE: Final = {
    "line:RuntimeError",
    *(f"provider p-{modality}:{ScriptedFaultError.__name__}" for modality in MODALITIES),
}
