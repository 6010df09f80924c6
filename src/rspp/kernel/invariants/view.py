"""What an onlooker knows of a session: who may write to it, which turns it had, which calls are running.

Built from inputs and announced effects, never from the kernel. The checkers read it and write to it nothing but what
they themselves saw.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.evidence import TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

INVARIANTS: Final[Mapping[str, str]] = {
    "INV-01": "a turn opens only with authority, an admission and a frozen plan",
    "INV-02": "an accepted turn goes open, one terminal, close, and nothing of it leaves afterwards",
    "INV-03": "a refused intent never has a terminal",
    "INV-04": "an accepted turn has exactly one terminal, and closes",
    "INV-05": "control goes before data, data before telemetry",
    "INV-06": "every edge is bounded",
    "INV-07": "nothing waits without end: utterances, calls, blocked producers, evidence",
    "INV-08": "a watermark has its action, once up and once down",
    "INV-09": "a cancellation reaches every call and the playback, at once",
    "INV-10": "after a fence nothing of its scope leaves or is accepted, and nothing unheard is remembered",
    "INV-11": "only the issued epoch gets in or out",
    "INV-12": "a turn's plan does not change while it lives",
    "INV-13": "every event is correlated, ordered and counted once",
    "INV-14": "a terminal follows its evidence, and the evidence is whole",
    "INV-15": "the recording level falls one step at a time, for a reason, and rises between turns",
    "INV-16": "no effect outside the vocabulary, and no ending for a reason that is not an input's",
}


class Violation(msgspec.Struct, frozen=True, gc=False):
    """One thing that must hold and did not."""

    inv: str
    checker: str
    message: str
    at: int


class CallSeen(msgspec.Struct):
    """A provider call as seen from outside."""

    id: str
    node_id: str
    turn_id: str | None
    modality: str
    attempt: int = 1
    text: str = ""
    produced_us: int = 0
    finished: bool = False
    next_sequence: int = 0
    fresh: bool = True  # was the last chunk the first of its number?
    waiting_since: int | None = None  # since when something is owed by the provider, or by us
    cancel_sent_at: int | None = None
    timed_out_at: int | None = None
    throttled: bool = False
    ended: bool = False


class SegmentSeen(msgspec.Struct):
    """A stretch of the audio that left, in microseconds, and the call that spoke it."""

    call: CallSeen
    start_us: int
    sent_us: int = 0


class TurnSeen(msgspec.Struct):
    """A turn as seen from outside."""

    id: str
    admitted: bool = False
    plan: ResolvedTurnPlan | None = None
    opened: bool = False
    terminal: str | None = None
    closed: bool = False
    cancelled: bool = False
    playback_cancelled: bool = False
    stopped: bool = False
    completed: bool = False
    causes: tuple[str, ...] = ()
    asked: dict[str, TurnEvidence] = {}
    stored: tuple[str, ...] = ()
    failed_appends: int = 0
    last_evidence: TurnEvidence | None = None
    asked_at: int | None = None
    sent_us: int = 0
    heard_us: int = 0
    first_sent_at: int = 0
    heard_of_at: int | None = None  # when the client last said how much it has played
    segments: list[SegmentSeen] = []


class View:
    """The onlooker's knowledge."""

    TURNS_MAX: Final = 64

    def __init__(self, graph: GraphDefinition, request: OpenRequest) -> None:
        self.graph = graph
        self.request = request
        self.epoch = request.epoch
        self.expires_at = request.lease_expires_at
        self.revoked = False
        self.turns: dict[str, TurnSeen] = {}
        self.open_turn: TurnSeen | None = None
        self.calls: dict[str, CallSeen] = {}
        self.violations: list[Violation] = []
        self.now = request.anchor.monotonic
        self.snapshot = request.snapshot
        self.ended = False
        self.closing = False
        self.cut = False

    def held(self) -> bool:
        return not self.revoked and self.now < self.expires_at

    def turn(self, turn_id: str) -> TurnSeen:
        turn = self.turns.get(turn_id)
        if turn is None:
            turn = self.turns[turn_id] = TurnSeen(turn_id)
            if len(self.turns) > self.TURNS_MAX:
                oldest = next(iter(self.turns))
                del self.turns[oldest]
        return turn

    def call(self, call_id: str) -> CallSeen | None:
        return self.calls.get(call_id)

    def blame(self, inv: str, checker: str, message: str) -> None:
        self.violations.append(Violation(inv, checker, message, self.now))


class Outstanding:
    """What was produced for one edge and has not left it yet: items in order, by their length in samples."""

    __slots__ = ("items", "limit")

    def __init__(self, limit: int) -> None:
        self.items: deque[int] = deque()  # bounded: it is what the limit is checked against
        self.limit = limit

    def left(self, samples: int) -> None:
        """Audio of this length has left the edge."""
        while samples > 0 and self.items:
            head = self.items.popleft()
            if head > samples:
                self.items.appendleft(head - samples)
            samples -= head


def ms(ns: int) -> int:
    return ns // NS_PER_MS
