"""`rspp manifest validate`: the file, what it says against its trace, and the proofs of a PASS that it claims."""

from __future__ import annotations

import click

from rspp.cli.manifest.place import EPILOG, Place, opened, reads
from rspp.cli.output import Status, emit_json, visible
from rspp.manifest.checking import Validated
from rspp.manifest.document import StepStatus
from rspp.manifest.manifest import Manifest


@click.command("validate", epilog=EPILOG)
@reads
def command(place: Place) -> None:
    """Check everything, and name all that is wrong: in the file, in its trace, in what they say together, and in the proofs.

    \b
    Examples:
        rspp manifest validate
        rspp manifest validate --file NOTES.md --json

    Ends with 1 and every fault, each with its file, line and key: what cannot be read, keys that are unknown, combinations that
    are impossible, sections that were edited by hand, lines of the trace that were changed or are torn. A PASS that is not
    backed is told with the same list as `rspp manifest result pass` gives. Changes nothing, and needs no lock.
    """
    manifest = opened(place)
    found = manifest.validate()
    if place.as_json:
        emit_json({"ok": found.ok, "faults": found.faults, "missing": found.missing})
    else:
        _show(found, manifest)
    if not found.ok:
        raise SystemExit(Status.PROBLEM)


def _show(found: Validated, manifest: Manifest) -> None:
    for fault in found.faults:
        click.echo(visible(str(fault)))
    if found.ok:
        click.echo(visible(_sound(manifest)))
        return
    if found.missing:
        click.echo("PASS is not backed:" if _claims_pass(found, manifest) else "PASS would lack:")
        for one in found.missing:
            click.echo(visible(f"  {one.what}. {one.fix}"))
    faults, missing = len(found.faults), len(found.missing)
    click.echo(f"{faults} {'fault' if faults == 1 else 'faults'}, {missing} missing")


def _claims_pass(found: Validated, manifest: Manifest) -> bool:
    return not found.faults and manifest.document.CURRENT_STEP.STEP_STATUS is StepStatus.PASS


def _sound(manifest: Manifest) -> str:
    """What was checked, for somebody who only sees that nothing was found."""
    lines = sum(1 for _ in manifest.trace())
    step = manifest.document.CURRENT_STEP
    if not step.STEP_ID:
        proofs = "no step has begun"
    elif step.STEP_STATUS is StepStatus.PASS:
        proofs = f"the proofs of step {step.STEP_ID}, PASS, are there and are what they were"
    else:
        proofs = f"step {step.STEP_ID} is {step.STEP_STATUS.value} and claims no PASS"
    return (
        f"sound: keys, types and combinations; {lines} {'line' if lines == 1 else 'lines'} of trace, "
        f"each bound to the one before; the file says what the trace says; {proofs}"
    )
