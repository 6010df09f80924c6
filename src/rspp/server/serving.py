"""A console of one process, from its start to its end: the engine that knows all rows, the recordings, and the application.

async with telling(store, source=...) as told:
    async with served_console(plane, told, Places(data=...), dev=True) as app:
        await serve(plane, Service(app, sock), ...)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from starlette.applications import Starlette

from rspp.control.plane import ControlPlane
from rspp.host.meters import Reading
from rspp.ops.engine import StateEngine
from rspp.server.console import console_app, gate_of
from rspp.server.recorded.places import Places
from rspp.server.recorded.recorded import Recorded
from rspp.server.recorded.routes import recorded_routes
from rspp.server.state import Told

log = logging.getLogger("rspp.server.serving")

AGAIN_S: Final = 1.0


@asynccontextmanager
async def served_console(
    plane: ControlPlane,
    told: Told,
    places: Places,
    *,
    dev: bool = False,
    meters: Callable[[], Reading | None] = lambda: None,
) -> AsyncIterator[Starlette]:
    """The application, as long as its engine runs; raises what keeps the rows from being read at the start.

    `meters` are those of calls that this process serves itself. The places are closed at the end.
    """
    engine = told.engine()
    recorded = Recorded(plane, places, engine.snapshots.rows, meters=meters)
    await engine.load()
    following = asyncio.create_task(_follow(engine), name="console:engine")
    gate = gate_of(plane)
    try:
        yield console_app(
            plane, engine, recorded=recorded, dev=dev, gate=gate, more=recorded_routes(recorded, gate)
        )
    finally:
        following.cancel()
        await asyncio.wait((following,))
        await recorded.close()


async def _follow(engine: StateEngine) -> None:
    """A fault of ours in the engine is in the log, and the console goes on with rows that are read anew."""
    while True:
        try:
            await engine.run()
        except Exception:
            log.exception("the state engine failed; it begins again")
        await asyncio.sleep(AGAIN_S)
