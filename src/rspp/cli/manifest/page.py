"""A manifest as a page for a person: what stands there, in the file's order, and what is due at its end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import click
from rich.text import Text

from rspp.cli.output import console, print_table, visible
from rspp.manifest.document import VAL_REPORT, Document, Ran, ResultStatus, is_met
from rspp.manifest.refs import read_ref
from rspp.manifest.refused import Missing

STATES: Final = {
    "blank": ("nothing has begun", "dim"),
    "running": ("a step runs", "bold cyan"),
    "waiting": ("the last step passed; the next one waits for the signal", "bold green"),
    "stopped": ("stopped, because something is lacking", "bold yellow"),
    "failed": ("the last step failed", "bold red"),
    "done": ("done; nothing is left", "bold green"),
}
MARKS: Final = {"ran": "[x]", "present": "[x]", "skipped": "[-]", "failed": "[!]", "missing": "[ ]"}
DIGITS: Final = 12


def page(document: Document, state: str, missing: Sequence[Missing], due: Sequence[str]) -> None:
    _head(document, state)
    _routing(document)
    rows = [*_roles(document), *_engines(document), *_outputs(document)]
    if rows:
        click.echo()
        print_table(("", "ledger", "name", "status", "files", "notes"), rows)
    _last(document)
    _requirements(document)
    if state == "running":
        _missing(missing)
    if due:
        click.echo("\nnext")
        for command in due:
            click.echo(visible(f"  {command}"))


def _head(document: Document, state: str) -> None:
    session, step = document.SESSION, document.CURRENT_STEP
    words, style = STATES.get(state, (state, ""))
    name = session.SESSION_ID or "no session"
    since = f", begun {session.STARTED_AT}" if session.STARTED_AT else ""
    _line("session", f"{name} ({session.OWNER.value}, {session.MODE}){since}")
    if step.STEP_ID:
        _line("step", f"{step.STEP_ID} {step.STEP_STATUS.value}: {step.STEP_GOAL}")
        where = " ".join(filter(None, (step.ACTIVE_FOLDER, step.ACTIVE_FILE)))
        if where:
            _line("works on", where)
    console().print(Text.assemble("state     ", (words, style)))


def _line(name: str, text: str) -> None:
    click.echo(visible(f"{name:9} {text}"))


def _routing(document: Document) -> None:
    """What is said of the step beside the keys that the ledgers show."""
    routing = document.ROUTING
    what = " ".join(
        filter(None, (routing.DOMAIN, routing.ARTIFACT_TYPE, routing.PROFILE_KEY, routing.PIPE_SELECTED))
    )
    for name, text in (
        ("routed", what),
        ("reads", ", ".join((*routing.REQUIRED_IDX, *routing.REQUIRED_KB_KEYS))),
        ("no-go", ", ".join(routing.NO_GO_LIST)),
    ):
        if text:
            _line(name, text)


# ---- ledgers ---------------------------------------------------------------------------------------------------------

Row = tuple[str, str, str, str, str, str]


def _row(ledger: str, name: str, status: str, files: Iterable[str] = (), notes: str = "") -> Row:
    return MARKS[status], ledger, name, status, "\n".join(map(_file, files)), notes


def _file(text: str) -> str:
    """A file with the beginning of its digest; the whole of it is in `--json`."""
    ref = read_ref(text)
    return text if ref is None else f"{ref.path} {ref.sha256[:DIGITS]}"


def _roles(document: Document) -> Iterator[Row]:
    known = {entry.role: entry for entry in document.LEDGERS.ROLE_LEDGER}
    for name in dict.fromkeys((*document.ROUTING.REQUIRED_ROLES, *known)):
        entry = known.get(name)
        if entry is None:
            yield _row("role", name, "missing")
        else:
            yield _row("role", name, entry.status.value, entry.outputs_produced, entry.notes)


def _engines(document: Document) -> Iterator[Row]:
    routing = document.ROUTING
    known = {entry.eng_key: entry for entry in document.LEDGERS.ENGINE_RUN_LEDGER.entries}
    for name in dict.fromkeys((*routing.REQUIRED_ENG_KEYS, *routing.REQUIRED_VAL_KEYS, *known)):
        kind = "validator" if name in routing.REQUIRED_VAL_KEYS else "engine"
        entry = known.get(name)
        if entry is None:
            yield _row(kind, name, "missing")
        else:
            yield _row(kind, name, entry.status.value, entry.outputs_produced, entry.notes)


def _outputs(document: Document) -> Iterator[Row]:
    known = {entry.output: entry for entry in document.LEDGERS.OUTPUT_LEDGER}
    ran = any(entry.status is Ran.RAN for entry in document.LEDGERS.ENGINE_RUN_LEDGER.entries)
    expected = (*document.ROUTING.OUTPUT_CONTRACT, *((VAL_REPORT,) if ran else ()))
    for name in dict.fromkeys((*expected, *known)):
        entry = known.get(name)
        if entry is None or not entry.present:
            yield _row("output", name, "missing", notes=entry.source if entry else "")
        else:
            yield _row("output", name, "present", (entry.ref,), entry.source)


# ---- what came of it, and what is due -----------------------------------------------------------------------------------


def _last(document: Document) -> None:
    last, tracking = document.LAST_RESULT, document.PATCH_TRACKING
    if last.STATUS is ResultStatus.NONE:
        return
    click.echo()
    _line("result", f"{last.STATUS.value} {last.FAIL_CODE}".rstrip())
    for name, texts in (("because", last.FAIL_REASONS), ("fix", last.FIX_LIST)):
        for text in texts:
            _line(name, text)
    changed = ", ".join(tracking.LAST_FILES_CHANGED)
    if changed or tracking.LAST_PATCHSET_ID:
        _line("changed", f"{tracking.LAST_PATCHSET_ID} {changed}".strip())


def _requirements(document: Document) -> None:
    for number, text in enumerate(document.RESUME.RESUME_REQUIREMENTS, start=1):
        _line("requires", f"{'[x]' if is_met(text) else '[ ]'} {number}. {text}")
    target = document.RESUME.RESUME_TARGET
    if target.GOAL:
        _line("then", f"{target.GOAL} {f'({target.FILE})' if target.FILE else ''}".rstrip())


def _missing(missing: Sequence[Missing]) -> None:
    if not missing:
        console().print(Text("\nnothing is missing for PASS", "green"))
        return
    click.echo(f"\nmissing for PASS: {len(missing)}")
    for one in missing:
        click.echo(visible(f"  {one.what}"))
        click.echo(visible(f"      {one.fix}"))
