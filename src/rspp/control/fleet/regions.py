"""A region is a label of workers with one switch: who may come in, and what becomes of those who are there.

    open      takes sessions
    drain     takes none; those that it has are finished there
    migrate   takes none; those that it has go on elsewhere, under the same name
    closed    takes none and has none: whoever is still there is finished

The switch is a record of the store, changed by compare-and-set, with who turned it and why. A region that nobody has said
anything about is open. `pinned` keeps automatic failover from touching it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control.authority.members import Member, MemberState
from rspp.control.names import CONFIG, key, parts
from rspp.host.ports import Entry, Store

KIND: Final = "region"
REASON_CHARACTERS_MAX: Final = 512
PREFIX: Final = f"{KIND}/"


class RegionMode(StrEnum):
    OPEN = "open"
    DRAIN = "drain"
    MIGRATE = "migrate"
    CLOSED = "closed"


class Wanted(StrEnum):
    """What a worker is to do with the sessions that it has."""

    SERVE = "serve"
    DRAIN = "drain"
    MIGRATE = "migrate"


class Region(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One region's switch, as it is in the store."""

    name: str
    mode: RegionMode = RegionMode.OPEN
    reason: str = ""
    author: str = ""
    at_wall_ms: int = 0
    automatic: bool = False  # failover turned it, and may turn it back
    pinned: bool = False  # failover leaves it alone
    incident: str = ""  # what is wrong with the region itself, as somebody has reported it
    facts: dict[str, str] = {}  # what was measured when failover turned it


class Switched(msgspec.Struct, frozen=True):
    """A region as it is in the store; revision 0 is one that nobody has said anything about."""

    region: Region
    revision: int


_DECODE: Final = msgspec.json.Decoder(Region).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def wanted(mode: RegionMode, state: MemberState) -> Wanted:
    """What a worker of a region is to do. One that stops for itself finishes what it has, unless its region is left at once."""
    if mode is RegionMode.MIGRATE:
        return Wanted.MIGRATE
    if mode is RegionMode.OPEN and state is MemberState.UP:
        return Wanted.SERVE
    return Wanted.DRAIN


def wanted_of(regions: Mapping[str, Region], member: Member) -> Wanted:
    """The same for a member, from all regions that are known."""
    region = regions.get(member.region)
    return wanted(region.mode if region is not None else RegionMode.OPEN, member.state)


def region_of(entry: Entry) -> Region:
    """A region's record. One that cannot be read is closed: what was meant is not known, and its neighbours are there."""
    name = parts(entry.key)[-1]
    try:
        region = _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        region = None
    if region is None or region.name != name:
        return Region(name=name, mode=RegionMode.CLOSED, reason="region_unreadable", pinned=True)
    return region


def row_of(key: str, value: bytes) -> Row | None:
    """A region's switch as an operator sees it; one that cannot be read is closed, as `region_of` has it."""
    region = region_of(Entry(key, value, 0))
    shut = region.mode is not RegionMode.OPEN
    level, reason, message = Level.OK, "", ""
    if shut:
        level = Level.DEGRADED if region.automatic or region.reason == "region_unreadable" else Level.NOTICE
        reason, message = "region_shut", cut(f"{region.name} takes nobody ({region.mode}): {region.reason}")
    elif region.incident:
        level, reason = Level.NOTICE, "region_incident"
        message = cut(f"something is wrong in {region.name}: {region.incident}")
    return Row(
        aggregate_id=region.name,
        state=region.mode.value,
        level=level,
        reason=reason,
        message=message,
        since_ms=region.at_wall_ms,
        facts={
            "region": cut(region.name),
            "author": cut(region.author),
            "because": cut(region.reason),
            "automatic": region.automatic,
            "pinned": region.pinned,
            "incident": cut(region.incident),
        },
    )


SURFACE: Final = Surface(
    name="routing_view",
    owner=__name__,
    summary="Where new sessions are led beside what workers say of themselves: the switch of each region.",
    aggregate_type="region",
    storage=f"kv:{CONFIG}",
    truth=Truth.CANONICAL,
    read="GET /v1/regions",
    affects_health=True,
    affects_actions=True,
    authority=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(CONFIG, PREFIX),
    row=row_of,
)


class Regions:
    """All regions of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, name: str) -> Switched:
        entry = await self._store.get(CONFIG, key(KIND, name))
        return Switched(Region(name=name), 0) if entry is None else Switched(region_of(entry), entry.revision)

    async def list(self) -> dict[str, Switched]:
        """Those that somebody has said something about."""
        found = {}
        for name in await self._store.keys(CONFIG, PREFIX):
            entry = await self._store.get(CONFIG, name)
            if entry is not None:
                region = region_of(entry)
                found[region.name] = Switched(region, entry.revision)
        return found

    async def watch(self) -> AsyncIterator[Switched]:
        async for entry in self._store.watch(CONFIG, PREFIX):
            yield Switched(region_of(entry), entry.revision)

    async def put(self, region: Region, *, expect: int) -> Switched:
        """Turn a switch that is still as it was read; raises `PeerFault` if somebody else was there meanwhile."""
        check(region)
        revision = await self._store.put(CONFIG, key(KIND, region.name), _ENCODE(region), expect=expect)
        if revision is None:
            raise PeerFault(
                "revision_conflict", f"region {region.name} was changed by somebody else meanwhile"
            )
        return Switched(region, revision)


def check(region: Region) -> None:
    """Who turns a switch says who they are and why."""
    if not region.author.strip() or not region.reason.strip():
        raise MisuseError("region_unexplained", "a region is changed by somebody, and for a reason")
    if max(len(region.reason), len(region.author), len(region.incident)) > REASON_CHARACTERS_MAX:
        raise MisuseError("region_unexplained", f"a reason has at most {REASON_CHARACTERS_MAX} characters")
