"""`rspp control serve`: the control plane as a service, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import msgspec

from rspp.cli.console_places import recorded_places, tell_console
from rspp.cli.control.asking import KEYS_VARIABLE, STORE_VARIABLE
from rspp.cli.control.init import begin, folder_with_key
from rspp.cli.run_control_publish import dev_token
from rspp.cli.run_view import logging_to_stderr
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.fleet.failover import FailoverPolicy
from rspp.control.fleet.routing import RoutingPolicy
from rspp.control.objectives.error_budget import Objective
from rspp.control.plane import ControlPlane, PlaneSettings, opened_plane
from rspp.control.security.key_folder import KeyFolder, check_dev_store, how_to_start, is_loopback
from rspp.control.security.tls import Tls, TlsFiles
from rspp.control.stores import open_store
from rspp.control.supervisor.parenthood import die_with_parent, step_back
from rspp.host.secrets import Secrets
from rspp.server.run import Listen, Service, address_of, bound, listen_of, serve
from rspp.server.state import telling, told
from rspp.timeline.declared import declared_in

EPILOG: Final = "Exit status: 0 stopped in good order, 1 it could not serve, 2 the command was used wrongly."
LISTEN: Final = "127.0.0.1:8700"
INVALID: Final = "control_settings_invalid"
# Where `rspp run --control` keeps those of its own dev mode, too.
DEV_KEYS: Final = "control-keys"
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


class Rules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What --settings may say."""

    routing: RoutingPolicy = RoutingPolicy()
    failover: FailoverPolicy | None = None
    objective: Objective = Objective()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the options come to."""

    listen: Listen
    store: str
    keys: Path | None
    tls: Tls | None
    settings: PlaneSettings
    proxies: tuple[str, ...]
    data: Path | None = None  # of recordings
    recordings: str | None = None
    token: Path | None = None  # of dev mode's admin


@click.command(epilog=EPILOG)
@click.option("--listen", default=LISTEN, show_default=True, help="HOST:PORT; port 0 takes any that is free.")
@click.option("--store", envvar=STORE_VARIABLE, show_envvar=True, help="The store's address.")
@click.option(
    "--keys",
    envvar=KEYS_VARIABLE,
    show_envvar=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the signing keys.",
)
@click.option("--region", default="local", show_default=True, help="Where this process is.")
@click.option("--settings", type=_FILE, help="YAML with any of `routing`, `failover`, `objective`.")
@click.option(
    "--failover",
    type=click.Choice(("drain", "migrate", "off")),
    help="A region in trouble is left by itself: its calls are heard out, or moved. Else as --settings says, or off.",
)
@click.option(
    "--objective",
    type=click.FloatRange(0, 100, min_open=True, max_open=True),
    metavar="PERCENT",
    help="So many sessions are to be served well; rollouts freeze while too many are not. Else as --settings says, or 99.9.",
)
@click.option("--tls-cert", type=_FILE, help="Serve HTTPS with this certificate.")
@click.option("--tls-key", type=_FILE, help="Its key.")
@click.option("--tls-client-ca", type=_FILE, help="Take callers with certificates of this authority only.")
@click.option(
    "--behind-proxy", is_flag=True, help="Plain HTTP beyond this machine: a proxy in front does TLS."
)
@click.option(
    "--proxy",
    "proxies",
    multiple=True,
    metavar="NETWORK",
    help="Believe X-Forwarded-For of these: without it, all callers behind a proxy are one address.",
)
@click.option(
    "--data",
    envvar="RSPP_DATA",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that calls were recorded into, to be shown in the console.",
)
@click.option(
    "--recordings",
    envvar="RSPP_RECORDINGS",
    metavar="URL",
    help="The store that recordings are exported to, if that is not in the folder.",
)
@click.option("--with-parent", type=int, hidden=True, help="End when this process does.")
@click.option(
    "--dev", is_flag=True, help="For this machine alone: what is missing is made now and gone at the end."
)
def command(
    listen: str,
    store: str | None,
    keys: Path | None,
    region: str,
    settings: Path | None,
    failover: str | None,
    objective: float | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    behind_proxy: bool,
    proxies: tuple[str, ...],
    data: Path | None,
    recordings: str | None,
    with_parent: int | None,
    dev: bool,
) -> None:
    """Serve the control plane: every operation over REST, the console at /, /graphql, /metrics, /livez, /readyz, /healthz.

    It does not start without a signing key, and listens beyond this machine only with TLS, or behind a proxy that has it.

    \b
    Examples:
        rspp control serve --dev
        rspp control serve --store sqlite://$PWD/control.db --keys keys
        rspp control serve --store nats://a,b,c --keys keys --failover drain --objective 99.5
        rspp control serve --listen 0.0.0.0:8700 --store nats://a,b,c --keys keys --tls-cert c.pem --tls-key k.pem
    """
    if with_parent is not None and not _belongs_to(with_parent):
        return
    secrets = Secrets()
    with ExitStack() as stack:
        # Beside `rspp serve` a machine reads them, with those of all other processes.
        stack.callback(logging_of(secrets, lines=with_parent is not None))
        try:
            where, known = listen_of(listen), _networks(proxies)
            tls = tls_of(tls_cert, tls_key, tls_client_ca)
            rules = rules_of(settings, failover, objective)
            check_reach(where, encrypted=tls is not None or behind_proxy)
            held = _keys_held(keys, where, dev=dev)
            token = None
            if dev and (store is None or not held):
                folder = Path(stack.enter_context(TemporaryDirectory()))
                store, keys, token = _made_now(folder, store, data)
        except MisuseError as error:
            raise click.UsageError(error.message) from error
        if store is None:
            raise click.UsageError(
                "Say which store: --store sqlite:///FILE or nats://HOST; or --dev for a moment's one."
            )
        wanted = Wanted(
            listen=where,
            store=store,
            keys=keys,
            tls=tls,
            settings=PlaneSettings(region=region, **msgspec.structs.asdict(rules)),
            proxies=known,
            data=data,
            recordings=recordings,
            token=token,
        )
        _run(wanted, secrets)


def _belongs_to(parent: int) -> bool:
    """From now on it ends with its parent, and calls, which cannot wait, go first; False: the parent is gone already."""
    if not die_with_parent(parent):
        return False
    step_back()
    return True


def _keys_held(keys: Path | None, where: Listen, *, dev: bool) -> int:
    """How many signing keys there are; raises `MisuseError` where it may not start with these."""
    held = 0 if keys is None else len(KeyFolder(keys).held())
    start = how_to_start(bind=where.host, keys_held=held, dev=dev)
    if start.notice:
        click.echo(start.notice, err=True)
    return held


def _run(wanted: Wanted, secrets: Secrets) -> None:
    try:
        asyncio.run(_serve(wanted, secrets))
    except RsppError as error:
        raise click.ClickException(f"{error.code}: {error.message}") from error


def logging_of(secrets: Secrets, *, lines: bool) -> Callable[[], None]:
    return logging_to_stderr(verbose=False, quiet=False, secrets=secrets, lines=lines)


def rules_of(file: Path | None, failover: str | None, objective: float | None) -> Rules:
    """What the file says, and over it what the options do; raises `MisuseError`."""
    rules = Rules() if file is None else declared_in(file, Rules, INVALID)
    if failover == "off":
        rules = msgspec.structs.replace(rules, failover=None)
    elif failover is not None:
        policy = {**msgspec.to_builtins(rules.failover or FailoverPolicy()), "mode": failover}
        rules = msgspec.structs.replace(rules, failover=msgspec.convert(policy, FailoverPolicy))
    if objective is not None:
        target = msgspec.structs.replace(rules.objective, target=objective / 100)
        rules = msgspec.structs.replace(rules, objective=target)
    return rules


def tls_of(cert: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        raise click.UsageError("--tls-cert and --tls-key stand together.")
    return Tls(TlsFiles(ca=client_ca, cert=cert, key=key))


def check_reach(where: Listen, *, encrypted: bool) -> None:
    """Tokens do not go over an open line; raises `click.UsageError`."""
    if not encrypted and not is_loopback(where.host):
        raise click.UsageError(
            f"{where.shown} is reached from other machines: give --tls-cert and --tls-key, or --behind-proxy."
        )


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            ip_network(text)
        except ValueError as error:
            raise click.UsageError(f"--proxy takes an address or a network, not {text!r}.") from error
    return texts


def _made_now(folder: Path, store: str | None, data: Path | None) -> tuple[str, Path, Path]:
    """A store, unless there is one, keys and an admin's token for as long as this process runs.

    A store that is there may know principals from before, and keeps the keys that it was used with in the data folder.
    """
    token = folder / "admin.token"
    check_dev_store(store or "")
    if store is None:
        store, keys = f"sqlite:///{folder / 'control.db'}", folder / "keys"
        asyncio.run(begin(store, keys, "admin", token))
    else:
        keys = folder / "keys" if data is None else data / DEV_KEYS
        asyncio.run(_dev_admin(store, keys, token))
    return store, keys, token


async def _dev_admin(store: str, keys: Path, token: Path) -> None:
    folder_with_key(keys)
    async with opened_plane(store, keys=keys, within=told) as plane:
        await dev_token(plane, token)


async def _serve(wanted: Wanted, secrets: Secrets) -> None:
    from rspp.server.serving import served_console  # noqa: PLC0415 - `--help` needs no server

    sock = bound(wanted.listen)
    endpoint = address_of(sock, wanted.tls is not None)
    settings = msgspec.structs.replace(wanted.settings, endpoint=endpoint)
    async with AsyncExitStack() as stack:
        store = open_store(wanted.store, secrets)
        stack.push_async_callback(store.close)
        state = await stack.enter_async_context(telling(store, source=settings.name))
        keys = None if wanted.keys is None else KeyFolder(wanted.keys)
        plane = ControlPlane(state.store, keys=keys, secrets=secrets, settings=settings)
        await plane.load()
        places = await stack.enter_async_context(recorded_places(wanted.data, wanted.recordings, secrets))
        app = await stack.enter_async_context(
            served_console(plane, state, places, dev=wanted.token is not None)
        )
        service = Service(app, sock, wanted.tls, wanted.proxies)

        def listening(url: str) -> None:
            click.echo(
                f"control plane on {url}, store {wanted.store.partition('?')[0]}, signing: {_signs(wanted)}"
            )
            tell_console(url, wanted.token)
            if wanted.token is not None:
                click.echo(f'  export RSPP_CONTROL={url} RSPP_TOKEN="$(cat {wanted.token})"')

        await serve(plane, service, listening)


def _signs(wanted: Wanted) -> str:
    return "no" if wanted.keys is None else "yes"
