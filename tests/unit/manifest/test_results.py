"""How a step ends, and what must be met before there is a next one."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rspp.contract.codes import CODES
from rspp.manifest import updates as u
from rspp.manifest.document import (
    PatchTracking,
    Resume,
    ResumeTarget,
    StepStatus,
)
from rspp.manifest.results import requirement_fault, requirement_from
from rspp.manifest.rules import state_of
from tests.unit.manifest.work import NEXT, Work

PASS, FAIL, STOP_GAP = StepStatus.PASS, StepStatus.FAIL, StepStatus.STOP_GAP
replace = msgspec.structs.replace


def refused(work: Work, update: u.Update, code: str, **facts: Any) -> str:
    """The sentence of a refusal, whose code is in the table of codes."""
    error = work.refused(update, **facts)
    assert error.code == code
    assert code in CODES
    return error.message


def ended(status: StepStatus, **how: Any) -> u.Resulted:
    return u.Resulted(status=status, **how)


def test_a_proven_step_passes_and_opens_the_next_one() -> None:
    work = Work().proven().passed(changed=("a.py", "b.py", "a.py"), patchset="PATCHSET_0007")
    document = work.document
    token = document.RESUME.RESUME_TOKEN
    assert Resume(RESUME_TOKEN=token, RESUME_ALLOWED=True, RESUME_TARGET=NEXT) == document.RESUME
    assert work.ref("val.json") == document.LAST_RESULT.VAL_REPORT_REF
    assert (
        PatchTracking(
            LAST_PATCHSET_ID="PATCHSET_0007",
            LAST_FILES_CHANGED=("a.py", "b.py"),
            CHANGELOG_REF="CHANGELOG",
            NEXT_POINTER="next.yaml",
        )
        == document.PATCH_TRACKING
    )
    assert state_of(document) == "waiting"
    assert work.missing() == ()


def test_a_pass_after_which_nothing_is_left_is_done() -> None:
    work = Work().proven().passed(target=ResumeTarget(GOAL="NONE"))
    assert state_of(work.document) == "done"


def test_a_pass_says_what_is_next() -> None:
    error = Work().proven().refused(ended(PASS))
    assert error.code == "manifest_pass_unproven"
    assert [one.code for one in error.missing] == ["target_missing"]


def test_a_pass_is_refused_with_everything_that_is_missing_at_once() -> None:
    error = Work().begin().route().refused(ended(PASS, changed=("x.key",)))
    assert error.code == "manifest_pass_unproven"
    assert [one.code for one in error.missing] == [
        "role_missing",
        "role_missing",
        "engine_missing",
        "validator_missing",
        "nothing_ran",
        "output_missing",
        "output_missing",
        "no_go_changed",
        "target_missing",
    ]
    assert all(one.what and one.fix.endswith(".") for one in error.missing)
    assert all(one.what in error.message for one in error.missing)


@pytest.mark.parametrize(
    "how", [{"requirements": ("x",)}, {"fail_code": "x"}, {"reasons": ("x",)}, {"fixes": ("x",)}]
)
def test_a_pass_that_says_how_it_failed_is_none(how: dict[str, Any]) -> None:
    refused(Work().proven(), ended(PASS, target=NEXT, **how), "manifest_result_invalid")


def test_running_is_no_result() -> None:
    refused(Work().proven(), ended(StepStatus.RUNNING, requirements=("x",)), "manifest_result_invalid")


@pytest.mark.parametrize("path", ["", " ", "/etc/passwd", "C:/x", "\\\\server\\x"])
@pytest.mark.parametrize("status", [PASS, FAIL])
def test_a_changed_file_is_named_from_the_folder(status: StepStatus, path: str) -> None:
    requirements = () if status is PASS else ("x",)
    update = ended(status, target=NEXT, changed=("a.py", path), requirements=requirements)
    refused(Work().proven(), update, "manifest_path_invalid")


@pytest.mark.parametrize("status", [FAIL, STOP_GAP])
def test_a_step_that_fails_or_stops_closes_the_way_until_its_requirements_are_met(status: StepStatus) -> None:
    work = (
        Work().begin().fell("bring the plan", "mend the disk", status=status, fail_code="F", reasons=("r",))
    )
    assert Resume(RESUME_REQUIREMENTS=("bring the plan", "mend the disk")) == work.document.RESUME
    assert (work.document.LAST_RESULT.FAIL_CODE, work.document.LAST_RESULT.FAIL_REASONS) == ("F", ("r",))
    assert state_of(work.document) == ("failed" if status is FAIL else "stopped")
    update = u.StepBegun(goal="x", signal="го")
    assert "bring the plan; not met: mend" in refused(work, update, "manifest_resume_not_allowed")
    work.say(u.RequirementMet(requirement="mend the disk", ref=work.ref("plan.json")))
    assert state_of(work.document) != "waiting"
    assert [one.what for one in work.refused(update).missing] == ["not met: bring the plan"]
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    assert work.document.RESUME.RESUME_ALLOWED
    assert state_of(work.document) == "waiting"
    token = work.document.RESUME.RESUME_TOKEN
    assert work.begin(signal="", token=token).document.CURRENT_STEP.STEP_ID == "2"


def test_a_step_that_stopped_is_waiting_even_where_it_says_that_nothing_is_left() -> None:
    work = Work().begin().fell(target=ResumeTarget(GOAL="NONE"))
    work.say(u.RequirementMet(requirement="1", ref=work.ref("plan.json")))
    assert state_of(work.document) == "waiting"


@pytest.mark.parametrize("status", [FAIL, STOP_GAP])
def test_a_step_cannot_fail_or_stop_without_a_requirement(status: StepStatus) -> None:
    refused(Work().begin(), ended(status), "manifest_requirements_missing")


@pytest.mark.parametrize(
    "wrong", ["", " ", "a ", " a", "a => b", "a=>b", "12", "٣", "x" * 801, "bring the plan"]
)
def test_a_requirement_that_nobody_could_meet_is_refused(wrong: str) -> None:
    update = ended(FAIL, requirements=("bring the plan", wrong))
    refused(Work().begin(), update, "manifest_requirement_invalid")


@pytest.mark.parametrize("text", ["", "a => b", " 12 ", "٣", "x\ny", "=\x00>", "x" * 5000, "\udcff", "plain"])
def test_a_requirement_can_be_made_of_any_text(text: str) -> None:
    made = requirement_from(text)
    assert requirement_fault(made) == ""
    assert (made,) == Work().begin().fell(made).document.RESUME.RESUME_REQUIREMENTS
    assert made == "plain" or text != "plain"


def test_the_longest_requirement_can_still_be_met() -> None:
    work = Work().begin().fell("x" * 800)
    work.files["d/" * 400 + "plan"] = b"far down"
    work.say(u.RequirementMet(requirement="1", ref=work.ref("d/" * 400 + "plan")))
    assert work.document.RESUME.RESUME_ALLOWED


def test_a_requirement_is_met_once_by_a_file_that_is_there() -> None:
    work = Work().begin().fell("bring the plan", "mend it")
    ref = work.ref("plan.json")
    for wish in ("3", "0", "-1", "\u0661", "bring", "", "9" * 9000):
        said = refused(work, u.RequirementMet(requirement=wish, ref=ref), "manifest_requirement_unknown")
        assert "1 bring the plan; 2 mend it" in said
    gone = "gone.json#sha256=" + "0" * 64
    refused(work, u.RequirementMet(requirement="1", ref=gone), "manifest_ref_unresolved")
    other = "plan.json#sha256=" + "0" * 64
    refused(work, u.RequirementMet(requirement="1", ref=other), "manifest_ref_differs")
    refused(work, u.RequirementMet(requirement="1", ref="plan.json"), "manifest_ref_invalid")
    refused(work, u.RequirementMet(requirement="1", ref=""), "manifest_ref_invalid")
    work.files["a => b"] = b"x"
    refused(work, u.RequirementMet(requirement="1", ref=work.ref("a => b")), "manifest_ref_invalid")
    work.say(u.RequirementMet(requirement="1", ref=ref))
    assert (f"bring the plan => {ref}", "mend it") == work.document.RESUME.RESUME_REQUIREMENTS
    refused(work, u.RequirementMet(requirement="1", ref=ref), "manifest_requirement_met")
    refused(work, u.RequirementMet(requirement="bring the plan", ref=ref), "manifest_requirement_met")


def test_only_a_step_that_failed_or_stopped_has_something_to_be_met() -> None:
    work = Work().begin()
    update = u.RequirementMet(requirement="1", ref=work.ref("plan.json"))
    refused(work, update, "manifest_nothing_required")
    refused(work.route().prove().passed(), update, "manifest_nothing_required")


def test_files_are_those_of_the_last_step_and_patchsets_are_numbered_on() -> None:
    work = Work().begin().fell(changed=("a.py",)).document.PATCH_TRACKING
    assert (work.LAST_PATCHSET_ID, work.LAST_FILES_CHANGED) == ("PATCHSET_0001", ("a.py",))
    again = Work().proven().passed(changed=("a.py",), patchset="P_0009").begin().route().prove()
    assert again.passed().document.PATCH_TRACKING.LAST_FILES_CHANGED == ()
    assert again.document.PATCH_TRACKING.LAST_PATCHSET_ID == "P_0009"
    again.begin().route().prove().passed(changed=("b.py",))
    assert again.document.PATCH_TRACKING.LAST_PATCHSET_ID == "P_0010"
    again.begin().route().prove().passed(changed=("b.py",), patchset="mine")
    again.begin().route().prove().passed(changed=("b.py",))
    assert again.document.PATCH_TRACKING.LAST_PATCHSET_ID == "mine_2"
    again.begin().route().prove().passed(next_pointer="there.yaml")
    assert again.document.PATCH_TRACKING.NEXT_POINTER == "there.yaml"


def test_where_the_pack_lies_is_said_in_the_result() -> None:
    work = Work().proven()
    work.say(u.OutputTold(output="PACK_OUTPUT", ref=work.ref("plan.json")))
    assert work.ref("plan.json") == work.passed().document.LAST_RESULT.PACK_OUTPUT_REF
