"""A surface is a piece of runtime state that somebody can ask about: what it is, whose it is, where it lies, how it is read.

Its owner declares it beside the code that changes it, and nothing else registers it:

    SURFACE: Final = Surface(name="workers", owner=__name__, storage="kv:members", ..., kept=Kept("members"), row=_row)

A `Row` is one thing of a surface (one worker, one session) as an operator sees it, made by the owner's own pure `row` from what
lies in the store. Two rows with the same `digest` are the same to everybody who looks: the change between them is none.
A row never holds a secret, nor what a caller said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

# What a row may hold, so that a page of them stays a page.
FACTS_MAX: Final = 24
TEXT_CHARACTERS_MAX: Final = 256

Fact = str | int | float | bool


class Truth(StrEnum):
    CANONICAL = "canonical"
    DERIVED = "derived"  # made from other surfaces; it can be lost and made again


class Coverage(StrEnum):
    """By what others hear of a change."""

    JOURNAL = "journal"
    WATCH = "watch"
    NONE = "none"


class Level(StrEnum):
    """How things are, from well to worst."""

    OK = "ok"
    NOTICE = "notice"  # somebody should know, nothing is lost
    DEGRADED = "degraded"  # it goes on, worse than it should
    FAILED = "failed"  # it does not go on


LEVELS: Final = tuple(Level)


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One aggregate of a surface at one moment."""

    aggregate_id: str
    state: str
    tenant_id: str | None = None  # None: the fleet's, no tenant's
    level: Level = Level.OK
    reason: str = ""  # a stable code, where the level is not ok
    message: str = ""  # one sentence for people, where the level is not ok
    since_ms: int = 0  # of the day; 0: not known
    facts: dict[str, Fact] = {}
    over: bool = False  # it has come to its end, and is kept to be looked at
    until_ms: int = 0  # of the day: from then on it is over, whatever it says; 0: it is not
    fades_ms: int = 0  # so long after it was seen to become so it is over; 0: it is not
    renewed_ms: int = (
        0  # who writes it does so at least so often, or is silent; 0: it is written when it changes
    )

    def digest(self) -> str:
        """Equal for rows that look the same; when that began does not count."""
        seen = msgspec.structs.replace(self, since_ms=0)
        return hashlib.sha256(msgspec.json.encode(seen, order="deterministic")).hexdigest()[:16]


def cut(text: object) -> str:
    """The text, as far as a row has room for it."""
    said = str(text)
    return said if len(said) <= TEXT_CHARACTERS_MAX else said[: TEXT_CHARACTERS_MAX - 1] + "…"


def is_bounded(row: Row) -> bool:
    """Has everything in it room on a page? For a row that somebody else has written."""
    texts = (row.state, row.reason, row.message, *row.facts, *row.facts.values())
    return len(row.facts) <= FACTS_MAX and all(
        len(one) <= TEXT_CHARACTERS_MAX for one in texts if isinstance(one, str)
    )


# (key, value) of what lies in the store -> the row, or None where it is not this surface's or cannot be read.
ReadRow = Callable[[str, bytes], Row | None]


class Kept(msgspec.Struct, frozen=True):
    """Where in a store a surface lies: the keys of a bucket that begin with `prefix`, or the logs whose names do.

    `sole`: each key has one writer for as long as it is there, so whoever wrote it knows what stands in it.
    """

    bucket: str = ""
    prefix: str = ""
    log: str = ""
    sole: bool = False


class Surface(msgspec.Struct, frozen=True, kw_only=True):
    """The declaration of one surface."""

    name: str
    owner: str  # the module whose code changes it
    summary: str  # one sentence: what it holds
    aggregate_type: str  # what one of it is: session, worker, pipeline
    storage: str  # where it is kept now, as the store's own name: kv:members, log:audit, memory
    truth: Truth
    read: str  # how it is asked for: an operation, a command
    derived_from: tuple[str, ...] = ()
    affects_health: bool = False
    affects_actions: bool = False
    authority: bool = False  # does changing it change who may decide?
    coverage: Coverage = Coverage.JOURNAL
    kept: Kept | None = None
    also: tuple[Kept, ...] = ()  # where else it lies
    row: ReadRow | None = None

    @property
    def places(self) -> tuple[Kept, ...]:
        return self.also if self.kept is None else (self.kept, *self.also)
