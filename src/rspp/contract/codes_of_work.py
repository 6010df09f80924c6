"""The codes of work on a project: what its manifest, verification, releases and certificates say. Part of `codes.CODES`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.contract.code_rule import OURS, CodeRule

_C = CodeRule

CODES_OF_WORK: Final[Mapping[str, CodeRule]] = {
    # --- conformance and its certificates
    "certificate_invalid": _C("A file that is no certificate.", "Issue one: `rspp conformance PORT TARGET --out FILE`."),
    "certificate_void": _C("A certificate that proves nothing.", "Run the suite again; do not edit what it wrote."),
    "conformance_target_wrong": _C(
        "What was named is no target for this port.", "Name what the message says; `rspp conformance --list` shows all."
    ),
    "conformance_profile_invalid": _C(
        "A profile that cannot be used.", "Let it add to what is mandatory; the standard's own cannot be taken away."
    ),
    "conformance_store_used": _C(
        "A store that is not empty.", "Name an empty one, or say --allow-used: what is there is left alone."
    ),
    "turn_state_unreachable": _C("Turn state asked for outside a turn.", "Use session state there."),
    # --- what a release says --------------------------------------------------------------------------------------
    "release_unknown": _C("No release of that name was begun here.", "Look at the name, and at the data folder: --data."),
    "release_unreadable": _C("A release's own files cannot be read.", "Bring them back; or begin again with --restart."),
    "release_report_unreadable": _C("A report of a release is not what it was.", "Bring it back, or make it again: `rspp release resume --refresh`."),
    "release_spec_invalid": _C("A spec that does not say which pipeline it is.", "`rspp lint` names each fault."),
    "release_other_plane": _C("A release is not continued at another control plane.", "Name the one that it began with: --server or --store."),
    "release_begun": _C("A release of this version was begun already.", "`rspp release resume` goes on with it; --restart begins again."),
    "release_published": _C("The release that is there has published its version.", "Give the spec another `version`."),
    "release_over": _C("A release that has come to its end.", "Begin another one; the message says of what."),
    "release_not_met": _C("What the release lacks is still lacking.", "Do what the message says, then resume."),
    "lint_failed": _C("The spec to be released has problems.", "Mend it, and `rspp release run SPEC`."),
    "compile_failed": _C("The spec to be released does not compile.", "Mend it, and `rspp release run SPEC`."),
    "replay_failed": _C("The corpus diverges or is slower under the new version.", "See the report; mend, or expect it in regress.yaml."),
    "gates_failed": _C("Recordings fail a release gate.", "See the report for the turns; record and judge anew."),
    "unfit": _C("A gate report that may carry no release.", "Make a new one with `rspp gates`."),
    "spec_changed": _C("The spec is not what the release began with.", "Put it back, or `rspp release run SPEC` anew."),
    "reports_stale": _C("Reports too old to publish on.", "`rspp release resume --refresh` makes them again."),
    "approval_waiting": _C("Somebody else must consent first.", "The requirement is the command for them; then resume."),
    "approval_rejected": _C("Somebody did not consent.", "Ask why; begin another release once they agree."),
    "version_taken": _C("Another content was published under this version.", "Give the spec another `version`."),
    "rollout_taken": _C("Another canary is out.", "Promote it or roll it back; then resume."),
    "too_few_sessions": _C("An observation saw too little to say anything.", "`rspp release resume --observe-more`, or --min-sessions."),
    "canary_unhealthy": _C("The canary did not keep up, and was taken back.", "See what was seen; mend it as a new version."),
    "canary_gone": _C("Somebody has withdrawn the canary.", "Find out who: `rspp control rollout show`."),
    "ledger_mismatch": _C("Ledgers and audit log do not say the same.", "Look at each difference that is named."),
    "control_refused": _C("The control plane said no.", "The message has its own code and sentence; resume asks again."),
    "not_proven": _C("A step of a release lacks its proofs.", "See to each thing that is named; resume tries again."),
    "interrupted": _C("A step was given up in the middle.", "Nothing: what it did is in its ledgers."),
    "aborted": _C("The release was given up.", "Begin another one."),
    # --- what the verification of a project says ---------------------------------------------------------------------
    "contract_broken": _C("A schema, page, code, layer or pipeline is not what it must be.", "Mend each finding of the engine `contract`."),
    "simulator_violation": _C("A simulated call broke a rule, or a planted bug was not caught.", "Repeat the call with the command that is named; mend the kernel or the checker."),
    "gates_unfit": _C("Recordings fail a release gate, or the report of them may carry no release.", "Look at the sessions that are named; record and judge anew."),
    "engine_broken": _C("An engine of `rspp verify` ended without a word, or contradicted itself.", "Read its log, which is named; mend what ended it, then `--resume`."),
    "engine_timeout": _C("An engine of `rspp verify` took longer than it may.", "Read its log for what it waited for; or give it more with `--timeout`."),
    "verify_incomplete": _C("Not all that the level asks for was run.", "Run the level without `--only` and `--skip`, and give each engine what it looks at."),
    "verify_nothing": _C("Nothing there is that could be verified.", "Name the folder of a project: pipelines, recordings, a lock file."),
    "verify_ground_changed": _C("Files changed while they were verified.", "Leave the project alone until the run has ended; `--resume` runs everything anew."),
    "verify_no_ground": _C("There is no such folder to verify.", "Name the folder of a project."),
    "verify_too_large": _C("More files or bytes than are verified at once.", "Name a smaller folder; leave what tools made to `.gitignore`."),
    "verify_no_session": _C("There is no run of `rspp verify` that could go on.", "Run it without `--resume`."),
    "verify_waits": _C("The run in this work folder has not ended well.", "Go on with `--resume`, or name another work folder."),
    "verify_unproven": _C("The manifest refused the PASS of a run.", "Bring back what it says is missing, then `--resume`."),
    # --- what a project is made of ------------------------------------------------------------------------------------
    "dependency_unsafe": _C("A dependency is not pinned, has a known fault, or may not be used under its licence.", "Mend each one as it says, or say in `verify.yaml` why it may stay."),
    "installed_changed": _C("An installed package is not what was installed.", "Install it anew from the lock, and find out who changed it."),
    "secret_found": _C("A file of the project holds a secret.", "Take it out, change it where it is valid, and keep it in a secret store."),
    "verify_settings_invalid": _C("`verify.yaml` says what nobody understands.", "Mend the line or the field that is named."),
    # --- `rspp manifest`: what it runs and reads -------------------------------------------------------------------------
    "manifest_checks_missing": _C("A report of validation before its checks.", "Run each that is named: `rspp manifest check KEY -- COMMAND`."),
    "manifest_checks_stale": _C("An output is newer than what was checked.", "Run the check again, then report."),
    "manifest_runs_exhausted": _C("One key was run too often in one step.", "End the step, and begin another one."),
    # --- a manifest on disk ---------------------------------------------------------------------------------------------
    "manifest_missing": _C("There is no manifest where one was looked for.", "`rspp manifest init` begins one, `resume --restore` brings one back."),
    "manifest_invalid": _C("The file says what no manifest says.", "Mend each line that is named; nothing was written."),
    "manifest_syntax": _C("A file that is no YAML of a manifest.", "Mend the line that is named."),
    "manifest_block": _C("A Markdown file without its one manifest.", "Leave one block with all seven sections."),
    "manifest_key_unknown": _C("A key that no manifest has.", "Take it out, or write it as the message proposes."),
    "manifest_key_missing": _C("A key that every manifest has is not there.", "Write it, also when it is empty."),
    "manifest_value_invalid": _C("A key holds what it may not.", "Write it as the message asks."),
    "manifest_cut_short": _C("A line of the trace is not in the file yet.", "Nothing: the next update completes it."),
    "manifest_trace_torn": _C("The last line of the trace has no end.", "Nothing: the next update cuts it, and says so."),
    "manifest_trace_missing": _C("A session without its trace.", "Bring the TRACE back, or begin a new session."),
    "manifest_edited": _C("The file was saved by somebody else while it was written.", "Say it again."),
    "manifest_unsettled": _C("A disk failed twice: a line stands that is not in the file.", "Mend the disk; the update holds."),
    "manifest_name_taken": _C("A manifest called as a file that lies beside one.", "Call it otherwise, as RUNTIME_MANIFEST.yaml."),
    "manifest_trace_other": _C("A trace of a manifest of another name.", "Call the file as the trace says, or give it its own."),
    "manifest_too_large": _C("A manifest larger than one may be.", "Say less in it; move what is no manifest elsewhere."),
    "manifest_unwritable": _C("A file of the manifest cannot be read or written.", "Mend what is named; nothing was changed."),
    "manifest_locked": _C("Somebody else writes the manifest.", "Wait until the holder that is named is done, or ask."),
    "manifest_lock_foreign": _C("Another host took the lock and never gave it back.", "See there that nothing writes, then take it over."),
    "manifest_trace_full": _C("A line or a trace longer than may be.", "Say less in one update, or begin a new session."),
    "manifest_no_go_too_many": _C("NO_GO_LIST holds more files than are compared.", "Name fewer, or say a smaller root."),
    "manifest_route_invalid": _C("What a step was routed with is no ROUTING.", "Mend what is named."),
    "manifest_step_unsaid": _C("A step was left without a word about how it ended.", "Say passed, failed or stopped before its end."),
    # --- what may be said to a manifest --------------------------------------------------------------------------------
    "manifest_session_there": _C("A session is begun in a manifest that has one.", "Begin it in another file."),
    "manifest_session_missing": _C("A step is begun in a manifest without a session.", "`rspp manifest init` begins one."),
    "manifest_step_running": _C("A step is begun while another runs.", "Give the result of the one that runs first."),
    "manifest_step_repeated": _C("A step has the name of an earlier one.", "Name it otherwise, or leave its name out."),
    "manifest_step_routed": _C("A step is routed twice.", "End it, and route the next one as it must be."),
    "manifest_step_unrouted": _C("A ledger is written before the step was routed.", "Route the step first."),
    "manifest_no_step_runs": _C("No step runs that this could be about.", "`rspp manifest step begin` begins one."),
    "manifest_signal_missing": _C("The next step needs a signal or a token.", "Give `го` or `go`, or the RESUME_TOKEN."),
    "manifest_signal_wrong": _C("A signal that is none.", "Give `го` or `go`."),
    "manifest_token_wrong": _C("A token that the last result did not give.", "Use RESUME_TOKEN as it stands."),
    "manifest_token_used": _C("A token that opened a step already.", "Each opens one; use that of the last result."),
    "manifest_token_foreign": _C("A token of another session.", "Use the RESUME_TOKEN of this manifest."),
    "manifest_token_other_step": _C("A token of an earlier step.", "Use the RESUME_TOKEN of the last result."),
    "manifest_resume_not_allowed": _C("The last step ended without what it needs.", "Meet each requirement that is named."),
    "manifest_result_invalid": _C("A result that contradicts itself.", "Leave out what does not belong to its status."),
    "manifest_pass_unproven": _C("A PASS without its proofs.", "Do all that is named, and say it again."),
    "manifest_requirements_missing": _C("FAIL or STOP_GAP that needs nothing.", "Say what must be there to go on."),
    "manifest_requirement_invalid": _C("A requirement that nobody could meet.", "Say it as the message asks."),
    "manifest_requirement_unknown": _C("No requirement of that text or number.", "Use one of those that are named."),
    "manifest_requirement_met": _C("A requirement is met twice.", "Leave it: it was met."),
    "manifest_nothing_required": _C("No requirement waits to be met.", "Look where the work stands: `rspp manifest show`."),
    "manifest_ref_invalid": _C("A reference without what its file was.", "Name a file as PATH#sha256=HEX."),
    "manifest_ref_unresolved": _C("A reference to a file that is not there.", "Make the file, below the manifest's folder."),
    "manifest_ref_differs": _C("A file that is not what its reference says.", "Name it again as it is now."),
    "manifest_path_invalid": _C("A changed file that cannot be placed.", "Name it from the manifest's folder."),
    "manifest_impossible": _C("Keys that contradict each other.", "Mend them, or `rspp manifest resume --restore`."),
    "manifest_hand_written": _C("The file says what its trace does not know.", "`rspp manifest resume --restore`, then say it."),
    "manifest_trace_broken": _C("The trace is not intact.", "Find the whole TRACE; `rspp manifest validate` says what is wrong."),
    "manifest_fact_missing": _C("The shell did not gather what an update needs.", OURS),
}  # fmt: skip
