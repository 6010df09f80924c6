"""Whose input is next, when many sessions wait: control of all sessions, then data in fair turns, then telemetry.

Data is shared out by deficit round robin over tenants, and within a tenant over its sessions: a tenant with fifty times
the load of another waits fifty times as long, and the other does not notice. Decides only the order between sessions;
within a session's lane inputs keep theirs.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from rspp.contract.words import Lane

CONTROL, DATA, TELEMETRY = Lane.CONTROL, Lane.DATA, Lane.TELEMETRY
# Served in one go. Small, because control of anybody waits no longer than this.
FLOW_QUANTUM: Final = 4
TENANT_QUANTUM: Final = 16
CONTROL_QUANTUM: Final = 32


class Flow(Protocol):
    """Somebody who waits to be served, for a tenant."""

    @property
    def tenant_id(self) -> str: ...


class LaneScheduler(Protocol):
    """The order of service. A custom one must keep three promises, which the conformance suite tests: control first, no
    flow starves, and a flow that was removed is not served.

    `wake` says that a lane of a flow, empty until now, holds something. `next` names a flow, a lane and how many inputs
    may be taken; `served` then says how many were, and whether more are there. Between the two nothing else is called
    but `wake`, and `remove` of whoever ends meanwhile.
    """

    def wake(self, flow: Flow, lane: Lane) -> None: ...
    def next(self) -> tuple[Flow, Lane, int] | None: ...
    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None: ...
    def remove(self, flow: Flow) -> None: ...


class _Tenant:
    """One tenant's flows that have data, and what it may still use of its turn."""

    __slots__ = ("deficit", "flows", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.deficit = 0
        self.flows: deque[Flow] = deque()  # bounded: by the sessions of the host, each at most once


class FairScheduler:
    """Strict priority between lanes, deficit round robin within data."""

    __slots__ = ("_control", "_telemetry", "_tenants", "_turns")

    def __init__(self) -> None:
        self._control: deque[Flow] = deque()  # bounded: by the sessions of the host, each at most once
        self._telemetry: deque[Flow] = deque()  # bounded: likewise
        self._turns: deque[_Tenant] = deque()  # bounded: by the tenants who have data
        self._tenants: dict[str, _Tenant] = {}

    def wake(self, flow: Flow, lane: Lane) -> None:
        if lane is CONTROL:
            self._control.append(flow)
        elif lane is DATA:
            name = flow.tenant_id
            tenant = self._tenants.get(name)
            if tenant is None:
                tenant = self._tenants[name] = _Tenant(name)
                self._turns.append(tenant)
            tenant.flows.append(flow)
        else:
            self._telemetry.append(flow)

    def next(self) -> tuple[Flow, Lane, int] | None:
        if self._control:
            return self._control[0], CONTROL, CONTROL_QUANTUM
        if self._turns:
            tenant = self._turns[0]
            if tenant.deficit <= 0:
                tenant.deficit += TENANT_QUANTUM
            return tenant.flows[0], DATA, min(FLOW_QUANTUM, tenant.deficit)
        if self._telemetry:
            return self._telemetry[0], TELEMETRY, FLOW_QUANTUM
        return None

    def served(self, flow: Flow, lane: Lane, count: int, more: bool) -> None:
        if lane is not DATA:
            queue = self._control if lane is CONTROL else self._telemetry
            _rotate(queue, flow, more)
            return
        tenant = self._tenants.get(flow.tenant_id)
        if tenant is None or self._turns[0] is not tenant:
            return  # its flow ended while it was served; what has come since has a turn of its own
        _rotate(tenant.flows, flow, more)
        tenant.deficit -= count
        if not tenant.flows:
            self._dismiss(tenant)
        elif tenant.deficit <= 0:
            self._turns.rotate(-1)

    def remove(self, flow: Flow) -> None:
        for queue in (self._control, self._telemetry):
            _discard(queue, flow)
        tenant = self._tenants.get(flow.tenant_id)
        if tenant is not None:
            _discard(tenant.flows, flow)
            if not tenant.flows:
                self._dismiss(tenant)

    def _dismiss(self, tenant: _Tenant) -> None:
        """A tenant without data keeps no claim: what it did not use is not saved up."""
        del self._tenants[tenant.name]
        if self._turns[0] is tenant:
            self._turns.popleft()
        else:
            self._turns.remove(tenant)


def _rotate(queue: deque[Flow], flow: Flow, more: bool) -> None:
    if queue and queue[0] is flow:
        queue.popleft()
        if more:
            queue.append(flow)


def _discard(queue: deque[Flow], flow: Flow) -> None:
    if flow in queue:
        queue.remove(flow)
