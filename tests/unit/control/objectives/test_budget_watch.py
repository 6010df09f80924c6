"""Each session's end is counted once, however many control planes follow it, and a budget that burns freezes what is rolled out."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.config import rollout as r
from rspp.control.fleet.status import GOES_ON, SessionWord, Status
from rspp.control.names import CONFIG, STATUS, key
from rspp.control.objectives.budget_watch import (
    BAD_ENDS,
    GRACE_MS,
    MINUTE_MS,
    Book,
    BudgetWatch,
    Span,
    continued,
    is_bad,
)
from rspp.control.objectives.error_budget import DAY_MS, HOUR_MS, Counts, Objective
from rspp.host.ports import Entry
from tests.unit.control.published import Plane, Slow

OBJECTIVE = Objective(target=0.99, window_ms=3 * DAY_MS)


def status(session: str, at_ms: int, reason: str = "client_ended", **more: object) -> Status:
    plain = {"tenant": "acme", "session": session, "state": "ended", "since_ms": at_ms, "opened_ms": 0}
    return msgspec.convert({**plain, "epoch": 1, "owner": "w1", "reason": reason, **more}, Status)


def watch_of(plane: Plane) -> BudgetWatch:
    return BudgetWatch(plane.store, plane.rollouts, wall_ms=plane.wall_ms, objective=OBJECTIVE)


def entry_of(one: Status, revision: int = 1) -> Entry:
    return Entry(key(one.tenant, one.session), msgspec.json.encode(one), revision)


def test_what_the_platform_did_is_bad_and_what_a_caller_does_is_not() -> None:
    assert not is_bad(status("s", 0, "peer_ended"))
    assert not is_bad(status("s", 0, "disconnect_deadline"))
    assert is_bad(status("s", 0, "forced"))
    assert is_bad(status("s", 0, "peer_ended", missing=["tts"]))


@pytest.mark.parametrize(
    "reason", ["worker_lost", "not_resumed", "open_failed", "node_start_failed", "drain", "drain_deadline"]
)
def test_a_call_that_the_platform_broke_is_bad_in_the_words_that_end_it(reason: str) -> None:
    assert is_bad(status("s", 0, reason))


def test_a_session_that_goes_on_elsewhere_has_no_end_that_could_be_counted() -> None:
    assert not GOES_ON & BAD_ENDS


def test_a_rollout_that_cannot_be_read_keeps_no_other_from_being_frozen() -> None:
    async def main() -> None:
        plane = Plane()
        await plane.serve()
        await plane.store.put(CONFIG, key("rollout", "a"), b"{")
        watch = watch_of(plane)
        await watch.settle()
        watch.take(entry_of(status("s1", plane.wall_ms(), "forced")))
        plane.clock.advance(GRACE_MS + MINUTE_MS + 1_000)
        assert (await watch.settle()).freezes
        assert (await plane.rollouts.want("voice")).rollout.frozen

    asyncio.run(main())


def test_a_book_from_a_clock_that_leapt_is_told_and_not_taken_for_a_quiet_time() -> None:
    async def main() -> None:
        plane = Plane()
        watch = watch_of(plane)
        ahead = Book(through_ms=plane.wall_ms() + 366 * DAY_MS)
        await plane.store.put(CONFIG, key("budget", "sessions"), msgspec.json.encode(ahead))
        with pytest.raises(PeerFault, match="clock_disagrees"):
            await watch.settle()

    asyncio.run(main())


def test_ends_are_counted_by_the_minute_then_by_the_hour_and_then_no_more() -> None:
    start = 10 * DAY_MS
    book = continued(
        Book(through_ms=start),
        [(start + n * MINUTE_MS + 1, n % 2 == 0) for n in range(60)],
        start + HOUR_MS,
        3 * DAY_MS,
    )
    assert len(book.spans) == 60
    assert book.counts(start + HOUR_MS, HOUR_MS) == Counts(30, 30)
    assert book.counts(start + HOUR_MS, 10 * MINUTE_MS) == Counts(5, 5)
    later = continued(book, [], start + 8 * HOUR_MS, 3 * DAY_MS)
    assert later.spans == (Span(start, HOUR_MS, 30, 30),)
    assert continued(later, [], start + 4 * DAY_MS, 3 * DAY_MS).spans == ()


def test_an_end_before_or_after_what_is_counted_is_left_to_its_own_time() -> None:
    book = continued(
        Book(through_ms=1_000_000),
        [(999_999, True), (2_000_001, True), (1_500_000, False)],
        2_000_000,
        DAY_MS,
    )
    assert [(one.good, one.bad) for one in book.spans] == [(1, 0)]
    again = continued(book, [(2_000_001, True), (1_500_000, False)], 3_000_000, DAY_MS)
    assert sum(one.good for one in again.spans) == 1
    assert sum(one.bad for one in again.spans) == 1


def test_two_control_planes_count_each_end_once() -> None:
    async def main() -> None:
        plane = Plane()
        await plane.serve()
        watches = [watch_of(plane), watch_of(plane)]
        await watches[0].settle()
        for n in range(50):
            for one in watches:
                one.take(entry_of(status(f"s{n}", plane.wall_ms() + n, "forced" if n < 5 else "peer_ended")))
                one.take(
                    entry_of(status(f"s{n}", plane.wall_ms() + n, "forced" if n < 5 else "peer_ended"), 2)
                )
        plane.clock.advance(GRACE_MS + MINUTE_MS + 1_000)
        verdicts = await asyncio.gather(*(one.settle() for one in watches))
        assert {one.availability for one in verdicts} == {0.9}
        plane.clock.advance(MINUTE_MS)
        assert {(await one.settle()).availability for one in watches} == {0.9}

    asyncio.run(main())


def test_who_comes_second_does_not_write_over_what_the_first_has_counted() -> None:
    async def main() -> None:
        plane = Plane(store=Slow())
        first, second = watch_of(plane), watch_of(plane)
        await first.settle()
        first.take(entry_of(status("s1", plane.wall_ms(), "forced")))  # the second has not heard of it yet
        plane.clock.advance(GRACE_MS + MINUTE_MS + 1_000)
        verdicts = await asyncio.gather(first.settle(), second.settle())
        assert [one.availability for one in verdicts] == [0.0, 0.0]

    asyncio.run(main())


def test_availability_is_what_a_hand_calculation_says_and_one_failure_more_than_promised_is_an_incident() -> (
    None
):
    async def main(bad: int) -> list[bool]:
        plane = Plane()
        incidents: list[bool] = []
        watch = BudgetWatch(
            plane.store,
            plane.rollouts,
            wall_ms=plane.wall_ms,
            objective=Objective(),
            on_alerts=lambda verdict: incidents.append(verdict.burned),
        )
        plane.clock.advance(10 * DAY_MS)  # long enough ago for no alert, which looks at shorter windows
        for n in range(2_000):
            watch.take(entry_of(status(f"s{n}", plane.wall_ms(), "forced" if n < bad else "peer_ended")))
        plane.clock.advance(10 * DAY_MS)
        verdict = await watch.settle()
        assert verdict.availability == (2_000 - bad) / 2_000
        return incidents

    assert asyncio.run(main(2)) == []
    assert asyncio.run(main(3)) == [True]


def test_a_budget_that_burns_freezes_rollouts_and_frees_them_when_it_is_well() -> None:
    async def main() -> None:
        plane = Plane()
        await plane.serve("v1")
        await plane.serve("v2")
        watch = watch_of(plane)

        async def day(bad: int) -> bool:
            for n in range(100):
                watch.take(
                    entry_of(
                        status(
                            f"{plane.wall_ms()}-{n}", plane.wall_ms(), "forced" if n < bad else "peer_ended"
                        )
                    )
                )
            plane.clock.advance(DAY_MS)
            return (await watch.settle()).burned

        async def roll_out() -> None:
            await plane.rollouts.change("voice", "canary", lambda now: r.canary(now, "v2", 5), author="ada")

        assert (await watch.settle()).reason == "no samples"
        plane.clock.advance(GRACE_MS + MINUTE_MS)
        assert await day(50)
        with pytest.raises(MisuseError, match="rollout_frozen"):
            await roll_out()
        assert [await day(0) for _ in range(4)][-1] is False
        await roll_out()

    asyncio.run(main())


def test_ends_come_by_the_watch_and_a_book_that_cannot_be_read_is_told() -> None:
    async def main() -> None:
        plane = Plane()
        await plane.serve()
        watch = watch_of(plane)
        task = asyncio.create_task(watch.run())
        await plane.store.put(STATUS, key("acme", "s1"), msgspec.json.encode(status("s1", 5)))
        await plane.store.put(STATUS, key("acme", "s2"), b"garbage")
        live = msgspec.structs.replace(status("s3", 5), state=SessionWord.RUNNING)
        await plane.store.put(STATUS, key("acme", "s3"), msgspec.json.encode(live))
        async with asyncio.timeout(5):
            while not watch._ends:  # noqa: ASYNC110 - what is asked has no event
                await asyncio.sleep(0.005)
        assert list(watch._ends) == [key("acme", "s1")]
        task.cancel()
        await asyncio.wait([task])
        await plane.store.put(CONFIG, key("budget", "sessions"), b"{")
        with pytest.raises(PeerFault, match="document_corrupt"):
            await watch.settle()

    asyncio.run(main())
