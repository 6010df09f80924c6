"""One step of verification: its engines, a report of each, the report of all, and the result that the manifest allows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from rspp import __version__
from rspp.cli.verify import jobs
from rspp.cli.verify.asked import (
    GROUND_FILE,
    GROUND_OUTPUT,
    ROLE,
    VALIDATOR,
    VERIFY_REPORT,
    Asked,
    Surveyed,
    survey,
)
from rspp.cli.verify.engine import Engine, Ground
from rspp.cli.verify.ground import is_checkout
from rspp.cli.verify.report import (
    REPORT,
    EngineReport,
    Left,
    VerifyReport,
    of_engine,
    read_engine,
    shortened,
    write,
)
from rspp.cli.verify.verdict import (
    GROUND_CHANGED,
    LEFT_OUT,
    NOT_HERE,
    UNPROVEN,
    Conclusion,
    concluded,
    line,
    output_name,
    stopped,
)
from rspp.manifest import Manifest
from rspp.manifest.document import VAL_REPORT, Ran, ResumeTarget, StepStatus, ValCheck, ValReport
from rspp.manifest.refused import Refused
from rspp.manifest.states import NOTHING_LEFT
from rspp.manifest.updates import EngineTold, OutputTold, Resulted, RoleTold

STEPS: Final = "steps"
_RAN: Final = {"pass": Ran.RAN, "fail": Ran.FAILED, "skipped": Ran.SKIPPED}


class Step:
    """The step that runs, or the last one. It waits for the engines; `verdict` decides."""

    def __init__(self, asked: Asked, manifest: Manifest, ground: Surveyed) -> None:
        self._asked = asked
        self._manifest = manifest
        self._ground = ground
        self._began_ms = _wall_ms()

    @property
    def id(self) -> str:
        return self._manifest.document.CURRENT_STEP.STEP_ID

    def file(self, name: str) -> Path:
        return self._manifest.folder / STEPS / self.id / name

    def run(self) -> VerifyReport:
        self._output(GROUND_OUTPUT, write(self.file(GROUND_FILE), self._ground), source="ORC")
        reports: list[EngineReport] = []
        for engine in self._asked.chosen.asked:
            report = self._kept(engine)
            if report is None:
                report = self.engine(engine, self.file(engine.name))
            else:
                self._asked.say(engine.name, "passed before, over the same files")
            self._tell(engine, report)
            reports.append(report)
            if report.verdict == "fail" and not self._asked.go_on:
                break
        if self._asked.level == "full":
            for engine in self._asked.chosen.left_out:
                self._manifest.say(EngineTold(key=engine.key, status=Ran.SKIPPED, notes=LEFT_OUT))
        changed = survey(self._asked) != self._ground
        found = concluded(self._asked.level, self._asked.chosen, reports, changed=changed)
        return self._end(found, reports)

    def _kept(self, engine: Engine) -> EngineReport | None:
        """What an engine said before the run was interrupted, if it passed and every byte of it is as it was."""
        told = {one.eng_key: one for one in self._manifest.document.LEDGERS.ENGINE_RUN_LEDGER.entries}
        entry, path = told.get(engine.key), report_of(self.file(engine.name))
        if entry is None or entry.status is not Ran.RAN or not path.is_file():
            return None
        if entry.outputs_produced != (self._manifest.ref(path),):
            return None
        report = read_engine(path)
        if report is None or (report.ground, report.step) != (self._ground.digest, self.id):
            return None
        same = report.verdict == "pass" and report.options == self._asked.options
        return msgspec.structs.replace(report, reused=True) if same else None

    def engine(self, engine: Engine, out: Path) -> EngineReport:
        """Run it in a process of its own; its report is on disk when this returns."""
        self._asked.say(engine.name, "begins")
        began = time.monotonic()
        ground = Ground(
            folder=self._asked.folder,
            out=out,
            level=self._asked.level,
            say=lambda text: self._asked.say(engine.name, text),
            options=self._asked.options,
        )
        try:
            ended = jobs.run(
                engine,
                ground,
                timeout_s=self._asked.timeout_s,
                plan=self._asked.plan_at,
                paths=self._asked.paths,
            )
        except OSError as error:
            what = f"{engine.name} could not be started: {error.strerror or error}"
            ended = jobs.never(what)
        report = of_engine(
            engine,
            ended.outcome,
            ended.code,
            out,
            seconds=round(time.monotonic() - began, 3),
            session=self._manifest.document.SESSION.SESSION_ID,
            step=self.id,
            ground=self._ground.digest,
            level=self._asked.level,
            options=self._asked.options,
            runtime=self._runtime(),
        )
        write(report_of(out), report)
        self._asked.say(engine.name, f"{report.verdict}: {report.summary}")
        return report

    def _tell(self, engine: Engine, report: EngineReport) -> None:
        path = report_of(self.file(engine.name))
        self._manifest.say(
            EngineTold(
                key=engine.key,
                status=_RAN[report.verdict],
                outputs=(self._manifest.ref(path),),
                notes=line(report.summary),
            )
        )
        self._output(output_name(engine), path, source="ENG")

    # ---- its end -----------------------------------------------------------------------------------------------------

    def _end(self, found: Conclusion, reports: list[EngineReport]) -> VerifyReport:
        """The reports, then the result; a PASS that the manifest refuses stops the step with what it misses."""
        whole = self._reported(found, reports)
        try:
            self.result(found)
        except Refused as error:
            if found.status is not StepStatus.PASS or not error.missing:
                raise
            touched = any(one.code.startswith("no_go") for one in error.missing)
            found = stopped(
                GROUND_CHANGED if touched else UNPROVEN,
                [one.what for one in error.missing],
                "; ".join(dict.fromkeys(one.fix for one in error.missing)),
                ["project: it is verified as it is now, from the beginning"],
            )
            whole = self._reported(found, reports)
            self.result(found)
        return whole

    def _reported(self, found: Conclusion, reports: list[EngineReport]) -> VerifyReport:
        whole = self.report(found, reports)
        passed = found.status is StepStatus.PASS
        checks = [
            ValCheck(
                key=one.key,
                verdict=one.verdict,
                message=line(one.summary),
                fix=line(one.found[0].fix) if one.found else "",
            )
            for one in reports
        ]
        verdict = "pass" if passed else "fail"
        why = "; ".join(found.reasons[:3]) or "every engine that applies passed over the same files"
        checks.append(ValCheck(key=VALIDATOR, verdict=verdict, message=line(why)))
        run = self._manifest.document.LEDGERS.ENGINE_RUN_LEDGER.run_id
        said = ValReport(
            session=whole.session, step=whole.step, verdict=verdict, checks=tuple(checks), run=run
        )
        path = write(self.file("val_report.json"), said)
        self._output(VERIFY_REPORT, write(self.file(REPORT), whole), source=ROLE)
        self._output(VAL_REPORT, path, source=ROLE)
        ref = self._manifest.ref(path)
        self._manifest.say(EngineTold(key=VALIDATOR, status=Ran.RAN, outputs=(ref,), notes=line(why)))
        self._manifest.say(RoleTold(role=ROLE, status=Ran.RAN, outputs=(VAL_REPORT,)))
        return whole

    def result(self, found: Conclusion) -> None:
        passed = found.status is StepStatus.PASS
        self._manifest.say(
            Resulted(
                status=found.status,
                fail_code=found.code,
                reasons=found.reasons,
                fixes=found.fixes,
                requirements=found.requirements,
                target=ResumeTarget(GOAL=NOTHING_LEFT)
                if passed
                else ResumeTarget(GOAL="rspp verify --resume"),
            )
        )

    def report(self, found: Conclusion, reports: list[EngineReport]) -> VerifyReport:
        document, chosen = self._manifest.document, self._asked.chosen
        reached = {one.name for one in reports}
        left = [Left(name=one.name, why=LEFT_OUT) for one in chosen.left_out]
        left += [Left(name=one.name, why=NOT_HERE) for one in (*chosen.missed, *chosen.not_here)]
        left += [Left(name=one.name, why="not reached") for one in chosen.asked if one.name not in reached]
        return VerifyReport(
            session=document.SESSION.SESSION_ID,
            step=self.id,
            level=self._asked.level,
            project=self._ground.project,
            ground=self._ground.digest,
            files=self._ground.files,
            runtime=self._runtime(),
            began_wall_ms=self._began_ms,
            ended_wall_ms=_wall_ms(),
            verdict={StepStatus.PASS: "pass", StepStatus.FAIL: "fail"}.get(found.status, "stopped"),  # type: ignore[arg-type]
            whole=chosen.whole,
            fail_code=found.code,
            reasons=found.reasons,
            fixes=found.fixes,
            requirements=found.requirements,
            engines=tuple(map(shortened, reports)),
            left=tuple(left),
        )

    def _output(self, name: str, path: Path, source: str) -> None:
        self._manifest.say(OutputTold(output=name, ref=self._manifest.ref(path), source=source))

    def _runtime(self) -> str:
        return "of the checkout" if is_checkout(self._asked.folder) else f"installed {__version__}"


def report_of(out: Path) -> Path:
    """Beside the engine's own folder, where it may write what it likes."""
    return out.with_name(f"{out.name}.json")


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
