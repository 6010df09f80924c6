"""What is known in one process only is said in the store, for as long as that process says it: how its export fares, who is cut off.

    bucket `conditions`     <member>/<surface>/<=tenant or ->/<aggregate>     one row, as its owner made it

A source is asked for its rows a few times a second, answers from memory, and gives the same row for what has not changed. A row
that is new is written, one that stands is renewed before it expires, one that is gone is taken away. So what a process says ends
with it, at the latest when the time of its last words is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Kept, ReadRow, Row, cut, is_bounded
from rspp.host.ports import Clock, Store

log = logging.getLogger("rspp.host.conditions")

CONDITIONS: Final = "conditions"
LOOK_MS: Final = 500
TTL_MS: Final = 15_000
# Of one process: a row for each session that it bears, with room to spare. More are not said, and counted.
ROWS_MAX: Final = 20_000
AT_ONCE: Final = 16
NOBODY: Final = "-"
CLEAR_S: Final = 1.0

Source = Callable[[], Iterable[Row]]
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.json.Decoder(Row).decode


def kept() -> Kept:
    """Where the surfaces of single processes lie."""
    return Kept(CONDITIONS, sole=True)


def _key(member: str, surface: str, tenant_id: str | None, name: str) -> str:
    """A tenant called `-` is not nobody: a tenant's part begins with another sign."""
    tenant = NOBODY if tenant_id is None else "=" + quote(tenant_id, safe="")
    return "/".join((quote(member, safe=""), surface, tenant, quote(name, safe="")))


def reader(surface: str) -> ReadRow:
    """Reads the rows of this surface, and no other's; what is not the row of its key is none."""

    def row_of(key: str, value: bytes) -> Row | None:
        parts = key.split("/")
        if len(parts) != 4 or parts[1] != surface:
            return None
        try:
            row = _DECODE(value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        name = _key(unquote(parts[0]), surface, row.tenant_id, row.aggregate_id)
        return row if name == key and is_bounded(row) else None

    return row_of


class _Said(msgspec.Struct):
    """A row as its source gave it, as it is told, and what of it is in the store."""

    given: Row
    row: Row
    digest: str
    ttl_ms: int
    written: str = ""  # its digest
    at: int = 0


class _From(msgspec.Struct, frozen=True):
    surface: str
    source: Source
    shared: bool
    ttl_ms: int


class Conditions:
    """What this process says. `run` is a task; `clear` takes all back."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        member: Callable[[], str],
        clean: Callable[[Row], Row] = lambda row: row,
    ) -> None:
        """`clean` takes out of a row what nobody may read, before it is written."""
        self.dropped = 0
        self.failures = 0
        self._store, self._clock, self._member, self._clean = store, clock, member, clean
        self._sources: list[_From] = []  # bounded: by the parts of this process
        self._said: dict[str, _Said] = {}  # by key; bounded: ROWS_MAX

    def add(self, surface: str, source: Source, *, shared: bool = True, ttl_ms: int = TTL_MS) -> None:
        """What this source says. A row without a name is this process's own; `shared`: others may say something of the same.

        Those are named `<aggregate>@<process>`.
        """
        self._sources.append(_From(surface, source, shared, ttl_ms))

    async def run(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_MS / 1000)

    async def look(self) -> int:
        """Ask everybody once, and write what is new or due; how many writes there were."""
        there = self._asked()
        gone = [key for key in self._said if key not in there]
        now = self._clock.now()
        due = [key for key in there if self._is_due(self._said[key], now)]
        todo = [*((self._write, key) for key in due), *((self._take_back, key) for key in gone)]
        for start in range(0, len(todo), AT_ONCE):
            # Each is waited for, so that none is still under way when it is tried again.
            tried = await asyncio.gather(*(map(self._tried, todo[start : start + AT_ONCE])))
            if not all(tried):
                break
        return len(due) + len(gone)

    async def _tried(self, one: tuple[Callable[[str], Awaitable[None]], str]) -> bool:
        """Do it, if the store takes it; False where it takes no other either."""
        what, key = one
        try:
            await what(key)
        except (RsppError, OSError) as error:
            self.failures += 1  # said again at the next look
            log.info("a condition is not said: %s", type(error).__name__)
            return isinstance(error, MisuseError)  # a name that no store takes: others have another
        return True

    async def clear(self) -> None:
        """This process says nothing any more; what cannot be taken back now expires."""
        self._sources.clear()
        try:
            async with asyncio.timeout(CLEAR_S):
                await self.look()
        except TimeoutError:
            log.info("conditions are left to expire")

    def _asked(self) -> set[str]:
        member, found = self._member(), set[str]()
        for one in self._sources:
            for given in self._given(one):
                name = given.aggregate_id
                name = (f"{name}@{member}" if one.shared else name) if name else member
                key = _key(member, one.surface, given.tenant_id, name)
                known = self._said.get(key)
                if known is None and len(self._said) >= ROWS_MAX:
                    self.dropped += 1
                    continue
                found.add(key)
                if known is None:
                    row = self._told(given, name, member, None)
                    self._said[key] = _Said(given, row, row.digest(), one.ttl_ms)
                elif known.given is not given:
                    known.given, known.row = given, self._told(given, name, member, known.row)
                    known.digest = known.row.digest()
        return found

    def _given(self, one: _From) -> list[Row]:
        """What this source says; one that fails says nothing, and keeps nobody else from being heard."""
        try:
            return list(one.source())
        except Exception:  # supervised: a defect of one part
            self.failures += 1
            if self.failures == 1:
                log.exception("the conditions of %s cannot be had", one.surface)
            return []

    def _told(self, given: Row, name: str, member: str, before: Row | None) -> Row:
        """With its name, whose word it is, and since when it is so: its source need not know these."""
        as_before = before is not None and (before.state, before.level) == (given.state, given.level)
        since_ms = before.since_ms if before is not None and as_before else self._clock.wall() // NS_PER_MS
        told = msgspec.structs.replace(
            given,
            aggregate_id=name,
            since_ms=given.since_ms or since_ms,
            facts={**given.facts, "worker": cut(member)},
        )
        return self._clean(told)

    def _is_due(self, said: _Said, now: int) -> bool:
        return now - said.at >= said.ttl_ms * NS_PER_MS // 3 or said.written != said.digest

    async def _write(self, key: str) -> None:
        said = self._said[key]
        row, digest, now = said.row, said.digest, self._clock.now()
        await self._store.put(CONDITIONS, key, _ENCODE(row), ttl_ms=said.ttl_ms)
        said.written, said.at = digest, now

    async def _take_back(self, key: str) -> None:
        if self._said[key].written:
            await self._store.delete(CONDITIONS, key)
        del self._said[key]
