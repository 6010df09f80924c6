"""What a person sees of a call: its words while it runs, then a table of its turns. Progress and logs go to stderr."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, TextIO

import click

from rspp.cli.call_report import STAGES, CallNotes, Told, TurnReport
from rspp.cli.output import print_table
from rspp.cli.recordings import OWN_TENANT
from rspp.cli.run_call import CallResult
from rspp.cli.tracing import without_personal
from rspp.host.logs import DEBUG, LogWriter, as_json, as_words
from rspp.host.secrets import Secrets
from rspp.timeline.redaction.forms import without_secrets
from rspp.timeline.redaction.keywords import names_a_secret

# Texts of the log that were cleaned and may come again.
CLEANED_MAX: Final = 256
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


def logging_to_stderr(
    *, verbose: bool, quiet: bool, secrets: Secrets, lines: bool = False
) -> Callable[[], None]:
    """Logs of this process: errors when quiet, everything of ours when verbose, else warnings. They are JSON, a record a line,
    when verbose or with `lines` (where a machine reads them); else words. No secret that was resolved or looks like one is in
    them. Returns its undoing.
    """
    # Most texts come again and again, the tracebacks of an outage above all, and to clean a long one takes milliseconds.
    cleaned, masked = (lru_cache(CLEANED_MAX)(clean) for clean in (without_secrets, without_personal))
    writer = LogWriter(
        sys.stderr.fileno() if _is_real(sys.stderr) else 2,
        clean=lambda text: cleaned(secrets.scrub(text)),
        mask=masked,
        hides=names_a_secret,
        encode=as_json if verbose or lines else as_words,
    )
    root, ours = logging.getLogger(), logging.getLogger("rspp")
    former = ours.level, root.level
    root.addHandler(writer)  # nodes and providers have loggers of their own names
    writer.setLevel(logging.ERROR if quiet and not verbose else logging.NOTSET)
    ours.setLevel(logging.DEBUG if verbose else logging.WARNING)
    # Of sessions that are being debugged: whoever switched that on wants to see it.
    logging.getLogger(DEBUG).setLevel(logging.INFO)
    root.setLevel(logging.INFO if verbose else logging.WARNING)

    def undo() -> None:
        root.removeHandler(writer)
        ours.setLevel(former[0])
        root.setLevel(former[1])
        writer.close()

    return undo


def _is_real(stream: TextIO) -> bool:
    try:
        stream.fileno()
    except (OSError, ValueError):  # taken by somebody who keeps it in memory
        return False
    return True
