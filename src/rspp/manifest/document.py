"""The manifest's sections and keys, exactly as they stand in the file and in its order.

A document is a value: it is never changed, only followed by another one. What may follow what is said in `rules`; this file
says what a key may hold at all.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

# One line, as a person reads it; an item of a list; how many items a list may have.
LINE_CHARACTERS_MAX: Final = 2_000
ITEMS_MAX: Final = 2_000

Line = Annotated[str, Meta(max_length=LINE_CHARACTERS_MAX, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Key = Annotated[str, Meta(max_length=200, pattern=r"\A[^\x00-\x20\x7f]*\Z")]
Date = Annotated[str, Meta(pattern=r"\A(\d{4}-\d{2}-\d{2})?\Z")]
Lines = Annotated[tuple[Line, ...], Meta(max_length=ITEMS_MAX)]
Keys = Annotated[tuple[Key, ...], Meta(max_length=ITEMS_MAX)]


class Owner(StrEnum):
    USER = "USER"
    TEAM = "TEAM"


class StepStatus(StrEnum):
    RUNNING = "RUNNING"
    PASS = "PASS"
    FAIL = "FAIL"
    STOP_GAP = "STOP_GAP"


class ResultStatus(StrEnum):
    NONE = "NONE"
    PASS = "PASS"
    FAIL = "FAIL"
    STOP_GAP = "STOP_GAP"


class Ran(StrEnum):
    """What became of a role, an engine or a validator."""

    RAN = "ran"
    SKIPPED = "skipped"
    FAILED = "failed"


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys in the file's order; every one of them is there, also when it is empty."""


class Session(Section, frozen=True, kw_only=True):
    SESSION_ID: Key = ""
    STARTED_AT: Date = ""
    UPDATED_AT: Date = ""
    OWNER: Owner = Owner.USER
    MODE: Key = "REPO"


class CurrentStep(Section, frozen=True, kw_only=True):
    STEP_ID: Key = ""
    STEP_STATUS: StepStatus = StepStatus.RUNNING
    STEP_GOAL: Line = ""
    NEXT_SIGNAL_REQUIRED: bool = True
    USER_SIGNAL: Line = "го"
    ACTIVE_FOLDER: Line = ""
    ACTIVE_FILE: Line = ""


class Routing(Section, frozen=True, kw_only=True):
    """What the step must do, and what it must not touch."""

    DOMAIN: Line = ""
    ARTIFACT_TYPE: Line = ""
    PROFILE_KEY: Line = ""
    PIPE_SELECTED: Line = ""
    REQUIRED_IDX: Keys = ()
    REQUIRED_ROLES: Keys = ()
    REQUIRED_ENG_KEYS: Keys = ()
    REQUIRED_KB_KEYS: Keys = ()
    REQUIRED_VAL_KEYS: Keys = ()
    OUTPUT_CONTRACT: Keys = ()
    NO_GO_LIST: Lines = ()


class RoleEntry(Section, frozen=True, kw_only=True):
    role: Key
    status: Ran
    outputs_produced: Lines = ()
    notes: Line = ""


class EngineEntry(Section, frozen=True, kw_only=True):
    """An engine, or a validator: both are known by their key."""

    eng_key: Key
    status: Ran
    outputs_produced: Lines = ()
    notes: Line = ""


class EngineRuns(Section, frozen=True, kw_only=True):
    run_id: Key = ""
    entries: Annotated[tuple[EngineEntry, ...], Meta(max_length=ITEMS_MAX)] = ()


class OutputEntry(Section, frozen=True, kw_only=True):
    """`ref` is a file beside the manifest, or below its folder, with what it was: `PATH#sha256=HEX`."""

    output: Key
    present: bool = False
    source: Key = ""
    ref: Line = ""


class Ledgers(Section, frozen=True, kw_only=True):
    ROLE_LEDGER: Annotated[tuple[RoleEntry, ...], Meta(max_length=ITEMS_MAX)] = ()
    ENGINE_RUN_LEDGER: EngineRuns = EngineRuns()
    OUTPUT_LEDGER: Annotated[tuple[OutputEntry, ...], Meta(max_length=ITEMS_MAX)] = ()


class LastResult(Section, frozen=True, kw_only=True):
    STATUS: ResultStatus = ResultStatus.NONE
    FAIL_CODE: Key = ""
    FAIL_REASONS: Lines = ()
    FIX_LIST: Lines = ()
    VAL_REPORT_REF: Line = ""
    PACK_OUTPUT_REF: Line = ""


class PatchTracking(Section, frozen=True, kw_only=True):
    LAST_PATCHSET_ID: Key = ""
    LAST_FILES_CHANGED: Lines = ()
    CHANGELOG_REF: Line = ""
    NEXT_POINTER: Line = ""


class ResumeTarget(Section, frozen=True, kw_only=True):
    FILE: Line = ""
    GOAL: Line = ""


class Resume(Section, frozen=True, kw_only=True):
    """A requirement that has been met reads `REQUIREMENT => PATH#sha256=HEX`."""

    RESUME_TOKEN: Key = ""
    RESUME_ALLOWED: bool = False
    RESUME_REQUIREMENTS: Lines = ()
    RESUME_TARGET: ResumeTarget = ResumeTarget()


class Document(Section, frozen=True, kw_only=True):
    """The whole of it; `Document()` is the blank instance."""

    SESSION: Session = Session()
    CURRENT_STEP: CurrentStep = CurrentStep()
    ROUTING: Routing = Routing()
    LEDGERS: Ledgers = Ledgers()
    LAST_RESULT: LastResult = LastResult()
    PATCH_TRACKING: PatchTracking = PatchTracking()
    RESUME: Resume = Resume()


SECTIONS: Final = Document.__struct_fields__
MET: Final = " => "
# What a report of validation is called among the outputs; no step passes without it.
VAL_REPORT: Final = "VAL_REPORT"

_CANON: Final = msgspec.json.Encoder(order="deterministic").encode


def digest(value: object) -> str:
    """Of what a document or a part of it says, however it is written down."""
    return hashlib.sha256(_CANON(value)).hexdigest()


def changed(before: Document, after: Document) -> tuple[str, ...]:
    """The sections that differ, in the file's order."""
    return tuple(name for name in SECTIONS if getattr(before, name) != getattr(after, name))


def is_met(requirement: str) -> bool:
    return MET in requirement


class ValCheck(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that was validated."""

    key: str
    verdict: str  # pass, fail, skipped
    message: str = ""
    fix: str = ""


class ValReport(msgspec.Struct, frozen=True, kw_only=True):
    """The file behind VAL_REPORT, in JSON: of which step it is, and what it says. Anybody may write one."""

    session: str
    step: str
    verdict: str  # pass or fail
    checks: tuple[ValCheck, ...] = ()
    # The step's run_id: sessions and steps of one name come again, in another folder or on another day, and this does not.
    # A report that leaves it out is taken for one of this step.
    run: str = ""
    schema: str = "rspp-val-report-v1"
