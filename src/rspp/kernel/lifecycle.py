"""The session's and the turn's transition tables: the one place that says which step follows which.

    session   CONNECTING --> ACTIVE --> DRAINING --> ENDED
    turn      Idle --> Opening --> Active --> Terminal --> Closed

The runtime, the simulator's checkers, replay and the tests all read these tables, and the drawings in
`docs/lifecycles.md` are made from them. A pair that is not in its table is refused, with a stable code, and changes
nothing. Keeps INV-02, INV-03 and INV-04; knows nothing of why a trigger was pulled.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from rspp.contract.words import SessionState, TurnState


class SessionTrigger(StrEnum):
    ACCEPTED = "accepted"  # token, lease and transport
    REFUSED = "refused"
    CONNECT_DEADLINE = "connect_deadline"
    AUTHORITY_LOST = "authority_lost"
    MIGRATION = "migration"
    SHUTDOWN = "shutdown"
    PEER_ENDED = "peer_ended"
    DISCONNECT_DEADLINE = "disconnect_deadline"
    DRAINED = "drained"
    DRAIN_DEADLINE = "drain_deadline"
    BREACH = "breach"  # an invariant of ours broke: this session stops, the others go on


class TurnTrigger(StrEnum):
    PROPOSED = "turn_open_proposed"
    OPEN = "turn_open"
    REJECT = "reject"
    DEFER = "defer"
    STALE = "stale_epoch_reject"
    DEAUTHORIZED = "deauthorized_drain"
    COMMIT = "commit"
    ABORT = "abort"
    CLOSE = "close"


_S, _E = SessionState, SessionTrigger
SESSION: Final[Mapping[tuple[SessionState, SessionTrigger], SessionState]] = {
    (_S.CONNECTING, _E.ACCEPTED): _S.ACTIVE,
    (_S.CONNECTING, _E.REFUSED): _S.ENDED,
    (_S.CONNECTING, _E.CONNECT_DEADLINE): _S.ENDED,
    (_S.ACTIVE, _E.AUTHORITY_LOST): _S.DRAINING,
    (_S.ACTIVE, _E.MIGRATION): _S.DRAINING,
    (_S.ACTIVE, _E.SHUTDOWN): _S.DRAINING,
    (_S.ACTIVE, _E.PEER_ENDED): _S.DRAINING,
    (_S.ACTIVE, _E.DISCONNECT_DEADLINE): _S.ENDED,
    (_S.DRAINING, _E.DRAINED): _S.ENDED,
    (_S.DRAINING, _E.DRAIN_DEADLINE): _S.ENDED,
    (_S.CONNECTING, _E.BREACH): _S.ENDED,
    (_S.ACTIVE, _E.BREACH): _S.ENDED,
    (_S.DRAINING, _E.BREACH): _S.ENDED,
}

_T, _R = TurnState, TurnTrigger
TURN: Final[Mapping[tuple[TurnState, TurnTrigger], TurnState]] = {
    (_T.IDLE, _R.PROPOSED): _T.OPENING,
    (_T.OPENING, _R.OPEN): _T.ACTIVE,
    (_T.OPENING, _R.REJECT): _T.IDLE,
    (_T.OPENING, _R.DEFER): _T.IDLE,
    (_T.OPENING, _R.STALE): _T.IDLE,
    (_T.OPENING, _R.DEAUTHORIZED): _T.IDLE,
    (_T.ACTIVE, _R.COMMIT): _T.TERMINAL,
    (_T.ACTIVE, _R.ABORT): _T.TERMINAL,
    (_T.TERMINAL, _R.CLOSE): _T.CLOSED,
}

State = TypeVar("State", SessionState, TurnState)
Trigger = TypeVar("Trigger", SessionTrigger, TurnTrigger)

REFUSED_SESSION: Final = "session_transition_refused"
REFUSED_TURN: Final = "turn_transition_refused"


def step(table: Mapping[tuple[State, Trigger], State], state: State, trigger: Trigger) -> State | None:
    """The next state, or None where the table has no such edge: then nothing may change."""
    return table.get((state, trigger))
