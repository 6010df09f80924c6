"""Everything that can happen to a session. What is not one of these cannot influence it.

Inputs are named in the past tense. With the times at which they were handed in they are the session's recording: the
same inputs in a fresh kernel give the same effects, byte for byte.
"""

from __future__ import annotations

import msgspec

from rspp.contract.event import Audio, Note, Sample, Text
from rspp.contract.words import CancelMode, CancelScope, ConnectionState, OutcomeClass
from rspp.kernel.snapshot import Durable, Snapshot


class Input(msgspec.Struct, frozen=True, gc=False, tag_field="input", omit_defaults=True):
    """The common root; a fact, stamped with a time by whoever hands it in."""


# ---- from the transport -------------------------------------------------------------------------------------------


class AudioReceived(Input, frozen=True, tag="audio_received"):
    audio: Audio
    transport_sequence: int
    epoch: int | None = None


class TextReceived(Input, frozen=True, tag="text_received"):
    text: str
    transport_sequence: int
    epoch: int | None = None
    idempotency_key: str | None = None


class ControlReceived(Input, frozen=True, tag="control_received"):
    """A control message of the client: cancel, stop, barge_in, end_of_utterance, talk_pressed, talk_released, digit."""

    signal: str
    transport_sequence: int
    epoch: int | None = None
    idempotency_key: str | None = None
    scope: CancelScope | None = None
    target: str | None = None
    reason: str | None = None
    mode: CancelMode | None = None
    value: str | None = None
    extensions: dict[str, object] | None = None


class UnknownReceived(Input, frozen=True, tag="unknown_received"):
    """An event of a kind that this runtime does not know; `core` if its name is not namespaced."""

    kind: str
    transport_sequence: int
    epoch: int | None = None
    core: bool = False
    extensions: dict[str, object] | None = None


class MalformedReceived(Input, frozen=True, tag="malformed_received"):
    """The transport could not decode what the peer sent; the text of it is never kept."""

    code: str
    path: str
    message: str


class ConnectionChanged(Input, frozen=True, tag="connection_changed"):
    state: ConnectionState


class DeliveryReported(Input, frozen=True, tag="delivery_reported"):
    """What the transport or the client says of a turn's audio: accepted, started, position or completed."""

    what: str
    turn_id: str
    heard_ms: int = 0
    epoch: int | None = None


class CreditGranted(Input, frozen=True, tag="credit_granted"):
    edge_id: str
    amount: int


# ---- from the models that listen ----------------------------------------------------------------------------------


class SpeechScored(Input, frozen=True, tag="speech_scored"):
    probability: float


class EndOfTurnScored(Input, frozen=True, tag="end_of_turn_scored"):
    probability: float


# ---- from providers and async nodes -------------------------------------------------------------------------------


class CallAccepted(Input, frozen=True, tag="call_accepted"):
    call_id: str
    attempt: int


class CallProduced(Input, frozen=True, tag="call_produced"):
    """One chunk. `sequence` rises from 0 within an attempt."""

    call_id: str
    attempt: int
    sequence: int
    payload: Audio | Text | Sample | Note
    port: str | None = None


class CallFinished(Input, frozen=True, tag="call_finished"):
    call_id: str
    attempt: int
    tokens: int = 0


class CallFailed(Input, frozen=True, tag="call_failed"):
    call_id: str
    attempt: int
    outcome: OutcomeClass
    reason: str
    retryable: bool = False
    circuit: bool = False
    retry_after_ms: int | None = None


class CallCancelled(Input, frozen=True, tag="call_cancelled"):
    """The provider, or async node, acknowledges that it stopped."""

    call_id: str
    attempt: int


# ---- from the control plane ---------------------------------------------------------------------------------------


class LeaseChanged(Input, frozen=True, tag="lease_changed"):
    """`change` is issued, renewed, rotated or revoked."""

    change: str
    epoch: int
    token: str | None = None
    expires_at: int | None = None


class MigrationChanged(Input, frozen=True, tag="migration_changed"):
    """`phase` is start, finish, handoff or failed."""

    phase: str
    epoch: int


class RoutingViewPublished(Input, frozen=True, tag="routing_view_published"):
    version: int
    epoch: int
    endpoint: str


class SnapshotPublished(Input, frozen=True, tag="snapshot_published"):
    snapshot: Snapshot


class SnapshotLost(Input, frozen=True, tag="snapshot_lost"):
    """The control plane's view is gone, unreadable or of a version that cannot be used."""

    reason: str


class CloseRequested(Input, frozen=True, tag="close_requested"):
    reason: str
    drain: bool = True


# ---- from the recorder, the store, the host -----------------------------------------------------------------------


class EvidenceStored(Input, frozen=True, tag="evidence_stored"):
    record_id: str
    ok: bool = True
    reason: str | None = None


class RecorderPressed(Input, frozen=True, tag="recorder_pressed"):
    fill: float
    export_lag_ms: int


class DurableAttached(Input, frozen=True, tag="durable_attached"):
    state: Durable
    epoch: int


class NodeMeasured(Input, frozen=True, tag="node_measured"):
    """What a sync node's last step, or its turn so far, has cost; the host's meter says so after the step."""

    node_id: str
    elapsed_ms: int
    turn_ms: int = 0


class NodeRaised(Input, frozen=True, tag="node_raised"):
    """A node that runs outside the step died."""

    node_id: str
    error: str


class CircuitReset(Input, frozen=True, tag="circuit_reset"):
    """An operator says that a provider is well again: whatever its failures were, it may be called."""

    provider: str


class PoolChanged(Input, frozen=True, tag="pool_changed"):
    """`state` is open, saturated or closed."""

    state: str


class ClockObserved(Input, frozen=True, tag="clock_observed"):
    wall: int
    sample_index: int


class FactChanged(Input, frozen=True, tag="fact_changed"):
    """Something that conditions ask about: language, sentiment, a provider's health."""

    name: str
    value: str | int | float | bool


class DebugSwitched(Input, frozen=True, tag="debug_switched"):
    on: bool
    until: int | None = None


class Woken(Input, frozen=True, tag="woken"):
    """The deadline that the kernel asked for has come."""


AnyInput = (
    AudioReceived
    | TextReceived
    | ControlReceived
    | UnknownReceived
    | MalformedReceived
    | ConnectionChanged
    | DeliveryReported
    | CreditGranted
    | SpeechScored
    | EndOfTurnScored
    | CallAccepted
    | CallProduced
    | CallFinished
    | CallFailed
    | CallCancelled
    | LeaseChanged
    | MigrationChanged
    | RoutingViewPublished
    | SnapshotPublished
    | SnapshotLost
    | CloseRequested
    | EvidenceStored
    | RecorderPressed
    | DurableAttached
    | NodeMeasured
    | NodeRaised
    | CircuitReset
    | PoolChanged
    | ClockObserved
    | FactChanged
    | DebugSwitched
    | Woken
)
