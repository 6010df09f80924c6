"""`rspp` starts at once, whatever the commands behind it import: a command is loaded only when it is called.

The table below is the whole list. A command lives in a file of its own and exports one click command named
`command`; its line of help is kept here, so that `rspp --help` imports none of them.

Exit status, for every command: 0 all is well, 1 a problem was found, 2 the command was used wrongly.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final, NamedTuple

import click

from rspp import __version__


class Entry(NamedTuple):
    """Where a command lives, as "module:attribute", and what it does in one line."""

    target: str
    summary: str


COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry(
        "rspp.cli.demo:command", "A real local conversation, interrupted; its claims are measured."
    ),
    "init": Entry("rspp.cli.init:command", "Begin a project: a pipeline, a node of your own, its test."),
    "run": Entry("rspp.cli.run:command", "Run a pipeline: answer a WAV, or listen for callers."),
    "dev": Entry("rspp.cli.dev:command", "Listen for callers; take each change of the pipeline at once."),
    "serve": Entry("rspp.cli.serve:command", "Take calls with several processes behind one address."),
    "control": Entry("rspp.cli.control.main:command", "Make a control plane, serve it, ask it."),
    "console": Entry("rspp.cli.console:command", "Serve the web console: what is going on, and what to do."),
    "runtime": Entry("rspp.cli.runtime.main:command", "What is going on: state, changes, health, actions."),
    "cluster": Entry(
        "rspp.cli.cluster:command", "Run a replicated store on this machine; look at it; stop it."
    ),
    "sessions": Entry("rspp.cli.sessions:command", "List the recorded sessions."),
    "timeline": Entry(
        "rspp.cli.timeline:command", "Show a session: lanes, turns, signals, waterfall; as a page."
    ),
    "summary": Entry(
        "rspp.cli.summary:command", "Sum a session up: turns, tokens, seconds, cost, latencies."
    ),
    "replay": Entry(
        "rspp.cli.replay:command", "Do a recorded session again, exactly or with something changed."
    ),
    "diff": Entry("rspp.cli.diff:command", "Compare two sessions, replays or versions; name what differs."),
    "shrink": Entry("rspp.cli.shrink:command", "Make a failing recording a minimal test."),
    "regress": Entry("rspp.cli.regress:command", "Replay a corpus of recordings; fail on what changed."),
    "gates": Entry("rspp.cli.gates:command", "Judge recordings by the seven release gates."),
    "verify": Entry(
        "rspp.cli.verify.main:command", "Look for faults of every kind: quick, full, security; with proof."
    ),
    "release": Entry(
        "rspp.cli.release:command",
        "Release a pipeline step by step; stopped anywhere, it goes on from there.",
    ),
    "conformance": Entry(
        "rspp.cli.conformance:command", "Certify a transport, provider, node or store of anybody's."
    ),
    "manifest": Entry(
        "rspp.cli.manifest:command", "Keep the record of a run of work: what was really executed."
    ),
    "export": Entry("rspp.cli.export:command", "Write sessions as files: recording, JSON lines, Parquet."),
    "import": Entry("rspp.cli.import_:command", "Take recordings from files."),
    "retention": Entry(
        "rspp.cli.retention:command", "What is kept how long; delete what is due, or asked for."
    ),
    "providers": Entry(
        "rspp.cli.providers:command", "What can serve a pipeline here: ready, or missing what."
    ),
    "models": Entry("rspp.cli.models:command", "Fetch, list and verify the weights of the local models."),
    "lint": Entry("rspp.cli.lint:command", "Check a pipeline spec; name file, line and field of each fault."),
    "validate": Entry(
        "rspp.cli.validate:command", "Check a spec with its layers; say where every setting comes from."
    ),
    "graph": Entry("rspp.cli.graph:command", "Show what a spec compiles to."),
    "docs": Entry("rspp.cli.docs:command", "Write the reference pages that are generated from code."),
    "schema": Entry("rspp.cli.schema:command", "Export the contract's JSON Schemas; compare two versions."),
    "kernel": Entry("rspp.cli.kernel:command", "Feed recorded inputs to a kernel; draw its state machines."),
    "sim": Entry("rspp.cli.sim:command", "Run simulated calls in virtual time, with faults; plant bugs."),
    "bench": Entry("rspp.cli.bench:command", "Measure kernel and host on this machine."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are imported on first use, from a table of entries."""

    def __init__(self, *args: object, entries: Mapping[str, Entry], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._entries = entries

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self._entries.get(cmd_name)
        return None if entry is None else load(cmd_name, entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list comes from the table: asking each command for its help would import them all."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in self._entries.items()])


def load(name: str, entry: Entry) -> click.Command:
    """The command behind an entry, or an error that says which file is missing."""
    module_name, _, attribute = entry.target.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            raise click.ClickException(
                f"the command '{name}' is not in this version: there is no module {module_name}"
            ) from error
        raise click.ClickException(
            f"the command '{name}' cannot start: {module_name} needs {error.name}, "
            "which is not installed; run `make setup`"
        ) from error
    command = getattr(module, attribute, None)
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"the command '{name}' cannot start: {entry.target} is not a click command"
        )
    return command


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 all is well, 1 a problem was found, 2 the command was used wrongly.",
)
@click.version_option(__version__, prog_name="rspp")
def main() -> None:
    """RSPP runs realtime speech pipelines.

    Bring a pipeline spec: lint it, look at its graph, run it on a question, speak to it, run it through simulated calls.
    Every call is recorded: list the sessions, look at one, replay it exactly, compare any two.
    Every command prints for people; most take --json for programs.
    """


if __name__ == "__main__":
    main()
