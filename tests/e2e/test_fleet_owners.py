"""Who owns a session of a real fleet, when its machine freezes, its region is left, or it is killed while it hands over."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from rspp.client import Call, Client, ConnectionLost, Moved, Session, Ticket
from rspp.client.session import SessionEvent
from rspp.contract.wire import CloseCode, Told
from tests.e2e.fleet import TTL_MS, Fleet, calling, say, until

pytestmark = [pytest.mark.slow, pytest.mark.long]

TAKEN_MS_MAX = TTL_MS + 2_000


async def comes_back(endpoint: str, tenant: str, ticket: Ticket) -> int | None:
    """The code that somebody is sent away with who comes back here; None if it is let in, and lets go again."""
    try:
        async with Client.connect(endpoint, tenant=tenant, ticket=ticket, timeout_s=5) as call:
            await call.drop()
    except ConnectionLost as lost:
        return lost.close_code
    return None


@pytest.mark.proves("F-094", "F-095")
def test_a_frozen_machine_gets_nobody_and_loses_what_it_had_to_one_other_and_is_refused_when_it_wakes(
    fleet: Fleet,
) -> None:
    async def main() -> None:
        await fleet.root.put("/v1/tenants/trio/residency", process_in=["a", "c"], reason="a test of three")
        await fleet.region("c", "open")
        await fleet.settled("a1", "a2", "c1")
        first = await fleet.route_to("a2", "trio", "held")
        a1 = (await fleet.workers())["a1"]["endpoint"]
        full = await fleet.route_to("c1", "trio", "fills")
        pid = await fleet.machines["a2"].pid()
        async with (
            Client.connect(full["endpoint"], tenant="trio", token=full["token"]),
            Client.connect(first["endpoint"], tenant="trio", token=first["token"]) as held,
        ):
            ticket = held.ticket
            os.kill(pid, signal.SIGSTOP)
            try:
                frozen = time.monotonic()
                # It is not known to be gone: until it is, nobody else may have what it has.
                assert await comes_back(a1, "trio", ticket) in (
                    CloseCode.SESSION_MOVED,
                    CloseCode.SESSION_HELD,
                )
                later = asyncio.create_task(taken_over(a1, ticket))

                async def is_silent() -> bool:
                    workers = await fleet.workers()
                    return "a2" not in workers or bool(workers["a2"]["silent"])

                await until(is_silent)
                landed = [await fleet.route("trio", pipeline="desk") for _ in range(20)]
                assert {one["worker"].partition("-")[0] for one in landed} == {"a1"}
                epoch = await later
                assert epoch > held.welcome.epoch
                assert (time.monotonic() - frozen) * 1000 < TAKEN_MS_MAX
                await fleet.region("a", "closed")
                refusal = await fleet.root.ask("POST", "/v1/tenants/trio/routes", pipeline="desk")
                assert refusal.status_code in (429, 503), refusal.text
                assert refusal.json()["retry_after_ms"] > 0
                await fleet.region("a", "open")
            finally:
                os.kill(pid, signal.SIGCONT)
            await refused_when_it_wakes(held)
            assert await comes_back(first["endpoint"], "trio", ticket) is not None
            lease = await fleet.lease("trio", first["session"])
            assert lease["worker"].startswith("a1-")
            assert (lease["epoch"], lease["taken"]) == (epoch, 1)
        await fleet.settled("a1", "a2")
        await fleet.region("c", "closed")

    async def taken_over(endpoint: str, ticket: Ticket) -> int:
        while True:
            try:
                async with Client.connect(endpoint, tenant="trio", ticket=ticket, timeout_s=5) as call:
                    epoch = call.welcome.epoch
                    await call.drop()
                    return epoch
            except ConnectionLost:
                await asyncio.sleep(0.1)

    async def refused_when_it_wakes(held: Call) -> None:
        """The old owner lets its line go; nothing that it does after its time ran out counts as the session's."""
        held.say("Are you still there?")
        signals = []
        async with asyncio.timeout(10):
            while held.lost is None:
                try:
                    told = await held.until(lambda event: isinstance(event, Told), 10)
                except ConnectionLost:
                    break
                assert isinstance(told, Told)
                signals.append(told.signal)
        assert "output_accepted" not in signals
        assert "commit" not in signals

    asyncio.run(main())


def turns(events: list[SessionEvent], signal: str) -> list[str]:
    return [str(one.turn_id) for one in events if isinstance(one, Told) and one.signal == signal]


def markers(events: list[SessionEvent]) -> list[str]:
    return [one.signal for one in events if isinstance(one, Told) and one.signal.startswith("migration_")]


@pytest.mark.proves("F-096", "F-113", "F-157")
def test_a_region_that_is_left_finishes_its_calls_or_gives_them_away_and_nobody_hears_anything_twice(
    fleet: Fleet,
) -> None:
    async def region_of(session: Session) -> str:
        assert session.ticket is not None
        return str((await fleet.lease("acme", session.ticket.session))["region"])

    async def new_in_b() -> bool:
        return bool((await fleet.route(region="a", pipeline="desk"))["region"] == "b")

    async def main() -> None:
        near_a = fleet.routes(region="a")
        kept: list[SessionEvent] = []
        async with calling(near_a, pipeline="desk") as stays:
            assert await say(stays, "Hello?", kept) == "v1 one."
            # An incident is reported; failover leaves the region, and what runs there is heard out.
            await fleet.region("a", "open", incident="the power is out")
            await until(new_in_b)
            (entry, *_) = await fleet.audit(action="regions.failover")
            assert entry["facts"]["region"] == "a"
            assert "the power is out" in entry["facts"]["incident"]
            assert await say(stays, "And now?", kept) == "v1 two."
            assert (await region_of(stays), stays.moves) == ("a", 0)
        await fleet.region("a", "open")
        await fleet.settled("a1", "a2")
        async with (
            calling(near_a, pipeline="desk") as one,
            calling(near_a, pipeline="desk") as two,
        ):
            events: dict[int, list[SessionEvent]] = {0: [], 1: []}
            for number, session in enumerate((one, two)):
                assert await say(session, "Hello?", events[number]) == "v1 one."
            names = [session.ticket.session for session in (one, two) if session.ticket]
            epochs = [session.epoch for session in (one, two)]
            await fleet.region("a", "migrate", incident="the water comes")

            async def both_moved() -> bool:
                return one.moves == two.moves == 1

            await until(both_moved)
            for number, session in enumerate((one, two)):
                assert await say(session, "And now?", events[number]) == "v1 two."
                assert session.ticket is not None
                assert session.ticket.session == names[number]
                assert await region_of(session) == "b"
                assert (session.moves, session.stale_dropped) == (1, 0)
                assert session.epoch > epochs[number]
                assert markers(events[number]) == ["migration_start", "migration_finish"]
                assert len(set(turns(events[number], "commit"))) == len(turns(events[number], "commit")) == 2
                accepted = turns(events[number], "output_accepted")
                assert len(accepted) == len(set(accepted))
            await fleet.region("b", "closed")
            refusal = await fleet.root.refused(503, "POST", "/v1/tenants/acme/routes", pipeline="desk")
            assert refusal["code"] == "regions_closed"
        for name in ("a", "b"):
            await fleet.region(name, "open")
        await fleet.settled("a1", "a2", "b1")

    asyncio.run(main())


@pytest.mark.proves("F-113", "F-157")
def test_a_machine_that_dies_while_it_hands_over_leaves_one_owner_and_no_word_that_it_was_done(
    fleet: Fleet,
) -> None:
    async def main() -> None:
        # An answer that takes seconds to speak: to be heard out before anything is handed over.
        await fleet.publish("long", "v1", pace_ms=600)
        await fleet.root.post("/v1/rollouts/long/begin", version="v1", reason="a test")
        kept: list[SessionEvent] = []
        async with calling(fleet.routes(region="b"), pipeline="long") as session:
            assert session.ticket is not None
            name = session.ticket.session
            before = await fleet.lease("acme", name)
            assert before["worker"].startswith("b1-")
            session.say("Hello?")
            await session.signal("playback_started")
            await fleet.region("b", "migrate", incident="fire")

            async def is_moving() -> bool:
                return bool((await fleet.lease("acme", name))["state"] == "moving")

            await until(is_moving)
            os.kill(await fleet.machines["b1"].pid(), signal.SIGKILL)

            async def is_taken() -> bool:
                return bool((await fleet.lease("acme", name))["taken"] == 1) and not session.away

            await until(is_taken)
            after = await fleet.lease("acme", name)
            assert (after["state"], after["region"]) == ("held", "a")
            assert after["epoch"] > before["epoch"]
            session.control("stop")
            await fleet.region("b", "open")
            async for event in session.events():
                kept.append(event)
                if isinstance(event, Moved):
                    break
            assert markers(kept) == ["migration_start"]
            # The machine is there again, and is nobody's owner.
            await fleet.settled("b1")
            assert (await fleet.lease("acme", name))["worker"] == after["worker"]
            assert (await fleet.workers())["b1"]["sessions"] == 0
            entries = await fleet.audit(action="regions.set", decision="done")
            assert {"fire"} <= {one["facts"].get("incident") for one in entries}

    asyncio.run(main())
