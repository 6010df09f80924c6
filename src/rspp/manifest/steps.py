"""A step begins, and is routed: one at a time, each opened by the signal or by the token of the one before."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from rspp.contract.errors import InvariantBreach
from rspp.manifest import tokens
from rspp.manifest.document import (
    CurrentStep,
    Document,
    EngineRuns,
    Ledgers,
    Resume,
    Routing,
    StepStatus,
    is_met,
)
from rspp.manifest.forbidden import pattern_fault
from rspp.manifest.refused import Missing, Refused, listed
from rspp.manifest.updates import Routed, StepBegun
from rspp.manifest.world import Facts

# The keys of ROUTING that list names.
KEYS_OF_ROUTING: Final = (
    "REQUIRED_IDX",
    "REQUIRED_ROLES",
    "REQUIRED_ENG_KEYS",
    "REQUIRED_KB_KEYS",
    "REQUIRED_VAL_KEYS",
    "OUTPUT_CONTRACT",
)


def step_begun(document: Document, update: StepBegun, facts: Facts) -> Document:
    if not document.SESSION.SESSION_ID:
        raise Refused(
            "manifest_session_missing", "the manifest has no session; `rspp manifest init` begins one"
        )
    _check_open(document)
    _check_key(document, update, facts)
    if not update.goal.strip():
        raise Refused("value_invalid", "a step has a goal, in one line", "goal")
    step = CurrentStep(
        STEP_ID=_named(document, update.step, facts),
        STEP_GOAL=update.goal,
        ACTIVE_FOLDER=update.folder,
        ACTIVE_FILE=update.file,
    )
    return replace(document, CURRENT_STEP=step, ROUTING=Routing(), LEDGERS=Ledgers(), RESUME=Resume())


def routed(document: Document, update: Routed, facts: Facts) -> Document:
    check_running(document)
    if is_routed(document):
        raise Refused("manifest_step_routed", "this step was routed already; it is routed once")
    for name in KEYS_OF_ROUTING:
        if "" in getattr(update.routing, name):
            raise Refused("value_invalid", "an entry is empty", f"ROUTING.{name}")
    for pattern in update.routing.NO_GO_LIST:
        if fault := pattern_fault(pattern):
            raise Refused("value_invalid", fault, "ROUTING.NO_GO_LIST")
    if not facts.run_id:
        raise InvariantBreach("manifest_fact_missing", "no fresh run_id was at hand")
    ledgers = Ledgers(ENGINE_RUN_LEDGER=EngineRuns(run_id=facts.run_id))
    return replace(document, ROUTING=update.routing, LEDGERS=ledgers)


def check_running(document: Document) -> None:
    if not document.CURRENT_STEP.STEP_ID or document.CURRENT_STEP.STEP_STATUS is not StepStatus.RUNNING:
        raise Refused("manifest_no_step_runs", "no step runs; `rspp manifest step begin` begins one")


def is_routed(document: Document) -> bool:
    """A step's ledgers are opened when it is routed, also where its ROUTING asks for nothing."""
    return bool(document.LEDGERS.ENGINE_RUN_LEDGER.run_id)


def _check_open(document: Document) -> None:
    """One step at a time, and none after a step that ended without what it needs."""
    step = document.CURRENT_STEP
    if not step.STEP_ID:
        return
    if step.STEP_STATUS is StepStatus.RUNNING:
        raise Refused(
            "manifest_step_running", f"step {step.STEP_ID} runs ({step.STEP_GOAL}); give its result first"
        )
    if not document.RESUME.RESUME_ALLOWED:
        unmet = [one for one in document.RESUME.RESUME_REQUIREMENTS if not is_met(one)]
        fix = "Meet it with a file: `rspp manifest resume --met N --ref FILE`."
        missing = tuple(Missing(code="requirement_unmet", what=f"not met: {one}", fix=fix) for one in unmet)
        raise Refused(
            "manifest_resume_not_allowed",
            f"step {step.STEP_ID} ended with {step.STEP_STATUS}, and what it needs is not met: {listed(missing)}",
            missing=missing,
        )


def _check_key(document: Document, update: StepBegun, facts: Facts) -> None:
    """The first step of a session needs neither signal nor token; but what is given must be right."""
    last = document.CURRENT_STEP.STEP_ID
    if update.token:
        given = document.RESUME.RESUME_TOKEN
        code, why = tokens.wrong_with(
            update.token, given, document.SESSION.SESSION_ID, last, facts.used_tokens
        )
        if code:
            raise Refused(code, f"{why}; use RESUME_TOKEN as it stands, or give the signal", "token")
    if update.signal and not tokens.is_signal(update.signal):
        raise Refused("manifest_signal_wrong", f"the signal is {' or '.join(tokens.SIGNALS)}", "signal")
    if last and not update.token and not update.signal:
        known = " or ".join(tokens.SIGNALS)
        raise Refused(
            "manifest_signal_missing", f"the next step needs the signal ({known}) or the last RESUME_TOKEN"
        )


def _named(document: Document, wish: str, facts: Facts) -> str:
    """A step's name is used once in a session: its report, its token and its lines are told apart by it."""
    before = {*facts.steps, document.CURRENT_STEP.STEP_ID} - {""}
    if wish in before:
        raise Refused(
            "manifest_step_repeated",
            f"there was a step {wish} in this session; name this one otherwise",
            "step",
        )
    numbers = [int(one) for one in before if one.isascii() and one.isdecimal() and len(one) < 10]
    return wish or str(max((*numbers, len(before))) + 1)


__all__ = ["KEYS_OF_ROUTING", "check_running", "is_routed", "routed", "step_begun"]
