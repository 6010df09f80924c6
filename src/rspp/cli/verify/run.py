"""A run of verification under its manifest, held from beginning to end.

state of the manifest       without --resume           with --resume
blank, waiting, done        a new step                 a new step
running (killed)            refused                    the same step: what passed over the same files is not run again;
                                                       where they changed it is stopped, and a new step runs everything
failed, stopped             refused                    what failed is tried; once all of it passes, a new step runs everything
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.verify.asked import GROUND_FILE, GROUND_OUTPUT, Asked, Surveyed, routing, survey
from rspp.cli.verify.report import EngineReport, VerifyReport, write
from rspp.cli.verify.step import Step, report_of
from rspp.cli.verify.verdict import (
    GROUND_CHANGED,
    Conclusion,
    concluded,
    goal,
    line,
    required_engine,
    stopped,
)
from rspp.contract.errors import MisuseError
from rspp.manifest import Manifest
from rspp.manifest.document import StepStatus, is_met
from rspp.manifest.states import state_of
from rspp.manifest.updates import RequirementMet, Routed, StepBegun

PROBES_MAX: Final = 1_000


def verify(asked: Asked, manifest: Manifest) -> VerifyReport:
    """One run under a manifest that is there, held from beginning to end; what it came to. Raises RsppError."""
    with manifest.hold(f"rspp verify {asked.level}"):
        return _Run(asked, manifest).whole()


class _Run:
    """The shell of it. Decisions are in `verdict`, and in the manifest's own rules."""

    def __init__(self, asked: Asked, manifest: Manifest) -> None:
        self._asked = asked
        self._manifest = manifest
        self._ground = survey(asked)
        self._step = Step(asked, manifest, self._ground)

    def whole(self) -> VerifyReport:
        state = state_of(self._manifest.document)
        before = self._manifest.document.CURRENT_STEP.ACTIVE_FOLDER
        if before and before != line(self._ground.project):
            raise MisuseError(
                "verify_no_session",
                f"the run that would go on is of {before}, not of {self._ground.project}; say which with --work",
            )
        if state in ("running", "failed", "stopped") and not self._asked.resume:
            raise MisuseError(
                "verify_waits", f"the run in this work folder is {state}; go on with --resume, or elsewhere"
            )
        if state == "running" and not self._same():
            self._asked.say("", "the files or what is asked changed since: everything runs again")
            self._step.result(_changed())
            state = "stopped"
        if state in ("failed", "stopped"):
            tried = self._tried()
            if tried is not None:
                return tried
        if state != "running":
            self._begin()
        elif not self._manifest.document.LEDGERS.ENGINE_RUN_LEDGER.run_id:
            self._route()
        return self._step.run()

    # ---- beginning -------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        document = self._manifest.document
        self._manifest.say(
            StepBegun(
                goal=goal(self._asked.level, self._ground.project, self._asked.chosen),
                token=document.RESUME.RESUME_TOKEN,
                folder=line(self._ground.project),
            )
        )
        self._route()

    def _route(self) -> None:
        self._manifest.say(Routed(routing=routing(self._asked)))

    def _same(self) -> bool:
        """Is the step that was interrupted the one that would begin now, over the very same files?"""
        document = self._manifest.document
        if not document.LEDGERS.ENGINE_RUN_LEDGER.run_id:
            wanted = goal(self._asked.level, self._ground.project, self._asked.chosen)
            return wanted == document.CURRENT_STEP.STEP_GOAL
        known = [one for one in document.LEDGERS.OUTPUT_LEDGER if one.output == GROUND_OUTPUT]
        if known and self._step.file(GROUND_FILE).is_file():
            file = self._step.file(GROUND_FILE)
            same = known[0].ref == self._manifest.ref(file)
            if not same or msgspec.json.decode(file.read_bytes(), type=Surveyed) != self._ground:
                return False
        elif known:
            return False
        return routing(self._asked) == document.ROUTING

    # ---- what failed, tried again ------------------------------------------------------------------------------------

    def _tried(self) -> VerifyReport | None:
        """Run what failed; None once every requirement is met, else what still fails."""
        document = self._manifest.document
        out = self._probe_folder()
        reports: list[EngineReport] = []
        by_name = {one.name: one for one in self._asked.plan}
        for text in document.RESUME.RESUME_REQUIREMENTS:
            name = None if is_met(text) else required_engine(text)
            if name is None:
                continue
            if not name:
                if self._asked.chosen.asked:
                    self._met(text, write(out / GROUND_FILE, self._ground))
            elif name in by_name:
                report = self._step.engine(by_name[name], out / name)
                reports.append(report)
                if report.verdict == "pass":
                    self._met(text, report_of(out / name))
        after = self._manifest.document
        if after.RESUME.RESUME_ALLOWED:
            self._asked.say("", "what was required is met: a new step runs everything")
            return None
        left = tuple(one for one in after.RESUME.RESUME_REQUIREMENTS if not is_met(one))
        last = after.LAST_RESULT
        found = concluded(self._asked.level, self._asked.chosen, reports, changed=False)
        if found.status is not StepStatus.FAIL:
            found = Conclusion(
                status=StepStatus.STOP_GAP,
                code=last.FAIL_CODE,
                reasons=last.FAIL_REASONS,
                fixes=last.FIX_LIST,
            )
        return self._step.report(msgspec.structs.replace(found, requirements=left), reports)

    def _met(self, requirement: str, path: Path) -> None:
        self._manifest.say(RequirementMet(requirement=requirement, ref=self._manifest.ref(path)))

    def _probe_folder(self) -> Path:
        for number in range(1, PROBES_MAX):
            folder = self._step.file(f"probe-{number}")
            if not folder.exists():
                folder.mkdir(parents=True)
                return folder
        raise MisuseError(
            "verify_waits", f"{PROBES_MAX} attempts were made; begin anew in another work folder"
        )


def _changed() -> Conclusion:
    return stopped(
        GROUND_CHANGED,
        ["the files, or what is asked, changed since the run was interrupted"],
        "verify everything again: --resume does",
        ["project: it is verified as it is now, from the beginning"],
    )
