"""Before a turn exists it is admitted, deferred or refused, by capacity and quota, from the last snapshot alone.

Also the bound on a node's work in flight, and the pool's state, at the point where work is dispatched. Keeps INV-03's
reasons; knows nothing of turns.
"""

from __future__ import annotations

from collections import deque

import msgspec

from rspp.contract.decisions import OutcomeKind
from rspp.kernel.snapshot import Snapshot

MINUTE_NS = 60_000_000_000
# Starts remembered for the rate; a higher limit than this cannot be asked for by one session.
STARTS_MAX = 4096


class Gate(msgspec.Struct, frozen=True, gc=False):
    """A gate's answer."""

    kind: OutcomeKind
    reason: str


class Admission:
    """One session's local admission."""

    __slots__ = ("_starts", "_tokens", "in_flight", "pool")

    def __init__(self) -> None:
        self._starts: deque[int] = deque(maxlen=STARTS_MAX)
        self._tokens: deque[tuple[int, int]] = deque(maxlen=STARTS_MAX)
        self.pool = "open"
        self.in_flight: dict[str, int] = {}

    def snapshot_gate(self, now: int, snapshot: Snapshot | None, age_ms_max: int, bad: str) -> Gate | None:
        """Refuse where there is no usable view of the control plane."""
        usable = (
            snapshot is not None and snapshot.compatible and now - snapshot.taken_at <= age_ms_max * 1_000_000
        )
        if usable:
            return None
        return Gate(
            OutcomeKind.REJECT if bad == "reject" else OutcomeKind.DEFER, "snapshot_invalid_or_missing"
        )

    def capacity_gate(self, now: int, snapshot: Snapshot) -> Gate | None:
        if self.pool == "closed":
            return Gate(OutcomeKind.REJECT, "execution_pool_closed")
        if snapshot.capacity == "reject":
            return Gate(OutcomeKind.REJECT, "admission_capacity_reject")
        if snapshot.capacity == "defer" or self.pool == "saturated":
            return Gate(OutcomeKind.DEFER, "admission_capacity_defer")
        return self._quota_gate(now, snapshot)

    def _quota_gate(self, now: int, snapshot: Snapshot) -> Gate | None:
        quota = snapshot.quota
        self._forget(now)
        tokens = sum(amount for _, amount in self._tokens)
        over = (quota.turns_per_minute and len(self._starts) >= quota.turns_per_minute) or (
            quota.tokens_per_minute and tokens > quota.tokens_per_minute
        )
        if not over:
            return None
        if quota.action == "defer":
            return Gate(OutcomeKind.DEFER, "admission_capacity_defer")
        return Gate(OutcomeKind.REJECT, "admission_capacity_reject")

    def admitted(self, now: int) -> None:
        self._starts.append(now)

    def spent(self, now: int, tokens: int) -> None:
        if tokens:
            self._tokens.append((now, tokens))

    def _forget(self, now: int) -> None:
        while self._starts and now - self._starts[0] >= MINUTE_NS:
            self._starts.popleft()
        while self._tokens and now - self._tokens[0][0] >= MINUTE_NS:
            self._tokens.popleft()

    # ---- where work is dispatched --------------------------------------------------------------------------------

    def dispatch(self, key: str, limit: int) -> str | None:
        """Take a place for one piece of work, or the reason why it is shed."""
        if self.pool == "saturated":
            return "execution_pool_saturated"
        if self.pool == "closed":
            return "execution_pool_closed"
        running = self.in_flight.get(key, 0)
        if limit and running >= limit:
            return "node_concurrency_limited"
        self.in_flight[key] = running + 1
        return None

    def done(self, key: str) -> None:
        running = self.in_flight.get(key, 0) - 1
        if running > 0:
            self.in_flight[key] = running
        else:
            self.in_flight.pop(key, None)
