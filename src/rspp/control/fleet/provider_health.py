"""Is a provider well? Each worker says what it sees of it, and one rule makes the fleet's answer of all that is fresh.

A worker's word: of the calls of the last half minute, how many came out well. Below 50 in a hundred it is unhealthy, from 80
on healthy, in between as before; with fewer than five calls one failure makes it unknown and none makes it healthy. A
provider that half the sessions have cut off by their circuits is unhealthy, whether it is called or not.

The fleet's answer: who has seen more calls weighs more, and half of the weight makes it unhealthy. A word that was not renewed
counts no more, and when nobody fresh has anything to say the answer is unknown. So a provider that nobody calls any more
because it was unhealthy becomes unknown, and a probe makes it healthy again or unhealthy (`provider_board`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.words import OutcomeClass

WINDOW_MS: Final = 30_000
# The window moves in steps; that many are kept.
STEPS: Final = 30
CALLS_MIN: Final = 5
UNHEALTHY_BELOW: Final = 50
HEALTHY_FROM: Final = 80
FRESH_MS: Final = 15_000
# What says nothing of the provider: a caller who hung up, and a text that its own rules forbid.
_GOOD: Final = frozenset({OutcomeClass.SUCCESS.value})
_BAD: Final = frozenset(
    {OutcomeClass.TIMEOUT.value, OutcomeClass.OVERLOAD.value, OutcomeClass.INFRASTRUCTURE_FAILURE.value}
)


class ProviderState(StrEnum):
    """The words of a snapshot's `health`."""

    HEALTHY = "healthy"
    UNKNOWN = "unknown"
    UNHEALTHY = "unhealthy"


class ProviderReport(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One worker's word about one provider: bucket `health`, key `provider/<provider>/<member>`."""

    provider: str
    member: str
    region: str
    state: ProviderState
    at_ms: int
    availability: int | None = None  # of a hundred calls, how many came out well; None without calls
    circuit_open: bool = False
    price: int | None = None
    calls: int = 0  # in the window
    failures: int = 0
    latency_p50_ms: int | None = None
    latency_p95_ms: int | None = None
    beat: int = 0


class Calls(msgspec.Struct, frozen=True):
    """How often a provider was called, and how often it failed, since its process began."""

    good: int = 0
    bad: int = 0


def counted(outcome: str) -> Calls:
    """What one call with this outcome counts for."""
    return Calls(int(outcome in _GOOD), int(outcome in _BAD))


class Window:
    """The calls of one provider in the last half minute, from counts that only rise."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, Calls]] = deque(maxlen=STEPS + 1)
        self._forgotten = Calls()  # what was counted up to here says nothing any more

    def forget(self, total: Calls) -> None:
        """Begin anew: nothing that was counted until now is in the window."""
        self._marks.clear()
        self._forgotten = total

    def take(self, now: int, total: Calls) -> Calls:
        """The counts as they are now; what came within the window. At most once a step is remembered."""
        step_ns = WINDOW_MS * NS_PER_MS // STEPS
        if not self._marks or now - self._marks[-1][0] >= step_ns:
            self._marks.append((now, total))
        # Thirty steps are longer than the window, so nothing that is still in it was dropped.
        before = self._forgotten
        for at, calls in self._marks:
            if at > now - WINDOW_MS * NS_PER_MS:
                break
            before = calls
        return Calls(max(0, total.good - before.good), max(0, total.bad - before.bad))


def availability(calls: Calls) -> int | None:
    """0 to 100, rounded down; None without calls."""
    total = calls.good + calls.bad
    return None if total == 0 else calls.good * 100 // total


def is_cut_off(open_sessions: int, sessions: int, calls: Calls) -> bool:
    """Do the circuits of this worker's sessions say that the provider is gone?"""
    if open_sessions == 0:
        return False
    share = availability(calls)
    return open_sessions * 2 >= sessions or (share is not None and share < UNHEALTHY_BELOW)


def judge(calls: Calls, circuit_open: bool, before: ProviderState) -> ProviderState:
    """One worker's word, from its window and its last word."""
    share = availability(calls)
    if circuit_open:
        return ProviderState.UNHEALTHY
    if share is None:
        return ProviderState.UNKNOWN
    if calls.good + calls.bad < CALLS_MIN:
        return ProviderState.HEALTHY if calls.bad == 0 else ProviderState.UNKNOWN
    if share < UNHEALTHY_BELOW:
        return ProviderState.UNHEALTHY
    if share >= HEALTHY_FROM:
        return ProviderState.HEALTHY
    return before


# ---- the fleet ------------------------------------------------------------------------------------------------------------


class Heard(msgspec.Struct, frozen=True):
    """A report, and when this process saw it change last, on its own clock."""

    report: ProviderReport
    at: int


class FleetHealth(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet says of a provider."""

    provider: str
    state: ProviderState
    availability: int | None = None
    circuit_open: bool = False
    price: int | None = None
    calls: int = 0
    failures: int = 0
    members: int = 0  # those who said something fresh


def merged(provider: str, heard: Iterable[Heard], now: int, fresh_ms: int = FRESH_MS) -> FleetHealth:
    """The fleet's answer about one provider, from all words about it."""
    fresh = [one.report for one in heard if now - one.at <= fresh_ms * NS_PER_MS]
    speaking = [report for report in fresh if report.state is not ProviderState.UNKNOWN]
    calls = sum(report.calls for report in fresh)
    failures = sum(min(report.failures, report.calls) for report in fresh)
    prices = [report.price for report in fresh if report.price is not None]
    weight = sum(map(_weight, speaking))
    ill = sum(_weight(report) for report in speaking if report.state is ProviderState.UNHEALTHY)
    cut = sum(_weight(report) for report in speaking if report.circuit_open)
    state = ProviderState.UNKNOWN
    if speaking:
        state = ProviderState.UNHEALTHY if ill * 2 >= weight else ProviderState.HEALTHY
    return FleetHealth(
        provider=provider,
        state=state,
        availability=availability(Calls(calls - failures, failures)),
        circuit_open=bool(cut) and cut * 2 >= weight,
        price=min(prices, default=None),
        calls=calls,
        failures=failures,
        members=len(fresh),
    )


def _weight(report: ProviderReport) -> int:
    """Whoever knows without having called, by its circuits, still has a voice."""
    return max(1, report.calls)
