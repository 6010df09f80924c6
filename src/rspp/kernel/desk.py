"""Where every part of a session's kernel writes: one sequence, one scope, one set of timers, one outbox.

It holds what is common to the parts and decides nothing. A timer's key says who set it and for what; keys fall due in
order of time, then of key, so that equal inputs wake equal parts in equal order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.contract import emitters
from rspp.contract.decisions import DecisionOutcome, OutcomeKind, OutcomeScope, Phase
from rspp.contract.event import Event, Note, Payload, Sample, Scope, SeqRange, Signal, Sync
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.signals import SignalName
from rspp.contract.transitions import Transition
from rspp.contract.words import CancelScope, EventKind, InBand, Lane, PayloadClass
from rspp.kernel.effects import Announce, Effect, Observe, Record
from rspp.kernel.fences import Fences
from rspp.kernel.flags import Flag, resolve
from rspp.kernel.lanes import Outbox
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.timebase import Timebase
from rspp.spec.graph import GraphDefinition

TimerKey = tuple[str, str]

NEVER: Final = 1 << 62
# Above all numbers that a session gives to what matters, and still a number that every reader of JSON keeps whole.
TELEMETRY_FROM: Final = 1 << 51
FACTS_MAX: Final = 256
Detail = dict[str, str | int | float | bool | None]


class Desk:
    """The shared place of one session."""

    __slots__ = (
        "_deadline",
        "debug_until",
        "facts",
        "fences",
        "flags",
        "graph",
        "metrics",
        "now",
        "numbered_apart",
        "outbox",
        "policies",
        "request",
        "scope",
        "sequence",
        "timebase",
        "timers",
    )

    def __init__(self, request: OpenRequest, graph: GraphDefinition) -> None:
        limits = graph.policies.limits
        self.request = request
        self.graph = graph
        self.policies = graph.policies
        self.flags = resolve(request.flags)
        self.now = request.anchor.monotonic
        self.scope = Scope(
            session_id=request.session_id,
            tenant_id=request.tenant_id,
            pipeline_version=request.pipeline_version,
            epoch=request.epoch,
            lease_token=request.lease_token,
        )
        # A successor's numbers lie above all that an earlier epoch can have given.
        self.sequence = request.epoch << 32 if request.resume is not None else 0
        self.outbox = Outbox(limits.lane_items_max)
        self.fences = Fences(limits.late_window_ms * 1_000_000)
        self.timebase = Timebase(request.anchor, limits.max_skew_ms)
        self.timers: dict[TimerKey, int] = {}
        self._deadline: int | None = NEVER
        self.facts: dict[str, str | int | float | bool] = {}
        self.debug_until: int | None = NEVER if request.debug else None
        self.metrics = request.metrics is not InBand.OFF
        # The number of the last piece of telemetry; None where that is the session's own.
        apart = Flag.TELEMETRY_NUMBERED_APART in self.flags
        self.numbered_apart = TELEMETRY_FROM + self.sequence if apart else None

    # ---- time ----------------------------------------------------------------------------------------------------

    def arm(self, kind: str, at: int, subject: str = "") -> None:
        self.timers[kind, subject] = at
        if self._deadline is not None and at < self._deadline:
            self._deadline = at

    def disarm(self, kind: str, subject: str = "") -> None:
        if self.timers.pop((kind, subject), None) is not None:
            self._deadline = None

    def rest(self) -> None:
        """Nothing more is to come."""
        self.timers.clear()
        self._deadline = NEVER

    def deadline(self) -> int | None:
        if self._deadline is None:
            self._deadline = min(self.timers.values(), default=NEVER)
        return None if self._deadline >= NEVER else self._deadline

    def overdue(self) -> bool:
        """Has something fallen due that nobody was woken for?"""
        at = self._deadline
        return (min(self.timers.values(), default=NEVER) if at is None else at) <= self.now

    def due(self) -> TimerKey | None:
        """The next timer whose time has come; it is gone when this returns it."""
        now, known = self.now, self._deadline
        if known is not None and known > now:
            return None
        first: TimerKey | None = None
        first_at = rest_at = NEVER  # the earliest of all, and the earliest of the others
        for key, at in self.timers.items():
            if first is None or at < first_at or (at == first_at and key < first):
                rest_at = first_at
                first, first_at = key, at
            elif at < rest_at:
                rest_at = at
        if first is None or first_at > now:
            self._deadline = first_at
            return None
        self._deadline = rest_at
        del self.timers[first]
        return first

    def learn(self, facts: Mapping[str, str | int | float | bool]) -> None:
        """Take facts that conditions may ask about; beyond the bound a new name is not taken."""
        for name, value in facts.items():
            if name in self.facts or len(self.facts) < FACTS_MAX:
                self.facts[name] = value

    # ---- events --------------------------------------------------------------------------------------------------

    def number(self) -> int:
        self.sequence += 1
        return self.sequence

    def event(
        self,
        kind: EventKind,
        payload: Payload,
        payload_class: PayloadClass,
        scope: Scope | None = None,
        node_id: str | None = None,
        parent: int | None = None,
        invocation_id: str | None = None,
    ) -> Event:
        self.sequence += 1
        return Event(
            scope or self.scope,
            kind,
            self.sequence,
            self.now,
            payload,
            payload_class,
            self.fences.generation,
            node_id,
            None,
            parent,
            None,
            invocation_id,
        )

    def announce(
        self,
        name: SignalName,
        by: str,
        scope: Scope | None = None,
        *,
        reason: str | None = None,
        cancel: CancelScope | None = None,
        lane: Lane | None = None,
        amount: int | None = None,
        span: tuple[int, int] | None = None,
        edge_id: str | None = None,
        node_id: str | None = None,
        invocation_id: str | None = None,
        sync: Sync | None = None,
        parent: int | None = None,
        late: bool = False,
        **detail: str | float | bool | None,
    ) -> Event:
        """Emit one control signal; which fields it needs stands in `contract.signals`."""
        signal = Signal(
            signal=name.value,
            emitted_by=by,
            reason=reason,
            scope=cancel,
            target_lane=lane,
            amount=amount,
            seq_range=SeqRange(*span) if span else None,
            detail=detail or None,
        )
        self.sequence += 1
        event = Event(
            scope=scope or self.scope,
            kind=EventKind.CONTROL,
            sequence=self.sequence,
            at=self.now,
            payload=signal,
            payload_class=PayloadClass.METADATA,
            generation=self.fences.generation,
            node_id=node_id,
            edge_id=edge_id,
            parent=parent,
            invocation_id=invocation_id,
            sync=sync,
            late_after_cancel=late,
        )
        self.outbox.control(Announce(event))
        return event

    def refuse_step(self, reason: str, subject: str, state: str, trigger: str) -> None:
        """An illegal move was asked for: it is said, with a stable code, and nothing else happens."""
        detail: Detail = {"from": state, "trigger": trigger, "subject": subject}
        signal = Signal(SignalName.TRANSITION_REFUSED.value, emitters.LIFECYCLE, reason, detail=detail)
        self.outbox.control(Announce(self.event(EventKind.CONTROL, signal, PayloadClass.METADATA)))

    def do(self, effect: Effect) -> None:
        """A control effect that is not a signal."""
        self.outbox.control(effect)

    def decide(
        self,
        kind: OutcomeKind,
        phase: Phase,
        at: OutcomeScope,
        by: str,
        reason: str,
        event_id: str,
        turn_id: str | None = None,
    ) -> DecisionOutcome:
        """Record one decision, legal by `contract.decisions`."""
        outcome = DecisionOutcome(
            outcome_kind=kind,
            phase=phase,
            scope=at,
            session_id=self.scope.session_id,
            event_id=event_id,
            runtime_timestamp_ms=self.now // 1_000_000,
            wall_clock_timestamp_ms=self.timebase.wall(self.now) // 1_000_000,
            emitted_by=by,
            reason=reason,
            turn_id=turn_id,
            authority_epoch=self.scope.epoch,
        )
        self.outbox.control(Record(outcome))
        return outcome

    def record(self, entry: Transition | ResolvedTurnPlan) -> None:
        self.outbox.control(Record(entry))

    # ---- telemetry -----------------------------------------------------------------------------------------------

    def debugging(self) -> bool:
        return self.debug_until is not None and self.now < self.debug_until

    def offer_telemetry(
        self,
        kind: EventKind,
        payload: Payload,
        scope: Scope | None,
        node_id: str | None,
        edge_id: str | None = None,
    ) -> None:
        """Offer a sample or a remark, if this session emits such; it is shed before anything else is delayed."""
        if kind is EventKind.METRICS and not self.metrics:
            return
        if self.numbered_apart is None:
            self.sequence += 1
            number = self.sequence
        else:
            self.numbered_apart += 1
            number = self.numbered_apart
        generation = self.fences.generation
        event = Event(
            scope or self.scope,
            kind,
            number,
            self.now,
            payload,
            PayloadClass.METADATA,
            generation,
            node_id,
            edge_id,
        )
        self.outbox.telemetry(Observe(event))

    def observe(
        self,
        name: str,
        value: float,
        unit: str,
        scope: Scope | None = None,
        node_id: str | None = None,
        *,
        edge_id: str | None = None,
    ) -> None:
        self.offer_telemetry(EventKind.METRICS, Sample(name, float(value), unit), scope, node_id, edge_id)

    def remark(self, message: str, scope: Scope | None = None, node_id: str | None = None) -> None:
        """Say something to whoever debugs this session; to nobody otherwise."""
        if self.debugging() and self.numbered_apart is not None:
            self.offer_telemetry(EventKind.DEBUG, Note(message), scope, node_id)
