"""The end of a release: what was done, step by step, held against the audit log; or that it was given up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from rspp.cli.release.changing import own_records
from rspp.cli.release.ground import Ground, Outcome, failing, passing
from rspp.cli.release.matching import COMPARED, differences, unsettled
from rspp.cli.release.progress import Attempt
from rspp.cli.release.reports import Change, as_json, read_report, write
from rspp.cli.release.rolling import withdraw
from rspp.cli.release.settings import Settings
from rspp.cli.release.steps import STEPS, StepName
from rspp.cli.verify.engine import Found
from rspp.contract.errors import MisuseError
from rspp.manifest.refs import read_ref

FILE = "release.json"


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """The ledgers beside the audit log. `seen`: may whoever asks read the log at all?"""

    seen: bool
    differences: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    unsettled: tuple[str, ...] = ()  # begun, and no end on record: a process was killed meanwhile


def ledgered(folder: Path, so_far: tuple[Attempt, ...]) -> tuple[Change, ...]:
    """Every change that an engine of this release has told of, in a report that is what it was; raises MisuseError."""
    found: list[Change] = []
    for attempt in so_far:
        step = STEPS[attempt.name]
        ref = read_ref(attempt.ref(step.report))
        if step.changes and attempt.engine(step.engine) is not None and ref is not None:
            found += read_report(folder / ref.path).changes
    return tuple(found)


def compared(plane: Any, settings: Settings, folder: Path, so_far: tuple[Attempt, ...]) -> Compared:
    records = own_records(plane, settings, *COMPARED)
    if records is None:
        return Compared(seen=False)
    changes = ledgered(folder, so_far)
    return Compared(
        seen=True,
        differences=differences(changes, records),
        records=tuple(
            f"{one.action} {one.decision} {one.place}" for one in records if one.action in COMPARED
        ),
        unsettled=tuple(f"{one.action} {one.place}" for one in unsettled(records) if one.action in COMPARED),
    )


def report(at: Ground) -> Outcome:
    """The ledgers and the log say the same; then the whole release as one file."""
    try:
        found = compared(at.plane, at.settings, at.folder, at.so_far)
    except MisuseError as error:
        return failing(
            "ledger_mismatch", error.message, [Found(what=error.message, fix="Bring the report back.")]
        )
    whole = {
        "release": at.settings.session,
        "pipeline": at.settings.pipeline,
        "version": at.settings.version,
        "spec_sha256": at.settings.spec_sha256,
        "by": at.me,
        "made_wall_ms": at.wall_ms(),
        "steps": [told(one) for one in at.so_far],
        "audit": found,
    }
    outputs = {"RELEASE": write(at.folder / FILE, as_json(whole))}
    facts = msgspec.to_builtins(found)
    if found.differences:
        fix = "Look at both: rspp release status --verify, rspp control audit list."
        wrong = [Found(what=one, fix=fix) for one in found.differences]
        return failing("ledger_mismatch", found.differences[0], wrong, facts=facts, outputs=outputs)
    said = (
        f"{len(found.records)} records of the audit log agree"
        if found.seen
        else "not compared: audit.read is needed"
    )
    return passing(f"released {at.settings.ref}; {said}", facts=facts, outputs=outputs)


def told(attempt: Attempt) -> dict[str, Any]:
    """An attempt at a step, for a reader of release.json."""
    result = attempt.result
    return {
        "step": attempt.name,
        "number": attempt.number,
        "begun_at": attempt.at,
        "ended_at": attempt.ended_at,
        "by": attempt.by,
        "status": "RUNNING" if result is None else result.status.value,
        "code": attempt.code,
        "engines": {one.key: one.notes for one in attempt.engines},
        "outputs": {one.output: one.ref for one in attempt.outputs},
    }


def abort(at: Ground) -> Outcome:
    """New sessions go back to what they had before; what was published stays, for versions never change."""
    changes, words = withdraw(at)
    published = any(one.name is StepName.PUBLISH and one.passed for one in at.so_far)
    stays = f"; {at.settings.ref} stays published" if published else ""
    found = [
        Found(
            what=f"{words}{stays}", fix="Begin a new release, as a new version where this one is published."
        )
    ]
    because = f" ({at.asked.reason})" if at.asked.reason else ""
    return failing("aborted", f"given up{because}; {words}{stays}", found, changes=changes)
