"""`rspp runtime state-journal`: what has changed, in order; the newest, or from a number on, or as it comes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from typing import Any, Final

import click
import msgspec

from rspp.cli.output import emit_json, print_table, visible
from rspp.cli.runtime.looking import Place, command_of, looking_options, on_server, on_store, place_of
from rspp.ops.journal.bounds import LIMIT_DEFAULT, LIMIT_MAX
from rspp.ops.journal.following import Compacted
from rspp.ops.journal.journal import Journal

COLUMNS: Final = ("sequence", "occurred at", "surface", "change", "aggregate", "severity", "what", "source")
# How often a server is asked for more: no faster than a person reads.
EVERY_S: Final = 2.0
WHAT_CHARACTERS_MAX: Final = 60
# What programs compare, and people do not read.
UNREAD: Final = ("row", "revision")
QUERY: Final = """query($after: Float!, $surface: String, $first: Int!) {
  journal(after: $after, surface: $surface, first: $first) { next last compacted oldest items {
    schemaVersion eventId sequence occurredAt source surface changeType aggregateType aggregateId changedSurfaces severity
    snapshotHint mutatesAuthorityState artifactRef correlationId causationId metadata
  } }
}"""
WORDS: Final = """What has changed, in order: the newest records, or those after a number.

\b
Examples:
    rspp runtime state-journal
    rspp runtime state-journal --after 1200 --limit 50 --json
    rspp runtime state-journal --surface workers --follow

Each record says that something changed, never what is true now: ask the surface. Where records after the number are no longer
kept, the answer says so (`compacted`), and from which number on nothing is missing (`oldest`).
"""
Page = Mapping[str, Any]
Ask = Callable[[int, str | None, int], Page]


def run(
    after: int | None, surface: str | None, limit: int, follow: bool, as_json: bool, **given: Any
) -> None:
    place = place_of(given)
    page = _page(place, after, surface, limit)
    if not (follow and as_json):
        _show(page, as_json, asked=after is not None)
    else:
        if after is not None and page["compacted"]:
            _missed(page["oldest"])
        _lines(page["items"])
    if follow:
        try:
            _follow(place, page["next"], surface, as_json)
        except KeyboardInterrupt:
            return


def _page(place: Place, after: int | None, surface: str | None, limit: int) -> Page:
    if place.is_server:
        return _found(lambda *asked: _of_server(place, *asked), after, surface, limit)

    async def work(journal: Journal) -> Page:
        if surface is not None:
            journal.surfaces.named(surface)
        if after is None and surface is None:
            last = (await journal.status()).last
            return _told(await journal.page(after=max(0, last - limit), limit=limit))
        page = await journal.page(
            after=after or 0, surface=surface, limit=limit if after is not None else LIMIT_MAX
        )
        newest = deque(page.records, maxlen=limit)
        while after is None and page.next < page.last:
            page = await journal.page(after=page.next, surface=surface, limit=LIMIT_MAX)
            newest.extend(page.records)
        return _told(page) | {"items": [_record(one) for one in newest]}

    return on_store(place.store, work)


def _found(ask: Ask, after: int | None, surface: str | None, limit: int) -> Page:
    """Of a server: after the number, or the newest."""
    if after is not None:
        return ask(after, surface, limit)
    if surface is None:
        last = int(ask(0, None, 1)["last"])
        return ask(max(0, last - limit), None, limit)
    page = ask(0, surface, LIMIT_MAX)
    newest = deque(page["items"], maxlen=limit)
    while page["next"] < page["last"]:
        page = ask(page["next"], surface, LIMIT_MAX)
        newest.extend(page["items"])
    return {**page, "items": list(newest)}


def _of_server(place: Place, after: int, surface: str | None, first: int) -> Page:
    page: Page = on_server(place.whom, QUERY, {"after": after, "surface": surface, "first": first})["journal"]
    return page


def _told(page: Any) -> dict[str, Any]:
    return {
        "items": [_record(one) for one in page.records],
        "next": page.next,
        "last": page.last,
        "compacted": page.compacted,
        "oldest": page.oldest,
    }


def _record(one: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(one)
    return {"metadata": {}, **made}


# ---- as it comes -----------------------------------------------------------------------------------------------------


def _follow(place: Place, after: int, surface: str | None, as_json: bool) -> None:
    if place.is_server:
        while True:
            time.sleep(EVERY_S)
            page = _of_server(place, after, surface, LIMIT_MAX)
            after = page["next"]
            if page["compacted"]:
                _missed(page["oldest"])
            _came(page["items"], as_json)

    async def work(journal: Journal) -> None:
        at = after
        while True:
            try:
                async with aclosing(journal.follow(at)) as records:  # type: ignore[type-var]  # an async generator
                    async for one in records:
                        at = one.sequence
                        if surface in (None, one.surface):
                            _came([_record(one)], as_json)
            except Compacted as error:
                _missed(error.oldest)
                at = error.last

    on_store(place.store, work)


def _came(items: Iterable[Mapping[str, Any]], as_json: bool) -> None:
    if as_json:
        _lines(items)
        return
    for one in items:
        click.echo(visible("  ".join(_row(one))))


def _lines(items: Iterable[Mapping[str, Any]]) -> None:
    for one in items:
        click.echo(msgspec.json.encode(one, order="sorted"))


def _missed(oldest: int) -> None:
    click.echo(f"some records are no longer kept: nothing is missing from {oldest} on", err=True)


# ---- how it looks ----------------------------------------------------------------------------------------------------


def _show(page: Page, as_json: bool, *, asked: bool) -> None:
    if as_json:
        emit_json(page)
        return
    if asked and page["compacted"]:
        _missed(page["oldest"])
    if not page["items"]:
        click.echo("nothing")
        return
    print_table(COLUMNS, [_row(one) for one in page["items"]], numbers=("sequence",))
    if asked and page["next"] < page["last"]:
        click.echo(f"more: --after {page['next']}")


def _row(one: Mapping[str, Any]) -> list[str]:
    what = ", ".join(f"{key}={value}" for key, value in one["metadata"].items() if key not in UNREAD)
    return [
        str(one["sequence"]),
        one["occurred_at"],
        one["surface"],
        one["change_type"],
        one["aggregate_id"],
        one["severity"],
        what if len(what) <= WHAT_CHARACTERS_MAX else f"{what[: WHAT_CHARACTERS_MAX - 3]}...",
        one["source"],
    ]


command: Final = command_of(
    "state-journal",
    run,
    WORDS,
    [
        click.Option(
            ["--after"], type=click.IntRange(min=0), help="Records after this number; else the newest."
        ),
        click.Option(["--surface"], help="Of this surface only."),
        click.Option(
            ["--limit"],
            type=click.IntRange(1, LIMIT_MAX),
            default=LIMIT_DEFAULT,
            show_default=True,
            help="At most so many.",
        ),
        click.Option(["--follow"], is_flag=True, help="Show more as it comes; with --json a line each."),
        *looking_options(),
    ],
)
