"""A failure made small: the fewest inputs, from the start, that still show it; and those inputs as a file.

The inputs of a session are recorded as they are given. Fed to a fresh kernel under fresh checkers they do the same
again, so a prefix either shows the failure or does not. What only the world can see has no shorter form than all that
led to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rspp.kernel import inputs as i
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.invariants import Monitor
from rspp.kernel.journal import Encoding, write_header, write_input
from rspp.kernel.snapshot import OpenRequest
from rspp.sim.nodes import factories
from rspp.sim.scenario import Scenario
from rspp.sim.session import Session
from rspp.sim.world import ESCAPES, KernelFactory, Seat, Violation
from rspp.spec.graph import GraphDefinition

Inputs = Sequence[tuple[int, i.Input]]


class Small:
    """A failure, and how little of its session shows it."""

    def __init__(self, seat: Seat, violation: Violation, inputs: int) -> None:
        self.seat = seat
        self.violation = violation
        self.inputs = inputs

    def journal(self) -> bytes:
        """The prefix as a file of JSON lines, which `rspp kernel run` takes."""
        lines = [write_header(self.seat.request, self.seat.graph, Encoding.JSON)]
        lines += [
            write_input(at, received, Encoding.JSON) for at, received in self.seat.inputs[: self.inputs]
        ]
        return b"".join(lines)


def shorten(scenario: Scenario, kernel_class: KernelFactory, violation: Violation) -> Small:
    """Run the session again and look for the shortest prefix that shows this violation."""
    session = Session(scenario, kernel_class)
    session.run()
    seat = session.world.seats[violation.seat]
    nodes = factories(scenario, lambda _: None)

    def shows(count: int) -> bool:
        found = fed(seat.request, seat.graph, nodes, kernel_class, seat.inputs[:count])
        return any(one.checker == violation.checker for one in found)

    count = min(violation.inputs, len(seat.inputs))
    if not shows(count):
        return Small(seat, violation, count)
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if shows(middle):
            high = middle
        else:
            low = middle + 1
    # A prefix can be cut where something is merely unfinished; what was found has to show at its end.
    return Small(seat, violation, high if shows(high) else count)


def fed(
    request: OpenRequest,
    graph: GraphDefinition,
    nodes: Mapping[str, NodeFactory],
    kernel_class: KernelFactory,
    inputs: Inputs,
) -> list[Violation]:
    """What fresh checkers find when a fresh kernel is fed these inputs."""
    monitor = Monitor(graph, request)
    kernel = kernel_class(request, graph, nodes)
    now = request.anchor.monotonic
    for effect in kernel.drain():
        monitor.saw_effect(now, effect)
    escaped: list[Violation] = []
    for now, received in inputs:
        monitor.saw_input(now, received)
        try:
            if isinstance(received, i.Woken):
                kernel.wake(now)
            else:
                kernel.receive(now, received)
        except Exception as error:  # noqa: BLE001 - the simulator supervises: an escape is what is looked for
            escaped.append(
                Violation("kernel", ESCAPES, f"{type(error).__name__}: {error}", now, 0, len(inputs))
            )
            break
        for effect in kernel.drain():
            monitor.saw_effect(now, effect)
    found = [Violation(v.inv, v.checker, v.message, v.at, 0, len(inputs)) for v in monitor.violations]
    return found + escaped


__all__ = ["Small", "fed", "shorten"]
