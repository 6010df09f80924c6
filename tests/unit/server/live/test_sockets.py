"""Over a real socket, with a real client: who is let in, what it hears, and what becomes of one that does not behave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio  # type: ignore[import-untyped]

from rspp.contract.surface import Row
from rspp.control.operations.people import token_for
from rspp.control.security.roles import Role
from rspp.server.live.sockets import Timing
from tests.unit.server.given import ROOT
from tests.unit.server.given_console import console, served

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

QUICK = Timing(tell_every_s=0.02, at_every_s=0.1, check_every_s=0.05, token_s_max=0.4)
WITHIN_S = 10.0


class Console:
    """One open console: all that it heard, in order."""

    def __init__(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.news = asyncio.Event()
        self.left = asyncio.Event()
        for event in ("changed", "at", "refetch", "over"):
            self.client.on(event, self._hears(event))
        self.client.on("disconnect", lambda *_: self.left.set())

    def _hears(self, event: str) -> Callable[[dict[str, Any]], None]:
        def heard(data: dict[str, Any]) -> None:
            self.heard.append((event, data))
            self.news.set()

        return heard

    def of(self, event: str) -> list[dict[str, Any]]:
        return [data for name, data in self.heard if name == event]

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def gaps(self) -> int:
        """As the page counts them."""
        last, gaps = -1, 0
        for event, data in self.heard:
            if event == "over":
                continue
            gaps += last >= 0 and data["after"] > last
            last = data["sequence"]
        return gaps


@asynccontextmanager
async def opened(url: str, token: str | None) -> AsyncIterator[Console]:
    made = Console()
    auth = None if token is None else {"token": token}
    try:
        await made.client.connect(url, auth=auth, transports=["websocket"], wait_timeout=5)
        yield made
    finally:
        await made.client.disconnect()


def row(name: str, tenant: str | None, state: str = "running") -> Row:
    return Row(aggregate_id=name, tenant_id=tenant, state=state)


async def refusal(url: str, auth: Any) -> dict[str, Any]:
    """What a client is told that is not let in."""
    client = socketio.AsyncClient(reconnection=False)
    told: list[dict[str, Any]] = []
    client.on("connect_error", told.append)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(url, auth=auth, transports=["websocket"], wait_timeout=5)
    if client.eio.http is not None:
        await client.eio.http.close()
    found: dict[str, Any] = told[0]["data"]
    return found


@asynccontextmanager
async def held(url: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A WebSocket on which nothing was said yet."""
    address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(address, timeout=aiohttp.ClientWSTimeout(ws_close=0.05)) as wire,
    ):
        assert (await wire.receive()).data.startswith("0")
        yield wire


def stops_reading(wire: aiohttp.ClientWebSocketResponse) -> asyncio.Transport:
    """What comes stays in the sockets' own memory."""
    transport = wire._conn.transport  # type: ignore[union-attr]
    assert transport is not None
    transport.pause_reading()
    return transport


async def closes(wire: aiohttp.ClientWebSocketResponse) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not (await wire.receive()).type.name.startswith("CLOS"):
            pass


def test_nobody_is_let_in_without_a_token_that_holds(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            for auth in (
                None,
                {},
                {"token": ""},
                {"token": 7},
                {"token": "a\nb"},
                {"token": "x" * 9_000},
                ["t"],
            ):
                assert (await refusal(url, auth))["code"] == "unauthenticated"
            told: dict[str, Any] = {}
            for _ in range(5):
                told = await refusal(url, {"token": "x.y.z"})
            assert told["code"] == "unauthenticated"
            told = await refusal(url, {"token": "x.y.z"})
            assert told["code"] == "authentication_paused"
            assert told["retryAfterMs"] > 0
            denied = await made.of.denials("anonymous")
            assert len(denied) >= 5

    asyncio.run(main())


def test_a_client_hears_of_what_it_may_see_in_order_without_state_and_without_gaps(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            tokens = [made.of.token(name) for name in ("fay", "ann")]
            async with opened(url, tokens[0]) as fleet, opened(url, tokens[1]) as acme:
                await fleet.until(lambda: bool(fleet.of("at")))
                await acme.until(lambda: bool(acme.of("at")))
                for n in range(20):
                    made.engine.put("sessions", row(f"s-{n}", ("acme", "bolt")[n % 2]))
                    made.engine.put("workers", row(f"w-{n}", None))
                await fleet.until(lambda: len(fleet.of("changed")) == 40)
                await acme.until(
                    lambda: len(acme.of("changed")) == 10 and acme.of("at")[-1]["sequence"] == 40
                )
                assert {one["aggregateId"] for one in acme.of("changed")} == {
                    f"s-{n}" for n in range(0, 20, 2)
                }
                assert {one["surface"] for one in acme.of("changed")} == {"sessions"}
                assert (fleet.gaps(), acme.gaps()) == (0, 0)
                numbers = [one["sequence"] for one in acme.of("changed")]
                assert numbers == sorted(numbers)
                for one in (*fleet.of("changed"), *acme.of("changed")):
                    assert set(one) == {"surface", "aggregateId", "sequence", "after"}

    asyncio.run(main())


def test_changes_of_one_thing_in_a_moment_are_told_once(tmp_path: Path) -> None:
    async def main() -> None:
        timing = Timing(tell_every_s=0.2, at_every_s=30.0, check_every_s=30.0, token_s_max=10.0)
        async with (
            console(tmp_path, timing) as made,
            served(made) as url,
            opened(url, made.of.token("fay")) as fleet,
        ):
            await fleet.until(lambda: bool(fleet.of("at")))
            for n in range(50):
                made.engine.put("sessions", row("s-1", "acme", str(n)))
            await fleet.until(lambda: bool(fleet.of("changed")))
            made.engine.put("sessions", row("s-2", "acme"))
            await fleet.until(lambda: len(fleet.of("changed")) == 2)
            assert [one["sequence"] for one in fleet.of("changed")] == [50, 51]

    asyncio.run(main())


def test_a_client_that_comes_back_sees_that_it_missed_something(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            async with opened(url, made.of.token("ann")) as before:
                made.engine.put("sessions", row("s-1", "acme"))
                await before.until(lambda: bool(before.of("changed")))
                last = before.heard[-1][1]["sequence"]
            made.engine.put("sessions", row("s-2", "acme"))
            async with opened(url, made.of.token("ann")) as after:
                await after.until(lambda: bool(after.of("at")))
                event, first = after.heard[0]
                assert (event, first["after"], first["sequence"]) == ("at", 2, 2)
                assert first["after"] > last

    asyncio.run(main())


def test_a_role_that_is_taken_away_ends_the_connection_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            console(tmp_path, QUICK) as made,
            served(made) as url,
            opened(url, made.of.token("ann")) as acme,
        ):
            await acme.until(lambda: bool(acme.of("at")))
            await made.plane.principals.revoke(ROOT, "ann", "acme", Role.VIEWER)
            await acme.until(lambda: bool(acme.of("over")))
            assert acme.of("over")[0]["code"] == "roles_changed"
            await asyncio.wait_for(acme.left.wait(), WITHIN_S)
            heard = len(acme.of("changed"))
            made.engine.put("sessions", row("s-1", "acme"))
            async with opened(url, made.of.token("ann")) as again:
                await again.until(lambda: len(again.of("at")) > 2)
                assert again.of("changed") == []
            assert len(acme.of("changed")) == heard

    asyncio.run(main())


@pytest.mark.slow
def test_a_token_that_ends_ends_the_connection_whether_its_client_goes_or_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url, held(url) as wire:
            token = token_for(made.plane, "fay", 1_000).token
            await wire.send_str("40" + json.dumps({"token": token}))
            async with asyncio.timeout(WITHIN_S):
                # It never answers, and never goes by itself.
                said = [str(message.data) async for message in wire]
            assert any("unauthenticated" in one for one in said)

    asyncio.run(main())


async def _says(url: str, what: str) -> None:
    async with held(url) as wire:
        await wire.send_str(what)
        await closes(wire)


@pytest.mark.slow
def test_who_shows_no_token_or_says_too_much_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            connect = "40" + json.dumps({"token": made.of.token("fay")})
            async with held(url) as silent:
                await closes(silent)
            async with held(url) as chatter:
                await chatter.send_str(connect)
                for _ in range(100):
                    await chatter.send_str('42["anything",{}]')
                await closes(chatter)
            bad = ("40" + "x" * 40_000, "49", "45-", '42["', "\x00", "40/admin,", "b" * 10, "4")
            await asyncio.gather(*(_says(url, one) for one in bad))
            async with held(url) as twice:
                await twice.send_str(connect)
                await twice.send_str(connect)
                async with asyncio.timeout(WITHIN_S):
                    while not (await twice.receive()).data.startswith("44"):
                        pass
            async with opened(url, made.of.token("fay")) as fleet:
                await fleet.until(lambda: bool(fleet.of("at")))

    asyncio.run(main())


def test_polling_is_not_spoken_and_other_addresses_are_no_sockets(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url, aiohttp.ClientSession() as session:
            async with session.get(url + "/socket.io/?EIO=4&transport=polling") as answer:
                assert answer.status in (404, 405)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(url.replace("http", "ws", 1) + "/other")

    asyncio.run(main())


def test_no_more_consoles_are_open_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.server.live.clients.CLIENTS_OF_ONE_MAX", 1)

    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            async with opened(url, made.of.token("fay")) as fleet:
                await fleet.until(lambda: bool(fleet.of("at")))
                assert (await refusal(url, {"token": made.of.token("fay")}))["code"] == "consoles_full"
                async with opened(url, made.of.token("ann")) as acme:
                    await acme.until(lambda: bool(acme.of("at")))
            async with asyncio.timeout(WITHIN_S), opened(url, made.of.token("fay")) as again:
                await again.until(lambda: bool(again.of("at")))

    asyncio.run(main())


def test_who_holds_connections_without_a_token_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.live.sockets.WAITING_OF_ONE_MAX", 2)

    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            async with held(url), held(url):
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    async with held(url):
                        pass
            async with asyncio.timeout(WITHIN_S), opened(url, made.of.token("fay")) as fleet:
                await fleet.until(lambda: bool(fleet.of("at")))

    asyncio.run(main())


@pytest.mark.slow
def test_a_client_that_does_not_read_costs_a_bounded_memory_and_is_told_to_ask_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url, held(url) as slow:
            await slow.send_str("40" + json.dumps({"token": made.of.token("fay")}))
            async with asyncio.timeout(WITHIN_S):
                while '"at"' not in (await slow.receive()).data:
                    pass
            transport = stops_reading(slow)
            (client,) = made.sockets.clients
            room, sent = 64, 0
            async with asyncio.timeout(60), opened(url, made.of.token("root")) as quick:
                while not client.feed._dropped:
                    for _ in range(6):
                        sent += 1
                        made.engine.tell("sessions", f"s-{sent}-" + "x" * 20_000, "acme")
                    room = min(room, made.sockets._room(client))
                    await asyncio.sleep(0.02)
                assert room == 0
                assert len(client.feed._pending) == 0
                transport.resume_reading()
                async for message in slow:
                    if '"refetch"' in str(message.data):
                        break
                assert quick.of("changed")
                assert quick.gaps() == 0

    asyncio.run(main())


@pytest.mark.slow
def test_a_client_that_never_reads_again_is_cut_and_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.run.STUCK_S_MAX", 0.2)
    monkeypatch.setattr("rspp.server.live.wire.SEND_S_MAX", 0.2)

    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url, held(url) as slow:
            await slow.send_str("40" + json.dumps({"token": made.of.token("fay")}))
            async with asyncio.timeout(WITHIN_S):
                while '"at"' not in (await slow.receive()).data:
                    pass
            stops_reading(slow)
            assert made.service is not None
            connections = made.service._server.server_state.connections
            assert connections
            sent = 0
            async with asyncio.timeout(30):
                while len(made.sockets.clients) or made.sockets._wires or connections:
                    for _ in range(6):
                        sent += 1
                        made.engine.tell("sessions", f"s-{sent}-" + "x" * 20_000, "acme")
                    await asyncio.sleep(0.02)

    asyncio.run(main())


def test_a_fault_of_ours_silences_nobody_and_lets_nobody_stay_of_whom_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.live.sockets.AGAIN_S", 0.01)

    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            tokens = [made.of.token(name) for name in ("fay", "ann", "bob")]
            async with opened(url, tokens[0]) as fleet, opened(url, tokens[1]) as acme:
                for one in (fleet, acme):
                    await one.until(lambda one=one: bool(one.of("at")))  # type: ignore[misc]
                send, holds = made.sockets._send, made.sockets._authenticate
                broken = 0

                async def breaks_once(*given: Any) -> None:
                    nonlocal broken
                    broken += 1
                    if broken == 1:
                        raise KeyError("a fault of the library")
                    await send(*given)

                async def breaks_for_ann(token: str) -> Any:
                    if token == tokens[1]:
                        raise ZeroDivisionError
                    return await holds(token)

                made.sockets._send = breaks_once
                await fleet.until(lambda: broken > 1)
                made.engine.put("workers", row("w-1", None))
                await fleet.until(lambda: bool(fleet.of("changed")))
                made.sockets._authenticate = breaks_for_ann
                await acme.until(lambda: bool(acme.of("over")))
                assert acme.of("over")[0]["code"] == "authority_unconfirmed"
                made.engine.put("workers", row("w-2", None))
                await fleet.until(lambda: len(fleet.of("changed")) == 2)

    asyncio.run(main())


def test_a_store_that_does_not_answer_keeps_no_other_from_being_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.live.clients.LOOK_S_MAX", 0.05)
    monkeypatch.setattr("rspp.server.live.clients.UNSURE_S_MAX", 0.3)

    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url:
            tokens = [made.of.token(name) for name in ("fay", "ann")]
            async with opened(url, tokens[0]) as fleet, opened(url, tokens[1]) as acme:
                holds = made.sockets._authenticate

                async def never_for_fay(token: str) -> Any:
                    if token == tokens[0]:
                        await asyncio.Event().wait()
                    return await holds(token)

                made.sockets._authenticate = never_for_fay
                await made.plane.principals.revoke(ROOT, "ann", "acme", Role.VIEWER)
                await acme.until(lambda: bool(acme.of("over")))
                assert acme.of("over")[0]["code"] == "roles_changed"
                await fleet.until(lambda: bool(fleet.of("over")))
                assert fleet.of("over")[0]["code"] == "authority_unconfirmed"

    asyncio.run(main())
