"""Rows are filtered, put in order and cut into pages; a place in the order is a text that stays good when rows come and go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest

from rspp.contract.surface import Row
from rspp.server.graphql import types_state


def found(rows: Iterable[Row], *, state: str | None, level: str | None, text: str | None) -> list[Row]:
    """Those that fit everything that was said."""
    wanted = (text or "").casefold()
    return [
        row
        for row in rows
        if state in (None, row.state)
        and level in (None, row.level.value)
        and (not wanted or wanted in _words(row))
    ]


def page_of(surface: str, rows: Sequence[Row], first: int, after: str | None) -> types_state.RowPage:
    """The rows after a place, so many at most; `total` is of all pages."""
    left = rows if after is None else [row for row in rows if place(row) > after]
    page = nsmallest(first, left, key=place)
    return types_state.RowPage(
        items=[shown(surface, row) for row in page],
        next=place(page[-1]) if len(left) > first else None,
        total=len(rows),
    )


def place(row: Row) -> str:
    """Where the row stands among all of its surface."""
    return f"{row.tenant_id or ''}/{row.aggregate_id}"


def shown(surface: str, row: Row) -> types_state.Row:
    return types_state.Row(
        surface=surface,
        aggregate_id=row.aggregate_id,
        tenant=row.tenant_id,
        state=row.state,
        level=types_state.LevelWord(row.level.value),
        reason=row.reason,
        message=row.message,
        since_ms=row.since_ms,
        over=row.over,
        facts=row.facts,  # type: ignore[arg-type]  # a scalar of plain values
    )


def _words(row: Row) -> str:
    """What a text is looked for in."""
    facts = " ".join(str(value) for value in row.facts.values())
    return (
        f"{row.aggregate_id} {row.tenant_id or ''} {row.state} {row.reason} {row.message} {facts}".casefold()
    )
