"""Equal inputs and an equal plan give an equal seed, and a seed gives equal draws: on every machine, in every replay.

Owns the seed rule, the named random streams that nodes may draw from, and the list of nondeterministic inputs that a
turn used. Knows no clock and no generator but its own.
"""

from __future__ import annotations

import hashlib
from typing import Final

from rspp.contract.plan import NondeterministicInput

_MASK: Final = (1 << 64) - 1


def seed_of(plan_hash: str, epoch: int) -> int:
    """The first eight bytes of SHA-256 over `<plan_hash>|<epoch>`."""
    return int.from_bytes(hashlib.sha256(f"{plan_hash}|{epoch}".encode()).digest()[:8], "big")


class Stream:
    """A named stream of pseudo-random numbers (splitmix64): small, fast and the same everywhere."""

    __slots__ = ("_state",)

    def __init__(self, seed: int, name: str = "") -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._state = int.from_bytes(digest[:8], "big")

    def integer(self) -> int:
        """The next 64 bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def real(self) -> float:
        """The next number in [0, 1)."""
        return (self.integer() >> 11) / (1 << 53)

    def below(self, bound: int) -> int:
        """The next integer in [0, bound)."""
        if bound < 1:
            raise ValueError("bound must be at least 1")
        return self.integer() % bound


class NondeterminismLog:
    """What a turn took from outside its inputs' control; bounded, and a full log says so instead of growing."""

    __slots__ = ("_entries", "overflow")

    ENTRIES_MAX: Final = 256

    def __init__(self) -> None:
        self._entries: dict[str, NondeterministicInput] = {}
        self.overflow = 0

    def note(self, key: str, source: str, evidence_ref: str) -> None:
        if len(self._entries) >= self.ENTRIES_MAX and key not in self._entries:
            self.overflow += 1
            return
        self._entries[key] = NondeterministicInput(input_key=key, source=source, evidence_ref=evidence_ref)

    def entries(self) -> tuple[NondeterministicInput, ...]:
        return tuple(self._entries.values())
