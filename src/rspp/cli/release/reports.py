"""What a step leaves behind: a report that people and programs read, and what its validator makes of it. Pure but for the files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from rspp.cli.release.settings import Settings, sha256_of
from rspp.cli.release.steps import ON_FILES, PROOFS, Step, StepName
from rspp.cli.verify.engine import Found
from rspp.contract.errors import MisuseError
from rspp.manifest.document import ValCheck, ValReport
from rspp.timeline.gates.report import AGE_MS_MAX, AHEAD_MS_MAX, GateReport, unfit

FOLDER: Final = "reports"
SCHEMA: Final = "rspp-release-report-v1"
REPORT_BYTES_MAX: Final = 64 * 1024 * 1024
HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change that was asked of the control plane, and where the audit log has it.

    `how`: done (asked for now), adopted (this release did it before it was killed), already (there was nothing to do).
    `place` is "" where whoever runs the release may not read the audit log.
    """

    action: str
    how: str
    place: str = ""
    decision: str = ""  # done; allow: its end was never written


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Of one engine's run in one step. `verdict`: pass, fail, or gap where something is lacking."""

    release: str
    step: StepName
    number: str  # STEP_ID
    pipeline: str
    version: str
    spec_sha256: str
    by: str = ""  # the principal that asked the control plane, if anything was asked
    made_wall_ms: int
    verdict: str
    code: str = ""
    summary: str
    found: tuple[Found, ...] = ()
    facts: Mapping[str, Any] = {}
    changes: tuple[Change, ...] = ()
    requirements: tuple[str, ...] = ()
    schema: str = SCHEMA

    @property
    def passed(self) -> bool:
        return self.verdict == "pass"


def write(path: Path, data: bytes) -> Path:
    """The file is there whole, or as it was; also when the machine stops here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    return path


def as_json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=2) + b"\n"


def read_report(path: Path) -> Report:
    """Raises MisuseError `release_report_unreadable`."""
    found: Report = _read(path, Report)
    return found


def read_gates(path: Path) -> GateReport:
    found: GateReport = _read(path, GateReport)
    return found


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        if path.stat().st_size > REPORT_BYTES_MAX:
            raise MisuseError(
                "release_report_unreadable", f"{path.name} has more than {REPORT_BYTES_MAX} bytes"
            )
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MisuseError("release_report_unreadable", f"{path.name} cannot be read: {error}") from error


# ---- may a release rest on these? ------------------------------------------------------------------------------------


def too_old(made_wall_ms: int, now_ms: int) -> str:
    """Why a report of this moment is not of these 24 hours; "" where it is. A clock may be five minutes off."""
    age_ms = now_ms - made_wall_ms
    if age_ms > AGE_MS_MAX:
        return f"is {age_ms / HOUR_MS:.1f} hours old, at most {AGE_MS_MAX // HOUR_MS} are allowed"
    if age_ms < -AHEAD_MS_MAX:
        return f"is from {-age_ms // MINUTE_MS} minutes in the future, at most {AHEAD_MS_MAX // MINUTE_MS} are allowed"
    return ""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What there is of one of the steps that a publication rests on."""

    report: Report | None = None
    gates: GateReport | None = None
    fault: str = ""  # why it cannot be read


def stale(proofs: Mapping[StepName, Proof], settings: Settings, now_ms: int) -> dict[StepName, str]:
    """Of each step that a publication must not rest on now, why. Nothing: it may be published."""
    found: dict[StepName, str] = {}
    for name in PROOFS:
        why = _unusable(name, proofs.get(name, Proof(fault="is missing")), settings, now_ms)
        if why:
            found[name] = why
    return found


def _unusable(name: StepName, proof: Proof, settings: Settings, now_ms: int) -> str:
    report = proof.report
    if report is None:
        return proof.fault or "is missing"
    if report.step is not name or report.release != settings.session:
        return "is of another step or release"
    if not report.passed:
        return "does not say pass"
    if report.spec_sha256 != settings.spec_sha256:
        return "is of another content of the spec"
    why = too_old(report.made_wall_ms, now_ms)
    if why or name is not StepName.GATES:
        return why
    if proof.gates is None:
        return proof.fault or "has no gate report"
    return "; ".join(unfit(proof.gates, now_ms))


# ---- the validator ---------------------------------------------------------------------------------------------------


def validated(
    step: Step,
    number: str,
    settings: Settings,
    report: Path,
    outputs: Mapping[str, Path],
    now_ms: int,
    run: str = "",
) -> ValReport:
    """What the files of a step say, read anew from the disk by somebody who did not write them. `run` is the step's run_id."""
    checks = [
        _checked(f"{step.validator}.{key}", why)
        for key, why in _faults(step, number, settings, report, now_ms)
    ]
    missing = [name for name in step.outputs if name not in outputs or not outputs[name].is_file()]
    checks.append(_checked(f"{step.validator}.outputs", f"{', '.join(missing)} not there" if missing else ""))
    failed = [one for one in checks if one.verdict != "pass"]
    whole = _checked(step.validator, "; ".join(one.message for one in failed))
    return ValReport(
        session=settings.session,
        step=number,
        verdict="fail" if failed else "pass",
        checks=(whole, *checks),
        run=run,
    )


def _faults(
    step: Step, number: str, settings: Settings, path: Path, now_ms: int
) -> Iterable[tuple[str, str]]:
    try:
        report = read_report(path)
    except MisuseError as error:
        return [("report", error.message)]
    mine = (report.release, report.step, report.number) == (settings.session, step.name, number)
    same = report.spec_sha256 == settings.spec_sha256
    if step.name in ON_FILES:
        same = same and _sha256_of_file(Path(settings.spec)) == settings.spec_sha256
    verdict = "" if report.passed else f"the engine says {report.verdict}: {report.summary}"
    unplaced = [one.action for one in report.changes if one.how not in ("done", "adopted", "already")]
    return [
        ("report", "" if mine else "the report is of another step or release"),
        ("verdict", verdict),
        ("spec", "" if same else "the spec is not the one that this release began with"),
        ("fresh", too_old(report.made_wall_ms, now_ms)),
        ("changes", f"nobody says what became of {', '.join(unplaced)}" if unplaced else ""),
    ]


def _sha256_of_file(path: Path) -> str:
    try:
        return sha256_of(path.read_bytes())
    except OSError:
        return ""


def _checked(key: str, why: str) -> ValCheck:
    return ValCheck(key=key, verdict="fail" if why else "pass", message=why)
