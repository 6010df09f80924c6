"""Health is a pure function of the surfaces' rows: same rows, same health, in whatever order they are given.

    rows  ->  reasons     each row of a surface that counts and is not ok, unless it is over
          ->  surfaces    the worst of a surface's rows; ok without any
          ->  overall     the worst of the surfaces

Worse rows never make it better, and a row more never does. Of each tenant's rows in a surface `REASONS_MAX` reasons are
kept, the worst ones, and how many more there are: one tenant with a thousand broken sessions hides no other's.
`visible_to` is what one reader may see. A tenant's reader sees the health of its own rows, as if there were no others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from rspp.contract.surface import LEVELS, Fact, Level, Row
from rspp.ops.surfaces import Surfaces

# Of one tenant (or the fleet itself) in one surface, and of one surface in what one reader is shown.
REASONS_MAX: Final = 100
# A row that is not ok and does not say why; its owner is at fault.
UNEXPLAINED: Final = "unexplained"

_BADNESS: Final = {level: place for place, level in enumerate(LEVELS)}


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One row that is not ok, with what an action on it has to know."""

    surface: str
    aggregate_id: str
    level: Level
    code: str
    message: str
    tenant_id: str | None = None  # None: the fleet's
    state: str = ""
    since_ms: int = 0
    facts: dict[str, Fact] = {}


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """What is counted of one tenant in one surface: its rows, and its reasons that are not kept."""

    tenant_id: str | None
    rows: int
    more: int


class SurfaceHealth(msgspec.Struct, frozen=True, kw_only=True):
    surface: str
    level: Level
    rows: int
    reasons: tuple[Reason, ...] = ()
    more: int = 0  # reasons that are not listed
    tallies: tuple[Tally, ...] = ()


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How everything is. `sequence` is the journal's last record that it includes; `stale`: the rows may be old."""

    level: Level
    as_of_ms: int
    sequence: int
    stale: bool
    reasons: tuple[Reason, ...] = ()
    surfaces: tuple[SurfaceHealth, ...] = ()
    more: int = 0


def worst(levels: Iterable[Level]) -> Level:
    """The worst of them; ok of none."""
    return max(levels, key=_BADNESS.__getitem__, default=Level.OK)


def is_worse(one: Level, other: Level) -> bool:
    return _BADNESS[one] > _BADNESS[other]


def health_of(
    rows_by_surface: Mapping[str, Sequence[Row]],
    surfaces: Surfaces,
    *,
    as_of_ms: int,
    sequence: int,
    stale: bool,
) -> Health:
    """The health of everything; rows of a surface that is unknown or does not count change nothing."""
    each = [
        _surface(one.name, [row for row in rows_by_surface.get(one.name, ()) if not is_over(row, as_of_ms)])
        for one in surfaces
        if one.affects_health
    ]
    return _whole(each, as_of_ms=as_of_ms, sequence=sequence, stale=stale)


def is_over(row: Row, now_ms: int) -> bool:
    """Has it come to its end, by its own word or by its time?"""
    return row.over or 0 < row.until_ms <= now_ms


def visible_to(health: Health, tenants: Collection[str] | None) -> Health:
    """What a reader of these tenants may see of it; None is a reader of everything. Bounded for a page either way."""
    each = [_seen(one, tenants) for one in health.surfaces]
    return _whole(each, as_of_ms=health.as_of_ms, sequence=health.sequence, stale=health.stale)


def _surface(name: str, rows: Sequence[Row]) -> SurfaceHealth:
    whose: defaultdict[str | None, list[Row]] = defaultdict(list)
    for row in rows:
        whose[row.tenant_id].append(row)
    reasons: list[Reason] = []
    tallies: list[Tally] = []
    for tenant_id in sorted(whose, key=_tenant_place):
        theirs = [_reason(name, row) for row in whose[tenant_id] if row.level is not Level.OK]
        if len({one.aggregate_id for one in theirs}) < len(theirs):
            theirs.sort(key=_twins_place)
        theirs.sort(key=_place)
        more = max(0, len(theirs) - REASONS_MAX)
        reasons += theirs[:REASONS_MAX]
        tallies.append(Tally(tenant_id=tenant_id, rows=len(whose[tenant_id]), more=more))
    return _surface_of(name, reasons, tallies)


def _surface_of(name: str, reasons: Iterable[Reason], tallies: Sequence[Tally]) -> SurfaceHealth:
    listed = tuple(sorted(reasons, key=_place))
    return SurfaceHealth(
        surface=name,
        level=worst(one.level for one in listed),
        rows=sum(one.rows for one in tallies),
        reasons=listed,
        more=sum(one.more for one in tallies),
        tallies=tuple(tallies),
    )


def _seen(whole: SurfaceHealth, tenants: Collection[str] | None) -> SurfaceHealth:
    theirs = whole
    if tenants is not None:
        theirs = _surface_of(
            whole.surface,
            (one for one in whole.reasons if one.tenant_id in tenants),
            [one for one in whole.tallies if one.tenant_id in tenants],
        )
    cut = max(0, len(theirs.reasons) - REASONS_MAX)
    return msgspec.structs.replace(
        theirs, reasons=theirs.reasons[:REASONS_MAX], more=theirs.more + cut, tallies=()
    )


def _whole(each: Iterable[SurfaceHealth], *, as_of_ms: int, sequence: int, stale: bool) -> Health:
    ordered = tuple(sorted(each, key=lambda one: (-_BADNESS[one.level], one.surface)))
    return Health(
        level=worst(one.level for one in ordered),
        as_of_ms=as_of_ms,
        sequence=sequence,
        stale=stale,
        reasons=tuple(sorted((reason for one in ordered for reason in one.reasons), key=_place)),
        surfaces=ordered,
        more=sum(one.more for one in ordered),
    )


def _reason(surface: str, row: Row) -> Reason:
    return Reason(
        surface=surface,
        aggregate_id=row.aggregate_id,
        level=row.level,
        code=row.reason or UNEXPLAINED,
        message=row.message,
        tenant_id=row.tenant_id,
        state=row.state,
        since_ms=row.since_ms,
        facts=row.facts,
    )


def _place(reason: Reason) -> tuple[int, str, str, tuple[bool, str]]:
    """Worst first, then by name."""
    return -_BADNESS[reason.level], reason.surface, reason.aggregate_id, _tenant_place(reason.tenant_id)


def _twins_place(reason: Reason) -> tuple[str, str, str, bytes, int]:
    """Of two rows with one name, which should not be there, neither may be first by chance."""
    facts = msgspec.json.encode(reason.facts, order="deterministic")
    return reason.code, reason.state, reason.message, facts, reason.since_ms


def _tenant_place(tenant_id: str | None) -> tuple[bool, str]:
    return tenant_id is not None, tenant_id or ""
