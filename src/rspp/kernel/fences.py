"""After a fence nothing older leaves: silence is an integer comparison, not a search.

Each scope (session, turn, node, call) has a floor. An event is born under the generation in force then; raising a
scope's floor makes everything older in it stale, wherever it stands: in an edge's queue, before the transport, in a
late chunk. Keeps INV-09 and INV-10. Knows nothing of why something was cancelled.
"""

from __future__ import annotations

from collections.abc import Iterable

from rspp.contract.words import CancelScope


class Fences:
    """The floors of one session; a floor goes when its scope is over and its late window has passed."""

    __slots__ = ("_expiry", "_floors", "generation", "late_window_ns")

    def __init__(self, late_window_ns: int) -> None:
        self.generation = 1
        self.late_window_ns = late_window_ns
        self._floors: dict[tuple[CancelScope, str], int] = {}
        self._expiry: dict[tuple[CancelScope, str], int] = {}

    def raise_floor(self, scope: CancelScope, target: str) -> int:
        """Make everything born so far in this scope stale; returns the new floor."""
        self.generation += 1
        self._floors[scope, target] = self.generation
        self._expiry.pop((scope, target), None)
        return self.generation

    def floor(self, scope: CancelScope, target: str) -> int:
        return self._floors.get((scope, target), 0)

    def stale(self, generation: int, scopes: Iterable[tuple[CancelScope, str]]) -> bool:
        return any(generation < self._floors.get(key, 0) for key in scopes)

    def release(self, scope: CancelScope, target: str, now: int) -> None:
        """The scope is over; keep its floor for late arrivals only, and forget those whose window has passed."""
        self.expire(now)
        if (scope, target) in self._floors:
            self._expiry[scope, target] = now + self.late_window_ns

    def expire(self, now: int) -> None:
        for key in [key for key, at in self._expiry.items() if at <= now]:
            del self._expiry[key]
            self._floors.pop(key, None)

    def __len__(self) -> int:
        return len(self._floors)
