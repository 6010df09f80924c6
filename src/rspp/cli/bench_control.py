"""`rspp bench control`: what it costs to open a session under one authority, on both stores."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from rspp.cli.output import emit_json, print_table
from rspp.cli.run_listen import loop_factory

STORES: Final = ("sqlite", "nats")
GATE_MS: Final = 120
AT_ONCE: Final = 16


@click.command(
    name="control",
    epilog="Exit status: 0 measured, whatever the numbers are, 2 the command was used wrongly.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--store", "names", type=click.Choice(STORES), multiple=True, help="Only this one; else both.")
@click.option(
    "--opens", type=click.IntRange(min=AT_ONCE), default=500, show_default=True, help="Sessions of each run."
)
def command(as_json: bool, names: tuple[str, ...], opens: int) -> None:
    """Measure opening sessions under one authority: admit, place, lease, token.

    On the embedded store and on a JetStream cluster of three nodes, which is started on loopback for it. Everything runs
    in one process, so the times are those of an otherwise idle control plane and worker.

    \b
    Examples:
        rspp bench control
        rspp bench control --store nats --opens 2000 --json
    """
    try:
        from rspp.cli.bench_control_run import run  # noqa: PLC0415 - what a fleet needs is not always installed
    except ModuleNotFoundError as error:
        raise click.ClickException(
            f"this needs {error.name}; install rspp with its extra `cluster`"
        ) from error
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        found = runner.run(
            run(names or STORES, opens, lambda name: click.echo(f"measuring {name}", err=True))
        )
    if as_json:
        emit_json(found)
        return
    rows = []
    for one in found:
        for what in ("route", "enter", "open", "open_at_once"):
            times = getattr(one, what)
            rows.append((one.store, what.replace("_", " "), times.p50_ms, times.p95_ms, times.p99_ms))
    print_table(("store", "step", "p50 ms", "p95 ms", "p99 ms"), rows, numbers=("p50 ms", "p95 ms", "p99 ms"))
    for one in found:
        click.echo(
            f"{one.store}: {one.opens_per_s_at_once:g} opens/s at once, {one.lease_ops_per_s:g} lease operations/s; "
            f"left over: {one.slots_left_over} slots, {one.leases_left_over} leases"
        )
    click.echo(f"gate 1 allows {GATE_MS} ms for an open decision at p95")
