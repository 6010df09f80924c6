"""Every closed set of words that RSPP speaks, each declared once.

A word here is what stands on the wire, in a recording and in an error message. Nothing else may invent one: a
module that needs a new word adds it here, with the sentence that says what it means.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Lane(StrEnum):
    """Strict priority: control before data before telemetry."""

    CONTROL = "ControlLane"
    DATA = "DataLane"
    TELEMETRY = "TelemetryLane"


class EventKind(StrEnum):
    AUDIO = "audio"
    TEXT = "text"
    CONTROL = "control"
    METRICS = "metrics"
    DEBUG = "debug"
    ERROR = "error"


LANE_OF: Final = {
    EventKind.CONTROL: Lane.CONTROL,
    EventKind.AUDIO: Lane.DATA,
    EventKind.TEXT: Lane.DATA,
    # An error event must not be shed, so it never travels with telemetry.
    EventKind.ERROR: Lane.DATA,
    EventKind.METRICS: Lane.TELEMETRY,
    EventKind.DEBUG: Lane.TELEMETRY,
}


class EventScope(StrEnum):
    SESSION = "session"
    TURN = "turn"


class CancelScope(StrEnum):
    SESSION = "session"
    TURN = "turn"
    NODE = "node"
    CALL = "provider_invocation"


class CancelReason(StrEnum):
    BARGE_IN = "barge_in"
    TIMEOUT = "timeout"
    USER_CANCEL = "user_cancel"
    PROVIDER_ERROR = "provider_error"


class CancelMode(StrEnum):
    """Soft finishes the chunk in flight; hard stops at once and discards what is buffered."""

    SOFT = "soft"
    HARD = "hard"


class PayloadClass(StrEnum):
    AUDIO_RAW = "audio_raw"
    TEXT_RAW = "text_raw"
    PII = "PII"
    PHI = "PHI"
    DERIVED_SUMMARY = "derived_summary"
    METADATA = "metadata"


class PayloadTag(StrEnum):
    TENANT_SENSITIVE = "tenant_sensitive"
    COMPLIANCE_HOLD = "compliance_hold"
    RETENTION_SHORT = "retention_short"
    RETENTION_LONG = "retention_long"


class AdaptiveAction(StrEnum):
    """Declared in their canonical order."""

    RETRY = "retry"
    PROVIDER_SWITCH = "provider_switch"
    DEGRADE = "degrade"
    FALLBACK = "fallback"


class Modality(StrEnum):
    STT = "stt"
    LLM = "llm"
    TTS = "tts"
    EXTERNAL = "external"
    VAD = "vad"
    END_OF_TURN = "end_of_turn"


class UnknownEventAction(StrEnum):
    DROP = "drop"
    PASS_THROUGH = "pass_through"
    REJECT = "reject"


class SessionState(StrEnum):
    CONNECTING = "CONNECTING"
    ACTIVE = "ACTIVE"
    DRAINING = "DRAINING"
    ENDED = "ENDED"


class TurnState(StrEnum):
    IDLE = "Idle"
    OPENING = "Opening"
    ACTIVE = "Active"
    TERMINAL = "Terminal"
    CLOSED = "Closed"


class ConnectionState(StrEnum):
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    SILENCE = "silence"
    STALL = "stall"


class OutcomeClass(StrEnum):
    """How one provider invocation ended."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    OVERLOAD = "overload"
    BLOCKED = "blocked"
    INFRASTRUCTURE_FAILURE = "infrastructure_failure"
    CANCELLED = "cancelled"


class InBand(StrEnum):
    """Which metrics a session emits among its own events."""

    OFF = "off"
    TURNS = "turns"  # of each turn, how long its first output took
    ALL = "all"  # of each node and edge as well


class AbortReason(StrEnum):
    AUTHORITY_LOSS = "authority_loss"
    CANCELLED = "cancelled"
    RECORDING_EVIDENCE_UNAVAILABLE = "recording_evidence_unavailable"
    BUDGET_EXHAUSTED = "budget_exhausted"
    PROVIDER_FAILURE = "provider_failure"
    NODE_TIMEOUT_OR_FAILURE = "node_timeout_or_failure"
    TRANSPORT_DISCONNECT_OR_STALL = "transport_disconnect_or_stall"
    RUNTIME_INTERNAL_ERROR = "runtime_internal_error"
    POLICY_TERMINATED = "policy_terminated"
    EXECUTION_POOL_SATURATED = "execution_pool_saturated"
    EXECUTION_POOL_CLOSED = "execution_pool_closed"
    NODE_CONCURRENCY_LIMITED = "node_concurrency_limited"
    SCHEDULING_POINT_SHED = "scheduling_point_shed"


class RecordingLevel(StrEnum):
    L0 = "L0"
    L1 = "L1"
    L2 = "L2"


class Codec(StrEnum):
    PCM16 = "pcm16"
    OPUS = "opus"
    PCMU = "pcmu"
    MULAW = "mulaw"


class BufferStrategy(StrEnum):
    BLOCK = "block"
    DROP = "drop"
    MERGE = "merge"
    SAMPLE = "sample"
    LATEST_ONLY = "latest_only"


class DropSide(StrEnum):
    OLDEST = "oldest"
    NEWEST = "newest"


class FlowMode(StrEnum):
    SIGNAL = "signal"
    CREDIT = "credit"
    HYBRID = "hybrid"


class SyncPolicy(StrEnum):
    ATOMIC_DROP = "atomic_drop"
    DROP_WITH_DISCONTINUITY = "drop_with_discontinuity"
    NO_SYNC = "no_sync"


class InterruptionMode(StrEnum):
    """How the caller's voice over the assistant's is treated."""

    NEVER = "never"
    SPEECH = "speech"
    WORDS = "words"
    PAUSE_THEN_DECIDE = "pause_then_decide"


class OverlapPolicy(StrEnum):
    """What happens to an intent raised while a turn is open."""

    PREEMPT = "preempt"
    QUEUE = "queue"
    REFUSE = "refuse"


class LateEventPolicy(StrEnum):
    DROP = "drop"
    REPROPOSE = "repropose"
    DIAGNOSE = "diagnose"


CORE_SCHEMA_VERSION: Final = "v1.0"
SIMPLE_PROFILE: Final = "simple/v1"
