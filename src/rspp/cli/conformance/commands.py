"""The command: a port, a target, and what came of its suite."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec

from rspp.cli.conformance import trials, view
from rspp.cli.conformance.checking import check
from rspp.cli.conformance.issuing import certified
from rspp.cli.conformance.messages import Request
from rspp.cli.conformance.ports import PORTS, Port, names_of
from rspp.cli.conformance.profile import Profile, read
from rspp.cli.conformance.trials import value_of
from rspp.cli.output import Status, emit_json, write_bytes
from rspp.contract.errors import MisuseError, RsppError
from rspp.testing.conformance.certificate import write

STATUS = "Exit status: 0 certified, 1 not, 2 the command was used wrongly. With --only, 0 says that what was asked passed."
FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING = click.Path(dir_okay=False, exists=True, path_type=Path)


class Ports(click.Group):
    """A command for each port, beside `check`."""

    def list_commands(self, _: click.Context) -> list[str]:
        return ["check", *PORTS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in PORTS:
            return _of_port(PORTS[cmd_name])
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] != "check" and args[0] not in PORTS:
            raise click.UsageError(f"there is no port {args[0]!r}. Ports: {', '.join(PORTS)}.")
        return super().resolve_command(ctx, args)


@click.group(cls=Ports, invoke_without_command=True, subcommand_metavar="PORT TARGET", epilog=STATUS)
@click.option(
    "--list", "listing", is_flag=True, help="Show the ports, their categories, and what each check says."
)
@click.option("--json", "as_json", is_flag=True, help="With --list: one JSON document.")
@click.pass_context
def command(context: click.Context, listing: bool, as_json: bool) -> None:
    """Try anybody's store, provider, transport or node with the suites that RSPP's own must pass.

    TARGET is module:name, file.py:name, a name that an installed package offers, or for a store its address. It runs in a
    process of its own. The certificate says what passed; `rspp conformance check` says whether one still holds.

    \b
    Examples:
        rspp conformance --list
        rspp conformance node spelling.py:Speller --setting length_min=3
        rspp conformance provider.stt my_vendor:make --trial speech=question.wav --out stt.json
        rspp conformance store sqlite:///var/lib/new.db
        rspp conformance check stt.json --target my_vendor:make
    """
    if context.invoked_subcommand is not None:
        return
    if not listing:
        raise click.UsageError("name a port and a target, or say --list")
    if as_json:
        emit_json({"ports": view.listed()})
    else:
        view.show_ports()


def _of_port(port: Port) -> click.Command:
    """The command of one port."""
    return click.Command(
        port.name,
        callback=lambda **given: _run(port, given),
        params=_parameters(),
        help=f"{port.summary}\n\nTARGET: {port.target}.\n\n\b\nExample:\n    {port.example}",
        short_help=port.summary,
        epilog=STATUS,
    )


def _parameters() -> list[click.Parameter]:
    pairs: dict[str, Any] = {"multiple": True, "metavar": "KEY=VALUE"}
    return [
        click.Argument(["target"], required=False),
        click.Option(["--list", "listing"], is_flag=True, help="Show this port's categories and checks."),
        click.Option(
            ["--setting"], **pairs, help="A setting of the target; a secret as env://NAME or file:///PATH."
        ),
        click.Option(["--pipeline"], type=EXISTING, help="TARGET is a provider of this pipeline."),
        click.Option(
            ["--trial"], **pairs, help="What it is tried with: speech=FILE.wav, said=TEXT, answer_ms_max=..."
        ),
        click.Option(
            ["--profile"], type=EXISTING, help="YAML: more categories that are mandatory, other limits."
        ),
        click.Option(
            ["--only"], multiple=True, metavar="CATEGORY", help="Only these; nothing is certified then."
        ),
        click.Option(
            ["--repeat"], type=click.IntRange(1, 1_000), default=1, help="Run the suite so many times."
        ),
        click.Option(
            ["--seed"], type=click.IntRange(0, 4_000_000), default=1, help="Of chance and of hashes."
        ),
        click.Option(
            ["--timeout"], type=click.FloatRange(0.1, 3_600), default=60.0, help="Seconds a check may take."
        ),
        click.Option(["--virtual"], is_flag=True, help="In virtual time: for what waits on timers alone."),
        click.Option(["--allow-used"], is_flag=True, help="A store may have something in it already."),
        click.Option(["--out"], type=FILE, help="Write the certificate there."),
        click.Option(["--junit"], type=FILE, help="Write a JUnit report there."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print the certificate."),
        click.Option(["--quiet", "-q"], is_flag=True, help="No line for each check as it comes."),
    ]


def _run(port: Port, given: Mapping[str, Any]) -> None:
    if given["listing"]:
        if given["as_json"]:
            emit_json({"ports": view.listed([port])})
        else:
            view.show_ports([port])
        return
    if not given["target"]:
        raise click.UsageError(f"name a target: {port.target}.\nExample: {port.example}")
    try:
        request, profile = _request(port, given)
        quiet = given["quiet"] or given["as_json"]
        issued = certified(
            request,
            profile,
            repeat=given["repeat"],
            tell=lambda result: None if quiet else click.echo(view.progress(result), err=True),
        )
    except RsppError as error:
        raise click.UsageError(f"{error.message} ({error.code})") from None
    certificate = issued.certificate
    if given["out"]:
        write_bytes(given["out"], write(certificate))
    if given["junit"]:
        write_bytes(given["junit"], view.junit(certificate))
    if given["as_json"]:
        emit_json(certificate)
    else:
        view.show(certificate, issued.output)
    passed = certificate.certified
    if given["only"]:
        asked = [one for one in certificate.checks if one.verdict != "not_run"]
        some = any(one.verdict == "passed" and one.category in given["only"] for one in asked)
        passed = (
            some
            and not any(one.verdict == "failed" for one in certificate.checks)
            and _whole(certificate.checks)
        )
    click.get_current_context().exit(Status.OK if passed else Status.PROBLEM)


def _whole(checks: Any) -> bool:
    """All that was asked for was run."""
    return all(one.reason == "not asked for" for one in checks if one.verdict == "not_run")


def _request(port: Port, given: Mapping[str, Any]) -> tuple[Request, Profile]:
    if given["only"] and given["out"]:
        raise MisuseError(
            "word_unknown", "--only tries a part, which is nothing to be certified: leave out --out"
        )
    known = {category for category, _ in names_of(port.name, port.options)}
    for category in given["only"]:
        if category not in known:
            raise MisuseError(
                "word_unknown", f"no category {category!r}; there are {', '.join(sorted(known))}"
            )
    profile = read(given["profile"], port) if given["profile"] else Profile()
    trial, limits = trials.split(_pairs(given["trial"], "--trial"))
    limits = {**profile.limits, **limits}
    trials.checked(trial, limits)
    if "speech" in trial:
        trials.spoken(Path(trial["speech"]))
    request = Request(
        port=port.name,
        target=given["target"],
        folder=str(Path.cwd()),
        scratch="",
        settings={key: value_of(value) for key, value in _pairs(given["setting"], "--setting").items()},
        trial=trial,
        limits=limits,
        pipeline=str(given["pipeline"] or ""),
        only=tuple(given["only"]),
        allow_used=given["allow_used"],
        virtual=given["virtual"],
        seed=given["seed"],
        check_s_max=given["timeout"],
    )
    return request, profile


def _pairs(words: tuple[str, ...], option: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise MisuseError("word_unknown", f"{option} takes KEY=VALUE")
        if key in pairs:
            raise MisuseError("word_unknown", f"{option} {key} stands twice")
        pairs[key] = value
    return pairs


@command.command("check", epilog="Exit status: 0 it holds, 1 it does not, 2 the command was used wrongly.")
@click.argument("certificate", type=EXISTING)
@click.option("--target", help="What it is about: is its source still the one that was certified?")
@click.option(
    "--setting", multiple=True, metavar="KEY=VALUE", help="A setting without which it cannot be made."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check_command(
    context: click.Context, certificate: Path, target: str | None, setting: tuple[str, ...], as_json: bool
) -> None:
    """Does a certificate hold: is it unchanged, of this version's suite, and of this source?

    Its digest finds an edit. It is no signature: who does not trust the one who sent it runs the suite again.
    """
    try:
        settings = {key: value_of(value) for key, value in _pairs(setting, "--setting").items()}
        found = check(certificate, target, Path.cwd(), settings)
    except RsppError as error:
        raise click.UsageError(f"{certificate.name}: {error.message} ({error.code})") from None
    if as_json:
        about = msgspec.structs.replace(found)
        emit_json(
            {
                "valid": about.valid,
                "certified": about.certified,
                "faults": about.faults,
                "source": about.source,
            }
        )
    else:
        for fault in found.faults:
            click.echo(f"void: {fault}")
        if found.valid:
            click.echo(f"unchanged, of this version's suite; source: {found.source}")
        click.echo(
            view.verdict(found.certificate) if found.valid else "it proves nothing: run the suite again"
        )
    context.exit(Status.OK if found.certified else Status.PROBLEM)


__all__ = ["command"]
