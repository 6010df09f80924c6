"""`rspp sim`: simulated calls in virtual time, with faults; the same seed gives the same calls on any machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from rspp.cli.main import Entry, LazyGroup
from rspp.cli.output import Status, console, emit_json, print_table
from rspp.cli.sim_recorder import RecordJob
from rspp.sim.faults import CLASSES, FAULTS, UnknownFaultError, chosen
from rspp.sim.run import Finding, Report, run_job, run_sessions
from rspp.sim.scenario import Armed

EXTRA: Final[Mapping[str, Entry]] = {
    "record": Entry("rspp.cli.record:command", "Write one call's inputs to a file for `rspp kernel run`."),
    "mutants": Entry("rspp.cli.mutants:command", "Plant bugs in the kernel; each must be caught."),
}


class SimGroup(LazyGroup):
    """The commands below, and those that live in files of their own."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({**self.commands, **dict.fromkeys(super().list_commands(ctx))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.commands.get(cmd_name) or super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, self._entries[name].summary) for name in super().list_commands(ctx)]
        rows += [(name, found.get_short_help_str(90)) for name, found in self.commands.items()]
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))


@click.group(cls=SimGroup, entries=EXTRA)
def command() -> None:
    """Run simulated calls in virtual time, with faults."""


class Faults(click.ParamType[str]):
    """`all`, `none`, or classes and names of faults."""

    name = "faults"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip(", "):
            self.fail("it is empty; say all, none, or what `rspp sim faults` lists", param, ctx)
        try:
            chosen(value)
        except UnknownFaultError as error:
            self.fail(str(error), param, ctx)
        return value


@command.command(
    epilog="Exit status: 0 nothing was violated, 1 something was, 2 the command was used wrongly."
)
@click.option("--sessions", default=24, show_default=True, type=click.IntRange(min=1), help="How many calls.")
@click.option("--session", type=click.IntRange(min=0), help="Run this one alone.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--faults",
    default="all",
    show_default=True,
    type=Faults(),
    help="all, none, or classes and names: F3,stall",
)
@click.option("--procs", default=1, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option(
    "--save", type=click.Path(file_okay=False, path_type=Path), help="Write each failure's inputs here."
)
@click.option(
    "--record", type=click.Path(file_okay=False, path_type=Path), help="Write each call's recording here."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.pass_context
def run(
    context: click.Context,
    sessions: int,
    session: int | None,
    seed: int,
    faults: str,
    procs: int,
    save: Path | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Run simulated calls and check them.

    \b
    Examples:
        rspp sim run --sessions 500 --faults all --seed 7 --procs 2
        rspp sim run --seed 7 --session 41 --faults F3,F6
        rspp sim run --seed 7 --session 41 --record corpus; rspp replay corpus/sim-7-41-0.rspp --mode re-simulate
    """
    numbers = range(sessions) if session is None else [session]
    work = run_job if record is None else RecordJob(record)
    report = run_sessions(seed, numbers, faults, procs=procs, save=save, progress=_progress(), work=work)
    if as_json:
        emit_json(report)
    else:
        _show(report)
    context.exit(Status.PROBLEM if report.violations else Status.OK)


def _progress() -> Callable[[int, int], None] | None:
    """A line on stderr that counts, for a person who waits; nothing for a file or a pipe."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        return None

    def tell(done: int, of: int) -> None:
        click.echo(f"\r{done}/{of} sessions", nl=done == of, err=True)

    return tell


def _show(report: Report) -> None:
    speed = report.sim_seconds / report.cpu_seconds if report.cpu_seconds else 0.0
    rows = [
        ("sessions", report.sessions),
        ("turns", report.turns),
        ("committed", report.commits),
        ("aborted", ", ".join(f"{reason} {n}" for reason, n in report.aborts.items()) or "none"),
        ("interruptions", report.interruptions),
        ("faults fired", ", ".join(f"{name} {n}" for name, n in report.faults.items())),
        ("frames", f"{report.frames_in} in, {report.frames_out} out"),
        ("simulated", f"{report.sim_seconds:.0f} s in {report.cpu_seconds:.2f} s of CPU, {speed:.0f} to 1"),
        ("digest", report.digest),
    ]
    print_table(("", ""), rows)
    out = console()
    if not report.violations:
        out.print(Text("nothing was violated", "green"))
        return
    out.print(Text(f"{len(report.violations)} violations", "bold red"))
    for finding in report.violations:
        _show_finding(finding)


def _armed(one: Armed) -> str:
    moment = f", {one.after_ms} ms after the next {one.on}" if one.on else ""
    return f"{one.name} at {one.at_ms} ms{moment}"


def _show_finding(finding: Finding) -> None:
    out = console()
    out.print()
    out.print(
        Text(f"{finding.inv} {finding.checker}", "bold red"),
        Text(f"at {finding.at_ms} ms of session {finding.session}"),
    )
    out.print(Text(f"  {finding.message}"))
    knobs = ", ".join(f"{name} {getattr(finding.knobs, name)}" for name in finding.knobs.__struct_fields__)
    armed = ", ".join(map(_armed, finding.armed)) or "none"
    print_table(
        ("", ""),
        [
            ("  faults", armed),
            ("  knobs", knobs),
            (
                "  shortest prefix",
                f"{finding.shortest_prefix} inputs" + (f", in {finding.saved}" if finding.saved else ""),
            ),
            ("  repeat", finding.repeat),
        ],
    )


@command.command()
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def faults(as_json: bool) -> None:
    """List every fault, with its class and what it means."""
    if as_json:
        emit_json(list(FAULTS.values()))
        return
    rows = [
        (fault.failure_class, CLASSES[fault.failure_class], name, fault.meaning)
        for name, fault in FAULTS.items()
    ]
    print_table(("class", "", "fault", "meaning"), rows)


@command.command()
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@click.option("--no-color", is_flag=True, help="Plain text.")
def demo(seed: int, no_color: bool) -> None:
    """Show one call with an interruption and a failing provider, as it happens."""
    from rspp.sim.demo import show  # noqa: PLC0415 - only the demo needs it

    shown = console()
    if no_color:
        shown.no_color = True
    show(shown, seed)
