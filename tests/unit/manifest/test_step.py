"""A step in Python: what is said of it is in the manifest, and it never ends without a result."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rspp.contract.errors import MisuseError
from rspp.manifest import Manifest, Step
from rspp.manifest.document import MET, CurrentStep, Document, ResumeTarget, Routing, ValCheck, ValReport
from rspp.manifest.faults import ManifestError
from rspp.manifest.refused import Refused
from rspp.manifest.updates import RequirementMet, StepBegun
from tests.unit.manifest.dying import DyingDisk

ROUTE = {"REQUIRED_ROLES": ["QA"], "REQUIRED_ENG_KEYS": ["E"], "OUTPUT_CONTRACT": ["PLAN"]}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    (tmp_path / "work").mkdir()
    return Manifest.create(
        tmp_path / "work" / "RUNTIME_MANIFEST.yaml", "s-1", port=DyingDisk(), lock_wait_s=0.0
    )


def prove(manifest: Manifest, step: Step) -> None:
    (manifest.folder / "plan.json").write_text("{}")
    report = ValReport(
        session=step.session, step=step.id, verdict="pass", checks=(ValCheck(key="k", verdict="pass"),)
    )
    (manifest.folder / "report.json").write_bytes(msgspec.json.encode(report))
    step.role("QA").ran(outputs=["PLAN", "plan.json", Path("report.json")], notes="two\nlines")
    step.engine("E").ran()
    step.output("PLAN", "plan.json", source="QA")
    step.output("VAL_REPORT", manifest.folder / "report.json")


def test_a_step_is_said_as_it_goes_and_passes(manifest: Manifest) -> None:
    with manifest.step("compile", route=ROUTE, target=ResumeTarget(GOAL="publish", FILE="next.md")) as step:
        assert (step.id, step.session, step.is_over) == ("1", "s-1", False)
        prove(manifest, step)
        step.changed("a.py", Path("b.py"))
        step.changed("a.py")
        step.passed(patchset="P-7")
        assert step.is_over
    document = manifest.document
    (role,) = document.LEDGERS.ROLE_LEDGER
    assert role.outputs_produced == ("PLAN", manifest.ref("plan.json"), manifest.ref("report.json"))
    assert role.notes == "two lines"
    assert document.PATCH_TRACKING.LAST_FILES_CHANGED == ("a.py", "b.py")
    assert ResumeTarget(GOAL="publish", FILE="next.md") == document.RESUME.RESUME_TARGET
    assert [line.what for line in manifest.trace()][-1] == "result"
    assert (manifest.folder / "RUNTIME_MANIFEST.lock").read_bytes() == b""
    with pytest.raises(MisuseError, match="is over"):
        step.role("QA").skipped("late")


def test_a_pass_without_proofs_is_refused_and_becomes_a_fail_with_what_was_missing(
    manifest: Manifest,
) -> None:
    with pytest.raises(Refused) as refusal, manifest.step("compile", route=ROUTE) as step:
        step.passed()
    result = manifest.document.LAST_RESULT
    assert (result.STATUS, result.FAIL_CODE) == ("FAIL", "manifest_pass_unproven")
    assert set(result.FAIL_REASONS) == {one.what for one in refusal.value.missing}
    assert result.FIX_LIST
    assert manifest.validate().ok


def test_a_refused_pass_may_be_proven_and_said_again(manifest: Manifest) -> None:
    with manifest.step("compile", route=ROUTE) as step:
        with pytest.raises(Refused):
            step.passed()
        prove(manifest, step)
        step.passed()
    assert manifest.document.LAST_RESULT.STATUS == "PASS"
    assert manifest.snapshot().state == "done"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a => b\nsecond line"), "exception:ValueError"),
        (KeyboardInterrupt(), "exception:KeyboardInterrupt"),
        (SystemExit(3), "exception:SystemExit"),
        (MisuseError("field_missing", "x" * 5000), "field_missing"),
        (OSError("\udc80"), "exception:OSError"),
    ],
)
def test_an_exception_inside_records_fail_and_goes_on_up(
    manifest: Manifest, error: BaseException, code: str
) -> None:
    with pytest.raises(type(error)) as raised, manifest.step("compile", route=ROUTE):
        raise error
    assert raised.value is error
    document = manifest.document
    assert ("FAIL", code) == (document.LAST_RESULT.STATUS, document.LAST_RESULT.FAIL_CODE)
    (requirement,) = document.RESUME.RESUME_REQUIREMENTS
    assert requirement.startswith("Mend: ")
    assert MET not in requirement
    assert manifest.validate().ok
    assert (manifest.folder / "RUNTIME_MANIFEST.lock").read_bytes() == b""


def test_a_step_that_is_left_without_a_word_failed(manifest: Manifest) -> None:
    with pytest.raises(MisuseError) as error, manifest.step("compile"):
        pass
    assert error.value.code == "manifest_step_unsaid"
    assert manifest.document.LAST_RESULT.FAIL_CODE == "manifest_step_unsaid"


def test_what_cannot_be_recorded_is_noted_at_the_exception(manifest: Manifest) -> None:
    def work() -> None:
        (manifest.folder / "TRACE").rename(manifest.folder / "away")
        (manifest.folder / "TRACE").mkdir()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine") as error, manifest.step("compile"):
        work()
    assert "could not be recorded" in error.value.__notes__[0]


def test_a_step_that_failed_is_gone_on_with_once_its_requirements_are_met(manifest: Manifest) -> None:
    with manifest.step("compile") as step:
        step.failed("broken", ["it broke"], fixes=["mend the disk"])
    assert manifest.document.RESUME.RESUME_REQUIREMENTS == ("mend the disk",)
    with pytest.raises(Refused, match="not met"), manifest.step("again", signal="go"):
        raise AssertionError("it began")
    (manifest.folder / "proof.txt").write_text("mended")
    manifest.say(RequirementMet(requirement="mend the disk", ref=manifest.ref("proof.txt")))
    with manifest.step("again", token=manifest.document.RESUME.RESUME_TOKEN) as step:
        step.stopped(["a key"], reasons=["no key"])
    assert manifest.document.CURRENT_STEP.STEP_STATUS == "STOP_GAP"
    assert [line.what for line in manifest.trace()] == ["init", "step", "result", "met", "step", "result"]


def test_a_step_holds_the_lock_until_its_end(manifest: Manifest) -> None:
    other = Manifest(manifest.path, by="boris", lock_wait_s=0.0)
    with manifest.step("compile") as step:
        with pytest.raises(ManifestError, match="a step: compile"):
            other.say(StepBegun(goal="mine"))
        step.stopped(["a key"])


def test_a_step_whose_process_died_is_gone_on_with(manifest: Manifest) -> None:
    manifest.say(StepBegun(goal="compile"))
    later = Manifest(manifest.path, port=DyingDisk())
    with later.go_on() as step:
        assert step.id == "1"
        step.route(msgspec.convert(ROUTE, Routing))
        prove(later, step)
        step.passed()
    assert later.document.LAST_RESULT.STATUS == "PASS"
    with pytest.raises(MisuseError, match="no step runs"), later.go_on():
        raise AssertionError("it went on")


def test_what_is_said_of_a_step_is_said_of_no_other(manifest: Manifest) -> None:
    with manifest.step("compile") as step:
        step.stopped(["a key"])
    other = Step(manifest, Document(CURRENT_STEP=CurrentStep(STEP_ID="7")))
    with pytest.raises(MisuseError, match="not the present one"):
        other.stopped(["another"])
    assert manifest.document.RESUME.RESUME_REQUIREMENTS == ("a key",)


def test_threads_may_speak_of_one_step(manifest: Manifest) -> None:
    with manifest.step("compile", route={}) as step:
        threads = [threading.Thread(target=step.engine(f"E{number}").ran) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        step.stopped(["a key"])
    assert {entry.eng_key for entry in manifest.document.LEDGERS.ENGINE_RUN_LEDGER.entries} == {
        f"E{number}" for number in range(6)
    }
    assert manifest.validate().ok


@pytest.mark.parametrize(
    "text",
    [
        "REQUIRED_ROLES: [QA]\nDOMAIN: SYS\n",
        "# a token\nROUTE_TOKEN:\n  REQUIRED_ROLES:\n    - QA\n  DOMAIN: SYS\n",
        '{"ROUTING": {"REQUIRED_ROLES": ["QA"], "DOMAIN": "SYS"}}',
    ],
)
def test_a_route_may_be_a_file(manifest: Manifest, text: str) -> None:
    (manifest.folder / "route.yaml").write_text(text)
    with manifest.step("compile", route="route.yaml") as step:
        step.stopped(["a key"])
    assert Routing(DOMAIN="SYS", REQUIRED_ROLES=("QA",)) == manifest.document.ROUTING


@pytest.mark.parametrize(
    "route",
    ["none.yaml", {"REQUIRED_ROLE": []}, {"DOMAIN": 3}, "bad.yaml", "list.yaml", ".", "not-utf8.yaml"],
)
def test_a_route_that_is_none_begins_no_step(manifest: Manifest, route: Any) -> None:
    (manifest.folder / "bad.yaml").write_text("DOMAIN: SYS\nREQUIRED_ROLE: []\n")
    (manifest.folder / "list.yaml").write_text("- a\n")
    (manifest.folder / "not-utf8.yaml").write_bytes(b"\xff")
    with pytest.raises(ManifestError) as error, manifest.step("compile", route=route):
        raise AssertionError("it began")
    assert error.value.code in ("manifest_route_invalid", "manifest_unwritable")
    if route == "bad.yaml":
        assert [(fault.line, fault.fix) for fault in error.value.faults] == [
            (2, "Did you mean REQUIRED_ROLES?")
        ]
    assert len(list(manifest.trace())) == 1


def test_a_list_is_asked_for_where_one_is_meant(manifest: Manifest) -> None:
    with pytest.raises(MisuseError, match="outputs is a list"), manifest.step("compile", route=ROUTE) as step:
        step.role("QA").ran(outputs="PLAN")
