"""Divergences: six classes, each with its place in both runs; a list of them that cannot grow without end.

What follows from an earlier divergence says so: `root` is the number of the first one of its turn or step, or of the same change
seen before. A turn that went another way is one root with followers, not a hundred findings of equal weight.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import Final

import msgspec

from rspp.kernel.trace import Item

FINDINGS_MAX: Final = 10_000
LINE_FACTS_MAX: Final = 8
VALUE_CHARACTERS_MAX: Final = 120


class DivergenceClass(StrEnum):
    PLAN = "PLAN_DIVERGENCE"
    OUTCOME = "OUTCOME_DIVERGENCE"
    PROVIDER_CHOICE = "PROVIDER_CHOICE_DIVERGENCE"
    ORDERING = "ORDERING_DIVERGENCE"
    TIMING = "TIMING_DIVERGENCE"
    AUTHORITY = "AUTHORITY_DIVERGENCE"


class Tolerance(msgspec.Struct, frozen=True, kw_only=True):
    """How far times may be apart, in milliseconds. The limits on a provider call hold where they are set."""

    timing_ms: float = 15.0
    invocation_latency_final_ms: float | None = None
    invocation_latency_total_ms: float | None = None


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a run: the input that caused it, its time from the session's beginning, its item, as one line."""

    step: int
    at_ms: float
    item: int | None = None
    line: str = ""


class Divergence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One difference. `field` names what differs; without it the whole item is on one side only."""

    number: int
    kind: DivergenceClass = msgspec.field(name="class")
    scope: str
    message: str
    field: str | None = None
    expected: object = None
    got: object = None
    expected_position: Position | None = None
    got_position: Position | None = None
    diff_ms: float | None = None
    items: int = 1  # how many neighbouring items this tells of
    root: int | None = None  # the number of the divergence that this one follows from


class Findings:
    """The divergences of one comparison, as they are found."""

    def __init__(self) -> None:
        self.kept: list[Divergence] = []  # bounded: FINDINGS_MAX; what is beyond is counted
        self.counts: Counter[str] = Counter()
        self.roots = 0
        self._turn_roots: dict[str, int] = {}
        self._step_roots: dict[tuple[int, int], int] = {}
        self._changes: dict[tuple[str, ...], int] = {}
        self._classes: set[tuple[str, str]] = set()

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def has(self, kind: DivergenceClass, scope: str) -> bool:
        return (kind.value, scope) in self._classes

    def any_in(self, scope: str) -> bool:
        return scope in self._turn_roots

    def add(
        self,
        kind: DivergenceClass,
        scope: str,
        message: str,
        *,
        field: str | None = None,
        expected: object = None,
        got: object = None,
        places: tuple[Position | None, Position | None] = (None, None),
        diff_ms: float | None = None,
        items: int = 1,
        cause: int | None = None,
        change: tuple[str, ...] | None = None,
    ) -> int:
        """Note one; its number. `change` is what makes the same change, seen again, a follower of the first."""
        number = self.total + 1
        step = (places[0].step if places[0] else -1, places[1].step if places[1] else -1)
        root = cause or self._root(scope, step, change)
        self.counts[kind.value] += 1
        self._classes.add((kind.value, scope))
        self.roots += root is None
        first = root or number
        if scope.startswith("turn:"):
            self._turn_roots.setdefault(scope, first)
        if step != (-1, -1):
            self._step_roots.setdefault(step, first)
        if change is not None and len(self._changes) < FINDINGS_MAX:
            self._changes.setdefault(change, first)
        if len(self.kept) < FINDINGS_MAX:
            self.kept.append(
                Divergence(
                    number=number,
                    kind=kind,
                    scope=scope,
                    message=message,
                    field=field,
                    expected=clipped(expected),
                    got=clipped(got),
                    expected_position=places[0],
                    got_position=places[1],
                    diff_ms=diff_ms,
                    items=items,
                    root=root,
                )
            )
        return number

    def _root(self, scope: str, step: tuple[int, int], change: tuple[str, ...] | None) -> int | None:
        if change is not None and change in self._changes:
            return self._changes[change]
        return self._turn_roots.get(scope) or (self._step_roots.get(step) if step != (-1, -1) else None)


def clipped(value: object) -> object:
    """A value that is short enough to be kept and shown."""
    if isinstance(value, str) and len(value) > VALUE_CHARACTERS_MAX:
        return value[: VALUE_CHARACTERS_MAX - 1] + "…"
    if isinstance(value, list | tuple | dict):
        return clipped(msgspec.json.encode(value, enc_hook=str).decode())
    return value


def line_of(item: Item, began_at: int) -> str:
    """One item as one readable line."""
    facts = [f"{name}={clipped(value)}" for name, value in item.facts.items()][:LINE_FACTS_MAX]
    at_s = (item.at - began_at) / 1e9
    words = (f"{at_s:9.3f} s", f"{item.what} {item.name}".strip(), item.turn or "", *facts)
    return "  ".join(word for word in words if word)
