"""What can be said on the command line about a release: to whom it goes, how it is led out, what it is held to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from rspp.cli.control.noun import asking_options
from rspp.cli.release.settings import OBSERVE_MS_MAX
from rspp.cli.release.steps import STEPS, StepName
from rspp.cli.serve import Span

Command = TypeVar("Command", bound=Callable[..., Any])
FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
STOPS: Final = [name.value for name in STEPS if name is not StepName.ABORT]


class Share(click.ParamType[float]):
    """A share: 1%, 0.5% or 0.01."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is no share; write 1% or 0.01", param, ctx)
        if not 0 <= share <= 1:
            self.fail(f"{value} is not from 0% to 100%", param, ctx)
        return share


def _added(command: Command, *options: Callable[[Any], Any]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def whom_options(command: Command) -> Command:
    """Whom to ask, and where the release is kept."""
    command.__click_params__ = [*reversed(asking_options()), *getattr(command, "__click_params__", [])]  # type: ignore[attr-defined]
    return _added(
        command,
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            help="Data folder; else $RSPP_DATA, else .rspp here.",
        ),
    )


def going_options(command: Command) -> Command:
    """How far to go now."""
    return _added(
        command,
        click.option("--stop-after", type=click.Choice(STOPS), help="Go no further than this step for now."),
        click.option(
            "--wait/--no-wait",
            default=True,
            show_default=True,
            help="Wait for an observation to end; else leave it, and resume later.",
        ),
        click.option(
            "--tell",
            metavar="STORE|none",
            help="The store whose console shows it and gives signals; with --store that one.",
        ),
        click.option("--take-over", is_flag=True, help="Take a lock that another host never gave back."),
    )


def led_options(command: Command) -> Command:
    """How new sessions are led to the version, and what they are held to."""
    return _added(
        command,
        click.option(
            "--canary",
            "canary_percent",
            type=click.IntRange(0, 100),
            default=10,
            show_default=True,
            help="Of a hundred new sessions, how many get it first.",
        ),
        click.option("--tenants", multiple=True, help="Whose sessions all get it first. Again for more."),
        click.option(
            "--direct", is_flag=True, help="No canary for anybody and no observation: promote at once."
        ),
        click.option(
            "--observe",
            "observe_ms",
            type=Span(0, OBSERVE_MS_MAX),
            default="10m",
            show_default=True,
            help="Watch its first sessions for so long.",
        ),
        click.option(
            "--every",
            "every_ms",
            type=Span(10, 600_000),
            default="5s",
            show_default=True,
            help="Look so often.",
        ),
        click.option(
            "--min-sessions",
            "sessions_min",
            type=click.IntRange(0),
            default=20,
            show_default=True,
            help="Of fewer sessions nothing is concluded.",
        ),
        click.option(
            "--max-errors",
            "errors_max",
            type=Share(),
            default="1%",
            show_default=True,
            help="The share of sessions that may fail by the platform's doing.",
        ),
        click.option(
            "--max-aborts",
            "aborts_max",
            type=Share(),
            default="100%",
            show_default=True,
            help="The share of callers who may leave before a first turn.",
        ),
        click.option("--require-approval", is_flag=True, help="Ask for consent, also where no rule does."),
        click.option("--pause", is_flag=True, help="Wait for the signal before each step."),
    )


def proof_options(command: Command) -> Command:
    """What it must withstand before."""
    return _added(
        command,
        click.option(
            "--corpus", required=True, type=FOLDER, help="Recordings that the version must do again."
        ),
        click.option(
            "--recordings",
            multiple=True,
            metavar="SESSION|FILE|DIR",
            help="Recordings that the seven gates judge. Again for more.",
        ),
        click.option(
            "--gates", "gates_report", type=FILE, help="A report of `rspp gates`, instead of recordings."
        ),
        click.option(
            "--any-gates", is_flag=True, help="The gates may judge recordings of other pipelines, too."
        ),
        click.option(
            "--nodes", multiple=True, metavar="FOLDER|MODULE", help="Where the recordings' own nodes are."
        ),
        click.option(
            "--strict/--relaxed", default=True, show_default=True, help="Do warnings of lint count?"
        ),
    )
