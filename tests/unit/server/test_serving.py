"""With the real engine, journal and recordings: what is changed over REST is told over Socket.IO and shown by GraphQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane
from rspp.control.security.key_folder import KeyFolder
from rspp.control.security.roles import EVERYWHERE, Role
from rspp.host.clock import MachineClock
from rspp.server.recorded.places import Places
from rspp.server.run import Listen, Service, bound
from rspp.server.serving import served_console
from rspp.server.state import Told, telling
from rspp.testing.store import MemoryStore
from tests.unit.control.published import spec_text
from tests.unit.server.given import ROOT
from tests.unit.server.live.test_sockets import opened

QUESTION = """{ health { level sequence stale reasons { surface code } } journalStatus { writable last surfaces { surface uncovered } }
    rows(surface: "pipelines") { items { aggregateId state } } journal(first: 200) { last items { surface aggregateId sequence } }
    sessions { total } providers { name } pipelines { name version edges { from to } } load { sessions workers } work { aggregateId }
    surfaces { name } actions { id } }"""


class Served(msgspec.Struct):
    url: str
    plane: ControlPlane
    told: Told
    http: httpx.AsyncClient

    def token(self, name: str) -> str:
        return token_for(self.plane, name).token

    async def ask(self, name: str, query: str) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.token(name)}"}
        said = (await self.http.post(f"{self.url}/graphql", json={"query": query}, headers=headers)).json()
        assert "errors" not in said, said
        data: dict[str, Any] = said["data"]
        return data


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Served]:
    clock = MachineClock()
    store = MemoryStore(clock)
    keys = KeyFolder(folder / "keys")
    keys.make()
    keys.create_key(clock.wall() // 1_000_000)
    async with telling(store, clock, source="test") as told, httpx.AsyncClient() as http:
        plane = ControlPlane(told.store, keys=keys, clock=clock)
        await plane.load()
        await plane.principals.first_admin("root", "test")
        await plane.principals.add(ROOT, "ann")
        await plane.principals.grant(ROOT, "ann", "acme", Role.VIEWER)
        async with served_console(plane, told, Places(folder), dev=True) as app:
            service = Service(app, bound(Listen(host="127.0.0.1", port=0)))
            running = asyncio.create_task(service.run())
            try:
                await asyncio.wait_for(service.listening(), 10)
                yield Served(service.url, plane, told, http)
            finally:
                service.stop()
                with suppress(asyncio.CancelledError):
                    await running
    await store.close()


@pytest.mark.slow
def test_what_is_changed_is_told_and_shown_with_the_number_that_was_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            served(tmp_path) as made,
            opened(made.url, made.token("root")) as root,
            opened(made.url, made.token("ann")) as ann,
        ):
            await root.until(lambda: bool(root.of("at")))
            headers = {"authorization": f"Bearer {made.token('root')}"}
            body = {"text": spec_text()}
            answer = await made.http.post(f"{made.url}/v1/pipelines", json=body, headers=headers)
            assert answer.status_code == 200
            await root.until(lambda: any(one["surface"] == "pipelines" for one in root.of("changed")))
            (told,) = [one for one in root.of("changed") if one["surface"] == "pipelines"]
            said = await made.ask("root", QUESTION)
            assert said["health"]["level"] == "OK"
            assert not said["health"]["stale"]
            assert said["health"]["sequence"] >= told["sequence"]
            assert said["rows"]["items"][0]["aggregateId"] == told["aggregateId"]
            assert said["pipelines"][0]["name"] == "voice"
            records = [one for one in said["journal"]["items"] if one["surface"] == "pipelines"]
            assert [one["sequence"] for one in records] == [told["sequence"]]
            assert said["journalStatus"]["writable"]
            assert {one["uncovered"] for one in said["journalStatus"]["surfaces"]} == {0}
            assert root.gaps() == 0
            await ann.until(lambda: bool(ann.of("at")))
            assert ann.of("changed") == []
            mine = await made.ask(
                "ann", "{ surfaces { name } health { level } sessions { total } me { id dev } }"
            )
            assert "workers" not in {one["name"] for one in mine["surfaces"]}
            assert mine["me"] == {"id": "ann", "dev": True}

    asyncio.run(main())


@pytest.mark.slow
def test_a_token_is_never_in_what_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)

    async def main() -> None:
        async with served(tmp_path) as made:
            token = made.token("root")
            async with opened(made.url, token) as root:
                await root.until(lambda: bool(root.of("at")))
            await made.http.post(
                f"{made.url}/graphql", json={"query": "{ me { id } }"}, headers={"authorization": token}
            )
            ours = "\n".join(
                one.getMessage() for one in caplog.records if not one.name.endswith((".client",))
            )
            assert token not in ours
            assert token.split(".")[2] not in ours

    asyncio.run(main())


def test_a_place_without_recordings_is_no_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path) as made:
            await made.plane.principals.grant(ROOT, "ann", EVERYWHERE, Role.VIEWER)
            assert (await made.ask("ann", "{ sessions { total items { id } } }"))["sessions"]["total"] == 0
            none = await made.ask("ann", '{ session(tenant: "acme", id: "s-1") { withheld } }')
            assert none["session"] is None

    asyncio.run(main())
