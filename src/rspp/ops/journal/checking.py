"""The whole journal is read again, without trusting anything that was known of it, and each fault is named with its place."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from rspp.host.ports import Entry, Store
from rspp.ops.journal.bounds import PAGE_BYTES_MAX, PAGE_RECORDS_MAX, PROBLEMS_MAX
from rspp.ops.journal.pages import BUCKET, FORMAT, KEPT, TAIL, page_key
from rspp.ops.journal.record import faults_of, unlike_surface
from rspp.ops.surfaces import Surfaces

SheetT = TypeVar("SheetT")
# How often a reading begins again because compaction, or a deletion, has taken away what was to be read.
TRIES_MAX: Final = 8


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One fault. `sequence` is 0 where it is not of one record; `place` is the key under which it lies."""

    sequence: int
    field: str
    code: str
    message: str
    place: str


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and what is wrong with it; of more than PROBLEMS_MAX problems only the number is told."""

    records: int
    oldest: int
    last: int
    problems: tuple[Problem, ...]
    problems_count: int

    @property
    def sound(self) -> bool:
        return self.problems_count == 0


class _Sheet(msgspec.Struct, frozen=True):
    """A page as far as its form goes; its records may be anything."""

    format: int
    birth: str
    index: int
    origin: int
    first: int
    next: int
    records: list[Any]


class _Left(msgspec.Struct, frozen=True):
    format: int
    birth: str
    through: int
    page_first: int
    forgotten: int
    records: list[Any]


class _MovedError(Exception):
    """What was being read is not the journal any more."""


async def validate(store: Store, surfaces: Surfaces) -> Validation:
    for _ in range(TRIES_MAX - 1):
        try:
            return await _Reading(store, surfaces, patient=True).done()
        except _MovedError:
            continue
    return await _Reading(store, surfaces, patient=False).done()


class _Reading:
    """One reading of everything."""

    def __init__(self, store: Store, surfaces: Surfaces, *, patient: bool) -> None:
        self._store, self._surfaces, self._patient = store, surfaces, patient
        self._problems: list[Problem] = []  # bounded: PROBLEMS_MAX
        self._count = 0
        self._records = 0
        self._events: dict[str, int] = {}  # bounded: by the journal

    async def done(self) -> Validation:
        found = await self._store.get(BUCKET, TAIL)
        if found is None:
            return self._told(1, 0)
        tail = self._decoded(found, _Sheet)
        if tail is None:
            return self._told(1, 0)
        kept = await self._store.get(BUCKET, KEPT)
        left = None if kept is None else self._decoded(kept, _Left)
        if left is not None and left.birth != tail.birth:
            left = None  # of a journal that was deleted
        if left is not None and left.page_first > tail.index and self._patient:
            raise _MovedError  # the tail was read long before it
        through, first = (tail.origin, 0) if left is None else (left.through, left.page_first)
        if left is not None:
            self._left(left)
        expected = through + 1
        for index in range(first, tail.index):
            expected = await self._page(tail.birth, index, expected, kept)
        self._sheet(TAIL, found, tail, tail.index, tail.birth, expected)
        return self._told(through + 1, tail.next - 1)

    async def _page(self, birth: str, index: int, expected: int, kept: Entry | None) -> int:
        key = page_key(birth, index)
        found = await self._store.get(BUCKET, key)
        if found is None:
            if self._patient and await self._moved(birth, kept):
                raise _MovedError
            self._tell(expected, "", "page_missing", "this page is not there, and was not compacted", key)
            return 0
        sheet = self._decoded(found, _Sheet)
        await asyncio.sleep(0)  # others are served between two pages
        return 0 if sheet is None else self._sheet(key, found, sheet, index, birth, expected)

    async def _moved(self, birth: str, kept: Entry | None) -> bool:
        now = await self._store.get(BUCKET, KEPT)
        if (now and now.revision) != (kept and kept.revision):
            return True
        tail = await self._store.get(BUCKET, TAIL)
        sheet = None if tail is None else self._decoded(tail, _Sheet)
        return sheet is None or sheet.birth != birth

    def _left(self, left: _Left) -> None:
        before = 0
        for record in left.records:
            sequence = self._record(record, KEPT)
            if not before < sequence <= left.through:
                self._tell(
                    sequence, "sequence", "sequence_wrong", "it does not rise, or is not compacted", KEPT
                )
            before = sequence

    def _sheet(self, key: str, found: Entry, sheet: _Sheet, index: int, birth: str, expected: int) -> int:
        """One page; what number is to come behind it. `expected` 0: the page before could not be read."""
        if sheet.format != FORMAT or sheet.index != index or sheet.birth != birth:
            self._tell(0, "", "page_invalid", "this page says that it is another one", key)
        if len(sheet.records) > PAGE_RECORDS_MAX or len(found.value) > PAGE_BYTES_MAX:
            message = f"{len(sheet.records)} records, {len(found.value)} bytes"
            self._tell(0, "", "page_too_large", message, key)
        if expected not in (0, sheet.first):
            self._tell(sheet.first, "sequence", "sequence_gap", f"the page before ends below {expected}", key)
        if sheet.next - sheet.first != len(sheet.records):
            self._tell(sheet.first, "sequence", "sequence_gap", "it has not as many records as numbers", key)
        for place, record in enumerate(sheet.records):
            sequence = self._record(record, key)
            if sequence != sheet.first + place:
                message = f"{sheet.first + place} is to be here"
                self._tell(sequence, "sequence", "sequence_wrong", message, key)
        return sheet.next

    def _record(self, record: Any, key: str) -> int:
        self._records += 1
        said = record if isinstance(record, Mapping) else {}
        sequence = said.get("sequence")
        sequence = sequence if isinstance(sequence, int) and not isinstance(sequence, bool) else 0
        for fault in faults_of(record):
            self._tell(sequence, fault.field, fault.code, fault.message, key)
        if said:
            for fault in unlike_surface(said, self._surfaces):
                self._tell(sequence, fault.field, fault.code, fault.message, key)
        event = said.get("event_id")
        if isinstance(event, str):
            if event in self._events:
                message = f"the record {self._events[event]} has the same"
                self._tell(sequence, "event_id", "event_id_twice", message, key)
            self._events.setdefault(event, sequence)
        return sequence

    def _decoded(self, entry: Entry, kind: type[SheetT]) -> SheetT | None:
        try:
            return msgspec.msgpack.decode(entry.value, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self._tell(0, "", "page_unreadable", "this is no page of this version", entry.key)
            return None

    def _tell(self, sequence: int, field: str, code: str, message: str, place: str) -> None:
        self._count += 1
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(
                Problem(sequence=sequence, field=field, code=code, message=message, place=place)
            )

    def _told(self, oldest: int, last: int) -> Validation:
        return Validation(
            records=self._records,
            oldest=oldest,
            last=last,
            problems=tuple(self._problems),
            problems_count=self._count,
        )
