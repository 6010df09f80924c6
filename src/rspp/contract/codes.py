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
    "audio_packet_corrupt": _C("A packet that its codec cannot read.", "Send whole packets of the agreed codec."),
    "audio_frame_unsupported": _C("Frames of a length that is not served.", "Use one of the lengths that are named."),
    "wav_unreadable": _C("A file that is no readable WAV.", "Convert it to PCM WAV."),
    # --- sockets: how a connection ends, and what is refused on it ---------------------------------------------
    "address_unusable": _C("A server's address is taken or not ours.", "Choose another port, or stop who has it."),
    "hello_repeated": _C("A second hello on one connection.", "Say hello once; open another socket for another call."),
    "going_away": _C("The server stops.", "Connect again, to another server if there is one."),
    "normal": _C("The session ended as it should.", "Nothing to mend."),
    "hello_timeout": _C("No hello in time.", "Send hello as soon as the socket is open."),
    "hello_expected": _C("The first message is no readable hello.", "Send hello first."),
    "subprotocol_unsupported": _C("None of the offered subprotocols is known.", "Offer rspp.v1+json or rspp.v1+msgpack."),
    "token_refused": _C("The token does not open this tenant's door.", "Get a token, and send it in hello."),
    "message_too_large": _C("A message above the limit.", "Keep to the limits that welcome tells."),
    "format_unsupported": _C("An audio format that is not served.", "Use pcm16, mulaw or opus at 8 to 48 kHz."),
    "slow_reader": _C("The client does not read what it is sent.", "Read all the time; resume on a better line."),
    "flood": _C("More messages or bytes a second than agreed.", "Send sound as fast as it sounds."),
    "keepalive_timeout": _C("Nothing was heard of the client.", "Answer pings; resume when the line is back."),
    "sequence_replayed": _C("Frames whose sequence was seen before.", "Count frames up from 0, each number once."),
    "epoch_stale": _C("The session has moved to another epoch.", "Use the epoch of the last signal or welcome."),
    "too_many_connections": _C("The server has no room for more sockets.", "Try again later, or elsewhere."),
    "connect_rate_exceeded": _C("More new sockets a second than served.", "Wait and try again, later each time."),
    "resume_refused": _C("No such session, or not with this token.", "Begin a new session."),
    "taken_over": _C("The session goes on over another socket.", "Nothing to mend; this line is over."),
    "session_refused": _C("The host takes no session for this caller.", "See the reason; wait as long as it says."),
    "compression_refused": _C("A compressed message that is corrupt or swells too far.", "Send it uncompressed."),
    # --- local models -----------------------------------------------------------------------------------------
    "model_unknown": _C("A model that is not in the catalogue, or not the one that runs.", "See `rspp models list`."),
    "model_missing": _C("A model's files are not on this machine.", "Run `rspp models fetch NAME`."),
    "model_hash_mismatch": _C("A file is not the one that the catalogue names.", "Fetch it again; keep it out of use."),
    "model_source_failed": _C("A package with a model could not be taken.", "Check the package client's settings."),
    "model_failed": _C("A model raised while it ran.", "Try again; switch if it goes on."),
    "package_missing": _C("A package of an extra is not installed.", "Run `pip install 'rspp[EXTRA]'` with the extra that is named."),
    "provider_closed": _C("A call of a provider that is shut down.", "Begin no calls after the close."),
    "language_unknown": _C("A language that the model does not know.", "Use one that it knows, or another model."),
    "voice_unknown": _C("A voice that is not on this machine.", "Leave `voice` out, or use another provider."),
    "prompt_too_long": _C("More text than the model's context holds.", "Shorten it, or raise the context."),
    # --- schemas ----------------------------------------------------------------------------------------------
    "schema_reference_broken": _C("A $ref that leads nowhere.", "Keep all definitions under $defs of one file."),
    # --- inputs and calls of the kernel -----------------------------------------------------------------------
    "cancel_reason_unknown": _C("A cancel with an unknown reason.", "Use one of the cancel reasons."),
    "digit_unknown": _C("A key that telephones do not have.", "Send 0-9, *, # or A-D."),
    "credit_refused": _C("Credits for an edge that counts none.", "Grant credits on credit and hybrid edges."),
    "authority_epoch_mismatch": _C("An epoch that was not issued.", "Get a lease; do not retry with the old one."),
    "provider_timeout": _C("A provider did not answer in time.", "Retry within the budget, or switch."),
    "provider_overload": _C("A provider has no capacity.", "Wait as it asks, switch, or degrade."),
    # --- providers and their secrets --------------------------------------------------------------------------
    "provider_settings_invalid": _C("Settings that this kind of provider has not.", "Mend the field that is named."),
    "session_not_made": _C("A node's constructor failed.", "Mend that node; the log names the error."),
    "provider_unfit": _C("What was registered as a provider is none.", "Give it what the message names."),
    "provider_not_open": _C("A provider was called before it was opened.", "Await its `open` first."),
    "provider_no_endpoint": _C("A provider's address leads nowhere.", "Mend `base_url` in its settings."),
    "provider_unauthorised": _C("A provider does not accept the key.", "Check `api_key` and what it may do."),
    "provider_request_refused": _C("A provider does not take such a request.", "Check the model and the settings."),
    "provider_content_refused": _C("A provider will not answer this.", "Nothing to mend; say it to the caller."),
    "provider_server_error": _C("A provider failed.", "Retried and switched by policy; look at the provider."),
    "provider_status_unexpected": _C("A status that no answer has.", "Check that `base_url` is the API itself."),
    "provider_unreachable": _C("A provider cannot be reached.", "Check the address, the network and the server."),
    "provider_protocol_error": _C("An answer that is not what was agreed.", "Check that `base_url` is the API."),
    "provider_stream_truncated": _C("An answer ended before its end.", "Look at the provider, or what stands before it."),
    "provider_stream_error": _C("A provider told of an error in its answer.", "Look at the provider's own log."),
    "secret_reference_malformed": _C("A secret that is no reference.", "Write env://NAME or file:///PATH."),
    "secret_missing": _C("A reference to what is not there.", "Set the variable, or mount the file."),
    "secret_unusable": _C("A secret that is empty, unreadable or no text.", "Mend what the reference names."),
    "condition_attribute_absent": _C("A condition asks for what an event does not have.", "Set its `absent` rule."),
    "node_type_unknown": _C("A node of a type that is not registered.", "Register the type, or mend the spec."),
    "node_unknown": _C("A custom node that no package offers.", "Install its package, or mend the name."),
    "node_ambiguous": _C("Several packages offer one node.", "Uninstall all but one, or use `module:Class`."),
    "node_import_failed": _C("A custom node's module does not load.", "Mend what its import raised."),
    "node_class_missing": _C("A module without the class that is named.", "Mend `implementation`."),
    "node_declaration_invalid": _C("A node class whose declaration is not sound.", "Mend what is named."),
    "node_version_missing": _C("The pinned version of a node is not there.", "Install it, or pin what there is."),
    "node_hash_changed": _C("A node's source is not the one that was pinned.", "Review it, then pin it anew."),
    "node_module_shadowed": _C("Two modules of one name.", "Rename one of them."),
    "tool_settings_invalid": _C("Settings of a tool that cannot be used.", "Mend what is named."),
    "state_full": _C("A state holds as many keys as it may.", "Remove keys that are no longer needed."),
    "store_closed": _C("A store was asked after it was closed.", "Close it last, after whoever uses it."),
    "sampling_invalid": _C("A share of sessions that is none.", "Use a rate from 0 to 1."),
    "recording_level_skipped": _C("A recording level changed by more than one.", _OURS),
    "spool_in_use": _C("Two processes want one folder of the spool.", "Start it again; give each its own data folder."),
    "spool_unusable": _C("No folder for recordings can be made.", "Mend its rights, free space, or name another one."),
    "store_name_invalid": _C("A name that is empty, or longer than stores take.", "Use 1 to 1024 bytes of UTF-8."),
    "store_full": _C("A store, or its disk, has no room left.", "Free space, trim logs, or delete what is old."),
    "store_busy": _C("Another process kept a store's file locked for too long.", "Try again; find who holds it."),
    "store_overloaded": _C("More calls or watchers wait for a store than it serves.", "Send less at once; try again."),
    "store_unusable": _C("A store's file cannot be opened or written.", "Mend its rights, or name another file."),
    "store_damaged": _C("A file that is no store, or is broken.", "Restore it from a copy, or name another file."),
    "store_io_failed": _C("The disk under a store failed.", "Look at the disk and the process's limits; try again."),
    "store_contended": _C("Others keep changing what is to be changed.", "Try again; find who writes there."),
    "session_not_found": _C("There is no recording of such a session.", "`rspp sessions` lists what there is."),
    "session_deleted": _C("A recording that was deleted here.", "Leave it deleted, or import it into another data folder."),
    "session_ambiguous": _C("Several sessions are called so.", "Say more of the name, or the tenant."),
    "recording_damaged": _C("A part of a recording is not what its catalogue says.", "Restore the store from a copy."),
    "retention_policy_invalid": _C("A retention policy that cannot hold.", "Mend what is named; the contract has the limits."),
    "deletion_invalid": _C("A request to delete that does not say what it must.", "Name a tenant, a session or turn, and who asks."),
    "deletion_unsupported": _C("Recordings are not encrypted a session, so no key can be thrown away.", "Ask for hard_delete."),
    # --- who may read what was recorded ------------------------------------------------------------------------
    "invalid_request_attributes": _C(
        "An access request that lacks a field, or holds an unknown word.", "Name tenant, principal, role, purpose, scope."
    ),
    "policy_tenant_scope_missing": _C("The access policy does not know this tenant.", "Add the tenant to the policy."),
    "cross_tenant_denied": _C("What was asked for belongs to another tenant.", "Ask as a principal of that tenant."),
    "role_not_authorized": _C("The principal has not this role, or the role has no grant.", "Ask in a granted role."),
    "purpose_not_authorized": _C("No grant of the role covers this purpose.", "Name the true purpose, or have it granted."),
    "requested_fidelity_not_authorized": _C(
        "More detail was asked for than is granted.", "Ask for L0, or have the level granted."
    ),
    "invalid_requested_classes": _C(
        "Payload classes that are unknown or not granted.", "Ask for classes that the grant names, or for none."
    ),
    "audit_sink_unavailable": _C("There is no audit log to write to: no access.", "Open the store with the audit log."),
    "audit_event_invalid": _C("An audit record that is not whole: no access.", _OURS),
    "audit_sink_write_failed": _C("The audit log could not be written: no access.", "Mend the store; ask again."),
    "audit_chain_broken": _C(
        "The audit log was changed, or a part of it is gone.", "Compare with an exported copy; find who has write access."
    ),
    "access_policy_invalid": _C("The access policy cannot be used.", "Mend what is named; nothing is granted until then."),
    "redaction_policy_invalid": _C(
        "The redaction policy cannot be used.", "Mend what is named; nothing is recorded until then."
    ),
    "suite_empty": _C("A conformance suite without checks.", "Give it checks: none would prove nothing."),
    "turn_state_unreachable": _C("Turn state asked for outside a turn.", "Use session state there."),
    # --- pools and shared inference of the host ---------------------------------------------------------------
    "execution_pool_saturated": _C("A pool has no place left.", "Send less, or give the pool more workers or room."),
    "execution_pool_closed": _C("A pool takes no more work: the host drains.", "Go to another host."),
    "execution_pool_deadline": _C("Work was not done within its deadline.", "Give it more time, or the pool less work."),
    "execution_pool_work_failed": _C("Work ended in a way that no result can carry.", "Raise an ordinary error instead."),
    "execution_pool_other_loop": _C("A pool, or a batcher, used from a second event loop.", "Make one for each loop."),
    "node_concurrency_limited": _C("A key has as many pieces running as it may.", "Wait for one, or raise its limit."),
    "session_busy": _C("A session's inbox had no room for a message.", "Send it again, and less at once."),
    "inference_queue_full": _C("A shared model has no place left in its queue.", "Send less, or run another host."),
    "inference_queue_deadline": _C("A request waited longer for a shared model than it may.", "Send less, or run another host."),
    "inference_failed": _C("A shared model raised on this request.", "Look at the request; its neighbours were served."),
    "inference_result_count": _C("A model gave not one result a request.", "Mend the model's `infer`: one each, in order."),
    "inference_closed": _C("A shared model is being shut down.", "Go to another host."),
    "sessions_full": _C("All sessions of this process are taken.", "Try again after the time that is told, or elsewhere."),
    "tenant_sessions_full": _C("The tenant has as many sessions as it may.", "End one, or raise the tenant's limit."),
    "runtime_draining": _C("This process takes no new sessions.", "Go to another one; this one is about to stop."),
    "session_exists": _C("A session of this name runs.", "Resume it, or choose another name."),
    "pipeline_missing": _C("The process serves no pipeline yet.", "Publish one, or try again."),
    "pipeline_unknown": _C("The process serves no such pipeline version.", "Ask for one that it serves."),
    "provider_unknown": _C("No kind of provider has this name.", "`rspp providers` lists what is installed."),
    "transport_not_started": _C("A transport was used before it was started.", "Await `start` first."),
    "collector_already_running": _C("A second collector in one process.", "Start one; collection is the process's."),
    "control_lane_overflow": _C("The control lane is full.", _OURS),
    "timer_storm": _C("Deadlines are set that are past already.", _OURS),
    "runtime_internal_error": _C("The runtime or a node failed.", _OURS),
    # --- replay -----------------------------------------------------------------------------------------------
    "replay_mode_missing": _C("A replay without its mode.", "Say where outputs come from; it is never guessed."),
    "replay_mode_unknown": _C("A mode that there is not, or an alias of one.", "Use the names of the contract."),
    "replay_mode_mismatch": _C("A result, or a cursor, of another mode.", "Ask for that mode, or replay anew."),
    "replay_inputs_insufficient": _C("What is here is not enough to decide anew.", "Simulate again instead."),
    "replay_inputs_missing": _C("The recording has no inputs.", "Record at L1 or above; walk the decisions instead."),
    "replay_outputs_missing": _C("The recording has no outputs to play.", "Record at L1; or ask for decisions only."),
    "replay_sound_missing": _C("A model would have to hear what was not kept.", "Record at L2, or play that model."),
    "replay_node_missing": _C("The pipeline lacks the node of a recorded input.", "Keep the node, or its modality."),
    "replay_stop_malformed": _C("A place to stop at that makes no sense.", "Write it as the message shows."),
    "recorded_output_missing": _C("A call for which nothing was recorded.", "Call the provider live, or accept it."),
    "cursor_malformed": _C("A file that is no cursor.", "Save one with `rspp replay --save`."),
    "cursor_other_recording": _C("A cursor of another recording.", "Use the recording that it was saved from."),
    "cursor_past_end": _C("A cursor that stands past the end.", "Save it anew."),
    "cursor_digest_mismatch": _C("A replay is not where its cursor was.", "Replay anew: cursor or code has changed."),
    "plan_tampered": _C("A turn's plan is not the one that was hashed.", "Trust it no more; find the original."),
    "plan_missing": _C("A turn's plan is not in its recording.", "Find the whole recording."),
    "evidence_tampered": _C("Evidence is not what the kernel stored.", "Trust it no more; find the original."),
    "snapshot_missing": _C("A plan or evidence does not name its snapshots.", "Find the whole recording."),
    "determinism_context_incomplete": _C("A seed, rule, marker or outside input is not on record.", "Find the original."),
    "replay_diverged": _C("A replay did not do what was recorded.", "Look at the position; compare versions."),
    "shrink_nothing_fails": _C(
        "The recording, done again, does not show the failure.", "Run the code that shows it, or check for something else."
    ),
    "shrink_check_unknown": _C("No check is called this.", "Say divergence, invariant, violation, signal or predicate."),
}  # fmt: skip
