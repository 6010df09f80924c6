"""What a replay did, held against what its recording says, while it goes on: the first difference, and those after it.

Items are compared step by step. What they do not show (frames of audio, and when they were sent) the digests do: they are
compared at each mark of the recording, and a digest that differs where no item does is traced to the run of frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rspp.contract.signals import SignalName
from rspp.kernel.shapes import shape
from rspp.kernel.trace import Item, Run, Tracer
from rspp.timeline.recording import Recording
from rspp.timeline.replay import runs as frames

DIFFERENCES_MAX: Final = 1_000
# Items that may yet find their like. More than that at once is no matter of a few milliseconds.
ALONE_MAX: Final = 512
TIMING_TOLERANCE_MS: Final = 15.0
PLAN: Final = "PLAN_DIVERGENCE"
OUTCOME: Final = "OUTCOME_DIVERGENCE"
PROVIDER_CHOICE: Final = "PROVIDER_CHOICE_DIVERGENCE"
ORDERING: Final = "ORDERING_DIVERGENCE"
TIMING: Final = "TIMING_DIVERGENCE"
AUTHORITY: Final = "AUTHORITY_DIVERGENCE"
_AUTHORITY_SIGNALS: Final = frozenset(
    name.value
    for name in (
        SignalName.LEASE_ISSUED,
        SignalName.LEASE_ROTATED,
        SignalName.MIGRATION_START,
        SignalName.MIGRATION_FINISH,
        SignalName.SESSION_HANDOFF,
        SignalName.STALE_EPOCH_REJECT,
        SignalName.DEAUTHORIZED_DRAIN,
    )
)
_PLAN_SIGNALS: Final = frozenset({SignalName.PLAN_RESOLVED.value, SignalName.DETERMINISM_MARKED.value})
_NS_PER_MS: Final = 1_000_000
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where: the input, the time since the session began, and the number of the recorded item (from 0)."""

    step: int
    time_ms: float
    item: int


class Difference(msgspec.Struct, frozen=True, kw_only=True, rename={"kind": "class"}):
    """One thing that is not as it was recorded."""

    kind: str
    scope: str
    message: str
    position: Position
    expected: dict[str, Any] | None = None
    got: dict[str, Any] | None = None
    diff_ms: float | None = None

    def line(self) -> str:
        """One line for people."""
        place = self.position
        return f"{self.kind} at step {place.step}, {place.time_ms:.1f} ms, item {place.item}: {self.message}"


class _Alone(msgspec.Struct, frozen=True):
    """An item without its like: recorded and not come, or the other way round."""

    item: Item
    number: int
    recorded: bool


class Comparison:
    """Goes along with a replay. `differences` is bounded; `count` counts all of them.

    An item that comes a little earlier or later than recorded, at another input, is the same item: within the tolerance it is
    only counted, and what has no like by then is missing, or unexpected.
    """

    def __init__(self, recording: Recording, tolerance_ms: float = TIMING_TOLERANCE_MS) -> None:
        self.differences: list[Difference] = []  # bounded: DIFFERENCES_MAX
        self.count = 0
        self.tolerated = 0  # times that differ by no more than the tolerance
        self.digest_recorded: str | None = None
        self.digest_replayed: str | None = None
        self._expected = recording.items
        self._next = 0
        self._began_at = recording.began_at
        self._marks = {mark.through: mark for mark in recording.marks}
        # Words can be held against each other only where all of them are here.
        self._worded = not recording.withheld_texts and not recording.masked
        self._last_agreed = 0
        self._runs = recording.runs
        self._tolerance_ms = tolerance_ms
        # Items without their like, that may yet find it within the tolerance. bounded: ALONE_MAX
        self._alone: list[_Alone] = []

    @property
    def first(self) -> Difference | None:
        return self.differences[0] if self.differences else None

    def take(self, step: int, items: Sequence[Item]) -> None:
        """What the replay did at this step."""
        if self._alone and items:
            self._settle(items[0].at)
        expected, begin = self._expected, self._next
        while begin < len(expected) and expected[begin].step < step:
            self._missing(expected[begin], begin)
            begin += 1
        end = begin
        while end < len(expected) and expected[end].step == step:
            end += 1
        self._next = end
        if begin == end and not items:
            return
        wanted = expected[begin:end]
        if wanted != items and not alike(wanted, items):
            self._group(begin, wanted, items)

    def due(self, step: int) -> bool:
        """Is there a mark at this step, at which the digest is to be compared?"""
        return step in self._marks

    def mark(self, step: int, tracer: Tracer) -> None:
        """The replay's digests over everything until this step."""
        digest, mark = tracer.digest(), self._marks[step]
        self.digest_recorded, self.digest_replayed = mark.digest, digest
        if mark.digest == digest:
            if self._worded and mark.words is not None and mark.words != tracer.words():
                self._worded = False  # told once
                self._between(step, "a text of the same shape has other words")
            self._last_agreed = step
        elif not (self.count or self.tolerated or self._alone):
            self._frames(step, tracer.runs)

    def skip(self, step: int) -> None:
        """Everything until this step was compared before."""
        while self._next < len(self._expected) and self._expected[self._next].step <= step:
            self._next += 1
        self._last_agreed = step

    def finish(self, through: int, runs: Sequence[Run]) -> None:
        """The replay is over: what was recorded until there and did not come is missing."""
        while self._next < len(self._expected) and self._expected[self._next].step <= through:
            self._missing(self._expected[self._next], self._next)
            self._next += 1
        self._settle(None)
        if self.tolerated and not self.count and self.digest_recorded != self.digest_replayed:
            self._frames(through, runs)  # a time that is tolerated excuses no frame

    def ended(self, recorded: str, replayed: str, through: int) -> None:
        """The session is over: the digests over all of it."""
        self.digest_recorded, self.digest_replayed = recorded, replayed
        if recorded != replayed and not self.count and not self.tolerated:
            message = f"the digests differ after step {self._last_agreed}, and no item does"
            self._add(OUTCOME, "trace", message, through, self._began_at, self._next)

    def incomplete(self, step: int, at: int, message: str) -> None:
        """The recording itself is not what it says it is."""
        self._add(OUTCOME, "trace", message, step, at, self._next)

    # ---- one step --------------------------------------------------------------------------------------------------

    def _group(self, begin: int, wanted: Sequence[Item], items: Sequence[Item]) -> None:
        """The items of one step that are not those recorded: paired off in order, the rest missing or unexpected."""
        if len(wanted) == len(items) and _bag(wanted) == _bag(items):
            at = next(n for n, (a, b) in enumerate(zip(wanted, items, strict=True)) if not alike([a], [b]))
            self._changed(wanted[at], items[at], begin + at, ORDERING, "came in another order")
            return
        keys = [_key(item) for item in items]
        at = 0
        for number, one in enumerate(wanted, begin):
            try:
                found = keys.index(_key(one), at)
            except ValueError:
                self._missing(one, number)
                continue
            for extra in items[at:found]:
                self._unexpected(extra, number)
            if not alike([one], [items[found]]):
                self._changed(
                    one, items[found], number, _class_of(one, items[found]), _what(one, items[found])
                )
            at = found + 1
        for extra in items[at:]:
            self._unexpected(extra, begin + len(wanted))

    def _missing(self, item: Item, number: int) -> None:
        self._lone(_Alone(item, number, recorded=True))

    def _unexpected(self, item: Item, number: int) -> None:
        self._lone(_Alone(item, number, recorded=False))

    def _lone(self, lone: _Alone) -> None:
        """It has no like at its input: perhaps at one nearby."""
        for place, other in enumerate(self._alone):
            if other.recorded is not lone.recorded and _same_but_when(other.item, lone.item):
                apart = abs(other.item.at - lone.item.at) / _NS_PER_MS
                if apart <= self._tolerance_ms:
                    del self._alone[place]
                    self.tolerated += 1
                    return
        if len(self._alone) >= ALONE_MAX:
            self._settle(None)
        self._alone.append(lone)

    def _settle(self, now: int | None) -> None:
        """Tell of those that can have no like any more; of all, if there is no `now`."""
        waits: list[_Alone] = []
        for lone in self._alone:
            item = lone.item
            if now is not None and (now - item.at) / _NS_PER_MS <= self._tolerance_ms:
                waits.append(lone)
                continue
            how = "was recorded and does not come" if lone.recorded else "comes and was not recorded"
            sides = (shown(item), None) if lone.recorded else (None, shown(item))
            self._add(
                _class_of(item, None),
                _scope(item),
                f"{_name(item)} {how}",
                item.step,
                item.at,
                lone.number,
                *sides,
            )
        self._alone = waits

    def _changed(self, wanted: Item, item: Item, number: int, kind: str, how: str) -> None:
        late = (item.at - wanted.at) / _NS_PER_MS
        self._add(
            kind,
            _scope(wanted),
            f"{_name(wanted)}: {how}",
            wanted.step,
            wanted.at,
            number,
            shown(wanted),
            shown(item),
            abs(late) if kind == TIMING else None,
        )

    def _between(self, step: int, what: str) -> None:
        """Something differs that no item shows: it is known between which two marks."""
        at = self._expected[self._next - 1].at if self._next else self._began_at
        message = f"between step {self._last_agreed} and step {step} {what}"
        self._add(OUTCOME, "trace", message, self._last_agreed + 1, at, self._next)

    def _frames(self, step: int, runs: Sequence[Run]) -> None:
        """No item differs, and the digest does: frames did."""
        # What is recorded is cut at each mark, and what goes on is not: both are taken up to this one.
        recorded, replayed = (
            frames.joined([run for run in self._runs if run.step <= step]),
            frames.joined(runs),
        )
        found = frames.first_run(recorded, replayed, self._tolerance_ms)
        if found is None:
            if self.tolerated:
                return
            if any(a.at != b.at or a.last_at != b.last_at for a, b in zip(recorded, replayed, strict=True)):
                self.tolerated += 1
                return
            self._between(step, "the digests differ, and no item does")
            return
        wanted, came = found
        one = wanted or came
        assert one is not None
        other_epoch = {run.epoch for run in recorded} != {run.epoch for run in replayed}
        kind = TIMING if frames.same_but_when(wanted, came) else OUTCOME
        self._add(
            AUTHORITY if other_epoch else kind,
            f"turn:{one.turn}",
            "frames of audio were sent otherwise than recorded",
            max(one.step, self._last_agreed + 1),
            frames.parting(wanted, came),
            self._next,
            frames.shown(wanted),
            frames.shown(came),
            max(frames.apart(wanted, came)) if wanted and came else None,
        )

    def _add(
        self,
        kind: str,
        scope: str,
        message: str,
        step: int,
        at: int,
        number: int,
        expected: dict[str, Any] | None = None,
        got: dict[str, Any] | None = None,
        diff_ms: float | None = None,
    ) -> None:
        if diff_ms is not None and kind == TIMING and diff_ms <= self._tolerance_ms:
            self.tolerated += 1
            return
        self.count += 1
        if len(self.differences) < DIFFERENCES_MAX:
            position = Position(step=step, time_ms=(at - self._began_at) / _NS_PER_MS, item=number)
            self.differences.append(
                Difference(
                    kind=kind,
                    scope=scope,
                    message=message,
                    position=position,
                    expected=expected,
                    got=got,
                    diff_ms=diff_ms,
                )
            )


# ---- items -------------------------------------------------------------------------------------------------------


def alike(one: Sequence[Item], other: Sequence[Item]) -> bool:
    """Are they the same, but for what a redactor has put a stand-in for?"""
    if len(one) != len(other):
        return False
    if _ENCODE(one) == _ENCODE(other):
        return True
    return all(_ENCODE(_bare(a)) == _ENCODE(_bare(b)) for a, b in zip(one, other, strict=True))


def _bare(item: Item) -> Item:
    detail = item.facts.get("detail")
    if not isinstance(detail, dict):
        return item
    bare = {name: shape(value) if isinstance(value, str) else value for name, value in detail.items()}
    return msgspec.structs.replace(item, facts={**item.facts, "detail": bare})


def _key(item: Item) -> tuple[str, str, str | None]:
    return item.what, item.name, item.turn


def _bag(items: Sequence[Item]) -> list[bytes]:
    return sorted(_ENCODE(msgspec.structs.replace(_bare(item), seq=None)) for item in items)


def _same_but_when(one: Item, other: Item) -> bool:
    return alike([one], [msgspec.structs.replace(other, step=one.step, at=one.at, seq=one.seq)])


def _name(item: Item) -> str:
    return f"{item.what} {item.name}".strip()


def _scope(item: Item) -> str:
    return f"turn:{item.turn}" if item.turn is not None else f"event:{item.seq}" if item.seq else "trace"


def _class_of(item: Item, other: Item | None) -> str:
    """The contract's class of an item that is missing, unexpected, or another."""
    if item.name in _PLAN_SIGNALS or (item.what == "record" and item.name == "plan"):
        return PLAN
    if item.name in _AUTHORITY_SIGNALS or (other is not None and item.epoch != other.epoch):
        return AUTHORITY
    if other is None:
        return OUTCOME
    if item.what == "invoke" and item.facts.get("provider") != other.facts.get("provider"):
        return PROVIDER_CHOICE
    if item.facts == other.facts and item.at == other.at:
        return ORDERING  # only the runtime sequence is another
    if item.facts == other.facts:
        return TIMING
    return OUTCOME


def _what(item: Item, other: Item) -> str:
    names = [name for name in ("at", "epoch", "seq") if getattr(item, name) != getattr(other, name)]
    names += sorted(
        name
        for name in {*item.facts, *other.facts}
        if _ENCODE(item.facts.get(name)) != _ENCODE(other.facts.get(name))
    )
    return f"{', '.join(names)} differ" if len(names) > 1 else f"{''.join(names)} differs"


def shown(item: Item) -> dict[str, Any]:
    """An item with names, for people and programs."""
    return msgspec.structs.asdict(item)
