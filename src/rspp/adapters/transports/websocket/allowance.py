"""How much of something may be used: so much a second, and so much at once."""

from __future__ import annotations


class Allowance:
    """A bucket that fills with time. `left` may be spent directly where a call would cost more than it guards."""

    __slots__ = ("_burst", "_filled_at", "_per_second", "left")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second, self._burst = per_second, burst
        self._filled_at = now
        self.left = burst

    def fill(self, now: float) -> None:
        self.left = min(self._burst, self.left + (now - self._filled_at) * self._per_second)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Use one, if there is one."""
        self.fill(now)
        if self.left < 1:
            return False
        self.left -= 1
        return True
