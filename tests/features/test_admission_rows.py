"""Rows of admission: what a tenant may use, what a process can bear, and what happens to the callers beyond that.

A real host in virtual time, with slots, quotas and the capacity model in front of it, put together as a worker does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any, cast

import pytest

from rspp.contract.event import NS_PER_MS
from rspp.control.intake.admission import LimitsOf, Reservation, Slots
from rspp.control.intake.capacity import CapacityEvent, CapacityLimits, Level, Resource, Threshold
from rspp.control.intake.load import CpuMeter, LoadWatch
from rspp.control.intake.quotas import (
    DAY_MS,
    MINUTE_MS,
    UNLIMITED,
    Action,
    Limit,
    Moment,
    QuotaName,
    TenantLimits,
    Verdict,
)
from rspp.control.intake.tariffs import Tariffs
from rspp.control.intake.usage import UsageBoard
from rspp.host.meters import Meters
from rspp.host.ports import Refused
from rspp.host.session import LiveSession
from rspp.host.snapshots import ALONE
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import Snapshot
from rspp.spec import compile_text
from rspp.spec.graph import GraphDefinition
from rspp.testing.judge import Judges
from rspp.testing.store import MemoryStore
from rspp.timeline.prices import Prices, ProviderPrice
from tests.features.play import WRITTEN, Machine, Timed, nearly_all, typed
from tests.unit.host.stage import Caller, Stage, VirtualClock, bootstrap_of, on_stage

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# Who is over a quota that degrades is answered in writing only.
SPOKEN = compile_text("""
pipeline: spoken
version: v1
nodes:
  caller: {type: transport.in, version: v1}
  stt: {type: stt, version: v1}
  llm: {type: llm, version: v1}
  tts: {type: tts, version: v1}
  speaker: {type: transport.out, version: v1}
edges:
  - {from: caller.audio, to: stt.audio}
  - {from: stt.final, to: llm.text}
  - {from: llm.text, to: speaker.text}
  - {from: llm.text, to: tts.text, when: {attribute: quota_degraded, op: eq, value: false, absent: take}}
  - {from: tts.audio, to: speaker.audio}
turn_input: stt.final
providers: {stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}
provider_settings: {scripted-llm: {use: scripted-llm, answers: [one two three four five six]}}
""")

PRICES = Prices(currency="EUR", prices={"scripted-llm": ProviderPrice(per_call=0.01)})
TO_MINUTE_S, TO_MIDNIGHT_S = 50, 110


class LateEvening(VirtualClock):
    """Fifty seconds before the end of a minute, and 110 before that of a day."""

    def wall(self) -> int:
        return (19_700 * DAY_MS - TO_MIDNIGHT_S * 1000) * NS_PER_MS + self.now()


class Front:
    """A host's door, as a worker has it."""

    def __init__(self, limits: LimitsOf) -> None:
        clock, store = LateEvening(), MemoryStore(VirtualClock())
        self.meters = Meters()
        self.stage: Stage | None = None
        self.board = UsageBoard(
            store,
            "m",
            limits,
            Tariffs(PRICES),
            clock=clock,
            meters=self.meters,
            sessions_over=self._sessions_over,
        )
        self.slots = Slots(store, "m", limits, clock=clock, meters=self.meters, used_up=self.board.verdict)
        self.board.on_change(self._renew)
        self.judges = Judges()
        self._kept: dict[str, Reservation] = {}
        self._version = 0

    def _sessions_over(self, tenant: str) -> Verdict:
        return self.slots.over(tenant)

    def snapshot(self, now: int, tenant_id: str, _: GraphDefinition) -> Snapshot:
        self._version += 1
        return Snapshot(
            version=self._version,
            taken_at=now,
            provenance=ALONE,
            capacity=self.board.capacity(tenant_id),
            facts=self.board.facts(tenant_id),
        )

    def _renew(self, tenants: Collection[str]) -> None:
        assert self.stage is not None
        for session in list(self.stage.host.sessions.values()):
            if session.tenant_id in tenants:
                self.stage.host.snapshot_wanted(session, "quota")

    def over(self, session: LiveSession) -> None:
        self.slots.release(self._kept.pop(session.session_id))

    async def call(self, tenant: str) -> Caller:
        assert self.stage is not None
        kept = await self.slots.reserve(tenant)
        caller = Caller(self.stage.clock)
        seat = self.stage.host.open(bootstrap_of(tenant), caller)
        self._kept[seat.session_id] = kept
        caller.take(seat)
        return caller

    async def hang_up(self, caller: Caller) -> None:
        assert self.stage is not None
        assert caller.seat is not None
        await self.stage.host.close_session(caller.seat.session_id, drain=False)

    def counted(self, tenant: str, quota: QuotaName, action: Action, moment: Moment) -> int:
        labels = {"tenant": tenant, "quota": quota.value, "action": action.value, "moment": moment.value}
        return self.meters.counter("quota_actions_total", **labels).value

    def counted_of(self, tenant: str) -> int:
        return sum(
            one.value
            for one in self.meters.read().counters
            if one.name == "quota_actions_total" and ("tenant", tenant) in one.labels
        )

    def play(self, scene: Callable[[], Any]) -> None:
        async def on(stage: Stage) -> None:
            self.stage = stage
            stage.host.on_over = self.over
            running = asyncio.ensure_future(self.board.run())
            await scene()
            await stage.host._close_all("enough", "enough", 1, drain=False)
            await self.slots.settled()
            assert self.slots.held == {}
            running.cancel()
            await asyncio.wait([running])

        on_stage(
            on,
            SPOKEN,
            recorders=self.board.recorders(self.judges.recorder),
            snapshots=self.snapshot,
        )
        assert self.judges.violations() == []


def limited(quota: QuotaName, most: int, action: Action) -> LimitsOf:
    limits = TenantLimits(**{quota.value: Limit(most=most, action=action)})
    return lambda tenant_id: UNLIMITED if tenant_id is None else limits


async def ask(caller: Caller) -> str:
    """One more turn: spoken, written, or what else became of it."""
    sounds, ends = len(caller.audio()), len(caller.signals("commit"))
    refused = len(caller.signals("reject"))
    typed(caller, "a question")
    for _ in range(400):
        await asyncio.sleep(0.02)
        if len(caller.signals("commit")) > ends:
            return "spoken" if len(caller.audio()) > sounds else "written"
        if len(caller.signals("reject")) > refused:
            return "rejected"
    raise AssertionError(f"nothing came of it: {caller.names()}")


async def until_window(front: Front, quota: QuotaName) -> None:
    length = DAY_MS if quota.value.endswith("day") else MINUTE_MS
    wall_ms = LateEvening().wall() // NS_PER_MS
    await asyncio.sleep((length - wall_ms % length) / 1000 + 1.1)


OF_USE = [quota for quota in QuotaName if not quota.value.startswith("sessions")]


@pytest.mark.proves("F-050")
@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("quota", OF_USE)
def test_a_quota_of_use_acts_on_the_next_turn_and_the_next_session_of_its_tenant_alone(
    quota: QuotaName, action: Action
) -> None:
    front = Front(limited(quota, 1, action))

    async def scene() -> None:
        caller, other = await front.call("a"), await front.call("b")
        assert await ask(caller) == "spoken"
        await caller.frames(1_200)  # and in any case more than a second of sound
        assert front.counted_of("a") == 0
        assert await ask(caller) == ("written" if action is Action.DEGRADE else "rejected")
        seen = 1 if action is Action.DEGRADE else len(caller.signals("reject") + caller.signals("defer"))
        assert front.counted("a", quota, action, Moment.TURN) == seen
        assert bool(caller.signals("defer")) == (action is Action.DEFER)
        if action is Action.DEGRADE:
            await front.call("a")
        else:
            with pytest.raises(Refused) as caught:
                await front.call("a")
            assert caught.value.retry_after_ms
        assert front.counted("a", quota, action, Moment.SESSION) == 1
        # Another tenant with the same limits notices nothing of it.
        assert await ask(other) == "spoken"
        assert front.counted_of("b") == 0
        await until_window(front, quota)
        await front.call("a")
        assert await ask(caller) == "spoken"
        assert front.counted_of("a") == seen + 1

    front.play(scene)


@pytest.mark.proves("F-050")
@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("quota", [QuotaName.SESSIONS, QuotaName.SESSIONS_PER_MINUTE])
def test_a_quota_of_sessions_acts_at_the_door_of_its_tenant_alone(quota: QuotaName, action: Action) -> None:
    front = Front(limited(quota, 1, action))

    async def scene() -> None:
        first = await front.call("a")
        assert await ask(first) == "spoken"
        if action is Action.DEGRADE:
            second = await front.call("a")
            assert await ask(second) == "written"
            assert front.counted("a", quota, action, Moment.TURN) == 1
            await front.hang_up(second)
        else:
            with pytest.raises(Refused) as caught:
                await front.call("a")
            assert caught.value.retry_after_ms
        assert front.counted("a", quota, action, Moment.SESSION) == 1
        assert await ask(await front.call("b")) == "spoken"
        assert front.counted_of("b") == 0
        await front.hang_up(first)
        await until_window(front, quota)
        assert await ask(await front.call("a")) == "spoken"
        assert front.counted("a", quota, action, Moment.SESSION) == 1

    front.play(scene)


@pytest.mark.proves("F-098")
@pytest.mark.parametrize("action", [Action.REJECT, Action.DEFER])
@pytest.mark.parametrize("quota", [QuotaName.SESSIONS, QuotaName.SESSIONS_PER_MINUTE])
def test_of_a_burst_past_a_tenants_limit_the_excess_is_refused_and_counter_and_log_agree(
    quota: QuotaName, action: Action, caplog: pytest.LogCaptureFixture
) -> None:
    front = Front(limited(quota, 5, action))

    async def scene() -> None:
        found = await asyncio.gather(*(front.call("a") for _ in range(40)), return_exceptions=True)
        refused = [one for one in found if isinstance(one, Refused)]
        assert len(refused) == 35
        code = {"reject": "cp_admission_reject_quota", "defer": "cp_admission_defer_capacity"}[action]
        assert {one.code for one in refused} == {code}
        assert all(one.retry_after_ms for one in refused)
        assert await ask(await front.call("b")) == "spoken"
        await asyncio.sleep(2)
        lines = [cast(Any, record) for record in caplog.records if record.message == "quota_applied"]
        assert {(line.tenant, line.quota, line.action) for line in lines} == {("a", quota, action)}
        assert sum(line.count for line in lines) == front.counted("a", quota, action, Moment.SESSION) == 35
        assert len(lines) < 5

    with caplog.at_level(logging.WARNING, logger="rspp.control"):
        front.play(scene)


# ---- F-172: headroom ---------------------------------------------------------------------------------------------------

HALF = Threshold(defer=0.5, reject=0.8, hold_ms=0)


class Ramp:
    """A host whose use of one resource is raised step by step."""

    def __init__(self, stage: Stage, board: UsageBoard) -> None:
        self.wall = self.thread = 0
        meter = CpuMeter(wall=lambda: self.wall, thread=lambda: self.thread, process=lambda: 0, cores_max=1.0)
        limits = CapacityLimits(
            cpu=HALF,
            queue_depth=HALF,
            provider_concurrency=HALF,
            sessions=HALF,
            queue_inputs_max=100,
            provider_calls_max={"scripted-llm": 10},
            sessions_max=20,
        )
        self.stage = stage
        self.watch = LoadWatch(stage.host, limits, clock=stage.clock, cpu=meter.look, flying=board.flying)
        self.events: list[CapacityEvent] = []
        self.watch.on_change(self.events.append)

    def outcome(self) -> str:
        """What a caller is told who comes now."""
        self.watch.look()
        try:
            self.watch.admit("t")
        except Refused as refused:
            return refused.code if refused.retry_after_ms else "no time to come again"
        return "admitted"


ANSWER_AT = {Level.ALLOW: "admitted", Level.DEFER: "cp_admission_defer_capacity", Level.REJECT: "admission_capacity_reject"}  # fmt: skip


def level_at(value: float) -> Level:
    return Level.REJECT if value >= 0.8 else Level.DEFER if value >= 0.5 else Level.ALLOW


async def use(ramp: Ramp, resource: Resource, tenths: int, callers: list[Caller]) -> None:
    """One tenth more of this resource is in use."""
    if resource is Resource.CPU:
        for _ in range(20):  # it is smoothed
            ramp.wall += 10_000
            ramp.thread += tenths * 1_000 + 5
            ramp.watch.look()
    elif resource is Resource.QUEUE_DEPTH:
        if not callers:
            callers.append(ramp.stage.call())
            await asyncio.sleep(0.1)
        for number in range(10):
            callers[0].give(i.TextReceived("x", tenths * 10 + number))
    elif resource is Resource.PROVIDER_CONCURRENCY:
        callers.append(ramp.stage.call())
        typed(callers[-1], "question")
        await asyncio.sleep(0.05)
    else:
        callers += [ramp.stage.call(), ramp.stage.call()]


@pytest.mark.proves("F-172")
@pytest.mark.parametrize("resource", Resource)
def test_ramped_to_its_threshold_a_resource_puts_callers_off_and_then_refuses_them_and_is_named(
    resource: Resource,
) -> None:
    board = UsageBoard(MemoryStore(VirtualClock()), "m", lambda _: UNLIMITED, clock=VirtualClock())

    async def scene(stage: Stage) -> None:
        ramp = Ramp(stage, board)
        callers: list[Caller] = []
        assert ramp.outcome() == "admitted"
        for tenths in range(1, 10):
            await use(ramp, resource, tenths, callers)
            value = ramp.watch.measured()[resource]
            assert value == pytest.approx(tenths / 10, abs=0.001)
            assert ramp.outcome() == ANSWER_AT[level_at(tenths / 10 + 1e-4)], tenths
        named = [(event.resource, event.level, round(event.value, 2)) for event in ramp.events]
        assert named == [(resource, Level.DEFER, 0.5), (resource, Level.REJECT, 0.8)]
        capacity = ramp.watch.capacity
        assert (capacity.resource, round(capacity.value, 1)) == (resource, 0.9)

    graph = compile_text(WRITTEN.replace("tokens_per_s: 5", "tokens_per_s: 1"))
    on_stage(scene, graph, recorders=board.recorders(Judges().recorder))


# ---- NF-006: three times too much ------------------------------------------------------------------------------------------

BEARABLE = 8  # callers that keep the machine busy for four fifths of its time
COST_MS = 1.0
WAIT_MS_MAX = 100.0


class Overloaded:
    """What became of three times the callers that a machine can bear."""

    def __init__(self, *, protected: bool) -> None:
        self.protected = protected
        self.machine = Machine(COST_MS)
        self.meters = Meters()
        self.admitted: list[Timed] = []
        self.refused: list[Refused] = []
        self.events: list[CapacityEvent] = []
        self.after: str = ""
        on_stage(self.scene, recorders=self.machine.recorder)

    def busy(self, stage: Stage) -> Callable[[], float]:
        """The part of its time for which the machine worked, since the last look."""
        meter = CpuMeter(
            wall=stage.clock.now,
            thread=lambda: int(sum(map(len, self.machine.served.values())) * COST_MS * NS_PER_MS),
            process=lambda: 0,
            cores_max=1.0,
        )
        return meter.look

    async def scene(self, stage: Stage) -> None:
        watch = LoadWatch(
            stage.host, CapacityLimits(), clock=stage.clock, meters=self.meters, cpu=self.busy(stage)
        )
        watch.on_change(self.events.append)
        watching = asyncio.ensure_future(watch.run())
        talking = []
        for number in range(3 * BEARABLE):
            try:
                if self.protected:
                    watch.admit("t", f"s{number}")
                caller = self.machine.call(stage)
            except Refused as refused:
                self.refused.append(refused)
            else:
                self.admitted.append(caller)
                talking.append(asyncio.ensure_future(self.talk(caller)))
            await asyncio.sleep(0.3)
        await asyncio.gather(*talking)
        await asyncio.sleep(4)
        try:
            watch.admit("t", "late")
            self.after = "admitted"
        except Refused as refused:
            self.after = refused.code
        watching.cancel()
        await asyncio.wait([watching])

    async def talk(self, caller: Timed) -> None:
        await caller.frames(9_000)
        await caller.speak()
        for _ in range(500):
            if not caller.signals("close"):
                await caller.frames(20)
        assert caller.seat is not None
        caller.seat.force("enough")

    def graceful(self) -> bool:
        """Those who were let in had their answer, and were served as if nobody else had come."""
        waits = [wait for caller in self.admitted for wait in self.machine.waits_ms(caller)]
        handed = sum(len(caller.handed) for caller in self.admitted)
        served = len(waits) >= 0.99 * handed and nearly_all(waits) <= WAIT_MS_MAX
        return served and all(caller.signals("commit") for caller in self.admitted)


@pytest.mark.proves("NF-006")
def test_at_three_times_what_it_can_bear_a_process_puts_callers_off_and_the_others_do_not_notice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="rspp.control.intake.capacity"):
        shown = Overloaded(protected=True)
    assert shown.machine.judges.violations() == []
    assert shown.graceful()
    assert len(shown.refused) >= BEARABLE
    assert len(shown.admitted) >= BEARABLE // 2
    assert all(refused.retry_after_ms for refused in shown.refused)
    begun = shown.events[0]
    assert (begun.resource, begun.before) == (Resource.CPU, Level.ALLOW)
    assert shown.events[-1].level is Level.ALLOW
    assert shown.after == "admitted"
    counted = {one.name: 0 for one in shown.meters.read().counters}
    for one in shown.meters.read().counters:
        counted[one.name] += one.value
    assert counted["capacity_refusals_total"] == len(shown.refused)
    lines = [record for record in caplog.records if record.message == "capacity_changed"]
    assert len(lines) == counted["capacity_changes_total"] == len(shown.events)
    assert not Overloaded(protected=False).graceful()
