"""`rspp manifest result`: how the step ended. PASS only with its proofs, the others with what it takes to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rspp.cli.manifest.advice import NOTHING_LEFT
from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, writes
from rspp.manifest.document import ResumeTarget, StepStatus
from rspp.manifest.updates import Resulted


@click.group("result", epilog=EPILOG)
def command() -> None:
    """How the step ended.

    \b
    Examples:
        rspp manifest result pass --next-goal "The greeting knows the hour" --next-file greeting.py
        rspp manifest result pass --done
        rspp manifest result fail --code tests_failed --reason "2 of 40 tests fail" --requirement "all tests pass"
        rspp manifest result stop-gap --requirement "the owner names the voice"
    """


def _tracking(run: Any) -> Any:
    """What the step changed; of every result."""
    for option in (
        click.option(
            "--patchset", default="", metavar="ID", help="What the change is called: PATCHSET_0007."
        ),
        click.option(
            "--changed", multiple=True, metavar="FILE", help="A file that the step changed; once for each."
        ),
    ):
        run = option(run)
    return run


def _lacking(run: Any) -> Any:
    for option in (
        click.option(
            "--requirement",
            "requirements",
            multiple=True,
            metavar="SENTENCE",
            help="What must be met before the next step; once for each, at least one.",
        ),
        click.option("--fix", "fixes", multiple=True, metavar="SENTENCE", help="What would mend it."),
        click.option("--reason", "reasons", multiple=True, metavar="SENTENCE", help="Why; once for each."),
    ):
        run = option(run)
    return run


@command.command("pass", epilog=EPILOG)
@click.option("--next-goal", default="", metavar="SENTENCE", help="What the next step is for.")
@click.option("--next-file", default="", metavar="FILE", help="What it will work on.")
@click.option("--done", is_flag=True, help="Nothing is left to do: there is no next goal.")
@_tracking
@writes
def passed(
    place: Place, next_goal: str, next_file: str, done: bool, changed: tuple[str, ...], patchset: str
) -> None:
    """The step has reached its goal. Refused, with everything that is missing, unless that is proven.

    \b
    Examples:
        rspp manifest result pass --next-goal "The greeting knows the hour"
        rspp manifest result pass --done --changed greeting.txt --patchset PATCHSET_0001

    Required are: every role, engine and validator of the routing with `ran`, every output with a file that is what it was,
    a VAL_REPORT of this step that says pass, no changed file on NO_GO_LIST, and a whole trace.
    """
    if done == bool(next_goal):
        raise click.UsageError("Say what comes next, --next-goal SENTENCE, or --done where nothing is left.")
    if done and next_file:
        raise click.UsageError("--done says that nothing is left, so --next-file names nothing: say one.")
    target = ResumeTarget(FILE=next_file, GOAL=next_goal or NOTHING_LEFT)
    said = Resulted(
        status=StepStatus.PASS,
        changed=_names(changed, place),
        patchset=patchset,
        next_pointer=next_file,
        target=target,
    )
    _say(place, said)


@command.command("fail", epilog=EPILOG)
@click.option("--code", required=True, metavar="WORD", help="What went wrong, for programs.")
@_lacking
@_tracking
@writes
def failed(place: Place, code: str, **given: Any) -> None:
    """The step has not reached its goal.

    \b
    Example:
        rspp manifest result fail --code tests_failed --reason "2 of 40 tests fail" \\
            --fix "mend the clock's test" --requirement "all tests pass"
    """
    _ended(place, StepStatus.FAIL, code, **given)


@command.command("stop-gap", epilog=EPILOG)
@click.option("--code", default="", metavar="WORD", help="What is lacking, for programs.")
@_lacking
@_tracking
@writes
def stopped(place: Place, code: str, **given: Any) -> None:
    """The step cannot go on, because something is lacking.

    \b
    Example:
        rspp manifest result stop-gap --reason "two voices are possible" --requirement "the owner names the voice"
    """
    _ended(place, StepStatus.STOP_GAP, code, **given)


def _ended(place: Place, status: StepStatus, code: str, **given: Any) -> None:
    if not given["requirements"]:
        raise click.UsageError(
            "Say what must be met before the next step may begin: --requirement SENTENCE, once for each."
        )
    changed = _names(given.pop("changed"), place)
    _say(place, Resulted(status=status, fail_code=code, changed=changed, **given))


def _say(place: Place, said: Resulted) -> None:
    manifest = opened(place)
    document = manifest.say(said, step=step_seen(manifest))
    answered(place, manifest, f"step {document.CURRENT_STEP.STEP_ID}: {said.status.value}")


def _names(changed: tuple[str, ...], place: Place) -> tuple[str, ...]:
    """Files as they are named here, as the manifest names them: relative to its folder, or to its root."""
    folder = place.file.absolute().parent.resolve()
    root = place.root.resolve() if place.root is not None else folder
    return tuple(_name(Path.cwd() / one, one, folder, root) for one in changed)


def _name(path: Path, given: str, folder: Path, root: Path) -> str:
    real = path.parent.resolve() / path.name
    for home in (folder, root):
        if real.is_relative_to(home):
            return real.relative_to(home).as_posix()
    return given
