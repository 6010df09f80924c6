"""Everything that a console asks of sessions, with the control plane's principal who asks; see the package's own words.

may they know of the session? -> is it there? -> what of its recording may they see? -> read, or as it was read
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Final
from urllib.parse import quote

import msgspec

from rspp.contract.errors import MisuseError, RsppError
from rspp.contract.surface import Row
from rspp.contract.words import RecordingLevel
from rspp.control.fleet.status import Status
from rspp.control.operations.calling import is_known_to
from rspp.control.operations.operation import Denied
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import Permission, Principal, allowed
from rspp.host.meters import Reading
from rspp.server.recorded import job as j
from rspp.server.recorded import resolved
from rspp.server.recorded.children import Children
from rspp.server.recorded.fleet import TurnRate, load_of, providers_of, stages_told
from rspp.server.recorded.listing import Listing, Wanted, item_of_entry, item_of_row, item_of_status, page_of
from rspp.server.recorded.looks import Looks
from rspp.server.recorded.pipelines import Pipelines, modalities
from rspp.server.recorded.places import Placed, Places, part_name
from rspp.server.recorded.rows import RowsWanted
from rspp.server.recorded.rows import page_of as rows_of
from rspp.server.recorded.shelf import Heard, Kept, Shelf
from rspp.server.recorded.withheld import explained, nothing_recorded
from rspp.server.recorded.words import (
    DiffResult,
    Load,
    Pipeline,
    Provider,
    ReplayResult,
    Session,
    SessionItem,
    SessionPage,
    Sound,
    TimelinePage,
)
from rspp.timeline.access import AccessDenied, Grant
from rspp.timeline.prices import Prices

SESSIONS: Final = "sessions"
# What a question may be about; what nobody asked for is not read.
ALL_PARTS: Final = frozenset(
    {"resolved", "transcript", "turns", "evidence", "summary", "sound", "recordedLevel", "withheld"}
)
LOOK_S: Final = 30.0
# The state of a session of which only that something is there can be told.
UNKNOWN: Final = "unknown"
NAME_BYTES_MAX: Final = 512

Rows = Callable[[str], Sequence[Row]]


class _There(msgspec.Struct, frozen=True):
    """A session: how it is told, its recordings, the newest last, and why they could not be had."""

    item: SessionItem | None = None
    runs: list[Placed] = []
    fault: str = ""


class Recorded:
    """What is known of single sessions, of pipelines and of providers. `rows` are those of the state engine, unfiltered."""

    def __init__(
        self,
        plane: ControlPlane,
        places: Places,
        rows: Rows,
        *,
        children: Children | None = None,
        prices: Callable[[], Prices | None] | None = None,
        meters: Callable[[], Reading | None] = lambda: None,
    ) -> None:
        """`prices` is the table that a session's cost is estimated by, or else that of the data folder; `meters` those of calls
        that this process serves itself.
        """
        self.plane, self.places = plane, places
        self._rows = rows
        self.children = children or Children()
        self.shelf = Shelf(self.children, plane.clock, prices or places.prices)
        self._looks = Looks(plane.audit, plane.clock, places.policy)
        self._listing = Listing(places, plane.clock)
        self._pipelines = Pipelines(plane)
        self._meters = meters
        self._rate = TurnRate()

    async def close(self) -> None:
        """End the processes that read, and let go of what was read."""
        await self.shelf.close()
        await self.children.close()
        await self.places.close()

    # ---- sessions --------------------------------------------------------------------------------------------------

    async def sessions(
        self, principal: Principal, wanted: Mapping[str, str | None], first: int, after: str | None
    ) -> SessionPage:
        """Live ones and recorded ones, newest first, of all tenants that the principal may see."""
        asked = Wanted(**{name: value for name, value in wanted.items() if value})
        if asked.tenant is not None and not await self._may(principal, asked.tenant, "sessions"):
            return SessionPage(items=[])
        recorded, rows = await self._listing.entries(asked.tenant), self._rows(SESSIONS)

        def page() -> SessionPage:
            sees = cache(lambda tenant: _sees(principal, tenant))
            seen = [one for one in rows if sees(one.tenant_id)]
            mine = [one for one in recorded if sees(one.tenant)]
            return page_of(asked, seen, mine, first, after)

        # Thousands are put in order: on a thread, so that calls on this loop do not wait for it.
        return await asyncio.to_thread(page)

    async def session(
        self, principal: Principal, tenant: str, session_id: str, parts: Collection[str] = ALL_PARTS
    ) -> Session | None:
        """One session; None for what is not there and what is another tenant's."""
        if not await self._may(principal, tenant, "session"):
            return None
        there = await self._of(tenant, session_id)
        item, runs = there.item, there.runs
        if item is None:
            return None
        if not set(parts) & ALL_PARTS:
            return Session(item=item)
        if not runs:
            known = await self._known_graph(tenant, session_id) if "resolved" in parts else None
            return Session(item=item, resolved=known, withheld=there.fault or nothing_recorded(item))
        try:
            async with asyncio.timeout(LOOK_S):
                grant = await self._ask(principal, runs[-1])
                kept = await self.shelf.view(runs[-1], grant)
                sound = await self._sound(runs[-1], grant, kept) if "sound" in parts else []
        except (RsppError, OSError, TimeoutError) as error:
            return Session(item=item, withheld=_why_not(error))
        view = kept.view
        return Session(
            item=_told(item, view),
            resolved=kept.part("resolved") if "resolved" in parts else None,
            withheld=explained(view, runs, grant, self.plane.wall_ms()),
            transcript=view.transcript,
            turns=view.turns,
            evidence=kept.part("evidence") if "evidence" in parts else [],
            summary=kept.part("summary") if "summary" in parts else None,
            sound=sound,
            recorded_level=view.level,
        )

    async def timeline(
        self, principal: Principal, tenant: str, session_id: str, wanted: Mapping[str, Any]
    ) -> TimelinePage:
        """Some of a session's rows; none where there are none to be seen."""
        if not await self._may(principal, tenant, "timeline"):
            return TimelinePage(items=[])
        found = await self._seen(principal, tenant, session_id)
        if found is None:
            return TimelinePage(items=[])
        _, kept, _ = found
        return await rows_of(kept, msgspec.convert(dict(wanted), RowsWanted))

    async def heard(self, principal: Principal, tenant: str, session_id: str) -> Heard | None:
        """A session's sound, for whoever may hear it; None where there is none for them. Raises AccessDenied."""
        if not await self._may(principal, tenant, "sound"):
            return None
        found = await self._seen(principal, tenant, session_id, told=True)
        if found is None:
            return None
        placed, kept, grant = found
        if not kept.view.has_sound or placed.live:
            return None
        return await self.shelf.sound(placed, grant)

    async def replay(self, principal: Principal, tenant: str, session_id: str) -> ReplayResult | None:
        """A kernel on the recorded inputs; None for what is not there."""
        found = await self._granted(principal, tenant, session_id, "replay")
        if found is None:
            return None
        try:
            return j.REPLAYED(await self.shelf.ask(j.Kind.REPLAY, [found]))
        except (RsppError, OSError) as error:
            return ReplayResult(same=False, message=_why_not(error))

    async def diff(self, principal: Principal, tenant: str, session_id: str, other: str) -> DiffResult | None:
        """Two recordings of one tenant; None if either is not there."""
        one = await self._granted(principal, tenant, session_id, "diff")
        two = await self._granted(principal, tenant, other, "diff")
        if one is None or two is None:
            return None
        try:
            return msgspec.msgpack.decode(await self.shelf.ask(j.Kind.DIFF, [one, two]), type=DiffResult)
        except (RsppError, OSError) as error:
            return DiffResult(same=False, message=_why_not(error))

    # ---- the rest --------------------------------------------------------------------------------------------------

    async def pipelines(self, principal: Principal, tenant: str | None) -> list[Pipeline]:
        """Every published pipeline, at the version that new sessions get; under a tenant's own policies for those who may see them."""
        mine = tenant if tenant and allowed(principal, Permission.POLICIES_READ, tenant) else None
        return await self._pipelines.all(mine)

    async def pipeline(self, principal: Principal, name: str, version: str | None) -> Pipeline | None:
        del principal  # what is published is everybody's to read
        return await self._pipelines.one(name, version)

    async def providers(self, rows: Rows) -> list[Provider]:
        """As the fleet sees them now; what they are asked for is known of the graphs that are served."""
        plane = self.plane
        health = await plane.provider_health()
        now = plane.clock.now()
        reports = {one.provider: plane.board.reports(now, one.provider) for one in health}
        return providers_of(health, reports, modalities(await self._pipelines.served()), rows)

    async def load(self, rows: Rows, tenant: str | None) -> Load:
        wall_ms = self.plane.wall_ms()
        self._rate.take(wall_ms, self._rows(SESSIONS))
        load = load_of(rows, tenant, wall_ms, self._rate, self._meters())
        if load.stages or tenant is not None or not rows("provider_health"):
            return load  # whoever sees no provider is told of none
        return msgspec.structs.replace(load, stages=stages_told(await self.providers(rows)))

    # ---- who and what ----------------------------------------------------------------------------------------------

    async def _may(self, principal: Principal, tenant: str, what: str) -> bool:
        """False for a tenant that the principal has nothing to do with; raises `Denied` for a role that may not."""
        if allowed(principal, Permission.SESSIONS_READ, tenant):
            return True
        about = {"asked_tenant": tenant}
        if not is_known_to(principal, tenant):
            await self.plane.audit.denied(principal.id, f"recorded.{what}", None, "hidden", about)
            return False
        await self.plane.audit.denied(principal.id, f"recorded.{what}", tenant, "denied", {})
        raise Denied(Permission.SESSIONS_READ)

    async def _of(self, tenant: str, session_id: str) -> _There:
        """The session as it is told, by its row or else by its recordings, and these."""
        if not (_can_be_a_name(tenant) and _can_be_a_name(session_id)):
            return _There()
        runs: list[Placed] = []
        fault = ""
        try:
            async with asyncio.timeout(LOOK_S):
                runs = await self.places.runs(tenant, session_id, self.plane.wall_ms())
        except (RsppError, OSError, TimeoutError) as error:
            fault = _why_not(error)
        named = (one for one in self._rows(SESSIONS) if one.aggregate_id == session_id)
        row = next((one for one in named if one.tenant_id == tenant), None)
        if row is not None:
            return _There(item_of_row(row, recorded=bool(runs)), runs, fault)
        status = await self._status(tenant, session_id)
        if status is not None:
            return _There(item_of_status(status, recorded=bool(runs)), runs, fault)
        if not runs:  # where nothing can be read, nobody knows whether there is such a session
            item = SessionItem(tenant=tenant, id=session_id, state=UNKNOWN) if fault else None
            return _There(item, runs, fault)
        item = item_of_entry(runs[-1].found.entry, live=runs[-1].live)
        # Under the name that was asked for, so that what is asked about it next is about the same part.
        return _There(msgspec.structs.replace(item, id=session_id), runs)

    async def _status(self, tenant: str, session_id: str) -> Status | None:
        """What its owner said last, where the rows do not have it; a name that no owner could have is nobody's."""
        try:
            return await self.plane.statuses.get(tenant, session_id)
        except MisuseError:
            return None

    async def _seen(
        self, principal: Principal, tenant: str, session_id: str, *, told: bool = False
    ) -> tuple[Placed, Kept, Grant] | None:
        """The newest recording of a session, as far as the principal sees it; None where there is nothing to be seen.

        `told`: a denial is raised, and not only on record.
        """
        runs = (await self._of(tenant, session_id)).runs
        if not runs:
            return None
        try:
            grant = await self._ask(principal, runs[-1])
        except AccessDenied:
            if told:
                raise
            return None
        return runs[-1], await self.shelf.view(runs[-1], grant), grant

    async def _ask(self, principal: Principal, placed: Placed) -> Grant:
        """By the session's own name, whichever of its recordings is meant."""
        entry = placed.found.entry
        return await self._looks.ask(principal, entry.tenant_id, entry.session_id)

    async def _granted(
        self, principal: Principal, tenant: str, session_id: str, what: str
    ) -> tuple[Placed, Grant] | None:
        """Raises AccessDenied."""
        if not await self._may(principal, tenant, what):
            return None
        runs = (await self._of(tenant, session_id)).runs
        return (runs[-1], await self._ask(principal, runs[-1])) if runs else None

    async def _sound(self, placed: Placed, grant: Grant, kept: Kept) -> list[Sound]:
        if not kept.view.has_sound or placed.live or grant.fidelity is not RecordingLevel.L2:
            return []
        heard = await self.shelf.sound(placed, grant)
        entry = placed.found.entry
        return [
            Sound(
                side=one.side,
                seconds=one.seconds,
                url=sound_url(entry.tenant_id, part_name(placed), one.side),
                peaks=one.peaks,
            )
            for one in heard.sides
        ]

    async def _known_graph(self, tenant: str, session_id: str) -> dict[str, Any] | None:
        """Of a session without a recording here, the graph that its lease names."""
        held = await self.plane.leases.get(tenant, session_id)
        if held is None:
            return None
        try:
            await self.plane.look_at_view()
            graph = await asyncio.to_thread(self.plane.view.graph_for, held.lease.graph_ref)
        except RsppError:
            return None
        return resolved.of_graph(graph, resolved.FROM_REGISTRY)


def sound_url(tenant: str, session_id: str, side: str) -> str:
    return f"/v1/tenants/{quote(tenant, safe='')}/sessions/{quote(session_id, safe='')}/sound/{side}"


def _can_be_a_name(text: str) -> bool:
    try:
        return 0 < len(text.encode()) <= NAME_BYTES_MAX
    except UnicodeEncodeError:
        return False


def _sees(principal: Principal, tenant: str | None) -> bool:
    return allowed(principal, Permission.SESSIONS_READ, tenant)


def _told(item: SessionItem, view: j.View) -> SessionItem:
    """With what the recording knows and nobody else said."""
    return msgspec.structs.replace(
        item,
        pipeline=item.pipeline or view.pipeline,
        epoch=item.epoch or float(view.epoch),
        turns=max(item.turns, len(view.turns)),
    )


def _why_not(error: BaseException) -> str:
    """Why nothing is shown, in one sentence."""
    if isinstance(error, AccessDenied):
        return f"what was recorded is not for you: {error.message}"
    if isinstance(error, RsppError):
        return error.message
    return (
        "it is still being read; look again in a moment"
        if isinstance(error, TimeoutError)
        else "the recordings cannot be read"
    )
