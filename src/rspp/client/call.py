"""A call in progress: what is said to the server, what comes from it, and what was heard.

All of it happens on the loop's own thread. Events wait for whoever reads them, up to a bound; then the oldest are let go
and counted. Nothing is retried here: a lost line raises, and `ticket` is what a new one is taken up with.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import msgspec
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from rspp.client.playout import Playout
from rspp.contract.errors import PeerFault
from rspp.contract.scan import CodecError
from rspp.contract.wire import (
    AudioFormat,
    Bye,
    Caption,
    Control,
    Delivery,
    Goodbye,
    Header,
    Message,
    Ping,
    Playback,
    Pong,
    Problem,
    Say,
    Told,
    Welcome,
    decode_header,
    decode_server,
    encode,
    encode_header,
)
from rspp.contract.words import CancelScope, Codec
from rspp.media.transcode import Reader, Writer, reader

EVENTS_MAX: Final = 16_384
PLAYED_BYTES_MAX: Final = 64 * 1024 * 1024
TICK_S: Final = 0.02
REASON_MAX: Final = 200  # of a server's words in one of our errors


class ConnectionLost(PeerFault):
    """The socket is gone; `close_code` says why, and `told` what the server's good-bye said besides, if there was one."""

    def __init__(self, close_code: int, reason: str, told: Goodbye | None = None) -> None:
        why = f": {told.reason[:REASON_MAX]}" if told is not None and told.reason else ""
        super().__init__("connection_lost", f"closed with {close_code} {reason}".strip() + why)
        self.close_code = close_code
        self.reason = reason
        self.told = told

    @property
    def retry_after_ms(self) -> int | None:
        """When to try again, if the server said so."""
        return self.told.retry_after_ms if self.told is not None else None


class Ticket(msgspec.Struct, frozen=True):
    """What a call is resumed with. Whoever has it can."""

    session: str
    resume: str
    epoch: int

    def __repr__(self) -> str:
        return f"Ticket(session={self.session!r})"


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame of the assistant's audio as it came, before it is played."""

    at_ns: int
    turn_id: str | None
    header: Header
    pcm: bytes


Event = Told | Caption | Playback | Problem | Goodbye | Pong | Frame


class Call(WSListener):
    """One call over one socket."""

    def __init__(
        self,
        encoding: str,
        audio_in: AudioFormat | None,
        audio_out: AudioFormat | None,
        reports: bool,
        playout: Playout | None = None,
        played: bytearray | None = None,
        epoch_least: int | None = None,
    ) -> None:
        """With `epoch_least` what comes under a lower epoch than the highest seen is a former owner's, and dropped."""
        super().__init__()
        self.encoding, self.audio_in, self.audio_out = encoding, audio_in, audio_out
        self.welcome: Welcome
        self.epoch = epoch_least or 0
        self.stale_dropped = 0
        self._only_newest = epoch_least is not None
        self.playout = playout or Playout((audio_out or AudioFormat()).rate)
        self.played = bytearray() if played is None else played  # bounded: PLAYED_BYTES_MAX
        self.events_lost = self.frames_lost = self.frames_in = 0
        self.lost: ConnectionLost | None = None
        self._reports = reports
        self._transport: WSTransport
        self._loop = asyncio.get_running_loop()
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self._news = asyncio.Event()
        self._welcomed: asyncio.Future[Welcome] = self._loop.create_future()
        self._turns: dict[int, str] = {}  # bounded: ordinals are 16 bits
        self._sequence = self._next_in = 0
        self._writer = Writer(audio_in.codec, audio_in.rate, audio_in.frame_ms) if audio_in else None
        self._reader: Reader | None = _reader(audio_out)
        self._ticking: asyncio.TimerHandle | None = None
        self._goodbye = ""
        self._told: Goodbye | None = None

    # ---- saying something ----------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Any control message."""
        if self.lost is not None:
            raise self.lost
        kind = WSMsgType.TEXT if self.encoding == "json" else WSMsgType.BINARY
        self._transport.send(kind, encode(message, self.encoding))

    def send_frame(self, pcm: bytes, rate: int | None = None) -> None:
        """A piece of sound, PCM16 mono, as it is: as many frames as its codec makes of it."""
        if self.lost is not None:
            raise self.lost
        form, writer = self.audio_in, self._writer
        assert form is not None and writer is not None, "no audio was agreed on"  # noqa: PT018 - one condition
        for place, data in writer.write(pcm, rate or form.rate):
            header = encode_header(0, self._sequence, self.epoch, place)
            self._sequence += 1
            self._transport.send(WSMsgType.BINARY, header + data)

    async def send_audio(self, pcm: bytes, rate: int | None = None, *, paced: bool = True) -> None:
        """A whole sound in frames, at the pace it sounds, or as fast as the socket takes it."""
        form = self.audio_in or AudioFormat()
        size = 2 * (rate or form.rate) * form.frame_ms // 1000
        begin = self._loop.time()
        for ordinal, start in enumerate(range(0, len(pcm), size)):
            if paced:
                await asyncio.sleep(max(0.0, begin + ordinal * form.frame_ms / 1000 - self._loop.time()))
            elif ordinal % 50 == 49:
                await asyncio.sleep(0)
            self.send_frame(pcm[start : start + size], rate)

    async def send_silence(self, ms: int, *, paced: bool = True) -> None:
        rate = (self.audio_in or AudioFormat()).rate
        await self.send_audio(bytes(2 * rate * ms // 1000), paced=paced)

    def say(self, text: str, key: str | None = None) -> None:
        self.send(Say(text=text, key=key))

    def control(self, signal: str, *, value: str | None = None, reason: str | None = None) -> None:
        """stop, barge_in, end_of_utterance, talk_pressed, talk_released, or digit with its `value`."""
        self.send(Control(signal=signal, value=value, reason=reason))

    def cancel(self, scope: CancelScope = CancelScope.TURN, target: str | None = None) -> None:
        self.send(Control(signal="cancel", scope=scope, target=target))

    def ping(self, nonce: int = 0) -> None:
        self.send(Ping(nonce=nonce))

    async def hang_up(self) -> None:
        """End the session, and wait until the server has closed the line."""
        if self.lost is None:
            self.send(Bye())
        await self._gone()

    async def drop(self) -> None:
        """Cut the line as a dead network would; the session waits to be resumed."""
        if self.lost is None:
            self._transport.disconnect(graceful=False)
        await self._gone()

    @property
    def ticket(self) -> Ticket:
        return Ticket(self.welcome.session, self.welcome.resume, self.epoch)

    # ---- hearing something ---------------------------------------------------------------------------------------

    async def welcomed(self) -> Welcome:
        return await asyncio.shield(self._welcomed)

    async def events(self) -> AsyncIterator[Event]:
        """What comes, in order, until the line is gone."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self.lost is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def until(self, match: Callable[[Event], bool], timeout_s: float = 10.0) -> Event:
        """The next event of this kind; those before it are let go. Raises `TimeoutError` or `ConnectionLost`."""
        async with asyncio.timeout(timeout_s):
            async for event in self.events():
                if match(event):
                    return event
        assert self.lost is not None
        raise self.lost

    async def signal(self, name: str, timeout_s: float = 10.0) -> Told:
        """The next signal of this name."""
        event = await self.until(lambda e: isinstance(e, Told) and e.signal == name, timeout_s)
        assert isinstance(event, Told)
        return event

    # ---- from picows ---------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            if not transport.is_close_frame_sent:
                code = frame.get_close_code()
                transport.send_close(WSCloseCode.OK if code == WSCloseCode.NO_INFO else code)
            reason: bytes | None = (
                frame.get_close_message()
            )  # none, whatever its stub says, where none was given
            self._goodbye = self._goodbye or (reason or b"").decode(errors="replace")
            transport.disconnect()
        elif kind in (WSMsgType.BINARY, WSMsgType.TEXT):
            data = frame.get_payload_as_bytes()
            if kind is WSMsgType.BINARY and data[:1] == b"\x01":
                self._audio(data)
            else:
                self._message(data)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        handshake = transport.close_handshake
        told = handshake.recv if handshake is not None else None  # type: ignore[redundant-expr]
        named: object = getattr(told.code, "value", told.code) if told is not None else 1006
        code = (named or 1005) if isinstance(named, int) else 1006
        self.lost = ConnectionLost(code, self._goodbye, self._told)
        if self._ticking is not None:
            self._ticking.cancel()
        if not self._welcomed.done():
            self._welcomed.set_exception(self.lost)
            self._welcomed.exception()  # whoever waits is told; if nobody does, nobody need be
        self._news.set()

    # ---- messages ------------------------------------------------------------------------------------------------

    def _message(self, data: bytes) -> None:
        try:
            message = decode_server(data, self.encoding)
        except CodecError:
            return  # a later server may say what this client does not know
        if isinstance(message, Welcome):
            self.welcome, self.epoch = message, max(self.epoch, message.epoch)
            if not self._welcomed.done():
                self._welcomed.set_result(message)
            return
        if isinstance(message, Told):
            if self._only_newest and message.epoch < self.epoch:
                self.stale_dropped += 1
                return
            self.epoch = max(self.epoch, message.epoch)
        elif isinstance(message, Playback):
            self._playback(message)
        elif isinstance(message, Goodbye):
            self._goodbye, self._told = message.code, message
        self._put(message)

    def _playback(self, message: Playback) -> None:
        now, turn_id = time.monotonic_ns(), message.turn_id
        if message.action == "start":
            self._turns[message.turn] = turn_id
            self._hear(self.playout.advance(now))
            self.playout.start(now, turn_id)
        elif message.action == "pause":
            self._hear(self.playout.pause(now, turn_id))
        elif message.action == "resume":
            self._hear(self.playout.resume(now, turn_id))
        else:
            self._hear(self.playout.stop(now, turn_id, message.keep_ms))
        self._report()

    def _audio(self, data: bytes) -> None:
        try:
            header = decode_header(data)
        except CodecError:
            return
        self.frames_in += 1
        self.frames_lost += max(0, header.sequence - self._next_in)
        self._next_in = header.sequence + 1
        if self._only_newest and header.epoch < self.epoch:
            self.stale_dropped += 1
            return
        self.epoch = max(self.epoch, header.epoch)
        body = data[20:]
        pcm = self._reader.read(body) if body and self._reader is not None else body
        now, turn_id = time.monotonic_ns(), self._turns.get(header.turn)
        if turn_id is not None and turn_id == self.playout.turn_id:
            self._hear(self.playout.frame(now, header.sample_index, pcm, header.end))
            self._report()
        self._put(Frame(now, turn_id, header, pcm))
        if self._ticking is None and self.playout.active:
            self._tick()

    def _tick(self) -> None:
        """Time passes for the ear too."""
        self._ticking = None
        self._hear(self.playout.advance(time.monotonic_ns()))
        self._report()
        if self.playout.active and self.lost is None:
            self._ticking = self._loop.call_later(TICK_S, self._tick)

    def _hear(self, pcm: bytes) -> None:
        if pcm and len(self.played) + len(pcm) <= PLAYED_BYTES_MAX:
            self.played += pcm

    def _report(self) -> None:
        due: list[Delivery] = self.playout.reports()
        if self._reports and self.lost is None:
            for report in due:
                self.send(report)

    def _put(self, event: Event) -> None:
        if len(self._events) == EVENTS_MAX:
            self.events_lost += 1
        self._events.append(event)
        self._news.set()

    async def _gone(self, timeout_s: float = 5.0) -> None:
        """Wait until the line is gone; what still comes meanwhile stays for its reader."""
        async with asyncio.timeout(timeout_s):
            while self.lost is None:
                self._news.clear()
                await self._news.wait()


def _reader(form: AudioFormat | None) -> Reader | None:
    if form is None or form.codec is Codec.PCM16:
        return None
    return reader(form.codec, form.rate, form.rate, form.frame_ms)
