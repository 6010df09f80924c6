"""`rspp dev`: takes calls while its pipeline is being written. A change serves the calls that come after it.

Calls that run keep the version they began with, nodes included: each reload compiles the file anew and imports the modules
beside it anew, and the old graph and the old classes live on in the sessions that have them. A broken edit is told with its
file and line, and changes nothing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from importlib import invalidate_caches
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import click

from rspp.cli.compose import Installed, Pipeline, installed, missing, pipeline_of
from rspp.cli.problems import text_of
from rspp.cli.recorded import Choice, record_options
from rspp.cli.run import FILE, prepared
from rspp.cli.run_control_options import Controlled, Given, control_options, controlled
from rspp.cli.run_view import logging_to_stderr
from rspp.cli.validate import read_layers
from rspp.contract.errors import MisuseError, RsppError
from rspp.host.host import Host
from rspp.host.secrets import Secrets
from rspp.spec import Layer, Severity

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

LOOK_EVERY_MS: Final = 300
# More modules than this beside a pipeline are somebody's project, not its nodes.
MODULES_MAX: Final = 500

Stamp = tuple[int, int]  # when it was changed, in nanoseconds, and its size


class TakesModules(Protocol):
    """Whoever runs the nodes of the modules, and imports them anew when it is told."""

    def renew(self) -> None: ...


@click.command(
    epilog="Exit status: 0 ended by a signal, 1 a problem was found at the start, 2 the command was used wrongly."
)
@click.argument("pipeline", type=FILE)
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="HOST:PORT", help="Where.")
@click.option(
    "--layer", "layers", multiple=True, metavar="NAME=FILE", help="Lay env, tenant or session over it."
)
@record_options
@control_options
@click.option("--verbose", "-v", is_flag=True, help="All logs, as JSON lines on stderr.")
def command(
    pipeline: Path,
    listen: str,
    layers: tuple[str, ...],
    verbose: bool,
    choice: Choice,
    given: Given | None,
) -> None:
    """Take calls, and take up each change of the pipeline's file and of the Python modules beside it.

    With --control an edit of the file that carries a new `version` is published, and new calls are led to it; what is
    published is never changed, so an edit that does not is told, and changes nothing. An edit of a module is taken up as
    it is without --control, by every version that uses it.

    \b
    Examples:
        rspp dev pipeline.yaml --listen 127.0.0.1:8080
        rspp dev pipeline.yaml --control
    """
    from rspp.cli.run_listen import serve  # noqa: PLC0415 - as in `run`

    wanted = controlled(given, listen, choice, layers=layers) if given is not None else None
    secrets = Secrets()
    undo = logging_to_stderr(verbose=verbose, quiet=False, secrets=secrets)
    try:
        here, over = installed(secrets=secrets), read_layers(layers)
        first = prepared(click.get_current_context(), pipeline, here, over, choice=choice)
        reload = Reload(pipeline, here, over, choice=choice)
        if wanted is not None:
            _under_control(first, wanted, choice, reload, secrets, verbose=verbose)
            return
        serve(first, listen, drain_ms=0, choice=choice, beside=reload.watch)
    finally:
        undo()


def _under_control(
    first: Pipeline, wanted: Controlled, choice: Choice, reload: Reload, secrets: Secrets, *, verbose: bool
) -> None:
    from rspp.cli.run_control import Asked, run  # noqa: PLC0415 - as in `run`

    assert first.graph is not None
    asked = Asked(
        path=first.path, graph=first.graph, wanted=wanted, choice=choice, drain_ms=0, verbose=verbose
    )
    run(asked, secrets, reload.watch_published)


class Reload:
    """Watches a pipeline's files and publishes what they become."""

    def __init__(
        self,
        path: Path,
        here: Installed,
        layers: tuple[Layer, ...],
        say: Callable[[str], None] | None = None,
        *,
        choice: Choice | None = None,
    ) -> None:
        self._choice = choice
        self._path = path
        self._here = here
        self._layers = layers
        self._say = say or (lambda line: click.echo(line, err=True))
        self._known = self.stamps()
        self.loads = 0

    async def watch(self, host: Host) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_MS / 1000)
            await self.look(host)

    async def look(self, host: Host) -> bool:
        """Take up what has changed, if anything has; says whether a new version is served."""
        changed, pipeline = await self._news()
        if pipeline is None or pipeline.graph is None or pipeline.registry is None:
            return False
        try:
            host.publish(pipeline.graph, pipeline.registry)
        except RsppError as error:
            self._say(f"{self._path}: {error.message}")
            return False
        for one in await host.providers.open():
            if not one.ready:
                self._say(f"{one.name} is not ready: {one.failure}")
        self._say(f"{changed} changed; new calls take {pipeline.graph.fingerprint[:12]}")
        return True

    async def watch_published(self, plane: ControlPlane, worker: TakesModules) -> None:
        """The same where a control plane says what is served."""
        while True:
            await asyncio.sleep(LOOK_EVERY_MS / 1000)
            await self.look_published(plane, worker)

    async def look_published(self, plane: ControlPlane, worker: TakesModules) -> bool:
        """Publish what has changed, and lead new sessions to it; what is refused is told, and changes nothing.

        Modules are no part of what is published: whoever uses them has them as they are now.
        """
        from rspp.cli.run_control_publish import lead, publish  # noqa: PLC0415 - as in `run`

        changed, pipeline = await self._news()
        if pipeline is None or pipeline.graph is None:
            return False
        graph = pipeline.graph
        try:
            plane.view.renew()
            worker.renew()
            text = await asyncio.to_thread(text_of, self._path)
            await publish(plane, text, graph.pipeline, graph.version)
            await lead(plane, graph.pipeline, graph.version)
        except (RsppError, OSError) as error:
            self._say(f"{self._path}: {error.message if isinstance(error, RsppError) else error.strerror}")
            return False
        self._say(f"{changed} changed; new calls take {graph.pipeline}@{graph.version}")
        return True

    async def _news(self) -> tuple[str, Pipeline | None]:
        """What has changed, and the pipeline that came of it; without one there is nothing to take up."""
        now = await asyncio.to_thread(self.stamps)  # calls go on beside it
        if now == self._known:
            return "", None
        names = {
            path.name for path in now.keys() | self._known.keys() if now.get(path) != self._known.get(path)
        }
        changed = ", ".join(sorted(names))
        self._known = now
        pipeline = self._compiled()
        if pipeline is None or pipeline.graph is None:
            self._say(f"{changed} changed; the version before it is kept")
            return changed, None
        self.loads += 1
        return changed, pipeline

    def _compiled(self) -> Pipeline | None:
        """The pipeline as its files say now; what is wrong with it is told."""
        self._forget_modules()
        try:
            choice = self._choice
            pipeline = pipeline_of(
                self._path,
                self._here,
                self._layers,
                level=choice.asked if choice else None,
                unstated_level=choice.unstated if choice else None,
            )
            for problem in pipeline.problems:
                self._say(str(problem))
            if pipeline.graph is None or any(p.severity is Severity.ERROR for p in pipeline.problems):
                return None
            lacking, _ = missing(pipeline, self._here)
        except MisuseError as error:
            self._say(f"{self._path}: {error.message}")
            return None
        except OSError as error:
            self._say(f"{self._path}: {error.strerror}")  # an editor is in the middle of replacing it
            return None
        if lacking:
            self._say(lacking)
            return None
        return pipeline

    def stamps(self) -> dict[Path, Stamp]:
        """Every file that matters, and how it stands."""
        folder = self._path.resolve().parent
        found: dict[Path, Stamp] = {}
        for path in (
            self._path.resolve(),
            *sorted(folder.glob("*.py"))[:MODULES_MAX],
            *sorted(folder.glob("*/*.py"))[:MODULES_MAX],
        ):
            try:
                stat = path.stat()
            except OSError:
                continue
            found[path] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _forget_modules(self) -> None:
        """Modules beside the pipeline are imported anew; instances of the old classes go on as they are."""
        folder = self._path.resolve().parent
        for name, module in list(sys.modules.items()):
            origin = getattr(module, "__file__", None)
            if origin and name != "__main__" and Path(origin).resolve().is_relative_to(folder):
                del sys.modules[name]
        invalidate_caches()
