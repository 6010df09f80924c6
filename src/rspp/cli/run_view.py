"""What a person sees of a call: its words while it runs, then a table of its turns. Progress and logs go to stderr."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

import click
import msgspec

from rspp.cli.call_report import STAGES, CallNotes, Told, TurnReport
from rspp.cli.output import print_table
from rspp.cli.recordings import OWN_TENANT
from rspp.cli.run_call import CallResult
from rspp.host.secrets import LogFilter, Secrets

LINES: Final = {
    "reply": "assistant",
    "interrupted": "(interrupted)",
    "failed": "(call failed)",
    "abort": "(turn aborted)",
}


def live(notes: CallNotes) -> Told:
    """Prints each line of the conversation as it comes."""

    def told(what: str, at: int, words: str) -> None:
        seconds = (at - notes.opened_at) / 1e9
        if what == "asked":
            click.echo(f"{seconds:7.2f}  caller     {words}")
        elif what in LINES:
            click.echo(f"{seconds:7.2f}  {LINES[what]}  {words}".rstrip())

    return told


class StderrProgress:
    """Says on stderr what takes time, and how long it took."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._what = ""
        self._since = 0.0

    def __call__(self, what: str) -> None:
        now = time.monotonic()
        if self._what and not self._quiet:
            click.echo(f" {now - self._since:.1f} s", err=True)
        self._what, self._since = what, now
        if what and not self._quiet:
            click.echo(f"{what} ...", err=True, nl=False)


def show(result: CallResult) -> None:
    """The table at the end."""
    columns = ("turn", "ends", "ms to first audio", *STAGES, "heard ms", "silent after ms", "evidence")
    rows = [_row(number, turn) for number, turn in enumerate(result.turns, 1)]
    click.echo("")
    print_table(columns, rows, numbers=columns[2:-1])
    click.echo(
        f"\nsession {result.session_id} ended: {result.end_reason}; {result.duration_ms / 1000:.1f} s of call"
    )


def next_commands(opened: Sequence[tuple[str, str]]) -> None:
    """What can be done with the recordings, word for word; each is a tenant and a session."""
    tenant, session_id = opened[-1]
    whose = "" if tenant == OWN_TENANT else f" --tenant {shlex.quote(tenant)}"
    name = shlex.quote(session_id)
    if len(opened) > 1:
        click.echo(f"\n{len(opened)} sessions were recorded: rspp sessions; the last is {session_id}")
    else:
        click.echo(f"\nsession {session_id} was recorded")
    click.echo(f"  rspp timeline {name}{whose}")
    click.echo(f"  rspp replay {name} --mode re-simulate{whose}")


def _row(number: int, turn: TurnReport) -> list[object]:
    stages = [turn.stages_ms.get(stage) for stage in STAGES]
    ends = "interrupted" if turn.interrupted else turn.terminal_reason or turn.terminal
    evidence = "complete" if turn.evidence_complete else f"lacks {', '.join(turn.evidence_missing)}"
    whole = turn.end_of_speech_to_first_audio_ms
    return [number, ends, whole, *stages, turn.heard_ms, turn.speech_to_silence_ms, evidence]


class JsonLines(logging.Formatter):
    """One JSON object a record."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": record.created,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_text:
            # As the filter left it: an exception's own words may hold a key.
            line["error"] = record.exc_text.rpartition("\n")[2]
        return msgspec.json.encode(line).decode()


def logging_to_stderr(*, verbose: bool, quiet: bool, secrets: Secrets) -> Callable[[], None]:
    """Our own logs: errors when quiet, warnings in words, everything as JSON lines when verbose, and never a secret that
    was resolved. Returns its undoing.
    """
    logger = logging.getLogger("rspp")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(LogFilter(secrets))
    if verbose:
        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    former = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)

    def undo() -> None:
        logger.removeHandler(handler)
        logger.setLevel(former)

    return undo
