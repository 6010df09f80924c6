"""Every stable code of the contract and the kernel, with what it means and what to do about it.

A code may be relied on by programs and is never reused; the words beside it may change. The problems of a spec have
codes of their own, which `rspp lint` prints together with a hint; `SPEC_PREFIX` sets them apart in shared tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

SPEC_PREFIX: Final = "spec."


class CodeRule(msgspec.Struct, frozen=True, gc=False):
    """What a code says, and what whoever reads it should do."""

    meaning: str
    remedy: str


_C = CodeRule
_OURS: Final = "Keep the session's journal and report it: this is a defect of RSPP."

CODES: Final[Mapping[str, CodeRule]] = {
    # --- bytes ------------------------------------------------------------------------------------------------
    "payload_too_large": _C("More bytes than the limit.", "Send smaller messages, or raise the limit."),
    "nesting_too_deep": _C("Arrays and maps nest deeper than the limit.", "Flatten the message."),
    "malformed": _C("The bytes are not of the encoding.", "Check which encoding was negotiated."),
    "truncated": _C("The message ends too early.", "Send whole messages; check the framing."),
    "trailing_bytes": _C("Something follows the message.", "Send one message at a time; check the framing."),
    "text_not_utf8": _C("Text that is not UTF-8.", "Encode all text as UTF-8."),
    "key_not_text": _C("A map key that is not text.", "Use text for every key."),
    "key_repeated": _C("One map has the same key twice.", "Send each key once; its meaning would be a guess."),
    "number_not_finite": _C("NaN or an infinity.", "Leave the value out when there is none."),
    "number_out_of_range": _C("A number that no field can hold.", "Integers fit 64 bits, floats a double."),
    "extension_type_refused": _C("A MessagePack extension type.", "Use plain MessagePack types."),
    "encoding_unsupported": _C("None of the offered encodings is known.", "Offer `msgpack` or `json`."),
    # --- fields -----------------------------------------------------------------------------------------------
    "schema_version_unsupported": _C(
        "A version that this runtime cannot read.", "Upgrade the reader, or write one of the supported versions."
    ),
    "schema_version_malformed": _C("The version is not like v1.0.", "Write vMAJOR.MINOR or vMAJOR.MINOR.PATCH."),
    "schema_validation_error": _C("The message is not what its schema says.", "Mend the field that is named."),
    "field_missing": _C("A field that is due is absent.", "Send it; no default is assumed."),
    "field_unknown": _C("A field that the schema does not have.", "Remove it, or put it under `extensions`."),
    "field_forbidden": _C("A field that may not stand here.", "Remove it."),
    "field_empty": _C("An identifier without characters.", "Send its value, or leave an optional one out."),
    "type_mismatch": _C("A value of the wrong type.", "Send the type that the schema names."),
    "word_unknown": _C("A word outside its closed set.", "Use one of the words of the schema."),
    "tag_unknown": _C("A payload of an unknown type.", "Use one of the payload types of the schema."),
    "value_invalid": _C("A value that its field does not allow.", "Keep to the bounds of the schema."),
    "number_negative": _C("A count, time or sequence below 0.", "Send 0 or more."),
    # --- envelopes --------------------------------------------------------------------------------------------
    "event_kind_unknown": _C("An event kind that is not known.", "Use a core kind, or namespace an extension."),
    "lane_mismatch": _C("The lane is not that of the event's kind.", "Control goes with ControlLane, and so on."),
    "payload_mismatch": _C("The payload does not fit the kind or the fields beside it.", "Send them alike."),
    "payload_class_mismatch": _C("Control whose class is not metadata.", "Tag control events `metadata`."),
    "authority_epoch_missing": _C("No authority epoch past ingress.", "Enrich it from the routing view; no default."),
    "media_time_missing": _C("Raw audio without its media time.", "Count samples from the stream's start."),
    "media_time_ambiguous": _C("Not exactly one media time.", "Send `sample_index` or `pts_ms`, not both."),
    "sync_domain_missing": _C("A discontinuity without its domain.", "Name the domain that was cut."),
    "merge_lineage_invalid": _C("Merged ids without a group, repeated, or not 1 to 64.", "Name each source once."),
    "late_outside_turn": _C("`late_after_cancel` outside a turn.", "Only what belongs to a turn can be late for it."),
    "seq_range_invalid": _C("A range that ends before it starts.", "Send start <= end, both 0 or more."),
    "amount_invalid": _C("An amount below 1.", "Grant at least one credit, or send nothing."),
    "extension_not_namespaced": _C("An extension without a namespace.", "Name it like `vendor.field`."),
    "extension_shadows_core": _C("An extension with the name of a core field.", "Choose another name."),
    "sequence_regressed": _C("A sequence that goes backwards in a batch.", "Send the batch in order."),
    "idempotency_key_missing": _C("An input without its key.", "Send one key per input, stable over retries."),
    # --- signals and decisions --------------------------------------------------------------------------------
    "signal_unknown": _C("A signal that is not registered.", "Use one of the registry; it is closed."),
    "signal_emitter_illegal": _C("A signal from a module that may not emit it.", "See the registry's emitters."),
    "signal_scope_illegal": _C("A signal in the wrong scope.", "See the registry's scopes."),
    "decision_illegal": _C("An outcome that its emitter may not decide there.", "See the table of decisions."),
    "decision_reason_unknown": _C("A reason outside the closed set.", "Use one of `DecisionReason`."),
    "refusal_followed_by_terminal": _C("A turn that was never opened has a terminal.", "Refusals have none."),
    # --- streams ----------------------------------------------------------------------------------------------
    "audio_rate_unsupported": _C("A sample rate that is not served.", "Use 8000, 16000, 24000 or 48000 Hz."),
    "audio_codec_unsupported": _C("A codec that is not served.", "Use pcm16, opus, pcmu or mulaw."),
    "audio_channels_unsupported": _C("More than two channels, or none.", "Send one or two channels."),
    "audio_empty": _C("A chunk without samples that does not end its stream.", "Send samples, or the end."),
    "audio_size_mismatch": _C("Bytes and samples do not agree.", "PCM has two bytes a sample and channel."),
    "audio_format_changed": _C("The format changed inside a stream.", "End the stream and begin another."),
    "audio_overlap": _C("A chunk that starts before the last one ended.", "Send chunks in order, each once."),
    "audio_after_end": _C("A chunk after the end of its stream.", "End a stream once, with its last chunk."),
    "audio_end_missing": _C("A stream that was never ended.", "Send a chunk with `end` set."),
    "text_reordered": _C("Text that does not go forward.", "Raise the revision with each change."),
    "text_after_final": _C("A revision of a segment that is final.", "Begin the next segment."),
    "text_final_repeated": _C("A second final of one segment.", "Send one final a segment."),
    "text_final_changed": _C("A final that was edited.", "A final never changes; amend by a new segment."),
    "text_final_missing": _C("A segment without a final.", "Finish each segment before the next."),
    # --- schemas ----------------------------------------------------------------------------------------------
    "schema_reference_broken": _C("A $ref that leads nowhere.", "Keep all definitions under $defs of one file."),
    # --- inputs and calls of the kernel -----------------------------------------------------------------------
    "cancel_reason_unknown": _C("A cancel with an unknown reason.", "Use one of the cancel reasons."),
    "digit_unknown": _C("A key that telephones do not have.", "Send 0-9, *, # or A-D."),
    "credit_refused": _C("Credits for an edge that counts none.", "Grant credits on credit and hybrid edges."),
    "authority_epoch_mismatch": _C("An epoch that was not issued.", "Get a lease; do not retry with the old one."),
    "provider_timeout": _C("A provider did not answer in time.", "Retry within the budget, or switch."),
    "provider_overload": _C("A provider has no capacity.", "Wait as it asks, switch, or degrade."),
    "condition_attribute_absent": _C("A condition asks for what an event does not have.", "Set its `absent` rule."),
    "node_type_unknown": _C("A node of a type that is not registered.", "Register the type, or mend the spec."),
    "state_full": _C("A state holds as many keys as it may.", "Remove keys that are no longer needed."),
    "turn_state_unreachable": _C("Turn state asked for outside a turn.", "Use session state there."),
    "control_lane_overflow": _C("The control lane is full.", _OURS),
    "timer_storm": _C("Deadlines are set that are past already.", _OURS),
    "runtime_internal_error": _C("The runtime or a node failed.", _OURS),
    "replay_diverged": _C("A replay did not do what was recorded.", "Look at the position; compare versions."),
}  # fmt: skip
