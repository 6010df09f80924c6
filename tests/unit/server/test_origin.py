"""A stranger's page in the operator's own browser opens no socket here, and reaches a dev server under no name of its own."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import httpx
import pytest

from rspp.contract.codes import CODES
from rspp.server.console import console_app
from rspp.server.origin import is_own_page
from tests.unit.server.given_console import console, served
from tests.unit.server.live.test_sockets import QUICK, Console

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

OWN = [
    {},
    {"host": "c.example:8700"},
    {"host": "c.example:8700", "origin": "http://c.example:8700"},
    {"host": "c.example", "origin": "https://c.example"},
    {"host": "c.example", "origin": "https://C.example:443"},
    {"host": "c.example:443", "origin": "https://c.example"},
    {"host": "[::1]:8700", "origin": "http://[::1]:8700"},
    {"host": "10.0.0.1:8700", "x-forwarded-host": "c.example", "origin": "https://c.example"},
]
STRANGE = [
    {"host": "127.0.0.1:8700", "origin": "http://evil.example"},
    {"host": "127.0.0.1:8700", "origin": "http://127.0.0.1:9999"},
    {"host": "127.0.0.1:8700", "origin": "http://127.0.0.1:8700.evil.example"},
    {"host": "127.0.0.1:8700", "origin": "http://127.0.0.1:8700@evil.example"},
    {"host": "127.0.0.1:8700", "origin": "http://127.0.0.1:port"},
    {"host": "127.0.0.1:8700", "origin": "null"},
    {"host": "127.0.0.1:8700", "origin": ""},
    {"host": "127.0.0.1:8700", "origin": "http://["},
    {"host": "127.0.0.1:8700", "origin": "file://"},
    {"host": "c.example:80", "origin": "https://c.example"},
    {"host": "", "origin": "http://evil.example"},
    {"host": "10.0.0.1", "x-forwarded-host": "c.example", "origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", OWN)
def test_a_page_of_ours_and_what_is_no_page_may_ask(headers: dict[str, str]) -> None:
    assert is_own_page(headers)


@pytest.mark.parametrize("headers", STRANGE)
def test_a_page_of_somebody_else_may_not(headers: dict[str, str]) -> None:
    assert not is_own_page(headers)


def test_a_strangers_page_opens_no_socket_and_cannot_make_its_visitor_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path, QUICK) as made, served(made) as url, aiohttp.ClientSession() as session:
            address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
            for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(address, origin=origin)
                assert refused.value.status == 403
            own = Console()
            await own.client.connect(
                url, auth={"token": made.of.token("fay")}, headers={"Origin": url}, transports=["websocket"]
            )
            await own.until(lambda: bool(own.of("at")))
            await own.client.disconnect()

    asyncio.run(main())


def test_in_dev_mode_no_name_but_this_machines_own_leads_here(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            dev = console_app(made.plane, made.engine, recorded=made.recorded, dev=True)  # type: ignore[arg-type]
            headers = {"authorization": f"Bearer {made.of.token('fay')}"}
            transport = httpx.ASGITransport(app=dev)
            async with httpx.AsyncClient(transport=transport, headers=headers) as asks:
                for path in ("/", "/v1/me", "/healthz", "/assets/none.js"):
                    answer = await asks.get(f"http://evil.example:8700{path}")
                    assert (answer.status_code, answer.json()["code"]) == (421, "host_foreign")
                    assert answer.json()["code"] in CODES
                for name in ("127.0.0.1:8700", "localhost:8700", "[::1]:8700"):
                    assert (await asks.get(f"http://{name}/v1/me")).status_code == 200
            made.app = dev
            async with served(made) as url, aiohttp.ClientSession() as session:
                address = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
                rebound = {"Host": "evil.example:8700", "Origin": "http://evil.example:8700"}
                with pytest.raises(aiohttp.WSServerHandshakeError):
                    await session.ws_connect(address, headers=rebound)

    asyncio.run(main())
