"""A compiled pipeline: an immutable graph in which every name is resolved and every number has been decided.

The kernel runs this and nothing else. It is made by `spec.compile` from a normalised PipelineSpec, or read back from a
recording; its fingerprint covers everything that could change what the pipeline does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.plan import (
    Budgets,
    BufferPolicy,
    FlowControl,
    NodePolicy,
    RecordingPolicy,
    StreamingHandoff,
)
from rspp.contract.words import (
    AdaptiveAction,
    CancelMode,
    EventKind,
    FlowMode,
    InterruptionMode,
    Lane,
    LateEventPolicy,
    OverlapPolicy,
    UnknownEventAction,
)

# The modality, and the provider, of a sync node that runs in a process of its own.
ISOLATED: Final = "isolated"


class Role(StrEnum):
    """How the kernel runs a node."""

    SOURCE = "source"  # where the transport's events enter
    SINK = "sink"  # where events leave for the caller
    SYNC = "sync"  # a pure function inside the step
    CALL = "call"  # a provider, a model or an async node: asked for, answered by inputs
    MERGE = "merge"  # several upstreams, one stream, declared order
    SELECT = "select"  # several upstreams, one of them at a time


class Lifetime(StrEnum):
    """How long one invocation of a call node lasts."""

    SESSION = "session"  # opened with the session, fed all along (streaming recognition, voice activity)
    TURN = "turn"  # opened by the turn's first input, ended with the turn
    EVENT = "event"  # one invocation for each input, one after the other, outputs in order


class OnFailure(StrEnum):
    """What a node's unrecoverable failure does."""

    TERMINATE = "terminate"
    FALLBACK = "fallback"
    DEGRADE = "degrade"
    DEAD_LETTER = "dead_letter"


class OnCancel(StrEnum):
    CLEAR = "clear"
    DRAIN = "drain"


class Absent(StrEnum):
    """What a condition says when the attribute it asks about is not there."""

    TAKE = "take"
    SKIP = "skip"
    ERROR = "error"


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Immutable, by keyword, strict."""


class Port(_Frozen, frozen=True):
    name: str
    kinds: tuple[EventKind, ...]


class Condition(_Frozen, frozen=True):
    """`attribute op value`, where op is one of eq, ne, lt, le, gt, ge, in."""

    attribute: str
    op: str
    value: str | int | float | bool | tuple[str, ...]
    absent: Absent = Absent.SKIP


class NodeBudget(_Frozen, frozen=True):
    """Compute time; None leaves the profile's default as the only limit."""

    per_event_ms: int | None = None
    per_turn_ms: int | None = None


class MergeRule(_Frozen, frozen=True):
    """`timestamp`: by event time; `source_priority`: by the order of the inputs. Ties: input order, then sequence."""

    order: str = "timestamp"
    window_ms: int = 0


class SelectRule(_Frozen, frozen=True):
    """Candidates in order; the first whose condition holds wins. Conditions read the session's facts."""

    candidates: tuple[tuple[str, Condition | None], ...] = ()


class NodeDefinition(_Frozen, frozen=True):
    id: str
    type: str
    version: str
    role: Role
    scope: str  # "session" or "turn"
    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    modality: str | None = None
    lifetime: Lifetime | None = None
    config: dict[str, object] = {}
    budget: NodeBudget = NodeBudget()
    cancel: CancelMode = CancelMode.HARD
    on_failure: OnFailure = OnFailure.TERMINATE
    fallback: str | None = None
    policy: NodePolicy = NodePolicy()
    merge: MergeRule | None = None
    select: SelectRule | None = None


class EdgeDefinition(_Frozen, frozen=True):
    """A typed channel `source.port -> target.port`; the only place where latency may pool."""

    id: str
    source: str
    source_port: str
    target: str
    target_port: str
    kinds: tuple[EventKind, ...]
    lane: Lane
    buffer: BufferPolicy
    flow: FlowMode = FlowMode.SIGNAL
    credits: int = 0
    when: Condition | None = None
    on_cancel: OnCancel = OnCancel.CLEAR


class TurnTaking(_Frozen, frozen=True):
    """Numbers of the turn-taking machine; every state it can be in has its deadline here."""

    speech_threshold: float
    silence_threshold: float
    onset_ms: int  # speech this long is speech, not a click
    silence_ms_min: int  # with a likely end of turn, the shortest pause that ends it
    silence_ms_max: int  # with or without, the longest
    end_of_turn_threshold: float
    utterance_ms_max: int
    final_wait_ms_max: int  # for the recogniser's final, after the end
    interruption: InterruptionMode
    interruption_ms_min: int
    interruption_words_min: int
    decide_ms_max: int  # how long a pause-then-decide may stay undecided
    backchannels: tuple[str, ...]
    speculation: bool
    speculation_threshold: float
    speculations_per_utterance_max: int
    late_final_ms_max: int  # a final this late still amends its turn
    push_to_talk_ms_max: int
    digit_gap_ms_max: int = 2_000  # after this long without a digit, what was keyed is an utterance
    digit_terminator: str = "#"
    idle_prompt_ms: int = 0  # 0: never ask whether the caller is still there


class Playout(_Frozen, frozen=True):
    lead_ms: int
    frame_ms: int
    report_ms_max: int  # playback unheard of for this long is a stall
    commit_point_ms: int = 0  # audio within this much of what was sent is never retracted


class CallPolicy(_Frozen, frozen=True):
    provider_timeout_ms: int
    progress_ms_max: int
    attempts_per_provider_max: int
    attempts_total_max: int
    candidates_max: int
    backoff_ms: int
    backoff_ms_max: int
    cancel_grace_ms: int
    circuit_failures: int
    circuit_window_ms: int
    circuit_cooldown_ms: int
    fallback_reserve_ms: int  # less budget than this left: no fallback is begun


class CostCaps(_Frozen, frozen=True):
    """Per turn; 0 means none."""

    tokens_max: int = 0
    audio_ms_max: int = 0
    characters_max: int = 0
    speculative_calls_max: int = 2
    on_cap: str = "truncate"


class Limits(_Frozen, frozen=True):
    """Bounds of the session itself."""

    connect_ms_max: int
    disconnect_ms_max: int
    drain_ms_max: int
    close_ms_max: int
    evidence_append_ms_max: int
    defer_retry_ms: int
    defer_tries_max: int
    queued_intents_max: int
    dedupe_keys_max: int
    dedupe_window_ms: int
    late_window_ms: int
    history_messages_max: int
    payload_bytes_max: int
    lane_items_max: dict[Lane, int]
    snapshot_age_ms_max: int
    durable_staleness_ms_max: int
    max_skew_ms: int
    mapping_error_ms_max: int
    reorder_wait_frames: int
    stall_ms_max: int


class Recording(_Frozen, frozen=True):
    """When pressure lowers the recording level; the contract's numbers unless a later profile says otherwise."""

    l1_fill: float
    l1_lag_ms: int
    l0_fill: float
    l0_lag_ms: int
    fill_hold_ms: int
    recovery_fill: float
    recovery_lag_ms: int
    stability_window_ms: int
    upgrades_permitted: bool


class ErrorReply(_Frozen, frozen=True):
    """What the caller hears when a turn fails; empty means nothing is said."""

    text: str = ""


class Policies(_Frozen, frozen=True):
    turn_taking: TurnTaking
    playout: Playout
    calls: CallPolicy
    caps: CostCaps
    limits: Limits
    recording: Recording
    overlap: OverlapPolicy
    late_events: LateEventPolicy
    unknown_events: UnknownEventAction
    bad_snapshot: str  # "defer" or "reject"
    error_reply: ErrorReply
    degrade_on: tuple[str, ...]  # modalities whose loss degrades the session instead of ending the turn


class Targets(_Frozen, frozen=True):
    """What a pipeline is measured against, and when somebody is told. Nothing is decided by it: it is in no fingerprint."""

    end_to_end_p95_ms: int
    alert_ratio: float
    alert_window_turns: int


class GraphDefinition(_Frozen, frozen=True):
    ref: str
    fingerprint: str
    pipeline: str
    version: str
    profile: str
    nodes: tuple[NodeDefinition, ...]  # in topological order, ties by id
    edges: tuple[EdgeDefinition, ...]  # by source order, then declaration
    turn_input: tuple[str, str]  # node and output port on which an utterance enters its turn
    providers: dict[str, tuple[str, ...]]  # modality -> candidates, preferred first
    budgets: Budgets
    flow_control: FlowControl
    allowed_adaptive_actions: tuple[AdaptiveAction, ...]
    recording_policy: RecordingPolicy
    policies: Policies
    streaming_handoff: StreamingHandoff | None = None
    defaulting_source: dict[str, str] = {}  # field path -> where the value came from
    # Provider id -> its kind (`use`) and settings; an id that is not here is a kind. Secrets are references.
    provider_settings: dict[str, dict[str, object]] = {}
    targets: Targets | None = None  # none: compiled before there were any
