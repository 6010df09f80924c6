"""A producer sends only while its edge lets it: until an xoff, with a credit, or both.

A credit is out while its item waits in the queue, and comes back by a grant after the item was taken, or at once when
it was lost: so credits cannot leak. Owns the credits of one edge and who owes them. Knows nothing of what is sent.
"""

from __future__ import annotations

from rspp.contract.words import FlowMode


class FlowGate:
    """The gate at one edge's entrance. `depth` is always how many items wait behind it."""

    __slots__ = ("batch", "mode", "owed", "total", "xoff")

    def __init__(self, mode: FlowMode, credit: int, batch: int) -> None:
        self.mode = mode
        self.total = credit
        self.batch = max(1, min(batch, credit) if credit else batch)
        self.owed = 0
        self.xoff = False

    @property
    def counts(self) -> bool:
        """Does this gate count credits?"""
        return self.mode is not FlowMode.SIGNAL

    def room(self, depth: int) -> int:
        """How many items may be sent now, where credits are counted."""
        if self.mode is FlowMode.HYBRID and self.xoff:
            return 0
        return max(0, self.total - depth - self.owed)

    def lets(self, depth: int) -> bool:
        """May one item be sent now?"""
        return self.mode is FlowMode.SIGNAL or self.room(depth) > 0

    def delivered(self, depth: int) -> int:
        """An item was taken; returns the credits that are given back now: in batches unless the producer starves."""
        if self.mode is FlowMode.SIGNAL:
            return 0
        self.owed += 1
        if self.owed < self.batch and (self.total - depth - self.owed > 0 or depth):
            return 0
        amount, self.owed = self.owed, 0
        return amount

    def grant(self, amount: int) -> None:
        """Let more be under way than before."""
        if amount < 1:
            raise ValueError("a grant is of at least one credit")
        self.total += amount
