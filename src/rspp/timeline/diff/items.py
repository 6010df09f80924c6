"""Two stories' items, told apart: who is missing, who is new, who stands elsewhere, and whose facts or times differ."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rspp.contract.event import NS_PER_MS
from rspp.kernel.shapes import shape
from rspp.timeline.diff.align import Pair, aligned
from rspp.timeline.diff.clock import Clock, Shifts
from rspp.timeline.diff.findings import DivergenceClass as Kind
from rspp.timeline.diff.findings import Findings, Position, Tolerance, line_of
from rspp.timeline.diff.rows import Role, Row, class_of, comparable, role_of, unnumbered
from rspp.timeline.story import Story


class Side:
    """One of the two stories, with its rows and its clock."""

    def __init__(self, story: Story, rows: list[Row], *, shared: bool) -> None:
        self.story = story
        self.rows = rows
        self.clock = Clock(story, rows, shared=shared)

    def when(self, row: Row) -> int | None:
        return self.clock.of(row.turn, row.item.at)

    def place(self, row: Row | None) -> Position | None:
        if row is None:
            return None
        began_at = self.story.began_at
        return Position(
            step=row.item.step,
            at_ms=round((row.item.at - began_at) / NS_PER_MS, 3),
            item=row.number,
            line=line_of(row.item, began_at),
        )


class ItemsCompared:
    """One comparison of two stories' items, in one pass."""

    def __init__(
        self, left: Side, right: Side, findings: Findings, tolerance: Tolerance, *, shared: bool
    ) -> None:
        self.left = left
        self.right = right
        self.findings = findings
        self.shifts = Shifts(tolerance.timing_ms)
        self._tolerance = tolerance
        self._shared = shared
        self._ids: dict[str, str] = {}
        self._counters: dict[
            tuple[str, ...], tuple[int, int]
        ] = {}  # a counter's shift, and of which insertion on
        self._epoch_shifts: dict[str, int] = {}
        self._insertions = 0  # how often items were inserted or left out
        self._text_root: int | None = (
            None  # the first text that differs: what is made of it later differs too
        )
        self._told: set[tuple[str, ...]] = set()
        # The first that another input caused, at the same time: no difference that anybody saw, but one.
        self.elsewhere: tuple[Row, Row] | None = None

    def run(self) -> None:
        laid = aligned(
            [row.key for row in self.left.rows], [row.key for row in self.right.rows], self._likeness
        )
        moved = self._moved(laid)
        for matched, run in groupby(laid, key=lambda pair: None not in pair):
            if matched:
                for i, j in run:
                    self._matched(self.left.rows[i or 0], self.right.rows[j or 0])
            else:
                self._unmatched(list(run), moved)

    def _likeness(self, i: int, j: int) -> float:
        a, b = self.left.rows[i], self.right.rows[j]
        before, after = self.left.when(a), self.right.when(b)
        near = before is None or after is None or abs(before - after) <= self._tolerance.timing_ms * NS_PER_MS
        text = a.facts.get("shape") == b.facts.get("shape") and a.text == b.text
        return 0.4 + 0.3 * (a.same == b.same) + 0.2 * near + 0.1 * text

    # ---- who is there ----------------------------------------------------------------------------------------------

    def _moved(self, laid: Sequence[Pair]) -> dict[int, int]:
        """Items that are on both sides, but not in one order: place on the left -> place on the right."""
        new: dict[tuple[tuple[str, ...], bytes], list[int]] = {}
        for i, j in laid:
            if i is None and j is not None:
                row = self.right.rows[j]
                new.setdefault((row.key, row.same), []).append(j)
        moved: dict[int, int] = {}
        for i, j in laid:
            if j is None and i is not None:
                row = self.left.rows[i]
                found = new.get((row.key, row.same), [])
                # Elsewhere in the same turn; without a turn, about the same input.
                near = [k for k in found if row.turn or self.right.rows[k].item.step == row.item.step]
                if near:
                    found.remove(near[0])
                    moved[i] = near[0]
        return moved

    def _unmatched(self, pairs: Sequence[Pair], moved: dict[int, int]) -> None:
        arrived = set(moved.values())
        for i, _ in pairs:
            if i is not None and i in moved:
                self.moved(self.left.rows[i], self.right.rows[moved[i]])
        gone = [self.left.rows[i] for i, _ in pairs if i is not None and i not in moved]
        new = [self.right.rows[j] for _, j in pairs if j is not None and j not in arrived]
        # What came first is the cause.
        runs = [(row, True) for row in gone] + [(row, False) for row in new]
        runs.sort(key=lambda one: (one[0].item.step, one[0].number))
        for (_, kind, missing), run in groupby(
            runs, key=lambda one: (one[0].key[0] or one[0].item.step, one[0].kind, one[1])
        ):
            self._one_sided([row for row, _ in run], kind, missing=missing)

    def _one_sided(self, rows: list[Row], kind: Kind, *, missing: bool) -> None:
        first, side = rows[0], self.left if missing else self.right
        self._insertions += 1
        place = side.place(first)
        line = place.line if place else ""
        more = f" (and {len(rows) - 1} more after it)" if len(rows) > 1 else ""
        self.findings.add(
            kind,
            self.scope(first),
            f"{'not there any more' if missing else 'not there before'}: {_name(first)}{more}",
            expected=line if missing else None,
            got=None if missing else line,
            places=(place, None) if missing else (None, place),
            items=len(rows),
            change=("there", str(missing), *first.key[1:]),
        )

    def moved(self, a: Row, b: Row) -> None:
        self.findings.add(
            Kind.ORDERING,
            self.scope(a),
            f"in another order: {_name(a)}",
            expected=f"item {a.number}, input {a.item.step}",
            got=f"item {b.number}, input {b.item.step}",
            places=(self.left.place(a), self.right.place(b)),
            change=("order", *a.key[1:]),
        )
        self._matched(a, b)

    # ---- what it says ----------------------------------------------------------------------------------------------

    def _matched(self, a: Row, b: Row) -> None:
        if a.item.step != b.item.step and self.elsewhere is None:
            self.elsewhere = (a, b)
        if a.facts != b.facts or a.item.epoch != b.item.epoch or a.text != b.text:
            self._epochs(a, b, "epoch", a.item.epoch, b.item.epoch)
            for name in dict.fromkeys((*a.facts, *b.facts)):
                before, after = a.facts.get(name), b.facts.get(name)
                if before != after:
                    self._fact(a, b, name, before, after)
            self._text(a, b)
        else:
            self._bind(a, b)
        late_ms = self.shifts.news(a.turn, self.left.when(a), self.right.when(b))
        if late_ms is not None:
            self._timing(a, b, "at", late_ms, f"{_name(a)} is {abs(late_ms):.1f} ms {_late(late_ms)}")

    def _bind(self, a: Row, b: Row) -> None:
        """Equal to the letter: the ids that stand in both are the same from now on."""
        for name, value in a.facts.items():
            if isinstance(value, str) and role_of(name, a.item) is Role.ID:
                self._ids.setdefault(value, value)

    def _fact(self, a: Row, b: Row, name: str, before: Any, after: Any) -> None:
        role = role_of(name, a.item)
        if role is Role.ID and isinstance(before, str) and isinstance(after, str):
            self._identifier(a, b, name, before, after)
        elif role is Role.COUNTER:
            self._counter(a, b, name, before, after)
        elif role is Role.EPOCH:
            self._epochs(a, b, name, before, after)
        elif role is Role.TIME and _are_numbers(before, after):
            self._time(a, b, name, before, after)
        elif role is Role.TEXT:
            self._shape(a, b, name, before, after)
        elif role is Role.MEMORY and self._text_root is not None:
            self._changed(a, b, name, before, after, cause=self._text_root)
        elif not self._excused(name, before, after):
            self._changed(a, b, name, before, after)

    def _excused(self, name: str, before: object, after: object) -> bool:
        """A session has a seed of its own; what a redactor put in the place of a detail has its shape."""
        if name.endswith("seed"):
            return not self._shared
        stories = (self.left.story, self.right.story)
        redacted = any(story.mode == "recorded" and story.withheld_texts for story in stories)
        texts = isinstance(before, str) and isinstance(after, str) and name.startswith("detail.")
        return redacted and texts and shape(str(before)) == shape(str(after))

    def _changed(
        self, a: Row, b: Row, name: str, before: object, after: object, cause: int | None = None
    ) -> int:
        """A fact that must be equal is not; of providers and plans once a turn is enough."""
        kind = class_of(name)
        change = (kind.value, name.rpartition(".")[2], str(before), str(after))
        if kind is not Kind.OUTCOME:
            once = (*change, a.key[0], a.key[3])
            if once in self._told:
                return 0
            self._told.add(once)
        return self.findings.add(
            kind,
            self.scope(a),
            f"{_name(a)}: {name} differs",
            field=name,
            expected=before,
            got=after,
            places=(self.left.place(a), self.right.place(b)),
            cause=cause,
            change=(*change, *a.key[1:]) if kind is Kind.OUTCOME else change,
        )

    def _identifier(self, a: Row, b: Row, name: str, before: str, after: str) -> None:
        """Ids may have other names, but one of them is one of them throughout."""
        known = self._ids.get(before)
        if known is None:
            self._ids[before] = after
            mine, other = (
                unnumbered(before, self.left.story.session_id),
                unnumbered(after, self.right.story.session_id),
            )
            if mine != other:
                self._changed(a, b, name, before, after)
        elif known != after and (before, after) not in self._told:
            self._told.add((before, after))
            self._changed(a, b, name, f"{before} (called {known} there)", after)

    def _counter(self, a: Row, b: Row, name: str, before: Any, after: Any) -> None:
        """A number that counts up may be shifted by an item that was inserted or left out; else it must be equal."""
        track = (name.rpartition(".")[2], a.item.what, a.item.name, a.key[3])
        shift = (after or 0) - (before or 0) if _are_numbers(before or 0, after or 0) else 0
        known, since = self._counters.get(track, (0, 0))
        if known == shift and shift:
            return
        self._counters[track] = (shift, self._insertions)
        if self._insertions == since:
            self._changed(a, b, name, before, after)

    def _epochs(self, a: Row, b: Row, name: str, before: Any, after: Any) -> None:
        """Another epoch is told when it begins. Two sessions have leases of their own: there only a change counts."""
        if before is None and after is None:
            return
        shift = (after - before) if _are_numbers(before, after) else None
        track = name.rpartition(".")[2]
        if track not in self._epoch_shifts and not self._shared and shift is not None:
            self._epoch_shifts[track] = shift
            return
        if shift == self._epoch_shifts.get(track, 0) or ("epoch", str(before), str(after)) in self._told:
            return
        self._told.add(("epoch", str(before), str(after)))
        self.findings.add(
            Kind.AUTHORITY,
            self.scope(a),
            f"{_name(a)}: {name} differs",
            field=name,
            expected=before,
            got=after,
            places=(self.left.place(a), self.right.place(b)),
        )

    # ---- texts and times -------------------------------------------------------------------------------------------

    def _shape(self, a: Row, b: Row, name: str, before: object, after: object) -> None:
        """What was sent is told by its words where they are known; what a call was given, by its shape."""
        if a.text is not None and b.text is not None and a.text != b.text:
            return
        last = "shape" if a.facts.get("shape") != b.facts.get("shape") else "chars"
        if name.rpartition(".")[2] == last:
            root = self._text_root if a.item.what == "invoke" else None
            number = self._changed(a, b, name, before, after, cause=root)
            self._text_root = self._text_root or number

    def _text(self, a: Row, b: Row) -> None:
        if a.text is None or b.text is None or a.text == b.text:
            return
        number = self.findings.add(
            Kind.OUTCOME,
            self.scope(a),
            f"{_name(a)}: the text differs",
            field="text",
            expected=a.text,
            got=b.text,
            places=(self.left.place(a), self.right.place(b)),
        )
        self._text_root = self._text_root or number

    def _time(self, a: Row, b: Row, name: str, before: float, after: float) -> None:
        mine = comparable(name, before, a.item)
        other = comparable(name, after, b.item)
        if not isinstance(mine, int | float) or not isinstance(other, int | float):
            return
        late_ms = self.shifts.news(a.turn, round(mine * NS_PER_MS), round(other * NS_PER_MS))
        if late_ms is not None:
            self._timing(a, b, name, late_ms, f"{_name(a)}: {name} is {abs(late_ms):.1f} ms off", mine, other)

    def _timing(
        self,
        a: Row,
        b: Row,
        field: str,
        late_ms: float,
        message: str,
        before: float | None = None,
        after: float | None = None,
    ) -> None:
        places = (self.left.place(a), self.right.place(b))
        self.findings.add(
            Kind.TIMING,
            self.scope(a),
            message,
            field=field,
            expected=before if before is not None else places[0] and places[0].at_ms,
            got=after if after is not None else places[1] and places[1].at_ms,
            places=places,
            diff_ms=round(abs(late_ms), 3),
        )

    def scope(self, row: Row) -> str:
        """What a divergence of this item is about."""
        label = row.key[0]
        return f"turn:{label}" if label else f"session:{self.left.story.session_id}"


def _name(row: Row) -> str:
    item = row.item
    of = f" of {row.key[3]}" if row.key[3] else ""
    return f"{item.what} {item.name}".strip() + of


def _late(late_ms: float) -> str:
    return "late" if late_ms > 0 else "early"


def _are_numbers(*values: object) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
