"""What a worker is told to do: by an operator, session by session or as a whole, and by the switch of its region."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.words import CancelReason, CancelScope
from rspp.control.authority.members import MemberState
from rspp.control.commands import DEBUG_MS_MAX, WAITING_MAX, Command, CommandKind, Commands, Outcome, Result
from rspp.control.fleet.regions import Region, Regions, Wanted, wanted
from rspp.control.fleet.status import GOES_ON
from rspp.host.ports import Clock, Store
from rspp.kernel import inputs as i

if TYPE_CHECKING:
    from rspp.control.worker.worker import Worker

log = logging.getLogger("rspp.control.orders")

DRAIN_MS: Final = 30_000
RETRY_S: Final = 0.5
# An answer that the store does not take is given again so often; then whoever asked has gone.
ANSWERS_MAX: Final = 20
# Orders that were carried out and may be told of once more, by a watch that was broken.
DONE_MAX: Final = WAITING_MAX


# What became of an order, and a word about it.
Obeyed = tuple[Outcome, str]
Obey = Callable[[Command], Awaitable[Obeyed]]


class Orders:
    """One worker's ear for them. Each command is carried out once, beside the others, and answered.

    `also` obeys what concerns the process rather than its sessions; `vouched` hears of a provider whose circuits are reset.
    """

    def __init__(
        self,
        worker: Worker,
        store: Store,
        clock: Clock,
        *,
        also: Mapping[CommandKind, Obey] | None = None,
        vouched: Callable[[str], Awaitable[None]] | None = None,
    ) -> None:
        self._also = dict(also or {})
        self._vouched = vouched
        self._worker = worker
        self._commands = Commands(store)
        self._regions = Regions(store)
        self._clock = clock
        # What became of each; None: it is being carried out.
        self._known: dict[str, Result | None] = {}  # bounded: DONE_MAX, and those that are being carried out
        self._leaves = False  # the region's sessions go on elsewhere
        self._leaving: asyncio.Task[None] | None = None

    # ---- commands ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Obey, under whatever id this process has at a time."""
        while True:
            member = self._worker.id
            watching = asyncio.get_running_loop().create_task(self._obey_all(member))
            try:
                while self._worker.id == member and not watching.done():  # noqa: ASYNC110 - ids change once in a while
                    await asyncio.sleep(RETRY_S)
            finally:
                watching.cancel()
                await asyncio.wait([watching])

    async def _obey_all(self, member: str) -> None:
        try:
            async for command in self._commands.watch(member):
                known = self._known.get(command.id)
                if command.id not in self._known:
                    self._known[command.id] = None
                    # One that takes half a minute must not keep the next from being heard.
                    self._worker.tasks.spawn(self._obey(member, command), "worker:order")
                elif known is not None:
                    self._worker.tasks.spawn(self._answer(member, known), "worker:answer")
        except (RsppError, OSError) as error:
            log.info("commands are not heard: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    async def _obey(self, member: str, command: Command) -> None:
        try:
            outcome, message = await self._do(command)
        except (RsppError, OSError) as error:
            outcome, message = Outcome.FAILED, type(error).__name__
        wall_ms = self._clock.wall() // NS_PER_MS
        result = Result(id=command.id, outcome=outcome, message=message, at_ms=wall_ms)
        log.info("%s of %r: %s %s", command.kind.value, command.session, outcome.value, message)
        self._known[command.id] = result
        for old in [one for one, known in self._known.items() if known is not None][:-DONE_MAX]:
            del self._known[old]
        await self._answer(member, result)

    async def _answer(self, member: str, result: Result) -> None:
        for _ in range(ANSWERS_MAX):
            try:
                await self._commands.answer(member, result)
            except (RsppError, OSError) as error:
                log.info("an order was carried out, and is not answered: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _do(self, command: Command) -> Obeyed:
        also = self._also.get(command.kind)
        if also is not None:
            return await also(command)
        own = _DO.get(command.kind)
        return _NOTHING_SUCH if own is None else await own(self, command)

    def _is_here(self, command: Command) -> bool:
        return (command.tenant, command.session) in self._worker.owned

    async def _cancel(self, command: Command) -> Obeyed:
        if not self._is_here(command):
            return _NOT_HERE
        taken = self._worker.host.cancel(command.session, CancelScope.TURN, CancelReason.USER_CANCEL)
        return (Outcome.DONE, "") if taken else (Outcome.FAILED, "the session has no room for it")

    async def _close(self, command: Command) -> Obeyed:
        if not self._is_here(command):
            return _NOT_HERE
        # A word that says that a session lives on elsewhere is none for one that is to end.
        reason = "operator" if command.reason in GOES_ON else command.reason or "operator"
        return Outcome.DONE, await self._worker.host.close_session(command.session, reason)

    async def _migrate(self, command: Command) -> Obeyed:
        if not self._is_here(command):
            return _NOT_HERE
        moved = await self._worker.migrate(command.tenant, command.session)
        return (
            (Outcome.DONE, "") if moved else (Outcome.REFUSED, "it stays here: it is over, or moves already")
        )

    async def _debug(self, command: Command) -> Obeyed:
        """The session's own kernel ends it when its time is over, whoever is gone by then."""
        if not self._is_here(command):
            return _NOT_HERE
        if not 0 <= command.for_ms <= DEBUG_MS_MAX:
            return Outcome.REFUSED, f"a capture lasts {DEBUG_MS_MAX} ms at most"
        taken = self._worker.host.debug(command.session, command.for_ms)
        return (Outcome.DONE, "") if taken else (Outcome.FAILED, "the session has no room for it")

    async def _drain(self, command: Command) -> Obeyed:
        """Answered when it has begun: nobody new is taken from here on."""
        if self._worker.draining:
            return Outcome.REFUSED, "it drains already"
        mode = "migrate" if command.mode == "migrate" else "drain"
        self._worker.begin_drain(mode, DRAIN_MS)
        return Outcome.DONE, ""

    async def _resume(self, _: Command) -> Obeyed:
        """Take callers again."""
        if not self._worker.draining:
            return Outcome.REFUSED, "it does not drain"
        return (Outcome.DONE, "") if self._worker.resume() else (Outcome.REFUSED, "its process ends")

    async def _reset_circuit(self, command: Command) -> Obeyed:
        """Every session here calls the provider again, and the fleet hears that nothing is known of it any more."""
        sessions = list(self._worker.host.sessions.values())
        told = sum(session.ingest(i.CircuitReset(command.provider)) for session in sessions)
        if self._vouched is not None:
            await self._vouched(command.provider)
        if told < len(sessions):
            return Outcome.FAILED, f"{len(sessions) - told} of {len(sessions)} sessions had no room for it"
        return Outcome.DONE, f"{told} sessions"

    # ---- the region ----------------------------------------------------------------------------------------------------

    async def follow_region(self) -> None:
        """Do what the switch of this worker's region says, whenever it is turned."""
        try:
            async for switched in self._regions.watch():
                if switched.region.name == self._worker.settings.region:
                    self.turned(switched.region)
        except (RsppError, OSError) as error:
            log.info("the switch of the region is not seen: %s", type(error).__name__)

    def turned(self, region: Region) -> None:
        worker = self._worker
        wish = wanted(region.mode, MemberState.UP)
        worker.region_shut = None if wish is Wanted.SERVE else f"region_{region.mode.value}"
        worker.membership.changed()
        self._leaves = wish is Wanted.MIGRATE
        if self._leaves and (self._leaving is None or self._leaving.done()):
            self._leaving = worker.tasks.spawn(self._leave(), "worker:leave-region")

    async def _leave(self) -> None:
        """Until the switch is turned again: what stayed for the store's sake, or was just coming in, goes with the next round."""
        while self._leaves:
            await self._worker.move_all()
            await asyncio.sleep(RETRY_S)


_NOT_HERE: Final = (Outcome.REFUSED, "the session is not here")
_NOTHING_SUCH: Final = (Outcome.REFUSED, "this process records and exports nothing")
_DO: Final[dict[CommandKind, Callable[[Orders, Command], Awaitable[Obeyed]]]] = {
    CommandKind.CANCEL: Orders._cancel,
    CommandKind.CLOSE: Orders._close,
    CommandKind.MIGRATE: Orders._migrate,
    CommandKind.DEBUG: Orders._debug,
    CommandKind.DRAIN: Orders._drain,
    CommandKind.RESUME: Orders._resume,
    CommandKind.RESET_CIRCUIT: Orders._reset_circuit,
}
