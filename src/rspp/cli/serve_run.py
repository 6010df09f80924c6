"""The supervisor's process: one socket for callers, one for probes, the signals, and an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket as sockets
from pathlib import Path
from typing import Final

import click
import msgspec

from rspp.adapters.transports.websocket import Settings, listening_socket
from rspp.cli.output import Status
from rspp.cli.serve_console import ConsoleProcess, WantedConsole, words_of
from rspp.cli.serve_settings import Work, as_json
from rspp.contract.wire import PATH
from rspp.control.stores import open_store
from rspp.control.supervisor.pages import pages
from rspp.control.supervisor.probes import Probes
from rspp.control.supervisor.process import python_module
from rspp.control.supervisor.settings import OnStop, SupervisorSettings
from rspp.control.supervisor.supervisor import Supervisor, fence_all
from rspp.host.secrets import Secrets
from rspp.server.state import Told

CHILD: Final = "rspp.cli.serve_worker"
SIGNALS_MAX: Final = 16


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line came to."""

    work: Work
    workers: int
    listen: tuple[str, int]
    admin: tuple[str, int]
    name: str
    on_stop: OnStop
    drain_ms: int
    wedged_ms: int
    pid_file: Path | None
    console: WantedConsole | None = None


def run(asked: Asked) -> Status:
    """Until a signal, or until processes end again and again; raises `MisuseError` where it cannot begin."""
    listening = shared_socket(*asked.listen)
    try:
        return asyncio.run(_run(asked, listening))
    finally:
        listening.close()
        if asked.pid_file is not None:
            asked.pid_file.unlink(missing_ok=True)


async def _run(asked: Asked, listening: sockets.socket) -> Status:
    work = asked.work
    url = url_of(work, asked.listen[0], listening)
    store = open_store(work.store, Secrets())
    settings = SupervisorSettings(
        workers=asked.workers,
        name=asked.name,
        command=python_module(CHILD),
        work=as_json(work),
        shared_url=url,
        on_stop=asked.on_stop,
        drain_ms=asked.drain_ms,
        wedged_ms=asked.wedged_ms,
    )

    told = Told(store, source=f"supervisor:{asked.name}")
    told.begin()

    async def fence(name: str, reason: str) -> None:
        await fence_all(told.store, name, reason)

    def say(what: str) -> None:
        click.echo(what, err=True)

    supervisor = Supervisor(settings, listening, fence, say)
    probes = Probes(pages(supervisor))
    console: asyncio.Task[None] | None = None
    try:
        await probes.start(*asked.admin)
        if asked.pid_file is not None:
            asked.pid_file.write_text(f"{os.getpid()}\n")
        if not work.quiet:
            click.echo(f"probes at http://{asked.admin[0]}:{probes.port}")
            click.echo(f"listening at {url}")
        if asked.console is not None:
            shown = ConsoleProcess(words_of(asked.console, work), say)
            console = asyncio.create_task(shown.run(), name="serve:console")
        return await _until_over(supervisor, listening, quiet=work.quiet)
    finally:
        if console is not None:
            console.cancel()
            await asyncio.wait((console,))
        await probes.stop()
        await told.end()
        await store.close()


async def _until_over(supervisor: Supervisor, listening: sockets.socket, *, quiet: bool) -> Status:
    signals = _signals()
    running = asyncio.ensure_future(supervisor.run())
    stopping: asyncio.Future[None] | None = None
    while not running.done():
        heard = asyncio.ensure_future(signals.get())
        await asyncio.wait((running, heard), return_when=asyncio.FIRST_COMPLETED)
        if not heard.done():
            heard.cancel()
        elif heard.result() == signal.SIGHUP:
            supervisor.reload_soon()
        elif stopping is None:
            if not quiet:
                click.echo(f"stopping {len(supervisor.children)} processes", err=True)
            # Whoever connects from now on is refused at once, instead of waiting for nobody.
            listening.close()
            stopping = asyncio.ensure_future(supervisor.stop())
        else:
            supervisor.kill()
    if stopping is not None:
        await stopping
    tally = supervisor.tally
    if not quiet:
        click.echo(
            f"stopped; {tally.cut} sessions were cut short, {tally.moved} moved, {tally.lost} lost", err=True
        )
    return Status.OK if await running else Status.PROBLEM


def shared_socket(host: str, port: int) -> sockets.socket:
    """The one socket that all workers take calls from; raises `MisuseError`. Callers queue at it while the first comes up."""
    return listening_socket(host, port, Settings())


def url_of(work: Work, host: str, listening: sockets.socket) -> str:
    """Where the shared socket is reached."""
    scheme = "ws" if work.tls_cert is None else "wss"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listening.getsockname()[1]}{PATH}"


def _signals() -> asyncio.Queue[int]:
    asked: asyncio.Queue[int] = asyncio.Queue(maxsize=SIGNALS_MAX)
    loop = asyncio.get_running_loop()

    def heard(number: int) -> None:
        if not asked.full():
            asked.put_nowait(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, heard, number)
    return asked
