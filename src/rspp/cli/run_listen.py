"""A pipeline that takes calls: the WebSocket transport, the page for the microphone, and an orderly end.

On SIGTERM or SIGINT nobody new is let in; running turns are heard to their end or are aborted by policy when the drain's
deadline has come, and the command ends with 0. A second signal ends it at once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import click

from rspp.adapters.transports.websocket import Page, Settings, WebSocketTransport, anyone, with_token
from rspp.cli.compose import Pipeline
from rspp.cli.output import Status
from rspp.cli.recorded import EXPORT_MS, Choice, Recorded, check, copy_all
from rspp.cli.run_view import StderrProgress, next_commands
from rspp.cli.tracing import Traces, Tracing, traces
from rspp.contract.errors import MisuseError
from rspp.host.host import Host, HostSettings
from rspp.host.own_names import is_this_machine

HTML: Final = "text/html; charset=utf-8"
LEAST_DRAIN_MS: Final = 100


def address_of(text: str, option: str = "--listen") -> tuple[str, int]:
    """HOST:PORT, :PORT or PORT; raises `click.UsageError`."""
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise click.UsageError(f"{option} takes HOST:PORT, not {text!r}")
    return host.strip("[]") or "127.0.0.1", int(port)


def page() -> dict[str, Page]:
    """The page, at the root."""
    return {"/": Page(HTML, files("rspp.cli").joinpath("page/index.html").read_bytes())}


def serve(
    pipeline: Pipeline,
    listen: str,
    *,
    drain_ms: int,
    choice: Choice,
    copies: Path | None = None,
    token: str | None = None,
    quiet: bool = False,
    tracing: Tracing = Tracing(),  # noqa: B008 - frozen
    beside: Callable[[Host], Coroutine[Any, Any, None]] | None = None,
) -> Status:
    """Take calls until a signal comes. `beside` runs along with it, on the same loop."""
    host, port = address_of(listen)
    is_open = token is None and is_this_machine(f"[{host}]" if ":" in host else host)
    settings = Settings(host=host, port=port, own_names_only=is_open)
    check(choice)
    recorded = Recorded(choice)
    with traces(tracing) as traced, asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            status = runner.run(_serve(pipeline, settings, drain_ms, recorded, token, quiet, traced, beside))
        except MisuseError as error:
            raise click.ClickException(error.message) from error
    if copies is not None:
        copy_all(choice, recorded.opened, copies)
    return status


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The faster loop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not there on every system
    except ImportError:
        return asyncio.new_event_loop
    made: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return made


async def _serve(
    pipeline: Pipeline,
    settings: Settings,
    drain_ms: int,
    recorded: Recorded,
    token: str | None,
    quiet: bool,
    traced: Traces,
    beside: Callable[[Host], Coroutine[Any, Any, None]] | None,
) -> Status:
    assert pipeline.graph is not None
    assert pipeline.registry is not None
    progress = StderrProgress(quiet=quiet)
    asked = signals()
    await recorded.start()
    host = Host(
        pipeline.registry,
        HostSettings(owns_process=True, metrics=traced.in_band),
        recorders=recorded.recorders,
        overhead_to=recorded.overhead,
        watches=traced.watches,
    )
    traced.count_in(host)
    recorded.count_in(host.meters)
    host.publish(pipeline.graph)
    progress("loading models")
    for one in await host.start():
        if not one.ready:
            click.echo(f"{one.name} is not ready: {one.failure}", err=True)
    progress("")
    admits = anyone if token is None else with_token(token)
    transport = WebSocketTransport(settings, pages=page(), admits=admits)
    work: asyncio.Task[None] | None = None
    left, export_ms = 0, EXPORT_MS
    try:
        await transport.start(host)
        if not quiet:
            tell(transport, pipeline)
        work = asyncio.get_running_loop().create_task(beside(host)) if beside is not None else None
        await asked.get()
        if not quiet:
            click.echo(f"draining {len(host.sessions)} sessions, {drain_ms} ms at most", err=True)
        draining = asyncio.ensure_future(host.drain(max(LEAST_DRAIN_MS, drain_ms)))
        again = asyncio.ensure_future(asked.get())
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        export_ms = EXPORT_MS if draining.done() else 0  # who asks twice does not wait for a store either
        left = await draining if draining.done() else len(host.sessions)
        draining.cancel()
    finally:
        if work is not None:
            work.cancel()
        await transport.stop("runtime_stopping")
        await host.stop()
        await recorded.finish(progress, export_ms)
    if not quiet:
        click.echo(f"stopped; {left} sessions were cut short", err=True)
        if recorded.opened:
            next_commands(recorded.opened)
    return Status.OK


def tell(transport: WebSocketTransport, pipeline: Pipeline) -> None:
    assert pipeline.graph is not None
    web = transport.url.replace("ws", "http", 1).removesuffix(transport.settings.path)
    click.echo(f"{pipeline.graph.ref} takes calls at {transport.url}")
    click.echo(f"talk to it at {web}/   (Ctrl+C ends it)")
    click.echo("what is going on, live, on a page: add --console")


def signals() -> asyncio.Queue[int]:
    """Each SIGTERM and SIGINT, as it comes; beyond the second there is nothing to add."""
    asked: asyncio.Queue[int] = asyncio.Queue(maxsize=4)
    loop = asyncio.get_running_loop()

    def came(number: int) -> None:
        if not asked.full():
            asked.put_nowait(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, came, number)
        except NotImplementedError:  # no signals in this loop: then it is ended from outside
            break
    return asked
