"""Gates 5 and 6: all evidence of every accepted turn, and exactly one terminal, then close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from rspp.contract.evidence import missing_fields
from rspp.timeline.gates.facts import TurnFacts
from rspp.timeline.gates.report import Violation

TERMINALS = ("commit", "abort")


class Share(msgspec.Struct):
    """How many of all turns are as they must be, and what is wrong with the others."""

    turns: int = 0
    good: int = 0
    violations: list[Violation] = []

    @property
    def share(self) -> float | None:
        return self.good / self.turns if self.turns else None

    def take(self, turn: TurnFacts, faults: Iterable[tuple[str, str]]) -> None:
        found = [Violation(turn.session_id, turn.turn_id, anchor, what) for anchor, what in faults]
        self.turns += 1
        self.good += not found
        self.violations += found


def evidence(turns: Iterable[TurnFacts]) -> Share:
    """Gate 5: what is due and absent, a placeholder, contradicted or out of order, by its field."""
    share = Share(violations=[])
    for turn in turns:
        share.take(turn, _incomplete(turn))
    return share


def _incomplete(turn: TurnFacts) -> Iterator[tuple[str, str]]:
    found = turn.evidence
    if found is None:
        yield "evidence", "none was stored for this turn"
        return
    if found.session_id != turn.session_id:
        yield "session_id", f"of another session, {found.session_id}"
    if turn.altered:
        yield "evidence", "not the record that the kernel gave away: the timeline has another sum of it"
    for name in missing_fields(found, turn.stamp):
        yield name, "absent, a placeholder, contradicted or out of order"
    if turn.cancels and found.cancel_accepted_at is None:
        yield "cancel_accepted_at", "the timeline has a cancellation that the evidence does not know of"


def terminals(turns: Iterable[TurnFacts]) -> Share:
    """Gate 6: opened once, then [terminal, close] and nothing else; the evidence names the same terminal."""
    share = Share(violations=[])
    for turn in turns:
        share.take(turn, _endings(turn))
    return share


def _endings(turn: TurnFacts) -> Iterator[tuple[str, str]]:
    names = [name for name, _ in turn.endings]
    ends = [name for name in names if name in TERMINALS]
    if len(turn.opened) != 1:
        yield "turn_open", f"seen {len(turn.opened)} times instead of once"
    if len(ends) != 1:
        yield "terminal", f"seen {len(ends)} times instead of once: {' '.join(ends) or 'none'}"
    if names.count("close") != 1:
        yield "close", f"seen {names.count('close')} times instead of once"
    elif names[-1] != "close":
        yield "close", f"not last: {' '.join(names)}"
    times = [*turn.opened[:1], *(at for _, at in turn.endings)]
    if times != sorted(times):
        yield "order", "a terminal or close is earlier than what must come before it"
    said = turn.evidence.terminal_outcome if turn.evidence else None
    if said is not None and ends and said not in ends:
        yield "terminal_outcome", f"the evidence says {said}, the timeline {ends[0]}"
