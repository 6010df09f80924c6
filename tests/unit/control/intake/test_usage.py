"""What sessions use is counted as it happens, told to the others each second, and comes back to sessions as a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import PeerFault
from rspp.contract.event import Audio
from rspp.contract.words import OutcomeClass
from rspp.control.intake.metering import SessionMeter
from rspp.control.intake.quotas import UNLIMITED, Action, Limit, QuotaName, TenantLimits
from rspp.control.intake.reports import report_of
from rspp.control.intake.tariffs import Tariffs
from rspp.control.intake.usage import UsageBoard
from rspp.control.names import USAGE
from rspp.host.meters import Meters
from rspp.host.ports import Recorder, TellsSession, WatchesNodes
from rspp.host.recorder import MemoryRecorder
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import ClockAnchor, OpenRequest
from rspp.testing.clock import run_virtual
from rspp.testing.judge import Judges
from rspp.testing.store import MemoryStore
from rspp.timeline.prices import Prices, ProviderPrice
from tests.unit.host.stage import Stage, VirtualClock, graph_of, on_stage

TABLE = Prices(
    currency="EUR",
    prices={
        "scripted-llm": ProviderPrice(per_call=0.001, per_1000_tokens=1.0),
        "scripted-stt": ProviderPrice(per_minute=0.6),
        "scripted-tts": ProviderPrice(per_1000_characters=0.1),
    },
)


def of(**quotas: Limit) -> Callable[[str | None], TenantLimits]:
    return lambda tenant_id: UNLIMITED if tenant_id is None else TenantLimits(**quotas)


class World:
    """Some processes' boards over one store, in virtual time."""

    def __init__(self, limits: Any, count: int = 1) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(self.clock)
        self.meters = Meters()
        self.boards = [
            UsageBoard(self.store, f"m{number}", limits, Tariffs(TABLE), clock=self.clock, meters=self.meters)
            for number in range(count)
        ]
        self.told: list[tuple[float, str]] = []
        for board in self.boards:
            board.on_change(self._note)

    def _note(self, tenants: Collection[str]) -> None:
        self.told += [(self.clock.now() / 1e9, tenant) for tenant in tenants]

    def session(self, tenant_id: str = "t", board: int = 0, session_id: str = "s") -> SessionMeter:
        meter = SessionMeter(MemoryRecorder(), self.boards[board])
        request = OpenRequest(
            session_id=session_id,
            tenant_id=tenant_id,
            pipeline_version="v1",
            epoch=1,
            lease_token="x",
            lease_expires_at=1,
            anchor=ClockAnchor(monotonic=0, wall=0),
        )
        meter.opened(request, graph_of())
        return meter

    async def running(self, scene: Callable[[], Awaitable[None]]) -> None:
        tasks = [asyncio.ensure_future(board.run()) for board in self.boards]
        try:
            await scene()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


def played(world: Callable[[], World], scene: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        one = world()
        await one.running(lambda: scene(one))

    run_virtual(main())


def tokens(meter: SessionMeter, count: int, call: str = "c") -> None:
    """A language model was asked, and told so many."""
    meter.did(0, [fx.Invoke(call, 1, "llm", "llm", "scripted-llm", "k", 1, None)])
    meter.took(0, i.CallFinished(call, 1, count))


def frame(ms: int = 1_000) -> i.AudioReceived:
    return i.AudioReceived(Audio(b"", 16 * ms, 0), 0)


def test_a_real_call_is_counted_turn_by_turn_frame_by_frame_and_call_by_call() -> None:
    boards: list[UsageBoard] = []
    clock = VirtualClock()

    def recorders(inner: Callable[[str], Recorder]) -> Callable[[str], Recorder]:
        boards.append(UsageBoard(MemoryStore(clock), "m", lambda _: UNLIMITED, Tariffs(TABLE), clock=clock))
        return boards[0].recorders(inner)

    async def scene(stage: Stage) -> None:
        caller = stage.call("acme")
        await caller.speak()
        await caller.until("commit")
        await caller.frames(400)
        await caller.speak()
        while len(caller.signals("commit")) < 2:
            await caller.frames(20)
        heard_ms = caller._frames * 20
        boards[0].tick()
        used = boards[0].usage("acme")
        assert used.turns_minute == len(caller.signals("turn_open")) == 2
        spoken_ms = sum(audio.samples * 1000 // audio.rate for audio in caller.audio())
        assert used.audio_ms_minute == used.audio_ms_day == heard_ms + spoken_ms
        assert spoken_ms > 0
        rows = boards[0]._tenants["acme"].rows
        found = {name: row for (name, _), (row, _) in rows.items()}
        assert found["scripted-llm"].calls >= 2
        assert found["scripted-tts"].characters > 0
        assert found["scripted-tts"].audio_us > 0
        assert found["scripted-stt"].audio_us >= heard_ms * 900
        assert used.spend_micros_day > 0
        assert boards[0].usage("other").turns_minute == 0
        assert caller.seat is not None
        caller.seat.force("enough")
        assert boards[0]._tenants["acme"].sessions == {}

    on_stage(scene, recorders=recorders(Judges().recorder))


def test_each_amount_is_priced_once() -> None:
    async def scene(world: World) -> None:
        meter = world.session()
        tokens(meter, 2_000)
        assert world.boards[0].usage("t").spend_micros_day == 1_000 + 2_000_000
        meter.did(0, [fx.Invoke("s", 1, "stt", "stt", "scripted-stt", "k", 1, None)])
        meter.took(0, frame(30_000))
        world.boards[0].tick()
        world.boards[0].tick()
        assert world.boards[0].usage("t").spend_micros_day == 2_001_000 + 300_000
        meter.took(0, frame(30_000))
        meter.took(0, i.CallFinished("s", 1))
        meter.took(0, i.CallFinished("s", 1))
        assert world.boards[0].usage("t").spend_micros_day == 2_001_000 + 600_000
        meter.took(0, frame(30_000))
        meter.closed()
        assert world.boards[0].usage("t").spend_micros_day == 2_001_000 + 600_000

    played(lambda: World(of()), scene)


@pytest.mark.parametrize("action", Action)
def test_a_used_up_quota_is_told_at_once_where_it_happens_and_within_a_second_everywhere(
    action: Action,
) -> None:
    async def scene(world: World) -> None:
        here, there = world.session(board=0), world.session(board=1, session_id="s2")
        other = world.session("other", board=1, session_id="s3")
        assert here is not there is not other
        await asyncio.sleep(2.5)
        tokens(here, 600)
        assert world.told == []
        tokens(there, 399, "c2")
        await asyncio.sleep(1.01)
        assert world.told == []
        at = world.clock.now() / 1e9
        tokens(here, 1)
        assert world.told == [(at, "t")]
        assert world.boards[0].verdict("t").action is action
        assert world.boards[0].capacity("t") == ("allow" if action is Action.DEGRADE else action)
        assert world.boards[0].facts("t") == {"quota_degraded": action is Action.DEGRADE}
        await asyncio.sleep(1.01)
        assert [tenant for _, tenant in world.told] == ["t", "t"]
        assert world.told[1][0] - at <= 1.01
        assert world.boards[1].verdict("t").action is action
        assert not world.boards[1].verdict("other").refuses
        await asyncio.sleep(62)
        assert world.boards[0].verdict("t").action is world.boards[1].verdict("t").action is None
        assert [tenant for _, tenant in world.told] == ["t"] * 4

    played(lambda: World(of(tokens_per_minute=Limit(most=1_000, action=action)), 2), scene)


def test_calls_that_run_are_known_by_provider_and_forgotten_however_they_end() -> None:
    async def scene(world: World) -> None:
        meter, flying = world.session(), world.boards[0].flying

        def begin(*calls: str) -> None:
            meter.did(0, [fx.Invoke(call, 1, "llm", "llm", "scripted-llm", "k", 1, None) for call in calls])

        begin("a", "b", "c", "d", "e")
        assert flying == {"scripted-llm": 5}
        meter.took(0, i.CallFinished("a", 1))
        meter.took(0, i.CallFailed("b", 1, OutcomeClass.TIMEOUT, "x"))
        meter.took(0, i.CallCancelled("c", 1))
        meter.did(0, [fx.KillCall("d", 1)])
        assert flying == {"scripted-llm": 1}
        meter.closed()
        assert flying == {}

    played(lambda: World(of()), scene)


def test_what_all_tenants_use_together_is_limited_too() -> None:
    def limits(tenant_id: str | None) -> TenantLimits:
        together = TenantLimits(tokens_per_minute=Limit(most=100, action=Action.DEFER))
        return together if tenant_id is None else UNLIMITED

    async def scene(world: World) -> None:
        tokens(world.session("a", board=0), 60)
        tokens(world.session("b", board=1), 60)
        await asyncio.sleep(2.1)
        assert [world.boards[0].capacity(tenant) for tenant in ("a", "b", "c")] == ["defer"] * 3

    played(lambda: World(limits, 2), scene)


def test_a_process_that_died_has_used_what_it_used_until_the_window_is_over() -> None:
    async def main() -> None:
        world = World(of(spend_micros_per_day=Limit(most=2_000_000)), 1)
        tokens(world.session(), 2_000)
        assert await world.boards[0].flush()
        late = UsageBoard(
            world.store, "late", of(spend_micros_per_day=Limit(most=2_000_000)), clock=world.clock
        )
        running = asyncio.ensure_future(late.run())
        await asyncio.sleep(1.5)
        assert late.verdict("t").quota is QuotaName.SPEND_MICROS_PER_DAY
        running.cancel()
        await asyncio.wait([running])
        await asyncio.sleep(2 * 24 * 3600)
        assert late.verdict("t").quota is None
        late.tick()
        assert late._reports == {}

    run_virtual(main())


def test_a_store_that_is_away_stops_no_session_and_counting_goes_on() -> None:
    class Away(MemoryStore):
        away = False

        async def put(self, *args: Any, **more: Any) -> int | None:
            if self.away:
                raise PeerFault("store_unreachable", "away")
            return await super().put(*args, **more)

    async def main() -> None:
        clock = VirtualClock()
        world = World(of(tokens_per_minute=Limit(most=1_000)))
        store = Away(clock)
        meters = Meters()
        board = UsageBoard(store, "m0", of(tokens_per_minute=Limit(most=1_000)), clock=clock, meters=meters)
        world.boards = [board]
        running = asyncio.ensure_future(board.run())
        meter = world.session()
        store.away = True
        tokens(meter, 900)
        await asyncio.sleep(5)
        assert not board.verdict("t").refuses
        tokens(meter, 100, "c2")
        assert board.verdict("t").refuses
        assert meters.counter("usage_reports_failed_total").value >= 4
        store.away = False
        await asyncio.sleep(1)
        entry = await store.get(USAGE, "m0")
        assert entry is not None
        told = report_of(entry.value)
        assert told is not None
        assert told.tenants["t"].tokens_minute == 1_000
        running.cancel()
        await asyncio.wait([running])

    run_virtual(main())


def test_reports_that_cannot_be_read_change_nothing_and_are_counted() -> None:
    async def scene(world: World) -> None:
        await asyncio.sleep(0.1)
        await world.store.put(USAGE, "evil", b"\xc1 rubbish")
        await world.store.put(
            USAGE,
            "evil2",
            msgspec.msgpack.encode({"minute": 1, "day": 0, "tenants": {"t": [-(10**9)]}}),
        )
        tokens(world.session(), 1_000)
        await asyncio.sleep(1.1)
        assert world.boards[0].verdict("t").refuses
        assert world.meters.counter("usage_reports_malformed_total").value == 2

    played(lambda: World(of(tokens_per_minute=Limit(most=1_000))), scene)


def test_limits_that_are_not_known_leave_sessions_as_they_are() -> None:
    known = True

    def limits(_: str | None) -> TenantLimits:
        if not known:
            raise PeerFault("store_unreachable", "no view")
        return TenantLimits(tokens_per_minute=Limit(most=10))

    async def scene(world: World) -> None:
        nonlocal known
        tokens(world.session(), 10)
        assert world.boards[0].verdict("t").refuses
        known = False
        assert world.boards[0].verdict("t").refuses
        assert not world.boards[0].verdict("new").refuses

    played(lambda: World(limits), scene)


def test_tenants_without_sessions_are_forgotten_when_their_day_is_over() -> None:
    async def main() -> None:
        world = World(of(tokens_per_minute=Limit(most=1)))
        (board,) = world.boards
        meter = world.session()
        tokens(meter, 10)
        meter.closed()
        await asyncio.sleep(120)
        board.tick()
        assert set(board._tenants) == {"t"}  # what it has spent today still counts
        await asyncio.sleep(24 * 3600)
        board.tick()
        assert [len(board._tenants), len(board._windows), len(board._told)] == [0, 0, 0]

    run_virtual(main())


def test_more_tenants_than_there_is_room_for_share_their_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.control.intake.usage.TENANTS_MAX", 3)

    async def scene(world: World) -> None:
        for number in range(5):
            tokens(world.session(f"t{number}", session_id=f"s{number}"), 4)
        assert len(world.boards[0]._tenants) == 3
        assert [world.boards[0].usage(f"t{number}").tokens_minute for number in range(5)] == [
            4,
            4,
            12,
            12,
            12,
        ]

    played(lambda: World(of(tokens_per_minute=Limit(most=100))), scene)


def test_a_recorder_that_has_more_to_say_is_heard_through_the_meter() -> None:
    class Telling(MemoryRecorder):
        def attach(self, tell: Any) -> None: ...
        def stepped(self, step: Any) -> None: ...

    async def scene(world: World) -> None:
        def says(recorder: Recorder) -> tuple[bool, bool]:
            meter: object = SessionMeter(recorder, world.boards[0])
            return isinstance(meter, TellsSession), isinstance(meter, WatchesNodes)

        assert says(MemoryRecorder()) == (False, False)
        assert says(Telling()) == (True, True)

    played(lambda: World(of()), scene)


def test_odd_sound_and_text_count_nothing_and_break_nothing() -> None:
    async def scene(world: World) -> None:
        meter = world.session()
        meter.took(0, i.AudioReceived(Audio(b"", 5, 0, rate=0), 0))
        meter.took(0, i.CallProduced("nobody", 3, 0, Audio(b"", 5, 0, rate=0)))
        meter.took(0, i.CallFinished("nobody", 1, 10**6))
        meter.took(0, i.CallFailed("nobody", 1, OutcomeClass.TIMEOUT, "x"))
        meter.did(0, [fx.KillCall("nobody", 1), fx.EndSession("x")])
        assert world.boards[0].usage("t").tokens_minute == 0

    played(lambda: World(of()), scene)
