"""The last turn of each session of this process, in numbers and words of the contract: nothing of what was said.

A listener notes it, `Conditions` says it a moment later, so of turns that follow each other faster than that only the last is told.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Signal
from rspp.contract.evidence import TurnEvidence
from rspp.contract.signals import SignalName
from rspp.contract.surface import Coverage, Fact, Level, Row, Surface, Truth, cut
from rspp.contract.words import AbortReason
from rspp.host.conditions import kept, reader
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# Renewed seldom: a session that is over takes its turn back, and one whose process died has it for so long.
TTL_MS: Final = 120_000
SESSIONS_MAX: Final = 20_000
# What a caller does, and not a fault of ours.
_USUAL: Final = frozenset({AbortReason.CANCELLED, AbortReason.TRANSPORT_DISCONNECT_OR_STALL})

SURFACE: Final = Surface(
    name="turns",
    owner=__name__,
    summary="The last turn of each session: how many there were, how it came out, how soon it was heard.",
    aggregate_type="session",
    storage="memory, said in kv:conditions",
    truth=Truth.CANONICAL,
    read="GraphQL session(tenant, id)",
    coverage=Coverage.JOURNAL,
    kept=kept(),
    row=reader("turns"),
)


class _Session(msgspec.Struct):
    tenant: str
    number: int
    row: Row | None = None


class LastTurns:
    """A listener of all sessions of one host."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}  # bounded: SESSIONS_MAX

    def rows(self) -> list[Row]:
        """The same row for a turn that is as it was."""
        return [one.row for one in self._sessions.values() if one.row is not None]

    # ---- as a listener -----------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:  # noqa: ARG002 - the port's signature
        if len(self._sessions) < SESSIONS_MAX:
            self._sessions[request.session_id] = _Session(request.tenant_id, request.next_turn - 1)

    def heard(self, session_id: str, signal: Signal) -> None:
        session = self._sessions.get(session_id)
        if session is not None and signal.signal == SignalName.TURN_OPEN:
            session.number += 1
            session.row = Row(
                aggregate_id=session_id,
                tenant_id=session.tenant,
                state="open",
                facts={"turn": session.number},
            )

    def turn(self, session_id: str, evidence: TurnEvidence) -> None:
        session = self._sessions.get(session_id)
        if session is not None:
            session.row = _closed(session_id, session, evidence)

    def over(self, session_id: str, reason: str) -> None:  # noqa: ARG002 - the port has it
        self._sessions.pop(session_id, None)


def _closed(session_id: str, session: _Session, evidence: TurnEvidence) -> Row:
    why = evidence.terminal_reason
    odd = why is not None and why not in _USUAL
    facts: dict[str, Fact] = {
        "turn": session.number,
        "turn_id": cut(evidence.turn_id),
        "pipeline": cut(evidence.pipeline_version),
        "because": "" if why is None else why.value,
        "cut_short": evidence.cancel_accepted_at is not None,
    }
    for name, at in (
        ("first_output_ms", evidence.first_output_at),
        ("heard_ms", evidence.playback_started_at),
    ):
        if at is not None and evidence.turn_open_at is not None:
            facts[name] = (at - evidence.turn_open_at) // NS_PER_MS
    return Row(
        aggregate_id=session_id,
        tenant_id=session.tenant,
        state=evidence.terminal_outcome or "closed",
        level=Level.NOTICE if odd else Level.OK,
        reason="turn_failed" if odd else "",
        message=cut(f"turn {session.number} of {session_id} ended early: {why}") if odd else "",
        facts=facts,
    )
