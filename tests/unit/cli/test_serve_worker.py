"""One process of `rspp serve`: whom it lets in, at which sockets, and that its certificates rotate."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rspp.adapters.transports.websocket import Settings, listening_socket
from rspp.cli.run_listen import loop_factory
from rspp.cli.serve_run import shared_socket
from rspp.cli.serve_settings import Work
from rspp.cli.serve_worker import ServedWorker, _own_socket
from rspp.client import Client
from rspp.contract.errors import MisuseError
from rspp.control.fleet.sessions import Sessions
from rspp.control.fleet.status import SessionWord
from rspp.control.security.dev_ca import dev_ca
from rspp.control.security.tls import Tls
from rspp.control.supervisor.words import Assign
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock
from rspp.testing.store import MemoryStore
from tests.e2e.ports import free_ports
from tests.e2e.test_listen import SPEC

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs


def assign(**more: Any) -> Assign:
    given = {"name": "w0-x", "slot": 0, "listening_fd": -1, "shared_url": "", "parent_pid": 0}
    return Assign(**{**given, "on_stop": "drain", "drain_ms": 100, "work": {}, **more})


def work_in(folder: Path, **more: Any) -> Work:
    spec = folder / "desk.yaml"
    spec.write_text(SPEC)
    advertise = "wss://127.0.0.1:{port}/v1/rtc/ws"
    given = {"store": "", "pipelines": (str(spec),), "data": str(folder / "data"), "advertise": advertise}
    return Work(**{**given, **more})


def made(work: Work, listening: socket.socket) -> ServedWorker:
    return ServedWorker(work, assign(), listening, MemoryStore(ManualClock()), Secrets())


@pytest.mark.parametrize("open_door", [{"dev": True, "pipelines": ()}, {"token": None}])
def test_who_asks_for_no_token_does_not_serve_where_others_could_reach_it_however_it_was_started(
    tmp_path: Path, open_door: dict[str, Any]
) -> None:
    for bound_at, told in (("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "0.0.0.0")):
        work = work_in(tmp_path, host=told, **open_door)
        with shared_socket(bound_at, 0) as listening, pytest.raises(MisuseError) as error:
            made(work, listening)
        assert error.value.code == "control_dev_not_loopback"


def test_a_process_has_the_port_of_its_slot_and_its_successor_the_one_that_is_left(tmp_path: Path) -> None:
    ports = tuple(free_ports(3))
    work = work_in(tmp_path, direct_ports=ports)
    with ExitStack() as held:
        taken = [held.enter_context(_own_socket(work, slot)) for slot in (0, 1, 0)]
        assert [one.getsockname()[1] for one in taken] == list(ports)
        with pytest.raises(MisuseError, match=str(ports[0])):
            _own_socket(work, 1)
        taken[0].close()
        assert held.enter_context(_own_socket(work, 1)).getsockname()[1] == ports[0]


def test_sockets_for_calls_are_bounded_and_do_not_wait_to_fill_packets(tmp_path: Path) -> None:
    bounds = Settings()
    with (
        shared_socket("127.0.0.1", 0) as shared,
        _own_socket(work_in(tmp_path), 0) as own,
        listening_socket("::1", 0, bounds) as six,
    ):
        for one in (shared, own, six):
            assert one.proto == socket.IPPROTO_TCP
            # The kernel doubles what is asked for.
            assert one.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * bounds.socket_send_bytes


@asynccontextmanager
async def serving(work: Work) -> AsyncIterator[ServedWorker]:
    with shared_socket("127.0.0.1", 0) as listening:
        worker = made(work, listening)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()


async def serial(worker: ServedWorker, tls: ssl.SSLContext) -> str:
    """Of the certificate that a new caller is shown."""
    port = worker.transport.direct_port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="127.0.0.1")
    try:
        writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.transport.abort()


def test_a_new_certificate_is_taken_while_it_serves_and_callers_show_theirs_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tls.run, "__defaults__", (10,))
    ca = dev_ca(tmp_path / "ca")
    files = ca.issue("worker")
    caller = Tls(ca.issue("caller")).client
    nameless = ssl.create_default_context(cafile=str(ca.ca))
    own = {"tls_cert": str(files.cert), "tls_key": str(files.key)}

    async def main() -> None:
        async with serving(work_in(tmp_path, **own)) as worker:
            before = await serial(worker, nameless)
            ca.issue("worker")
            async with asyncio.timeout(5):
                while await serial(worker, nameless) == before:  # noqa: ASYNC110 - files tell nobody
                    await asyncio.sleep(0.01)
        async with serving(work_in(tmp_path, **own, tls_client_ca=str(ca.ca))) as worker:
            assert await serial(worker, caller)
            with pytest.raises((OSError, AssertionError)):
                await serial(worker, nameless)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())


def test_meters_which_name_tenants_are_not_where_callers_of_all_of_them_come(tmp_path: Path) -> None:
    async def pages(work: Work, host: str) -> list[int]:
        with shared_socket(host, 0) as listening:
            worker = made(work, listening)
            await worker.start()
            try:
                async with httpx.AsyncClient(trust_env=False) as client:
                    base = f"http://127.0.0.1:{worker.transport.direct_port}"
                    return [(await client.get(base + path)).status_code for path in ("/livez", "/metrics")]
            finally:
                await worker.stop()

    async def main() -> None:
        assert await pages(work_in(tmp_path), "127.0.0.1") == [200, 200]
        secret = tmp_path / "token"
        secret.write_text("a token that callers must show")
        secret.chmod(0o600)
        everywhere = "0.0.0.0"
        work = work_in(tmp_path, host=everywhere, token=f"file://{secret}")
        assert await pages(work, everywhere) == [200, 404]

    asyncio.run(main())


def test_a_console_beside_a_process_that_serves_files_sees_its_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(work_in(tmp_path)) as worker:
            statuses = Sessions(worker._store)
            url = f"ws://127.0.0.1:{worker.transport.direct_port}/v1/rtc/ws"
            async with Client.connect(url, tenant="acme") as call:
                session = (await call.welcomed()).session
                async with asyncio.timeout(10):
                    while (seen := await statuses.get("acme", session)) is None:  # noqa: ASYNC110 - it tells nobody
                        await asyncio.sleep(0.01)
                assert (seen.state, seen.owner) == (SessionWord.CONNECTED, worker.worker.id)
                assert seen.pipeline.startswith("desk@")
                await call.hang_up()
                async with asyncio.timeout(10):
                    while (seen := await statuses.get("acme", session)) is not None:
                        if seen.state is SessionWord.ENDED:
                            break
                        await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(main())
