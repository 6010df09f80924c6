"""A server that is not one of ours, or breaks its word: the client says so in its own words, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import picows
import pytest

from rspp.client import Client, ConnectionLost


class Strange(picows.WSListener):
    """Answers whatever comes with one thing."""

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self._answer = answer

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        transport.underlying_transport.write(self._answer)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"\x88\x02\x03\xe9", 1001),  # a close without a reason, as a proxy sends it
        (b"\x88\x00", 1005),
        (b"\x88\x01x", 1006),
        (b"\x87\x00", 1006),
        (b"\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00", 1006),
    ],
    ids=["a close without reason", "an empty close", "half a code", "a reserved opcode", "a huge frame"],
)
def test_a_strange_server_is_a_lost_connection(answer: bytes, code: int) -> None:
    async def main() -> None:
        def greet(_request: picows.WSUpgradeRequest) -> picows.WSListener:
            return Strange(answer)

        server = await picows.ws_create_server(greet, "127.0.0.1", 0, use_aiofastnet=False)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionLost) as lost:
            async with Client.connect(f"ws://127.0.0.1:{port}/v1/rtc/ws", timeout_s=5):
                pass
        assert lost.value.close_code == code
        server.close()
        await server.wait_closed()

    asyncio.run(main())
