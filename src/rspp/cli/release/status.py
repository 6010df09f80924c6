"""Where a release stands: its steps, what it lacks, what to do next; and whether its ledgers say what the audit log says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rspp.cli.output import print_table, visible
from rspp.cli.release.finishing import ledgered, told
from rspp.cli.release.gaps import is_over, next_of
from rspp.cli.release.observing import shown
from rspp.cli.release.plane import read_met
from rspp.cli.release.progress import Attempt, last, running
from rspp.cli.release.reports import Change
from rspp.cli.release.settings import Settings
from rspp.cli.release.steps import STEPS, StepName, plan
from rspp.cli.release.work import Work
from rspp.contract.errors import MisuseError
from rspp.manifest.document import MET, is_met


def document(work: Work, settings: Settings) -> dict[str, Any]:
    """All of it, for programs."""
    so_far = work.attempts()
    now = so_far[-1] if so_far else None
    resume = work.document.RESUME
    faults = [str(one) for one in work.manifest.validate().faults]
    changes: tuple[Change, ...] = ()
    try:
        changes = ledgered(work.folder, so_far)
    except MisuseError as error:
        faults.append(error.message)
    return {
        "release": settings.session,
        "pipeline": settings.pipeline,
        "version": settings.version,
        "state": state(work, now),
        "steps": [_row(so_far, name) for name in _names(so_far, settings)],
        "attempts": [told(one) for one in so_far],
        "changes": changes,
        "observation": shown(work.folder, so_far),
        "plane": read_met(work.folder),
        "code": "" if now is None else now.code,
        "reasons": list(now.result.reasons) if now is not None and now.result is not None else [],
        "requirements": list(resume.RESUME_REQUIREMENTS),
        "missing": _missing(work),
        "faults": faults,
        "next": next_command(work, settings, now),
        "spec": Path(settings.spec).name,
        "spec_sha256": settings.spec_sha256,
        "folder": work.folder.name,
    }


def state(work: Work, now: Attempt | None) -> str:
    """released, aborted, over, stands, running, waits."""
    if now is not None and now.code and is_over(now.code):
        return "aborted" if now.code == "aborted" else "over"
    words = {
        "blank": "waits",
        "done": "released",
        "waiting": "waits",
        "stopped": "stands",
        "failed": "stands",
    }
    return words.get(work.state, work.state)


def next_command(work: Work, settings: Settings, now: Attempt | None) -> str:
    word = state(work, now)
    if word == "released":
        return f"rspp control rollout show {settings.pipeline}"
    if now is not None and now.code and not (now.all_met and not is_over(now.code)):
        return next_of(now.code, settings.ref)
    return f"rspp release resume {settings.ref}"


def _names(so_far: Sequence[Attempt], settings: Settings) -> list[StepName]:
    names = [step.name for step in plan(settings)]
    return [*names, StepName.ABORT] if last(so_far, StepName.ABORT) is not None else names


def _row(so_far: Sequence[Attempt], name: StepName) -> dict[str, Any]:
    one, now = last(so_far, name), running(so_far)
    times = sum(attempt.name is name for attempt in so_far)
    if one is None:
        return {"step": name, "status": "", "number": "", "attempts": 0, "at": "", "says": ""}
    status = "RUNNING" if now is one else "" if one.result is None else one.result.status.value
    engine = one.engine(STEPS[name].engine)
    says = (
        engine.notes
        if engine is not None
        else one.result.reasons[0]
        if one.result and one.result.reasons
        else ""
    )
    return {
        "step": name,
        "status": status,
        "number": one.number,
        "attempts": times,
        "at": one.at,
        "says": says,
    }


def _missing(work: Work) -> list[dict[str, str]]:
    if work.state != "running":
        return []
    return [{"code": one.code, "what": one.what, "fix": one.fix} for one in work.manifest.missing()]


def show(said: Mapping[str, Any]) -> None:
    """For people."""
    click.echo(f"{said['pipeline']}@{said['version']}: {said['state']}")
    rows = [
        (one["number"], one["step"], one["status"], one["attempts"] or "", one["says"])
        for one in said["steps"]
    ]
    print_table(("", "step", "status", "tries", ""), rows, numbers=("tries",))
    if said["code"] and said["state"] in ("stands", "over", "aborted"):
        click.echo(visible(f"{said['code']}: {'; '.join(said['reasons'])}"))
        for one in said["requirements"]:
            text, _, by = one.partition(MET)
            click.echo(visible(f"  {'met' if is_met(one) else 'needs'}: {text}{f' ({by})' if by else ''}"))
    if said["missing"]:
        click.echo(f"  {len(said['missing'])} proofs of this step are still to come (--json names them)")
    if said["observation"]:
        click.echo(visible(f"looked at: {_looked_at(said['observation'])}"))
    for fault in said["faults"]:
        click.echo(visible(f"  wrong with the manifest: {fault}"))
    click.echo(visible(f"next: {said['next']}"))


def _looked_at(seen: Mapping[str, Any]) -> str:
    """What an observation rests on, and what it does not."""
    took_s = max(0, seen["looked_ms"] - seen["started_ms"]) / 1000
    words = ("good", "running", "bad", "aborted", "degraded", "open")
    ends = ", ".join(f"{seen[word]} {word}" for word in words if seen[word])
    providers = ", ".join(seen["providers"]) or "none"
    budget = seen["budget_burned"] or "not burned"
    return (
        f"sessions of {seen['tenants']} tenants, {seen['looks']} times in {took_s:.0f} s: {ends or 'none came'}; "
        f"error budget: {budget}; providers: {providers}. Single turns are not judged: rspp gates does that"
    )


def show_compared(found: Mapping[str, Any]) -> None:
    if not found["seen"]:
        click.echo("the audit log is not shown to you (audit.read): nothing was compared")
        return
    for one in found["differences"]:
        click.echo(visible(f"differs: {one}"))
    for one in found["unsettled"]:
        click.echo(visible(f"begun, and no end on record (its process was killed): {one}"))
    click.echo(f"{len(found['records'])} records of this release, {len(found['differences'])} differences")
