"""What a run comes to: nothing passes for want of looking, and each failure says what is needed to go on."""

from __future__ import annotations

import pytest

from rspp.cli.verify.engine import Engine, Found, Level, Outcome, Verdict
from rspp.cli.verify.plan import Chosen
from rspp.cli.verify.report import EngineReport
from rspp.cli.verify.verdict import LINES_MAX, concluded, goal, line, lines, required_engine
from rspp.manifest.document import LINE_CHARACTERS_MAX, StepStatus

FAULT = Found(what="it is broken", fix="mend it", where="a.py:3")


def engine(name: str) -> Engine:
    return Engine(
        key=f"KEY:ENG.{name.upper()}",
        name=name,
        summary=name,
        levels=frozenset({"quick"}),
        fail_code=f"{name}_wrong",
        run=lambda ground: Outcome(verdict="pass", summary=""),
    )


A, B, C = map(engine, ("a", "b", "c"))


def report(one: Engine, verdict: Verdict = "pass", *found: Found) -> EngineReport:
    code = one.fail_code if verdict == "fail" else ""
    return EngineReport(
        key=one.key, name=one.name, verdict=verdict, summary="1 fault", fail_code=code, found=found
    )


def test_all_that_applies_passed_over_the_same_files() -> None:
    found = concluded("full", Chosen(asked=(A, B), not_here=(C,)), [report(A), report(B)], changed=False)
    assert (found.status, found.code, found.requirements) == (StepStatus.PASS, "", ())


def test_the_first_failure_names_the_code_and_each_one_a_requirement_and_its_fixes() -> None:
    reports = [report(A), report(B, "fail", FAULT), report(C, "fail", FAULT)]
    found = concluded("quick", Chosen(asked=(A, B, C)), reports, changed=True)
    assert (found.status, found.code) == (StepStatus.FAIL, "b_wrong")
    assert found.reasons == ("b: 1 fault", "b: a.py:3: it is broken", "c: 1 fault", "c: a.py:3: it is broken")
    assert found.fixes == ("b: a.py:3: mend it", "c: a.py:3: mend it")
    assert [required_engine(one) for one in found.requirements] == ["b", "c"]


def test_files_that_changed_meanwhile_prove_nothing() -> None:
    found = concluded("quick", Chosen(asked=(A,)), [report(A)], changed=True)
    assert (found.status, found.code) == (StepStatus.STOP_GAP, "verify_ground_changed")
    assert [required_engine(one) for one in found.requirements] == [""]


def test_where_nothing_applies_nothing_passes() -> None:
    found = concluded("security", Chosen(asked=(), not_here=(A,)), [], changed=False)
    assert (found.status, found.code) == (StepStatus.STOP_GAP, "verify_nothing")
    assert found.requirements


def test_an_engine_that_had_nothing_to_look_at_is_no_pass() -> None:
    found = concluded("quick", Chosen(asked=(A, B)), [report(A), report(B, "skipped")], changed=False)
    assert (found.status, found.code) == (StepStatus.STOP_GAP, "verify_incomplete")
    assert [required_engine(one) for one in found.requirements] == ["b"]


@pytest.mark.parametrize(
    ("level", "status"),
    [("full", StepStatus.STOP_GAP), ("quick", StepStatus.PASS), ("security", StepStatus.PASS)],
)
def test_full_passes_whole_or_not_at_all(level: Level, status: StepStatus) -> None:
    chosen = Chosen(asked=(A,), left_out=(B,))
    found = concluded(level, chosen, [report(A)], changed=False)
    assert found.status is status
    assert "only a" in goal(level, "shop", chosen)
    assert not chosen.whole


def test_who_names_an_engine_that_has_nothing_to_look_at_passes_at_no_level() -> None:
    chosen = Chosen(asked=(A,), left_out=(C,), missed=(B,))
    for some in (chosen, Chosen(asked=(), left_out=(A, C), missed=(B,))):
        found = concluded("quick", some, [report(one) for one in some.asked], changed=False)
        assert (found.status, found.code) == (StepStatus.STOP_GAP, "verify_incomplete")
        assert "engine b: it runs and passes" in found.requirements
        assert not some.whole


def test_who_leaves_out_everything_passes_at_no_level() -> None:
    found = concluded("quick", Chosen(asked=(), left_out=(A,)), [], changed=False)
    assert (found.status, found.code) == (StepStatus.STOP_GAP, "verify_incomplete")


def test_only_requirements_of_ours_are_tried() -> None:
    assert required_engine("engine secrets: it passes again (secret_found)") == "secrets"
    assert required_engine("project: there is something to verify") == ""
    for other in ("ask the owner", "engine: no name", "project x: what", "the engine secrets: passes"):
        assert required_engine(other) is None


def test_what_is_told_is_lines_that_a_manifest_takes() -> None:
    assert line("two\nlines \x1b[31m\x00red\x7f") == "two lines ?[31m?red?"
    assert len(line("x" * 10_000)) == LINE_CHARACTERS_MAX
    line("a name \udcff of a file").encode()
    many = lines([f"fault {number}" for number in range(LINES_MAX + 5)] * 2)
    assert len(many) == LINES_MAX + 1
    assert many[-1] == "5 more are in the report"
