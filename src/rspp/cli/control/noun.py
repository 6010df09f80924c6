"""A noun's commands are made from its rows of the operations table; what a noun adds is how its answers look to a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any, Final

import click
import msgspec
from click.core import ParameterSource
from msgspec import inspect

from rspp.cli.control.asking import KEYS_VARIABLE, SERVER_VARIABLE, STORE_VARIABLE, Whom, ask
from rspp.cli.control.fields import fields_of, parameter, value_of
from rspp.cli.output import emit_json, print_table
from rspp.control.operations import OPERATIONS
from rspp.control.operations.operation import TENANT_FIELD, Operation

EPILOG: Final = "Exit status: 0 done, 1 it was refused or could not be done, 2 the command was used wrongly."
WHOM: Final = ("server", "token", "store", "keys", "tls_ca", "tls_cert", "tls_key")
Show = Callable[[Any], None]
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


def noun(
    name: str,
    words: str,
    *,
    columns: Mapping[str, Sequence[str]] | None = None,
    shows: Mapping[str, Show] | None = None,
) -> click.Group:
    """The group of a noun. `columns` names, for a verb, what of its entries is shown; `shows` draws an answer its own way."""
    group = click.Group(name, help=words, epilog=EPILOG)
    for operation in OPERATIONS:
        if operation.noun == name:
            show = (shows or {}).get(operation.verb) or shower((columns or {}).get(operation.verb))
            group.add_command(made(operation, show))
    return group


def made(operation: Operation, show: Show) -> click.Command:
    """One operation as a command: what stands in its path are arguments, the tenant apart, and the rest options."""
    fields = fields_of(operation)

    def run(as_json: bool, **given: Any) -> None:
        whom = whom_of(**{name: given.pop(name) for name in WHOM})
        said = {field.name: value_of(field, given[field.name]) for field in fields}
        answer = ask(whom, operation, {name: value for name, value in said.items() if value is not None})
        if as_json:
            emit_json(answer)
        else:
            show(answer)

    own = [
        parameter(field, positional=field.name in operation.path_fields and field.name != TENANT_FIELD)
        for field in fields
    ]
    # Arguments stand in the order of the path, a file after them.
    order = {name: place for place, name in enumerate(operation.path_fields)}
    own.sort(key=lambda one: order.get(one.name or "", len(order)))
    return click.Command(
        operation.verb.replace("_", "-"),
        callback=run,
        params=[*own, *asking_options()],
        help=help_of(operation),
        short_help=operation.summary,
        epilog=EPILOG,
    )


def whom_of(
    *,
    server: str | None,
    token: str | None,
    store: str | None,
    keys: Path | None,
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> Whom:
    """Whom the options name. What is typed counts before what the environment says; where that says both, the server is asked:
    it knows who is calling, and the store's address is there for `init` and `serve`.
    """
    if server is not None and store is not None:
        source = click.get_current_context().get_parameter_source
        typed = [one for one in ("server", "store") if source(one) is ParameterSource.COMMANDLINE]
        if len(typed) == 2:
            raise click.UsageError("--server and --store are two ways to ask: give one of them.")
        server, store = (None, store) if typed == ["store"] else (server, None)
    return Whom(server=server, token=token, store=store, keys=keys, ca=tls_ca, cert=tls_cert, key=tls_key)


def asking_options() -> list[click.Parameter]:
    """Whom to ask, and how the answer is to be printed: of every command alike."""
    return [
        click.Option(
            ["--server"], envvar=SERVER_VARIABLE, show_envvar=True, help="The control plane's address."
        ),
        click.Option(
            ["--token"], help="Your token, by reference: env://NAME or file:///PATH; else $RSPP_TOKEN."
        ),
        click.Option(
            ["--store"],
            envvar=STORE_VARIABLE,
            show_envvar=True,
            help="Ask this store; where a server is named too, typed only.",
        ),
        click.Option(
            ["--keys"],
            envvar=KEYS_VARIABLE,
            show_envvar=True,
            type=click.Path(file_okay=False, path_type=Path),
            help="With --store: the folder of the signing keys.",
        ),
        click.Option(["--tls-ca"], type=_FILE, help="Trust servers with certificates of this authority."),
        click.Option(["--tls-cert"], type=_FILE, help="Your own certificate, where the server wants one."),
        click.Option(["--tls-key"], type=_FILE, help="Its key."),
        click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document."),
    ]


def help_of(operation: Operation) -> str:
    """The sentence, what is needed to be allowed, and an example that runs."""
    lines = [operation.summary, f"Needs the permission {operation.permission.value}."]
    if operation.approval:
        lines.append("Where approval is asked for, somebody else approves first: rspp control approvals.")
    return "\n\n".join([*lines, "\b\nExample:\n    " + example_of(operation)])


def example_of(operation: Operation) -> str:
    """The row's example as one would type it."""
    words = ["rspp", "control", operation.noun, operation.verb.replace("_", "-")]
    fields = {field.name: field for field in fields_of(operation)}
    options: list[str] = []
    for name, value in operation.example.items():
        field = fields[name]
        flag = f"--{name.replace('_', '-')}"
        if field.file:
            options.append(f"{name}.yaml")
        elif name in operation.path_fields and name != TENANT_FIELD:
            words.append(str(value))
        elif value is True:
            options.append(flag)
        elif isinstance(value, Mapping) and not isinstance(fields[name].kind, inspect.DictType):
            options.append(f"{flag} {quote(msgspec.json.encode(value).decode())}")
        elif isinstance(value, Mapping):
            options += [f"{flag} {quote(f'{key}={one}')}" for key, one in value.items()]
        elif isinstance(value, list | tuple):
            options += [f"{flag} {quote(str(one))}" for one in value]
        else:
            options.append(f"{flag} {quote(str(value))}")
    return " ".join([*words, *options])


# ---- how an answer looks --------------------------------------------------------------------------------------------


def shower(columns: Sequence[str] | None) -> Show:
    """A list as a table of these columns, or of what its entries have; anything else line by line."""

    def show(answer: Any) -> None:
        items = answer.get("items") if isinstance(answer, dict) else None
        if items is None:
            show_fields(answer)
        elif not items:
            click.echo("nothing")
        elif isinstance(items[0], dict):
            _table(items, columns)
        else:
            for one in items:
                click.echo(one)
        if items and answer.get("next"):
            click.echo(f"more: --after {answer['next']}")

    return show


def _table(items: Sequence[Mapping[str, Any]], columns: Sequence[str] | None) -> None:
    chosen = list(columns or dict.fromkeys(name for one in items for name in one))
    rows = [[cell(name, one.get(name)) for name in chosen] for one in items]
    numbers = [name for name in chosen if all(isinstance(one.get(name), int | float) for one in items)]
    print_table([title(name) for name in chosen], rows, numbers=[title(name) for name in numbers])


def show_fields(answer: Any, indent: str = "") -> None:
    if not isinstance(answer, Mapping):
        click.echo(f"{indent}{answer}")
        return
    width = max((len(title(name)) for name in answer), default=0)
    for name, value in answer.items():
        if isinstance(value, Mapping) and value:
            click.echo(f"{indent}{title(name)}:")
            show_fields(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            click.echo(f"{indent}{title(name)}:")
            for one in value:
                click.echo(f"{indent}  - " + ", ".join(_parts(one)))
        elif value not in (None, "", [], {}):
            click.echo(f"{indent}{title(name):<{width}}  {cell(name, value)}")


def _parts(one: Mapping[str, Any]) -> Iterable[str]:
    return (
        f"{title(name)} {cell(name, value)}" for name, value in one.items() if value not in (None, "", [], {})
    )


def title(name: str) -> str:
    return name.removesuffix("_wall_ms").removesuffix("_ms").replace("_", " ")


def cell(name: str, value: Any) -> str:
    """A value for people: instants as times of day, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith(("at_ms", "wall_ms", "since_ms")) and isinstance(value, int):
        return "" if value == 0 else datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={cell(key, one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        separator = "; " if any(isinstance(one, Mapping) for one in value) else ", "
        return separator.join(cell("", one) for one in value)
    return str(value)
