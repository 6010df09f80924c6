"""Profile `simple/v1`: every number that a pipeline runs under unless its spec says otherwise, each with its reason.

A profile version is a determinism boundary. A number here is never edited: a changed default is a new profile
version, because recordings made under this one are replayed under it. The page docs/profile-simple-v1.md is generated
from these tables.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rspp.contract.words import SIMPLE_PROFILE

ALIASES: Final = {"simple": SIMPLE_PROFILE, SIMPLE_PROFILE: SIMPLE_PROFILE}
SOURCE: Final = f"execution_profile/{SIMPLE_PROFILE}"


class Row(NamedTuple):
    """One setting: where it stands, its value, why it has that value, and what else would be accepted."""

    path: str
    value: object
    reason: str
    least: float | None = None
    most: float | None = None


# The most a time may be set to: a day. Anything longer is a unit mistaken.
DAY_MS: Final = 86_400_000
CONTRACT: Final = "Contract §5."

BUDGETS: Final = (
    Row(
        "turn_budget_ms",
        2000,
        f"{CONTRACT} Time to the first output; beyond it a caller thinks the line is dead.",
        1,
        DAY_MS,
    ),
    Row(
        "node_budget_ms_default", 800, f"{CONTRACT} Soft: it asks for a verdict and kills nothing.", 1, DAY_MS
    ),
    Row("path_budget_ms_default", 1800, f"{CONTRACT} Leaves 200 ms of the turn for playout.", 1, DAY_MS),
    Row("edge_budget_ms_default", 250, f"{CONTRACT} The longest a live edge may add.", 1, DAY_MS),
)

TURN_TAKING: Final = (
    Row("speech_threshold", 0.5, "The usual operating point of voice detectors.", 0, 1),
    Row(
        "silence_threshold",
        0.35,
        "Below the speech threshold, so that a score near it does not flutter.",
        0,
        1,
    ),
    Row("onset_ms", 80, "Longer than a click or a lip smack, shorter than any word.", 1, 5_000),
    Row(
        "silence_ms_min",
        300,
        "People leave gaps of about 200 ms inside a sentence; 300 lets those pass.",
        1,
        60_000,
    ),
    Row(
        "silence_ms_max",
        900,
        "After this long even an unlikely end is an end: the caller is waiting.",
        1,
        60_000,
    ),
    Row("end_of_turn_threshold", 0.6, "Rather wait a little than cut somebody off.", 0, 1),
    Row(
        "utterance_ms_max",
        60_000,
        "A minute of speech without a pause is a monologue, a radio or a fault.",
        1,
        DAY_MS,
    ),
    Row(
        "final_wait_ms_max",
        700,
        "Recognisers give a final within half a second of being asked; then the partial is taken.",
        1,
        60_000,
    ),
    Row("interruption", "pause_then_decide", "Silence at once feels right; going on after a cough does too."),
    Row(
        "interruption_ms_min",
        400,
        "Shorter bursts over the assistant are mostly noise and assent.",
        1,
        60_000,
    ),
    Row("interruption_words_min", 2, "One word is mostly assent; two are mostly a sentence.", 1, 100),
    Row(
        "decide_ms_max",
        900,
        "A pause longer than this is heard as the end; undecided then means interrupted.",
        1,
        60_000,
    ),
    Row(
        "backchannels",
        (
            "ah",
            "hm",
            "hmm",
            "i see",
            "mhm",
            "oh",
            "ok",
            "okay",
            "right",
            "sure",
            "uh-huh",
            "yeah",
            "yep",
            "yes",
        ),
        "What listeners say to mean: go on.",
    ),
    Row(
        "speculation",
        True,
        "Answering a likely end early hides the recogniser's and the model's first latency.",
    ),
    Row(
        "speculation_threshold",
        0.8,
        "Above the end-of-turn threshold: a wrong guess costs a model call.",
        0,
        1,
    ),
    Row("speculations_per_utterance_max", 2, "A third guess at one utterance has been wrong twice.", 0, 100),
    Row(
        "late_final_ms_max",
        1500,
        "A final this late can still correct what is being answered; later it would be a new turn.",
        1,
        60_000,
    ),
    Row("push_to_talk_ms_max", 60_000, "A key held for a minute is stuck.", 1, DAY_MS),
    Row("digit_gap_ms_max", 2000, "People pause about a second between groups of digits.", 1, 60_000),
    Row("digit_terminator", "#", "The key that telephone systems have taught everybody."),
    Row(
        "idle_prompt_ms", 0, "Off: whether to ask if the caller is there is the pipeline's choice.", 0, DAY_MS
    ),
)

PLAYOUT: Final = (
    Row(
        "lead_ms",
        200,
        "Covers network jitter; more would be audio that can no longer be taken back.",
        1,
        10_000,
    ),
    Row("frame_ms", 20, "The packet time of telephony and of WebRTC.", 5, 120),
    Row("report_ms_max", 2000, "Clients report each second; two missed reports are a stall.", 1, 60_000),
    Row("commit_point_ms", 0, "Nothing is beyond retraction until it was heard.", 0, 10_000),
)

CALLS: Final = (
    Row("provider_timeout_ms", 1000, "Contract §5 and §15.3: to the first chunk.", 1, DAY_MS),
    Row(
        "progress_ms_max",
        1000,
        "A stream silent for this long has failed, however long the whole answer is.",
        1,
        DAY_MS,
    ),
    Row("attempts_per_provider_max", 2, "Contract §7.", 1, 10),
    Row("attempts_total_max", 4, "Two providers tried twice; beyond that the turn's budget is gone.", 1, 50),
    Row("candidates_max", 5, "Contract §7.", 1, 5),
    Row("backoff_ms", 500, "Contract §7, on overload.", 0, DAY_MS),
    Row("backoff_ms_max", 4000, "A longer Retry-After outlasts the turn: switch instead.", 0, DAY_MS),
    Row("cancel_grace_ms", 75, "Contract §5 and §15.4.", 1, 10_000),
    Row("circuit_failures", 5, "Contract §7: one bad second is not an outage.", 1, 1_000),
    Row("circuit_window_ms", 30_000, "Contract §7.", 1, DAY_MS),
    Row("circuit_cooldown_ms", 10_000, "Contract §7: then one probe.", 1, DAY_MS),
    Row("fallback_reserve_ms", 250, "The fastest provider needs about this long to say anything.", 0, DAY_MS),
)

CAPS: Final = (
    Row("tokens_max", 0, "No cap: cost is the tenant's decision.", 0, 10_000_000),
    Row("audio_ms_max", 0, "No cap.", 0, DAY_MS),
    Row("characters_max", 0, "No cap.", 0, 10_000_000),
    Row("speculative_calls_max", 2, "As many as guesses at one utterance.", 0, 100),
    Row("on_cap", "truncate", "A shortened answer is better than none."),
)

LIMITS: Final = (
    Row("connect_ms_max", 10_000, "A caller hangs up before this.", 1, DAY_MS),
    Row("disconnect_ms_max", 30_000, "Contract §13: the cleanup deadline.", 1, DAY_MS),
    Row("drain_ms_max", 10_000, "A spoken answer ends within it; deployments wait no longer.", 1, DAY_MS),
    Row("close_ms_max", 2000, "Closing sockets and the last export; then they are dropped.", 1, DAY_MS),
    Row(
        "evidence_append_ms_max",
        50,
        "A local append takes well under one; at 50 the disk has failed.",
        1,
        60_000,
    ),
    Row("defer_retry_ms", 500, "A snapshot refresh takes about this long.", 1, DAY_MS),
    Row("defer_tries_max", 3, "1.5 s in all: within the turn's budget.", 0, 100),
    Row("queued_intents_max", 1, "Only the newest intent matters to somebody speaking.", 0, 100),
    Row("dedupe_keys_max", 1024, "Two minutes of retries at eight a second.", 1, 1_000_000),
    Row("dedupe_window_ms", 120_000, "Covers a reconnect and the retries around it.", 1, DAY_MS),
    Row(
        "late_window_ms",
        5000,
        "Providers that ignore a cancel go on for some seconds; then the fence is released.",
        1,
        DAY_MS,
    ),
    Row(
        "history_messages_max", 64, "About half an hour of talk; longer memory is a node's work.", 1, 100_000
    ),
    Row("payload_bytes_max", 65_536, "Two seconds of 16 kHz PCM; a frame is far smaller.", 256, 16_777_216),
    Row("lane_items_max.ControlLane", 32, CONTRACT, 1, 100_000),
    Row("lane_items_max.DataLane", 128, CONTRACT, 1, 100_000),
    Row(
        "lane_items_max.TelemetryLane",
        256,
        "Above its high mark of 200; contract §5 says 128, below that mark.",
        1,
        100_000,
    ),
    Row("snapshot_age_ms_max", 60_000, "Control-plane changes must reach turns within a minute.", 1, DAY_MS),
    Row(
        "durable_staleness_ms_max",
        5000,
        "What a caller said on the last line must be there on the next.",
        1,
        DAY_MS,
    ),
    Row("max_skew_ms", 50, "Lip sync and turn timing tolerate it; more is a broken clock.", 1, 60_000),
    Row("mapping_error_ms_max", 20, "One audio frame.", 1, 60_000),
    Row("reorder_wait_frames", 3, "60 ms: what a jitter buffer would wait.", 0, 100),
    Row("stall_ms_max", 2000, "No media for two seconds on a live line.", 1, DAY_MS),
)

RECORDING: Final = (
    Row("l1_fill", 0.8, "Contract §9: L2 falls to L1.", 0, 1),
    Row("l1_lag_ms", 2000, "Contract §9.", 1, DAY_MS),
    Row("l0_fill", 0.9, "Contract §9: L1 falls to L0.", 0, 1),
    Row("l0_lag_ms", 5000, "Contract §9.", 1, DAY_MS),
    Row("fill_hold_ms", 500, "Contract §9: shorter bursts do not count.", 0, DAY_MS),
    Row("recovery_fill", 0.5, "Well below the fall, so that levels do not swing.", 0, 1),
    Row("recovery_lag_ms", 500, "An export that keeps up lags by less.", 1, DAY_MS),
    Row("stability_window_ms", 30_000, "Half a minute of calm is calm.", 1, DAY_MS),
    Row("upgrades_permitted", False, "Contract §9: upward only if a policy permits."),
)

CHOICES: Final = (
    Row("overlap", "preempt", "Who speaks last is answered: that is conversation."),
    Row("late_events", "drop", "A closed turn never reopens; nothing is guessed from its remains."),
    Row("unknown_events", "reject", "Contract §1.1."),
    Row("bad_snapshot", "defer", "Contract §12: a refresh mostly mends it."),
    Row("error_reply.text", "", "Nothing is said unless the pipeline's author wrote it."),
    Row("degrade_on", ("tts",), "Without a voice the session can go on in text."),
    Row("allowed_adaptive_actions", ("retry", "provider_switch", "fallback"), "Contract §5."),
    Row("recording_policy.level", "L0", CONTRACT),
    Row("recording_policy.allowed_replay_modes", ("replay_decisions",), CONTRACT),
)

FLOW_CONTROL: Final = (
    Row("mode_by_lane.ControlLane", "signal", CONTRACT),
    Row("mode_by_lane.DataLane", "signal", CONTRACT),
    Row("mode_by_lane.TelemetryLane", "signal", CONTRACT),
    Row("watermarks.ControlLane.high", 20, CONTRACT, 1, 100_000),
    Row("watermarks.ControlLane.low", 10, CONTRACT, 0, 100_000),
    Row("watermarks.DataLane.high", 100, CONTRACT, 1, 100_000),
    Row("watermarks.DataLane.low", 50, CONTRACT, 0, 100_000),
    Row("watermarks.TelemetryLane.high", 200, CONTRACT, 1, 100_000),
    Row("watermarks.TelemetryLane.low", 100, CONTRACT, 0, 100_000),
    Row("shedding_strategy_by_lane.ControlLane", "none", CONTRACT),
    Row("shedding_strategy_by_lane.DataLane", "drop", CONTRACT),
    Row("shedding_strategy_by_lane.TelemetryLane", "sample", CONTRACT),
)

HANDOFF: Final = (
    Row("enabled", False, "Contract §7: off by default."),
    Row("min_partial_chars", 12, "Contract §7.", 1, 10_000),
    Row("trigger_on_punctuation", ".!?", "Contract §7."),
    Row(
        "max_partial_age_ms", 400, "Two syllables past a word: an older partial has been revised.", 1, DAY_MS
    ),
    Row("max_pending_revisions", 4, "Contract §7.", 1, 1_000),
    Row("max_pending_segments", 8, "About a spoken paragraph.", 1, 1_000),
    Row("coalesce_latest_only", True, "Contract §7."),
    Row("emit_flow_control_signals", False, "The edges emit theirs already."),
    Row("degrade_on_threshold_breach", False, "Falling back to finals is enough."),
)

TARGETS: Final = (
    Row(
        "end_to_end_p95_ms",
        2000,
        "Contract §14, gate 7: from the first frame in to the first sound.",
        1,
        DAY_MS,
    ),
    Row("alert_ratio", 1.0, "An alert as soon as the target is missed.", 0.1, 100),
    Row("alert_window_turns", 50, "Below it a p95 is the largest value and little else.", 1, 10_000),
)

SECTIONS: Final = {
    "budgets": BUDGETS,
    "targets": TARGETS,
    "policies.turn_taking": TURN_TAKING,
    "policies.playout": PLAYOUT,
    "policies.calls": CALLS,
    "policies.caps": CAPS,
    "policies.limits": LIMITS,
    "policies.recording": RECORDING,
    "policies": CHOICES,
    "policies.flow_control": FLOW_CONTROL,
    "policies.streaming_handoff.stt_to_llm": HANDOFF,
    "policies.streaming_handoff.llm_to_tts": HANDOFF,
}

ROWS: Final = {
    f"{section}.{row.path}": row._replace(path=f"{section}.{row.path}")
    for section, rows in SECTIONS.items()
    for row in rows
}
