"""Opening a call, new or resumed; however the block ends, the socket is gone after it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Final

from picows import WSError, WSTransport, ws_connect

from rspp.client.call import Call, ConnectionLost, Ticket
from rspp.client.playout import Playout
from rspp.contract.wire import SUBPROTOCOLS, AudioFormat, Hello

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
DEFAULT_FORMAT: Final = AudioFormat()


@asynccontextmanager
async def connect(
    url: str,
    *,
    tenant: str = "default",
    pipeline: str | None = None,
    ticket: Ticket | None = None,
    tell_epoch: bool = True,
    token: str | None = None,
    encoding: str = "msgpack",
    audio_in: AudioFormat | None = DEFAULT_FORMAT,
    audio_out: AudioFormat | None = DEFAULT_FORMAT,
    playback_reports: bool = True,
    playout: Playout | None = None,
    played: bytearray | None = None,
    epoch_least: int | None = None,
    metadata: Mapping[str, str] = NOTHING,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 10.0,
    silent_s: float | None = None,
) -> AsyncIterator[Call]:
    """A call that was welcomed. With `ticket` it is the one that lost its line. Raises `ConnectionLost` if refused.

    With `silent_s` a server that says nothing for so long is asked whether it is there, and given as long to answer.
    """
    call = Call(encoding, audio_in, audio_out, playback_reports, playout, played, epoch_least)
    transport = await _line(call, url, encoding, tls, timeout_s, silent_s)
    try:
        call.send(
            Hello(
                tenant=tenant,
                pipeline=pipeline,
                session=ticket.session if ticket else None,
                resume=ticket.resume if ticket else None,
                epoch=ticket.epoch if ticket and tell_epoch else None,
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


async def _line(
    call: Call,
    url: str,
    encoding: str,
    tls: ssl.SSLContext | None,
    timeout_s: float,
    silent_s: float | None,
) -> WSTransport:
    """An open socket, in time: the system would look for a machine that is gone for minutes."""
    subprotocol = next(name for name, words in SUBPROTOCOLS.items() if words == encoding)
    try:
        async with asyncio.timeout(timeout_s):
            transport, answer = await ws_connect(
                lambda: call,
                url,
                ssl_context=tls,
                extra_headers={"Sec-WebSocket-Protocol": subprotocol},
                websocket_handshake_timeout=timeout_s,
                enable_auto_ping=silent_s is not None,
                auto_ping_idle_timeout=silent_s or timeout_s,
                auto_ping_reply_timeout=silent_s or timeout_s,
                use_aiofastnet=False,
            )
    except TimeoutError as error:
        raise ConnectionLost(1006, f"no connection within {timeout_s:g} s") from error
    except (WSError, OSError, ValueError) as error:  # the last: an address that is none
        raise ConnectionLost(1006, str(error)) from error
    if answer is None:  # closed before it was answered, as by a server that wants a certificate
        raise ConnectionLost(1006, "the server closed the connection before it answered")
    return transport
