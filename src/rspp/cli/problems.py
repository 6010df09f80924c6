"""Problems of specs are printed the same way by every command, one a line, as editors and CI read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from rspp.cli.output import Status
from rspp.spec import Problem, Severity


def text_of(path: Path) -> str:
    """A file's text; bytes that are not UTF-8 are kept visible, and the checker then refuses them by line."""
    return path.read_bytes().decode("utf-8", errors="replace")


def show(problems: Iterable[Problem]) -> None:
    for problem in problems:
        click.echo(str(problem))


def summary(problems: Iterable[Problem], files: int) -> str:
    every = list(problems)
    errors = sum(problem.severity is Severity.ERROR for problem in every)
    return f"{_count(files, 'file')}: {_count(errors, 'error')}, {_count(len(every) - errors, 'warning')}"


def status(problems: Iterable[Problem], *, strict: bool) -> Status:
    """Errors always fail; warnings fail in strict mode."""
    found = any(strict or problem.severity is Severity.ERROR for problem in problems)
    return Status.PROBLEM if found else Status.OK


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
