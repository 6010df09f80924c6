"""Other people's adapters, good and bad in one place each: tests hand this file to the command as a target."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import rspp
from rspp.adapters.stores.sqlite import SqliteStore
from rspp.host.clock import MachineClock
from rspp.host.pools import Fair, Work
from rspp.host.ports import LiveCall, ProviderInfo
from rspp.testing import scripted
from rspp.testing.store import MemoryStore

# ---- clocks: the smallest port -----------------------------------------------------------------------------------------


class Clock(MachineClock):
    """Keeps its word, and talks a lot about it."""

    def now(self) -> int:
        sys.stdout.write('{"certified": true}\n' * 3)
        return super().now()


class Exits(MachineClock):
    def now(self) -> int:
        os._exit(0)


class Hangs(MachineClock):
    def wall(self) -> int:
        while True:
            time.sleep(0.05)


class Half:
    def now(self) -> int:
        return time.monotonic_ns()


class Seconds:
    def now(self) -> int:
        return time.monotonic_ns()

    def wall(self) -> int:
        return int(time.time())


def raises() -> Clock:
    raise OSError("no such device")


def exits() -> Clock:
    os._exit(3)


nothing = 7


async def later() -> Clock:
    return Clock()


# ---- stores -----------------------------------------------------------------------------------------------------------


def open_in(folder: Path) -> SqliteStore:
    return SqliteStore(folder / "mine.db")


class LosesRaces(MemoryStore):
    """Says that a put was done when somebody else's was."""

    async def put(
        self, bucket: str, key: str, value: bytes, *, expect: int | None = None, ttl_ms: int | None = None
    ) -> int | None:
        return await super().put(bucket, key, value, ttl_ms=ttl_ms)


def loses_races() -> LosesRaces:
    return LosesRaces(MachineClock())


def used(folder: Path) -> MemoryStore:
    store = MemoryStore(MachineClock())
    asyncio.get_running_loop().create_task(store.put_blob("somebody's", b"1"))
    return store


# ---- providers ----------------------------------------------------------------------------------------------------------


def speaker(name: str, settings: Mapping[str, object]) -> Any:
    return scripted.make("scripted-tts", **settings)


def goes_on() -> Any:
    """Goes on after a cancel."""
    return scripted.make("scripted-tts", faults={"cancel": "ignore"})


class Keyed:
    """Puts its key into what it says of itself."""

    def __init__(self, name: str, settings: Mapping[str, object]) -> None:
        key = str(settings["api_key"])
        self.key = Path(key.removeprefix("file://")).read_text().strip()
        self.info = ProviderInfo(name=name, modality="llm", version="v1")

    async def open(self) -> None:
        raise OSError(f"{self.key} was refused")

    async def close(self) -> None: ...
    async def run(self, call: LiveCall) -> None: ...


# ---- nodes ------------------------------------------------------------------------------------------------------------


class Marks(rspp.Config, frozen=True):
    marks: int = 1


class Shout(rspp.Node):
    declaration: ClassVar = rspp.NodeDeclaration(
        name="shout",
        version="v1",
        inputs={"text": (rspp.EventKind.TEXT,)},
        outputs={"text": (rspp.EventKind.TEXT,)},
        config=Marks,
    )

    def on_event(self, ctx: rspp.Context, port: str, event: rspp.Event) -> None:
        text = event.payload
        if isinstance(text, rspp.Text):
            ctx.emit("text", rspp.Text(self.word(text), segment=text.segment, final=text.final))

    def word(self, text: rspp.Text) -> str:
        return str(text.text.upper() + "!" * self.config.marks)


class Unordered(Shout):
    """Says letters in the order of a set, which another process has otherwise."""

    def word(self, text: rspp.Text) -> str:
        return "".join({*text.text})


class Lookup(rspp.AsyncNode):
    declaration: ClassVar = rspp.NodeDeclaration(
        name="lookup",
        version="v1",
        kind=rspp.NodeKind.ASYNC,
        inputs={"text": (rspp.EventKind.TEXT,)},
        outputs={"text": (rspp.EventKind.TEXT,)},
    )

    async def run(self, call: LiveCall) -> None:
        for number in range(20):
            await asyncio.sleep(0.02)
            if call.stopping:
                return
            await call.produce(rspp.Text(f"part {number} ", segment=number, final=True))


class Swallows(Lookup):
    """Takes a cancel for a pause."""

    async def run(self, call: LiveCall) -> None:
        for number in range(20):
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
            await call.produce(rspp.Text(f"part {number} ", segment=number, final=True))


# ---- orders -------------------------------------------------------------------------------------------------------------


class Forgets(Fair):
    """Loses each seventh piece."""

    def put(self, work: Work) -> None:
        if work.number % 7 != 6:
            super().put(work)
