"""How much of a service's error budget is burned is computed from counts that are handed in, and says when to stop changing things.

The budget is the share of sessions that may fail: 1 - target. A burn rate of 1 uses it up exactly in the objective's own
window; an alert fires where a long and a short window both burn faster than it allows: the long one so that a blip wakes
nobody, the short one so that it ends when the trouble does. Without a single sample nothing is known, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
ROUNDING: Final = 1e-9  # a rate of exactly the limit fires, however its parts were rounded


class Counts(msgspec.Struct, frozen=True):
    good: int = 0
    bad: int = 0

    @property
    def total(self) -> int:
        return self.good + self.bad


class Alert(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fires when both windows burn at this rate or faster."""

    name: str
    long_ms: int
    short_ms: int
    burn: float
    freezes: bool = True  # while it fires, nothing new is rolled out


# The rates that use up 2 %, 5 % and 10 % of a month's budget within their long window.
ALERTS: Final = (
    Alert(name="page_fast", long_ms=HOUR_MS, short_ms=5 * 60_000, burn=14.4),
    Alert(name="page", long_ms=6 * HOUR_MS, short_ms=30 * 60_000, burn=6.0),
    Alert(name="ticket", long_ms=3 * DAY_MS, short_ms=6 * HOUR_MS, burn=1.0, freezes=False),
)


class Objective(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a deployment promises: this share of its sessions is served well, over this window."""

    name: str = "sessions"
    target: float = 0.999
    window_ms: int = 30 * DAY_MS
    alerts: tuple[Alert, ...] = ALERTS

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise MisuseError(
                "objective_invalid", "a target lies between 0 and 1; 1 leaves no budget", "target"
            )
        for alert in self.alerts:
            if not 0 < alert.short_ms <= alert.long_ms <= self.window_ms or alert.burn <= 0:
                raise MisuseError(
                    "objective_invalid",
                    "a short window lies in the long one, that in the objective's",
                    alert.name,
                )

    @property
    def windows_ms(self) -> tuple[int, ...]:
        """All windows for which counts are due."""
        spans = {
            self.window_ms,
            *(one.long_ms for one in self.alerts),
            *(one.short_ms for one in self.alerts),
        }
        return tuple(sorted(spans))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`availability` and `budget_left` are None without samples; `budget_left` is below 0 when more than all is burned."""

    availability: float | None
    budget_left: float | None
    firing: tuple[str, ...]
    burned: bool  # the objective is broken: an incident
    freezes: bool  # burned, or burning so fast that it soon will be: nothing new is rolled out
    reason: str


def burn_rate(objective: Objective, counts: Counts) -> float | None:
    if counts.total == 0:
        return None
    return counts.bad / counts.total / (1 - objective.target)


def judge(objective: Objective, counts: Mapping[int, Counts]) -> Verdict:
    """The state of the budget, from the counts of each of the objective's windows."""
    missing = [span for span in objective.windows_ms if span not in counts]
    if missing:
        raise MisuseError("objective_invalid", f"no counts for the windows {missing} ms")
    firing = tuple(alert.name for alert in objective.alerts if _fires(objective, alert, counts))
    whole = counts[objective.window_ms]
    rate = burn_rate(objective, whole)
    if rate is None:
        return Verdict(
            availability=None, budget_left=None, firing=(), burned=False, freezes=False, reason="no samples"
        )
    availability = whole.good / whole.total
    # A quotient rounds as its literal does: exactly as many failures as the budget has use it up and do not break it.
    burned = availability < objective.target
    left = 1 - rate
    fast = ", ".join(firing)
    reason = f"availability {availability:.5f}, target {objective.target:g}, budget left {left:.1%}"
    return Verdict(
        availability=availability,
        budget_left=left,
        firing=firing,
        burned=burned,
        freezes=burned or any(alert.freezes for alert in objective.alerts if alert.name in firing),
        reason=f"{reason}, alerts: {fast}" if fast else reason,
    )


def _fires(objective: Objective, alert: Alert, counts: Mapping[int, Counts]) -> bool:
    rates = (burn_rate(objective, counts[alert.long_ms]), burn_rate(objective, counts[alert.short_ms]))
    return all(rate is not None and rate >= alert.burn - ROUNDING for rate in rates)
