"""Who has no certificate of our CA is refused on a real socket, and a new certificate costs no call."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
import socket
import ssl
import stat
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.security.dev_ca import DevCa, dev_ca
from rspp.control.security.tls import Tls, TlsFiles, check_peer, peer_names

REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


@pytest.fixture
def ca(tmp_path: Path) -> DevCa:
    return dev_ca(tmp_path / "ca")


@asynccontextmanager
async def echoing(tls: Tls, allowed: tuple[str, ...] | None = None) -> AsyncIterator[int]:
    """A server that gives back each line, with the name of who it came from."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            name = check_peer(writer, allowed) if allowed else ",".join(sorted(peer_names(writer)))
            while line := await reader.readline():
                writer.write(f"{name} ".encode() + line)
                await writer.drain()
        except (PeerFault, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.server)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def says(port: int, context: ssl.SSLContext | None, name: str = "localhost") -> bytes:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=context, server_hostname=name if context else None
    )
    try:
        async with asyncio.timeout(5):
            writer.write(b"hello\n")
            return await reader.readuntil(b"\n")
    finally:
        writer.transport.abort()


def client_of(files: TlsFiles | None, trusts: Path) -> ssl.SSLContext:
    """A client as anybody can build one, careful or not."""
    context = ssl.create_default_context(cafile=str(trusts))
    if files is not None:
        context.load_cert_chain(files.cert, files.key)
    return context


def test_both_sides_with_a_certificate_of_the_ca_talk_and_know_each_others_names(ca: DevCa) -> None:
    async def main() -> None:
        server, worker = Tls(ca.issue("control")), Tls(ca.issue("worker-1"))
        async with echoing(server) as port:
            assert await says(port, worker.client) == b"localhost,worker-1 hello\n"
            assert await says(port, worker.client, "control") == b"localhost,worker-1 hello\n"
            with pytest.raises(ssl.SSLCertVerificationError):
                await says(port, worker.client, "elsewhere")
        async with echoing(server, allowed=("worker-2", "store")) as port:
            with pytest.raises(REFUSED):
                await says(port, worker.client)
            assert await says(port, Tls(ca.issue("worker-2")).client) == b"worker-2 hello\n"

    asyncio.run(main())


def test_plaintext_no_certificate_another_ca_an_old_certificate_and_an_old_protocol_are_refused(
    ca: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        server = Tls(ca.issue("control"))
        mine = ca.issue("worker")
        stranger = dev_ca(tmp_path / "other")
        other = stranger.issue("worker")
        long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(days=10)
        over = ca.issue("over", days=5, now=long_ago)
        later = ca.issue("later", now=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
        async with echoing(server) as port:
            for context in (
                None,
                client_of(None, ca.ca),
                client_of(other, ca.ca),
                client_of(over, ca.ca),
                client_of(later, ca.ca),
            ):
                with pytest.raises(REFUSED):
                    await says(port, context)
            old = client_of(mine, ca.ca)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                old.minimum_version = ssl.TLSVersion.TLSv1
                old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(REFUSED):
                await says(port, old)
            # A client does not talk to a server of another CA either.
            with pytest.raises(ssl.SSLCertVerificationError):
                await says(port, client_of(mine, stranger.ca))
            assert await says(port, client_of(mine, ca.ca)) == b"localhost,worker hello\n"

    asyncio.run(main())


@asynccontextmanager
async def http_server(tls: Tls) -> AsyncIterator[str]:
    async def app(scope: dict[str, object], _receive: object, send: object) -> None:
        assert scope["type"] == "http"
        assert callable(send)
        await asyncio.sleep(0.001)  # so that calls are under way at any moment
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    # With its protocol said: asyncio sends small answers at once only over sockets that it sees are TCP.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        ssl_context_factory=lambda _config, _default: tls.server,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"https://localhost:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listening.close()


class Traffic:
    """Calls all the time, over one connection and over a new one each, with the context that each client was given once."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self.url = url
        self.kept = self.fresh = 0
        self._context = context
        self._over = False

    async def run(self, keep: int) -> None:
        limits = httpx.Limits(max_keepalive_connections=keep)
        async with httpx.AsyncClient(verify=self._context, limits=limits) as http:
            while not self._over:
                assert (await http.get(self.url)).text == "ok"
                if keep:
                    self.kept += 1
                else:
                    self.fresh += 1

    async def some(self) -> None:
        """Until some more handshakes were done."""
        due = self.fresh + 4
        async with asyncio.timeout(10):
            while self.fresh < due:  # noqa: ASYNC110 - what is asked has no event
                await asyncio.sleep(0.001)

    def end(self) -> None:
        self._over = True


async def serial(url: str, context: ssl.SSLContext) -> str:
    port = int(url.rpartition(":")[2])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.transport.abort()


def put(source: Path, target: Path) -> None:
    half = target.with_name("half")
    shutil.copy(source, half)
    half.replace(target)


async def to_another_ca(ca: DevCa, new: DevCa, both: Sequence[Tls], traffic: Traffic) -> None:
    """First both are trusted, then the certificates are changed, then the old one goes."""
    bundle = new.folder / "bundle.pem"
    bundle.write_bytes(ca.ca.read_bytes() + new.ca.read_bytes())
    worker, control = new.issue("worker"), new.issue("control")
    steps: list[list[tuple[Path, str]]] = [
        [(bundle, "ca.pem")],
        [(worker.key, "worker-key.pem"), (worker.cert, "worker.pem")],
        [(control.key, "control-key.pem"), (control.cert, "control.pem")],
        [(new.ca, "ca.pem")],
    ]
    for step in steps:
        for source, target in step:
            put(source, ca.folder / target)
            for tls in both:
                tls.refresh()  # in the middle of a pair, too
        assert [tls.trouble for tls in both] == [None, None]
        await traffic.some()


@pytest.mark.slow
def test_certificates_and_the_ca_are_swapped_under_traffic_without_a_failed_call(
    ca: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        server, client = Tls(ca.issue("control")), Tls(ca.issue("worker"))
        former = client_of(ca.issue("former"), ca.ca)
        async with http_server(server) as url, asyncio.TaskGroup() as tasks:
            traffic = Traffic(url, client.client)
            tasks.create_task(traffic.run(keep=1))
            tasks.create_task(traffic.run(keep=0))
            serials = {await serial(url, client.client)}
            for name, tls in (("control", server), ("worker", client)) * 3:
                ca.issue(name)
                assert tls.refresh()
                await traffic.some()
                serials.add(await serial(url, client.client))
            assert len(serials) == 4  # each of the server's was really in use
            new = dev_ca(tmp_path / "new")
            await to_another_ca(ca, new, (server, client), traffic)
            traffic.end()
            assert min(traffic.kept, traffic.fresh) >= 40
            with pytest.raises(ssl.SSLCertVerificationError):
                await serial(url, former)

    asyncio.run(main())


def test_a_ca_that_was_taken_out_lets_nobody_in_any_more_and_running_connections_go_on(
    ca: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        new = dev_ca(tmp_path / "new")
        files = new.issue("control")
        trusted = tmp_path / "both.pem"
        both = TlsFiles(ca=trusted, cert=files.cert, key=files.key)
        trusted.write_bytes(ca.ca.read_bytes() + new.ca.read_bytes())
        server = Tls(both)
        former = client_of(ca.issue("worker"), trusted)
        async with echoing(server) as port:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=former, server_hostname="localhost"
            )
            assert await says(port, former) == b"localhost,worker hello\n"
            trusted.write_bytes(new.ca.read_bytes())
            assert server.refresh()
            with pytest.raises(REFUSED):
                await says(port, former)
            writer.write(b"still here\n")
            assert await reader.readline() == b"localhost,worker still here\n"
            writer.transport.abort()
            assert await says(port, client_of(new.issue("worker"), new.ca)) == b"localhost,worker hello\n"

    asyncio.run(main())


def test_whoever_keeps_a_clients_context_is_given_new_certificates_after_the_ca_has_changed_too(
    ca: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        files = ca.issue("worker")
        client = Tls(files)
        kept = [client.client]
        for name in ("one", "two"):
            assert files.ca is not None
            with files.ca.open("ab") as file:
                file.write(dev_ca(tmp_path / name).ca.read_bytes())
            assert client.refresh()
            kept.append(client.client)
        assert len(set(map(id, kept))) == 3
        new = dev_ca(tmp_path / "two")
        issued = new.issue("worker")
        put(issued.key, files.key)
        put(issued.cert, files.cert)
        assert client.refresh()
        server = Tls(new.issue("control"))  # trusts the last CA alone, and is trusted by all three
        async with echoing(server) as port:
            for context in kept:
                assert await says(port, context) == b"localhost,worker hello\n"

    asyncio.run(main())


def test_a_pair_that_is_half_written_does_not_fit_or_is_not_in_force_is_not_taken(
    ca: DevCa, tmp_path: Path
) -> None:
    async def main() -> None:
        files = ca.issue("control")
        server = Tls(files)
        worker = Tls(ca.issue("worker"))
        assert files.ca is not None
        good = {path: path.read_bytes() for path in (files.ca, files.cert, files.key)}
        over = ca.issue("over", days=5, now=dt.datetime.now(dt.UTC) - dt.timedelta(days=10))
        stranger = ca.issue("stranger")
        harm = [
            (files.key, stranger.key.read_bytes()),  # the new key is there, its certificate not yet
            (files.cert, stranger.cert.read_bytes()),
            (files.cert, good[files.cert][:200]),
            (files.key, good[files.key][:60]),
            (files.key, b""),
            (files.cert, b"\xff" * 100),
            (files.ca, b"\xff"),
            (files.ca, b""),
            (files.cert, b"x" * (1024 * 1024 + 1)),
        ]
        async with echoing(server) as port:
            for path, data in harm:
                path.write_bytes(data)
                assert not server.refresh()
                assert server.trouble is not None
                assert "PRIVATE" not in server.trouble
                assert await says(port, worker.client) == b"localhost,worker hello\n"
                path.write_bytes(good[path])
            for source, path in ((over.cert, files.cert), (over.key, files.key)):
                shutil.copy(source, path)
            assert not server.refresh()
            assert "is over" in (server.trouble or "")
            files.cert.unlink()
            assert not server.refresh()
            ca.issue("control")
            assert server.refresh()
            assert server.trouble is None
            assert await says(port, worker.client) == b"localhost,worker hello\n"

    asyncio.run(main())


def test_a_process_without_usable_files_does_not_begin(ca: DevCa) -> None:
    files = ca.issue("control")
    files.key.write_bytes(ca.issue("other").key.read_bytes())
    for wrong in (files, TlsFiles(ca=files.ca, cert=files.cert, key=files.key.with_name("none.pem"))):
        with pytest.raises(MisuseError) as error:
            Tls(wrong)
        assert error.value.code == "tls_files_unusable"


def test_the_files_are_looked_at_while_it_runs(ca: DevCa) -> None:
    async def main() -> None:
        server = Tls(ca.issue("control"))
        before = server._taken
        running = asyncio.create_task(server.run(every_ms=5))
        ca.issue("control")
        async with asyncio.timeout(5):
            while server._taken is before:  # noqa: ASYNC110 - what is asked has no event
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_the_keys_of_the_development_ca_are_their_owners_alone_and_it_is_made_once(ca: DevCa) -> None:
    files = ca.issue("worker")
    for path in (files.key, ca.folder / "ca-key.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = ca.ca.read_bytes()
    assert dev_ca(ca.folder).ca.read_bytes() == before
    for name in ("", "ca", "../x", "a b", "-a", "a" * 64):
        with pytest.raises(MisuseError):
            ca.issue(name)
    assert "PRIVATE" not in repr(ca)
