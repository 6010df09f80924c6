"""One scenario, run: the world is built, everything happens, and what is left is a small plain outcome.

The kernel is made by a factory, so that a kernel with a planted bug runs through exactly the same world.
"""

from __future__ import annotations

import time
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS, Signal
from rspp.kernel import effects as fx
from rspp.kernel.session import SessionKernel
from rspp.sim.authority import Authority
from rspp.sim.callers import Caller
from rspp.sim.checks import Checks
from rspp.sim.control import Control
from rspp.sim.faults import FAULTS
from rspp.sim.listeners import Listeners
from rspp.sim.nodes import Nodes, factories
from rspp.sim.providers import Providers
from rspp.sim.recorder import Recorder
from rspp.sim.scenario import Armed, Scenario, draw, graph_of
from rspp.sim.transports import Client, Line, Uplink
from rspp.sim.world import KernelFactory, Observer, Seat, Violation, World

COUNTED: Final = ("turn_open", "commit", "barge_in")


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one session."""

    session: int
    turns: int
    commits: int
    aborts: dict[str, int]
    interruptions: int
    fired: dict[str, int]
    frames_in: int
    frames_out: int
    sim_ns: int
    cpu_ns: int
    inputs: int
    digest: bytes
    violations: tuple[Violation, ...]


class Session:
    """A world with all of its actors."""

    def __init__(
        self,
        scenario: Scenario,
        kernel_class: KernelFactory = SessionKernel,
        observer: Observer | None = None,
    ) -> None:
        self.world = world = World(scenario, kernel_class, None, observer)
        world.factories = factories(scenario, world.fire)
        graph = graph_of(scenario.knobs)
        world.lead_ms = graph.policies.playout.lead_ms
        self.uplink = Uplink(world)
        self.client = Client(world)
        self.line = Line(world, self.client)
        self.listeners = Listeners(world)
        self.providers = Providers(world, self.listeners)
        self.control = Control(world)
        self.recorder = Recorder(world)
        self.nodes = Nodes(world)
        self.checks = Checks(world, self.client, self.providers)
        self.authority = Authority(world, self.control, self.line, self.client, self.checks.saved)
        self.caller = Caller(world, self.uplink, self.line, self.client, self.listeners, self.checks)
        self.counts = dict.fromkeys(COUNTED, 0)
        self.aborts: dict[str, int] = {}
        for name in COUNTED:
            world.when(name, self._count)
        world.when("abort", self._aborted)
        world.react(fx.EndSession, self._ended)
        world.open(self.authority.first_request(), graph)
        self._schedule(scenario)

    def _schedule(self, scenario: Scenario) -> None:
        world = self.world
        for armed in scenario.faults:
            arm = self._await_moment if armed.on else self._arm
            world.at(armed.at_ms * NS_PER_MS, arm, armed)
        self.caller.begin()
        limits = world.seat.graph.policies.limits
        left_ms = scenario.seconds * 1000
        # The slowest end there is: nobody says goodbye, and the line's own deadline has to find out.
        tail_ms = limits.disconnect_ms_max + limits.drain_ms_max + limits.close_ms_max + 1_000
        world.end = (left_ms + tail_ms + 500) * NS_PER_MS
        world.at((left_ms + tail_ms) * NS_PER_MS, self._must_have_ended)

    def _arm(self, armed: Armed) -> None:
        getattr(self, FAULTS[armed.name].actor).arm(armed.name)

    def _await_moment(self, armed: Armed) -> None:
        """Arm the fault at the next moment of its kind, once."""
        waiting = [armed]

        def moment(_seat: Seat, _effect: fx.Announce) -> None:
            if waiting:
                self.world.after(waiting.pop().after_ms, self._arm, armed)

        self.world.when(armed.on, moment)

    def _must_have_ended(self) -> None:
        self.checks.expect_end(self.world.seat, 0)

    def _count(self, seat: Seat, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if isinstance(signal, Signal):
            self.counts[signal.signal] += 1

    def _aborted(self, seat: Seat, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if isinstance(signal, Signal):
            reason = signal.reason or "none"
            self.aborts[reason] = self.aborts.get(reason, 0) + 1

    def _ended(self, seat: Seat, effect: fx.EndSession) -> None:
        if seat.ended_at is None:
            seat.ended_at = self.world.now

    def run(self) -> Outcome:
        began = time.process_time_ns()
        self.world.run()
        self.checks.finish()
        return self._outcome(time.process_time_ns() - began)

    def _outcome(self, cpu_ns: int) -> Outcome:
        world, caller = self.world, self.caller
        talk_ns = world.now if caller.left_at is None else min(world.now, caller.left_at)
        return Outcome(
            session=world.scenario.session,
            turns=self.counts["turn_open"],
            commits=self.counts["commit"],
            aborts=dict(sorted(self.aborts.items())),
            interruptions=self.counts["barge_in"],
            fired=dict(sorted(world.fired.items())),
            frames_in=caller.frames,
            frames_out=self.client.frames,
            sim_ns=talk_ns,
            cpu_ns=cpu_ns,
            inputs=sum(len(seat.inputs) for seat in world.seats),
            digest=b"".join(seat.digest() for seat in world.seats),
            violations=tuple(world.violations),
        )


def run_session(
    scenario: Scenario,
    kernel_class: KernelFactory = SessionKernel,
    observer: Observer | None = None,
) -> Outcome:
    """Run one scenario to its end."""
    return Session(scenario, kernel_class, observer).run()


def verify_sessions(
    seed: int,
    count: int,
    kernel_factory: KernelFactory = SessionKernel,
    *,
    stop_at_first: bool = True,
    wish: str = "all",
    first: int = 0,
) -> tuple[int, list[Violation]]:
    """Run sessions until something is found: how many it took, and what was found."""
    found: list[Violation] = []
    for number in range(first, first + count):
        found += run_session(draw(seed, number, wish), kernel_factory).violations
        if found and stop_at_first:
            return number - first + 1, found
    return count, found
