"""A deployment whose availability is below its objective has an incident, told once when it begins and once when it is over."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.objectives.availability import Availability, What
from rspp.control.objectives.error_budget import Objective, Verdict, judge
from rspp.host.meters import Meters
from rspp.host.ports import Clock

log = logging.getLogger("rspp.control.objectives.incidents")

LOOK_MS: Final = 10_000
DEPLOYMENTS_MAX: Final = 1_000


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """One deployment's promise is broken (`open`), or kept again."""

    deployment: str
    what: What
    open: bool
    at_ms: int
    verdict: Verdict


Told = Callable[[Incident], Awaitable[None]]


async def _nobody(incident: Incident) -> None: ...


class IncidentWatch:
    """Judges every deployment that has an objective, again and again."""

    def __init__(
        self,
        availability: Availability,
        clock: Clock,
        objectives: Callable[[], Mapping[str, Objective]],
        *,
        what: What = What.SESSIONS,
        told: Told = _nobody,
        meters: Meters | None = None,
    ) -> None:
        self.verdicts: dict[str, Verdict] = {}  # bounded: DEPLOYMENTS_MAX
        self._availability = availability
        self._clock = clock
        self._objectives = objectives
        self._what = what
        self._told = told
        self._meters = meters or Meters()
        self._open: set[str] = set()  # bounded: with the verdicts

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("incidents were not told of: %s", error)
            await asyncio.sleep(LOOK_MS / 1000)

    async def look(self) -> tuple[Incident, ...]:
        """Judge once; what began and what is over."""
        now_ms = self._clock.wall() // NS_PER_MS
        changed = []
        for deployment, objective in sorted(self._objectives().items())[:DEPLOYMENTS_MAX]:
            counts = self._availability.counts(deployment, self._what, now_ms, objective.windows_ms)
            verdict = judge(objective, counts)
            if deployment not in self.verdicts:
                self._meters.gauge("availability", self._gauge(deployment), deployment=deployment)
            self.verdicts[deployment] = verdict
            if verdict.burned != (deployment in self._open):
                changed.append(
                    Incident(
                        deployment=deployment,
                        what=self._what,
                        open=verdict.burned,
                        at_ms=now_ms,
                        verdict=verdict,
                    )
                )
        for incident in changed:
            await self._tell(incident)
        return tuple(changed)

    async def _tell(self, incident: Incident) -> None:
        """Told before it counts as told: what could not be is told at the next look."""
        await self._told(incident)
        if incident.open:
            self._open.add(incident.deployment)
            self._meters.counter("incidents_total", deployment=incident.deployment).add()
            log.error("incident: %s: %s", incident.deployment, incident.verdict.reason)
        else:
            self._open.discard(incident.deployment)
            log.warning("incident over: %s: %s", incident.deployment, incident.verdict.reason)

    def _gauge(self, deployment: str) -> Callable[[], float]:
        """1 without samples: nothing has failed."""

        def look() -> float:
            found = self.verdicts[deployment].availability
            return 1.0 if found is None else found

        return look
