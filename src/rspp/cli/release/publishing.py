"""A version is published once, on fresh proofs, and with the way back decided before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rspp.cli.problems import text_of
from rspp.cli.release.changing import changed, seen
from rspp.cli.release.ground import Ground, Outcome, failing, lacking, passing
from rspp.cli.release.matching import PUBLISH
from rspp.cli.release.progress import Attempt, passed
from rspp.cli.release.reports import Proof, as_json, read_gates, read_report, stale
from rspp.cli.release.rollouts import posture, seen_of
from rspp.cli.release.settings import Settings, sha256_of
from rspp.cli.release.steps import PROOFS, STEPS, StepName
from rspp.cli.verify.engine import Found
from rspp.contract.errors import MisuseError, RsppError
from rspp.manifest.refs import read_ref


def proofs(folder: Path, so_far: tuple[Attempt, ...]) -> dict[StepName, Proof]:
    """What the latest passed attempt at each proof has left, as it is on the disk now."""
    return {name: _proof(folder, passed(so_far, name), name) for name in PROOFS}


def _proof(folder: Path, attempt: Attempt | None, name: StepName) -> Proof:
    if attempt is None:
        return Proof(fault="is missing")
    try:
        report = read_report(_path(folder, attempt, STEPS[name].report))
        gates = read_gates(_path(folder, attempt, "GATE_REPORT")) if name is StepName.GATES else None
    except MisuseError as error:
        return Proof(fault=error.message)
    return Proof(report=report, gates=gates)


def _path(folder: Path, attempt: Attempt, output: str) -> Path:
    """The file behind an output, if it is what it was; raises MisuseError."""
    ref = read_ref(attempt.ref(output))
    path = folder / (ref.path if ref is not None else "")
    if ref is None or not path.is_file() or sha256_of(path.read_bytes()) != ref.sha256:
        raise MisuseError(
            "release_report_unreadable", f"{output} of step {attempt.number} is not what it was"
        )
    return path


def stale_now(
    folder: Path, so_far: tuple[Attempt, ...], settings: Settings, now_ms: int
) -> dict[StepName, str]:
    return stale(proofs(folder, so_far), settings, now_ms)


def publish(at: Ground) -> Outcome:
    old = stale_now(at.folder, at.so_far, at.settings, at.wall_ms())
    if old:
        return _stale(old, at.settings)
    rollout = seen_of(seen(at.plane, "rollout.show", pipeline=at.settings.pipeline), at.settings)
    way = posture(rollout, at.settings)
    outputs = {"ROLLBACK_POSTURE": at.put("posture.json", as_json(way))}
    text = text_of(Path(at.settings.spec))
    if sha256_of(text.encode()) != at.settings.spec_sha256:
        return spec_changed(at.settings)
    there = _there(at)
    if there is not None and there["sha256"] != at.settings.spec_sha256:
        return _taken(at, outputs)

    def is_so() -> str:
        now = _there(at)
        if now is None:
            return ""
        return "mine" if now["reason"] == at.settings.reason else "other"

    try:
        done = changed(at, PUBLISH, is_so, text=text, reason=at.settings.reason)
    except RsppError as error:
        if error.code != "version_exists":
            raise
        return _taken(at, outputs)
    said = {
        "done": f"published {at.settings.ref}",
        "adopted": f"{at.settings.ref} was published already by this release",
        "already": f"{at.settings.ref} was published by somebody else, with this very content",
    }[done.how]
    facts = {"sha256": at.settings.spec_sha256, "posture": msgspec.to_builtins(way)}
    return passing(
        f"{said}; way back: {way.way} {way.to}".rstrip(), facts=facts, changes=(done,), outputs=outputs
    )


def _there(at: Ground) -> Mapping[str, Any] | None:
    found = seen(at.plane, "pipelines.show", pipeline=at.settings.pipeline, version=at.settings.version)
    return None if found is None else found["published"]


def _taken(at: Ground, outputs: Mapping[str, Path]) -> Outcome:
    by = (_there(at) or {"author": "somebody else"})["author"]
    why = f"{at.settings.ref} was published by {by} with other content, and stays what it is"
    found = Found(what=why, fix="Give the spec a new `version`, and release that: take a new version.")
    return failing("version_taken", f"{why}: take a new version", [found], outputs=outputs)


def spec_changed(settings: Settings) -> Outcome:
    """The file is gone, or another one than the release began with."""
    path = Path(settings.spec)
    name = path.name
    why = f"{name} is not what it was when this release began" if path.is_file() else f"{name} is gone"
    requirement = f"{name} is again what this release began with (sha256 {settings.spec_sha256})"
    fix = f"Put it back, or release it anew: rspp release run {name}"
    return lacking("spec_changed", why, requirement, found=(Found(what=why, fix=fix, where=name),))


def _stale(old: Mapping[StepName, str], settings: Settings) -> Outcome:
    fix = f"rspp release resume {settings.ref} --refresh"
    found = tuple(Found(what=f"the report of {name} {why}", fix=fix, where=name) for name, why in old.items())
    requirement = f"fresh reports of {', '.join(old)}: {fix}"
    summary = f"reports are stale: {found[0].what}"
    return lacking("reports_stale", summary, requirement, found=found, facts={"stale": dict(old)})
