"""Looks at what a process uses a few times a second, and keeps new sessions out before those that run would notice.

    watch = LoadWatch(host, CapacityLimits(), clock=clock, flying=board.flying)
    tasks.spawn(watch.run())
    watch.admit(tenant_id, session_id)     # raises Refused
    watch.capacity                         # for the member's record, the readiness probe and sessions' snapshots

The thread that serves sessions is what a process runs out of first, so its own CPU time is measured, and beside it the
machine's, as far as this process's control group may use it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from rspp.control.intake.capacity import (
    Capacity,
    CapacityEvent,
    CapacityLimits,
    CapacityModel,
    Level,
    Resource,
)
from rspp.control.intake.holders import Pace
from rspp.host.clock import MachineClock
from rspp.host.meters import Meters
from rspp.host.ports import Clock, Refused

log = logging.getLogger("rspp.control.intake.capacity")

LOOK_MS: Final = 250
# The CPU is averaged over some looks: a single one may fall into a burst that is over already.
SMOOTH: Final = 0.5
CGROUP: Final = Path("/sys/fs/cgroup/cpu.max")
CODE_OF: Final[Mapping[Level, str]] = {
    Level.DEFER: "cp_admission_defer_capacity",
    Level.REJECT: "admission_capacity_reject",
}


class Session(Protocol):
    @property
    def waiting(self) -> int: ...


class Sessions(Protocol):
    """What is looked at of a host."""

    @property
    def sessions(self) -> Mapping[str, Session]: ...


def cores(cgroup: Path = CGROUP) -> float:
    """How many processors this process may use: those of the machine, or less where its control group has a quota."""
    there = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    try:
        quota, _, period = cgroup.read_text(encoding="ascii").partition(" ")
        return there if quota == "max" else max(0.1, min(there, int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return there  # another system, or an older kind of control group


class CpuMeter:
    """The CPU that was used since the last look, as a part of what there was; to be asked on the thread that it is about."""

    def __init__(
        self,
        *,
        wall: Callable[[], int] = time.monotonic_ns,
        thread: Callable[[], int] = time.thread_time_ns,
        process: Callable[[], int] = time.process_time_ns,
        cores_max: float | None = None,
    ) -> None:
        self._wall, self._thread, self._process = wall, thread, process
        self._cores = cores() if cores_max is None else cores_max
        # The first look only begins to count: what a process needs to start says nothing of what it can bear.
        self._last: tuple[int, int, int] | None = None
        self._smooth: float | None = None

    def look(self) -> float:
        now = (self._wall(), self._thread(), self._process())
        if self._last is None:
            self._last = now
        passed = now[0] - self._last[0]
        if passed > 0:
            own = (now[1] - self._last[1]) / passed
            together = (now[2] - self._last[2]) / passed / self._cores
            busiest = max(own, together)
            self._smooth = busiest if self._smooth is None else SMOOTH * busiest + (1 - SMOOTH) * self._smooth
            self._last = now
        return self._smooth or 0.0


class LoadWatch:
    """One process's capacity. Belongs to one event loop."""

    def __init__(
        self,
        host: Sessions,
        limits: CapacityLimits,
        *,
        clock: Clock | None = None,
        meters: Meters | None = None,
        cpu: Callable[[], float] | None = None,
        flying: Mapping[str, int] | None = None,
    ) -> None:
        self._host, self._clock = host, clock or MachineClock()
        self._model = CapacityModel(limits)
        self._meters = meters or Meters()
        self._cpu = cpu or CpuMeter().look
        self._flying = flying if flying is not None else {}  # bounded: by its owner, `UsageBoard`
        self._pace = Pace()
        self._on_change: list[Callable[[CapacityEvent], None]] = []  # bounded: by the parts of this process
        self._last: Mapping[Resource, float] = {}
        for resource in Resource:
            self._meters.gauge("capacity_used", partial(self._used, resource), resource=resource.value)

    @property
    def capacity(self) -> Capacity:
        return self._model.capacity

    def on_change(self, callback: Callable[[CapacityEvent], None]) -> None:
        self._on_change.append(callback)

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(LOOK_MS / 1000)

    def look(self) -> list[CapacityEvent]:
        """Measure now; the levels that changed, which are logged, counted and told."""
        now, self._last = self._clock.now(), self.measured()
        # Whom it told to wait are fewer by those who have waited for long enough.
        self._pace.saw(now, 0, max(1, len(self._host.sessions)))
        events = self._model.look(now, self._last)
        for event in events:
            self._tell(event)
        return events

    def measured(self) -> dict[Resource, float]:
        limits, sessions = self._model.limits, self._host.sessions
        found = {
            Resource.CPU: self._cpu(),
            Resource.QUEUE_DEPTH: sum(one.waiting for one in sessions.values()) / limits.queue_inputs_max,
        }
        if limits.provider_calls_max:
            found[Resource.PROVIDER_CONCURRENCY] = max(
                self._flying.get(provider, 0) / most for provider, most in limits.provider_calls_max.items()
            )
        if limits.sessions_max:
            found[Resource.SESSIONS] = len(sessions) / limits.sessions_max
        return found

    def admit(self, tenant_id: str, session_id: str = "") -> None:
        """Raises `Refused` while this process should take nobody more; others may."""
        if self._model.limits.sessions_max:
            # Known exactly at any moment, so that many who come between two looks do not all get in.
            full = len(self._host.sessions) / self._model.limits.sessions_max
            for event in self._model.look(self._clock.now(), {Resource.SESSIONS: full}):
                self._tell(event)
        capacity = self._model.capacity
        if capacity.level is Level.ALLOW:
            return
        assert capacity.resource is not None
        self._meters.counter(
            "capacity_refusals_total", resource=capacity.resource.value, action=capacity.level.value
        ).add()
        raise Refused(
            CODE_OF[capacity.level],
            f"this process is near its limit of {capacity.resource.value}",
            self._pace.retry_ms(session_id or tenant_id, max(1, len(self._host.sessions))),
        )

    def _used(self, resource: Resource) -> float:
        return self._last.get(resource, 0.0)

    def _tell(self, event: CapacityEvent) -> None:
        self._meters.counter(
            "capacity_changes_total", resource=event.resource.value, level=event.level.value
        ).add()
        log.warning(
            "capacity_changed",
            extra={
                "resource": event.resource.value,
                "before": event.before.value,
                "level": event.level.value,
                "value": round(event.value, 4),
                "limit": event.limit,
            },
        )
        for callback in self._on_change:
            callback(event)
