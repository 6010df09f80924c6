"""Rows of scheduling: who is let in, who is served when, and what many sessions share.

Time is virtual and work costs some of it, so a host here can be as busy as a real one, and always in the same way.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from rspp.contract.errors import LimitReached
from rspp.host.host import HostSettings
from rspp.host.pools import Fair, Pool, PoolStrategy
from rspp.host.pools import Fifo as PoolFifo
from rspp.host.ports import Refused
from rspp.host.scheduler import LaneScheduler
from rspp.spec import compile_text
from tests.features.play import WRITTEN, Fifo, Machine, Timed, Watched, at_ms, heard_at, nearly_all, typed
from tests.unit.host.stage import Stage, on_stage, registry_of

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# ---- F-049: admission ------------------------------------------------------------------------------------------------


def answered_after_ms(caller: Timed) -> int:
    """From the end of what was said to the first sound of the reply."""
    return heard_at(caller)[0] // 1_000_000 - at_ms(caller, "speech_stopped")[0]


def first_answers(asking: int, sessions_max: int) -> tuple[list[int], list[Refused]]:
    """So many callers come at once: how long those who were let in waited for a reply, and what the others were told."""
    machine = Machine(cost_ms=1)
    waited: list[int] = []
    refused: list[Refused] = []

    async def scene(stage: Stage) -> None:
        callers: list[Timed] = []
        for _ in range(asking):
            try:
                callers.append(machine.call(stage))
            except Refused as refusal:
                refused.append(refusal)
        await asyncio.gather(*(caller.speak() for caller in callers))
        await asyncio.gather(*(caller.until("commit") for caller in callers))
        waited.extend(map(answered_after_ms, callers))
        if refused:
            assert callers[0].seat is not None
            await stage.host.close_session(callers[0].seat.session_id)
            following = machine.call(stage)
            await following.speak()
            await following.until("commit")

    on_stage(scene, settings=HostSettings(sessions_max=sessions_max), recorders=machine.recorder)
    assert machine.judges.violations() == []
    return waited, refused


@pytest.mark.proves("F-049")
def test_of_eight_callers_five_are_answered_as_fast_as_if_alone_and_three_are_told_when_to_come_back() -> (
    None
):
    baseline, nobody = first_answers(asking=5, sessions_max=5)
    assert nobody == []
    waited, refused = first_answers(asking=8, sessions_max=5)
    assert [refusal.code for refusal in refused] == ["sessions_full"] * 3
    assert all(refusal.retry_after_ms for refusal in refused)
    assert len(waited) == 5
    assert max(waited) <= max(baseline) + 20
    # The limit is what keeps it so: where all eight are let in they are noticeably slower.
    crowded, _ = first_answers(asking=16, sessions_max=16)
    assert max(crowded) > max(baseline) + 20


# ---- F-174, NF-033: fair service -------------------------------------------------------------------------------------

SPAN_MS = 4_000
COST_MS = 1.0  # a thousand inputs a second; a caller gives about a hundred


class Served(dict[str, list[Timed]]):
    """The callers of each tenant, and the machine that served them."""

    machine: Machine

    def waits(self, tenant: str) -> list[float]:
        return [wait for caller in self[tenant] for wait in self.machine.waits_ms(caller)]

    def share(self, tenant: str) -> float:
        """Of the frames that a tenant handed in, how many were served."""
        return len(self.waits(tenant)) / sum(len(caller.handed) for caller in self[tenant])

    def longest_ms(self, tenant: str) -> float:
        return max(self.waits(tenant))

    def served_at_ms(self, tenant: str) -> list[float]:
        return [at for caller in self[tenant] for at in self.machine.served_at_ms(caller)]


def contended(
    load: dict[str, int], scheduler: Callable[[], LaneScheduler] | None, *, flooding: int = 1
) -> Served:
    """Each tenant has so many callers, all on the line at once for a while; the first one may send more than he should."""
    machine = Machine(COST_MS)
    served = Served()
    served.machine = machine

    async def scene(stage: Stage) -> None:
        for tenant, count in load.items():
            served[tenant] = [machine.call(stage, tenant) for _ in range(count)]
        everyone = [caller for callers in served.values() for caller in callers]
        first, *others = everyone
        await asyncio.gather(talk(stage, first, flooding), *(talk(stage, caller) for caller in others))
        for caller in everyone:
            assert caller.seat is not None
            caller.seat.force("enough")

    on_stage(scene, recorders=machine.recorder, scheduler=scheduler() if scheduler else None)
    return served


async def talk(stage: Stage, caller: Timed, times: int = 1) -> None:
    """Silence, frame after frame; `times` as many as there should be."""
    while stage.clock.now() < SPAN_MS * 1_000_000:
        for _ in range(times - 1):
            caller.give_frame()
        await caller.frames(20)


WAIT_MS_MAX = 100.0  # what a caller does not notice
SHARE_MIN = 0.95


def within_quota(served: Served, tenant: str) -> bool:
    return served.share(tenant) >= SHARE_MIN and served.longest_ms(tenant) <= WAIT_MS_MAX


@pytest.mark.proves("F-174")
def test_a_tenant_with_fifty_times_the_load_takes_nothing_from_another() -> None:
    served = contended({"a": 50, "b": 1}, None)
    assert served.share("a") < 0.8  # it is truly too much for the machine
    assert within_quota(served, "b")
    assert not within_quota(contended({"a": 50, "b": 1}, Fifo), "b")


@pytest.mark.proves("F-174")
def test_within_a_tenant_a_session_with_fifty_times_the_load_takes_nothing_from_its_siblings() -> None:
    def one_floods(scheduler: Callable[[], LaneScheduler] | None) -> bool:
        served = contended({"a": 5}, scheduler, flooding=50)
        hog, *siblings = served["a"]
        waits = [wait for caller in siblings for wait in served.machine.waits_ms(caller)]
        sent = sum(len(caller.handed) for caller in siblings)
        assert len(hog.handed) > 4 * sent / len(siblings)
        return len(waits) / sent >= SHARE_MIN and max(waits) <= WAIT_MS_MAX

    assert one_floods(None)
    assert not one_floods(Fifo)


@pytest.mark.proves("F-174")
def test_a_shared_pool_of_workers_takes_the_keys_in_turn_and_holds_each_to_its_quota() -> None:
    """The keys of a pool are whatever its user shares it by: tenants, sessions, turns."""

    def order(strategy: PoolStrategy | None) -> tuple[list[str], int]:
        done: list[str] = []

        async def main() -> int:
            pool = Pool("shared", workers=1, capacity=200, per_key_max=60, strategy=strategy)
            gate, refused = threading.Event(), []
            waiting: list[asyncio.Future[Any]] = [pool.submit("gate", gate.wait, 10)]
            for key in ["a/s1/turn-1"] * 70 + ["b/s2/turn-1"] * 2:
                try:
                    waiting.append(pool.submit(key, done.append, key))
                except LimitReached as limit:
                    refused.append(limit.code)
            gate.set()
            await asyncio.gather(*waiting)
            assert await pool.drain(1_000)
            assert set(refused) == {"node_concurrency_limited"}
            return len(refused)

        return done, asyncio.run(main())

    fair, over_quota = order(Fair())
    assert over_quota == 10
    assert [at for at, key in enumerate(fair) if key.startswith("b/")] == [1, 3]
    fifo, _ = order(PoolFifo())
    assert [at for at, key in enumerate(fifo) if key.startswith("b/")] == [60, 61]


def starvation_incidents(served: Served, load: dict[str, int]) -> dict[str, int]:
    """In which stretches of a tenant's time fewer of its frames were served than it is sure of.

    It is sure of what it asks for, and of its part of the machine if that is less: a frame costs two inputs.
    """
    stretch_ms, tenants = 1_000, len(load)
    machine_frames = stretch_ms / COST_MS / 2
    incidents: dict[str, int] = {}
    for tenant in load:
        handed = sorted(at / 1e6 for caller in served[tenant] for at in caller.handed.values())
        done = sorted(served.served_at_ms(tenant))
        found = 0
        for begin in range(stretch_ms, SPAN_MS - stretch_ms + 1, stretch_ms):
            asked = sum(begin <= at < begin + stretch_ms for at in handed)
            given = sum(begin <= at < begin + stretch_ms for at in done)
            found += given < 0.9 * min(asked, machine_frames / tenants)
        incidents[tenant] = found
    return incidents


@pytest.mark.proves("NF-033")
def test_under_sustained_asymmetric_load_every_tenant_has_its_minimum_and_nobody_starves() -> None:
    load = {"a": 40, "b": 10, "c": 2, "d": 1}
    fair = contended(load, None)
    assert starvation_incidents(fair, load) == dict.fromkeys(load, 0)
    # What a tenant does not use goes to those who can: nobody who asks for less than a quarter is kept waiting.
    assert within_quota(fair, "c")
    assert within_quota(fair, "d")
    unfair = starvation_incidents(contended(load, Fifo), load)
    assert unfair["c"] + unfair["d"] > 0


# ---- F-105: shared providers and workers -----------------------------------------------------------------------------

SESSIONS = 30


@pytest.mark.proves("F-105")
@pytest.mark.parametrize("hog", [1, 50])
def test_thirty_sessions_share_their_providers_and_one_that_floods_costs_the_others_nothing(hog: int) -> None:
    machine, watched = Machine(cost_ms=0.1), Watched()
    waited: list[int] = []

    async def scene(stage: Stage) -> None:
        threads = threading.active_count()
        tasks = len(asyncio.all_tasks())
        callers = [machine.call(stage) for _ in range(SESSIONS)]
        flooding = asyncio.ensure_future(talk(stage, callers[0], hog))
        others = callers[1:]
        await asyncio.gather(*(caller.speak() for caller in others))
        await asyncio.gather(*(caller.until("commit") for caller in others))
        await flooding
        waited.extend(map(answered_after_ms, others))
        # A session takes no thread and no task: those that there are, are the callers' own, and gone.
        assert threading.active_count() == threads
        assert len(asyncio.all_tasks()) == tasks
        for caller in others:
            assert caller.seat is not None
            assert caller.seat.lost == 0
            assert max(machine.waits_ms(caller)) <= WAIT_MS_MAX
            assert at_ms(caller, "commit")

    on_stage(scene, registry=watched.registry(registry_of()), recorders=machine.recorder)
    # Made and opened once for all of them, and used by each.
    assert set(watched.made.values()) == set(watched.opened.values()) == {1}
    assert len(watched.made) == 5 < SESSIONS / 5
    used = Counter(request.provider for request in watched.begun)
    assert all(used[name] >= SESSIONS - 1 for name in watched.made)
    assert max(waited) <= FIRST_SOUND_MS_MAX


FIRST_SOUND_MS_MAX = 400  # what the scripted models take by themselves is 190


@pytest.mark.proves("F-105")
def test_thirty_sessions_share_two_workers() -> None:
    async def main() -> None:
        pool = Pool("shared", workers=2, capacity=64, per_key_max=1, strategy=Fair())
        ran: list[str] = []

        def work() -> str:
            ran.append(threading.current_thread().name)
            return ran[-1]

        results = await asyncio.gather(
            *(pool.submit(f"session-{number}", work) for number in range(SESSIONS))
        )
        assert len(results) == SESSIONS
        assert set(results) <= {"shared-0", "shared-1"}
        # One that wants everything is held to its part: while it works on, the others are served.
        gate = threading.Event()
        held = pool.submit("hog", gate.wait, 10)
        with pytest.raises(LimitReached):
            pool.submit("hog", work)
        assert await asyncio.wait_for(pool.submit("session-1", work), 5)
        assert not held.done()
        gate.set()
        await held
        assert await pool.drain(1_000)

    asyncio.run(main())


# ---- F-109: a node's limit -------------------------------------------------------------------------------------------

CALLERS = 20
SLO_MS = 5.0
LONG = " ".join(["word"] * 300)
# Two of these fill a fifth of the machine, twenty of them two machines.
CHATTY = WRITTEN.replace("first_ms: 300, tokens_per_s: 5", "first_ms: 50, tokens_per_s: 500").replace(
    "one two three four five six seven eight nine ten", LONG
)


def limited(limit: int, calling: int = CALLERS) -> tuple[Watched, list[float], float, list[Timed]]:
    """So many callers ask the model at one moment: who asked it, and how a bystander, who only speaks, was served."""
    machine, watched = Machine(cost_ms=0.2), Watched()
    text = CHATTY.replace(
        "llm: {type: llm, version: v1}", f"llm: {{type: llm, version: v1, concurrency_limit: {limit}}}"
    )
    found: list[float] = []
    callers: list[Timed] = []
    share: list[float] = []

    async def scene(stage: Stage) -> None:
        bystander = machine.call(stage)
        await bystander.frames(200)
        for number in range(calling):
            caller = machine.call(stage)
            callers.append(caller)
            typed(caller, f"question {number}")
        await bystander.speak(1_500)
        for caller in callers:
            await caller.until("close")
        found.extend(machine.waits_ms(bystander))
        share.append(len(found) / len(bystander.handed))
        assert len(stage.host.places) == 0

    on_stage(scene, compile_text(text), registry=watched.registry(registry_of()), recorders=machine.recorder)
    assert machine.judges.violations() == []
    return watched, found, share[0], callers


@pytest.mark.proves("F-109")
def test_a_nodes_limit_holds_for_all_callers_together_and_other_nodes_do_not_notice() -> None:
    def usual(waits: list[float]) -> float:
        return nearly_all(waits, 0.95)

    _, alone, _, _ = limited(2, calling=0)
    watched, beside, share, callers = limited(2)
    assert watched.flying_most["llm"] == 2
    assert usual(beside) <= usual(alone) + SLO_MS
    assert share == 1.0
    # The excess waits for a place, or its turn ends by name: nobody hangs.
    ends = [[name for name in caller.names() if name in ("commit", "abort")] for caller in callers]
    assert sorted(ends) == [["abort"]] * 18 + [["commit"]] * 2
    # Without the limit all of them are served at once, and whoever is beside them pays for it.
    unlimited, crowded, _, _ = limited(0)
    assert unlimited.flying_most["llm"] == CALLERS
    assert usual(crowded) > usual(alone) + SLO_MS


@pytest.mark.proves("F-109")
def test_who_finds_no_place_gets_one_as_soon_as_it_is_free() -> None:
    watched = Watched()
    text = WRITTEN.replace(
        "llm: {type: llm, version: v1}", "llm: {type: llm, version: v1, concurrency_limit: 2}"
    )
    quick = text.replace("first_ms: 300, tokens_per_s: 5", "first_ms: 50, tokens_per_s: 100")

    async def scene(stage: Stage) -> None:
        callers = [stage.call() for _ in range(4)]
        for number, caller in enumerate(callers):
            typed(caller, f"question {number}")
        await asyncio.gather(*(caller.until("commit") for caller in callers))
        refused = [caller for caller in callers if caller.signals("provider_error")]
        assert len(refused) == 2
        assert {signal.reason for caller in refused for signal in caller.signals("provider_error")} == {
            "overload"
        }
        assert watched.flying_most["llm"] == 2

    on_stage(scene, compile_text(quick), registry=watched.registry(registry_of()))
