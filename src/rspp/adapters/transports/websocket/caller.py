"""One caller: says who it is, gets a session, and is that session's line until either has had enough.

A session outlives its socket. A socket that is lost leaves the session waiting for its caller; one that is closed for a
fault, or with a good-bye, ends it. Which is which stands in `FINAL_CLOSES`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Final, Protocol

from rspp.adapters.transports.websocket.backlog import Backlog
from rspp.adapters.transports.websocket.commands import as_input
from rspp.adapters.transports.websocket.early import Early
from rspp.adapters.transports.websocket.inbound import AudioIn, Replayed
from rspp.adapters.transports.websocket.lobby import Lobby, Sitting
from rspp.adapters.transports.websocket.outbound import AudioOut
from rspp.adapters.transports.websocket.socket import Socket
from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS, Audio, Event, Fault, Signal, Text
from rspp.contract.scan import CodecError
from rspp.contract.signals import SignalName
from rspp.contract.wire import (
    CLIENT_TYPES,
    FINAL_CLOSES,
    Bye,
    Caption,
    CloseCode,
    Hello,
    Kind,
    LimitsTold,
    Ping,
    Playback,
    Pong,
    Problem,
    Told,
    Welcome,
    decode_client,
    decode_kind,
)
from rspp.contract.words import ConnectionState
from rspp.host.ports import Refused, Seat
from rspp.kernel.inputs import (
    AudioReceived,
    DeliveryReported,
    Input,
    MalformedReceived,
    UnknownReceived,
)
from rspp.kernel.lifecycle import SessionTrigger

# What a session may announce before its caller has its seat: that its state is back, that it has ended already. Beyond it the
# oldest is let go: nothing has happened yet that a caller could have missed.
EARLY_NEWS_MAX: Final = 64
# A session that leaves for one of these is not over for its caller: it goes on elsewhere.
GOES_ON: Final[Mapping[str | None, CloseCode]] = {
    SessionTrigger.MIGRATION.value: CloseCode.MIGRATED,
    SessionTrigger.AUTHORITY_LOST.value: CloseCode.AUTHORITY_LOST,
}
# What is said to a line when it is closed, where that is more than a session's end.
CLOSED_FOR: Final[Mapping[str, CloseCode]] = {
    code.word: code
    for code in (
        CloseCode.TAKEN_OVER,
        CloseCode.MIGRATED,
        CloseCode.AUTHORITY_LOST,
        CloseCode.SESSION_MOVED,
    )
}


class Front(Protocol):
    """What a caller needs of the transport."""

    def admits(self, tenant: str, token: str | None) -> bool: ...
    def came(self, caller: Caller) -> None: ...
    def gone(self, caller: Caller) -> None: ...


class Caller:
    """A socket's peer and a session's line."""

    def __init__(self, socket: Socket, front: Front, lobby: Lobby, now: float) -> None:
        self.socket, self._front, self._lobby = socket, front, lobby
        self._settings, self._counters = socket.settings, socket.counters
        self._since = self._forgiven_at = now
        self._sitting: Sitting | None = None
        self._seat: Seat
        self._asking: asyncio.Task[None] | None = None  # who asks the door for its session
        self._early: Early | None = None  # what it said meanwhile
        self._news: deque[Event] = deque(maxlen=EARLY_NEWS_MAX)  # and what its session did
        self._goes_on: CloseCode | None = None
        self._in: AudioIn | None = None
        self._out: AudioOut | None = None
        self._backlog: Backlog | None = None
        self._epoch = 0
        self._faults = self._replays = self._stale = 0
        self._left = False  # the session knows that this line is over
        self._over = False  # the session has ended, or has another line

    # ---- the socket's peer ---------------------------------------------------------------------------------------

    def on_audio(self, frame: bytes) -> None:
        audio_in, backlog = self._in, self._backlog
        if audio_in is None or backlog is None:
            if self._sitting is None:
                self._before(frame, audio=True)
            else:
                self._fault(PeerFault("audio_codec_unsupported", "no audio was agreed on", "frame"))
            return
        try:
            inputs = audio_in.take(frame)
        except Replayed as error:
            self._replayed(error)
            return
        except (PeerFault, MisuseError) as error:
            self._fault(error)
            return
        self._counters.frames_in += 1
        for received in inputs:
            if received.epoch != self._epoch:
                self._stale_frame(received)
            else:
                backlog.put(received)

    def on_control(self, data: bytes) -> None:
        if self._early is not None and self._sitting is None:
            self._before(data, audio=False)
            return
        try:
            message = decode_client(data, self.socket.encoding)
        except CodecError as error:
            self._undecoded(data, error)
            return
        if self._sitting is None:
            self._hello(message)
        elif isinstance(message, Ping):
            self.socket.send_message(Pong(nonce=message.nonce))
        elif isinstance(message, Bye):
            self.socket.close(CloseCode.NORMAL, "good-bye")
        elif isinstance(message, Hello):
            self._fault(PeerFault("hello_repeated", "hello was said already", "type"))
        else:
            self._control(as_input(message, self._sitting.controls + 1))

    def on_opened(self) -> None:
        self._front.came(self)

    def on_stall(self) -> None:
        self._tell(ConnectionState.STALL)

    def on_closing(self, code: CloseCode) -> None:
        self._leave(code)

    def on_closed(self, code: CloseCode | None) -> None:
        self._front.gone(self)
        self._leave(code)
        self._over = True
        if self._backlog is not None:
            self._backlog.clear()

    def _leave(self, code: CloseCode | None) -> None:
        """Tell the session, once, that this line carries nothing any more: is it over, or does it wait for another?"""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._left or self._over or self._sitting is None:
            return
        self._left = True
        final = code in FINAL_CLOSES
        self._tell(ConnectionState.ENDED if final else ConnectionState.DISCONNECTED)
        if final:
            self._lobby.ended(self._sitting)

    def sweep(self, now: float) -> None:
        settings = self._settings
        if self._sitting is None and self._asking is None and self.socket.closing is None:
            if now - self._since > settings.hello_ms / 1000:
                self.socket.close(CloseCode.HELLO_TIMEOUT, f"no hello in {settings.hello_ms} ms")
        elif self._faults and now - self._forgiven_at > 1:
            self._faults -= 1
            self._forgiven_at = now
        if self._backlog:
            self._backlog.drain()
        self.socket.sweep(now)

    # ---- hello ---------------------------------------------------------------------------------------------------

    def _hello(self, message: object) -> None:
        socket = self.socket
        if not isinstance(message, Hello):
            socket.close(CloseCode.HELLO_EXPECTED, "say hello first")
        elif not self._front.admits(message.tenant, message.token):
            socket.close(CloseCode.TOKEN_REFUSED, "the token does not open this tenant's door")
        elif self._formats(message):
            self._come_in(message)

    def _before(self, data: bytes, *, audio: bool) -> None:
        """Before there is a session: what follows a hello is kept, anything else is out of turn."""
        if self._early is None:
            self.socket.close(CloseCode.HELLO_EXPECTED, "say hello first")
        elif not self._early.keep(data, audio=audio):
            self.socket.close(CloseCode.FLOOD, "more than is kept while the session is asked for")

    def _formats(self, hello: Hello) -> bool:
        settings = self._settings
        try:
            if hello.audio_in is not None:
                self._in = AudioIn(
                    hello.audio_in, settings.session_rate, settings.reorder_frames_max, self._counters
                )
            if hello.audio_out is not None:
                self._out = AudioOut(hello.audio_out, self.socket, self._counters)
        except MisuseError as error:
            self.socket.close(CloseCode.FORMAT_UNSUPPORTED, error.message)
            return False
        return True

    def _come_in(self, hello: Hello) -> None:
        """The session that this caller had here, or the one that the door has for it."""
        try:
            sitting = self._lobby.here(hello)
        except Refused as error:
            self.refused(error)
            return
        if sitting is not None:
            self._sit_down(hello, self._lobby.hand_over(sitting, self))
            self._settle()
        else:
            settings = self._settings
            self._early = Early(settings.early_messages_max, settings.early_bytes_max)
            self._asking = self._lobby.ask(hello, self)

    def refused(self, error: Refused) -> None:
        """There is no session for this caller."""
        self._asking = None
        known = CloseCode.__members__.get(error.code.upper())
        if known is None and error.code.startswith("token_"):
            known = CloseCode.TOKEN_REFUSED
        named = known is not None and known.word == error.code
        reason = error.message if named else f"{error.code}: {error.message}"
        self.socket.close(
            CloseCode.SESSION_REFUSED if known is None else known,
            reason,
            error.retry_after_ms,
            error.endpoint,
        )

    def seated(self, hello: Hello, sitting: Sitting) -> None:
        """The door has given a seat. If its caller has gone by now, it waits for it by its own deadline."""
        self._asking = None
        if self.socket.closing is not None:
            self._counters.unclaimed += 1
            self._lobby.tell(sitting.seat, ConnectionState.DISCONNECTED)
            return
        self._sit_down(hello, sitting)
        self._settle()
        early, self._early = self._early, None
        while early is not None and not self.socket.ending and (one := early.next()):
            audio, data = one
            (self.on_audio if audio else self.on_control)(data)

    def _sit_down(self, hello: Hello, sitting: Sitting) -> None:
        self._sitting, self._seat = sitting, sitting.seat
        self._epoch = sitting.seat.epoch
        settings = self._settings
        if self._in is not None:
            self._in.count_from = sitting.frames
            self._backlog = Backlog(self._give, settings.held_frames_max, settings.held_drop, self._counters)
        self.socket.send_message(self._welcome(hello, sitting))

    def _settle(self) -> None:
        """The caller is welcome: what its session said before follows, and the session hears of its line."""
        while self._news:
            self.announce(self._news.popleft())
        self._tell(ConnectionState.CONNECTED)

    def _welcome(self, hello: Hello, sitting: Sitting) -> Welcome:
        settings = self._settings
        return Welcome(
            session=sitting.seat.session_id,
            epoch=self._epoch,
            resume=sitting.resume,
            resumed=sitting.resumed,
            moved=sitting.moved,
            frames=sitting.frames,
            controls=sitting.controls,
            audio_in=hello.audio_in,
            audio_out=hello.audio_out,
            limits=LimitsTold(
                message_bytes_max=settings.message_bytes_max,
                messages_per_second=settings.messages_per_second,
                bytes_per_second=settings.bytes_per_second,
            ),
            keepalive_ms=settings.keepalive_ms,
            resume_ms=sitting.seat.graph.policies.limits.disconnect_ms_max,
            compressed=self.socket.compressed,
        )

    def replaced(self) -> None:
        """The session goes on over another line, and its counts with it; what still waits here is too late."""
        self._leave(CloseCode.TAKEN_OVER)
        self._over = True
        if self._sitting is not None and self._in is not None:
            self._sitting.frames = self._in.next_frame
        if self._backlog is not None:
            self._counters.held_dropped += len(self._backlog)
            self._backlog.clear()
        self.socket.close(CloseCode.TAKEN_OVER, "the session goes on over another line")

    # ---- what the peer does wrong --------------------------------------------------------------------------------

    def _undecoded(self, data: bytes, error: CodecError) -> None:
        """A message of an unknown type is the session's to judge; anything else that cannot be read is a fault."""
        if self._sitting is None:
            self.socket.close(CloseCode.HELLO_EXPECTED, error.message)
            return
        if error.code in ("tag_unknown", "value_invalid") and error.path in ("type", ""):
            kind = _kind(data, self.socket.encoding)
            if kind is not None and kind.type not in CLIENT_TYPES:
                place, core = self._sitting.controls + 1, "." not in kind.type
                self._control(UnknownReceived(kind.type, place, None, core, kind.extensions))
                return
        self._fault(error)

    def _control(self, received: Input) -> None:
        """Hand it in; where there is no room it is not taken, and whoever sent it is told."""
        assert self._sitting is not None
        self._sitting.controls += 1
        if not self._seat.ingest(received) and not self._seat.ended:
            self.socket.send_message(
                Problem(code="session_busy", message="the session's inbox is full", retryable=True)
            )

    def _fault(self, error: RsppError) -> None:
        """Refuse one message; the session hears of it, and so does whoever sent it. Too many end it."""
        self._faults += 1
        self._counters.faults += 1
        self.socket.send_message(Problem(code=error.code, message=error.message, path=error.path))
        if self._sitting is not None:
            self._seat.ingest(MalformedReceived(error.code, error.path or "", error.message))
        if self._faults > self._settings.faults_max:
            self.socket.close(CloseCode.MALFORMED, f"the last of too many faults: {error.code}")

    def _replayed(self, error: Replayed) -> None:
        self._replays += 1
        if self._replays == 1:
            self._fault(error)
        if self._replays > self._settings.replays_max:
            self.socket.close(CloseCode.SEQUENCE_REPLAYED, error.message)

    def _stale_frame(self, received: AudioReceived) -> None:
        """A client may not have heard of a new epoch yet; one that never learns is closed. The session refuses each."""
        self._stale += 1
        self._seat.ingest(received)
        if self._stale > self._settings.stale_frames_max:
            self.socket.close(CloseCode.EPOCH_STALE, f"the session's epoch is {self._epoch}")

    # ---- toward the session --------------------------------------------------------------------------------------

    def _give(self, received: AudioReceived) -> bool:
        return self._seat.ingest(received) or self._seat.ended

    def _tell(self, state: ConnectionState) -> None:
        if self._sitting is not None and not self._over:
            self._lobby.tell(self._seat, state)

    # ---- the session's line --------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        payload, scope = event.payload, event.scope
        if isinstance(payload, Audio):
            if self._out is not None and scope.turn_id is not None and self.socket.closing is None:
                first = self._out.send(scope.turn_id, payload, scope.epoch)
                sitting = self._sitting
                if (
                    first
                    and sitting is not None
                    and not sitting.reports
                    and sitting.accepted != scope.turn_id
                ):
                    sitting.accepted = scope.turn_id
                    # Not from within: the session is in the middle of its step.
                    self._lobby.soon(self._seat, DeliveryReported("accepted", scope.turn_id))
        elif isinstance(payload, Text):
            self.socket.send_message(_caption(payload, scope.turn_id))
        elif isinstance(payload, Fault):
            self.socket.send_message(
                Problem(
                    code=payload.code, message=payload.message, path=payload.path, retryable=payload.retryable
                )
            )

    def announce(self, event: Event) -> None:
        signal = event.payload
        if not isinstance(signal, Signal):
            return
        if self._sitting is None:
            self._news.append(event)
            return
        if signal.signal == SignalName.SESSION_STATE_CHANGED:
            self._goes_on = GOES_ON.get(signal.reason, self._goes_on)
        if event.scope.epoch > self._epoch:  # a turn of a former epoch may end late
            self._epoch = event.scope.epoch
            self._stale = 0
        self.socket.send_message(
            Told(
                signal=signal.signal,
                sequence=event.sequence,
                at_ms=event.at // NS_PER_MS,
                epoch=event.scope.epoch,
                turn_id=event.scope.turn_id,
                reason=signal.reason,
                detail=signal.detail,
            )
        )

    def pause(self, turn_id: str) -> None:
        self.socket.send_message(Playback(action="pause", turn_id=turn_id))

    def resume(self, turn_id: str) -> None:
        self.socket.send_message(Playback(action="resume", turn_id=turn_id))

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.socket.send_message(Playback(action="stop", turn_id=turn_id, keep_ms=keep_ms))

    def close(self, reason: str) -> None:
        """The session has ended, or goes on: over another line, or in another process."""
        self._over = True
        code = self._goes_on or CLOSED_FOR.get(reason, CloseCode.NORMAL)
        if code is CloseCode.TAKEN_OVER:
            self.socket.close(code, "the session goes on over another line")
            return
        sitting = self._sitting
        endpoint = None
        if sitting is not None and sitting.caller is self:
            self._lobby.ended(sitting)
            endpoint = sitting.endpoint if code is not CloseCode.NORMAL else None
        self.socket.close(code, reason, endpoint=endpoint)


def _kind(data: bytes, encoding: str) -> Kind | None:
    try:
        return decode_kind(data, encoding)
    except CodecError:
        return None


def _caption(text: Text, turn_id: str | None) -> Caption:
    return Caption(
        text=text.text,
        role=text.role,
        turn_id=turn_id,
        segment=text.segment,
        revision=text.revision,
        final=text.final,
        language=text.language,
    )
