"""How callers come to sessions of this process: each step can refuse, or be waited for in vain, and then nothing stays behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import TYPE_CHECKING, Final

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import Held, Lease, hash_of, opens
from rspp.control.worker.moving import MIGRATED
from rspp.control.worker.owned import Owned, OwnedLine, OwnedSeat
from rspp.control.worker.ports import Admitted, DurableState, Gate, Plans, Residency
from rspp.host.host import new_session_id
from rspp.host.ports import Bootstrap, Clock, Grant, Line, Refused, Seat
from rspp.host.registry import Registry
from rspp.kernel.snapshot import Durable
from rspp.spec.graph import GraphDefinition

if TYPE_CHECKING:
    from rspp.control.worker.worker import Worker

MOVED: Final = "session_moved"  # told to who asks for a session that another process has
HELD_RETRY_MS_MIN: Final = 100
HELD_RETRY_MS_MAX: Final = 500
# For a view to hear of what was published, or rolled out, a moment ago.
BEHIND_RETRY_MS: Final = 200


class Entrance:
    """One worker's way in."""

    def __init__(
        self,
        worker: Worker,
        *,
        clock: Clock,
        gate: Gate,
        plans: Plans,
        residency: Residency,
        state: DurableState,
        crowded: Callable[[str, str], None],
        registry_for: Callable[[GraphDefinition], Registry],
    ) -> None:
        self._worker = worker
        self._clock, self._gate, self._plans = clock, gate, plans
        self._residency, self._state = residency, state
        self._crowded = crowded  # raises `Refused` before this process has more than it can bear
        self._registry_for = registry_for
        # Graphs whose providers are being opened.
        self.opening: dict[str, asyncio.Task[None]] = {}  # bounded: by the graphs that are served
        # Sessions on their way in, and their lease as it was last told of: the store's answer to us may come after that.
        self.coming: dict[tuple[str, str], Held | None] = {}  # bounded: by the host's sessions_max

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        try:
            if bootstrap.back:
                return await self._back(bootstrap, line)
            return await self._new(bootstrap, line)
        except Refused:
            raise
        except MisuseError as error:
            raise Refused(error.code, "there is no session for what was asked") from error
        except (RsppError, OSError) as error:
            code = error.code if isinstance(error, RsppError) else "store_unreachable"
            raise Refused(code, "the control plane's store does not answer", 1_000) from error

    def told(self, where: tuple[str, str], held: Held) -> None:
        """A lease as the store has it now, perhaps of a session that is on its way in."""
        known = self.coming.get(where)
        if where in self.coming and (known is None or known.revision < held.revision):
            self.coming[where] = held

    @contextmanager
    def _on_its_way(self, where: tuple[str, str]) -> Iterator[None]:
        """Until it is here, or is not to be, a session is not opened a second time, nor taken for one that was forgotten."""
        settings = self._worker.host.settings
        if len(self._worker.host.sessions) + len(self.coming) >= settings.sessions_max:
            raise Refused("sessions_full", "all sessions are taken", settings.retry_after_ms)
        self.coming[where] = None
        try:
            yield
        finally:
            del self.coming[where]

    async def _new(self, bootstrap: Bootstrap, line: Line) -> Seat:
        admitted = self._gate.admit(bootstrap)
        tenant_id = admitted.tenant_id
        self._residency.check(tenant_id, self._worker.settings.region)
        session_id = admitted.session_id or bootstrap.session_id or new_session_id()
        if (tenant_id, session_id) in self.coming:
            raise Refused("session_exists", "a session of this name is being opened")
        self._crowded(tenant_id, session_id)
        graph_ref = self._graph_for(admitted, session_id, admitted.pipeline or bootstrap.pipeline_version)
        lease = Lease(
            tenant_id=tenant_id,
            session_id=session_id,
            owner="",
            graph_ref=graph_ref,
            region=self._worker.settings.region,
            resume_hash=hash_of(bootstrap.resume) if bootstrap.resume else "",
            token_id=admitted.token_id,
            opened_wall_ms=self._clock.wall() // NS_PER_MS,
            playback_reports=bootstrap.playback_reports,
        )
        with self._on_its_way((tenant_id, session_id)):
            return await self._opened(lease, line)

    def _graph_for(self, admitted: Admitted, session_id: str, wanted: str | None) -> str:
        """The graph for a new session. What the control plane has signed a moment ago may not be known here yet."""
        try:
            return self._plans.choose(admitted.tenant_id, session_id, wanted)
        except Refused as error:
            if not admitted.token_id or error.retry_after_ms is not None:
                raise
            raise Refused(error.code, error.message, BEHIND_RETRY_MS) from error

    async def _opened(self, lease: Lease, line: Line) -> Seat:
        await self._serve(lease.graph_ref)
        slots = self._worker.slots
        reservation = await slots.reserve(lease.tenant_id, session_id=lease.session_id)
        try:
            self._worker.may_enter()
            held = await self._worker.leases.acquire(lease)
        except BaseException:
            slots.release(reservation)
            raise
        owned = self._worker.owned[lease.tenant_id, lease.session_id] = Owned(held, reservation)
        try:
            return self._seat(owned, None, line)
        except BaseException:
            self._worker.let_go_soon(owned, "session_not_made")
            raise

    async def _back(self, bootstrap: Bootstrap, line: Line) -> Seat:
        """A caller whose session ran at another process, or runs there still."""
        tenant_id, session_id = where = bootstrap.tenant_id, bootstrap.session_id or ""
        try:
            held = await self._worker.leases.get(tenant_id, session_id)
        except MisuseError:
            held = None  # nobody can have such a name
        # One answer for all of these: a stranger must not learn which sessions there are.
        if held is None or bootstrap.resume is None or not opens(held.lease, bootstrap.resume):
            raise Refused("resume_refused", "no such session, or not with this token")
        self._residency.check(tenant_id, self._worker.settings.region)
        if where in self._worker.owned or where in self.coming:
            raise Refused("session_moving", "the session is being opened or closed here", 50)
        with self._on_its_way(where):
            return await self._taken(held, line)

    async def _taken(self, held: Held, line: Line) -> Seat:
        lease = held.lease
        await self._serve(lease.graph_ref)
        self._worker.may_enter()
        try:
            held = await self._worker.leases.take(held, self._lets_go, self._worker.settings.region)
        except Refused as error:
            raise self._elsewhere(error, lease.owner) from error
        owned = self._worker.owned[lease.tenant_id, lease.session_id] = Owned(held)
        try:
            owned.reservation = await self._worker.slots.move(lease.tenant_id, lease.owner)
            durable = await self._state.load(lease.tenant_id, lease.session_id)
            return self._seat(owned, durable or Durable(revision=0, values={}), line)
        except BaseException:
            owned.leaving = owned.leaving or MIGRATED  # it lived before, and may live on elsewhere
            self._worker.let_go_soon(owned, None)
            raise

    async def _lets_go(self, owner: str) -> bool:
        """May its session be taken? Ours may that is not here: we took it once, and never heard that we had."""
        return owner == self._worker.id or await self._worker.fleet.is_gone(owner)

    def _elsewhere(self, refused: Refused, owner: str) -> Refused:
        """Where the session is, or how long until its owner may be called lost."""
        if refused.code != "session_held":
            return refused
        seen = self._worker.fleet.get(owner)
        there = seen is not None and owner in {member.id for member in self._worker.fleet.members()}
        if there and seen is not None and seen.member.endpoint:
            # A process that died a moment ago looks alive: who asks there in vain comes back, and is told to wait.
            return Refused(MOVED, "the session is at another process", 200, seen.member.endpoint)
        # Its parent may say sooner that it is dead: asking is cheap, and the caller has nobody to speak to.
        wait_ms = min(HELD_RETRY_MS_MAX, self._worker.fleet.wait_ms(owner))
        return Refused("session_held", refused.message, max(HELD_RETRY_MS_MIN, wait_ms))

    async def _serve(self, graph_ref: str) -> None:
        """The host has this graph, and its providers were opened: once, whoever of those who wait for it goes away."""
        if not self._worker.host.has(graph_ref):
            graph = self._plans.graph(graph_ref)
            self._worker.host.publish(graph, self._registry_for(graph))
            self.opening[graph_ref] = self._worker.tasks.spawn(self._open(graph_ref), "worker:providers")
        opening = self.opening.get(graph_ref)
        if opening is not None:
            await asyncio.shield(opening)

    async def _open(self, graph_ref: str) -> None:
        try:
            await self._worker.host.providers.open()
        finally:
            del self.opening[graph_ref]

    def _seat(self, owned: Owned, durable: Durable | None, line: Line) -> Seat:
        """Nothing waits from here on. What may have changed while the store was asked is looked at once more."""
        where, lease = owned.where, owned.held.lease
        told = self.coming[where]
        if told is not None:
            self._worker.changed(told)
        if not self._worker.membership.held or lease.owner != self._worker.id:
            raise Refused("worker_not_member", "this process may own no session now", 500)
        if owned.leaving is not None:
            raise Refused("session_over", "the session was withdrawn while it was opened")

        def wrap(line: Line) -> Line:
            owned.line = OwnedLine(
                self._state.hold(*where, line), lambda reason: self._worker.word(owned, reason)
            )
            return owned.line

        graph = self._plans.graph(lease.graph_ref)
        grant = Grant(
            session_id=lease.session_id,
            tenant_id=lease.tenant_id,
            graph_ref=lease.graph_ref,
            epoch=owned.held.epoch,
            lease_token=token_hex(16),
            expires_at=self._worker.membership.expires_at,
            snapshot=self._plans.snapshot(self._clock.now(), lease.tenant_id, graph),
            durable=durable,
        )
        session = self._worker.host.take(grant, wrap(line), playback_reports=lease.playback_reports)
        if session.ended:
            raise Refused("session_not_made", "the session ended as it began")
        owned.session = session
        return OwnedSeat(session, wrap)
