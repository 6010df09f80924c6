"""Who has which session: how a caller comes to one, back to one, and how a line that changes hands is told of.

A session that runs here is given back at once to whoever shows its secret. For every other the door is asked, which may
ask a store: that is a task of its caller, bounded by `hello_ms` and cancelled when the socket goes. A seat that comes
after its caller has gone is told so, and waits for that caller or ends by its own deadline.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import time
from collections import deque
from typing import Final, Protocol

import msgspec

from rspp.adapters.transports.websocket.counters import Counters
from rspp.adapters.transports.websocket.settings import Settings
from rspp.contract.errors import RsppError
from rspp.contract.wire import CloseCode, Hello
from rspp.contract.words import CORE_SCHEMA_VERSION, ConnectionState
from rspp.host.ports import Bootstrap, Door, Line, Refused, Seat
from rspp.kernel.inputs import ConnectionChanged, DeliveryReported

KIND: Final = "websocket"
# A store that has just elected a new leader answers again by then.
RETRY_MS: Final = 1_000
# One answer for all of these: a stranger must not learn which sessions there are.
NOT_YOURS: Final = "no such session, or not with this token"
log = logging.getLogger("rspp.websocket")


class Asking(Line, Protocol):
    """A caller, as those see it who bring a session to it."""

    def seated(self, hello: Hello, sitting: Sitting) -> None: ...
    def refused(self, error: Refused) -> None: ...
    def replaced(self) -> None: ...


class Sitting(msgspec.Struct):
    """A session that lives, the secret that gives its line away, and who has the line."""

    seat: Seat
    tenant: str
    resume: str
    reports: bool
    caller: Asking
    # The session counts frames and messages over all its lines here; these many were of former ones.
    frames: int = 0
    controls: int = 0
    accepted: str | None = None  # the last turn that was said to be accepted
    resumed: bool = False  # its caller had it before
    moved: bool = False  # and had it in another process
    endpoint: str | None = None  # where it will go on


class Lobby:
    """The sessions of this process, and those who ask for one."""

    def __init__(self, settings: Settings, counters: Counters) -> None:
        self._settings, self._counters = settings, counters
        self._door: Door
        self._loop: asyncio.AbstractEventLoop
        self.sittings: dict[str, Sitting] = {}  # bounded: by the sessions that the host keeps
        self._untold: deque[tuple[Seat, ConnectionState]] = deque()  # bounded: a few for each of the sittings
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: one a caller
        self._returning: dict[tuple[str, str], asyncio.Future[None]] = {}  # bounded: by the tasks

    def start(self, door: Door) -> None:
        self._door, self._loop = door, asyncio.get_running_loop()

    async def stop(self, timeout_s: float) -> None:
        """Nobody is let in any more; those who are being asked about are let go of."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        self.sittings.clear()
        self._untold.clear()

    # ---- coming in -----------------------------------------------------------------------------------------------

    def here(self, hello: Hello) -> Sitting | None:
        """The session that this caller had, if it runs here; None: ask the door. Raises `Refused`."""
        sitting = self.sittings.get(hello.session or "")
        if sitting is None or sitting.seat.ended:
            return None
        if not _shown(hello, sitting):
            raise Refused(CloseCode.RESUME_REFUSED.word, NOT_YOURS)
        epoch = sitting.seat.epoch
        if hello.epoch is not None and hello.epoch > epoch:
            return None  # the caller has heard a later owner than us
        if hello.epoch is not None and hello.epoch < epoch:
            raise Refused(CloseCode.EPOCH_STALE.word, f"the session's epoch is {epoch}")
        return sitting

    def hand_over(self, sitting: Sitting, caller: Asking) -> Sitting:
        """The caller is back, and the session's line is its own: whoever had it loses it."""
        sitting.caller.replaced()
        sitting.caller, sitting.resumed, sitting.moved = caller, True, False
        sitting.seat.attach(caller)
        self._counters.resumed += 1
        return sitting

    def ask(self, hello: Hello, caller: Asking) -> asyncio.Task[None]:
        """Ask the door; the caller is told `seated` or `refused`, unless the task is cancelled."""
        task = self._loop.create_task(self._ask(hello, caller), name="websocket:enter")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _ask(self, hello: Hello, caller: Asking) -> None:
        began = time.perf_counter_ns()
        settings = self._settings
        try:
            async with asyncio.timeout(settings.hello_ms / 1000):
                sitting = await (self._back if _resuming(hello) else self._new)(hello, caller)
        except Refused as error:
            caller.refused(error)
        except TimeoutError:
            why = f"who decides about sessions did not answer in {settings.hello_ms} ms"
            caller.refused(Refused("door_timeout", why, RETRY_MS))
        except RsppError as error:
            caller.refused(Refused(error.code, error.message, RETRY_MS))
        except Exception as error:
            # Supervised: a door that breaks costs its own caller, and nobody else.
            log.exception("the door failed")
            caller.refused(Refused("runtime_internal_error", type(error).__name__, RETRY_MS))
        else:
            self._counters.entering.add(time.perf_counter_ns() - began)
            caller.seated(hello, sitting)

    async def _new(self, hello: Hello, caller: Asking) -> Sitting:
        secret = secrets.token_urlsafe(32)
        seat = await self._door.enter(_bootstrap(hello, secret, back=False), caller)
        self._counters.opened += 1
        return self._sit(seat, secret, hello, caller)

    async def _back(self, hello: Hello, caller: Asking) -> Sitting:
        """A session that does not run here, or not yet: of two who show its secret at once, only one asks."""
        if hello.session is None or hello.resume is None:
            raise Refused(CloseCode.RESUME_REFUSED.word, NOT_YOURS)
        key = hello.session, hello.resume
        while (asked := self._returning.get(key)) is not None:
            await asyncio.wait([asked])
            sitting = self.sittings.get(hello.session)
            # Whoever waited cannot have heard of the new epoch yet.
            if sitting is not None and not sitting.seat.ended and _shown(hello, sitting):
                return self.hand_over(sitting, caller)
        over = self._returning[key] = self._loop.create_future()
        try:
            return self._moved_in(await self._given_back(hello, hello.resume, caller), hello, caller)
        finally:
            del self._returning[key]
            over.set_result(None)

    async def _given_back(self, hello: Hello, secret: str, caller: Asking) -> Seat:
        try:
            return await self._door.enter(_bootstrap(hello, secret, back=True), caller)
        except Refused as error:
            if error.code == "session_unknown":
                raise Refused(CloseCode.RESUME_REFUSED.word, NOT_YOURS) from error
            raise

    def _moved_in(self, seat: Seat, hello: Hello, caller: Asking) -> Sitting:
        """A session goes on here; whatever line there was to a former one of its name hears nothing any more."""
        former = self.sittings.get(seat.session_id)
        if former is not None:
            former.caller.replaced()
        assert hello.resume is not None
        sitting = self._sit(seat, hello.resume, hello, caller)
        sitting.resumed = sitting.moved = True
        self._counters.moved += 1
        return sitting

    def _sit(self, seat: Seat, secret: str, hello: Hello, caller: Asking) -> Sitting:
        sitting = Sitting(seat, hello.tenant, secret, hello.playback_reports, caller)
        self.sittings[seat.session_id] = sitting
        return sitting

    # ---- what callers need ---------------------------------------------------------------------------------------

    def ended(self, sitting: Sitting) -> None:
        """Forget it, unless a later owner's has its place."""
        if self.sittings.get(sitting.seat.session_id) is sitting:
            del self.sittings[sitting.seat.session_id]

    def soon(self, seat: Seat, report: DeliveryReported) -> None:
        self._loop.call_soon(seat.ingest, report)

    def tell(self, seat: Seat, state: ConnectionState) -> None:
        """What a line does is told in order and never lost: a session that knew nothing of it would wait for ever."""
        if any(waiting is seat for waiting, _ in self._untold) or not seat.ingest(ConnectionChanged(state)):
            self._untold.append((seat, state))

    def sweep(self) -> None:
        """A session may end, or break, with nobody on its line to be told."""
        for sitting in [sitting for sitting in self.sittings.values() if sitting.seat.ended]:
            self.ended(sitting)
        full: set[str] = set()
        for _ in range(len(self._untold)):
            seat, state = self._untold.popleft()
            if seat.session_id in full or not (seat.ended or seat.ingest(ConnectionChanged(state))):
                full.add(seat.session_id)
                self._untold.append((seat, state))


def _shown(hello: Hello, sitting: Sitting) -> bool:
    """Has this caller the session's secret, and is it of the session's tenant?"""
    secret = hmac.compare_digest(sitting.resume.encode(), (hello.resume or "").encode())
    return secret and hello.tenant == sitting.tenant


def _resuming(hello: Hello) -> bool:
    return hello.session is not None or hello.resume is not None


def _bootstrap(hello: Hello, secret: str, *, back: bool) -> Bootstrap:
    return Bootstrap(
        schema_version=CORE_SCHEMA_VERSION,
        transport_kind=KIND,
        tenant_id=hello.tenant,
        requested_at_ms=time.time_ns() // 1_000_000,
        session_id=hello.session if back else None,
        pipeline_version=hello.pipeline,
        epoch=hello.epoch if back else None,
        playback_reports=hello.playback_reports,
        metadata=dict(hello.metadata),
        token=hello.token,
        resume=secret,
        back=back,
    )
