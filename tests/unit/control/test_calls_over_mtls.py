"""Calls run over certificates on both sides, nobody else comes in, and new certificates end no call and refuse none."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from rspp.adapters.transports.websocket import WebSocketTransport
from rspp.client import Client, ConnectionLost
from rspp.control.security.dev_ca import dev_ca
from rspp.control.security.tls import Tls, TlsFiles
from rspp.host.host import Host
from rspp.host.recorder import MemoryRecorder
from tests.unit.adapters.transports.websocket.given import quick
from tests.unit.host.stage import LOUD, graph_of, registry_of

# A reply of some seconds, so that certificates change while it is heard.
LONG = """
provider_settings:
  scripted-tts: {use: scripted-tts, ms_per_character: 30}
"""


def client_of(files: TlsFiles | None, trusts: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(trusts))
    if files is not None:
        context.load_cert_chain(files.cert, files.key)
    return context


async def answered(url: str, context: ssl.SSLContext, swapped: asyncio.Event | None = None) -> None:
    """One call from hello to the end of its reply; with `swapped` certificates are changed while the reply is heard."""
    async with Client.connect(url, tls=context) as call:
        await call.send_audio(LOUD * 30)

        async def stay() -> None:
            while call.lost is None:
                await call.send_audio(bytes(640))
                await asyncio.sleep(0.02)

        staying = asyncio.create_task(stay())
        await call.signal("playback_started")
        if swapped is not None:
            await swapped.wait()
        await call.signal("playback_completed")
        assert (call.frames_lost, call.lost) == (0, None)
        staying.cancel()


@pytest.mark.slow
@pytest.mark.proves("F-120")
def test_calls_run_over_mtls_alone_and_certificates_are_swapped_under_them(tmp_path: Path) -> None:
    async def main() -> None:
        ca, other = dev_ca(tmp_path / "ca"), dev_ca(tmp_path / "other")
        server, client = Tls(ca.issue("worker")), Tls(ca.issue("gateway"))
        host = Host(registry_of(), recorders=lambda _: MemoryRecorder())
        host.publish(graph_of(LONG))
        await host.start()
        transport = WebSocketTransport(quick(), tls=server.server)
        await transport.start(host)
        url = transport.url
        assert url.startswith("wss://")
        try:
            plain = client_of(ca.issue("plain"), ca.ca)
            for where, context in (
                (url.replace("wss://", "ws://"), plain),
                (url, client_of(None, ca.ca)),
                (url, client_of(other.issue("gateway"), ca.ca)),
                (url, client_of(ca.issue("gateway-2"), other.ca)),
            ):
                with pytest.raises(ConnectionLost):
                    async with Client.connect(where, tls=context, timeout_s=5.0):
                        pass
            assert not host.sessions
            swapped = asyncio.Event()
            async with asyncio.TaskGroup() as calls:
                for _ in range(2):
                    calls.create_task(answered(url, client.client, swapped))
                async with asyncio.timeout(10):
                    while len(host.sessions) < 2:  # noqa: ASYNC110 - what is asked has no event
                        await asyncio.sleep(0.01)
                for name, tls in (("worker", server), ("gateway", client)) * 2:
                    ca.issue(name)
                    assert tls.refresh()
                    async with Client.connect(
                        url, tls=client.client
                    ):  # a new call, with what is in force now
                        pass
                swapped.set()
            await answered(url, client.client)
        finally:
            await transport.stop("test over")
            await host.stop()

    asyncio.run(main())
