"""Opening a call, new or resumed; however the block ends, the socket is gone after it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

from picows import WSError, ws_connect

from rspp.client.call import Call, ConnectionLost, Ticket
from rspp.client.playout import Playout
from rspp.contract.wire import SUBPROTOCOLS, AudioFormat, Hello

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
DEFAULT_FORMAT: Final = AudioFormat()


class Client:
    """Where calls come from."""

    @staticmethod
    @asynccontextmanager
    async def connect(
        url: str,
        *,
        tenant: str = "default",
        pipeline: str | None = None,
        ticket: Ticket | None = None,
        token: str | None = None,
        encoding: str = "msgpack",
        audio_in: AudioFormat | None = DEFAULT_FORMAT,
        audio_out: AudioFormat | None = DEFAULT_FORMAT,
        playback_reports: bool = True,
        playout: Playout | None = None,
        metadata: Mapping[str, str] = NOTHING,
        tls: ssl.SSLContext | None = None,
        timeout_s: float = 10.0,
    ) -> AsyncIterator[Call]:
        """A call that was welcomed. With `ticket` it is the one that lost its line. Raises `ConnectionLost` if refused."""
        call = Call(encoding, audio_in, audio_out, playback_reports, playout)
        subprotocol = next(name for name, words in SUBPROTOCOLS.items() if words == encoding)
        try:
            transport, _ = await ws_connect(
                lambda: call,
                url,
                ssl_context=tls,
                extra_headers={"Sec-WebSocket-Protocol": subprotocol},
                websocket_handshake_timeout=timeout_s,
                use_aiofastnet=False,
            )
        except (WSError, OSError) as error:
            raise ConnectionLost(1006, str(error)) from error
        try:
            call.send(
                Hello(
                    tenant=tenant,
                    pipeline=pipeline,
                    session=ticket.session if ticket else None,
                    resume=ticket.resume if ticket else None,
                    epoch=ticket.epoch if ticket else None,
                    token=token,
                    audio_in=audio_in,
                    audio_out=audio_out,
                    playback_reports=playback_reports,
                    metadata=dict(metadata),
                )
            )
            async with asyncio.timeout(timeout_s):
                await call.welcomed()
            yield call
            if call.lost is None:
                await call.hang_up()
        finally:
            transport.disconnect(graceful=False)
            # A server that broke the framing has been closed for it: that is `call.lost`, and no news here.
            with suppress(WSError):
                await transport.wait_disconnected()
