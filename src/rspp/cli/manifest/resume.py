"""`rspp manifest resume`: what it takes to go on; meet a requirement; take a hand edit back; take a lock over."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from rspp.cli.manifest.answers import answered, standing
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, teller_of, writes
from rspp.cli.output import emit_json, visible
from rspp.manifest import form
from rspp.manifest.document import Document, is_met
from rspp.manifest.faults import Fault, ManifestError
from rspp.manifest.manifest import Manifest
from rspp.manifest.updates import RequirementMet


@click.command("resume", epilog=EPILOG)
@click.option("--met", metavar="N", help="The requirement that has been met: its number, or its text.")
@click.option("--ref", type=click.Path(path_type=Path), help="The file that shows it.")
@click.option(
    "--restore", is_flag=True, help="Take back what was edited by hand: the file as the trace has it."
)
@click.option("--take-over", is_flag=True, help="Take the lock of another host that cannot give it back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writes
def command(
    place: Place, met: str | None, ref: Path | None, restore: bool, take_over: bool, yes: bool
) -> None:
    """What it takes to go on after the last result; and the ways back when something went wrong.

    \b
    Examples:
        rspp manifest resume
        rspp manifest resume --met 1 --ref report.txt
        rspp manifest resume --restore
        rspp manifest resume --take-over

    After FAIL and STOP_GAP each requirement is met with a file that shows it. When all are, the next step is open, and a token
    for it is drawn. --restore shows what was edited by hand and asks before it takes that back. --take-over is for a lock whose
    holder runs on another machine, or ran there: whether it is alive cannot be seen from here, so look before.
    """
    if sum((met is not None, restore, take_over)) > 1:
        raise click.UsageError("--met, --restore and --take-over are three things: say them one by one.")
    if (met is None) != (ref is None):
        raise click.UsageError("A requirement is met with the file that shows it: --met N --ref FILE.")
    if yes and not (restore or take_over):
        raise click.UsageError("--yes answers what --restore and --take-over ask.")
    if take_over:
        _take_over(place, yes)
    elif restore:
        _restore(place, yes)
    elif met is not None and ref is not None:
        manifest = opened(place)
        step = step_seen(manifest)
        manifest.say(RequirementMet(requirement=met, ref=manifest.ref(Path.cwd() / ref)), step=step)
        answered(place, manifest, f"requirement {met} is met by {ref}")
    else:
        _show(place, opened(place))


# ---- what it takes -----------------------------------------------------------------------------------------------------


def _show(place: Place, manifest: Manifest) -> None:
    told = standing(place, manifest)
    document: Document = told["document"]
    if place.as_json:
        emit_json({"state": told["state"], "resume": document.RESUME, "next": told["next"]})
        return
    click.echo(visible(_sentence(document, told["state"])))
    for number, text in enumerate(document.RESUME.RESUME_REQUIREMENTS, start=1):
        click.echo(visible(f"  {'[x]' if is_met(text) else '[ ]'} {number}. {text}"))
    if document.RESUME.RESUME_TOKEN:
        click.echo(visible(f"token: {document.RESUME.RESUME_TOKEN}"))
    for one in told["next"]:
        click.echo(visible(f"next: {one}"))


def _sentence(document: Document, state: str) -> str:
    step = document.CURRENT_STEP
    target = document.RESUME.RESUME_TARGET.GOAL
    if state == "blank":
        return "nothing has begun; the first step needs no signal"
    if state == "running":
        return f"step {step.STEP_ID} runs; it needs a result before the next one"
    if document.RESUME.RESUME_ALLOWED:
        then = f"; then: {target}" if target and state != "done" else ""
        return f"the next step is open: it needs the signal {step.USER_SIGNAL}, or the token{then}"
    return f"step {step.STEP_ID} ended in {step.STEP_STATUS.value}; each of these must be met before the next one"


# ---- ways back ---------------------------------------------------------------------------------------------------------


def _restore(place: Place, yes: bool) -> None:
    """The file as the trace has it. What is lost by that is shown, and somebody says yes."""
    manifest = opened(place)
    if next(manifest.trace(), None) is None:
        raise ManifestError(
            "manifest_trace_broken",
            "there is no line of a trace to restore anything from. Bring the trace back from a copy.",
        )
    before = _text(manifest)
    wanted = form.write(before, _traced(manifest), manifest.path.name)
    lost = _difference(before, wanted, place.file.name)
    if lost and not place.as_json:
        click.echo(visible(lost), nl=False)
    if before == wanted:
        answered(
            place,
            manifest,
            "the file says what the trace says: there is nothing to take back",
            restored=False,
        )
        return
    _ask("Take this back?", place, yes)
    manifest.restore()
    answered(place, manifest, "the file says again what the trace says", restored=True, difference=lost)


def _text(manifest: Manifest) -> str:
    """What stands in the file; nothing where it is gone."""
    if not manifest.path.exists():
        return ""
    text = form.decode(manifest.path.read_bytes(), manifest.path.name)
    if isinstance(text, Fault):
        raise ManifestError("manifest_invalid", "the file is no text, so nothing can be kept of it", [text])
    return text


def _traced(manifest: Manifest) -> Document:
    """The document as the trace has it: what its lines wrote, laid over one another."""
    sections: dict[str, Any] = {}
    for line in manifest.trace():
        sections.update(line.wrote)
    return msgspec.convert(sections, Document)


def _difference(before: str, after: str, name: str) -> str:
    return "".join(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"{name} as it is",
            f"{name} as the trace has it",
        )
    )


def _take_over(place: Place, yes: bool) -> None:
    opened(place)
    _ask("Is the holder of the lock certainly gone?", place, yes)
    manifest = Manifest(
        place.file, root=place.root, tells=teller_of(place), lock_wait_s=place.wait_s, take_over=True
    )
    with manifest.hold("take the lock over"):
        pass
    answered(place, manifest, "the lock is free")


def _ask(question: str, place: Place, yes: bool) -> None:
    if yes:
        return
    if place.as_json or not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: say --yes.")
    click.confirm(question, abort=True)
