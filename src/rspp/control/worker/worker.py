"""A worker: a member of the fleet, and the door by which callers come to sessions that it owns.

    new   gate -> version -> room -> lease -> host        and back down that stair if any step refuses
    back  lease of a session whose owner is gone, or has let go -> its durable state -> host, under a higher epoch

The lease of every session hangs on the membership: each renewal of it renews them all, and when it is lost they are over,
here and now. What a frame needs is in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import OVER, Held, Leases, LeaseState
from rspp.control.authority.members import TTL_MS, Fleet, Member, Membership, MemberState, new_member_id
from rspp.control.fleet.status import GOES_ON
from rspp.control.worker.entrance import Entrance
from rspp.control.worker.letting_go import LettingGo, is_ours
from rspp.control.worker.moving import LOOK_S, Mover, until
from rspp.control.worker.owned import AUTHORITY_LOST, Owned
from rspp.control.worker.ports import DurableState, Gate, Plans, Residency, Slots
from rspp.control.worker.sweeper import Sweeper
from rspp.host.host import Host
from rspp.host.ports import Bootstrap, Clock, Line, Refused, Seat, Store
from rspp.host.registry import Registry
from rspp.host.session import LiveSession
from rspp.host.tasks import TaskScope
from rspp.kernel import inputs as i
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.control.worker")

RETRY_S: Final = 0.5
STOP_MS: Final = 2_000
FOR_EVER_MS: Final = 365 * 86_400_000


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is."""

    name: str = "worker"
    endpoint: str = ""
    shared_endpoint: str = ""
    region: str = "local"
    zone: str = ""
    labels: dict[str, str] = {}
    versions: dict[str, str] = {}
    ttl_ms: int = TTL_MS
    sweep_ms: int = 1_000
    # False: pipelines are of whoever publishes one, and what their providers do keeps nobody else's sessions out.
    own_pipelines: bool = True
    resume_ms: int = 60_000  # a session that nobody takes up for so long after its owner was lost is over


class Worker:
    """A `Door` over a host whose sessions are leased."""

    def __init__(
        self,
        host: Host,
        store: Store,
        settings: WorkerSettings,
        *,
        clock: Clock,
        gate: Gate,
        plans: Plans,
        slots: Callable[[str], Slots],
        residency: Residency,
        state: DurableState,
        crowded: Callable[[str, str], None] = lambda *_: None,
        registry_for: Callable[[GraphDefinition], Registry] | None = None,
    ) -> None:
        self.host = host
        host.on_over = self.over
        self.settings = settings
        self.owned: dict[tuple[str, str], Owned] = {}  # bounded: by the host's sessions_max
        self.fleet = Fleet(store, clock)
        self.draining = False
        self.region_shut: str | None = None  # how the switch of its region stands, when it takes nobody
        self.lost_why: str | None = None  # of the membership, until there is a new one
        self._store = store
        self._clock = clock
        self._plans = plans
        self._make_slots = slots
        self._state = state
        self.entrance = Entrance(
            self,
            clock=clock,
            gate=gate,
            plans=plans,
            residency=residency,
            state=state,
            crowded=crowded,
            registry_for=registry_for or (lambda _: host.registry),
        )
        self._mover = Mover(state, clock, lambda: self.leases)
        self._letting_go = LettingGo(self, state, clock)
        self._stopping = False
        self._ends = False  # the process itself empties: nobody takes that back
        self._emptying: asyncio.Task[None] | None = None  # as an operator wished
        self.membership: Membership
        self.leases: Leases
        self.slots: Slots

    # ---- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Be a member, and serve. The host runs already."""
        self.tasks = TaskScope(asyncio.get_running_loop(), self._task_failed)
        self.tasks.spawn(self.supervised(self.fleet.run), "worker:fleet")
        await self._join()
        self.sweeper = Sweeper(self, self._store, self._clock)
        self.tasks.spawn(self.supervised(self.sweeper.watch), "worker:leases")
        self.tasks.spawn(self.supervised(self.sweeper.run), "worker:sweep")
        self._plans.on_change(lambda: self.host.renew_views("control_plane_changed"))

    async def _join(self) -> None:
        """A new membership, under a new id: what was owned under the last one is not ours any more."""
        settings = self.settings
        member = Member(
            id=new_member_id(settings.name),
            kind="worker",
            ttl_ms=settings.ttl_ms,
            endpoint=settings.endpoint,
            shared_endpoint=settings.shared_endpoint,
            region=settings.region,
            zone=settings.zone,
            labels=settings.labels,
            capacity=self.host.settings.sessions_max,
            versions=settings.versions,
            joined_wall_ms=self._clock.wall() // NS_PER_MS,
        )
        membership = Membership(self._store, self._clock, member)
        membership.watch(describe=self._described, on_renewed=self._renewed, on_lost=self._lost)
        former = getattr(self, "slots", None)
        if former is not None:
            await former.close()
        self.membership, self.leases = membership, Leases(self._store, member.id)
        self.slots = self._make_slots(member.id)
        await membership.join()
        self.lost_why = None
        self.tasks.spawn(membership.run(), "worker:membership")

    @property
    def id(self) -> str:
        return self.membership.id

    def unready(self) -> tuple[str, ...]:
        """Why this process takes nobody now; nothing if it does."""
        reasons = []
        if self.draining:
            reasons.append("draining")
        if self.region_shut is not None:
            reasons.append(self.region_shut)
        if not self.membership.held:
            reasons.append("not_a_member")
        if not self._plans.fresh(self._clock.now()):
            reasons.append("control_plane_stale")
        if len(self.host.sessions) >= self.host.settings.sessions_max:
            reasons.append("full")
        if self.settings.own_pipelines:
            # One that is being opened, for a pipeline that is new here, is no reason: its own callers wait for it.
            failing = (one.name for one in self.host.providers.readiness() if one.failure is not None)
            reasons += [f"provider:{name}" for name in failing]
        return tuple(reasons)

    @property
    def ready(self) -> bool:
        return not self.unready()

    def _described(self, member: Member) -> Member:
        reasons, sessions = self.unready(), len(self.host.sessions)
        return msgspec.structs.replace(
            member,
            state=MemberState.DRAINING if self.draining else MemberState.UP,
            sessions=sessions,
            ready=not reasons or reasons == ("not_a_member",),  # which this very renewal mends
            reasons=reasons,
            load=sessions / max(1, self.host.settings.sessions_max),
        )

    def _renewed(self, expires_at: int) -> None:
        for owned in list(self.owned.values()):
            if owned.session is not None:
                owned.session.ingest(i.LeaseChanged("renewed", owned.held.epoch, expires_at=expires_at))

    def _lost(self, why: str) -> None:
        """Whatever we still think that we own may be another's: it is over here, and then we come back as somebody new."""
        self.lost_why = why
        for owned in list(self.owned.values()):
            self._revoked(owned)
        if not self._stopping:
            self.tasks.spawn(self._rejoin(), "worker:rejoin")

    async def _rejoin(self) -> None:
        await until(self._clock, lambda: not self.owned, FOR_EVER_MS)
        while not self._stopping:
            try:
                async with asyncio.timeout(self.settings.ttl_ms / 1000):
                    await self._join()
            except (RsppError, OSError) as error:
                log.info("no member yet: %s", type(error).__name__)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def drain(self, mode: str, deadline_ms: int) -> int:
        """Take nobody new; let calls end by themselves, or send them elsewhere. How many were cut short."""
        self._ends = True
        return await self._empty(mode, deadline_ms)

    async def _empty(self, mode: str, deadline_ms: int) -> int:
        self.draining = True
        self.membership.changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_ms / 1000):
                # Again and again: what stayed for the store's sake may go now, and somebody may have been on the way in.
                while self.host.sessions or self.entrance.coming:
                    if mode == "migrate":
                        await self.move_all()
                    await asyncio.sleep(LOOK_S)
        return await self.host.drain(0) if self.host.sessions else 0

    def begin_drain(self, mode: str, deadline_ms: int) -> None:
        """The same for whoever does not wait for it, until `resume`."""
        self.draining = True

        async def drain() -> None:
            await self._empty(mode, deadline_ms)

        self._emptying = self.tasks.spawn(drain(), "worker:drain")

    def resume(self) -> bool:
        """Take callers again; False where nobody emptied this worker from outside, or its process ends."""
        if self._emptying is None or self._ends or self._stopping:
            return False
        self._emptying.cancel()
        self._emptying = None
        self.draining = self.host.draining = False
        self.membership.changed()
        return True

    async def stop(self) -> None:
        """Leave in good order. Sessions that are still here are ended first, by the host."""
        self._stopping = True
        for owned in list(self.owned.values()):
            if owned.session is not None:
                owned.session.force("host_stopped")
        await until(self._clock, lambda: not self.owned, STOP_MS)
        await self.slots.close()
        await self.membership.leave("stopped")
        self.tasks.cancel_all()
        await self.tasks.wait(1.0)

    # ---- the door --------------------------------------------------------------------------------------------------

    async def enter(self, bootstrap: Bootstrap, line: Line) -> Seat:
        """This caller's session; raises `Refused`. Whoever stops waiting leaves nothing behind."""
        self.may_enter()
        return await self.entrance.enter(bootstrap, line)

    def may_enter(self) -> None:
        """Raises `Refused` while this process takes nobody."""
        if not self.membership.held:
            raise Refused("worker_not_member", "this process may own no session now", 500)
        if self.draining or self._stopping or self.region_shut is not None:
            raise Refused("runtime_draining", "this runtime takes no new sessions; ask for another", 0)

    def word(self, owned: Owned, reason: str) -> str:
        """Why a line is closed: a session that this process may not own any more is not over."""
        here = self.membership.held or self._stopping
        return owned.leaving or (reason if here else AUTHORITY_LOST)

    # ---- letting go --------------------------------------------------------------------------------------------------

    def over(self, session: LiveSession) -> None:
        """The host's session is over: so is what we own of it, unless it lives on elsewhere."""
        owned = self.owned.get((session.tenant_id, session.session_id))
        if owned is not None and owned.session is session:
            reason = session.end_reason or "closed"
            self.let_go_soon(owned, None if reason in GOES_ON or owned.leaving else reason)

    def let_go_soon(self, owned: Owned, reason: str | None) -> None:
        self.tasks.spawn(self._letting_go.let_go(owned, reason), "worker:let-go")

    def _revoked(self, owned: Owned) -> None:
        owned.leaving = owned.leaving or AUTHORITY_LOST
        owned.must(i.LeaseChanged("revoked", owned.held.epoch))
        if owned.line is not None and owned.session is not None and owned.session.ended:
            owned.line.cut()

    def fenced(self, tenant_id: str, session_id: str) -> None:
        """The store has state of a later owner (`StateWriter`): whatever we believed, the session is not ours."""
        owned = self.owned.get((tenant_id, session_id))
        if owned is not None:
            self._revoked(owned)

    def changed(self, held: Held) -> None:
        """A lease as the store has it now (`Sweeper`): one that is not ours any more is not served any more."""
        where = (held.lease.tenant_id, held.lease.session_id)
        self.entrance.told(where, held)
        owned = self.owned.get(where)
        if owned is None or held.revision <= owned.held.revision:
            return
        known, owned.held = owned.held, held
        if is_ours(held, known, self.id):
            return  # our own write, whose answer is late or lost
        if held.lease.state is LeaseState.REVOKED and owned.session is not None:
            owned.must(i.LeaseChanged("revoked", known.epoch))
        else:
            self._revoked(owned)

    def is_here(self, tenant_id: str, session_id: str) -> bool:
        """Is this session ours, or about to be?"""
        where = (tenant_id, session_id)
        return where in self.owned or where in self.entrance.coming

    async def reconcile(self) -> None:
        """Room that is held for nobody is given back."""
        actual: dict[str, int] = {}
        for (tenant_id, _), owned in self.owned.items():
            if owned.reservation is not None:
                actual[tenant_id] = actual.get(tenant_id, 0) + 1
        await self.slots.reconcile(actual)

    async def lives(self, tenant_id: str, session_id: str) -> bool:
        """Is this session ours, or may whoever has it need what we know of it?"""
        owned = self.owned.get((tenant_id, session_id))
        if owned is not None and owned.session is not None and not owned.session.ended:
            return True
        held = await self.leases.get(tenant_id, session_id)
        return held is not None and held.lease.state not in OVER

    async def forget(self, tenant_id: str, session_id: str) -> None:
        """Nothing is kept of a session that is over, and whose owner cannot say so any more."""
        await self._state.forget(tenant_id, session_id)

    # ---- moving --------------------------------------------------------------------------------------------------------

    async def migrate(self, tenant_id: str, session_id: str) -> bool:
        """Give a session away; False if it stays here."""
        owned = self.owned.get((tenant_id, session_id))
        return owned is not None and await self._mover.move(owned)

    async def move_all(self) -> None:
        """Give away what can be given away now."""
        await asyncio.gather(*(self.migrate(*where) for where in list(self.owned)))

    # ---- supervision ---------------------------------------------------------------------------------------------------

    async def supervised(self, work: Callable[[], Any]) -> None:
        """A watch of the store that breaks is begun anew for as long as this process lives."""
        while True:
            try:
                await work()
            except (RsppError, OSError) as error:
                log.info("begun anew: %s", type(error).__name__)
            await asyncio.sleep(RETRY_S)

    def _task_failed(self, name: str, error: BaseException) -> None:
        log.error("%s failed", name, exc_info=error)
