"""How far a release has come, and which step is due, is read from what was said to its manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec
import pytest

from rspp.cli.release.gaps import GAPS, Way, gap_of, next_of
from rspp.cli.release.options import Share
from rspp.cli.release.progress import Attempt, Said, attempts, due, last, passed, running
from rspp.cli.release.reports import Report, as_json, too_old, validated, write
from rspp.cli.release.settings import sha256_of
from rspp.cli.release.steps import PROOFS, STEPS, StepName, goal_of, plan, step_in
from rspp.cli.release.work import root_of
from rspp.contract.codes import CODES
from rspp.manifest import updates as u
from rspp.manifest.document import StepStatus
from rspp.timeline.gates.report import AGE_MS_MAX, AHEAD_MS_MAX
from tests.unit.cli.release.fixed import SETTINGS

PLAN = plan(SETTINGS)
PASS = u.Resulted(status=StepStatus.PASS)


def said(*updates: u.Any) -> tuple[Attempt, ...]:
    number = 0
    lines: list[Said] = []
    for one in updates:
        number += isinstance(one, u.StepBegun)
        lines.append(Said(at=f"at-{len(lines)}", by="amy", update=one, step=str(number)))
    return attempts(lines)


def begun(name: StepName) -> u.StepBegun:
    return u.StepBegun(goal=goal_of(STEPS[name], SETTINGS))


def stopped(code: str) -> u.Resulted:
    return u.Resulted(status=StepStatus.STOP_GAP, fail_code=code, requirements=("more",))


def gone_through(*names: StepName) -> list[u.Any]:
    return [update for name in names for update in (begun(name), PASS)]


BEFORE = tuple(StepName)[:5]


def test_a_step_is_known_by_its_goal_and_foreign_goals_are_none() -> None:
    assert all(step_in(goal_of(step, SETTINGS)) is step for step in PLAN)
    assert step_in("sweep the floor: all of it") is None
    assert step_in("") is None


def test_steps_come_in_the_order_of_the_plan() -> None:
    for number, step in enumerate(PLAN):
        found = due(said(*gone_through(*(one.name for one in PLAN[:number]))), PLAN)
        assert found is step
    assert due(said(*gone_through(*(one.name for one in PLAN))), PLAN) is None


def test_a_release_that_was_given_up_goes_on_to_nothing_but_its_end() -> None:
    cut_short = said(*gone_through(*BEFORE), begun(StepName.ABORT), stopped("control_unreachable"))
    assert due(cut_short, PLAN) is STEPS[StepName.ABORT]


def test_what_somebody_else_did_in_its_manifest_is_no_step_of_a_release() -> None:
    foreign = u.StepBegun(goal="sweep the floor")
    so_far = said(*gone_through(StepName.LINT), foreign, PASS)
    assert [one.name for one in so_far] == [StepName.LINT]
    assert so_far[0].passed


def test_what_stopped_is_due_again_and_what_passed_is_not() -> None:
    so_far = said(*gone_through(*BEFORE), begun(StepName.PUBLISH), stopped("approval_waiting"))
    assert due(so_far, PLAN) is STEPS[StepName.PUBLISH]


def test_old_proofs_are_due_again_only_once_the_publication_has_asked_for_them() -> None:
    old = frozenset({StepName.GATES, StepName.LINT})
    so_far = gone_through(*BEFORE)
    assert due(said(*so_far), PLAN, old) is STEPS[StepName.PUBLISH]
    so_far += [begun(StepName.PUBLISH), stopped("reports_stale")]
    assert due(said(*so_far), PLAN, old) is STEPS[StepName.LINT]
    so_far += gone_through(StepName.LINT)
    assert due(said(*so_far), PLAN, old - {StepName.LINT}) is STEPS[StepName.GATES]
    so_far += gone_through(StepName.GATES)
    assert due(said(*so_far), PLAN) is STEPS[StepName.PUBLISH], "and not what passed between them"
    so_far += gone_through(StepName.PUBLISH)
    assert due(said(*so_far), PLAN, old) is STEPS[StepName.CANARY], "what is published rests on them no more"


def test_all_that_is_said_in_a_step_belongs_to_it() -> None:
    told = u.EngineTold(key="KEY:ENG.RELEASE.LINT", status="ran")  # type: ignore[arg-type]
    met = u.RequirementMet(requirement="1", ref="a#sha256=0")
    so_far = said(begun(StepName.LINT), told, stopped("lint_failed"), met, begun(StepName.LINT))
    first, second = so_far
    assert (first.code, first.all_met, first.engine(told.key), first.ended_at) == (
        "lint_failed",
        True,
        told,
        "at-2",
    )
    assert (running(so_far), second.number, second.engine(told.key)) == (second, "2", None)
    assert last(so_far, StepName.LINT) is second
    assert passed(so_far, StepName.LINT) is None


def test_every_way_to_stand_still_says_what_to_do_and_has_its_row_among_the_codes() -> None:
    for code, gap in GAPS.items():
        assert code in CODES, code
        assert next_of(code, "desk@v2")
        assert "{ref}" not in next_of(code, "desk@v2")
        assert gap.fails or gap.way is not Way.OVER, f"{code}: what is over has failed"
    assert gap_of("never heard of") is GAPS["engine_broken"]


# ---- the validator -----------------------------------------------------------------------------------------------------


def report(**more: Any) -> Report:
    usual = {
        "release": SETTINGS.session,
        "step": StepName.LINT,
        "number": "1",
        "pipeline": "desk",
        "version": "v2",
    }
    return Report(
        **{**usual, "spec_sha256": "", "made_wall_ms": 1_000, "verdict": "pass", "summary": "well", **more}
    )


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({}, ""),
        ({"number": "2"}, "report"),
        ({"release": "another"}, "report"),
        ({"step": StepName.GATES}, "report"),
        ({"verdict": "fail"}, "verdict"),
        ({"verdict": "gap"}, "verdict"),
        ({"spec_sha256": "1" * 64}, "spec"),
        ({"made_wall_ms": 1_000 - AGE_MS_MAX - 1}, "fresh"),
        ({"made_wall_ms": 1_000 + AHEAD_MS_MAX + 1}, "fresh"),
        (None, "report"),
        ("outputs", "outputs"),
        ("changed", "spec"),
    ],
)
def test_a_validator_believes_only_what_it_reads_itself(tmp_path: Path, wrong: Any, at: str) -> None:
    spec = tmp_path / "desk.yaml"
    spec.write_text("pipeline: desk")
    settings = msgspec.structs.replace(SETTINGS, spec=str(spec), spec_sha256=sha256_of(spec.read_bytes()))
    given = {"spec_sha256": settings.spec_sha256, **(wrong if isinstance(wrong, dict) else {})}
    path = write(tmp_path / "1-lint.json", as_json(report(**given)))
    if wrong is None:
        path.write_text('{"verdict": "pass"}')
    if wrong == "changed":
        spec.write_text("pipeline: disk")
    files = {} if wrong == "outputs" else {STEPS[StepName.LINT].report: path}
    found = validated(STEPS[StepName.LINT], "1", settings, path, files, 1_000)
    failed = [one.key.rpartition(".")[2] for one in found.checks if one.verdict == "fail"]
    assert found.verdict == ("fail" if at else "pass")
    assert failed == ([*failed[:1], at] if at else [])
    assert found.checks[0].key == STEPS[StepName.LINT].validator


def test_reports_of_a_day_ago_are_too_old_and_clocks_may_differ_by_minutes() -> None:
    assert too_old(0, AGE_MS_MAX) == ""
    assert "24.0 hours old" in too_old(0, AGE_MS_MAX + 1)
    assert too_old(AHEAD_MS_MAX, 0) == ""
    assert "in the future" in too_old(AHEAD_MS_MAX + 60_000, 0)


# ---- what is said on the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.5 %", 0.005), ("0.02", 0.02), ("100%", 1.0), ("0", 0.0)]
)
def test_a_share_is_said_in_hundredths_or_as_a_fraction(text: str, share: float) -> None:
    assert Share().convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["101%", "-1%", "2", "much", "", "nan", "inf%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Share().convert(text, None, None)


def test_the_root_is_where_spec_and_corpus_are_and_not_half_of_the_disk(tmp_path: Path) -> None:
    spec = tmp_path / "a" / "desk.yaml"
    assert root_of(spec, tmp_path / "a" / "corpus") == tmp_path / "a"
    assert root_of(spec, tmp_path / "corpus") == tmp_path
    far = tmp_path.parent / "elsewhere" / "corpus"
    assert root_of(tmp_path / "a" / "b" / "desk.yaml", far) == far
    assert len(PROOFS) == 4
