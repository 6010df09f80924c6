"""The audit logs of all processes as one list, newest first, read from its end: an old log costs nothing to look at."""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.control.security.audit import ALLOW, DONE, FAILED, INTENT, AuditEntry
from rspp.host.ports import Store
from rspp.timeline.audit import PREFIX, UNREADABLE, AuditFault, AuditRecord, heads

PAGE_MAX: Final = 1_000
CHUNK: Final = 256
# Records that one page looks at; with a rare filter a page may be empty and still have a next one.
LOOKED_AT_MAX: Final = 20_000
_DECODE: Final = msgspec.json.Decoder(AuditRecord).decode

# A record's place in the list, smallest first: when and which number, both negated, and whose log.
Position = tuple[int, str, int]


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records; what is not said is not asked for. Times are from `since_ms` up to, but without, `until_ms`."""

    tenant_id: str | None = None
    principal_id: str | None = None
    action: str | None = None
    decision: str | None = None
    since_ms: int = 0
    until_ms: int | None = None
    limit: int = 100
    after: str | None = None  # the `next` of the page before

    def takes(self, record: AuditRecord) -> bool:
        asked = (
            (self.tenant_id, record.tenant_id),
            (self.principal_id, record.principal_id),
            (self.action, record.action),
            (self.decision, record.decision),
        )
        in_time = self.until_ms is None or record.at_wall_ms < self.until_ms
        return in_time and all(want is None or want == has for want, has in asked)


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    entries: tuple[AuditEntry, ...]
    next: str | None = None  # None: there is no more


async def page(store: Store, query: AuditQuery) -> AuditPage:
    """The newest records that the query takes. Raises AuditFault where a log cannot be read."""
    if not 0 < query.limit <= PAGE_MAX:
        raise MisuseError("value_invalid", f"a page has 1 to {PAGE_MAX} records", "limit")
    before = None if query.after is None else _position(query.after)
    found: list[AuditEntry] = []
    looked_at = 0
    async for position, entry in _newest_first(store):
        if entry.record.at_wall_ms < query.since_ms:
            break
        if before is not None and position <= before:
            continue
        looked_at += 1
        if query.takes(entry.record):
            found.append(entry)
        if len(found) == query.limit or looked_at == LOOKED_AT_MAX:
            return AuditPage(entries=tuple(found), next=_text(position))
    return AuditPage(entries=tuple(found))


async def unsettled(store: Store, since_ms: int, until_ms: int) -> list[AuditEntry]:
    """Changes that were begun in this time, and of which no end is on record: looked up by hand, oldest first."""
    ended: set[str] = set()
    open_ones: list[AuditEntry] = []
    async for _, entry in _newest_first(store):
        record = entry.record
        if record.at_wall_ms < since_ms:
            break
        if record.decision in (DONE, FAILED) and INTENT in record.facts:
            ended.add(record.facts[INTENT])
        elif record.decision == ALLOW and record.at_wall_ms < until_ms:
            open_ones.append(entry)
    # Looked up when all are seen: of one millisecond the end may come before its beginning, in another log.
    return [entry for entry in open_ones[::-1] if entry.place not in ended]


async def _newest_first(store: Store) -> AsyncIterator[tuple[Position, AuditEntry]]:
    """All logs merged by time. In each, time does not go back (`Audit` sees to it)."""
    logs = [_Backwards(store, writer, head.count) for writer, head in (await heads(store)).items()]
    heap: list[tuple[Position, int, AuditEntry]] = []  # bounded: one a log
    for number, log in enumerate(logs):
        await _push(heap, number, log)
    while heap:
        position, number, entry = heapq.heappop(heap)
        yield position, entry
        await _push(heap, number, logs[number])


async def _push(heap: list[tuple[Position, int, AuditEntry]], number: int, log: _Backwards) -> None:
    entry = await log.next()
    if entry is not None:
        heapq.heappush(heap, ((-entry.record.at_wall_ms, entry.writer, -entry.record.number), number, entry))


class _Backwards:
    """One log from its end, in lots. The store numbers records at least as high as they number themselves."""

    def __init__(self, store: Store, writer: str, count: int) -> None:
        self._store = store
        self._writer = writer
        self._through: int | None = None  # the first lot goes to the end: a head may be one record behind
        self._start = max(0, count - CHUNK)
        self._lot: list[AuditEntry] = []  # bounded: CHUNK, and what was appended since the head was read

    async def next(self) -> AuditEntry | None:
        if not self._lot and self._through != 0:
            await self._fill()
        return self._lot.pop() if self._lot else None

    async def _fill(self) -> None:
        async for number, data in self._store.read(PREFIX + self._writer, self._start):
            try:
                record = _DECODE(data)
            except UNREADABLE as error:
                place = f"{PREFIX}{self._writer}[{number}]"
                raise AuditFault("audit_chain_broken", "a record cannot be read", place) from error
            if self._through is not None and record.number > self._through:
                break
            if record.number > self._start:
                self._lot.append(AuditEntry(writer=self._writer, record=record))
        self._through, self._start = self._start, max(0, self._start - CHUNK)


def _text(position: Position) -> str:
    at, writer, number = position
    return f"{-at}:{-number}:{writer}"


def _position(text: str) -> Position:
    at, _, rest = text.partition(":")
    number, _, writer = rest.partition(":")
    if not (at.isdecimal() and number.isdecimal() and writer and len(text) < 1_000):
        raise MisuseError("value_invalid", "this is not where a page ended", "after")
    return -int(at), writer, -int(number)
