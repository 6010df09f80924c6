"""Where the transport listens: on a socket of its own, on one that others share, on a second one; and pages made anew."""

from __future__ import annotations

import asyncio
import logging
import socket
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from rspp.adapters.transports.websocket import Page, WebSocketTransport
from rspp.client import Client, ConnectionLost
from tests.unit.adapters.transports.websocket.given import FakeDoor, quick, serving


def listener() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0), backlog=64)
    made.setblocking(False)
    return made


def uvloop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    uvloop = pytest.importorskip("uvloop")
    return uvloop.new_event_loop  # type: ignore[no-any-return]


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_transport_that_takes_no_new_callers_leaves_them_to_others_and_keeps_its_own(loop: str) -> None:
    async def main() -> None:
        shared, direct = listener(), listener()
        one = WebSocketTransport(quick(), listening=shared, direct=direct)
        two = WebSocketTransport(quick(), listening=shared)
        await one.start(FakeDoor())
        here = f"ws://127.0.0.1:{one.direct_port}{one.settings.path}"
        async with Client.connect(one.url) as call:
            await one.accepting(False, direct=True)
            await two.start(FakeDoor())
            assert (one.port, two.direct_port) == (two.port, None)
            for _ in range(4):
                async with Client.connect(two.url):
                    pass
            assert two.counters.opened == 4
            async with Client.connect(here):
                assert one.counters.opened == 2
            await two.accepting(False)
            await one.accepting(True)
            async with Client.connect(one.url):
                assert one.counters.opened == 3
            await one.accepting(True)  # said twice is said once
            assert call.lost is None
        await one.accepting(False)
        with pytest.raises((ConnectionLost, TimeoutError)):
            async with Client.connect(here, timeout_s=0.2):
                pass
        await one.stop("over")
        await two.stop("over")
        assert shared.fileno() > 0  # it is its giver's
        shared.close()
        direct.close()

    factory = uvloop_factory() if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def test_whoever_says_last_whether_callers_are_taken_is_obeyed_even_at_once() -> None:
    async def main() -> None:
        async with serving() as (transport, _):
            await transport.accepting(False)
            await asyncio.gather(transport.accepting(True), transport.accepting(False))
            with pytest.raises(ConnectionLost):
                async with Client.connect(transport.url, timeout_s=1):
                    pass
            await asyncio.gather(transport.accepting(True), transport.accepting(True))
            async with Client.connect(transport.url):
                pass
            await transport.accepting(False)
            starting = asyncio.create_task(transport.accepting(True))
            await asyncio.sleep(0)
            await transport.stop("enough")
            await starting
            assert not transport._servers

    asyncio.run(main())


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_page_may_be_made_anew_for_each_who_asks_and_one_that_breaks_costs_nobody_else() -> None:
    asked = []

    def ready() -> Page:
        asked.append(1)
        return Page("text/plain", b"%d" % len(asked), 200 if len(asked) > 1 else 503)

    def broken() -> Page:
        raise RuntimeError("no page")

    async def main() -> None:
        async with serving(pages={"/readyz": ready, "/metrics": broken}) as (transport, _):
            address = f"http://127.0.0.1:{transport.port}"
            assert await asyncio.to_thread(get, f"{address}/readyz") == (503, b"1")
            assert await asyncio.to_thread(get, f"{address}/readyz") == (200, b"2")
            assert (await asyncio.to_thread(get, f"{address}/metrics"))[0] == 500

    logging.getLogger("rspp.websocket").disabled = True
    try:
        asyncio.run(main())
    finally:
        logging.getLogger("rspp.websocket").disabled = False
