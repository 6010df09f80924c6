"""`rspp sim mutants`: plant bugs in the kernel, and see that the checkers catch each of them."""

from __future__ import annotations

import click
from rich.text import Text

from rspp.cli.output import Status, console, emit_json, print_table
from rspp.sim.mutants import MUTANTS, Outcome, clean_violations, hunt_all


@click.command(epilog="Exit status: 0 all caught and the clean kernel is clean, 1 otherwise, 2 wrong usage.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--sessions", default=150, show_default=True, type=click.IntRange(min=1), help="At most, for each mutant."
)
@click.option(
    "--only",
    type=click.Choice([mutant.name for mutant in MUTANTS]),
    metavar="NAME",
    help="This mutant alone; a wrong name lists them all.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@click.pass_context
def command(context: click.Context, seed: int, sessions: int, only: str | None, as_json: bool) -> None:
    """Plant one bug at a time and run simulated calls until a checker objects.

    A mutant that survives means that the checkers have a hole. The unchanged kernel runs through the same sessions and
    must pass all of them.
    """
    outcomes: list[Outcome] = []
    shown = console(stderr=True)
    for outcome in hunt_all(seed, sessions, only):
        outcomes.append(outcome)
        if shown.is_terminal:
            click.echo(f"\r{len(outcomes)}/{len(MUTANTS)} {outcome.name:<32}", nl=False, err=True)
    if shown.is_terminal:
        click.echo(err=True)
    clean = clean_violations(seed, outcomes)
    if as_json:
        emit_json({"mutants": outcomes, "clean_violations": clean, "seed": seed})
    else:
        _show(outcomes, clean)
    survived = [outcome for outcome in outcomes if not outcome.caught]
    context.exit(Status.PROBLEM if survived or clean else Status.OK)


def _show(outcomes: list[Outcome], clean: int) -> None:
    meaning = {mutant.name: mutant.meaning for mutant in MUTANTS}
    rows = [
        (one.inv, one.name, meaning[one.name], one.checker if one.caught else "SURVIVED", one.sessions)
        for one in outcomes
    ]
    print_table(("inv", "mutant", "meaning", "caught by", "sessions"), rows)
    caught = sum(one.caught for one in outcomes)
    style = "green" if caught == len(outcomes) and not clean else "bold red"
    console().print(Text(f"{caught} of {len(outcomes)} caught; the clean kernel: {clean} violations", style))
