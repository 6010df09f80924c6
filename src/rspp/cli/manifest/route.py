"""`rspp manifest route`: what the step must do, and what it must not touch; from a file, from options, or both."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.manifest.answers import answered
from rspp.cli.manifest.place import EPILOG, Place, opened, step_seen, writes
from rspp.manifest import form, routes
from rspp.manifest.document import Routing
from rspp.manifest.faults import Fault, ManifestError
from rspp.manifest.updates import Routed

STDIN: Final = "-"
# An option, the key of ROUTING that it fills, and what it says. A list is added to, a word replaced.
LISTS: Final = (
    ("--role", "REQUIRED_ROLES", "NAME", "A role that has to run."),
    ("--engine", "REQUIRED_ENG_KEYS", "KEY", "An engine that has to run."),
    ("--validator", "REQUIRED_VAL_KEYS", "KEY", "A validator that has to run and to pass."),
    ("--output", "OUTPUT_CONTRACT", "NAME", "An output that has to be there."),
    ("--no-go", "NO_GO_LIST", "PATTERN", "Files that must stay as they are: config/**, *.lock."),
    ("--idx", "REQUIRED_IDX", "KEY", "An index that is read."),
    ("--kb", "REQUIRED_KB_KEYS", "KEY", "Knowledge that is read."),
)
WORDS: Final = (
    ("--domain", "DOMAIN", "What it is about."),
    ("--artifact", "ARTIFACT_TYPE", "What comes out of it."),
    ("--profile", "PROFILE_KEY", "The profile."),
    ("--pipe", "PIPE_SELECTED", "The pipeline that was chosen."),
)


def _options(run: Any) -> Any:
    for option, key, says in reversed(WORDS):
        run = click.option(option, key, metavar="WORD", help=says)(run)
    for option, key, name, says in reversed(LISTS):
        words = f"{says} Once for each."
        run = click.option(option, key, metavar=name, multiple=True, help=words)(run)
    return run


@click.command("route", epilog=EPILOG)
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="A file of YAML or JSON with keys of ROUTING; - reads it from stdin.",
)
@_options
@writes
def command(place: Place, source: Path | None, **given: Any) -> None:
    """Say what the step that runs must do, and what it must not touch. Once a step.

    \b
    Examples:
        rspp manifest route --from route.yaml
        rspp manifest route --engine KEY:ENG.BUILD --validator KEY:VAL.TESTS --output PACK_OUTPUT --no-go "deploy/**"
        make-route | rspp manifest route --from - --role QA

    \b
    route.yaml:
        DOMAIN: SYS
        REQUIRED_ENG_KEYS: [KEY:ENG.BUILD]
        REQUIRED_VAL_KEYS: [KEY:VAL.TESTS]
        OUTPUT_CONTRACT: [PACK_OUTPUT]
        NO_GO_LIST: [deploy/**]

    Options add to the lists of the file, and take the place of its words. Files on the no-go list are remembered as they are
    now: the step cannot pass when one of them has changed.
    """
    if source is None and not any(given.values()):
        raise click.UsageError(
            "Say what the step must do: --from FILE, or --engine, --validator, --output, ..."
        )
    manifest = opened(place)
    step = step_seen(manifest)
    routing = merged(_read(source) if source is not None else Routing(), given)
    manifest.say(Routed(routing=routing), step=step)
    answered(place, manifest, f"routed: {summary(routing)}")


def _read(source: Path) -> Routing:
    name = "stdin" if str(source) == STDIN else source.name
    stream = sys.stdin.buffer if str(source) == STDIN else source.open("rb")
    with stream:
        data = stream.read(routes.ROUTE_BYTES_MAX + 1)
    if len(data) > routes.ROUTE_BYTES_MAX:
        raise click.UsageError(f"{name} has more than {routes.ROUTE_BYTES_MAX} bytes: that is no route.")
    text = form.decode(data, name)
    if isinstance(text, Fault):
        raise ManifestError("manifest_route_invalid", f"{name} is no ROUTING", [text])
    return routes.parse(text, name)


def merged(routing: Routing, given: dict[str, Any]) -> Routing:
    """The file's keys with what was said beside it; what is in a list already is not put there twice."""
    found: dict[str, Any] = msgspec.to_builtins(routing)
    for _, key, *_ in WORDS:
        if given.get(key) is not None:
            found[key] = given[key]
    for _, key, *_ in LISTS:
        found[key] = list(dict.fromkeys((*found[key], *given.get(key, ()))))
    try:
        return msgspec.convert(found, Routing)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"{error}. Keys have no spaces, and every value is one line.") from error


def summary(routing: Routing) -> str:
    counts = (
        (len(routing.REQUIRED_ROLES), "role"),
        (len(routing.REQUIRED_ENG_KEYS), "engine"),
        (len(routing.REQUIRED_VAL_KEYS), "validator"),
        (len(routing.OUTPUT_CONTRACT), "output"),
    )
    told = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counts if count)
    forbidden = f"; {len(routing.NO_GO_LIST)} on the no-go list" if routing.NO_GO_LIST else ""
    return f"{told or 'nothing is required but a report'}{forbidden}"
