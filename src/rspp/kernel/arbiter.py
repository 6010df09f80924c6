"""Which intent becomes a turn, and which of several endings at one instant is the turn's: tables, and nothing else.

Same instant, strongest first: authority loss, accepted cancel, failed evidence, a budget's verdict, an error that
nothing recovers, a disconnect, success. Keeps INV-01, INV-03 and INV-04 together with `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

from rspp.contract.words import AbortReason, OverlapPolicy


class Rank(IntEnum):
    """The precedence of what can end a turn; a lower number wins."""

    AUTHORITY = 1
    CANCEL = 2
    EVIDENCE = 3
    BUDGET = 4
    ERROR = 5
    DISCONNECT = 6
    SUCCESS = 7


RANK_OF: Final[Mapping[AbortReason, Rank]] = {
    AbortReason.AUTHORITY_LOSS: Rank.AUTHORITY,
    AbortReason.CANCELLED: Rank.CANCEL,
    AbortReason.RECORDING_EVIDENCE_UNAVAILABLE: Rank.EVIDENCE,
    AbortReason.BUDGET_EXHAUSTED: Rank.BUDGET,
    AbortReason.POLICY_TERMINATED: Rank.BUDGET,
    AbortReason.PROVIDER_FAILURE: Rank.ERROR,
    AbortReason.NODE_TIMEOUT_OR_FAILURE: Rank.ERROR,
    AbortReason.RUNTIME_INTERNAL_ERROR: Rank.ERROR,
    AbortReason.EXECUTION_POOL_SATURATED: Rank.ERROR,
    AbortReason.EXECUTION_POOL_CLOSED: Rank.ERROR,
    AbortReason.NODE_CONCURRENCY_LIMITED: Rank.ERROR,
    AbortReason.SCHEDULING_POINT_SHED: Rank.ERROR,
    AbortReason.TRANSPORT_DISCONNECT_OR_STALL: Rank.DISCONNECT,
}


class OnIntent(StrEnum):
    """What becomes of an intent."""

    OPEN = "open"
    PREEMPT = "preempt"
    QUEUE = "queue"
    REFUSE = "refuse"


def on_intent(policy: OverlapPolicy, turn_open: bool, queued: int, queued_max: int) -> OnIntent:
    """An intent alone opens; one beside an open turn goes by the session's policy; a full queue refuses."""
    if not turn_open:
        return OnIntent.OPEN
    if policy is OverlapPolicy.PREEMPT:
        return OnIntent.PREEMPT
    if policy is OverlapPolicy.REFUSE or queued >= queued_max:
        return OnIntent.REFUSE
    return OnIntent.QUEUE


def strongest(conditions: Mapping[int, tuple[AbortReason, str]]) -> tuple[AbortReason, str] | None:
    """The condition that owns the ending, or None where there is none."""
    return conditions[min(conditions)] if conditions else None
