"""One session's world in virtual time: a heap of what will happen, one kernel (or two), and the actors around them.

An event happens, the kernel is given an input, its effects are drained and handed to whom they concern; then the next
event, or the kernel's own deadline, whichever comes first. Everything is ordered by time and then by a number, so that
a run is the same wherever it runs. What goes wrong with a kernel is kept as a violation, with the input that did it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import Any, Final, Protocol

import msgspec

from rspp.contract.event import NS_PER_MS, Signal
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.determinism import Stream
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.invariants import Monitor
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.sim.scenario import Scenario
from rspp.spec.graph import GraphDefinition

KernelFactory = Callable[[OpenRequest, GraphDefinition, Mapping[str, NodeFactory]], SessionKernel]
Act = Callable[..., None]
ESCAPES: Final = "no_exception_escapes"  # the checker's name, where the simulator itself is the checker
WAKES_AT_ONE_INSTANT_MAX: Final = 200
# Far above what any session needs; a kernel that leaks timers or effects gets there in seconds.
TIMERS_MAX: Final = 128
EFFECTS_AT_ONCE_MAX: Final = 2_000

_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode


class Violation(msgspec.Struct, frozen=True):
    """Something that must hold did not; `inputs` is how many had been given when it was seen."""

    inv: str
    checker: str
    message: str
    at: int
    seat: int
    inputs: int


class Observer(Protocol):
    """Somebody who is shown everything, and may change nothing."""

    def saw(self, now: int, seat: Seat, what: i.Input | fx.Effect) -> None: ...


class Seat:
    """One kernel in the world, with all that it was given and a digest of all that it did."""

    __slots__ = (
        "_deadline",
        "_digest",
        "_drain",
        "_receive",
        "_saw_effect",
        "_saw_input",
        "_seen",
        "attached",
        "ended_at",
        "epoch",
        "fed",
        "graph",
        "inputs",
        "kernel",
        "monitor",
        "number",
        "reactions",
        "request",
        "world",
    )

    def __init__(self, world: World, request: OpenRequest, graph: GraphDefinition, number: int) -> None:
        self.world = world
        self.request = request
        self.graph = graph
        self.number = number
        self.epoch = request.epoch
        self.attached = True  # is it still running?
        self.fed = True  # does the line still reach it?
        self.ended_at: int | None = None
        self.inputs: list[tuple[int, i.Input]] = []
        self.reactions = world.reactions
        self.monitor = Monitor(graph, request)
        self.kernel = world.kernel_factory(request, graph, world.factories)
        self._receive, self._drain, self._deadline = (
            self.kernel.receive,
            self.kernel.drain,
            self.kernel.deadline,
        )
        self._saw_input, self._saw_effect = self.monitor.saw_input, self.monitor.saw_effect
        self._digest = hashlib.sha256()
        self._seen = 0
        self._collect(world.now)

    @property
    def live(self) -> bool:
        return self.attached and self.ended_at is None

    def give(self, received: i.Input) -> None:
        """Hand the kernel one input, now, and do what it asks for; a dead process takes none."""
        if not self.attached:
            return
        now = self.world.now
        self.inputs.append((now, received))
        self._saw_input(now, received)
        if self.world.observer is not None:
            self.world.observer.saw(now, self, received)
        try:
            self._receive(now, received)
        except Exception as error:  # noqa: BLE001 - the simulator supervises: an escape is a finding, with its seed
            self._escaped(error)
        self._collect(now)

    def wake(self) -> None:
        """The kernel's own deadline has come."""
        now = self.world.now
        woken = i.Woken()
        self.inputs.append((now, woken))
        self._saw_input(now, woken)
        if self.world.observer is not None:
            self.world.observer.saw(now, self, woken)
        try:
            self.kernel.wake(now)
        except Exception as error:  # noqa: BLE001 - as above
            self._escaped(error)
        self._collect(now)

    def deadline(self) -> int | None:
        return self._deadline() if self.attached else None

    def _collect(self, now: int) -> None:
        effects = self._drain()
        if effects:
            if self.world.observer is not None:
                for effect in effects:
                    self.world.observer.saw(now, self, effect)
            saw, reactions = self._saw_effect, self.reactions
            for effect in effects:
                saw(now, effect)
                react = reactions.get(type(effect))
                if react is not None:
                    react(self, effect)
            self._digest.update(_ENCODE((now, effects)))
            if len(effects) > EFFECTS_AT_ONCE_MAX:
                self.violated("INV-06", "effects_bounded", f"{len(effects)} effects in one step")
        if len(self.monitor.violations) > self._seen:
            self._take_violations()

    def _take_violations(self) -> None:
        for found in self.monitor.violations[self._seen :]:
            self.violated(found.inv, found.checker, found.message, found.at)
        self._seen = len(self.monitor.violations)

    def _escaped(self, error: Exception) -> None:
        self.violated("kernel", ESCAPES, f"{type(error).__name__}: {error}")
        self.attached = self.fed = False
        self.ended_at = self.world.now

    def violated(self, inv: str, checker: str, message: str, at: int | None = None) -> None:
        """Keep one finding; the first of each kind is what people read, so a flood of them is cut."""
        known = self.world.violations
        if len(known) < 20:
            known.append(
                Violation(
                    inv, checker, message, self.world.now if at is None else at, self.number, len(self.inputs)
                )
            )

    def check_bounds(self) -> None:
        """Timers are named and few; the outbox was just drained."""
        timers = len(self.kernel.desk.timers)
        if timers > TIMERS_MAX:
            self.violated("INV-06", "timers_bounded", f"{timers} timers are armed")

    def finish(self) -> None:
        """The session is over for the checkers, too."""
        if self.kernel.error is not None:
            self.violated("kernel", "no_breach", f"the kernel stopped itself: {self.kernel.error}")
        self.monitor.finish(self.world.now)
        self._take_violations()

    def digest(self) -> bytes:
        return self._digest.digest()


class World:
    """Virtual time, the seats, and whom each effect concerns."""

    def __init__(
        self,
        scenario: Scenario,
        kernel_factory: KernelFactory = SessionKernel,
        factories: Mapping[str, NodeFactory] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.scenario = scenario
        self.knobs = scenario.knobs
        self.kernel_factory = kernel_factory
        self.factories: Mapping[str, NodeFactory] = factories or {}
        self.observer = observer
        self.now = 0
        self.end = 0
        self.epoch = 0  # whose outputs the transport accepts
        self.lead_ms = 0  # how much audio may lie in the client's buffer
        self.taking_over = False  # a kernel has died and the next one has not begun
        self.seats: list[Seat] = []
        self.violations: list[Violation] = []
        self.fired: dict[str, int] = {}
        self.reactions: dict[type, Callable[[Seat, Any], None]] = {fx.Announce: self._announced}
        self._listeners: dict[str, list[Callable[[Seat, fx.Announce], None]]] = {}
        self._heap: list[tuple[int, int, Act, tuple[Any, ...]]] = []
        self._ordinal = 0

    # ---- what actors use -----------------------------------------------------------------------------------------

    def stream(self, name: str) -> Stream:
        """The random numbers of one actor: what another draws does not change them."""
        return Stream(self.scenario.seed, f"session/{self.scenario.session}/{name}")

    def at(self, when: int, act: Act, *arguments: Any) -> None:
        """Have something happen; what falls on one instant happens in the order in which it was asked for."""
        self._ordinal += 1
        heappush(self._heap, (max(when, self.now), self._ordinal, act, arguments))

    def after(self, ms: int, act: Act, *arguments: Any) -> None:
        self.at(self.now + ms * NS_PER_MS, act, *arguments)

    def give(self, received: i.Input) -> None:
        """Hand an input to whoever is attached: in a failover that may be two."""
        for seat in self.seats:
            if seat.fed:
                seat.give(received)

    def react(self, kind: type[fx.Effect], handler: Callable[[Seat, Any], None]) -> None:
        """Say who does an effect; each has one who does."""
        if kind in self.reactions:
            raise ValueError(f"{kind.__name__} has its actor already")
        self.reactions[kind] = handler

    def when(self, signal: str, handler: Callable[[Seat, fx.Announce], None]) -> None:
        """Be told of a signal; any number may."""
        self._listeners.setdefault(signal, []).append(handler)

    def fire(self, name: str) -> None:
        """A fault has really happened."""
        self.fired[name] = self.fired.get(name, 0) + 1

    @property
    def seat(self) -> Seat:
        """The kernel that owns the session."""
        return self.seats[-1]

    def open(self, request: OpenRequest, graph: GraphDefinition) -> Seat:
        seat = Seat(self, request, graph, len(self.seats))
        self.seats.append(seat)
        self.epoch = request.epoch
        return seat

    def _announced(self, seat: Seat, effect: fx.Announce) -> None:
        payload = effect.event.payload
        if isinstance(payload, Signal):
            for handler in self._listeners.get(payload.signal, ()):
                handler(seat, effect)

    # ---- time ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let everything happen until the session is over, or its time is."""
        heap = self._heap
        wakes = 0
        while True:
            seat, due = self._next_due()
            at = heap[0][0] if heap else None
            if seat is not None and due is not None and (at is None or due <= at):
                if due > self.end:
                    break
                wakes = wakes + 1 if due <= self.now else 0
                self.now = max(self.now, due)
                if wakes > WAKES_AT_ONE_INSTANT_MAX:
                    seat.violated(
                        "kernel", "wakes_end", "the kernel asks to be woken for ever at one instant"
                    )
                    break
                seat.wake()
            elif at is None or at > self.end:
                break
            else:
                self.now, _, act, arguments = heappop(heap)
                act(*arguments)
            if not (self.seats[-1].live or self.taking_over):
                break
        for seat in self.seats:
            seat.finish()

    def _next_due(self) -> tuple[Seat | None, int | None]:
        seats = self.seats
        if len(seats) == 1:
            return seats[0], seats[0].deadline()
        first: Seat | None = None
        earliest: int | None = None
        for seat in seats:
            due = seat.deadline()
            if due is not None and (earliest is None or due < earliest):
                first, earliest = seat, due
        return first, earliest
