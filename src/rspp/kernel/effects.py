"""Everything that a kernel can ask of the world. Effects are named in the imperative; nothing else leaves a session.

`drain` hands them out control first, then data, then telemetry.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.decisions import DecisionOutcome
from rspp.contract.event import Event
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.transitions import Transition
from rspp.contract.words import CancelMode, CancelReason, Lane


class Effect(msgspec.Struct, frozen=True, gc=False, tag_field="effect", omit_defaults=True):
    """The common root."""


# ---- toward the caller --------------------------------------------------------------------------------------------


class Announce(Effect, frozen=True, tag="announce"):
    """Tell client, timeline and observers of a control signal."""

    event: Event


class Send(Effect, frozen=True, tag="send"):
    """Hand this audio or text to the transport, now."""

    event: Event


class PausePlayback(Effect, frozen=True, tag="pause_playback"):
    turn_id: str


class ResumePlayback(Effect, frozen=True, tag="resume_playback"):
    turn_id: str


class StopPlayback(Effect, frozen=True, tag="stop_playback"):
    """Throw away what the client has buffered of this turn, but for `keep_ms` past what it is playing."""

    turn_id: str
    keep_ms: int = 0


class CloseConnection(Effect, frozen=True, tag="close_connection"):
    reason: str


# ---- toward providers and async nodes -----------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, gc=False):
    """One remembered utterance; what the assistant said is kept as far as it was heard."""

    role: str
    text: str


class Invoke(Effect, frozen=True, tag="invoke"):
    call_id: str
    attempt: int
    node_id: str
    modality: str
    provider: str
    idempotency_key: str
    epoch: int
    deadline_at: int | None
    turn_id: str | None = None
    event: Event | None = None
    history: tuple[Message, ...] = ()
    config: dict[str, object] = {}
    speculative: bool = False


class Feed(Effect, frozen=True, tag="feed"):
    call_id: str
    event: Event


class EndFeed(Effect, frozen=True, tag="end_feed"):
    """No more input for now: a recogniser should finalise, a synthesiser speak what it holds.

    A recogniser answers each with a final, an empty one where there were no words: two left unanswered in a row, with
    nothing else said since, are taken for a hung stream, which is connected anew.
    """

    call_id: str
    last: bool = True


class Throttle(Effect, frozen=True, tag="throttle"):
    """Stop (or go on) reading from this call; what it produces has nowhere to go."""

    call_id: str
    on: bool


class CancelCall(Effect, frozen=True, tag="cancel_call"):
    call_id: str
    attempt: int
    reason: CancelReason
    mode: CancelMode


class KillCall(Effect, frozen=True, tag="kill_call"):
    """The grace is over: end it by force."""

    call_id: str
    attempt: int


# ---- toward recorder, store and host ------------------------------------------------------------------------------


class StoreEvidence(Effect, frozen=True, tag="store_evidence"):
    """Append locally, from reserved space, and say so with `EvidenceStored`."""

    record_id: str
    evidence: TurnEvidence


class StoreClose(Effect, frozen=True, tag="store_close"):
    record_id: str
    stamp: CloseStamp


class Record(Effect, frozen=True, tag="record"):
    entry: DecisionOutcome | Transition | ResolvedTurnPlan


class SaveState(Effect, frozen=True, tag="save_state"):
    key: str
    value: object
    revision: int
    epoch: int


class DeadLetter(Effect, frozen=True, tag="dead_letter"):
    node_id: str
    cause: str
    event: Event


class Observe(Effect, frozen=True, tag="observe"):
    """Telemetry: the first thing to be shed."""

    event: Event


class RequestSnapshot(Effect, frozen=True, tag="request_snapshot"):
    reason: str


class StopNode(Effect, frozen=True, tag="stop_node"):
    """A sync node's instance is finished with; its worker, if it has one, may go."""

    node_id: str


class EndSession(Effect, frozen=True, tag="end_session"):
    reason: str


AnyEffect = (
    Announce
    | Send
    | PausePlayback
    | ResumePlayback
    | StopPlayback
    | CloseConnection
    | Invoke
    | Feed
    | EndFeed
    | Throttle
    | CancelCall
    | KillCall
    | StoreEvidence
    | StoreClose
    | Record
    | SaveState
    | DeadLetter
    | Observe
    | RequestSnapshot
    | StopNode
    | EndSession
)

# The lane of each effect. Work for providers is data: a cancellation overtakes it.
LANE_OF_EFFECT: Final = {
    Send: Lane.DATA,
    Invoke: Lane.DATA,
    Feed: Lane.DATA,
    EndFeed: Lane.DATA,
    Observe: Lane.TELEMETRY,
}
