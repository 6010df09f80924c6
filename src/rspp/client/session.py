"""One conversation over as many lines as it takes: a line that is lost is found again, wherever its session goes on.

    async with Client.session(fixed("ws://a:8080/v1/rtc/ws", "ws://b:8080/v1/rtc/ws"), tenant="acme") as conversation:
        conversation.say("Hello?")
        async for event in conversation.events(): ...

Between lines the microphone is kept within a bound and typed words are kept with their keys; both follow on the next line.
The epoch only rises: what a former owner of the session still says is dropped, and counted. The session ends when it has
ended, and `ended` says why, in the words of whoever ended it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, Final

import msgspec

from rspp.client.away import Microphone, Words
from rspp.client.call import Call, ConnectionLost, Event, Ticket
from rspp.client.connect import DEFAULT_FORMAT, connect
from rspp.client.playout import Playout
from rspp.client.route import NoRoute, Route, RouteSource, Wanted
from rspp.contract.errors import PeerFault
from rspp.contract.wire import FINAL_CLOSES, AudioFormat, Bye, CloseCode, Control, Say, Told

EVENTS_MAX: Final = 16_384
# Beside those that end a session: there is nothing to come back to, or somebody else has it.
# Or what we ask for is not served.
OVER: Final = FINAL_CLOSES | {
    CloseCode.SESSION_OVER,
    CloseCode.RESUME_REFUSED,
    CloseCode.TAKEN_OVER,
    CloseCode.FORMAT_UNSUPPORTED,
    CloseCode.SUBPROTOCOL_UNSUPPORTED,
}
# The session goes on, and may be had at once.
AT_ONCE: Final = frozenset({CloseCode.MIGRATED, CloseCode.AUTHORITY_LOST, CloseCode.GOING_AWAY})
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class Patience(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a lost line is looked for."""

    first_ms: int = 100  # between the first attempts; then twice that, and so on
    most_ms: int = 2_000
    away_ms_max: int = 60_000  # then the session is given up
    connect_ms: int = 5_000  # for one attempt
    silent_ms: int = 3_000  # a line on which nothing comes is tried after so long, and lost after twice that
    microphone_ms: int = 5_000  # what is kept of it meanwhile, and how old it may be when it is sent
    words_kept_ms: int = 30_000  # typed words so young when their line was lost are said again on the next


class Moved(msgspec.Struct, frozen=True):
    """The session has another line: why the last one ended, where this one leads, and whether another process answers."""

    reason: str
    endpoint: str
    away_ms: int
    process: bool


SessionEvent = Event | Moved


class Session:
    """A conversation. Make it with `Client.session`."""

    def __init__(
        self,
        route: RouteSource,
        *,
        tenant: str = "default",
        pipeline: str | None = None,
        encoding: str = "msgpack",
        audio_in: AudioFormat | None = DEFAULT_FORMAT,
        audio_out: AudioFormat | None = DEFAULT_FORMAT,
        playback_reports: bool = True,
        playout: Playout | None = None,
        metadata: Mapping[str, str] = NOTHING,
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.patience = patience or Patience()
        self.playout = playout or Playout((audio_out or AudioFormat()).rate)
        self.played = bytearray()  # bounded: `call.PLAYED_BYTES_MAX`
        self.epoch = 0
        self.ended: str | None = None
        self.error: PeerFault | None = None  # what ended it, if it did not end as it should
        self.moves = self.away_ms = self.stale_dropped = self.events_lost = self.attempts = 0
        self.ticket: Ticket | None = None
        self.microphone = Microphone(self.patience.microphone_ms)
        self.words = Words(self.patience.words_kept_ms)
        self._route, self._tenant, self._pipeline = route, tenant, pipeline
        self._encoding, self._tls, self._metadata = encoding, tls, metadata
        self._audio_in, self._audio_out, self._reports = audio_in, audio_out, playback_reports
        self._call: Call | None = None
        self._at: Route | None = None  # where the last line led, or was to lead
        self._sent_on: str | None = None  # where a good-bye says that the session is
        self._epoch_told = self._fresh = True
        self._welcomed = self._hanging_up = False
        self._failed: str | None = None  # where the session was not to be had
        self._tokens_refused = self._on_line_since = 0
        self._away_since = time.monotonic_ns()
        self._why, self._word = "new", ""
        self._tries = 0
        self._events: deque[SessionEvent] = deque(maxlen=EVENTS_MAX)
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    # ---- its life ------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Be on a line; raises why there is none."""
        self._task = asyncio.get_running_loop().create_task(self._live(), name="rspp:session")
        await self._until(lambda: self._call is not None or self.ended is not None)
        if self._call is None:
            assert self.error is not None
            raise self.error

    async def hang_up(self) -> None:
        """End the session. Away from it, nobody can be told: it ends there by its own deadline."""
        if self.ended is None and self._call is not None and self._call.lost is None:
            self._hanging_up = True
            self._call.send(Bye())
            with suppress(TimeoutError):
                async with asyncio.timeout(self.patience.connect_ms / 1000):
                    await self._until(lambda: self.ended is not None)
        await self.leave()

    async def leave(self) -> None:
        """Let go of the line without a word; nothing runs after this."""
        if self.ended is None:
            self._end("hung_up")
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    @property
    def away(self) -> bool:
        return self._call is None or self._call.lost is not None

    @property
    def endpoint(self) -> str | None:
        return self._at.endpoint if self._at is not None else None

    # ---- saying something ----------------------------------------------------------------------------------------

    def send_frame(self, pcm: bytes, rate: int | None = None) -> None:
        """A piece of sound; without a line it is kept."""
        self._living()
        call = self._call
        if call is not None and call.lost is None:
            call.send_frame(pcm, rate)
        else:
            form = self._audio_in or AudioFormat()
            self.microphone.put(time.monotonic_ns() // 1_000_000, pcm, rate or form.rate)

    def say(self, text: str, key: str | None = None) -> str:
        """Typed words, which have their effect once, however many lines it takes; gives their key."""
        self._living()
        said = Say(text=text, key=key or secrets.token_hex(8))
        call = self._call
        sent = call is not None and call.lost is None
        if sent and call is not None:
            call.send(said)
        self.words.put(time.monotonic_ns() // 1_000_000, said, sent=sent)
        assert said.key is not None
        return said.key

    def control(self, signal: str, *, value: str | None = None, reason: str | None = None) -> bool:
        """Something that means this moment; False: there is no line now, and later it would mean another one."""
        self._living()
        call = self._call
        if call is None or call.lost is not None:
            return False
        call.send(Control(signal=signal, value=value, reason=reason, key=secrets.token_hex(8)))
        return True

    def _living(self) -> None:
        if self.ended is not None:
            raise self.error or PeerFault("session_over", self.ended)

    # ---- hearing something ---------------------------------------------------------------------------------------

    async def events(self) -> AsyncIterator[SessionEvent]:
        """What comes, over all lines, until the session has ended."""
        while True:
            while self._events:
                yield self._events.popleft()
            if self.ended is not None:
                return
            self._news.clear()
            await self._news.wait()

    async def until(self, match: Callable[[SessionEvent], bool], timeout_s: float = 10.0) -> SessionEvent:
        """The next event of this kind; those before it are let go."""
        async with asyncio.timeout(timeout_s):
            async for event in self.events():
                if match(event):
                    return event
        raise self.error or PeerFault("session_over", self.ended or "")

    async def signal(self, name: str, timeout_s: float = 10.0) -> Told:
        event = await self.until(lambda e: isinstance(e, Told) and e.signal == name, timeout_s)
        assert isinstance(event, Told)
        return event

    def _put(self, event: SessionEvent) -> None:
        self.events_lost += len(self._events) == EVENTS_MAX
        self._events.append(event)
        self._news.set()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            self._news.clear()
            await self._news.wait()

    # ---- lines ---------------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        try:
            while self.ended is None:
                try:
                    route = await self._next_route()
                except NoRoute as error:
                    if error.final:
                        self._end(error.code, error)
                    else:
                        await self._rest(error.code, error.retry_after_ms, error)
                else:
                    await self._judge(await self._one_line(route))
        except Exception as error:
            # A defect of ours: whoever waits is told, and nobody waits for ever.
            self._end("runtime_internal_error", PeerFault("runtime_internal_error", type(error).__name__))
            raise

    async def _next_route(self) -> Route:
        """Where a good-bye has sent us, else where the source says."""
        self._fresh = self._sent_on is None
        if self._sent_on is not None:
            token = self._at.token if self._at is not None else None
            self._at, self._sent_on = Route(endpoint=self._sent_on, token=token), None
            return self._at
        wanted = Wanted(tenant=self._tenant, pipeline=self._pipeline, ticket=self.ticket, failed=self._failed)
        try:
            self._at = await self._route(wanted)
        except NoRoute:
            raise
        except Exception as error:
            # Supervised: a source that breaks is asked again, for as long as there is patience.
            raise NoRoute("route_failed", f"{type(error).__name__}: {error}") from error
        return self._at

    async def _one_line(self, route: Route) -> ConnectionLost:
        """Be on a line until it is gone; says how it went."""
        self.attempts += 1
        self._welcomed = False
        ticket = self.ticket
        if ticket is not None and self._epoch_told:
            ticket = Ticket(ticket.session, ticket.resume, self.epoch)
        line = connect(
            route.endpoint,
            tenant=self._tenant,
            pipeline=self._pipeline,
            ticket=ticket,
            tell_epoch=self._epoch_told,
            token=route.token,
            encoding=self._encoding,
            audio_in=self._audio_in,
            audio_out=self._audio_out,
            playback_reports=self._reports,
            playout=self.playout,
            played=self.played,
            epoch_least=self.epoch,
            metadata=self._metadata,
            tls=self._tls,
            timeout_s=self.patience.connect_ms / 1000,
            silent_s=self.patience.silent_ms / 1000,
        )
        try:
            async with line as call:
                if call.welcome.epoch < self.epoch:
                    self.stale_dropped += 1
                    await call.drop()
                    return ConnectionLost(1006, "a former owner answered")
                try:
                    self._on_line(call, route)
                    async for event in call.events():
                        self.epoch = max(self.epoch, call.epoch)
                        self._put(event)
                finally:
                    self._off_line(call)
                return call.lost or ConnectionLost(1006, "")
        except ConnectionLost as lost:
            return lost
        except TimeoutError:
            return ConnectionLost(1006, "no welcome in time")

    def _on_line(self, call: Call, route: Route) -> None:
        """What was kept follows, words before sound."""
        now = time.monotonic_ns()
        welcome, away_ms = call.welcome, (now - self._away_since) // 1_000_000
        if self.ticket is not None:
            self.moves += 1
            self.away_ms += away_ms
            self._put(Moved(self._why, route.endpoint, away_ms, welcome.moved))
        self._call, self._failed, self._tokens_refused = call, None, 0
        self._on_line_since = now
        self._welcomed, self._epoch_told, self._word = True, True, ""
        self.epoch = max(self.epoch, welcome.epoch)
        self.ticket = Ticket(welcome.session, welcome.resume, self.epoch)
        for say in self.words.again(now // 1_000_000, self._away_since // 1_000_000):
            call.send(say)
        for pcm, rate in self.microphone.take(now // 1_000_000):
            call.send_frame(pcm, rate)
        self._news.set()

    def _off_line(self, call: Call) -> None:
        self._call = None
        self._away_since = time.monotonic_ns()
        if self._away_since - self._on_line_since > self.patience.most_ms * 1_000_000:
            self._tries = 0  # it was a line; one that breaks as soon as it stands is only another attempt
        self.epoch = max(self.epoch, call.epoch)
        self.stale_dropped += call.stale_dropped
        self.events_lost += call.events_lost

    # ---- what to make of a line's end ----------------------------------------------------------------------------

    async def _judge(self, lost: ConnectionLost) -> None:
        told, code = lost.told, lost.close_code
        why = told.code if told is not None else lost.code
        if self._hanging_up:
            self._end("hung_up")
        elif code == CloseCode.NORMAL:
            self._end(told.reason if told is not None and told.reason else "normal")
        elif self._final(lost):
            named = code == CloseCode.SESSION_REFUSED and told is not None
            self._end(told.reason.partition(":")[0] if named and told is not None else why, lost)
        else:
            self._epoch_told = code != CloseCode.EPOCH_STALE
            if told is not None and told.endpoint is not None and self._follows(told.endpoint):
                self._sent_on = told.endpoint
            if code in AT_ONCE and self._welcomed and self._tries == 0:
                self._why, self._failed = why, self.endpoint
                self._tries = 1
            else:
                await self._rest(why, lost.retry_after_ms, lost)

    def _follows(self, endpoint: str) -> bool:
        """Token and secret that went under TLS go nowhere without, whoever says so: then the source is asked."""
        return endpoint.startswith("wss:") or not (self.endpoint or "").startswith("wss:")

    def _final(self, lost: ConnectionLost) -> bool:
        """Will this be the same however often one comes back?"""
        code = lost.close_code
        if code == CloseCode.EPOCH_STALE:
            return self._welcomed  # a resume may be tried without it
        if code == CloseCode.TOKEN_REFUSED:
            self._tokens_refused += self._fresh
            return self._tokens_refused > 1
        if code == CloseCode.SESSION_REFUSED:
            return lost.retry_after_ms is None
        return code in OVER

    async def _rest(self, why: str, retry_after_ms: int | None, error: PeerFault) -> None:
        """Wait before the next attempt, longer each time, unless it has lasted too long altogether."""
        patience = self.patience
        if self._welcomed:
            self._why = why
        # Whoever gives up says what it was told last, not that nobody was there besides.
        self._word = why if why != "connection_lost" or not self._word else self._word
        away_ms = (time.monotonic_ns() - self._away_since) // 1_000_000
        wait_ms: float = min(patience.most_ms, patience.first_ms << min(self._tries, 10))
        # Whoever lost the same server at the same moment must not come back at the same moment.
        wait_ms *= random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it
        if retry_after_ms is not None:
            wait_ms = max(wait_ms, retry_after_ms)
        elif self._welcomed and self._tries == 0:
            wait_ms = 0  # a line may break alone, without its server
        # Who knows when the session can be had is asked again; who is not there, drains or has no room is not asked next.
        knows = isinstance(error, ConnectionLost) and error.close_code == CloseCode.SESSION_HELD
        self._failed = None if self._welcomed or knows else self.endpoint
        self._welcomed = False
        self._tries += 1
        if away_ms + wait_ms > patience.away_ms_max:
            self._end(self._word, error)
            return
        await asyncio.sleep(wait_ms / 1000)

    def _end(self, reason: str, error: PeerFault | None = None) -> None:
        if self.ended is None:
            self.ended, self.error = reason, error
            self._news.set()


@asynccontextmanager
async def session(route: RouteSource, **how: Any) -> AsyncIterator[Session]:
    """A conversation that has begun; it is hung up at the end of the block, or left to wait if the block raises."""
    made = Session(route, **how)
    try:
        await made.begin()
        yield made
        await made.hang_up()
    finally:
        await made.leave()
