"""`rspp manifest report`: the step's VAL_REPORT, out of the checks that were really run in it.

A check counts when its record is what the ledger says it is, by its digest, and is of this session, this step and this key, and
what the validator wrote is still there as it was. Nothing else can be put into the report here.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, must_be, opened, step_seen, writes
from rspp.cli.manifest.proof import RECORD_BYTES_MAX, RECORD_SUFFIX, RunRecord, fresh, proof_folder, save
from rspp.cli.output import Status, visible
from rspp.contract.errors import MisuseError
from rspp.manifest.document import VAL_REPORT, Document, EngineEntry, Ran, ValCheck, ValReport
from rspp.manifest.refs import read_ref
from rspp.manifest.steps import check_running
from rspp.manifest.updates import OutputTold

SOURCE: Final = "VAL"


@click.command("report", epilog=EPILOG)
@writes
def command(place: Place) -> None:
    """Write the step's VAL_REPORT from its checks, and record it as an output. It says pass if every one of them does.

    \b
    Examples:
        rspp manifest check KEY:VAL.TESTS -- pytest -q
        rspp manifest report

    Every validator of the routing must have been run by `rspp manifest check`, after the outputs that are on record. Ends with 1 when the report says fail. After
    more checks, write it again: a new file, the one before stays. A report of another tool is recorded with
    `rspp manifest output VAL_REPORT --ref FILE`.
    """
    manifest = opened(place)
    seen = step_seen(manifest)
    with manifest.hold("report"):
        document = manifest.document
        must_be(document, seen)
        check_running(document)
        report = report_of(document, manifest.folder)
        folder = proof_folder(manifest.folder, document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID)
        file = fresh(folder, VAL_REPORT, ".json")
        save(file, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        ref = manifest.ref(file)
        manifest.say(OutputTold(output=VAL_REPORT, ref=ref, source=SOURCE))
    if not place.as_json:
        _show(report)
    answered(place, manifest, f"{VAL_REPORT} says {report.verdict}: {_path(ref)}", report=report)
    if report.verdict != "pass":
        raise SystemExit(Status.PROBLEM)


def _show(report: ValReport) -> None:
    for check in report.checks:
        click.echo(visible(f"  {check.verdict:5} {check.key}: {check.message}"))


def report_of(document: Document, folder: Path) -> ValReport:
    """What the checks of this step say together; refused where a required one was not run."""
    checks = tuple(_checks(document, folder))
    known = {check.key for check in checks}
    unrun = [key for key in dict.fromkeys(document.ROUTING.REQUIRED_VAL_KEYS) if key not in known]
    if unrun or not checks:
        keys = unrun or ["KEY"]
        which = ", ".join(unrun) if unrun else "any validator"
        raise MisuseError(
            "manifest_checks_missing",
            f"{which} was not run by a check in this step. Run "
            + ", ".join(f"`rspp manifest check {key} -- COMMAND`" for key in keys)
            + ".",
        )
    _must_be_newer(document, folder)
    verdict = "pass" if all(check.verdict == "pass" for check in checks) else "fail"
    return ValReport(
        session=document.SESSION.SESSION_ID,
        step=document.CURRENT_STEP.STEP_ID,
        verdict=verdict,
        checks=checks,
        run=document.LEDGERS.ENGINE_RUN_LEDGER.run_id,
    )


def _must_be_newer(document: Document, folder: Path) -> None:
    """A check says nothing about an output that was recorded, or became another one, after it."""
    runs = [
        record
        for entry in document.LEDGERS.ENGINE_RUN_LEDGER.entries
        if (record := _record(document, entry, folder)) is not None
    ]
    for output in document.LEDGERS.OUTPUT_LEDGER:
        unseen = [run.key for run in runs if output.present and output.ref not in run.saw]
        if unseen and output.output != VAL_REPORT:
            again = ", ".join(f"`rspp manifest check {key} -- COMMAND`" for key in unseen)
            raise MisuseError(
                "manifest_checks_stale",
                f"the output {output.output} was recorded after {', '.join(unseen)} ran. Run it again: {again}.",
            )


def _checks(document: Document, folder: Path) -> Iterator[ValCheck]:
    for entry in document.LEDGERS.ENGINE_RUN_LEDGER.entries:
        record = _record(document, entry, folder)
        if record is not None:
            yield _judged(entry, record, folder)


def _judged(entry: EngineEntry, record: RunRecord, folder: Path) -> ValCheck:
    """Its exit status decides; a later word in the ledger against it is heard, one in its favour is not."""
    sentence = record.ran.sentence()
    if _read(folder, record.output, None) is None:
        again = f"Run it again: rspp manifest check {entry.eng_key} -- COMMAND."
        return ValCheck(
            key=entry.eng_key,
            verdict="fail",
            message=f"{sentence}, but what it wrote is not what it was",
            fix=again,
        )
    if record.ran.good and entry.status is Ran.RAN:
        return ValCheck(key=entry.eng_key, verdict="pass", message=sentence)
    fix = f"See what it wrote in {_path(record.output)}, mend that, and check again."
    return ValCheck(key=entry.eng_key, verdict="fail", message=sentence, fix=fix)


def _record(document: Document, entry: EngineEntry, folder: Path) -> RunRecord | None:
    """The record of the check that this entry was told by, if it was one."""
    for claim in entry.outputs_produced:
        if not _path(claim).endswith(RECORD_SUFFIX):
            continue
        data = _read(folder, claim, RECORD_BYTES_MAX)
        if data is None:
            continue
        try:
            record = msgspec.json.decode(data, type=RunRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
        whose = (record.session, record.step, record.key, record.validator)
        if whose == (document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID, entry.eng_key, True):
            return record
    return None


def _path(text: str) -> str:
    ref = read_ref(text)
    return ref.path if ref is not None else ""


def _read(folder: Path, text: str, bytes_max: int | None) -> bytes | None:
    """The file of a reference, if it is what it was."""
    ref = read_ref(text)
    if ref is None:
        return None
    path = folder / ref.path
    try:
        if bytes_max is not None and path.stat().st_size > bytes_max:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return data if sha256(data).hexdigest() == ref.sha256 else None
