"""`rspp runtime actions`: what can be done now, with the exact call; `take` does it."""

from __future__ import annotations

import sys
from typing import Any, Final
from uuid import uuid4

import click
from click.core import ParameterSource

from rspp.cli.control.asking import Whom
from rspp.cli.output import Status, emit_json, visible
from rspp.cli.runtime.health import look_option
from rspp.cli.runtime.looking import looking_options, whom_of_here
from rspp.cli.runtime.seeing import actions, take

EPILOG: Final = (
    "Exit status: 0 shown, or done; 1 it was not done, or nobody can tell; 2 the command was used wrongly."
)
HELP: Final = """What can be done now: why, at what risk, in which role, and the command line that is the same.

\b
Examples:
    rspp runtime actions
    rspp runtime actions --json
    rspp runtime actions take settle_worker:workers:worker-1-9f2c51d07a3e --reason "its disk is replaced"
"""
TAKE_HELP: Final = """Take one of the offered actions.

The same key is the same taking, however often it is said: it is done once, and answered alike. Without --key a new one is
made and shown.

\b
Example:
    rspp runtime actions take reset_circuit:circuits:deepgram --reason "its outage is over" --yes
"""


def listed(context: click.Context, as_json: bool, look_ms: int, **given: Any) -> None:
    if context.invoked_subcommand is not None:
        _must_stand_behind(context)
        return
    whom = whom_of_here(given)
    items = actions(whom, look_ms)
    if as_json:
        emit_json({"items": items})
        return
    if not items:
        click.echo("nothing has to be done")
    for one in items:
        _show(one["action"], one["allowed"])


def _must_stand_behind(context: click.Context) -> None:
    """What is said before `take` would be of no effect, and another store acted upon than was meant."""
    for option in context.command.params:
        if context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"Options of `{context.invoked_subcommand}` stand behind it.")


def _show(action: dict[str, Any], allowed: bool) -> None:
    may = "" if allowed else "; you may not"
    click.echo(visible(action["title"]))
    click.echo(visible(f"    why    {action['why']}"))
    click.echo(f"    needs  {action['role']} ({action['call']['permission']}), risk {action['risk']}{may}")
    click.echo(visible(f"    id     {action['id']}"))
    click.echo(visible(f"    same   {action['call']['cli']}"))


def taken(
    action_id: str, reason: str, key: str | None, yes: bool, as_json: bool, look_ms: int, **given: Any
) -> None:
    whom = whom_of_here(given)
    key = key or uuid4().hex
    if not yes:
        _confirm(whom, action_id, as_json, look_ms)
    result = take(whom, action_id, key, reason, look_ms)
    if as_json:
        emit_json({**result, "key": key})
    else:
        word = "done" if result["done"] else f"not done ({result['code']})"
        again = ", as was answered to this key before" if result["repeated"] else ""
        click.echo(visible(f"{word}{again}{': ' + result['message'] if result['message'] else ''}"))
        click.echo(f"key {key}")
    if not result["done"]:
        raise SystemExit(Status.PROBLEM)


def _confirm(whom: Whom, action_id: str, as_json: bool, look_ms: int) -> None:
    """What is about to be done is shown, and somebody says yes; where nobody can, --yes must have."""
    if as_json or not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: say --yes.")
    for one in actions(whom, look_ms):
        if one["action"]["id"] == action_id:
            _show(one["action"], one["allowed"])
    click.confirm("Do it?", abort=True)


command = click.Group(
    "actions",
    callback=click.pass_context(listed),
    invoke_without_command=True,
    help=HELP,
    short_help="What can be done now, with the exact call; do it.",
    epilog=EPILOG,
    params=[look_option(), *looking_options()],
)
command.add_command(
    click.Command(
        "take",
        callback=taken,
        help=TAKE_HELP,
        short_help="Take one of the offered actions.",
        epilog=EPILOG,
        params=[
            click.Argument(["action_id"], metavar="ID"),
            click.Option(["--reason"], required=True, help="Why; it is on record."),
            click.Option(["--key"], help="The same key is the same taking."),
            click.Option(["--yes"], is_flag=True, help="Do not ask."),
            look_option(),
            *looking_options(),
        ],
    )
)
