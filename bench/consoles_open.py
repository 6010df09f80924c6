"""The open consoles of `bench/consoles.py`, a process of their own: as many as wanted, each of which asks what the page asks, when it asks.

    python bench/consoles_open.py JSON

The questions are read from the page's own sources in `web/src`, so they cannot be others. A console signs in, connects by
Socket.IO, asks everything once, and from then on what depends on a surface that has changed: at most once a second, never twice
at a time, as `web/src/api/useQuery.ts` does. An answer with an error, or a connection that is lost, is counted.

Told by its standard input: `open`, `begin` (what was measured is forgotten), `end` (it is said), `close`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import aiohttp
import msgspec
import socketio  # type: ignore[import-untyped]  # it has no types
from consoles_calls import Spread, spread

from rspp.cli import bench_machine as machine
from rspp.cli.bench_machine import Lateness
from rspp.cli.bench_socket_server import lines, say

WEB: Final = Path(__file__).parents[1] / "web" / "src"
ACTION_FIELDS: Final = "${ACTION_FIELDS}"
EVERY_S: Final = 1.0  # as the page does
ME: Final = "query Me { me { id tenants everywhere permissions version dev } }"
NOTHING: Final[dict[str, Any]] = {}
OF_ALL: Final = dict.fromkeys(("tenant", "state", "pipeline", "worker", "text", "after"))
# Of each page: file, name of the question in it, its variables, and on which surfaces it depends.
PAGES: Final = {
    "sessions": (
        ("pages/sessions.tsx", "SESSIONS", {**OF_ALL, "first": 100}, ("sessions", "recordings")),
        ("pages/sessions/names.ts", "PIPELINES", {"tenant": None}, ("pipelines",)),
        ("pages/sessions/names.ts", "WORKERS", NOTHING, ("workers",)),
    ),
    "overview": (
        ("pages/overview.tsx", "HEALTH", NOTHING, ("runtime_health",)),
        ("pages/overview.tsx", "ACTIONS", NOTHING, ("runtime_actions", "runtime_health")),
        ("pages/overview.tsx", "LOAD", NOTHING, ("sessions", "workers", "turns")),
    ),
    "workers": (
        ("pages/workers.tsx", "WORKERS", NOTHING, ("workers",)),
        ("pages/workers.tsx", "ACTIONS", NOTHING, ("runtime_actions", "runtime_health")),
    ),
    "actions": (("pages/actions.tsx", "ACTIONS", NOTHING, ("runtime_actions", "runtime_health")),),
}
# Which page each looks at, over and over: half of them the list that changes most.
LOOKED_AT: Final = (
    "sessions",
    "overview",
    "sessions",
    "overview",
    "sessions",
    "workers",
    "sessions",
    "actions",
)


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: str
    token: str
    consoles: int


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the consoles saw from `begin` to `end`."""

    answer: Spread  # of GraphQL
    answers: dict[str, Spread]  # by question
    questions_per_s: float
    bytes_per_s_each: float
    messages_per_s_each: float
    faults: int
    connected: int


class Question(msgspec.Struct, frozen=True):
    name: str
    body: dict[str, Any]
    surfaces: tuple[str, ...]


def text_of(file: str, name: str) -> str:
    """The question of that name, as the page has it; raises `LookupError` if the page has it no more."""
    found = re.search(rf"const {name} = `([^`]+)`", (WEB / file).read_text())
    fields = re.search(r'ACTION_FIELDS =\s+"([^"]+)"', (WEB / "pages" / "taking.tsx").read_text())
    if found is None or fields is None:
        raise LookupError(f"{file} has no question {name}")
    return found[1].replace(ACTION_FIELDS, fields[1])


def questions_of(page: str) -> list[Question]:
    return [
        Question(f"{page} {name.lower()}", {"query": text_of(file, name), "variables": variables}, surfaces)
        for file, name, variables, surfaces in PAGES[page]
    ]


class Figures:
    def __init__(self) -> None:
        self.answer = Lateness()
        self.answers: dict[str, Lateness] = {}  # bounded: by the pages' questions
        self.bytes = self.messages = self.faults = 0
        self.since = perf_counter()


class Console:
    """One person's open page."""

    def __init__(self, order: Order, http: aiohttp.ClientSession, page: str, figures: Figures) -> None:
        self.figures = figures
        self._order, self._http = order, http
        self._questions = questions_of(page)
        self._wanted = [asyncio.Event() for _ in self._questions]
        self._last: int | None = None  # the journal's number, as it was heard
        self._socket = socketio.AsyncClient(reconnection_delay=0.5, reconnection_delay_max=5)
        self._tasks: list[asyncio.Task[None]] = []  # bounded: by the questions

    async def open(self) -> None:
        await self._ask("me", {"query": ME, "variables": {}})
        for event in ("changed", "at", "refetch"):
            self._socket.on(event, self._heard_of(event))
        self._socket.on("connect", self._all)
        auth = {"token": self._order.token}
        await self._socket.connect(self._order.url, auth=auth, transports=["websocket"], retry=True)
        self._all()
        for question, wanted in zip(self._questions, self._wanted, strict=True):
            self._tasks.append(asyncio.create_task(self._keep(question, wanted)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await self._socket.disconnect()

    @property
    def connected(self) -> bool:
        return bool(self._socket.connected)

    def _all(self) -> None:
        for wanted in self._wanted:
            wanted.set()

    def _heard_of(self, event: str) -> Any:
        def heard(said: dict[str, Any]) -> None:
            self.figures.messages += 1
            self.figures.bytes += len(msgspec.json.encode(["42", event, said]))
            missed = self._last is not None and said["after"] > self._last
            self._last = max(self._last or 0, said["sequence"])
            if missed or event == "refetch":
                self._all()
            elif event == "changed":
                for question, wanted in zip(self._questions, self._wanted, strict=True):
                    if said["surface"] in question.surfaces:
                        wanted.set()

        return heard

    async def _keep(self, question: Question, wanted: asyncio.Event) -> None:
        while True:
            await wanted.wait()
            wanted.clear()
            began = perf_counter()
            await self._ask(question.name, question.body)
            await asyncio.sleep(max(0.0, EVERY_S - (perf_counter() - began)))

    async def _ask(self, name: str, body: dict[str, Any]) -> None:
        headers = {"authorization": f"Bearer {self._order.token}"}
        began = perf_counter()
        try:
            async with self._http.post(f"{self._order.url}/graphql", json=body, headers=headers) as response:
                data = await response.read()
        except aiohttp.ClientError:
            self.figures.faults += 1
            return
        took_ns = int((perf_counter() - began) * 1e9)
        self.figures.answer.add(took_ns)
        self.figures.answers.setdefault(name, Lateness()).add(took_ns)
        self.figures.bytes += len(data)
        if response.status != 200 or b'"errors"' in data[:200]:
            self.figures.faults += 1


class Room:
    """All consoles, as they are told to be."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._figures = Figures()
        self._consoles: list[Console] = []  # bounded: by the order

    async def run(self) -> None:
        words = await lines()
        say(b"ready")
        # Connections as a browser keeps them: a few for each console.
        connector = aiohttp.TCPConnector(limit=6 * self._order.consoles)
        async with aiohttp.ClientSession(connector=connector) as http:
            while word := (await words.readline()).strip():
                if word == b"open":
                    pages = [LOOKED_AT[n % len(LOOKED_AT)] for n in range(self._order.consoles)]
                    self._consoles = [Console(self._order, http, page, self._figures) for page in pages]
                    for one in self._consoles:
                        await one.open()
                    say(b"opened")
                elif word == b"begin":
                    self._figures = Figures()
                    for one in self._consoles:
                        one.figures = self._figures
                elif word == b"end":
                    say(msgspec.json.encode(self._seen()))
                elif word == b"close":
                    await self._close()
                    say(b"closed")
            await self._close()

    async def _close(self) -> None:
        with suppress(ConnectionError):
            await asyncio.gather(*(one.close() for one in self._consoles))
        self._consoles = []

    def _seen(self) -> Seen:
        figures, count = self._figures, max(1, len(self._consoles))
        took_s = perf_counter() - figures.since
        return Seen(
            answer=spread(figures.answer),
            answers={name: spread(one) for name, one in sorted(figures.answers.items())},
            questions_per_s=round(figures.answer.seen / took_s, 1),
            bytes_per_s_each=round(figures.bytes / took_s / count),
            messages_per_s_each=round(figures.messages / took_s / count, 1),
            faults=figures.faults,
            connected=sum(one.connected for one in self._consoles),
        )


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    machine.run(Room(order).run())


if __name__ == "__main__":
    main()
