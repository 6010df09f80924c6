"""Who gets a session: a slot of the tenant's and one of the fleet's, or a refusal that says when to come again.

    slots = Slots(store, member_id, limits, is_gone=fleet.is_gone, may_act=lambda: membership.held)
    reservation = await slots.reserve(tenant_id, session_id=session_id)   # raises Refused
    ...
    slots.release(reservation)                                            # when the session is over; never fails

The tenant's slot is taken first, then the fleet's, and given back if that is refused. A process that dies between the two, or
with sessions, loses its entries to whoever writes next; what it forgot while alive is found by `reconcile`. A store that
cannot be reached lets nobody in.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from rspp.contract.errors import InvariantBreach, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.intake.applied import Applied
from rspp.control.intake.holders import Ask, spread_ms
from rspp.control.intake.quotas import (
    ALLOWED,
    NOTHING_USED,
    Action,
    Moment,
    TenantLimits,
    Usage,
    Verdict,
    severest,
)
from rspp.control.intake.slots import Graves, IsGone, Scope
from rspp.control.names import SLOTS, encoded, parts
from rspp.host.clock import MachineClock
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Refused, Store

log = logging.getLogger("rspp.control.intake.admission")

# All tenants together. No tenant's key can be this one: theirs begin with `tenant/`.
FLEET: Final = "fleet"
OF_TENANT: Final = "tenant/"

CODE_OF: Final[Mapping[Action, str]] = {
    Action.REJECT: "cp_admission_reject_quota",
    Action.DEFER: "cp_admission_defer_capacity",
}
# Nobody waits longer for an answer; an election of the store's leader may take longer than that.
WAIT_MS_MAX: Final = 5_000
# What a caller is told who came while the store could not be asked, give or take a quarter.
UNAVAILABLE_RETRY_MS: Final = 4_000
# A reservation that is younger may belong to a session that is about to begin: no reconciling takes it away.
YOUNG_MS: Final = 60_000
RECONCILE_MS: Final = 5_000
# One in so many times that are reconciled, so many documents of tenants are looked through for processes that are gone. Of
# more of them the next ones have their turn the next time: whoever is refused a slot of one looks by himself.
SWEEP_EVERY: Final = 12
SWEEP_MAX: Final = 200

# The limits in force for a tenant; None asks for those of all together. Raises `RsppError` when that is not known.
LimitsOf = Callable[[str | None], TenantLimits]
# What the tenant's other quotas say at this moment.
UsedUp = Callable[[str], Verdict]


class Reservation(msgspec.Struct, frozen=True, kw_only=True):
    """Slots for a session that may begin now. `degraded` names the quota that lets it in with less."""

    tenant_id: str
    holder: str  # the process, in the life in which it reserved them
    number: int
    count: int
    degraded: str | None = None


class _Kept(msgspec.Struct, frozen=True):
    reservation: Reservation
    at: int


async def _nobody_is_gone(_: str) -> bool:
    return False


class Slots:
    """This process's reservations. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        member_id: str,
        limits: LimitsOf,
        *,
        clock: Clock | None = None,
        is_gone: IsGone = _nobody_is_gone,
        may_act: Callable[[], bool] = lambda: True,
        used_up: UsedUp = lambda _: ALLOWED,
        meters: Meters | None = None,
        wait_ms_max: int = WAIT_MS_MAX,
    ) -> None:
        self._store, self._member, self._limits = store, member_id, limits
        self._clock: Clock = clock or MachineClock()
        self._graves = Graves(is_gone, self._clock)
        self._may_act, self._used_up = may_act, used_up
        self._meters = meters or Meters()
        self._applied = Applied(self._meters)
        self._wait_ms_max = wait_ms_max
        self._scopes: dict[str, Scope] = {}  # bounded: by the tenants whose sessions are here; idle ones go
        self._open: dict[int, _Kept] = {}  # bounded: by the slots of this process
        self._taking: dict[str, int] = {}  # bounded: by those who wait; slots that are no reservation yet
        self._numbers = itertools.count(1)
        self._reconciled = 0
        self._swept = ""  # up to this document; of nobody: begin with the first

    # ---- the way in and out ------------------------------------------------------------------------------------------

    async def reserve(self, tenant_id: str, n: int = 1, *, session_id: str = "") -> Reservation:
        """Slots for `n` sessions, or `Refused`, after `wait_ms_max` at the latest."""
        name = session_id or f"{self._member}/{next(self._numbers)}"
        if not self._may_act():
            raise self._unavailable(tenant_id, name, "this process is no member of the fleet")
        used_up = self._used_up(tenant_id)
        if used_up.refuses:
            raise self._refused(tenant_id, name, used_up, None)
        held = await self._take(tenant_id, n, name, forced=False)
        degraded = severest(used_up, held)
        if degraded.degraded:
            self._applied.note(tenant_id, degraded, Moment.SESSION)
        self._count("admitted")
        return self._keep(tenant_id, n, degraded)

    async def move(self, tenant_id: str, from_member: str, n: int = 1) -> Reservation:
        """Slots for sessions that run already and are this process's from now on, over any limit.

        What the former process held of them is nothing any more if it is gone. One that is there gives them back itself; until
        then they count twice, which lets nobody in who should not be.
        """
        try:
            await self._graves.find([from_member])
        except RsppError as error:
            log.info("whether %s is gone is not known now: %s", from_member, error.code)
        name = f"{self._member}/{next(self._numbers)}"
        if not self._may_act():
            raise self._unavailable(tenant_id, name, "this process is no member of the fleet")
        await self._take(tenant_id, n, name, forced=True)
        self._count("moved")
        return self._keep(tenant_id, n, ALLOWED)

    def release(self, reservation: Reservation) -> None:
        """Its sessions are over, or never began. Said twice it is heard once; a store that is away is told later.

        What was reserved in a former life of this process went with that life.
        """
        if reservation.holder == self._member and self._open.pop(reservation.number, None) is not None:
            self._scope(reservation.tenant_id).give(reservation.count)
            self._scope(None).give(reservation.count)

    async def _take(self, tenant_id: str, n: int, name: str, *, forced: bool) -> Verdict:
        tenant, fleet = self._scope(tenant_id), self._scope(None)
        self._taking[tenant_id] = self._taking.get(tenant_id, 0) + n
        try:
            async with asyncio.timeout(self._wait_ms_max / 1000):
                verdict = await tenant.take(Ask(tenant_id, n, forced))
                if verdict.refuses:
                    raise self._refused(tenant_id, name, verdict, tenant)
                return severest(
                    verdict, await self._take_of_fleet(tenant, fleet, Ask(tenant_id, n, forced), name)
                )
        except Refused:
            raise
        except TimeoutError:
            why = tenant.fault or fleet.fault or "no answer in time"
            raise self._unavailable(tenant_id, name, why) from None
        except RsppError as error:
            raise self._unavailable(tenant_id, name, error.code) from error
        finally:
            self._taking[tenant_id] -= n
            if not self._taking[tenant_id]:
                del self._taking[tenant_id]

    async def _take_of_fleet(self, tenant: Scope, fleet: Scope, ask: Ask, name: str) -> Verdict:
        """The second slot; without it the first one is given back, whatever the reason."""
        try:
            verdict = await fleet.take(ask)
            if verdict.refuses:
                raise self._refused(ask.group, name, verdict, fleet)
        except BaseException:
            tenant.give(ask.count, unstarted=not ask.forced)
            raise
        return verdict

    def _keep(self, tenant_id: str, n: int, verdict: Verdict) -> Reservation:
        quota = verdict.quota.value if verdict.degraded and verdict.quota is not None else None
        kept = Reservation(
            tenant_id=tenant_id, holder=self._member, number=next(self._numbers), count=n, degraded=quota
        )
        self._open[kept.number] = _Kept(kept, self._clock.now())
        return kept

    # ---- refusals ----------------------------------------------------------------------------------------------------

    def _refused(self, tenant_id: str, name: str, verdict: Verdict, scope: Scope | None) -> Refused:
        assert verdict.action is not None
        assert verdict.quota is not None
        code = CODE_OF[verdict.action]
        # A caller learns of its own tenant's numbers, and not of how full the fleet is.
        ours = scope is self._scopes.get(FLEET)
        what = "the fleet is full" if ours and scope is not None else f"{verdict.quota.value} is used up"
        retry_ms = self._retry_ms(name, verdict, scope)
        self._applied.note(tenant_id, verdict, Moment.SESSION)
        self._count(code)
        return Refused(code, what, retry_ms)

    def _retry_ms(self, name: str, verdict: Verdict, scope: Scope | None) -> int:
        """A slot is free when somebody hangs up; a window is new when its time has come, and then not for all at once."""
        if verdict.window_ms is not None:
            return verdict.window_ms + spread_ms(UNAVAILABLE_RETRY_MS, name)
        return scope.pace.retry_ms(name, scope.limit) if scope is not None else UNAVAILABLE_RETRY_MS

    def _unavailable(self, tenant_id: str, name: str, why: str) -> Refused:
        self._count("unavailable")
        log.warning("admission_unavailable", extra={"tenant": tenant_id, "why": why})
        # The cause is ours to know, and in the log.
        return Refused(
            "admission_unavailable", "admission cannot decide now", spread_ms(UNAVAILABLE_RETRY_MS, name)
        )

    def _count(self, outcome: str) -> None:
        self._meters.counter("admission_total", outcome=outcome).add()

    # ---- what keeps it true --------------------------------------------------------------------------------------------

    async def run(self, actual: Callable[[], Mapping[str, int]], every_ms: int = RECONCILE_MS) -> None:
        """Reconcile until cancelled."""
        while True:
            await asyncio.sleep(every_ms / 1000)
            await self.reconcile(actual())

    async def reconcile(self, actual: Mapping[str, int]) -> None:
        """`actual` says how many sessions of each tenant run here: what is held for others is given back.

        Also looks whether the documents say what they should, and drops those that are gone from them.
        """
        now, young = self._clock.now(), {**dict.fromkeys(actual, 0), **self._taking}
        for kept in list(self._open.values()):
            tenant_id = kept.reservation.tenant_id
            young.setdefault(tenant_id, 0)
            if now - kept.at < YOUNG_MS * NS_PER_MS:
                young[tenant_id] += kept.reservation.count
        held = {tenant: self._scope(tenant).held for tenant in young}
        for tenant_id, count in young.items():
            running = actual.get(tenant_id, 0)
            self._correct(tenant_id, max(running, min(held[tenant_id], running + count)))
        for key, scope in list(self._scopes.items()):
            if scope.idle and key != FLEET:
                del self._scopes[key]
            else:
                scope.check()
        self._reconciled += 1
        if self._reconciled % SWEEP_EVERY == 1:
            try:
                await self.sweep()
            except RsppError as error:
                log.warning("slots were not looked through: %s", error.code)

    def _correct(self, tenant_id: str, count: int) -> None:
        scope, fleet = self._scope(tenant_id), self._scope(None)
        wrong = scope.held - count
        if wrong:
            log.warning("slots_corrected", extra={"tenant": tenant_id, "held": scope.held, "running": count})
            self._meters.counter("slots_corrected_total").add(abs(wrong))
            scope.put(count)
            fleet.put(fleet.held - wrong)
        # Reservations whose sessions are not there: the oldest ones are forgotten, and their release is not heard.
        kept = [one for one in self._open.values() if one.reservation.tenant_id == tenant_id]
        known = sum(one.reservation.count for one in kept)
        for one in kept:
            if known <= count:
                break
            known -= one.reservation.count
            del self._open[one.reservation.number]

    async def sweep(self) -> None:
        """Look through the next documents of tenants whose sessions are elsewhere, for processes that are gone."""
        names = [name for name in await self._store.keys(SLOTS, OF_TENANT) if name not in self._scopes]
        later = [name for name in sorted(names) if name > self._swept]
        self._swept = later[SWEEP_MAX - 1] if len(later) > SWEEP_MAX else ""
        for name in later[:SWEEP_MAX]:
            if name not in self._scopes:
                tenant_id = parts(name)[1]
                scope = self._scope(tenant_id)
                scope.check()
                await scope.settled()

    async def settled(self) -> None:
        """Everything that this process holds is written, or the store is away."""
        for scope in list(self._scopes.values()):
            await scope.settled()

    async def close(self) -> None:
        """Write no more. What is held stays so until this process has left the fleet."""
        for scope in self._scopes.values():
            scope.stop()

    # ---- looking -------------------------------------------------------------------------------------------------------

    @property
    def held(self) -> dict[str, int]:
        """Slots of this process, by tenant."""
        found = {
            parts(key)[1]: scope.held for key, scope in self._scopes.items() if key != FLEET and scope.held
        }
        fleet = self._scopes.get(FLEET)
        if any(count < 0 for count in found.values()) or (fleet is not None and fleet.held < 0):
            raise InvariantBreach("slots_damaged", "more slots were given back than taken")
        return found

    def used(self, tenant_id: str | None) -> Usage:
        """Sessions of a tenant, or of all, as far as this process knows; nothing of one whose sessions are elsewhere."""
        key = FLEET if tenant_id is None else f"{OF_TENANT}{encoded(tenant_id)}"
        scope = self._scopes.get(key)
        return NOTHING_USED if scope is None else scope.used

    def over(self, tenant_id: str) -> Verdict:
        """The tenant's, or the fleet's, quota of sessions that lets more in than it says, with less for all of them.

        What such a quota refuses it refuses at the door: sessions that run are only ever degraded by it.
        """
        scopes = (self._scopes.get(f"{OF_TENANT}{encoded(tenant_id)}"), self._scopes.get(FLEET))
        verdict = severest(*(scope.over() for scope in scopes if scope is not None))
        return verdict if verdict.degraded else ALLOWED

    def _scope(self, tenant_id: str | None) -> Scope:
        key = FLEET if tenant_id is None else f"{OF_TENANT}{encoded(tenant_id)}"
        scope = self._scopes.get(key)
        if scope is None:
            scope = self._scopes[key] = Scope(
                self._store, self._clock, self._member, key, lambda: self._limits(tenant_id), self._graves
            )
        return scope
