"""A command is run under the manifest: nobody else writes meanwhile, and what the ledger says of it is how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from rspp.cli.manifest.ledgers import refs_of
from rspp.cli.manifest.place import COMMAND, must_be, step_seen
from rspp.cli.manifest.proof import (
    RECORD_SUFFIX,
    RunRecord,
    execute,
    fresh,
    proof_folder,
    safe_name,
    save,
    shown,
)
from rspp.contract.errors import MisuseError
from rspp.manifest.document import Document, Ran
from rspp.manifest.manifest import Manifest
from rspp.manifest.refused import Refused
from rspp.manifest.steps import check_running, is_routed
from rspp.manifest.updates import EngineTold

limit_option = click.option(
    "--limit",
    "limit_s",
    type=click.FloatRange(min=0.1),
    metavar="SECONDS",
    help="The longest it may take; then it is ended, and has failed.",
)
command_argument = click.argument(COMMAND, nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")


def run_under(
    manifest: Manifest,
    key: str,
    command: tuple[str, ...],
    *,
    limit_s: float | None,
    validator: bool,
    files: tuple[Path, ...] = (),
    note: str = "",
) -> RunRecord:
    """Run it, keep what it wrote, and say to the ledger how it ended. The step cannot change under it."""
    seen = step_seen(manifest)
    with manifest.hold(f"{'check' if validator else 'engine'} {key}"):
        document = manifest.document
        must_be(document, seen)
        _must_take_it(document)
        step = document.CURRENT_STEP.STEP_ID
        folder = proof_folder(manifest.folder, document.SESSION.SESSION_ID, step)
        output = fresh(folder, safe_name(key), ".log")
        began_at = datetime.now(UTC).isoformat(timespec="seconds")
        ran = execute(command, output, limit_s=limit_s, echo=_echo)
        done = RunRecord(
            session=document.SESSION.SESSION_ID,
            step=step,
            key=key,
            validator=validator,
            command=shown(command),
            began_at=began_at,
            ran=ran,
            output=manifest.ref(output),
            saw=tuple(one.ref for one in document.LEDGERS.OUTPUT_LEDGER if one.present),
        )
        record = fresh(folder, safe_name(key), RECORD_SUFFIX)
        save(record, msgspec.json.format(msgspec.json.encode(done), indent=2) + b"\n")
        outputs = (done.output, manifest.ref(record))
        status, sentence = Ran.RAN if ran.good else Ran.FAILED, ran.sentence()
        made, fault = _made(manifest, files) if ran.good else ((), None)
        if fault is not None:
            status, sentence = Ran.FAILED, f"{sentence}, but {fault.message}"
        notes = f"{sentence}; {note}" if note else sentence
        manifest.say(EngineTold(key=key, status=status, outputs=(*outputs, *made), notes=notes))
    if fault is not None:
        raise fault
    return done


def _must_take_it(document: Document) -> None:
    """Before the command runs: a result that nobody could record would be lost work."""
    check_running(document)
    if not is_routed(document):
        raise Refused(
            "manifest_step_unrouted",
            "the step is not routed yet; `rspp manifest route` does it, then run this",
        )


def _made(manifest: Manifest, files: tuple[Path, ...]) -> tuple[tuple[str, ...], MisuseError | None]:
    """The files that were to be made. One that is not there makes a failure of a run that ended well."""
    try:
        return refs_of(manifest, files), None
    except MisuseError as error:
        return (), error


def _echo(written: bytes) -> None:
    """What the command writes, for whoever watches; a document on stdout stays one."""
    click.echo(written, nl=False, err=True)
