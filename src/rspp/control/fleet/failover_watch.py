"""Looks at all regions again and again, and turns the switches that failover wants turned: each once, by whoever is first.

Every control process may run one. Each counts hold times on its own clock; a switch is replaced only as it was read, so of
two that want the same one does it and the other sees it done. A change is logged, counted and told.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from rspp.contract.errors import PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.fleet.failover import Change, Decision, FailoverPolicy, Since, decide, evidence_of
from rspp.control.fleet.provider_board import ProviderBoard
from rspp.control.fleet.regions import Region, Regions
from rspp.control.fleet.routing_view import RoutingView
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Refused, Store

log = logging.getLogger("rspp.control.fleet.failover")

LOOK_MS: Final = 1_000
# Changes that nobody was told of yet: nothing is turned before they are, so there is one at a time.
UNTOLD_MAX: Final = 16
# Who is told of each change: the audit log, an alert.
Told = Callable[[Change], Awaitable[None]]
Policy = Callable[[], FailoverPolicy]


async def _nobody(change: Change) -> None: ...


class FailoverWatch:
    """One process's watch over all regions."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        view: RoutingView,
        board: ProviderBoard,
        *,
        policy: Policy = FailoverPolicy,
        told: Told = _nobody,
        meters: Meters | None = None,
    ) -> None:
        self.decision = Decision({}, {})
        self._regions = Regions(store)
        self._clock = clock
        self._view = view
        self._board = board
        self._policy = policy
        self._told = told
        self._meters = meters or Meters()
        self._memory: Mapping[str, Since] = {}
        self._metered: set[str] = set()
        self._stuck: frozenset[str] = frozenset()
        self._untold: deque[Change] = deque(maxlen=UNTOLD_MAX)

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (RsppError, OSError, TimeoutError) as error:
                # Without a view nothing is known, and the times that were counted prove nothing any more.
                self._memory = {}
                log.warning("failover saw nothing: %s", error)
            await asyncio.sleep(LOOK_MS / 1000)

    async def look(self) -> tuple[Change, ...]:
        """Look once; what was turned. Raises `Refused` without a view that is new enough."""
        await self._tell()
        view = await self._view.current()
        now = self._clock.now()
        # A region without workers has nothing to leave, unless somebody reports of it, or it was left and may be used again.
        told = {name for name, region in view.regions.items() if region.incident or region.automatic}
        names = sorted({place.region for place in view.places} | told)
        evidence = {
            name: evidence_of(
                name,
                view.places,
                self._board.fleet(now, region=name),
                view.regions[name].incident if name in view.regions else "",
            )
            for name in names
        }
        wall_ms = self._clock.wall() // NS_PER_MS
        decision = decide(evidence, view.regions, self._memory, self._policy(), now, wall_ms)
        self.decision, self._memory = decision, decision.memory
        self._measure(decision)
        turned = []
        for change in decision.changes:
            name = change.region.name
            if await self._change(change, view.regions.get(name, Region(name=name))):
                turned.append(change)
        return tuple(turned)

    async def _change(self, change: Change, decided_on: Region) -> bool:
        """Change one switch, if it is still as it was when this was decided."""
        wanted = change.region
        before = await self._regions.get(wanted.name)
        if before.region != decided_on:
            return False  # somebody has turned it meanwhile: the next look decides about what is there now
        try:
            await self._regions.put(wanted, expect=before.revision)
        except PeerFault as error:
            if isinstance(error, Refused) or error.code != "revision_conflict":
                raise
            return False
        log.warning("region %s is %s: %s", wanted.name, wanted.mode.value, wanted.reason)
        self._meters.counter("region_changes_total", region=wanted.name, mode=wanted.mode.value).add()
        for trigger in change.triggers:
            self._meters.counter("failover_triggers_total", region=wanted.name, factor=trigger.factor).add()
        self._untold.append(change)
        await self._tell()
        return True

    async def _tell(self) -> None:
        """What could not be told of is told at the next look, before anything else is turned."""
        while self._untold:
            await self._told(self._untold[0])
            self._untold.popleft()

    def _measure(self, decision: Decision) -> None:
        for name in decision.trouble:
            if name not in self._metered:
                self._metered.add(name)
                self._meters.gauge("region_trouble", lambda name=name: self._trouble(name), region=name)  # type: ignore[misc]
        stuck = frozenset(decision.stuck)
        for name in sorted(stuck - self._stuck):
            log.warning("region %s is in trouble, and no other region is well: it is kept", name)
        self._stuck = stuck

    def _trouble(self, name: str) -> float:
        return self.decision.trouble.get(name, 0.0)
