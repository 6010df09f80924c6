"""How a session fares, in one of four words, from what its kernel announces; nothing else is asked.

    connected   its caller is on the line, and no turn was opened yet
    running     at least one turn was opened
    degraded    it goes on with a capability missing; back to one of the two above when that has come back
    ended       over, for good, with the reason

The record lies in bucket `status` under `<tenant>/<session>`, so whoever may see a tenant sees what begins with its name and
nothing else. Only the session's owner writes it, and never over a record of a higher epoch.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.emitters import LIFECYCLE
from rspp.contract.event import Signal
from rspp.contract.signals import SignalName
from rspp.contract.words import ConnectionState, SessionState

# Why a session ends in one process without being over: it goes on in another one, whose word counts from then on.
GOES_ON: Final = frozenset({"lease_expired", "lease_deauthorized", "migrated"})
FORCED: Final = "forced"
# Why others end a session whose owner cannot: nobody took it up again, its opening failed halfway, its process was lost.
NOT_RESUMED: Final = "not_resumed"
OPEN_FAILED: Final = "open_failed"
WORKER_LOST: Final = "worker_lost"
CAPABILITIES_MAX: Final = 32


class SessionWord(StrEnum):
    CONNECTED = "connected"
    RUNNING = "running"
    DEGRADED = "degraded"
    ENDED = "ended"


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One session, as it was told last. `since_ms` is when it took its present word; both times are of the day."""

    tenant: str
    session: str
    state: SessionWord
    since_ms: int
    opened_ms: int
    epoch: int
    owner: str
    region: str = ""
    pipeline: str = ""  # NAME@VERSION
    policy: str = ""  # the version of the policy that it began under
    turns: int = 0
    line: str = ConnectionState.DISCONNECTED.value
    missing: tuple[str, ...] = ()  # capabilities
    reason: str = ""
    changes: int = 0


_LINES: Final = {
    SignalName.CONNECTED.value: ConnectionState.CONNECTED.value,
    SignalName.RECONNECTING.value: ConnectionState.RECONNECTING.value,
    SignalName.DISCONNECTED.value: ConnectionState.DISCONNECTED.value,
}


def after(status: Status, signal: Signal, wall_ms: int) -> Status:
    """The status after this signal; the very same one if it tells nothing new. What has ended stays so."""
    name, detail = signal.signal, signal.detail or {}
    if status.state is SessionWord.ENDED:
        return status
    if name in _LINES:
        return _settled(status, wall_ms, line=_LINES[name])
    if name == SignalName.TURN_OPEN:
        return _settled(status, wall_ms, turns=status.turns + 1)
    # A cancel that had to be forced is announced as degraded too, by another part, and nothing ever comes back from it.
    if name == SignalName.DEGRADED and signal.emitted_by == LIFECYCLE:
        what = str(detail.get("capability") or signal.reason)
        missing = (*(one for one in status.missing if one != what), what)[-CAPABILITIES_MAX:]
        return _settled(status, wall_ms, missing=missing, reason=signal.reason or "")
    if name == SignalName.RECOVERED:
        what = str(detail.get("capability") or signal.reason)
        missing = tuple(one for one in status.missing if one != what)
        return _settled(status, wall_ms, missing=missing, reason=status.reason if missing else "")
    if name == SignalName.SESSION_STATE_CHANGED and detail.get("to") == SessionState.DRAINING.value:
        return _settled(status, wall_ms, reason=f"draining: {signal.reason}")
    return status


def ended(status: Status, reason: str, wall_ms: int) -> Status:
    if status.state is SessionWord.ENDED:
        return status
    return msgspec.structs.replace(
        status,
        state=SessionWord.ENDED,
        since_ms=wall_ms,
        reason=reason or FORCED,
        line=ConnectionState.ENDED.value,
        changes=status.changes + 1,
    )


def _settled(status: Status, wall_ms: int, **changes: object) -> Status:
    """With these changes, and the word that follows from them."""
    changed = msgspec.structs.replace(status, **changes)
    if changed == status:
        return status
    word = SessionWord.RUNNING if changed.turns else SessionWord.CONNECTED
    if changed.missing:
        word = SessionWord.DEGRADED
    since_ms = wall_ms if word is not status.state else status.since_ms
    return msgspec.structs.replace(changed, state=word, since_ms=since_ms, changes=status.changes + 1)
