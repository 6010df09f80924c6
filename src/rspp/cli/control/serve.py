"""`rspp control serve`: the control plane as a service, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
import msgspec

from rspp.cli.control.asking import KEYS_VARIABLE, STORE_VARIABLE
from rspp.cli.control.init import begin
from rspp.contract.errors import MisuseError, RsppError
from rspp.control.fleet.failover import FailoverPolicy
from rspp.control.fleet.routing import RoutingPolicy
from rspp.control.objectives.error_budget import Objective
from rspp.control.plane import PlaneSettings, opened_plane
from rspp.control.security.key_folder import KeyFolder, how_to_start, is_loopback
from rspp.control.security.tls import Tls, TlsFiles
from rspp.server.app import make_app
from rspp.server.run import Listen, Service, address_of, bound, listen_of, serve
from rspp.timeline.declared import declared_in

EPILOG: Final = "Exit status: 0 stopped in good order, 1 it could not serve, 2 the command was used wrongly."
LISTEN: Final = "127.0.0.1:8700"
INVALID: Final = "control_settings_invalid"
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
    dev: bool,
) -> None:
    """Serve the control plane: every operation over REST, their description at /openapi.json, /livez and /readyz.

    It does not start without a signing key, and listens beyond this machine only with TLS, or behind a proxy that has it.

    \b
    Examples:
        rspp control serve --dev
        rspp control serve --store sqlite:///control.db --keys keys
        rspp control serve --store nats://a,b,c --keys keys --failover drain --objective 99.5
        rspp control serve --listen 0.0.0.0:8700 --store nats://a,b,c --keys keys --tls-cert c.pem --tls-key k.pem
    """
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    with ExitStack() as stack:
        try:
            where, known = listen_of(listen), _networks(proxies)
            tls = tls_of(tls_cert, tls_key, tls_client_ca)
            rules = rules_of(settings, failover, objective)
            check_reach(where, encrypted=tls is not None or behind_proxy)
            held = 0 if keys is None else len(KeyFolder(keys).held())
            start = how_to_start(bind=where.host, keys_held=held, dev=dev)
            if start.notice:
                click.echo(start.notice, err=True)
            if dev and (store is None or not held):
                store, keys = _made_now(Path(stack.enter_context(TemporaryDirectory())), store)
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
        )
        try:
            asyncio.run(_serve(wanted))
        except RsppError as error:
            raise click.ClickException(f"{error.code}: {error.message}") from error


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


def _made_now(folder: Path, store: str | None) -> tuple[str, Path]:
    """A store, unless there is one, keys and an admin's token for as long as this process runs."""
    url = store or f"sqlite:///{folder / 'control.db'}"
    token = folder / "admin.token"
    asyncio.run(begin(url, folder / "keys", "admin", token))
    click.echo(f'export RSPP_TOKEN="$(cat {token})"', err=True)
    return url, folder / "keys"


async def _serve(wanted: Wanted) -> None:
    sock = bound(wanted.listen)
    endpoint = address_of(sock, wanted.tls is not None)
    settings = msgspec.structs.replace(wanted.settings, endpoint=endpoint)
    async with opened_plane(wanted.store, keys=wanted.keys, settings=settings) as plane:
        service = Service(make_app(plane), sock, wanted.tls, wanted.proxies)

        def listening(url: str) -> None:
            click.echo(
                f"control plane on {url}, store {wanted.store.partition('?')[0]}, signing: {_signs(wanted)}"
            )

        await serve(plane, service, listening)


def _signs(wanted: Wanted) -> str:
    return "no" if wanted.keys is None else "yes"
