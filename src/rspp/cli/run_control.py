"""`rspp run --listen --control`: control plane, worker and store in one process, each of them as they are by themselves.

On SIGTERM or SIGINT it is not ready any more and takes nobody new, calls are heard out within the deadline, the API stops,
and the process leaves the fleet. A second signal does not wait.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from rspp.cli.console_places import recorded_places, tell_console
from rspp.cli.control.init import folder_with_key
from rspp.cli.control.serve import check_reach, tls_of
from rspp.cli.origins import origins_of
from rspp.cli.output import Status
from rspp.cli.problems import text_of
from rspp.cli.recorded import EXPORT_MS, Choice, check, copy_all
from rspp.cli.run_control_options import Controlled
from rspp.cli.run_control_publish import dev_token, publish
from rspp.cli.run_listen import LEAST_DRAIN_MS, address_of, loop_factory, page, signals
from rspp.cli.run_view import StderrProgress, next_commands
from rspp.cli.serve import host_shown
from rspp.cli.serve_run import shared_socket, url_of
from rspp.cli.serve_settings import Work
from rspp.cli.serve_worker import ServedWorker
from rspp.cli.tracing import Tracing
from rspp.contract.errors import RsppError
from rspp.control.config.nodes import Beside, offered
from rspp.control.plane import ControlPlane, PlaneSettings
from rspp.control.security.key_folder import KeyFolder
from rspp.control.stores import open_store
from rspp.control.supervisor.words import Assign
from rspp.host.secrets import Secrets
from rspp.server.run import Listen, Service, bound, serve
from rspp.server.run import address_of as url_of_api
from rspp.server.serving import served_console
from rspp.server.state import Told
from rspp.spec.graph import GraphDefinition

NAME: Final = "run"
TOKEN_FILE: Final = "control.token"

Along = Callable[[ControlPlane, ServedWorker], Coroutine[Any, Any, None]]


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line came to."""

    path: Path
    graph: GraphDefinition
    wanted: Controlled
    choice: Choice
    drain_ms: int
    copies: Path | None = None
    quiet: bool = False
    verbose: bool = False
    tracing: Tracing = Tracing()

    @property
    def beside(self) -> Path | None:
        """Where modules of nodes may lie: what is for this machine alone may use what lies on it."""
        return self.path.resolve().parent if self.wanted.dev else None

    @property
    def token_file(self) -> Path:
        return self.choice.data / TOKEN_FILE


def run(asked: Asked, secrets: Secrets, along: Along | None = None) -> Status:
    """Until a signal. `along` runs with it, on the same loop."""
    given = asked.wanted.given
    check_reach(_api(asked), encrypted=given.tls_cert is not None or given.behind_proxy)
    check(asked.choice)
    asked.choice.data.mkdir(parents=True, exist_ok=True)
    if asked.wanted.notice and not asked.quiet:
        click.echo(asked.wanted.notice, err=True)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            worker = runner.run(_run(asked, secrets, along))
        except RsppError as error:
            raise click.ClickException(f"{error.code}: {error.message}") from error
    opened = worker.recorded.opened
    if opened and not asked.quiet:
        next_commands(opened)
    if asked.copies is not None:
        copy_all(asked.choice, opened, asked.copies)
    return Status.OK


def _api(asked: Asked) -> Listen:
    host, port = address_of(asked.wanted.api, "--control")
    return Listen(host=host, port=port)


async def _run(asked: Asked, secrets: Secrets, along: Along | None) -> ServedWorker:
    wanted, given = asked.wanted, asked.wanted.given
    signalled = signals()
    told = Told(open_store(wanted.store, secrets), source=NAME)
    told.begin()
    store = told.store
    try:
        with (
            closing(shared_socket(*address_of(wanted.calls))) as calls,
            closing(bound(_api(asked), "--control")) as api,
        ):
            keys = folder_with_key(wanted.keys) if wanted.dev else KeyFolder(wanted.keys)
            tls = tls_of(given.tls_cert, given.tls_key, None)
            settings = PlaneSettings(endpoint=url_of_api(api, tls is not None), region=given.region)
            points = offered if asked.beside is None else Beside(asked.beside)
            plane = ControlPlane(store, keys=keys, secrets=secrets, settings=settings, points=points)
            await plane.load()
            base = await publish(plane, text_of(asked.path), asked.graph.pipeline, asked.graph.version)
            if wanted.dev:
                await dev_token(plane, asked.token_file)
            work = _work(asked, origins_of(*api.getsockname()[:2], encrypted=tls is not None))
            url = url_of(work, given.advertise or host_shown(work.host), calls)
            pages = page() if wanted.dev else {}
            worker = ServedWorker(
                work, _assign(asked, url), calls, store, secrets, alone=True, pages=pages, told=told
            )
            async with (
                recorded_places(asked.choice.data, asked.choice.store, secrets) as places,
                served_console(plane, told, places, dev=wanted.dev, meters=worker.reading) as app,
            ):
                service = Service(app, api, tls)
                embedded = Embedded(asked, plane, worker, service)
                await embedded.run(signalled, lambda: _tell(asked, url, service.url, base), along)
            return worker
    finally:
        await told.end()
        await store.close()
        if wanted.dev:
            asked.token_file.unlink(missing_ok=True)


def _work(asked: Asked, origins: tuple[str, ...]) -> Work:
    wanted, given, choice = asked.wanted, asked.wanted.given, asked.choice
    return Work(
        store=wanted.store,
        host=address_of(wanted.calls)[0],
        origins=origins,
        region=given.region,
        dev=wanted.dev,
        beside=None if asked.beside is None else str(asked.beside),
        default_pipeline=asked.graph.pipeline,
        tls_cert=None if given.tls_cert is None else str(given.tls_cert),
        tls_key=None if given.tls_key is None else str(given.tls_key),
        data=str(choice.data),
        record_level=choice.level,
        sample=choice.sample,
        policy=choice.policy,
        recordings=choice.store,
        disk_mb=choice.disk_mb,
        verbose=asked.verbose,
        quiet=asked.quiet,
        **msgspec.structs.asdict(asked.tracing),
    )


def _assign(asked: Asked, url: str) -> Assign:
    """As a supervisor would say it; there is none."""
    return Assign(
        name=NAME,
        slot=0,
        listening_fd=-1,
        shared_url=url,
        parent_pid=os.getppid(),
        on_stop="drain",
        drain_ms=asked.drain_ms,
        work={},
    )


class Embedded:
    """The two that run beside each other over one store, from their start to their end."""

    def __init__(self, asked: Asked, plane: ControlPlane, worker: ServedWorker, service: Service) -> None:
        self._asked, self._plane, self._worker, self._service = asked, plane, worker, service
        self._listening = asyncio.Event()

    async def run(self, signalled: asyncio.Queue[int], tell: Callable[[], None], along: Along | None) -> None:
        """Until a signal, or until the control plane cannot go on; raises what keeps it from that."""
        worker, loop = self._worker, asyncio.get_running_loop()
        api = loop.create_task(
            serve(self._plane, self._service, lambda _: self._listening.set(), signals=False)
        )
        tasks: list[asyncio.Task[Any]] = []  # bounded: two
        export_ms, begun = EXPORT_MS, False
        progress = StderrProgress(quiet=self._asked.quiet)
        progress("loading models")
        try:
            await worker.start()
            progress("")
            begun = True
            tasks.append(loop.create_task(self._listening.wait()))
            await asyncio.wait((api, tasks[0]), return_when=asyncio.FIRST_COMPLETED)
            if not api.done():
                await worker.accept(True)
                if not self._asked.quiet:
                    tell()
                if along is not None:
                    tasks.append(loop.create_task(along(self._plane, worker)))
                export_ms = await self._until_over(api, signalled)
        finally:
            for task in tasks:
                task.cancel()
            self._service.stop()
            await asyncio.wait((api,))
            if begun:
                await worker.stop(export_ms)
        api.result()

    async def _until_over(self, api: asyncio.Task[None], signalled: asyncio.Queue[int]) -> int:
        """How long what was recorded may still be exported: who asks twice does not wait for that either."""
        asked = asyncio.ensure_future(signalled.get())
        await asyncio.wait((api, asked), return_when=asyncio.FIRST_COMPLETED)
        if not asked.done():  # the control plane is over by itself
            asked.cancel()
            return EXPORT_MS
        host, quiet, drain_ms = self._worker.host, self._asked.quiet, self._asked.drain_ms
        if not quiet:
            click.echo(f"draining {len(host.sessions)} sessions, {drain_ms} ms at most", err=True)
        draining = asyncio.ensure_future(self._worker.drain("drain", max(LEAST_DRAIN_MS, drain_ms)))
        again = asyncio.ensure_future(signalled.get())
        await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        in_time = draining.done()
        cut = draining.result()[0] if in_time else len(host.sessions)
        draining.cancel()
        if not quiet:
            click.echo(f"stopped; {cut} sessions were cut short", err=True)
        return EXPORT_MS if in_time else 0


def _tell(asked: Asked, url: str, api: str, base: str) -> None:
    """Where everything is, and what can be done next, word for word."""
    graph, wanted = asked.graph, asked.wanted
    click.echo(f"{graph.pipeline}@{base} takes calls at {url}")
    if wanted.dev:
        click.echo(f"talk to it at {url.replace('ws', 'http', 1).rpartition('/v1/')[0]}/   (Ctrl+C ends it)")
    click.echo(
        f"control plane at {api}, described at {api}/openapi.json; store {wanted.store.partition('?')[0]}"
    )
    tell_console(api, asked.token_file if wanted.dev else None)
    token = f'"$(cat {asked.token_file})"' if wanted.dev else "TOKEN"
    click.echo(f"  export RSPP_CONTROL={api} RSPP_TOKEN={token}")
    click.echo("  rspp control pipelines publish NEXT.yaml")
    next_version = graph.version if graph.version != base else "NEXT"
    click.echo(
        f"  rspp control rollout canary {graph.pipeline} --version {next_version} --percent 10 --reason WHY"
    )
    if not wanted.dev:
        click.echo("  rspp control routes create --tenant TENANT     a call's address and its token")
