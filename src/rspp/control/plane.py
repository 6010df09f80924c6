"""The control plane of one process: every part of it over one store, put together once and handed to whoever asks.

    opened_plane(url, keys=...)   over a store's address, for a command that does one thing
    plane.run()                   beside a service: views kept new, keys tended, this process a member of the fleet

It decides nothing itself. What may be asked of it is the table of `rspp.control.operations`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import Held, Leases
from rspp.control.authority.members import GONE, TTL_MS, Fleet, Member, Membership, member_of, new_member_id
from rspp.control.commands import Commands
from rspp.control.config import skew
from rspp.control.config.nodes import Points, offered
from rspp.control.config.policies import Policies
from rspp.control.config.policy import POLICY, PROVIDERS
from rspp.control.config.registry import Registry
from rspp.control.config.rollouts import Rollouts
from rspp.control.config.view import View
from rspp.control.fleet.failover import AUTHOR as FAILOVER
from rspp.control.fleet.failover import Change, FailoverPolicy
from rspp.control.fleet.failover_watch import FailoverWatch
from rspp.control.fleet.provider_board import PREFIX, ProviderBoard
from rspp.control.fleet.provider_health import FleetHealth
from rspp.control.fleet.regions import Regions
from rspp.control.fleet.residency import Residencies
from rspp.control.fleet.residency_guard import ResidencyView
from rspp.control.fleet.routing import RoutingPolicy
from rspp.control.fleet.routing_view import RoutingView
from rspp.control.fleet.sessions import Sessions
from rspp.control.identity import Identity
from rspp.control.intake.limits import Limits
from rspp.control.names import CONFIG, HEALTH, MEMBERS
from rspp.control.objectives.budget_watch import BudgetWatch
from rspp.control.objectives.error_budget import Objective
from rspp.control.security.approvals import POLICY as APPROVAL_POLICY
from rspp.control.security.approvals import PROPOSALS, Approvals
from rspp.control.security.audit import Audit
from rspp.control.security.key_folder import KeyFolder
from rspp.control.security.keyring import KEYS, Keyring, KeyRotation
from rspp.control.security.principals import PRINCIPALS, Authenticator, Principals
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.control.security.strangers import Strangers
from rspp.control.security.tokens import KeyRef, Signer, Verifier
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Store
from rspp.host.secrets import Secrets
from rspp.timeline.access import os_user

log = logging.getLogger("rspp.control")

# Whom principals' tokens are for: a token of a worker or of another service is none here.
AUDIENCE: Final = "rspp-control"
READY_MS_MAX: Final = 2_000
REJOIN_S: Final = 0.5
KIND: Final = "control"


class PlaneSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is set about a control process."""

    name: str = KIND
    endpoint: str = ""
    region: str = "local"
    ttl_ms: int = TTL_MS
    routing: RoutingPolicy = RoutingPolicy()
    failover: FailoverPolicy | None = None  # None: regions are switched by people alone
    objective: Objective = Objective()


class NoKeys:
    """Where no folder of private keys was named: everything works but what has to be signed."""

    def signing(self, _now_ms: int) -> KeyRef:
        raise MisuseError(
            "key_missing",
            "no folder of signing keys was named; make one with `rspp control init`, name it with --keys",
        )


class ControlPlane:
    """All parts. Each is what its own module says; this only holds them together."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        keys: KeyFolder | None = None,
        secrets: Secrets | None = None,
        settings: PlaneSettings | None = None,
        points: Points = offered,
    ) -> None:
        """`points`: which nodes a spec may name here."""
        self.store = store
        self.points = points
        self.settings = settings or PlaneSettings()
        self.clock: Clock = clock or MachineClock()
        self.member_id = new_member_id(self.settings.name)
        wall_ms = self.wall_ms
        self.meters = Meters()
        self.audit = Audit(store, self.member_id, self.clock)
        self.strangers = Strangers(self.audit, self.clock)
        self.identity = Identity(store)
        self.registry = Registry(store, wall_ms=wall_ms, points=points)
        self.rollouts = Rollouts(store, wall_ms=wall_ms)
        self.policies = Policies(store, POLICY, wall_ms=wall_ms, points=points)
        self.provider_configs = Policies(store, PROVIDERS, wall_ms=wall_ms, points=points)
        self.limits = Limits(store)
        self.regions = Regions(store)
        self.residencies = Residencies(store)
        self.residency_rules = ResidencyView(store, self.clock)
        self.budget = BudgetWatch(store, self.rollouts, wall_ms=wall_ms, objective=self.settings.objective)
        self.leases = Leases(store, self.member_id)
        self.statuses = Sessions(store)
        self.commands = Commands(store)
        self.fleet = Fleet(store, self.clock)
        self.routing = RoutingView(store, self.clock, self.fleet)
        self.view = View(store, self.clock, region=self.settings.region, points=points)
        self.board = ProviderBoard(store, self.clock)
        self.keyring = Keyring(store, self.clock)
        self.key_folder = keys
        self._membership: Membership | None = None
        self.audience = AUDIENCE
        self.principals = Principals(store, self.audit, self.clock)
        self._authenticator = Authenticator(
            Verifier(self.keyring), self.principals, self.audience, self.clock
        )
        self._rotation = (
            None if keys is None else KeyRotation(store, keys, self.keyring, self.audit, clock=self.clock)
        )
        self.signer = Signer(self._rotation or NoKeys(), secrets or Secrets())

        self.approvals = Approvals(store, self.audit, self.signer, self.keyring, self.clock)

    # ---- time and life ---------------------------------------------------------------------------------------------

    def wall_ms(self) -> int:
        return self.clock.wall() // NS_PER_MS

    async def load(self) -> None:
        """Read what everything else needs, once: whoever runs a service follows with `run`."""
        await self.keyring.load()
        await self.residency_rules.refresh()
        if self._rotation is not None:
            await self._rotation.adopt(f"system:{self.settings.name}")

    async def run(self) -> None:
        """Keep what this process knows new, until cancelled."""
        await self._meet()
        parts = (self.fleet.run, self.routing.run, self.view.run, self.board.run, self.keyring.run)
        async with asyncio.TaskGroup() as tasks:
            for work in (*parts, self.residency_rules.run, self._govern, self._belong):
                tasks.create_task(work())
            if self._rotation is not None:
                tasks.create_task(self._rotation.run())
            if self.settings.failover is not None:
                tasks.create_task(self._failover(self.settings.failover).run())

    async def _meet(self) -> None:
        """Every process that is there must be of a release that goes with this one; raises `PeerFault` otherwise."""
        for name in await self.store.keys(MEMBERS):
            entry = await self.store.get(MEMBERS, name)
            member = member_of(entry) if entry is not None else None
            if member is not None and member.state not in GONE:
                skew.check_peer(skew.POLICY, member.versions, is_control=member.kind == KIND)

    async def _govern(self) -> None:
        """Freeze rollouts while the error budget is burned; what the store does not do now is done the next time."""
        while True:
            try:
                await self.budget.run()
            except* (RsppError, OSError, TimeoutError) as errors:
                log.warning("the error budget is not watched: %s", type(errors.exceptions[0]).__name__)
            await asyncio.sleep(REJOIN_S)

    def _failover(self, policy: FailoverPolicy) -> FailoverWatch:
        async def told(change: Change) -> None:
            region = change.region
            await self.audit.done(
                f"system:{FAILOVER}",
                "regions.failover",
                None,
                region.reason,
                {"region": region.name, **region.facts},
            )

        return FailoverWatch(
            self.store,
            self.clock,
            self.routing,
            self.board,
            policy=lambda: policy,
            told=told,
            meters=self.meters,
        )

    async def _belong(self) -> None:
        """Be a member of the fleet; called lost, come back as somebody new."""
        while True:
            membership = self._membership = Membership(self.store, self.clock, self._member())
            try:
                await membership.join()
                await membership.run()
            except (RsppError, OSError) as error:
                log.warning("no member of the fleet yet: %s", error)
            finally:
                await membership.leave("stopped")
            self.member_id = new_member_id(self.settings.name)
            await asyncio.sleep(REJOIN_S)

    def membership_changed(self) -> None:
        """Something that others should know of this process: its record is renewed now, and not at the next beat."""
        if self._membership is not None:
            self._membership.changed()

    def _member(self) -> Member:
        return Member(
            id=self.member_id,
            kind=KIND,
            ttl_ms=self.settings.ttl_ms,
            endpoint=self.settings.endpoint,
            region=self.settings.region,
            ready=True,
            versions=skew.told(),
            joined_wall_ms=self.wall_ms(),
        )

    async def unready(self) -> list[str]:
        """Why this process cannot serve now; nothing if it can."""
        try:
            async with asyncio.timeout(READY_MS_MAX / 1000):
                await self.store.get(CONFIG, "ready")
        except (RsppError, OSError, TimeoutError):
            return ["store_unreachable"]
        return []

    # ---- who comes ---------------------------------------------------------------------------------------------------

    async def authenticate(self, token: str) -> Principal:
        """Whose token this is, with the roles of this moment; raises `TokenRefused`, or what the store raises."""
        return await self._authenticator.principal(token)

    async def audit_stranger(self, address: str, code: str) -> None:
        """A token that was refused is on record; who sent it is not known, but from where."""
        await self.strangers.refused(address, code)

    @property
    def rotation(self) -> KeyRotation:
        if self._rotation is None:
            raise MisuseError(
                "key_missing", "this process has no folder of signing keys; name it with --keys"
            )
        return self._rotation

    async def key_alarms(self) -> Sequence[str]:
        return () if self._rotation is None else self._rotation.alarms()

    # ---- what handlers ask -------------------------------------------------------------------------------------------

    @property
    def kept_buckets(self) -> tuple[str, ...]:
        """What a backup holds: all that cannot be made again."""
        return (CONFIG, KEYS, PRINCIPALS, PROPOSALS, APPROVAL_POLICY)

    async def look_at_view(self) -> None:
        """What was changed here holds here at once. Where the store does not say, the view hears of it in its own time."""
        with suppress(RsppError, OSError, TimeoutError):
            async with asyncio.timeout(READY_MS_MAX / 1000):
                await self.view.sync()

    async def look_at_fleet(self) -> None:
        """Know of every process now, and not as of the last look."""
        await self.routing.refresh()

    async def provider_health(self, region: str | None = None) -> list[FleetHealth]:
        for name in await self.store.keys(HEALTH, PREFIX):
            entry = await self.store.get(HEALTH, name)
            if entry is not None:
                self.board.take(entry)
        return list(self.board.fleet(self.clock.now(), region).values())

    async def version_for(self, tenant_id: str, session_id: str, pipeline: str | None) -> str:
        """`name@version` for a new session; raises `Refused`."""
        if not self.view.fresh(self.clock.now()):
            await self.view.sync()
        chosen = self.view.version_for(tenant_id, session_id, pipeline)
        return f"{chosen.pipeline}@{chosen.version}"

    async def session_status(self, held: Held) -> tuple[str, str]:
        """What the session's owner said of it last, and why; the lease's own word where nothing was said."""
        status = await self.statuses.get(held.lease.tenant_id, held.lease.session_id)
        if status is None:
            return held.lease.state.value, held.lease.reason
        return status.state.value, status.reason

    def problems(self) -> dict[str, str]:
        return dict(self.view.problems)


def os_principal() -> Principal:
    """Whoever is logged in and has the store's own address: nobody else has said who this is."""
    return Principal(id=os_user(), roles={EVERYWHERE: (Role.ADMIN,)})


@asynccontextmanager
async def opened_plane(
    url: str,
    *,
    keys: Path | None = None,
    settings: PlaneSettings | None = None,
    within: Callable[[Store], AbstractAsyncContextManager[Store]] = nullcontext,
) -> AsyncIterator[ControlPlane]:
    """A control plane over the store at this address, closed again at the end.

    `within` may stand around it, and give it another store for that one: a store that tells of what is changed.
    """
    secrets = Secrets()
    store = open_store(url, secrets)
    folder = None if keys is None else KeyFolder(keys)
    try:
        async with within(store) as used:
            plane = ControlPlane(used, keys=folder, secrets=secrets, settings=settings)
            await plane.load()
            yield plane
    finally:
        await store.close()
