"""When a process that ended unasked is started again, and when no more: waits that double, and a budget of crashes.

A crash that is older than the window is forgiven, and with none left in the window the wait is the shortest again.
"""

from __future__ import annotations

import msgspec

NS_PER_MS = 1_000_000


class CrashRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How patient a supervisor is with one place for a process."""

    wait_ms_min: int = 100
    wait_ms_max: int = 5_000
    window_ms: int = 60_000
    crashes_max: int = 8  # in a window; with one more the supervisor gives up


class Crashes(msgspec.Struct, frozen=True):
    """The crashes of one place that are not forgiven yet, oldest first; never more than the budget and one."""

    at: tuple[int, ...] = ()

    def after(self, rule: CrashRule, now: int) -> Crashes:
        """With one more, now."""
        since = now - rule.window_ms * NS_PER_MS
        return Crashes((*(at for at in self.at if at > since), now)[-(rule.crashes_max + 1) :])

    def wait_ms(self, rule: CrashRule) -> int | None:
        """How long to wait before the next start; None when the budget is spent."""
        count = len(self.at)
        if count > rule.crashes_max:
            return None
        # Doubled at most 20 times, so that no count makes a number that nobody needs.
        return min(rule.wait_ms_max, rule.wait_ms_min << min(20, max(0, count - 1))) if count else 0
