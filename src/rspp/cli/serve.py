"""`rspp serve`: many processes that take calls at one address, looked after until a signal ends them in good order.

SIGTERM, SIGINT   nobody new; calls are heard out or moved, within the deadline; again: everything ends at once
SIGHUP            each process is replaced by a new one, one after the other, without a dropped call
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, Final

import click

from rspp.cli.origins import origins_of
from rspp.cli.output import Status
from rspp.cli.recorded import Choice, check, record_options
from rspp.cli.run import FILE, NEW_FILE
from rspp.cli.run_listen import address_of
from rspp.cli.run_view import logging_to_stderr
from rspp.cli.serve_settings import SERVED_STORE_FILE, SESSIONS_MAX, Work
from rspp.cli.tracing import tracing_options
from rspp.contract.errors import MisuseError
from rspp.control.authority.members import TTL_MS, TTL_MS_MAX, TTL_MS_MIN
from rspp.control.security.key_folder import is_loopback
from rspp.control.supervisor.settings import OnStop, cpus
from rspp.host.secrets import Secrets

PORT_MAX: Final = 65_535
CONSOLE: Final = "127.0.0.1:8700"
UNITS_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


class Span(click.ParamType[int]):
    """A time with its unit, as milliseconds."""

    name = "time"

    def __init__(self, least_ms: int, most_ms: int) -> None:
        self.least_ms, self.most_ms = least_ms, most_ms

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value)
        unit = next((unit for unit in UNITS_MS if text.endswith(unit)), "")
        number = text.removesuffix(unit)
        if not unit or not number.isdigit():
            self.fail(f"{value!r} is no time; write 15s, 500ms or 2m", param, ctx)
        ms = int(number) * UNITS_MS[unit]
        if not self.least_ms <= ms <= self.most_ms:
            self.fail(f"{value} is not from {self.least_ms} ms to {self.most_ms} ms", param, ctx)
        return ms


class Labels(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        key, given, text = str(value).partition("=")
        if not key or not given:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        return key, text


@click.group(
    invoke_without_command=True,
    epilog="Exit status: 0 ended by a signal, in good order; 1 a problem was found, or processes ended again and again; "
    "2 the command was used wrongly.",
)
@click.option(
    "--pipeline",
    "pipelines",
    type=FILE,
    multiple=True,
    help="Serve this; the first is the default. Without any: what the control plane of --store has published.",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Processes; else as many as there are CPUs.")
@click.option(
    "--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="For callers."
)
@click.option("--admin", default="127.0.0.1:9090", show_default=True, metavar="HOST:PORT", help="For probes.")
@click.option(
    "--store",
    envvar="RSPP_STORE",
    metavar="URL",
    help="sqlite:///FILE or nats://HOST:PORT; else in the data folder.",
)
@click.option(
    "--region", envvar="RSPP_REGION", default="local", show_default=True, help="Where this machine is."
)
@click.option("--zone", envvar="RSPP_ZONE", default="", help="Where in the region.")
@click.option("--label", "labels", type=Labels(), multiple=True, help="What else is to be known of it.")
@click.option(
    "--advertise",
    envvar="RSPP_ADVERTISE",
    metavar="HOST",
    help="This machine as callers reach it; else --listen's.",
)
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="URL",
    help="Pages of this address may open calls, such as a console elsewhere: https://console.example; again for others.",
)
@click.option(
    "--direct-port",
    type=click.IntRange(1, PORT_MAX),
    metavar="BASE",
    help="The processes' own ports are BASE, BASE+1, ...: one each, and one more for a reload; else any that are free.",
)
@click.option("--name", envvar="RSPP_NAME", help="Of this machine or pod; else its host name.")
@click.option(
    "--sessions-max",
    type=click.IntRange(1, 10_000),
    default=SESSIONS_MAX,
    show_default=True,
    help="Of each process.",
)
@click.option(
    "--lease-ttl",
    type=Span(TTL_MS_MIN, TTL_MS_MAX),
    default=TTL_MS,
    help="After so long a silent process is lost: 15s.",
)
@click.option(
    "--on-stop",
    type=click.Choice([one.value for one in OnStop]),
    default="drain",
    show_default=True,
    help="Hear calls out, or move them.",
)
@click.option(
    "--drain-ms",
    type=click.IntRange(min=0),
    default=30_000,
    show_default=True,
    help="For calls that run, at an end.",
)
@click.option(
    "--wedged-ms",
    type=click.IntRange(min=500),
    default=5_000,
    show_default=True,
    help="A process that stands still for so long is replaced.",
)
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME=FILE", help="Lay env, tenant or session over all."
)
@click.option("--dev", is_flag=True, help="Without --pipeline: let everybody in, on this machine alone.")
@click.option("--default-pipeline", help="Without --pipeline: for callers who name none.")
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    metavar="URL",
    help="Another address that route tokens may be for.",
)
@click.option("--token", metavar="env://NAME|file:///PATH", help="Callers must have this token.")
@click.option("--tls-cert", type=FILE, help="Certificate chain, as PEM; then callers come by wss.")
@click.option("--tls-key", type=FILE, help="Its key.")
@click.option("--tls-client-ca", type=FILE, help="Take callers with certificates of this authority only.")
@click.option(
    "--console",
    is_flag=False,
    flag_value=CONSOLE,
    metavar="[HOST:PORT]",
    help=f"Serve the console too, as a process of its own: there, else at {CONSOLE}.",
)
@click.option(
    "--console-keys",
    envvar="RSPP_KEYS",
    type=click.Path(file_okay=False, path_type=Path),
    help="With --console: the folder of `rspp control init`. Files and --dev do without, on this machine alone.",
)
@click.option("--pid-file", type=NEW_FILE, help="Written for `rspp serve reload`.")
@record_options
@tracing_options
@click.option("--verbose", "-v", is_flag=True, help="All logs, as JSON lines on stderr.")
@click.option("--quiet", "-q", is_flag=True, help="Nothing on stderr but errors.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Take calls with several processes behind one address.

    \b
    Examples:
        rspp serve --pipeline examples/voice-assistant.yaml --workers 2
        rspp serve --pipeline p.yaml --listen 0.0.0.0:8080 --token env://RSPP_CALL_TOKEN
        rspp serve --pipeline p.yaml --console
        rspp serve --store nats://nats:4222 --listen 0.0.0.0:8080 --advertise 10.0.0.7
        rspp serve reload --pid-file rspp.pid
    """
    if context.invoked_subcommand is None:
        context.exit(_serve(**given))


@command.command("reload")
@click.option("--pid-file", type=FILE, required=True, help="As it was given to `rspp serve`.")
def reload(pid_file: Path) -> None:
    """Replace every process of a running `rspp serve`, one after the other."""
    try:
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGHUP)
    except (ValueError, OSError) as error:
        why = getattr(error, "strerror", None) or "there is no number in it"
        raise click.ClickException(f"no `rspp serve` by {pid_file}: {why}") from error
    click.echo(f"asked {pid} to replace its processes")


def _serve(
    *,
    pipelines: tuple[Path, ...],
    workers: int | None,
    listen: str,
    admin: str,
    advertise: str | None,
    name: str | None,
    on_stop: str,
    drain_ms: int,
    wedged_ms: int,
    pid_file: Path | None,
    direct_port: int | None,
    choice: Choice,
    console: str | None,
    console_keys: Path | None,
    **rest: Any,
) -> Status:
    from rspp.cli.serve_console import wanted_console  # noqa: PLC0415 - `--help` and `reload` need no server
    from rspp.cli.serve_run import Asked, run  # noqa: PLC0415 - likewise

    count = workers or cpus()
    ports = direct_ports(direct_port, count)
    for taken in (listen, admin, *(() if console is None else (console,))):
        if address_of(taken)[1] in ports:
            raise click.UsageError(f"--direct-port {direct_port}: {taken} is one of its {len(ports)} ports.")
    if console is not None:
        rest["origins"] += origins_of(*address_of(console), encrypted=rest["tls_cert"] is not None)
    work = work_of(pipelines, listen, advertise, choice, direct_ports=ports, **rest)
    check(choice)
    try:
        beside = wanted_console(
            console,
            console_keys,
            dev=bool(pipelines) or work.dev,
            store=work.store,
            encrypted=work.tls_cert is not None,
            taken=(listen, admin),
        )
    except MisuseError as error:
        raise click.UsageError(f"--console: {error.message}") from error
    asked = Asked(
        work=work,
        workers=count,
        listen=address_of(listen),
        admin=address_of(admin),
        name=name or os.uname().nodename,
        on_stop=OnStop(on_stop),
        drain_ms=drain_ms,
        wedged_ms=wedged_ms,
        pid_file=pid_file,
        console=beside,
    )
    undo = logging_to_stderr(verbose=work.verbose, quiet=work.quiet, secrets=Secrets(), lines=True)
    try:
        return run(asked)
    except MisuseError as error:
        raise click.ClickException(error.message) from error
    finally:
        undo()


def work_of(
    pipelines: tuple[Path, ...],
    listen: str,
    advertise: str | None,
    choice: Choice,
    *,
    store: str | None,
    labels: tuple[tuple[str, str], ...],
    lease_ttl: int,
    token: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    dev: bool,
    tls_client_ca: Path | None = None,
    **rest: Any,
) -> Work:
    """What the workers are handed; raises `click.UsageError` where it would not be safe, or makes no sense."""
    host, _ = address_of(listen)
    _check_fleet(pipelines, host, store, token, dev)
    if pipelines and not is_loopback(host) and token is None:
        raise click.UsageError(
            f"--listen {listen} can be reached by others: say with --token what opens it. "
            "Without one, `rspp serve` listens on this machine's own address alone."
        )
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together.")
    if tls_client_ca is not None and tls_cert is None:
        raise click.UsageError("--tls-client-ca is for callers by TLS: give --tls-cert and --tls-key too.")
    scheme = "ws" if tls_cert is None else "wss"
    shown = advertise or host_shown(host)
    return Work(
        store=store or f"sqlite:///{choice.data.resolve() / SERVED_STORE_FILE}",
        # As they are named, links and all: what a cluster mounts is replaced by turning a link.
        pipelines=tuple(str(path.absolute()) for path in pipelines),
        host=host,
        advertise=f"{scheme}://{_bracketed(shown)}:{{port}}/v1/rtc/ws",
        labels=dict(labels),
        dev=dev,
        ttl_ms=lease_ttl,
        token=token,
        tls_cert=None if tls_cert is None else str(tls_cert.absolute()),
        tls_key=None if tls_key is None else str(tls_key.absolute()),
        tls_client_ca=None if tls_client_ca is None else str(tls_client_ca.absolute()),
        data=str(choice.data.resolve()),
        record_level=choice.level,
        sample=choice.sample,
        policy=choice.policy,
        recordings=choice.store,
        disk_mb=choice.disk_mb,
        **rest,
    )


def direct_ports(base: int | None, workers: int) -> tuple[int, ...]:
    """The ports of the processes' own sockets, one more than processes; none where any that is free will do."""
    if base is None:
        return ()
    if base + workers > PORT_MAX:
        raise click.UsageError(f"--direct-port {base} leaves no ports for {workers} processes and one more.")
    return tuple(range(base, base + workers + 1))


def host_shown(host: str) -> str:
    """What others call this machine: the address that it listens at, or its name where that is every one."""
    return host if host not in ("0.0.0.0", "::") else os.uname().nodename  # noqa: S104 - compared, not bound


def _check_fleet(
    pipelines: tuple[Path, ...], host: str, store: str | None, token: str | None, dev: bool
) -> None:
    """Files or a control plane, and what belongs to which."""
    if pipelines and dev:
        raise click.UsageError(
            "--dev is for workers of a control plane; files are served with or without --token."
        )
    if pipelines:
        return
    if store is None:
        raise click.UsageError(
            "Name a pipeline with --pipeline FILE, or a control plane's store with --store URL."
        )
    if token is not None:
        raise click.UsageError("--token is for --pipeline; callers of a control plane show its route tokens.")
    if dev and not is_loopback(host):
        raise click.UsageError("--dev lets everybody in, so it listens on this machine's own address alone.")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
