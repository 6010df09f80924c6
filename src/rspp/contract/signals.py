"""The control vocabulary: one table of every signal, who may emit it, in which scope, and what it must carry.

The registry is closed. The first 43 are the contract's; the rest are ours, each because the contract demands the fact
but names no signal for it. All of them travel in the control lane with payload class `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract import emitters as e


class SignalName(StrEnum):
    """Every signal there is."""

    TURN_OPEN_PROPOSED = "turn_open_proposed"
    TURN_OPEN = "turn_open"
    COMMIT = "commit"
    ABORT = "abort"
    CLOSE = "close"
    BARGE_IN = "barge_in"
    STOP = "stop"
    CANCEL = "cancel"
    WATERMARK = "watermark"
    BUDGET_WARNING = "budget_warning"
    BUDGET_EXHAUSTED = "budget_exhausted"
    DEGRADE = "degrade"
    FALLBACK = "fallback"
    DISCONTINUITY = "discontinuity"
    DROP_NOTICE = "drop_notice"
    FLOW_XOFF = "flow_xoff"
    FLOW_XON = "flow_xon"
    CREDIT_GRANT = "credit_grant"
    PROVIDER_ERROR = "provider_error"
    CIRCUIT_EVENT = "circuit_event"
    PROVIDER_SWITCH = "provider_switch"
    LEASE_ISSUED = "lease_issued"
    LEASE_ROTATED = "lease_rotated"
    MIGRATION_START = "migration_start"
    MIGRATION_FINISH = "migration_finish"
    SESSION_HANDOFF = "session_handoff"
    ADMIT = "admit"
    REJECT = "reject"
    DEFER = "defer"
    SHED = "shed"
    STALE_EPOCH_REJECT = "stale_epoch_reject"
    DEAUTHORIZED_DRAIN = "deauthorized_drain"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    DISCONNECTED = "disconnected"
    ENDED = "ended"
    SILENCE = "silence"
    STALL = "stall"
    OUTPUT_ACCEPTED = "output_accepted"
    PLAYBACK_STARTED = "playback_started"
    PLAYBACK_COMPLETED = "playback_completed"
    PLAYBACK_CANCELLED = "playback_cancelled"
    RECORDING_LEVEL_DOWNGRADED = "recording_level_downgraded"
    SESSION_STARTED = "session_started"
    SESSION_STATE_CHANGED = "session_state_changed"
    TRANSITION_REFUSED = "transition_refused"
    DEGRADED = "degraded"
    RECOVERED = "recovered"
    PLAN_RESOLVED = "plan_resolved"
    DETERMINISM_MARKED = "determinism_marked"
    ERROR_RAISED = "error_raised"
    ABI_REJECTED = "abi_rejected"
    UNKNOWN_EVENT_HANDLED = "unknown_event_handled"
    DUPLICATE_DROPPED = "duplicate_dropped"
    OVERLAP_DECIDED = "overlap_decided"
    INTENT_QUEUED = "intent_queued"
    LATE_EVENT_DECIDED = "late_event_decided"
    ERROR_REPLY = "error_reply"
    SPEECH_STARTED = "speech_started"
    SPEECH_STOPPED = "speech_stopped"
    END_OF_UTTERANCE = "end_of_utterance"
    TURN_CONFIRMED = "turn_confirmed"
    TURN_SUPERSEDED = "turn_superseded"
    INTERRUPTION_PENDING = "interruption_pending"
    INTERRUPTION_RESOLVED = "interruption_resolved"
    BACKCHANNEL = "backchannel"
    TRANSCRIPT_AMENDED = "transcript_amended"
    CALLER_IDLE = "caller_idle"
    DIGIT_PRESSED = "digit_pressed"
    ROUTE_CHOSEN = "route_chosen"
    SELECT_SWITCHED = "select_switched"
    FALLBACK_ACTIVATED = "fallback_activated"
    NODE_FAILED = "node_failed"
    DEAD_LETTERED = "dead_lettered"
    CALL_STARTED = "call_started"
    CALL_ENDED = "call_ended"
    CAP_REACHED = "cap_reached"
    CANCEL_ACKNOWLEDGED = "cancel_acknowledged"
    CANCEL_FORCED = "cancel_forced"
    LATE_OUTPUT_DROPPED = "late_output_dropped"
    OUTPUT_REFUSED = "output_refused"
    PLAYBACK_PAUSED = "playback_paused"
    PLAYBACK_RESUMED = "playback_resumed"
    MEMORY_TRUNCATED = "memory_truncated"
    EVIDENCE_APPEND_FAILED = "evidence_append_failed"
    RECORDING_LEVEL_RESTORED = "recording_level_restored"
    STATE_ATTACHED = "state_attached"
    STATE_REFUSED = "state_refused"
    CLOCK_REBASED = "clock_rebased"


class SignalRule(msgspec.Struct, frozen=True, gc=False):
    """What holds for one signal. `requires` names envelope fields, or `detail.x` for a key of its detail."""

    name: SignalName
    emitters: tuple[str, ...]
    scope: str  # "session", "turn" or "any"
    requires: tuple[str, ...]
    meaning: str


_N = SignalName
_RULES: Final = (
    SignalRule(_N.TURN_OPEN_PROPOSED, (e.PRELUDE,), "session", (), "somebody wants a turn; advisory, it creates no turn state"),
    SignalRule(_N.TURN_OPEN, (e.ARBITER,), "turn", ("turn_id",), "the turn is accepted and active"),
    SignalRule(_N.COMMIT, (e.ARBITER,), "turn", ("turn_id",), "generation is finished and its evidence is stored"),
    SignalRule(_N.ABORT, (e.ARBITER,), "turn", ("turn_id", "reason"), "the turn has ended without finishing"),
    SignalRule(_N.CLOSE, (e.ARBITER,), "turn", ("turn_id",), "nothing more belongs to the turn"),
    SignalRule(_N.BARGE_IN, (e.LANES, e.FENCES), "any", (), "the caller takes the floor"),
    SignalRule(_N.STOP, (e.LANES, e.FENCES), "any", (), "stop what is going on"),
    SignalRule(_N.CANCEL, (e.LANES, e.FENCES), "any", ("scope",), "a cancellation was accepted and its fence is in force"),
    SignalRule(_N.WATERMARK, (e.BUFFERS,), "any", ("edge_id", "target_lane", "reason"), "an edge's queue crossed a mark"),
    SignalRule(_N.BUDGET_WARNING, (e.BUDGETS,), "any", ("reason",), "a budget's warning mark was passed"),
    SignalRule(_N.BUDGET_EXHAUSTED, (e.BUDGETS,), "any", ("reason",), "a budget is spent"),
    SignalRule(_N.DEGRADE, (e.BUFFERS, e.BUDGETS), "any", ("reason",), "a lesser fidelity was chosen"),
    SignalRule(_N.FALLBACK, (e.BUFFERS, e.BUDGETS), "any", ("reason",), "another path was chosen"),
    SignalRule(_N.DISCONTINUITY, (e.SYNC,), "any", ("sync_domain", "discontinuity_id", "reason"), "a stream was cut; receivers of the domain start afresh"),
    SignalRule(_N.DROP_NOTICE, (e.BUFFERS, e.SYNC, e.LANES), "any", ("edge_id", "target_lane", "reason", "seq_range"), "these items were lost on purpose"),
    SignalRule(_N.FLOW_XOFF, (e.FLOW,), "any", ("edge_id", "target_lane", "reason"), "the producer must stop sending"),
    SignalRule(_N.FLOW_XON, (e.FLOW,), "any", ("edge_id", "target_lane"), "the producer may go on"),
    SignalRule(_N.CREDIT_GRANT, (e.FLOW,), "any", ("edge_id", "target_lane", "amount"), "the producer may send this many more"),
    SignalRule(_N.PROVIDER_ERROR, (e.CALLS,), "any", ("reason",), "an attempt of a provider call failed"),
    SignalRule(_N.CIRCUIT_EVENT, (e.CALLS,), "any", ("reason",), "a provider's circuit changed its state"),
    SignalRule(_N.PROVIDER_SWITCH, (e.CALLS,), "any", ("reason",), "the call goes on with another provider"),
    SignalRule(_N.LEASE_ISSUED, (e.LEASE_AUTHORITY, e.AUTHORITY), "any", ("authority_epoch",), "this process may write to the session"),
    SignalRule(_N.LEASE_ROTATED, (e.LEASE_AUTHORITY, e.AUTHORITY), "any", ("authority_epoch",), "a new epoch owns the session"),
    SignalRule(_N.MIGRATION_START, (e.ROUTING, e.AUTHORITY), "any", ("authority_epoch",), "the session begins to move"),
    SignalRule(_N.MIGRATION_FINISH, (e.ROUTING, e.AUTHORITY), "any", ("authority_epoch",), "the session has moved"),
    SignalRule(_N.SESSION_HANDOFF, (e.ROUTING, e.AUTHORITY), "any", ("authority_epoch",), "the session is handed over"),
    SignalRule(_N.ADMIT, (e.ADMISSION, e.CP_ADMISSION), "session", ("reason",), "the intent may become a turn"),
    SignalRule(_N.REJECT, (e.ADMISSION, e.CP_ADMISSION), "session", ("reason",), "the intent will not become a turn"),
    SignalRule(_N.DEFER, (e.ADMISSION, e.CP_ADMISSION), "session", ("reason",), "the intent may become a turn later"),
    SignalRule(_N.SHED, (e.ADMISSION,), "any", ("reason",), "work was let go at a scheduling point"),
    SignalRule(_N.STALE_EPOCH_REJECT, (e.AUTHORITY,), "any", ("authority_epoch", "reason"), "something carried an epoch that was not issued"),
    SignalRule(_N.DEAUTHORIZED_DRAIN, (e.AUTHORITY,), "any", ("authority_epoch", "reason"), "authority was withdrawn"),
    SignalRule(_N.CONNECTED, (e.CONNECTION,), "any", (), "the line to the caller stands"),
    SignalRule(_N.RECONNECTING, (e.CONNECTION,), "any", (), "the line is being re-established"),
    SignalRule(_N.DISCONNECTED, (e.CONNECTION,), "any", (), "the line is down"),
    SignalRule(_N.ENDED, (e.CONNECTION,), "any", (), "the line is over"),
    SignalRule(_N.SILENCE, (e.CONNECTION,), "any", (), "the line stands but nothing comes"),
    SignalRule(_N.STALL, (e.CONNECTION,), "any", (), "the line stands but nothing goes"),
    SignalRule(_N.OUTPUT_ACCEPTED, (e.TRANSPORT, e.CONNECTION, e.PLAYOUT), "turn", ("turn_id",), "the transport took an output"),
    SignalRule(_N.PLAYBACK_STARTED, (e.TRANSPORT, e.CONNECTION, e.PLAYOUT), "turn", ("turn_id",), "the caller hears the turn"),
    SignalRule(_N.PLAYBACK_COMPLETED, (e.TRANSPORT, e.CONNECTION, e.PLAYOUT), "turn", ("turn_id",), "the caller has heard all of the turn"),
    SignalRule(_N.PLAYBACK_CANCELLED, (e.TRANSPORT, e.CONNECTION, e.PLAYOUT), "turn", ("turn_id",), "what was not heard yet was thrown away"),
    SignalRule(_N.RECORDING_LEVEL_DOWNGRADED, (e.RECORDER, e.EVIDENCE), "any", ("reason", "detail.policy_id", "detail.old", "detail.new", "detail.trigger_class"), "pressure lowered the recording level by one"),
    SignalRule(_N.SESSION_STARTED, (e.LIFECYCLE,), "session", (), "the session is running on its graph"),
    SignalRule(_N.SESSION_STATE_CHANGED, (e.LIFECYCLE,), "session", ("reason", "detail.to"), "the session took a step of its lifecycle"),
    SignalRule(_N.TRANSITION_REFUSED, (e.LIFECYCLE,), "any", ("reason", "detail.from", "detail.trigger"), "an illegal step was asked for and nothing changed"),
    SignalRule(_N.DEGRADED, (e.LIFECYCLE, e.CALLS, e.HOSTING, e.FENCES), "any", ("reason",), "the session goes on with a capability missing"),
    SignalRule(_N.RECOVERED, (e.LIFECYCLE, e.CALLS, e.HOSTING, e.FENCES), "any", ("reason",), "a missing capability is back"),
    SignalRule(_N.PLAN_RESOLVED, (e.PLANNER,), "turn", ("turn_id", "detail.plan_hash"), "the turn's plan is frozen"),
    SignalRule(_N.DETERMINISM_MARKED, (e.DETERMINISM,), "turn", ("turn_id", "detail.seed"), "seed and merge rule of the turn"),
    SignalRule(_N.ERROR_RAISED, (e.HOSTING, e.CALLS, e.GATEWAY, e.LIFECYCLE, e.ARBITER, e.GRAPH), "any", ("reason", "detail.code"), "an error, for whoever must act"),
    SignalRule(_N.ABI_REJECTED, (e.GATEWAY,), "any", ("reason", "detail.code", "detail.path"), "an input was refused"),
    SignalRule(_N.UNKNOWN_EVENT_HANDLED, (e.GATEWAY,), "any", ("reason",), "an event of an unknown kind was dropped, passed through or refused"),
    SignalRule(_N.DUPLICATE_DROPPED, (e.IDENTITY,), "any", ("reason",), "an input with a known key was not done again"),
    SignalRule(_N.OVERLAP_DECIDED, (e.ARBITER,), "any", ("reason",), "an intent came while a turn was open"),
    SignalRule(_N.INTENT_QUEUED, (e.ARBITER,), "any", (), "an intent waits for the open turn to end"),
    SignalRule(_N.LATE_EVENT_DECIDED, (e.ARBITER,), "any", ("reason",), "something came for what is over"),
    SignalRule(_N.ERROR_REPLY, (e.ARBITER,), "any", ("reason",), "the caller is told that something failed"),
    SignalRule(_N.SPEECH_STARTED, (e.PRELUDE,), "session", (), "the caller began to speak"),
    SignalRule(_N.SPEECH_STOPPED, (e.PRELUDE,), "session", (), "the caller stopped speaking"),
    SignalRule(_N.END_OF_UTTERANCE, (e.PRELUDE,), "session", ("reason",), "an utterance is over"),
    SignalRule(_N.TURN_CONFIRMED, (e.PRELUDE,), "turn", ("turn_id",), "a speculative turn was right"),
    SignalRule(_N.TURN_SUPERSEDED, (e.PRELUDE,), "turn", ("turn_id", "reason"), "a turn was opened too early, or on the wrong words"),
    SignalRule(_N.INTERRUPTION_PENDING, (e.PRELUDE,), "any", ("reason",), "the assistant is paused until it is clear what the voice means"),
    SignalRule(_N.INTERRUPTION_RESOLVED, (e.PRELUDE,), "any", ("reason",), "it was an interruption, or it was not"),
    SignalRule(_N.BACKCHANNEL, (e.PRELUDE,), "any", (), "the caller agreed and did not take the floor"),
    SignalRule(_N.TRANSCRIPT_AMENDED, (e.PRELUDE,), "any", ("reason",), "a later transcript knows better"),
    SignalRule(_N.CALLER_IDLE, (e.PRELUDE,), "session", (), "nobody has spoken for a while"),
    SignalRule(_N.DIGIT_PRESSED, (e.GATEWAY,), "session", ("detail.digit",), "a key of the telephone"),
    SignalRule(_N.ROUTE_CHOSEN, (e.GRAPH,), "any", ("edge_id", "reason"), "what a conditional edge decided"),
    SignalRule(_N.SELECT_SWITCHED, (e.GRAPH,), "any", ("reason",), "a select node listens to another source"),
    SignalRule(_N.FALLBACK_ACTIVATED, (e.GRAPH,), "any", ("reason",), "a node's fallback took over"),
    SignalRule(_N.NODE_FAILED, (e.HOSTING,), "any", ("reason",), "a node raised or broke its word"),
    SignalRule(_N.DEAD_LETTERED, (e.HOSTING,), "any", ("reason",), "an event went to the dead letters"),
    SignalRule(_N.CALL_STARTED, (e.CALLS,), "any", (), "a provider call began"),
    SignalRule(_N.CALL_ENDED, (e.CALLS,), "any", ("detail.outcome",), "a provider call ended"),
    SignalRule(_N.CAP_REACHED, (e.BUDGETS,), "any", ("reason",), "a cost cap was reached"),
    SignalRule(_N.CANCEL_ACKNOWLEDGED, (e.FENCES, e.HOSTING, e.CALLS), "any", (), "a node or provider says that it stopped"),
    SignalRule(_N.CANCEL_FORCED, (e.FENCES,), "any", ("reason",), "what did not stop in its grace was stopped by force"),
    SignalRule(_N.LATE_OUTPUT_DROPPED, (e.FENCES,), "any", ("reason",), "output of something that is over was dropped"),
    SignalRule(_N.OUTPUT_REFUSED, (e.FENCES, e.PLAYOUT), "any", ("reason",), "a delivery was claimed that may not have happened"),
    SignalRule(_N.PLAYBACK_PAUSED, (e.PLAYOUT,), "turn", ("turn_id",), "the audio waits"),
    SignalRule(_N.PLAYBACK_RESUMED, (e.PLAYOUT,), "turn", ("turn_id",), "the audio goes on"),
    SignalRule(_N.MEMORY_TRUNCATED, (e.PLAYOUT,), "turn", ("turn_id",), "what is remembered was cut to what was heard"),
    SignalRule(_N.EVIDENCE_APPEND_FAILED, (e.EVIDENCE,), "any", ("reason",), "a turn's evidence could not be stored"),
    SignalRule(_N.RECORDING_LEVEL_RESTORED, (e.EVIDENCE,), "any", ("reason",), "the recording level rose by one"),
    SignalRule(_N.STATE_ATTACHED, (e.STATE,), "session", (), "durable state was taken over"),
    SignalRule(_N.STATE_REFUSED, (e.STATE,), "any", ("reason",), "state or a view was too old to be used"),
    SignalRule(_N.CLOCK_REBASED, (e.TIMEBASE,), "any", ("reason",), "the clocks disagreed and were anchored anew"),
)  # fmt: skip

SIGNALS: Final[Mapping[str, SignalRule]] = {rule.name.value: rule for rule in _RULES}
CORE_SIGNALS: Final = 43
