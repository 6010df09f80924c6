"""What a worker says of a provider follows from its calls, and what the fleet says from all who have something fresh to say."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import LimitReached
from rspp.contract.words import OutcomeClass
from rspp.control.fleet.provider_board import (
    COUNTER,
    PROBE_EVERY_MS,
    Circuits,
    Probes,
    ProviderBoard,
    ProviderReporter,
    probed,
)
from rspp.control.fleet.provider_health import (
    Calls,
    Heard,
    ProviderReport,
    ProviderState,
    Window,
    availability,
    counted,
    is_cut_off,
    judge,
    merged,
)
from rspp.control.fleet.session_ear import heard_by
from rspp.control.names import HEALTH, key
from rspp.host.meters import Meters
from rspp.host.ports import Entry, LiveCall, ProviderError, ProviderInfo
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import ProviderKind
from rspp.host.snapshots import ALONE
from rspp.kernel.snapshot import Snapshot
from rspp.spec import compile_text
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.unit.host.stage import SPEC, Stage, VirtualClock, graph_of, on_stage, registry_of

S = 1_000_000_000
HEALTHY, UNKNOWN, UNHEALTHY = ProviderState.HEALTHY, ProviderState.UNKNOWN, ProviderState.UNHEALTHY


def report(member: str = "w1", state: ProviderState = HEALTHY, **changes: Any) -> ProviderReport:
    fields = {"provider": "p", "member": member, "region": "a", "state": state, "at_ms": 1, **changes}
    return ProviderReport(**fields)


# ---- one worker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "bad", "cut", "before", "state"),
    [
        (0, 0, False, HEALTHY, UNKNOWN),
        (1, 0, False, UNHEALTHY, HEALTHY),
        (3, 1, False, HEALTHY, UNKNOWN),
        (0, 4, False, HEALTHY, UNKNOWN),
        (0, 5, False, HEALTHY, UNHEALTHY),
        (49, 51, False, HEALTHY, UNHEALTHY),
        (50, 50, False, HEALTHY, HEALTHY),
        (50, 50, False, UNHEALTHY, UNHEALTHY),
        (79, 21, False, UNHEALTHY, UNHEALTHY),
        (80, 20, False, UNHEALTHY, HEALTHY),
        (100, 0, True, HEALTHY, UNHEALTHY),
        (0, 0, True, UNKNOWN, UNHEALTHY),
    ],
)
def test_a_workers_word_follows_from_its_calls(
    good: int, bad: int, cut: bool, before: ProviderState, state: ProviderState
) -> None:
    assert judge(Calls(good, bad), cut, before) is state


def test_only_what_says_something_of_the_provider_counts() -> None:
    assert counted("success") == Calls(1, 0)
    assert {counted(word) for word in ("timeout", "overload", "infrastructure_failure")} == {Calls(0, 1)}
    assert {counted(word) for word in ("cancelled", "blocked", "", "nonsense")} == {Calls(0, 0)}


def test_the_window_holds_the_last_half_minute_from_the_very_first_call() -> None:
    window = Window()
    assert window.take(0, Calls(2, 1)) == Calls(2, 1)
    for second in range(1, 30):
        assert window.take(second * S, Calls(2, 1 + second)) == Calls(2, 1 + second)
    assert window.take(30 * S, Calls(2, 30)) == Calls(0, 29)
    assert window.take(300 * S, Calls(2, 30)) == Calls(0, 0)


def test_the_window_does_not_grow_however_often_it_is_asked() -> None:
    window = Window()
    for step in range(40_000):
        window.take(step * 1_000_000, Calls(step, 0))
    assert len(window._marks) <= 31
    assert 29_000 <= window.take(40_000 * 1_000_000, Calls(40_000, 0)).good <= 31_100


@pytest.mark.parametrize(
    ("open_sessions", "sessions", "calls", "cut"),
    [
        (0, 0, Calls(0, 9), False),
        (1, 2, Calls(9, 0), True),
        (1, 3, Calls(9, 0), False),
        (1, 100, Calls(4, 6), True),
        (1, 100, Calls(), False),
    ],
)
def test_half_the_sessions_or_most_of_the_calls_cut_a_provider_off(
    open_sessions: int, sessions: int, calls: Calls, cut: bool
) -> None:
    assert is_cut_off(open_sessions, sessions, calls) is cut


# ---- the fleet ------------------------------------------------------------------------------------------------------


def test_who_has_seen_more_calls_weighs_more() -> None:
    few_ill = [Heard(report(f"w{n}", UNHEALTHY, calls=5, failures=5), 0) for n in range(3)]
    many_well = [Heard(report("big", HEALTHY, calls=100, failures=2), 0)]
    word = merged("p", few_ill + many_well, 0)
    assert (word.state, word.calls, word.failures, word.availability) == (HEALTHY, 115, 17, 85)
    assert merged("p", few_ill, 0).state is UNHEALTHY
    even = [Heard(report("w1", UNHEALTHY, calls=10), 0), Heard(report("w2", HEALTHY, calls=10), 0)]
    assert merged("p", even, 0).state is UNHEALTHY


def test_a_word_that_was_not_renewed_counts_no_more_and_without_words_nobody_knows() -> None:
    old = Heard(report("w1", UNHEALTHY, calls=100), 0)
    assert merged("p", [old], 15 * S).state is UNHEALTHY
    assert merged("p", [old], 15 * S + 1).state is UNKNOWN
    assert merged("p", [old, Heard(report("w2", HEALTHY, calls=1), 14 * S)], 20 * S).state is HEALTHY
    assert merged("p", [], 0).state is UNKNOWN
    nothing = merged("p", [Heard(report("w1", UNKNOWN), 0)], 0)
    assert (nothing.state, nothing.members, nothing.availability) == (UNKNOWN, 1, None)


def test_an_open_circuit_has_a_voice_though_nobody_calls() -> None:
    cut = [Heard(report(f"w{n}", UNHEALTHY, circuit_open=True), 0) for n in range(2)]
    word = merged("p", cut, 0)
    assert (word.state, word.circuit_open) == (UNHEALTHY, True)
    assert not merged("p", [*cut, Heard(report("big", calls=50), 0)], 0).circuit_open


def test_the_least_price_that_somebody_knows_is_the_price() -> None:
    words = [Heard(report("w1", price=30), 0), Heard(report("w2", price=20), 0), Heard(report("w3"), 0)]
    assert merged("p", words, 0).price == 20
    assert merged("p", words[2:], 0).price is None


# ---- through the store --------------------------------------------------------------------------------------------------


class Worker:
    """A worker's meters and reporter, with a store in which everybody hears them."""

    def __init__(self, store: Any, clock: ManualClock, member: str = "w1", region: str = "a") -> None:
        self.meters = Meters()
        self.live = 10
        self.reporter = ProviderReporter(
            store,
            clock,
            self.meters,
            member_id=lambda: member,
            region=region,
            circuits=Circuits(),
            sessions=lambda: self.live,
            prices=lambda: {"p": 7},
        )

    def calls(self, outcome: str, count: int, provider: str = "p", modality: str = "llm") -> None:
        self.meters.counter(COUNTER, modality=modality, provider=provider, outcome=outcome).add(count)


async def heard(store: MemoryStore, board: ProviderBoard) -> None:
    for name in await store.keys(HEALTH, "provider/"):
        entry = await store.get(HEALTH, name)
        assert entry is not None
        board.take(entry)


def test_a_change_is_written_at_once_and_what_does_not_change_every_few_seconds() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        worker = Worker(store, clock)
        worker.calls("success", 9)
        worker.calls("success", 1, modality="stt")
        worker.calls("cancelled", 50)
        assert await worker.reporter.look() == 1
        written = 0
        for _ in range(40):
            clock.advance(500)
            written += await worker.reporter.look()
        assert written == 4, "20 seconds without a change"
        worker.calls("timeout", 20)
        clock.advance(500)
        assert await worker.reporter.look() == 1
        entry = await store.get(HEALTH, key("provider", "p", "w1"))
        assert entry is not None
        board = ProviderBoard(store, clock)
        assert board.take(entry)
        word = board.fleet(clock.now())["p"]
        assert (word.state, word.calls, word.failures, word.availability) == (UNHEALTHY, 30, 20, 33)
        assert word.price == 7

    asyncio.run(main())


class _Away(MemoryStore):
    away = False

    async def put(self, *given: Any, **more: Any) -> int | None:
        if self.away:
            raise LimitReached("store_busy", "away")
        return await super().put(*given, **more)


def test_what_the_store_did_not_take_is_said_again_at_the_next_look() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = _Away(clock)
        worker = Worker(store, clock)
        worker.calls("timeout", 9)
        store.away = True
        assert await worker.reporter.look() == 0
        store.away = False
        clock.advance(500)
        assert await worker.reporter.look() == 1
        assert worker.reporter.failures == 1

    asyncio.run(main())


def test_after_an_hour_without_a_store_a_word_is_of_the_last_half_minute_and_each_look_asked_once() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = _Away(clock)
        worker = Worker(store, clock)
        store.away = True
        for _ in range(3_600):
            for provider in ("p", "q", "r"):
                worker.calls("timeout", 1, provider)
            clock.advance(1_000)
            await worker.reporter.look()
        assert worker.reporter.failures == 3_600, "one that is not taken is enough to know"
        store.away = False
        clock.advance(1_000)
        assert await worker.reporter.look() == 3
        for provider in ("p", "q", "r"):
            entry = await store.get(HEALTH, key("provider", provider, "w1"))
            assert entry is not None
            assert 25 <= msgspec.json.decode(entry.value)["calls"] <= 31

    asyncio.run(main())


def test_a_provider_with_a_name_that_no_store_takes_keeps_no_other_from_being_told_of() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        worker = Worker(store, clock)
        for provider in ("a" * 201, "p"):
            worker.calls("timeout", 9, provider)
        assert await worker.reporter.look() == 1
        assert await store.keys(HEALTH) == [key("provider", "p", "w1")]

    asyncio.run(main())


def test_sessions_circuits_tell_what_their_worker_does_not_call_any_more() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        worker = Worker(store, clock)
        for number in range(5):
            worker.reporter.circuits.changed(f"s{number}", "p", "opened")
        board = ProviderBoard(store, clock)
        await worker.reporter.look()
        await heard(store, board)
        assert board.fleet(clock.now())["p"].circuit_open
        worker.reporter.circuits.changed("s0", "p", "half_open")
        worker.reporter.circuits.changed("s0", "p", "closed")
        worker.reporter.circuits.over("s1", "closed")
        await worker.reporter.look()
        await heard(store, board)
        word = board.fleet(clock.now())["p"]
        assert (word.state, word.circuit_open) == (UNKNOWN, False)

    asyncio.run(main())


def test_each_region_has_its_own_view_of_a_provider_that_only_one_cannot_reach() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        a, b = Worker(store, clock, "a1", "a"), Worker(store, clock, "b1", "b")
        a.calls("timeout", 20)
        b.calls("success", 200)
        board = ProviderBoard(store, clock)
        for worker in (a, b):
            await worker.reporter.look()
        await heard(store, board)
        now = clock.now()
        states = [board.fleet(now, region)["p"].state for region in ("a", "b", None)]
        assert states == [UNHEALTHY, HEALTHY, HEALTHY]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("provider/p/w1", b""),
        ("provider/p/w1", b"\xff" * 100),
        ("provider/p/w1", b'{"provider":"p","member":"w1","region":"a","state":"splendid","at_ms":1}'),
        ("provider/p/w2", b'{"provider":"p","member":"w1","region":"a","state":"unhealthy","at_ms":1}'),
        ("provider/q/w1", b'{"provider":"p","member":"w1","region":"a","state":"unhealthy","at_ms":1}'),
        ("probe/p", b"w1"),
    ],
)
def test_what_cannot_be_read_or_is_not_its_keys_is_nobodys_word(name: str, value: bytes) -> None:
    board = ProviderBoard(MemoryStore(), ManualClock())
    assert not board.take(Entry(name, value, 1))
    assert board.fleet(0) == {}


def test_an_older_word_that_comes_late_changes_nothing_and_dead_workers_words_are_let_go() -> None:
    clock = ManualClock()
    board = ProviderBoard(MemoryStore(), clock)
    newer = Entry("provider/p/w1", msgspec.json.encode(report(state=HEALTHY, calls=5)), 9)
    older = Entry("provider/p/w1", msgspec.json.encode(report(state=UNHEALTHY, calls=5)), 8)
    assert board.take(newer)
    assert not board.take(older)
    assert not board.take(newer)
    assert board.fleet(clock.now())["p"].state is HEALTHY
    clock.advance(61_000)
    board.prune()
    assert board.fleet(clock.now()) == {}
    assert board.take(older), "a word after a minute is a new one, whatever was known"


GRAPH = compile_text(
    """
pipeline: probed
version: v1
template: voice
providers:
  vad: [scripted-vad]
  end_of_turn: [scripted-end-of-turn]
  stt: [scripted-stt]
  llm: [p, q]
  tts: [scripted-tts]
"""
)


def test_a_provider_that_was_unhealthy_is_tried_by_one_session_of_the_fleet_and_comes_back() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        board = ProviderBoard(store, clock)
        worker = Worker(store, clock)
        probes = [Probes(store, board, clock, f"w{n}") for n in range(3)]

        async def look() -> int:
            await worker.reporter.look()
            await heard(store, board)
            return sum([len(await one.look()) for one in probes])

        def view() -> Snapshot:
            health = {name: one.state.value for name, one in board.fleet(clock.now()).items()}
            return Snapshot(version=1, taken_at=0, provenance=ALONE, health=health)

        worker.calls("timeout", 20)
        assert await look() == 0, "unhealthy: who calls it is told so, and nobody else needs to try"
        clock.advance(31_000)
        assert await look() == 1, "nobody calls it: of three workers one may try"
        words = [probed(view(), GRAPH, one).health["p"] for one in probes for _ in range(3)]
        assert sorted(words) == ["healthy"] + ["unknown"] * 8
        clock.advance(PROBE_EVERY_MS / 2)
        assert await look() == 0
        clock.advance(PROBE_EVERY_MS / 2 + 1)
        assert await look() == 1
        worker.calls("success", 1)
        assert await look() == 0
        assert view().health["p"] == "healthy"
        clock.advance(PROBE_EVERY_MS * 10)
        assert await look() == 0, "it is well: nothing is left to try"

    asyncio.run(main())


def test_a_provider_of_which_nobody_has_spoken_for_a_night_is_still_tried() -> None:
    async def main() -> None:
        clock = ManualClock()
        store = MemoryStore(clock)
        board = ProviderBoard(store, clock)
        probes = Probes(store, board, clock, "w1")
        board.take(Entry("provider/p/w1", msgspec.json.encode(report(state=UNHEALTHY, calls=9)), 1))
        assert await probes.look() == []
        clock.advance(8 * 3_600_000)
        board.prune()
        assert board.fleet(clock.now()) == {}
        assert await probes.look() == ["p"]
        assert probes.take("p")

    asyncio.run(main())


def test_a_probe_is_not_spent_on_a_session_that_has_no_use_for_the_provider() -> None:
    class Tickets:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def take(self, provider: str) -> bool:
            self.asked.append(provider)
            return False

    tickets = Tickets()
    snapshot = Snapshot(version=1, taken_at=0, provenance=ALONE, health={"other": "unknown", "q": "healthy"})
    assert probed(snapshot, GRAPH, tickets) is snapshot  # type: ignore[arg-type]
    assert "p" in tickets.asked
    assert not {"other", "q"} & set(tickets.asked)


def test_availability_rounds_down() -> None:
    assert (availability(Calls(2, 1)), availability(Calls(0, 3)), availability(Calls())) == (66, 0, None)


def test_a_real_sessions_broken_provider_is_heard_of_and_a_good_ones_time_is_told() -> None:
    store = MemoryStore()
    board = ProviderBoard(store, VirtualClock())
    circuits = Circuits()
    registry = registry_of(broken=ProviderKind("llm", lambda name, settings: FailsAlways(name)))
    broken = graph_of(base=SPEC.replace("llm: [scripted-llm]", "llm: [broken]").replace("stage", "broken"))

    async def scene(stage: Stage) -> None:
        reporter = ProviderReporter(
            store,
            stage.clock,
            stage.host.meters,
            member_id=lambda: "w1",
            region="a",
            circuits=circuits,
            sessions=lambda: len(stage.host.sessions),
        )
        good = stage.call(session_id="good", pipeline_version=graph_of().ref)
        bad = stage.call(session_id="bad", pipeline_version=broken.ref)
        for caller in (good, bad):
            for _ in range(4):
                await caller.frames(400)
                await caller.speak()
                await caller.frames(4_000)
        assert circuits.count("broken") == 1
        await reporter.look()
        await heard(store, board)
        fleet = board.fleet(stage.clock.now())
        assert (fleet["broken"].state, fleet["broken"].circuit_open) == (UNHEALTHY, True)
        assert fleet["broken"].failures == fleet["broken"].calls > 0
        assert fleet["scripted-llm"].state is HEALTHY
        entry = await store.get(HEALTH, key("provider", "scripted-llm", "w1"))
        assert entry is not None
        told = msgspec.json.decode(entry.value, type=ProviderReport)
        assert told.latency_p50_ms is not None
        assert told.latency_p95_ms is not None
        assert 0 < told.latency_p50_ms <= told.latency_p95_ms
        await stage.host.close_session("bad")
        assert circuits.count("broken") == 0

    on_stage(
        scene,
        graph_of(),
        broken,
        registry=registry,
        recorders=heard_by(lambda _: MemoryRecorder(), (circuits,)),
    )


class FailsAlways:
    """A language model that is down."""

    def __init__(self, name: str) -> None:
        self.info = ProviderInfo(name=name, modality="llm", version="1")

    async def open(self) -> None: ...
    async def run(self, call: LiveCall) -> None:
        raise ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, "down", retryable=True, circuit=True)

    async def close(self) -> None: ...
