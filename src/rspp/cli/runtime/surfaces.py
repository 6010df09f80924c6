"""`rspp runtime state-surfaces`: every declared surface, whose it is, where it lies, how it is read."""

from __future__ import annotations

from typing import Any, Final

from rspp.cli.output import emit_json, print_table
from rspp.cli.runtime.looking import command_of, looking_options, on_server, place_of
from rspp.contract.surface import Surface
from rspp.server.surfaces import surfaces

COLUMNS: Final = (
    "surface",
    "truth",
    "storage",
    "coverage",
    "health",
    "actions",
    "authority",
    "owner",
    "read by",
)
QUERY: Final = """{ surfaces {
  name owner summary aggregateType storage truth derivedFrom affectsHealth affectsActions authority coverage read
} }"""
WORDS: Final = """Every surface of state: whose it is, where it lies, how it is read.

\b
Examples:
    rspp runtime state-surfaces
    rspp runtime state-surfaces --json
    rspp runtime state-surfaces --server https://control.example --token env://RSPP_TOKEN
"""


def run(as_json: bool, **given: Any) -> None:
    place = place_of(given)
    items = (
        on_server(place.whom, QUERY)["surfaces"] if place.is_server else [_told(one) for one in surfaces()]
    )
    if as_json:
        emit_json({"items": items})
        return
    print_table(COLUMNS, [_row(one) for one in items])


def _told(one: Surface) -> dict[str, Any]:
    return {
        "name": one.name,
        "owner": one.owner,
        "summary": one.summary,
        "aggregate_type": one.aggregate_type,
        "storage": one.storage,
        "truth": one.truth.value,
        "derived_from": list(one.derived_from),
        "affects_health": one.affects_health,
        "affects_actions": one.affects_actions,
        "authority": one.authority,
        "coverage": one.coverage.value,
        "read": one.read,
    }


def _row(one: dict[str, Any]) -> list[str]:
    marks = ["yes" if one[name] else "" for name in ("affects_health", "affects_actions", "authority")]
    return [one["name"], one["truth"], one["storage"], one["coverage"], *marks, one["owner"], one["read"]]


command: Final = command_of("state-surfaces", run, WORDS, looking_options())
