"""The pages of a supervisor: of all workers together, and of each alone."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from rspp.control.supervisor.exposition import Exposition, depth_of
from rspp.control.supervisor.health import Health
from rspp.control.supervisor.probes import AS_OPENMETRICS, JSON, OPENMETRICS, Answer, Page
from rspp.control.supervisor.supervisor import Supervisor

LIVE: Final = "/livez"
READY: Final = "/readyz"
METRICS: Final = "/metrics"
MEASURE_S: Final = 1.0  # a worker that does not answer by then is left out, and its silence is in the figures


def pages(supervisor: Supervisor) -> dict[str, Page]:
    """By path, for `Probes`."""

    async def live() -> Answer:
        return answer(supervisor.live())

    async def ready() -> Answer:
        return answer(supervisor.ready())

    async def metrics() -> Answer:
        return await measured(supervisor)

    async def openmetrics() -> Answer:
        return await measured(supervisor, OPENMETRICS)

    return {LIVE: live, READY: ready, METRICS: metrics, f"{METRICS}{AS_OPENMETRICS}": openmetrics}


def answer(found: Health) -> Answer:
    return Answer(found.status, JSON, found.body)


async def measured(supervisor: Supervisor, accept: str = "") -> Answer:
    """Everybody's meters. A worker that says nothing has no series: nothing is not nought."""
    children = list(supervisor.children.values())
    readings = await asyncio.gather(*(child.measure(MEASURE_S) for child in children))
    exposition = Exposition()
    exposition.seen(child.seen for child in children)
    exposition.totals("supervisor", msgspec.structs.asdict(supervisor.tally))
    ready = supervisor.ready()
    exposition.put("ready", "gauge", int(ready.ok))
    states = [child.state for child in children if child.state is not None]
    if states:
        capacity = sum(state.capacity for state in states)
        exposition.put("sessions", "gauge", sum(state.sessions for state in states))
        exposition.put("capacity", "gauge", capacity)
        exposition.put("load", "gauge", sum(state.sessions for state in states) / max(1, capacity))
        exposition.put("loop_lag_seconds", "gauge", max(state.lag_ms for state in states) / 1000)
    if any(reading is not None for reading in readings):
        exposition.put("queue_depth", "gauge", sum(depth_of(one) for one in readings if one is not None))
    for child, reading in zip(children, readings, strict=True):
        if reading is not None:
            exposition.take(child.name, reading)
    body, content_type = exposition.answer(accept)
    return Answer(ready.status.OK, content_type, body)
