"""What tenants use in all processes together, and what their quotas say to it: never more than about a second late.

    board = UsageBoard(store, member_id, limits, tariffs, clock=clock, meters=meters, sessions_over=lambda t: slots.over(t))
    slots = Slots(store, member_id, limits, used_up=board.verdict)
    host = Host(..., recorders=board.recorders(recorders))
    board.on_change(lambda tenants: ...)       # publish those tenants' snapshots anew
    tasks.spawn(board.run())
    board.capacity(tenant_id)                  # allow, defer or reject: for a snapshot
    board.facts(tenant_id)                     # {"quota_degraded": bool}: likewise

What happens in this process counts in the moment in which it happens. Each second the process writes one report of its own
windows and reads those of the others, which come by watching the store. A store that is away stops no session: what others
used then stands still, and what happens here goes on counting.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.intake.admission import LimitsOf, UsedUp
from rspp.control.intake.applied import Applied
from rspp.control.intake.metering import SessionMeter, TenantMeter
from rspp.control.intake.quotas import (
    ALLOWED,
    UNLIMITED,
    Moment,
    Usage,
    Verdict,
    day_of,
    decide,
    minute_of,
    severest,
)
from rspp.control.intake.reports import (
    NOTHING,
    TENANTS_MAX,
    Amounts,
    Heard,
    Part,
    Report,
    bytes_of,
    elsewhere,
    heard,
    is_past,
    report_of,
)
from rspp.control.intake.tariffs import Tariffs
from rspp.control.intake.windows import Windows
from rspp.control.names import USAGE, encoded
from rspp.host.clock import MachineClock
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Recorder, Store

log = logging.getLogger("rspp.control.intake.usage")

TICK_MS: Final = 1_000
# A report of a process that is gone counts until its day is over everywhere.
REPORT_TTL_MS: Final = 26 * 3_600_000
# One write; the next one has the newer numbers anyway.
WRITE_MS_MAX: Final = 2_000
WATCH_PAUSE_S: Final = 0.5
# Of more processes in a day than this the oldest reports are let go of.
REPORTS_MAX: Final = 10_000
# What the sessions of all further tenants are counted under, when a process has too many.
OVERFLOW: Final = ""

Changed = Callable[[Collection[str]], None]


class UsageBoard:
    """Counts for one process, and decides for its sessions. Belongs to one event loop."""

    def __init__(
        self,
        store: Store,
        member_id: str,
        limits: LimitsOf,
        tariffs: Tariffs | None = None,
        *,
        clock: Clock | None = None,
        meters: Meters | None = None,
        sessions_over: UsedUp = lambda _: ALLOWED,
    ) -> None:
        self.tariffs = tariffs or Tariffs()
        self.flying: dict[str, int] = {}  # bounded: by the providers of what is served
        self._store, self._member, self._limits = store, member_id, limits
        self._clock: Clock = clock or MachineClock()
        self._meters = meters or Meters()
        self._applied = Applied(self._meters)
        self._sessions_over = sessions_over
        self._tenants: dict[str, TenantMeter] = {}  # bounded: TENANTS_MAX
        self._windows: dict[str, Windows] = {}  # bounded: as the tenants
        self._told: dict[str, Verdict] = {}  # bounded: as the tenants; what their sessions know
        self._reports: dict[str, Heard] = {}  # bounded: REPORTS_MAX
        self._together = Usage()  # of all tenants in all processes, at the last tick
        self._written: Report | None = None
        self._on_change: list[Changed] = []  # bounded: by the parts of this process
        self._flushed_at: int | None = None
        self._meters.gauge("usage_report_age_ms", self._age_ms)

    # ---- what it is asked --------------------------------------------------------------------------------------------

    def usage(self, tenant_id: str) -> Usage:
        """What the tenant has used in its minute and its day, in all processes."""
        now, wall_ms = self._clock.now(), self._wall_ms()
        part = elsewhere(self._reports, tenant_id, wall_ms, now, Part())
        part.add(self._amounts(tenant_id, wall_ms), True, True)
        return part.usage()

    @property
    def together(self) -> Usage:
        """What all tenants have used in all processes, as of the last tick."""
        return self._together

    @property
    def tenants(self) -> tuple[str, ...]:
        """Whose use is counted here."""
        return tuple(self._tenants)

    def verdict(self, tenant_id: str) -> Verdict:
        """Its own quotas of use and those of all together: the severer one. For sessions that run, and at the door."""
        wall_ms = self._wall_ms()
        try:
            own, all_of_them = self._limits(tenant_id), self._limits(None)
        except RsppError:
            return self._told.get(
                tenant_id, ALLOWED
            )  # not known now: as it was; who comes in anew is refused elsewhere
        if own is UNLIMITED and all_of_them is UNLIMITED:
            return ALLOWED
        mine = ALLOWED if own is UNLIMITED else decide(own, self.usage(tenant_id), wall_ms)
        return severest(mine, decide(all_of_them, self._together, wall_ms))

    def _of_sessions(self, tenant_id: str) -> Verdict:
        """What holds for the tenant's sessions that run."""
        return severest(self.verdict(tenant_id), self._sessions_over(tenant_id))

    def capacity(self, tenant_id: str) -> str:
        return self._of_sessions(tenant_id).capacity

    def facts(self, tenant_id: str) -> dict[str, str | int | float | bool]:
        """What conditions of a pipeline may ask about; always said, so that it ends when its window does."""
        return {"quota_degraded": self._of_sessions(tenant_id).degraded}

    def on_change(self, callback: Changed) -> None:
        """Called with the tenants whose sessions should know at once."""
        self._on_change.append(callback)

    def recorders(self, inner: Callable[[str], Recorder]) -> Callable[[str], Recorder]:
        """A host's recorders, each of them counting."""
        return lambda session_id: SessionMeter(inner(session_id), self)

    # ---- what sessions tell --------------------------------------------------------------------------------------------

    def enter(self, meter: SessionMeter, tenant_id: str) -> TenantMeter:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            if len(self._tenants) >= TENANTS_MAX - 1 and tenant_id != OVERFLOW:
                log.warning("usage of more than %d tenants is counted together", TENANTS_MAX)
                return self.enter(meter, OVERFLOW)
            tenant = self._tenants[tenant_id] = TenantMeter(tenant_id)
            self._windows[tenant_id] = Windows()
            self._told[tenant_id] = self._of_sessions(tenant_id)
        tenant.sessions[meter.session_id] = meter
        return tenant

    def leave(self, meter: SessionMeter, tenant: TenantMeter) -> None:
        tenant.sessions.pop(meter.session_id, None)

    def touched(self, tenant: TenantMeter) -> None:
        self._look([tenant.tenant_id])

    def opened_turn(self, tenant: TenantMeter) -> None:
        told = self._told.get(tenant.tenant_id, ALLOWED)
        if told.degraded:
            self._applied.note(tenant.tenant_id, told, Moment.TURN)

    def refused_turn(self, tenant: TenantMeter) -> None:
        told = self._told.get(tenant.tenant_id, ALLOWED)
        if told.refuses:
            self._applied.note(tenant.tenant_id, told, Moment.TURN)

    def _look(self, tenant_ids: Collection[str]) -> None:
        """Whose sessions should hear of another verdict than the one they know?"""
        changed: list[str] = []
        for tenant_id in tenant_ids:
            before, after = self._told.get(tenant_id, ALLOWED), self._of_sessions(tenant_id)
            self._told[tenant_id] = after
            if (before.action, before.quota) != (after.action, after.quota):
                changed.append(tenant_id)
        if changed:
            for callback in self._on_change:
                callback(changed)

    # ---- each second -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write and read until cancelled; the last numbers are written then, if the store takes them at once."""
        watching = asyncio.get_running_loop().create_task(self._watch(), name="usage:watch")
        try:
            while True:
                await asyncio.sleep(TICK_MS / 1000)
                self.tick()
                await self.flush()
        finally:
            watching.cancel()
            await asyncio.wait([watching])
            await self.flush()

    def tick(self) -> None:
        """Windows pass, and calls that run on are counted so far."""
        now, wall_ms = self._clock.now(), self._wall_ms()
        for tenant_id, tenant in list(self._tenants.items()):
            for meter in tenant.sessions.values():
                meter.settle()
            windows = self._windows[tenant_id]
            if not tenant.sessions and windows.amounts(tenant, wall_ms) == NOTHING:
                del self._tenants[tenant_id], self._windows[tenant_id]
                self._told.pop(tenant_id, None)
        for member, told in list(self._reports.items()):
            if is_past(told, wall_ms, now):
                del self._reports[member]
        part = elsewhere(self._reports, None, wall_ms, now, Part())
        for tenant_id in self._tenants:
            part.add(self._amounts(tenant_id, wall_ms), True, True)
        self._together = part.usage()
        self._look([tenant_id for tenant_id, tenant in self._tenants.items() if tenant.sessions])

    async def flush(self) -> bool:
        """Tell the others; what is as it was is not said again. False when the store did not take it."""
        report = self._report()
        if report == self._written:
            return True
        try:
            async with asyncio.timeout(WRITE_MS_MAX / 1000):
                await self._store.put(USAGE, encoded(self._member), bytes_of(report), ttl_ms=REPORT_TTL_MS)
        except (RsppError, OSError, TimeoutError) as error:
            self._meters.counter("usage_reports_failed_total").add()
            log.info("usage was not reported: %s", type(error).__name__)
            return False
        self._written, self._flushed_at = report, self._clock.now()
        return True

    async def _watch(self) -> None:
        while True:
            try:
                async for entry in self._store.watch(USAGE):
                    self.take(entry.key, entry.value)
            except (RsppError, OSError) as error:
                log.info("usage of others is not heard: %s", type(error).__name__)
            await asyncio.sleep(WATCH_PAUSE_S)

    def take(self, key: str, value: bytes) -> None:
        """Another process's report, as it is now. One that cannot be read counts as it did before."""
        report = report_of(value)
        if report is None:
            self._meters.counter("usage_reports_malformed_total").add()
        elif key != encoded(self._member):
            if key not in self._reports and len(self._reports) >= REPORTS_MAX:
                del self._reports[next(iter(self._reports))]
            self._reports[key] = heard(report, self._clock.now())
            here = [self._tenants[tenant] for tenant in report.tenants if tenant in self._tenants]
            self._look([tenant.tenant_id for tenant in here if tenant.sessions])

    def _report(self) -> Report:
        wall_ms = self._wall_ms()
        used = {tenant_id: self._amounts(tenant_id, wall_ms) for tenant_id in self._tenants}
        tenants = {tenant_id: amounts for tenant_id, amounts in used.items() if amounts != NOTHING}
        return Report(minute=minute_of(wall_ms), day=day_of(wall_ms), tenants=tenants)

    def _amounts(self, tenant_id: str, wall_ms: int) -> Amounts:
        """Of this process. Tenants that found no place of their own all have what they used together."""
        tenant = self._tenants.get(tenant_id) or self._tenants.get(OVERFLOW)
        return NOTHING if tenant is None else self._windows[tenant.tenant_id].amounts(tenant, wall_ms)

    def _wall_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS

    def _age_ms(self) -> float:
        return 0.0 if self._flushed_at is None else (self._clock.now() - self._flushed_at) / NS_PER_MS
