"""Combinations that no update leads to, each a rule with a name. A file edited by hand is told which ones it breaks.

What a key may hold by itself is said in `document`; here is what keys may not say together. The blank template breaks none of
these, and no document that the rules make does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from rspp.manifest import tokens
from rspp.manifest.document import (
    VAL_REPORT,
    CurrentStep,
    Document,
    LastResult,
    Ledgers,
    PatchTracking,
    ResultStatus,
    Resume,
    Routing,
    StepStatus,
    is_met,
)
from rspp.manifest.entries import Found, dates, files, ledgers, outputs, requirements, routing
from rspp.manifest.results import PACK_OUTPUT


class Impossible(msgspec.Struct, frozen=True, kw_only=True):
    """One combination that cannot be. `key` is the way to it below its section: `ROLE_LEDGER[0].role`."""

    rule: str
    section: str
    key: str
    message: str


class Never(msgspec.Struct, frozen=True):
    """What a document may not say: in one sentence, and how that is seen."""

    name: str
    section: str
    key: str
    message: str
    broken: Callable[[Document], bool]


def impossible(document: Document) -> tuple[Impossible, ...]:
    """Every rule that a document breaks, in the file's order of the rules; nothing where it can be."""
    return (
        *(
            Impossible(rule=rule.name, section=rule.section, key=rule.key, message=rule.message)
            for rule in RULES
            if rule.broken(document)
        ),
        *(
            Impossible(rule=name, section=section, key=key, message=message)
            for name, section, find in EACH
            for key, message in find(document)
        ),
    )


def _started(document: Document) -> bool:
    return bool(document.CURRENT_STEP.STEP_ID)


def _running(document: Document) -> bool:
    return document.CURRENT_STEP.STEP_STATUS is StepStatus.RUNNING


def _passed(document: Document) -> bool:
    return document.CURRENT_STEP.STEP_STATUS is StepStatus.PASS


def _fell(document: Document) -> bool:
    return document.CURRENT_STEP.STEP_STATUS in (StepStatus.FAIL, StepStatus.STOP_GAP)


def _met(document: Document) -> bool:
    return all(map(is_met, document.RESUME.RESUME_REQUIREMENTS))


def _bound(document: Document) -> bool:
    """Whether the token is of this session and this step."""
    token = document.RESUME.RESUME_TOKEN
    chance = token.split("-", 2)[-1]
    return token == tokens.bind(chance, document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID)


def _ref_of(document: Document, output: str) -> str:
    return next((one.ref for one in document.LEDGERS.OUTPUT_LEDGER if one.output == output), "")


def _unrouted(document: Document) -> bool:
    return not document.LEDGERS.ENGINE_RUN_LEDGER.run_id


def _without_step(document: Document) -> bool:
    """Whether what only a step can leave behind is there, and no step is."""
    return not _started(document) and (
        CurrentStep(
            NEXT_SIGNAL_REQUIRED=document.CURRENT_STEP.NEXT_SIGNAL_REQUIRED,
            USER_SIGNAL=document.CURRENT_STEP.USER_SIGNAL,
        )
        != document.CURRENT_STEP
    )


RULES: Final = (
    # --- SESSION ---
    Never("session_unnamed", "SESSION", "SESSION_ID", "a step without a session",
         lambda d: _started(d) and not d.SESSION.SESSION_ID),
    Never("session_undated", "SESSION", "STARTED_AT", "a session that never began, or a date without a session",
         lambda d: bool(d.SESSION.SESSION_ID) != bool(d.SESSION.STARTED_AT)),
    Never("session_not_updated", "SESSION", "UPDATED_AT", "a session is dated when it begins, and not before",
         lambda d: bool(d.SESSION.STARTED_AT) != bool(d.SESSION.UPDATED_AT)),
    Never("session_back_in_time", "SESSION", "UPDATED_AT", "UPDATED_AT lies before STARTED_AT",
         lambda d: bool(d.SESSION.UPDATED_AT) and d.SESSION.UPDATED_AT < d.SESSION.STARTED_AT),
    # --- CURRENT_STEP ---
    Never("signal_not_required", "CURRENT_STEP", "NEXT_SIGNAL_REQUIRED", "no step follows another without a signal or token",
         lambda d: not d.CURRENT_STEP.NEXT_SIGNAL_REQUIRED),
    Never("signal_other", "CURRENT_STEP", "USER_SIGNAL", f"the signal is {' or '.join(tokens.SIGNALS)}",
         lambda d: not tokens.is_signal(d.CURRENT_STEP.USER_SIGNAL)),
    Never("step_unnamed", "CURRENT_STEP", "STEP_ID", "without a STEP_ID there is no step: no status, goal, folder or file",
         _without_step),
    Never("step_aimless", "CURRENT_STEP", "STEP_GOAL", "a step has a goal",
         lambda d: _started(d) and not d.CURRENT_STEP.STEP_GOAL.strip()),
    # --- ROUTING and LEDGERS ---
    Never("routing_without_step", "ROUTING", "", "ROUTING without a step",
         lambda d: not _started(d) and Routing() != d.ROUTING),
    Never("routing_without_ledgers", "LEDGERS", "ENGINE_RUN_LEDGER.run_id", "ROUTING of a step that was not routed: no run_id",
         lambda d: _started(d) and _unrouted(d) and Routing() != d.ROUTING),
    Never("ledgers_without_step", "LEDGERS", "", "LEDGERS without a step",
         lambda d: not _started(d) and Ledgers() != d.LEDGERS),
    Never("ledgers_unrouted", "LEDGERS", "ENGINE_RUN_LEDGER.run_id", "entries of a step that was not routed: no run_id",
         lambda d: _started(d) and _unrouted(d) and Ledgers() != d.LEDGERS),
    # --- LAST_RESULT ---
    Never("result_without_step", "LAST_RESULT", "STATUS", "a result without a step",
         lambda d: not _started(d) and d.LAST_RESULT.STATUS is not ResultStatus.NONE),
    Never("result_other", "LAST_RESULT", "STATUS", "STATUS is not the STEP_STATUS of a step that is over",
         lambda d: not _running(d) and d.LAST_RESULT.STATUS.value != d.CURRENT_STEP.STEP_STATUS.value),
    Never("result_of_nothing", "LAST_RESULT", "STATUS", "NONE with reasons, fixes, a code or references",
         lambda d: d.LAST_RESULT.STATUS is ResultStatus.NONE and LastResult() != d.LAST_RESULT),
    Never("pass_with_code", "LAST_RESULT", "FAIL_CODE", "PASS with a FAIL_CODE",
         lambda d: d.LAST_RESULT.STATUS is ResultStatus.PASS and bool(d.LAST_RESULT.FAIL_CODE)),
    Never("pass_with_reasons", "LAST_RESULT", "FAIL_REASONS", "PASS with FAIL_REASONS",
         lambda d: d.LAST_RESULT.STATUS is ResultStatus.PASS and bool(d.LAST_RESULT.FAIL_REASONS)),
    Never("pass_with_fixes", "LAST_RESULT", "FIX_LIST", "PASS with a FIX_LIST",
         lambda d: d.LAST_RESULT.STATUS is ResultStatus.PASS and bool(d.LAST_RESULT.FIX_LIST)),
    Never("report_other", "LAST_RESULT", "VAL_REPORT_REF", "VAL_REPORT_REF is not the ref of VAL_REPORT in OUTPUT_LEDGER",
         lambda d: not _running(d) and _ref_of(d, VAL_REPORT) != d.LAST_RESULT.VAL_REPORT_REF),
    Never("pack_other", "LAST_RESULT", "PACK_OUTPUT_REF", "PACK_OUTPUT_REF is not the ref of PACK_OUTPUT in OUTPUT_LEDGER",
         lambda d: not _running(d) and _ref_of(d, PACK_OUTPUT) != d.LAST_RESULT.PACK_OUTPUT_REF),
    # --- PATCH_TRACKING ---
    Never("patch_of_nothing", "PATCH_TRACKING", "", "PATCH_TRACKING before any result",
         lambda d: d.LAST_RESULT.STATUS is ResultStatus.NONE and PatchTracking() != d.PATCH_TRACKING),
    Never("patch_unnamed", "PATCH_TRACKING", "LAST_PATCHSET_ID", "files were changed by a patchset without an id",
         lambda d: bool(d.PATCH_TRACKING.LAST_FILES_CHANGED) and not d.PATCH_TRACKING.LAST_PATCHSET_ID),
    # --- RESUME ---
    Never("resume_without_end", "RESUME", "", "RESUME says something while the step runs, or before there is one",
         lambda d: _running(d) and Resume() != d.RESUME),
    Never("pass_not_resumable", "RESUME", "RESUME_ALLOWED", "PASS with RESUME_ALLOWED false",
         lambda d: _passed(d) and not d.RESUME.RESUME_ALLOWED),
    Never("pass_aimless", "RESUME", "RESUME_TARGET.GOAL", "PASS without the GOAL of what is next, or NONE",
         lambda d: _passed(d) and not d.RESUME.RESUME_TARGET.GOAL.strip()),
    Never("pass_requires", "RESUME", "RESUME_REQUIREMENTS", "PASS with requirements",
         lambda d: _passed(d) and bool(d.RESUME.RESUME_REQUIREMENTS)),
    Never("fail_requires_nothing", "RESUME", "RESUME_REQUIREMENTS", "FAIL or STOP_GAP without a requirement",
         lambda d: _fell(d) and not d.RESUME.RESUME_REQUIREMENTS),
    Never("allowed_unmet", "RESUME", "RESUME_ALLOWED", "RESUME_ALLOWED with a requirement that was not met",
         lambda d: d.RESUME.RESUME_ALLOWED and not _met(d)),
    Never("met_not_allowed", "RESUME", "RESUME_ALLOWED", "RESUME_ALLOWED false with each requirement met",
         lambda d: bool(d.RESUME.RESUME_REQUIREMENTS) and _met(d) and not d.RESUME.RESUME_ALLOWED),
    Never("allowed_without_token", "RESUME", "RESUME_TOKEN", "RESUME_ALLOWED without a token",
         lambda d: d.RESUME.RESUME_ALLOWED and not d.RESUME.RESUME_TOKEN),
    Never("token_not_allowed", "RESUME", "RESUME_TOKEN", "a token with RESUME_ALLOWED false",
         lambda d: bool(d.RESUME.RESUME_TOKEN) and not d.RESUME.RESUME_ALLOWED),
    Never("token_foreign", "RESUME", "RESUME_TOKEN", "the token is of another session or step",
         lambda d: bool(d.RESUME.RESUME_TOKEN) and not _bound(d)),
)  # fmt: skip

# What holds of each entry of a list.
EACH: Final[tuple[tuple[str, str, Callable[[Document], Iterator[Found]]], ...]] = (
    ("date_unreal", "SESSION", dates),
    ("routing_entry", "ROUTING", routing),
    ("ledger_entry", "LEDGERS", ledgers),
    ("output_entry", "LEDGERS", outputs),
    ("file_entry", "PATCH_TRACKING", files),
    ("requirement_entry", "RESUME", requirements),
)

__all__ = ["EACH", "RULES", "Impossible", "Never", "impossible"]
