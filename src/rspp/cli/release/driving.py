"""One step after the other, each under the manifest, until there is none left or something is lacking.

A step that was begun by a process that is gone is taken up where its ledgers end: what they say was done is not done again,
and what they do not say is looked for before it is done. So a release may be killed anywhere, any number of times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli.release import checks, consent, finishing, observing, publishing, rolling
from rspp.cli.release.gaps import gap_of, next_of
from rspp.cli.release.ground import Asked, Ground, Outcome, Sleep, WallMs, failing, lacking
from rspp.cli.release.plane import OTHER_PLANE, Asks, is_unknown, known_to
from rspp.cli.release.progress import Attempt, due, running
from rspp.cli.release.reports import FOLDER, Report, as_json, read_report, validated, write
from rspp.cli.release.settings import Settings, sha256_of
from rspp.cli.release.steps import (
    CHANGER,
    DRIVER,
    JUDGE,
    ON_FILES,
    STEPS,
    Step,
    StepName,
    goal_of,
    plan,
    routing,
)
from rspp.cli.release.work import Work
from rspp.cli.verify.engine import Found
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest import updates as u
from rspp.manifest.document import LINE_CHARACTERS_MAX, VAL_REPORT, Ran, ResumeTarget, StepStatus
from rspp.manifest.refused import Refused
from rspp.manifest.results import requirement_from

Engine = Callable[[Ground], Outcome]
ENGINES: Final[Mapping[StepName, Engine]] = {
    StepName.LINT: checks.lint,
    StepName.COMPILE: checks.compile_,
    StepName.REPLAY: checks.replay,
    StepName.GATES: checks.gates,
    StepName.APPROVAL: consent.approval,
    StepName.PUBLISH: publishing.publish,
    StepName.CANARY: rolling.canary,
    StepName.OBSERVE: observing.observe,
    StepName.PROMOTE: rolling.promote,
    StepName.REPORT: finishing.report,
    StepName.ABORT: finishing.abort,
}
# Of what an engine found wrong, so much is said at once; the report has all of it.
FOUND_SAID_MAX: Final = 5
LOCAL: Final = frozenset({StepName.LINT, StepName.COMPILE, StepName.REPLAY, StepName.GATES})


class Driver:
    """A release that moves. Everything about it is on the disk: this has no memory of its own."""

    def __init__(
        self,
        work: Work,
        settings: Settings,
        plane: Asks,
        *,
        wall_ms: WallMs,
        sleep: Sleep,
        say: Callable[[str], None],
        asked: Asked = Asked(),  # noqa: B008 - frozen
    ) -> None:
        self.work, self.settings, self.plane = work, settings, plane
        self.asked, self.wall_ms, self.say = asked, wall_ms, say
        self.sleep = sleep
        self._taken_up = False

    # ---- which step --------------------------------------------------------------------------------------------------

    def next(self) -> Step | None:
        """The step that runs, or else the one that is to begin; None where nothing is left."""
        so_far = self.work.attempts()
        now = running(so_far)
        if now is not None:
            return STEPS[now.name]
        refreshing = any(one.code == "reports_stale" for one in so_far)
        old = (
            publishing.stale_now(self.work.folder, so_far, self.settings, self.wall_ms())
            if refreshing
            else {}
        )
        return due(so_far, plan(self.settings), frozenset(old))

    def step(self, step: Step) -> Attempt:
        """Begin this step, or go on in it, until it has its result."""
        self._taken_up = running(self.work.attempts()) is not None
        if step.name not in LOCAL:
            self.check_plane()
        if not self._taken_up:
            self.work.begin(goal_of(step, self.settings), file=Path(self.settings.spec).name)
        attempt = self.work.last()
        if not attempt.routed:
            self.work.say(u.Routed(routing=routing(step, self.work.guarded(self.settings))))
        self.say(f"{step.name}: {step.goal}")
        changed = self._changed_spec(step)
        if changed is not None:
            self._end(step, changed)
        else:
            report = self._kept(step, attempt) or self._run(step)
            self._judge(step, report)
        return self.work.last()

    def _changed_spec(self, step: Step) -> Outcome | None:
        try:
            now = sha256_of(Path(self.settings.spec).read_bytes())
        except OSError:
            now = ""
        is_needed = step.name in ON_FILES
        return (
            publishing.spec_changed(self.settings) if is_needed and now != self.settings.spec_sha256 else None
        )

    def check_plane(self) -> None:
        """Raises where it is another than this release began with, or nobody said which; one that is away shows in the step."""
        try:
            known_to(self.plane, self.work.folder)
        except RsppError as error:
            if error.code == OTHER_PLANE:
                raise

    # ---- its engine --------------------------------------------------------------------------------------------------

    def _kept(self, step: Step, attempt: Attempt) -> Report | None:
        """What the engine of a process that is gone has said in this step already."""
        if attempt.engine(step.engine) is None:
            return None
        try:
            return read_report(self._report_file(step, attempt.number))
        except MisuseError:
            return None

    def _run(self, step: Step) -> Report:
        attempt = self.work.last()
        outcome, me = self._outcome(step, attempt)
        report = Report(
            release=self.settings.session,
            step=step.name,
            number=attempt.number,
            pipeline=self.settings.pipeline,
            version=self.settings.version,
            spec_sha256=self.settings.spec_sha256,
            by=me,
            made_wall_ms=self.wall_ms(),
            verdict=outcome.verdict,
            code=outcome.code,
            summary=outcome.summary,
            found=outcome.found,
            facts=outcome.facts,
            changes=outcome.changes,
            requirements=outcome.requirements,
        )
        path = write(self._report_file(step, attempt.number), as_json(report))
        for name, file in ({step.report: path} | dict(outcome.outputs)).items():
            self.work.say(u.OutputTold(output=name, ref=self.work.ref(file), source=DRIVER))
        outputs = (step.report, *outcome.outputs)
        ran = Ran.FAILED if outcome.verdict == "fail" else Ran.RAN
        self.work.say(u.EngineTold(key=step.engine, status=ran, outputs=outputs, notes=noted(report)))
        if step.changes:
            self.work.say(u.RoleTold(role=CHANGER, status=Ran.RAN, notes=line(f"as {me}: {noted(report)}")))
        self.work.say(u.RoleTold(role=DRIVER, status=Ran.RAN, outputs=(step.report,)))
        return report

    def _outcome(self, step: Step, attempt: Attempt) -> tuple[Outcome, str]:
        """What the engine says; what it cannot say for an error, the error says. And as whom it asked."""
        me = ""
        try:
            if step.name not in LOCAL:
                me = known_to(self.plane, self.work.folder)
            return ENGINES[step.name](self._ground(step, attempt, me)), me
        except observing.Leaves:
            raise
        except RsppError as error:
            if error.code == OTHER_PLANE:
                raise
            return _refused(error), me
        except click.ClickException as error:
            return failing(
                f"{step.name}_failed" if step.name in LOCAL else "control_refused", error.message
            ), me
        except OSError as error:
            return failing("engine_broken", f"{type(error).__name__}: {error.strerror}"), me
        except Exception as error:  # noqa: BLE001 - an engine of ours broke: that is a result, too
            return failing("engine_broken", f"{type(error).__name__}: {error}"), me

    def _ground(self, step: Step, attempt: Attempt, me: str) -> Ground:
        return Ground(
            settings=self.settings,
            folder=self.work.folder,
            step=step,
            number=attempt.number,
            so_far=self.work.attempts(),
            plane=self.plane,
            me=me,
            wall_ms=self.wall_ms,
            sleep=self.sleep,
            say=self.say,
            asked=self.asked,
            taken_up=self._taken_up,
        )

    def _report_file(self, step: Step, number: str) -> Path:
        return self.work.folder / FOLDER / f"{number}-{step.name}.json"

    # ---- its result --------------------------------------------------------------------------------------------------

    def _judge(self, step: Step, report: Report) -> None:
        """The validator reads what was written; then the result, which the manifest holds to its proofs."""
        attempt = self.work.last()
        if step.changes and attempt.role(CHANGER) is None:
            self.work.say(u.RoleTold(role=CHANGER, status=Ran.RAN, notes=noted(report)))
        if attempt.role(DRIVER) is None:
            self.work.say(u.RoleTold(role=DRIVER, status=Ran.RAN, outputs=(step.report,)))
        files = self.work.files()
        path = self._report_file(step, attempt.number)
        run = self.work.document.LEDGERS.ENGINE_RUN_LEDGER.run_id
        said = validated(step, attempt.number, self.settings, path, files, self.wall_ms(), run)
        at = write(self.work.folder / FOLDER / f"{attempt.number}-val.json", as_json(said))
        self.work.say(u.OutputTold(output=VAL_REPORT, ref=self.work.ref(at), source=JUDGE))
        self.work.say(
            u.EngineTold(key=step.validator, status=Ran.RAN, outputs=(VAL_REPORT,), notes=said.verdict)
        )
        self.work.say(u.RoleTold(role=JUDGE, status=Ran.RAN, outputs=(VAL_REPORT,), notes=said.verdict))
        if not report.passed:
            self._end(step, report)
            return
        try:
            self.work.say(u.Resulted(status=StepStatus.PASS, target=self._target(step)))
        except Refused as refused:
            found = tuple(Found(what=one.what, fix=one.fix) for one in refused.missing)
            self._end(step, failing("not_proven", "the step is not proven", found))
        else:
            self.say(f"{step.name}: PASS: {report.summary}")

    def _target(self, step: Step) -> ResumeTarget:
        """What comes after this one."""
        so_far = self.work.attempts()
        ended = msgspec.structs.replace(so_far[-1], result=u.Resulted(status=StepStatus.PASS))
        refreshing = any(one.code == "reports_stale" for one in so_far)
        old = (
            publishing.stale_now(self.work.folder, so_far, self.settings, self.wall_ms())
            if refreshing
            else {}
        )
        after = due((*so_far[:-1], ended), plan(self.settings), frozenset(old) - {step.name})
        if after is None:
            return ResumeTarget(GOAL="NONE")
        return ResumeTarget(FILE=Path(self.settings.spec).name, GOAL=goal_of(after, self.settings))

    def _end(self, step: Step, outcome: Outcome | Report) -> None:
        """FAIL or STOP_GAP, with why, and with what is to be met."""
        gap, ref = gap_of(outcome.code), self.settings.ref
        wanted = outcome.requirements or (next_of(outcome.code, ref),)
        fixes = dict.fromkeys(one.fix for one in outcome.found)
        self.work.say(
            u.Resulted(
                status=StepStatus.FAIL if gap.fails else StepStatus.STOP_GAP,
                fail_code=outcome.code,
                reasons=tuple(
                    dict.fromkeys(map(line, (outcome.summary, *(one.what for one in outcome.found))))
                ),
                fixes=tuple(map(line, fixes)) or (line(next_of(outcome.code, ref)),),
                requirements=tuple(dict.fromkeys(map(requirement_from, wanted))),
                target=ResumeTarget(GOAL=goal_of(step, self.settings)),
            )
        )
        self.say(f"{step.name}: {'FAIL' if gap.fails else 'STOP_GAP'} {outcome.code}: {outcome.summary}")
        for one in outcome.found[:FOUND_SAID_MAX]:
            self.say(line(f"  {one.what}. {one.fix}"))


def _refused(error: RsppError) -> Outcome:
    """An error of the control plane, as a result."""
    away = is_unknown(error)
    code = "control_unreachable" if away else "control_refused"
    found = (
        Found(what=f"{error.code}: {error.message}", fix="See `rspp control audit list` and the rollout."),
    )
    if away:
        return lacking(code, error.message, found=found)
    return failing(code, f"{error.code}: {error.message}", found)


def noted(report: Report) -> str:
    """One line for the ledger: what came of it, and where the audit log has it."""
    places = [f"{one.action} {one.how}, audit record {one.place or 'not shown'}" for one in report.changes]
    return line("; ".join((report.summary, *places)))


def line(text: str) -> str:
    """As one line of the manifest."""
    return "".join(one if one.isprintable() else " " for one in text)[:LINE_CHARACTERS_MAX]
