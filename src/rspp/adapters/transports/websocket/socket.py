"""One WebSocket: whole messages in, bounded writes out, and an end that always has a name.

What a peer does wrong on this level (too much, too fast, corrupt, never reading, silent) ends here, with its close code;
who the peer is and what it means is the `Peer`'s. Allowances are spent message by message and refilled by the sweep, so
that a frame needs no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from picows.picows import WSCloseHandshake

from rspp.adapters.transports.websocket.allowance import Allowance
from rspp.adapters.transports.websocket.counters import Counters
from rspp.adapters.transports.websocket.deflate import CompressionError, Deflate
from rspp.adapters.transports.websocket.settings import Settings
from rspp.contract.codes import CODES
from rspp.contract.wire import CloseCode, Goodbye, Message, encode

BINARY: Final = WSMsgType.BINARY
TEXT: Final = WSMsgType.TEXT
FRAME_TAG: Final = 1  # the first byte of an audio frame; no control message in MessagePack begins with it
_CONTROL_FRAMES: Final = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class Peer(Protocol):
    """Who is told what comes."""

    def on_audio(self, frame: bytes) -> None: ...
    def on_control(self, data: bytes) -> None: ...
    def on_stall(self) -> None: ...
    def on_opened(self) -> None:
        """The handshake is whole."""
        ...

    def on_closing(self, code: CloseCode) -> None:
        """We are closing: nothing that is sent from now on arrives."""
        ...

    def on_closed(self, code: CloseCode | None) -> None:
        """The socket is gone: closed by us with this code, by the peer's hanging up (`normal`), or lost."""
        ...


class Socket(WSListener):
    """One connection."""

    def __init__(
        self, settings: Settings, counters: Counters, encoding: str, deflate: Deflate | None, now: float
    ) -> None:
        super().__init__()
        self.peer: Peer
        self.settings, self.counters = settings, counters
        self.encoding = encoding
        self.full = False
        self.turn_away: CloseCode | None = None  # why it is closed as soon as it is open
        self.closing: CloseCode | None = None
        self.compressed = deflate is not None
        self._deflate = deflate
        self._messages = Allowance(settings.messages_per_second, settings.messages_burst, now)
        self._bytes = Allowance(settings.bytes_per_second, settings.bytes_burst, now)
        self._transport: WSTransport
        self._parts: list[bytes] = []  # bounded: message_bytes_max in all
        self._parts_bytes = 0
        self._parts_type = BINARY
        self._parts_packed = False
        self._heard = True
        self._heard_at = now
        self._asked = False
        self._full_at: float | None = None
        self._closed_at: float | None = None

    # ---- from picows ---------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        limit = self.settings.write_bytes_max
        transport.underlying_transport.set_write_buffer_limits(high=limit, low=limit // 2)
        self.peer.on_opened()
        if self.turn_away is not None:
            self.close(self.turn_away, CODES[self.turn_away.word].meaning)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self.closing is not None:
            if kind is WSMsgType.CLOSE:
                transport.disconnect()
            return
        self._heard = True
        size = frame.payload_size
        self._messages.left -= 1
        self._bytes.left -= size
        if self._messages.left < 0 or self._bytes.left < 0:
            self.close(CloseCode.FLOOD, "more than welcome's limits allow")
        elif size > self.settings.message_bytes_max:
            self.close(CloseCode.MESSAGE_TOO_LARGE, f"at most {self.settings.message_bytes_max} bytes")
        elif kind is BINARY and frame.fin and not frame.rsv1 and not self._parts:
            data = frame.get_payload_as_bytes()
            if size and data[0] == FRAME_TAG:
                self.peer.on_audio(data)
            else:
                self._whole(kind, data)
        elif kind in _CONTROL_FRAMES:
            self._control(transport, frame)
        else:
            self._part(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        ours, theirs = self.closing, None
        if ours is None:
            ours, theirs = _ended_by(transport.close_handshake)
        self.counters.closed(ours.word if ours is not None else "peer")
        self.closing = ours or CloseCode.GOING_AWAY  # whatever is said from now on is said to nobody
        self.peer.on_closed(ours or theirs)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._full_at = None

    # ---- messages ------------------------------------------------------------------------------------------------

    def _control(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type is WSMsgType.CLOSE:
            code = frame.get_close_code()
            # Where none was given picows says so with a code of its own, 0, which must not be sent.
            transport.send_close(WSCloseCode.OK if code == WSCloseCode.NO_INFO else code)
            transport.disconnect()

    def _part(self, frame: WSFrame) -> None:
        """A message that came in parts, or packed."""
        data = frame.get_payload_as_bytes()
        follows = frame.msg_type is WSMsgType.CONTINUATION
        if follows != bool(self._parts):
            self.close(CloseCode.MALFORMED, "parts of two messages, or of none")
            return
        if not follows:
            if frame.rsv1 and self._deflate is None:
                self.close(CloseCode.COMPRESSION_REFUSED, "no compression was agreed")
                return
            self._parts_bytes = 0
            self._parts_type, self._parts_packed = frame.msg_type, frame.rsv1
        self._parts.append(data)
        self._parts_bytes += len(data)
        if self._parts_bytes > self.settings.message_bytes_max:
            self.close(CloseCode.MESSAGE_TOO_LARGE, f"at most {self.settings.message_bytes_max} bytes")
        elif len(self._parts) > self.settings.faults_max and self._parts_bytes < 16 * len(self._parts):
            self.close(CloseCode.MALFORMED, "a message in crumbs")
        elif frame.fin:
            whole, self._parts = b"".join(self._parts), []
            self._unpacked(whole)

    def _unpacked(self, data: bytes) -> None:
        if self._parts_packed and self._deflate is not None:
            try:
                data = self._deflate.inflate(data)
            except CompressionError as error:
                self.close(CloseCode.COMPRESSION_REFUSED, error.message)
                return
            self._bytes.left -= len(data)
        if self._parts_type is BINARY and data[:1] == b"\x01":
            self.peer.on_audio(data)
        else:
            self._whole(self._parts_type, data)

    def _whole(self, kind: WSMsgType, data: bytes) -> None:
        if (kind is TEXT) == (self.encoding == "json"):
            self.peer.on_control(data)
        else:
            self.close(CloseCode.MALFORMED, f"control messages were agreed to be {self.encoding}")

    def send_message(self, message: Message) -> None:
        """Write a control message; they are few, but a line that takes nothing at all is closed."""
        if self.closing is not None:
            return
        self._write(message)
        if self.full and self.unsent_bytes > self.settings.write_bytes_last:
            self.abort(CloseCode.SLOW_READER)

    def _write(self, message: Message) -> None:
        self._send(TEXT if self.encoding == "json" else BINARY, encode(message, self.encoding))

    def send_frame(self, frame: bytes) -> None:
        if self.closing is not None:
            return
        if self._deflate is None:
            self._transport.send(BINARY, frame)
        else:
            self._send(BINARY, frame)
        self.counters.frames_out += 1

    def _send(self, kind: WSMsgType, data: bytes) -> None:
        if self._deflate is not None and len(data) >= self.settings.compression_bytes_min:
            packed = self._deflate.compress(data)
            if len(packed) < len(data):
                self._transport.send(kind, packed, rsv1=True)
                return
        self._transport.send(kind, data)

    @property
    def ending(self) -> bool:
        """Nothing that is sent from now on arrives."""
        return self.closing is not None

    @property
    def unsent_bytes(self) -> int:
        return self._transport.underlying_transport.get_write_buffer_size()

    # ---- the end -------------------------------------------------------------------------------------------------

    def close(
        self, code: CloseCode, reason: str, retry_after_ms: int | None = None, endpoint: str | None = None
    ) -> None:
        """Say goodbye, and why; what the peer sends from now on is not heard."""
        if self.closing is not None:
            return
        self._write(Goodbye(code=code.word, reason=reason, retry_after_ms=retry_after_ms, endpoint=endpoint))
        self.closing = code
        # picows takes any number for a code; its stub knows those of the standard alone.
        self._transport.send_close(code, code.word.encode())  # type: ignore[arg-type]
        self.peer.on_closing(code)

    def abort(self, code: CloseCode) -> None:
        """End it now; nothing can be said any more."""
        self.closing = code
        self._transport.disconnect(graceful=False)
        self.peer.on_closing(code)

    def sweep(self, now: float) -> None:
        """Refill what may be spent, and end what has lasted too long."""
        settings = self.settings
        if self.closing is not None:
            self._closed_at = self._closed_at or now
            if now - self._closed_at > settings.close_ms / 1000:
                self._transport.disconnect(graceful=False)
            return
        self._messages.fill(now)
        self._bytes.fill(now)
        if self.full:
            self._full_at = self._full_at or now
            if now - self._full_at > settings.slow_reader_ms / 1000:
                self.close(CloseCode.SLOW_READER, "what was sent is not read")
                return
        if self._heard:
            self._heard, self._heard_at, self._asked = False, now, False
            return
        silent_ms = (now - self._heard_at) * 1000
        if silent_ms > settings.keepalive_deadline_ms:
            self.peer.on_stall()
            self.close(CloseCode.KEEPALIVE_TIMEOUT, "nothing was heard")
        elif silent_ms > settings.keepalive_ms and not self._asked:
            self._asked = True
            self._transport.send_ping()


def loop_time() -> float:
    return asyncio.get_running_loop().time()


# What picows closes with by itself, and what we call it.
_FRAMING: Final[Mapping[object, CloseCode]] = {
    WSCloseCode.PROTOCOL_ERROR: CloseCode.MALFORMED,
    WSCloseCode.INVALID_TEXT: CloseCode.MALFORMED,
    WSCloseCode.MESSAGE_TOO_BIG: CloseCode.MESSAGE_TOO_LARGE,
}


def _ended_by(handshake: WSCloseHandshake | None) -> tuple[CloseCode | None, CloseCode | None]:
    """The code of an end that we did not ask for: picows's in our name, or the peer's, of which only 1000 says something."""
    if handshake is None:
        return None, None
    if handshake.recv is not None:
        return None, CloseCode.NORMAL if handshake.recv.code == WSCloseCode.OK else None
    return (_FRAMING.get(handshake.sent.code) if handshake.sent is not None else None), None
