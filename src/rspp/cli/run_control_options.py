"""`--control` of `rspp run` and `rspp dev`: what was asked for, checked before anything begins.

Without `--keys` it is dev mode: everybody on this machine is let in, and nobody else. With it callers show route tokens, and
the addresses may be reached by others.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

import click
import msgspec

from rspp.cli.recorded import OFF, Choice
from rspp.contract.errors import MisuseError

Command = TypeVar("Command", bound=Callable[..., Any])

LISTEN: Final = "127.0.0.1:8700"
STORE_FILE: Final = "control.db"
KEYS_FOLDER: Final = "control-keys"
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """The options as they were given; `listen` is there."""

    listen: str
    store: str | None
    keys: Path | None
    region: str
    advertise: str | None
    tls_cert: Path | None
    tls_key: Path | None
    behind_proxy: bool


class Controlled(msgspec.Struct, frozen=True, kw_only=True):
    """What they come to. `notice` is said aloud, if it is not empty."""

    calls: str
    api: str
    store: str
    keys: Path
    dev: bool
    notice: str
    given: Given


def control_options(command: Command) -> Command:
    """`--control` and what belongs to it: given to the command as one `given`, None without `--control` or `--console`."""

    def wrapped(
        *arguments: Any,
        control: str | None,
        console: str | None,
        store: str | None,
        keys: Path | None,
        region: str,
        advertise: str | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        behind_proxy: bool,
        **more: Any,
    ) -> Any:
        given = None
        if console is not None:
            control, store = _scratch(console, control, store)
        if control is not None:
            given = Given(
                listen=control,
                store=store,
                keys=keys,
                region=region,
                advertise=advertise,
                tls_cert=tls_cert,
                tls_key=tls_key,
                behind_proxy=behind_proxy,
            )
        else:
            _is_not_given("store", "keys", "region", "advertise", "tls_cert", "tls_key", "behind_proxy")
        return command(*arguments, given=given, **more)

    wrapped.__name__, wrapped.__doc__ = command.__name__, command.__doc__
    wrapped.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[return-value]  # as it was, with the options more


_OPTIONS: Final[tuple[Callable[[Any], Any], ...]] = (
    click.option(
        "--control",
        is_flag=False,
        flag_value=LISTEN,
        metavar="[HOST:PORT]",
        help=f"Be control plane, worker and store in one: its REST API and the console there, else at {LISTEN}.",
    ),
    click.option(
        "--console",
        is_flag=False,
        flag_value=LISTEN,
        metavar="[HOST:PORT]",
        help="The console there, and nothing published for good: --control over a store that goes with the process.",
    ),
    click.option(
        "--store",
        envvar="RSPP_STORE",
        metavar="URL",
        help="With --control: sqlite:///FILE or nats://HOST; else control.db in the data folder.",
    ),
    click.option(
        "--keys",
        envvar="RSPP_KEYS",
        type=click.Path(file_okay=False, path_type=Path),
        help="With --control: the folder of `rspp control init`. Callers then need route tokens.",
    ),
    click.option(
        "--region",
        envvar="RSPP_REGION",
        default="local",
        show_default=True,
        help="With --control: where this is.",
    ),
    click.option(
        "--advertise", envvar="RSPP_ADVERTISE", metavar="HOST", help="With --control: as callers reach it."
    ),
    click.option("--tls-cert", type=_FILE, help="With --control: for the API and for callers, as PEM."),
    click.option("--tls-key", type=_FILE, help="Its key."),
    click.option("--behind-proxy", is_flag=True, help="With --control: a proxy in front does TLS."),
)


def _scratch(console: str, control: str | None, store: str | None) -> tuple[str, str]:
    """Where the console listens, and a store that is gone when the command is over."""
    context = click.get_current_context()
    stored = context.get_parameter_source("store") is click.core.ParameterSource.COMMANDLINE
    if control is not None or (store is not None and stored):
        raise click.UsageError(
            "--console has a store of its own; to keep what is published, say --control alone."
        )
    folder = context.with_resource(TemporaryDirectory(prefix="rspp-console-"))
    return console, f"sqlite:///{Path(folder) / STORE_FILE}"


def _is_not_given(*names: str) -> None:
    """What belongs to `--control` does nothing without it. The environment may say it for other commands."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name.replace('_', '-')} is for --control.")


def controlled(
    given: Given, calls: str, choice: Choice, *, token: str | None = None, layers: tuple[str, ...] = ()
) -> Controlled:
    """Where to listen, over which store, with which keys; raises `click.UsageError` for what would not be safe."""
    from rspp.cli.run_listen import address_of  # noqa: PLC0415 - `--help` needs no server
    from rspp.control.security.key_folder import (  # noqa: PLC0415 - likewise
        KeyFolder,
        check_dev_store,
        how_to_start,
    )

    _fits(given, token, layers, choice)
    dev = given.keys is None
    keys = given.keys or choice.data / KEYS_FOLDER
    notice = ""
    try:
        if dev:
            check_dev_store(given.store or "")
        held = 1 if dev else len(KeyFolder(keys).held())  # in dev mode one is made in the data folder
        for option, where in (("--listen", calls), ("--control", given.listen)):
            notice = _start(how_to_start, option, address_of(where, option)[0], held, dev)
    except MisuseError as error:
        raise click.UsageError(error.message) from error
    return Controlled(
        calls=calls,
        api=given.listen,
        store=given.store or f"sqlite:///{choice.data.resolve() / STORE_FILE}",
        keys=keys,
        dev=dev,
        notice=notice and f"{notice} Everybody on it is let in, as whatever tenant they say.",
        given=given,
    )


def _start(how_to_start: Callable[..., Any], name: str, host: str, held: int, dev: bool) -> str:
    try:
        notice: str = how_to_start(bind=host, keys_held=held, dev=dev).notice
    except MisuseError as error:
        if error.code != "control_dev_not_loopback":
            raise
        way = "name the signing keys with --keys FOLDER; `rspp control init` makes them"
        raise click.UsageError(f"{name}: {error.message}. To be reached from elsewhere, {way}.") from error
    return notice


def _fits(given: Given, token: str | None, layers: tuple[str, ...], choice: Choice) -> None:
    """What a control plane decides is not said a second time here."""
    if token is not None:
        raise click.UsageError("--token is for calls without --control; with it callers show route tokens.")
    if layers:
        raise click.UsageError("--layer is for one process; with --control publish a policy instead.")
    if choice.level not in (None, OFF):
        raise click.UsageError(
            "With --control the pipeline or a policy says what is recorded; --record-level takes only off."
        )
    if (given.tls_cert is None) != (given.tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key stand together.")
