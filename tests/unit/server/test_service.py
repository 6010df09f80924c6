"""The service as it runs: real sockets, TLS with and without callers' certificates, an end in good order, certificates that rotate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import MisuseError
from rspp.control.authority.leases import Lease, Leases
from rspp.control.commands import Outcome, Result
from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane
from rspp.control.security.dev_ca import dev_ca
from rspp.control.security.key_folder import KeyFolder, first_key
from rspp.control.security.tls import Tls, TlsFiles
from rspp.server.app import make_app
from rspp.server.run import Service, bound, listen_of, serve
from tests.unit.control.published import spec_text

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


class Running:
    """A service on a port of its own, and the first admin's token."""

    def __init__(self, service: Service, plane: ControlPlane) -> None:
        self.service, self.url, self.plane = service, service.url, plane
        self.token = token_for(plane, "root").token

    def client(self, tls: ssl.SSLContext | None = None) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.token}"}
        return httpx.AsyncClient(
            base_url=self.url, headers=headers, verify=tls or True, trust_env=False, timeout=10
        )


@asynccontextmanager
async def running(
    folder: Path, tls: Tls | None = None, proxies: tuple[str, ...] = ()
) -> AsyncIterator[Running]:
    store = SqliteStore(folder / "control.db")
    keys = KeyFolder(folder / "keys")
    plane = ControlPlane(store, keys=keys)
    first_key(keys, plane.wall_ms())
    await plane.load()
    await plane.principals.first_admin("root", "test")
    service = Service(make_app(plane), bound(listen_of("127.0.0.1:0")), tls, proxies)
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    served = asyncio.create_task(serve(plane, service, told.set_result, signals=False))
    try:
        await asyncio.wait((told, served), return_when=asyncio.FIRST_COMPLETED, timeout=10)
        assert told.result() == service.url
        yield Running(service, plane)
    finally:
        service.stop()
        await asyncio.wait_for(served, 10)
        await store.close()


def test_over_a_real_socket_a_pipeline_is_published_rolled_out_and_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as made, made.client() as client:
            assert (await client.get("/readyz")).status_code == 200
            published = await client.post("/v1/pipelines", json={"text": spec_text()})
            assert published.json()["published"]["author"] == "root"
            begun = await client.post("/v1/rollouts/voice/begin", json={"version": "v1", "reason": "first"})
            assert begun.json()["rollout"]["base"] == "v1"
            said = (await client.get("/v1/audit", params={"action": "rollout.begin"})).json()["items"]
            assert [one["decision"] for one in said] == ["done", "allow"]
            workers = (await client.get("/v1/workers")).json()["items"]
            assert [(one["kind"], one["state"]) for one in workers] == [("control", "up")]
            assert "server" not in (await client.get("/livez")).headers
            (line,) = made.service._server.server_state.connections
            accepted = line.transport.get_extra_info("socket")
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("proxies", "seen"),
    [((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.7"), (("192.0.2.0/24",), "127.0.0.1")],
)
def test_a_callers_address_is_the_sockets_or_what_a_known_proxy_says(
    tmp_path: Path, proxies: tuple[str, ...], seen: str
) -> None:
    """What the caller itself put into the header stands further left, and is not believed."""

    async def main() -> None:
        async with running(tmp_path, None, proxies) as made, made.client() as client:
            headers = {"x-forwarded-for": "198.51.100.9, 203.0.113.7", "authorization": "Bearer x.y.z"}
            assert (await client.get("/v1/me", headers=headers)).status_code == 401
            said = (await client.get("/v1/audit", params={"decision": "deny"})).json()["items"]
            assert [one["facts"]["address"] for one in said] == [seen]

    asyncio.run(main())


def test_a_stopped_service_answers_what_it_has_taken_and_leaves_the_fleet(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as made, made.client() as client:
            store = made.plane.store
            await Leases(store, "w-1").acquire(Lease(tenant_id="acme", session_id="s-1", owner="w-1"))
            order = {"reason": "r", "within_ms": 8_000}
            asked = asyncio.create_task(client.post("/v1/tenants/acme/sessions/s-1/cancel", json=order))
            async with aclosing(made.plane.commands.watch("w-1")) as orders:  # type: ignore[type-var]
                command = await anext(orders)
            made.service.stop()
            await asyncio.sleep(0.2)  # long enough for a stop that waits for nobody to cut the line
            assert not asked.done()
            await made.plane.commands.answer("w-1", Result(id=command.id, outcome=Outcome.DONE))
            assert (await asked).json() == {"session": "s-1", "outcome": "done", "message": ""}
            assert (command.by, command.tenant, command.session) == ("root", "acme", "s-1")
        store = SqliteStore(tmp_path / "control.db")
        entries = [await store.get("members", name) for name in await store.keys("members")]
        assert [b'"state":"left"' in entry.value for entry in entries if entry is not None] == [True]
        await store.close()

    asyncio.run(main())


@pytest.mark.slow
def test_with_a_callers_authority_only_its_callers_come_in_and_certificates_rotate(tmp_path: Path) -> None:
    async def main() -> None:
        ca, other = dev_ca(tmp_path / "ca"), dev_ca(tmp_path / "other")
        own, mine, foreign = Tls(ca.issue("control")), Tls(ca.issue("caller")), Tls(other.issue("stranger"))
        async with running(tmp_path, own) as made:
            async with made.client(mine.client) as client:
                assert (await client.get("/v1/me")).json()["principal"] == "root"
            plain = httpx.AsyncClient(base_url=made.url.replace("https", "http"), trust_env=False)
            nameless = ssl.create_default_context(cafile=str(ca.ca))
            for refused in (plain, made.client(nameless), made.client(foreign.client)):
                async with refused:
                    with pytest.raises(httpx.HTTPError):
                        await refused.get("/livez")
            before = await _serial(made.url, mine.client)
            ca.issue("control")
            async with made.client(mine.client) as client, asyncio.timeout(10):
                while await _serial(made.url, mine.client) == before:
                    assert (await client.get("/livez")).status_code == 200
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_https_for_callers_without_certificates_takes_a_new_one_and_keeps_the_old_one_if_that_is_broken(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        ca = dev_ca(tmp_path / "ca")
        files = ca.issue("control")
        own = Tls(TlsFiles(cert=files.cert, key=files.key))
        trust = ssl.create_default_context(cafile=str(ca.ca))
        async with running(tmp_path, own) as made:
            async with made.client(trust) as client:
                assert (await client.get("/v1/me")).status_code == 200
            before = await _serial(made.url, trust)
            ca.issue("control")
            own.refresh()
            renewed = await _serial(made.url, trust)
            assert renewed != before
            files.cert.write_text("no certificate")
            assert own.refresh() is False
            assert await _serial(made.url, trust) == renewed

    asyncio.run(main())


async def _serial(url: str, tls: ssl.SSLContext) -> str:
    """Of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]), ssl=tls)
    found = str(writer.get_extra_info("peercert")["serialNumber"])
    writer.transport.abort()
    return found


def test_sockets_on_which_nothing_is_asked_keep_nobody_out_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.run.REQUESTS_MAX", 8)
    monkeypatch.setattr("rspp.server.run.HEAD_S_MAX", 0.2)

    async def main() -> None:
        async with running(tmp_path) as made, made.client() as client:
            port = int(made.url.rpartition(":")[2])
            assert (await client.get("/livez")).status_code == 200
            whole = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
            silent = [await asyncio.open_connection("127.0.0.1", port)]
            reader, writer = silent[0]
            writer.write(whole)
            await reader.readuntil(b'{"live":true}')
            silent += [await asyncio.open_connection("127.0.0.1", port) for _ in range(7)]
            # Half of a second request, halves of a first one; the others say nothing.
            for _, writer in silent[:4]:
                writer.write(whole[:20])
            async with asyncio.timeout(5):
                while (await client.get("/livez")).status_code != 503:  # noqa: ASYNC110 - it is asked, and tells nobody
                    await asyncio.sleep(0)
                while (await client.get("/livez")).status_code != 200:  # noqa: ASYNC110 - likewise
                    await asyncio.sleep(0.02)
            for reader, writer in silent:
                await asyncio.wait_for(reader.read(), 5)
                writer.close()

    asyncio.run(main())


def test_an_address_that_cannot_be_listened_on_is_told_with_what_to_do() -> None:
    taken = bound(listen_of("127.0.0.1:0"))
    try:
        port = taken.getsockname()[1]
        with pytest.raises(MisuseError, match="choose another with --listen"):
            bound(listen_of(f"127.0.0.1:{port}"))
    finally:
        taken.close()
    for bad in ("", "host", "host:", ":80", "host:port", "host:70000"):
        with pytest.raises(MisuseError, match="address_unusable"):
            listen_of(bad)
    assert listen_of("[::1]:80").shown == "[::1]"


def test_a_control_process_that_is_called_lost_comes_back_as_somebody_new(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as made, made.client() as client:
            before = (await client.get("/v1/workers")).json()["items"][0]["worker"]
            body = {"reason": "by mistake"}
            assert (await client.post(f"/v1/workers/{before}/fence", json=body)).status_code == 200
            made.plane.membership_changed()
            async with asyncio.timeout(10):
                while True:
                    items = (await client.get("/v1/workers")).json()["items"]
                    if [one["worker"] for one in items] not in ([], [before]):
                        break
                    await asyncio.sleep(0.02)
            assert items[0]["state"] == "up"

    asyncio.run(main())
