"""A view of the fleet has a version and an age, and who is about to act on one that is too old looks again first.

    RoutingView     all places and regions, for whoever opens sessions
    SessionRoute    where one session is: for a transport that is about to move it, or to send its caller somewhere

A view is as old as the moment at which reading it *began*. Watching the store keeps it new in between, but a watch that is
silent says nothing of whether there was nothing to say; so its age counts from the last time that everything was read. When
the store cannot be read and the view is too old, the operation is refused: it does not run on what may be true no more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.control.authority.leases import OVER, Leases
from rspp.control.authority.members import GONE, Fleet, MemberState, Seen
from rspp.control.fleet.places import Place, place_of
from rspp.control.fleet.regions import Region, RegionMode, Regions
from rspp.control.names import MEMBERS
from rspp.host.ports import Clock, Refused, Store

log = logging.getLogger("rspp.control.fleet.routing")

STALE_MS: Final = 5_000
READ_MS_MAX: Final = 2_000
RETRY_MS: Final = 1_000
# Who is silent is looked at so often: many who come at once get the same snapshot, if nothing has changed.
KEPT_MS: Final = 100
# For how long a lost worker counts among its region's.
LOST_MS: Final = 60_000
# Records that are read at once; a store serves them one after the other anyway.
AT_ONCE: Final = 16


class RoutingSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet at one moment of this process's clock. The version rises with every change of a member or a region."""

    version: int
    taken_at: int
    stale_ms: int
    places: tuple[Place, ...]
    regions: Mapping[str, Region]

    @property
    def modes(self) -> dict[str, RegionMode]:
        return {name: region.mode for name, region in self.regions.items()}

    def age_ms(self, now: int) -> int:
        return (now - self.taken_at) // NS_PER_MS

    def is_stale(self, now: int) -> bool:
        return now - self.taken_at > self.stale_ms * NS_PER_MS


class RoutingView:
    """The fleet as this process knows it. `run` keeps it new; without it, whoever asks for an old view waits for a look."""

    def __init__(self, store: Store, clock: Clock, fleet: Fleet, *, stale_ms: int = STALE_MS) -> None:
        if stale_ms <= 0:
            raise MisuseError("value_invalid", "a view is stale after some time, not at once")
        self.stale_ms = stale_ms
        self.refreshes = 0
        self._store = store
        self._clock = clock
        self._fleet = fleet
        self._regions = Regions(store)
        self._switched: dict[str, tuple[Region, int]] = {}  # bounded: by the regions of the store
        self._taken_at: int | None = None
        self._kept: tuple[tuple[int, int, int], int, RoutingSnapshot] | None = None
        self._turn = asyncio.Lock()

    def peek(self) -> RoutingSnapshot | None:
        """What is known, however old; None before the first look."""
        if self._taken_at is None:
            return None
        now = self._clock.now()
        # A revision rises over its whole bucket, so what was written last has the largest.
        newest = max((one.revision for one in self._fleet.seen.values()), default=0)
        turned = max((revision for _, revision in self._switched.values()), default=0)
        what, kept = (newest, turned, self._taken_at), self._kept
        if kept is None or kept[0] != what or now - kept[1] >= KEPT_MS * NS_PER_MS:
            seen = [one for one in self._fleet.seen.values() if one.member.kind == "worker"]
            snapshot = RoutingSnapshot(
                version=max(1, newest + turned),
                taken_at=self._taken_at,
                stale_ms=self.stale_ms,
                places=tuple(place_of(one, now) for one in seen if _counts(one, now)),
                regions={name: region for name, (region, _) in self._switched.items()},
            )
            kept = self._kept = (what, now, snapshot)
        return kept[2]

    async def current(self) -> RoutingSnapshot:
        """A view that is not stale, looked up first if need be; raises `Refused` when there is none to be had."""
        known = self.peek()
        if known is not None and not known.is_stale(self._clock.now()):
            return known
        async with self._turn:
            known = self.peek()
            if known is None or known.is_stale(self._clock.now()):  # nobody has looked while we waited
                await self._refresh()
        known = self.peek()
        assert known is not None
        return known

    async def refresh(self) -> None:
        """Read everything now; raises `Refused` if that cannot be done."""
        async with self._turn:
            await self._refresh()

    async def run(self) -> None:
        """Look well before the view is stale, and hear of regions at once."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch_regions(), name="routing:regions")
            while True:
                try:
                    await self.refresh()
                except Refused as error:
                    log.warning("the fleet could not be read: %s", error.message)
                await asyncio.sleep(self.stale_ms / 3000)

    async def _watch_regions(self) -> None:
        while True:
            try:
                async for switched in self._regions.watch():
                    self._turned(switched.region, switched.revision)
            except (RsppError, OSError) as error:
                log.warning("regions could not be watched: %s", type(error).__name__)
            await asyncio.sleep(RETRY_MS / 1000)

    async def _refresh(self) -> None:
        began = self._clock.now()
        try:
            async with asyncio.timeout(READ_MS_MAX / 1000):
                names = await self._store.keys(MEMBERS)
                for start in range(0, len(names), AT_ONCE):
                    lot = names[start : start + AT_ONCE]
                    for entry in await asyncio.gather(*(self._store.get(MEMBERS, name) for name in lot)):
                        if entry is not None:
                            self._fleet.take(entry)
                regions = await self._regions.list()
        except (RsppError, OSError, TimeoutError) as error:
            raise _unknown("the fleet", error) from error
        for switched in regions.values():
            self._turned(switched.region, switched.revision)
        self._taken_at = began
        self.refreshes += 1

    def _turned(self, region: Region, revision: int) -> None:
        """What is older than what is known changes nothing."""
        if revision > self._switched.get(region.name, (region, 0))[1]:
            self._switched[region.name] = (region, revision)


def _counts(seen: Seen, now: int) -> bool:
    """Who is there; and who was lost just now, for a region that has lost its workers is in trouble."""
    lost = seen.member.state is MemberState.LOST
    return seen.member.state not in GONE or (lost and now - seen.at <= LOST_MS * NS_PER_MS)


# ---- one session ------------------------------------------------------------------------------------------------------


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session is. `version` is its lease's revision in the store; `epoch` that of its owner."""

    tenant_id: str
    session_id: str
    member_id: str
    endpoint: str
    region: str
    epoch: int
    version: int
    taken_at: int
    stale_ms: int = STALE_MS

    def is_stale(self, now: int) -> bool:
        return now - self.taken_at > self.stale_ms * NS_PER_MS


Look = Callable[[], Awaitable[Route]]


class SessionRoute:
    """One session's route, as its transport knows it. It goes forward only."""

    def __init__(self, route: Route, clock: Clock, look: Look) -> None:
        self.route = _checked(route)
        self._clock = clock
        self._look = look

    def take(self, route: Route) -> bool:
        """A newer route, or the same one seen again; raises `PeerFault` for one of the past. True if something changed."""
        known = self.route
        _checked(route)
        if (route.tenant_id, route.session_id) != (known.tenant_id, known.session_id):
            raise PeerFault("route_other_session", "a route of another session")
        if route.epoch < known.epoch:
            raise PeerFault("authority_epoch_mismatch", f"a route of epoch {route.epoch} after {known.epoch}")
        if route.version < known.version:
            raise PeerFault("route_outdated", f"a route of version {route.version} after {known.version}")
        same = _content(route) == _content(known)
        if route.version == known.version and not same:
            raise PeerFault("route_outdated", f"two different routes of version {route.version}")
        if route.taken_at > known.taken_at or not same:
            self.route = route
        return not same

    async def for_operation(self, name: str) -> Route:
        """The route to act on: looked up first when it is stale. Raises `Refused` if it cannot be, or has gone backwards."""
        if self.route.is_stale(self._clock.now()):
            try:
                async with asyncio.timeout(READ_MS_MAX / 1000):
                    self.take(await self._look())
            except Refused:
                raise
            except (RsppError, OSError, TimeoutError) as error:
                raise _unknown(f"the route for {name}", error) from error
        return self.route


async def look_up(
    leases: Leases, fleet: Fleet, clock: Clock, tenant_id: str, session_id: str, stale_ms: int = STALE_MS
) -> Route:
    """Where the store says that a session is; raises `Refused` if it is nowhere."""
    began = clock.now()
    held = await leases.get(tenant_id, session_id)
    if held is None or held.lease.state in OVER:
        raise Refused("session_unknown", "no such session runs")
    owner = fleet.get(held.lease.owner)
    if owner is None:
        raise Refused("route_no_workers", "the session's owner is not known here", RETRY_MS)
    return Route(
        tenant_id=tenant_id,
        session_id=session_id,
        member_id=held.lease.owner,
        endpoint=owner.member.endpoint or owner.member.shared_endpoint,
        region=owner.member.region,
        epoch=held.epoch,
        version=held.revision,
        taken_at=began,
        stale_ms=stale_ms,
    )


def _content(route: Route) -> Route:
    return msgspec.structs.replace(route, taken_at=0, stale_ms=0)


def _checked(route: Route) -> Route:
    if route.version < 1 or route.epoch < 0 or route.stale_ms <= 0 or not route.endpoint:
        raise PeerFault(
            "route_malformed", "a route has a version from 1, an epoch from 0, a bound and an endpoint"
        )
    return route


def _unknown(what: str, error: BaseException) -> Refused:
    return Refused(
        "routing_view_stale", f"{what} is too long ago, and cannot be read: {type(error).__name__}", RETRY_MS
    )
