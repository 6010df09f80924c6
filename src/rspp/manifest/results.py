"""A step's end. PASS needs its proofs and opens the next step; FAIL and STOP_GAP say what must be met before there is one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from rspp.contract.errors import InvariantBreach
from rspp.manifest import tokens
from rspp.manifest.document import (
    MET,
    VAL_REPORT,
    Document,
    LastResult,
    PatchTracking,
    ResultStatus,
    Resume,
    StepStatus,
    is_met,
)
from rspp.manifest.forbidden import is_absolute
from rspp.manifest.ledgers import check_ref
from rspp.manifest.proofs import missing_for_pass
from rspp.manifest.refused import Missing, Refused, listed
from rspp.manifest.steps import check_running
from rspp.manifest.updates import RequirementMet, Resulted
from rspp.manifest.world import Facts

PACK_OUTPUT: Final = "PACK_OUTPUT"
# Short enough for the reference that will stand behind it, in the same line.
REQUIREMENT_CHARACTERS_MAX: Final = 800
_ARROW: Final = MET.strip()
_PATCHSET: Final = re.compile(r"(?P<name>.*?)(?P<number>[0-9]{1,9})")


def resulted(document: Document, update: Resulted, facts: Facts) -> Document:
    check_running(document)
    if update.status is StepStatus.RUNNING:
        raise Refused(
            "manifest_result_invalid", "RUNNING is no result; give PASS, FAIL or STOP_GAP", "status"
        )
    _check_changed(update.changed)
    if update.status is StepStatus.PASS:
        resume = _passed(document, update, facts)
    else:
        resume = Resume(RESUME_REQUIREMENTS=_required(update), RESUME_TARGET=update.target)
    return replace(
        document,
        CURRENT_STEP=replace(document.CURRENT_STEP, STEP_STATUS=update.status),
        LAST_RESULT=_last_result(document, update),
        PATCH_TRACKING=_patched(document.PATCH_TRACKING, update, facts),
        RESUME=resume,
    )


def requirement_met(document: Document, update: RequirementMet, facts: Facts) -> Document:
    step = document.CURRENT_STEP
    if step.STEP_STATUS not in (StepStatus.FAIL, StepStatus.STOP_GAP):
        raise Refused(
            "manifest_nothing_required", "only a step that failed or stopped has requirements to be met"
        )
    requirements = document.RESUME.RESUME_REQUIREMENTS
    at = _wanted(requirements, update.requirement)
    if is_met(requirements[at]):
        raise Refused("manifest_requirement_met", f"this was met already: {requirements[at]}", "requirement")
    check_ref("the requirement", update.ref, facts)
    if MET in update.ref:
        raise Refused(
            "manifest_ref_invalid", f"a file that meets a requirement has no `{_ARROW}` in its name", "ref"
        )
    after = (*requirements[:at], f"{requirements[at]}{MET}{update.ref}", *requirements[at + 1 :])
    resume = replace(document.RESUME, RESUME_REQUIREMENTS=after)
    if all(map(is_met, after)):
        resume = replace(resume, RESUME_ALLOWED=True, RESUME_TOKEN=_fresh(document, facts))
    return replace(document, RESUME=resume)


# --- PASS -----------------------------------------------------------------------------------------------------------


def _passed(document: Document, update: Resulted, facts: Facts) -> Resume:
    if update.requirements or update.fail_code or update.reasons or update.fixes:
        raise Refused(
            "manifest_result_invalid", "PASS with requirements, a FAIL_CODE, reasons or fixes is none"
        )
    if missing := (*missing_for_pass(document, facts, update.changed), *_aimless(update)):
        count = "1 thing is" if len(missing) == 1 else f"{len(missing)} things are"
        raise Refused(
            "manifest_pass_unproven", f"no PASS: {count} missing: {listed(missing)}", missing=missing
        )
    return Resume(RESUME_TOKEN=_fresh(document, facts), RESUME_ALLOWED=True, RESUME_TARGET=update.target)


def _aimless(update: Resulted) -> Iterator[Missing]:
    if not update.target.GOAL.strip():
        fix = "Say the goal of the next step, or NONE where nothing is left."
        yield Missing(code="target_missing", what="RESUME_TARGET has no GOAL", fix=fix)


def _fresh(document: Document, facts: Facts) -> str:
    if not facts.token:
        raise InvariantBreach("manifest_fact_missing", "no fresh token was at hand")
    token = tokens.bind(facts.token, document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID)
    if tokens.sha256_of(token) in facts.used_tokens:
        raise InvariantBreach("manifest_fact_missing", "the fresh token is not fresh")
    return token


# --- FAIL and STOP_GAP ----------------------------------------------------------------------------------------------


def _required(update: Resulted) -> tuple[str, ...]:
    if not update.requirements:
        why = f"{update.status} says what is needed to go on: at least one requirement"
        raise Refused("manifest_requirements_missing", why, "requirements")
    for one in update.requirements:
        if fault := requirement_fault(one):
            raise Refused("manifest_requirement_invalid", fault, "requirements")
    if len(set(update.requirements)) < len(update.requirements):
        raise Refused("manifest_requirement_invalid", "a requirement stands there twice", "requirements")
    return update.requirements


def requirement_fault(text: str) -> str:
    """Why a text is no requirement that somebody could meet; "" where it is one."""
    if not text.strip() or text != text.strip():
        return "a requirement is empty, or begins or ends with a space"
    if _ARROW in text:
        return f"a requirement has no `{_ARROW}` in it: that is how one says that it was met"
    if text.isdecimal():
        return "a requirement is more than a number: by their numbers they are met"
    if len(text) > REQUIREMENT_CHARACTERS_MAX:
        return f"a requirement has up to {REQUIREMENT_CHARACTERS_MAX} characters"
    return ""


def requirement_from(text: str) -> str:
    """A requirement that says what any text says, also the message of an exception."""
    plain = "".join(one for one in " ".join(text.split()) if one.isprintable())
    line = plain.replace(_ARROW, "->")[:REQUIREMENT_CHARACTERS_MAX].strip()
    return line if requirement_fault(line) == "" else f"mend what failed ({len(text)} characters say it)"


def _wanted(requirements: tuple[str, ...], wish: str) -> int:
    """Where the requirement stands that is meant, by its text or its number from 1."""
    texts = [one.rpartition(MET)[0] if is_met(one) else one for one in requirements]
    if wish in texts:
        return texts.index(wish)
    if wish.isascii() and wish.isdecimal() and len(wish) < 6 and 0 < int(wish) <= len(texts):
        return int(wish) - 1
    shown = "; ".join(f"{number} {text}" for number, text in enumerate(texts, start=1))
    raise Refused(
        "manifest_requirement_unknown", f"there is no such requirement. There is: {shown}", "requirement"
    )


# --- what is written for each ---------------------------------------------------------------------------------------


def _last_result(document: Document, update: Resulted) -> LastResult:
    refs = {entry.output: entry.ref for entry in document.LEDGERS.OUTPUT_LEDGER}
    return LastResult(
        STATUS=ResultStatus(update.status.value),
        FAIL_CODE=update.fail_code,
        FAIL_REASONS=update.reasons,
        FIX_LIST=update.fixes,
        VAL_REPORT_REF=refs.get(VAL_REPORT, ""),
        PACK_OUTPUT_REF=refs.get(PACK_OUTPUT, ""),
    )


def _patched(before: PatchTracking, update: Resulted, facts: Facts) -> PatchTracking:
    """Files are those of this step, also when there are none; the patchset is the last one that there was."""
    patchset = update.patchset
    if not patchset:
        patchset = _next_patchset(before.LAST_PATCHSET_ID) if update.changed else before.LAST_PATCHSET_ID
    return PatchTracking(
        LAST_PATCHSET_ID=patchset,
        LAST_FILES_CHANGED=tuple(dict.fromkeys(update.changed)),
        CHANGELOG_REF=facts.changelog,
        NEXT_POINTER=update.next_pointer or update.target.FILE,
    )


def _next_patchset(last: str) -> str:
    found = _PATCHSET.fullmatch(last)
    if found is None:
        return "PATCHSET_0001" if not last else f"{last[:180]}_2"
    number = found["number"]
    return f"{found['name']}{int(number) + 1:0{len(number)}}"


def _check_changed(paths: tuple[str, ...]) -> None:
    for path in paths:
        if not path.strip() or is_absolute(path):
            what = f"a changed file is named from the manifest's folder, not as {path or 'nothing'}"
            raise Refused("manifest_path_invalid", what, "changed")


__all__ = [
    "PACK_OUTPUT",
    "REQUIREMENT_CHARACTERS_MAX",
    "requirement_fault",
    "requirement_from",
    "requirement_met",
    "resulted",
]
