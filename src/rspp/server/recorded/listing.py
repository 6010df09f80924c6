"""The sessions of all tenants that somebody may see, newest first: those that run, as they are told, and those that are recorded.

Entries of recordings are read at most every `LIST_MS`, once for everybody who asks meanwhile, and no more of the time than a
tenth is spent on it, however many there are. The newest `ENTRIES_MAX` of a tenant are kept. What a running process has not exported yet is known by its state, not from its files.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from heapq import nlargest, nsmallest
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.surface import Row
from rspp.contract.words import ConnectionState
from rspp.control.fleet.status import SessionWord, Status
from rspp.host.ports import Clock
from rspp.server.recorded.places import Places
from rspp.server.recorded.words import SessionItem, SessionPage
from rspp.timeline.catalogue import Catalogued

LIST_MS: Final = 2_000
# Reading took so long; for so many times as long what was read will do.
PAUSE_TIMES: Final = 9
ENTRIES_MAX: Final = 10_000
TENANTS_MAX: Final = 64
PAGE_MAX: Final = 1_000
# How it ended is not in the recording, and nobody says that it goes on.
CUT_OFF: Final = "its end is not recorded"


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sessions; what is None does not matter."""

    tenant: str | None = None
    state: str | None = None
    pipeline: str | None = None
    worker: str | None = None
    text: str | None = None

    def matches(self, item: SessionItem) -> bool:
        return (
            self.tenant in (None, item.tenant)
            and self.state in (None, item.state)
            and (self.pipeline is None or self.pipeline in (item.pipeline, pipeline_of(item.pipeline)))
            and self.worker in (None, item.owner)
            and (self.text is None or self.text.lower() in f"{item.id} {item.tenant} {item.pipeline}".lower())
        )


def pipeline_of(ref: str) -> str:
    """`front-desk` of `graph/front-desk@v3+policy/...`."""
    return ref.removeprefix("graph/").partition("@")[0]


def item_of_row(row: Row, *, recorded: bool = False) -> SessionItem:
    """A session by its row of the surface `sessions`."""
    facts = row.facts
    missing = str(facts.get("missing", ""))
    return SessionItem(
        tenant=row.tenant_id or "",
        id=row.aggregate_id,
        state=row.state,
        since_ms=float(row.since_ms),
        opened_ms=float(facts.get("opened_ms", 0)),
        epoch=float(facts.get("epoch", 0)),
        owner=str(facts.get("owner", "")),
        region=str(facts.get("region", "")),
        pipeline=str(facts.get("pipeline", "")),
        turns=int(facts.get("turns", 0)),
        line=str(facts.get("line", "")),
        missing=missing.split(", ") if missing else [],
        reason=str(facts.get("because", "")),
        recorded=recorded,
    )


def item_of_status(status: Status, *, recorded: bool = False) -> SessionItem:
    return SessionItem(
        tenant=status.tenant,
        id=status.session,
        state=status.state.value,
        since_ms=float(status.since_ms),
        opened_ms=float(status.opened_ms),
        epoch=float(status.epoch),
        owner=status.owner,
        region=status.region,
        pipeline=status.pipeline,
        turns=status.turns,
        line=status.line,
        missing=list(status.missing),
        reason=status.reason,
        recorded=recorded,
    )


def item_of_entry(entry: Catalogued, *, live: bool = False) -> SessionItem:
    """A session of which nothing but a recording is known. `live`: the process that writes it is there."""
    over = not entry.running or not live
    word = SessionWord.RUNNING if entry.turns else SessionWord.CONNECTED
    since_ms = entry.ended_wall_ms if over and entry.ended_wall_ms else entry.opened_wall_ms
    return SessionItem(
        tenant=entry.tenant_id,
        id=entry.session_id,
        state=(SessionWord.ENDED if over else word).value,
        since_ms=float(since_ms),
        opened_ms=float(entry.opened_wall_ms),
        owner=entry.place,
        pipeline=f"{entry.pipeline}@{entry.version}" if entry.pipeline else "",
        turns=entry.turns,
        line=(ConnectionState.ENDED if over else ConnectionState.CONNECTED).value,
        reason=entry.end_reason or (CUT_OFF if over and entry.running else ""),
        recorded=True,
    )


class Listing:
    """What is recorded, for lists."""

    def __init__(self, places: Places, clock: Clock) -> None:
        self._places, self._clock = places, clock
        # Of one tenant, or of all (None): until when it will do, and what was read; bounded: TENANTS_MAX, the one asked longest ago goes.
        self._read: OrderedDict[str | None, tuple[int, list[SessionItem]]] = OrderedDict()
        self._turn = asyncio.Lock()

    async def entries(self, tenant: str | None) -> list[SessionItem]:
        """Every recorded session of a tenant, or of all; as of `LIST_MS` ago, or longer where reading takes long."""
        async with self._turn:
            known = self._read.get(tenant)
            began = self._clock.now()
            if known is None or began >= known[0]:
                items = await self._entries(tenant)
                took = self._clock.now() - began
                known = (began + max(LIST_MS * NS_PER_MS, took + PAUSE_TIMES * took), items)
                self._read[tenant] = known
                while len(self._read) > TENANTS_MAX:
                    self._read.popitem(last=False)
            self._read.move_to_end(tenant)
            return known[1]

    async def _entries(self, tenant: str | None) -> list[SessionItem]:
        found: dict[tuple[str, str], SessionItem] = {}
        wall_ms = self._clock.wall() // NS_PER_MS
        for library in self._places.libraries():
            for entry in await library.entries(tenant):
                item = item_of_entry(entry, live=self._places.is_live(entry, wall_ms))
                before = found.get((item.tenant, item.id))
                if before is None or before.opened_ms <= item.opened_ms:
                    found[item.tenant, item.id] = item
        return nlargest(ENTRIES_MAX, found.values(), key=lambda one: one.opened_ms)


def page_of(
    wanted: Wanted, rows: Iterable[Row], recorded: Sequence[SessionItem], first: int, after: str | None
) -> SessionPage:
    """One page of both together. What runs is told by its row; a recording says only that there is one."""
    items = {(one.tenant, one.id): one for one in recorded}
    for row in rows:
        key = (row.tenant_id or "", row.aggregate_id)
        items[key] = item_of_row(row, recorded=key in items)
    found = list(filter(wanted.matches, items.values()))
    begin = _after(after)
    rest = [one for one in found if _place(one) > begin] if begin is not None else found
    count = max(1, min(first, PAGE_MAX))
    shown = nsmallest(count, rest, key=_place)
    return SessionPage(items=shown, next=_token(shown[-1]) if len(rest) > count else None, total=len(found))


Place = tuple[float, str, str]


def _place(item: SessionItem) -> Place:
    """Newest first."""
    return (-item.opened_ms, item.tenant, item.id)


def _token(item: SessionItem) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(_place(item))).decode()


def _after(token: str | None) -> Place | None:
    """The place that a page ended at; one that is none begins at the beginning."""
    if not token:
        return None
    try:
        place: Place = msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=Place)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None
    return place
