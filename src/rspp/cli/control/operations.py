"""`rspp control operations`: everything that can be asked of a control plane, on one page."""

from __future__ import annotations

from typing import Final

import click

from rspp.cli.output import emit_json, print_table
from rspp.control.operations import OPERATIONS
from rspp.control.operations.page import COLUMNS, markdown, row

EPILOG: Final = "Exit status: 0 shown, 2 the command was used wrongly."


@click.command(epilog=EPILOG)
@click.option("--markdown", "as_markdown", is_flag=True, help="As the table of docs/control-api.md.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(as_markdown: bool, as_json: bool) -> None:
    """List every operation: its route, the permission that it needs, and whose things it is about.

    \b
    Example:
        rspp control operations
    """
    if as_json:
        emit_json({"operations": [dict(zip(COLUMNS, row(one), strict=True)) for one in OPERATIONS]})
    elif as_markdown:
        click.echo(markdown(OPERATIONS), nl=False)
    else:
        print_table(COLUMNS, [row(one) for one in OPERATIONS])
