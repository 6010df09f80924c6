"""A recording may say anything and take for ever: whoever asked is told, and the next one is read."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress

import msgspec
import pytest

from rspp.contract.errors import LimitReached, PeerFault
from rspp.server.recorded import job as j
from rspp.server.recorded.children import BUSY, RSS_BYTES_MAX, UNANSWERED, Bounds, Children
from rspp.timeline.recording import assemble
from rspp.timeline.records import unframe
from tests.unit.server.recorded.given import Readers, granted, viewed
from tests.unit.timeline.calls import simulated_bytes

pytestmark = pytest.mark.slow

GOOD = simulated_bytes(7, 17)


def job(data: bytes = GOOD, kind: j.Kind = j.Kind.VIEW) -> tuple[j.Job, list[list[bytes]]]:
    grant = granted(assemble([unframe(GOOD)]))
    source = j.Source(name="call", grant=grant, pieces=(j.Piece(1, 1, len(data)),))
    return j.Job(kind=kind, sources=(source,)), [[data]]


def is_there(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_bytes_of_any_kind_are_an_answer_and_no_end(readers: Readers) -> None:
    async def main() -> None:
        begun = readers.children.begun
        for data in (
            b"",
            b"x",
            b"\xff" * 5_000,
            GOOD[:200],
            GOOD[40:],
            GOOD.replace(b"head", b"heap"),
            b"\0" * 100_000,
        ):
            with pytest.raises(PeerFault) as caught:
                await readers.children.ask(*job(data))
            assert caught.value.code != UNANSWERED, data[:20]
        first, *_ = await readers.children.ask(*job())
        assert j.VIEW(first).turns
        assert readers.children.begun - begun <= 1, "one and the same process read all of them"

    readers.play(main())


def test_what_a_process_says_is_what_the_same_code_says_here(readers: Readers) -> None:
    async def main() -> None:
        first, *more = await readers.children.ask(*job())
        view, parts, rows = viewed(assemble([unframe(GOOD)]), again=False)
        assert j.VIEW(first) == view
        assert msgspec.msgpack.decode(more[1]) == parts["summary"]
        assert sum(len(msgspec.msgpack.decode(one)) for one in more[len(j.PARTS) :]) == len(rows)

    readers.play(main())


def test_who_takes_too_long_is_killed_and_the_next_is_served() -> None:
    async def main() -> None:
        children = Children(Bounds(at_once=1, view_s=0.01))
        try:
            began = time.monotonic()
            with pytest.raises(PeerFault) as caught:
                await children.ask(*job())
            assert caught.value.code == UNANSWERED
            assert time.monotonic() - began < 10
            assert children._all == set()
            children.bounds = Bounds(at_once=1)
            assert await children.ask(*job())
            assert children.begun == 2
        finally:
            await children.close()

    asyncio.run(main())


def test_a_process_that_dies_is_told_and_replaced_and_none_is_left_at_the_end() -> None:
    async def main() -> None:
        children = Children(Bounds(at_once=1))
        await children.ask(*job())
        (child,) = children._all
        os.kill(child.pid, 9)
        with pytest.raises(PeerFault) as caught:
            await children.ask(*job())
        assert caught.value.code == UNANSWERED
        assert await children.ask(*job())
        (other,) = children._all
        asked = asyncio.ensure_future(children.ask(*job()))
        await asyncio.sleep(0)
        await children.close()
        with suppress(PeerFault):
            await asked
        assert not is_there(child.pid)
        assert not is_there(other.pid)

    asyncio.run(main())


def test_more_than_may_wait_are_refused_and_who_goes_away_leaves_no_process_at_work() -> None:
    async def main() -> None:
        children = Children(Bounds(at_once=1, waiting_max=3))
        try:
            asked = [asyncio.ensure_future(children.ask(*job())) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(LimitReached) as caught:
                await children.ask(*job())
            assert caught.value.code == BUSY
            asked[0].cancel()
            done = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(done[0], asyncio.CancelledError)
            assert all(isinstance(one, list) for one in done[1:])
        finally:
            await children.close()

    asyncio.run(main())


def test_a_process_of_a_large_server_is_not_taken_for_a_large_one() -> None:
    ballast = bytearray(RSS_BYTES_MAX + 1)
    ballast[::4096] = bytes([1]) * len(range(0, len(ballast), 4096))  # each page is really there

    async def main() -> None:
        children = Children(Bounds(at_once=1))
        for _ in range(3):
            await children.ask(*job())
        assert children.begun == 1
        await children.close()

    asyncio.run(main())
