"""A sync node that misbehaves at armed times, and nowhere else: what it does follows from its inputs' times alone.

So a kernel that is fed a recording of the session's inputs meets the same misbehaviour again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rspp.contract.event import NS_PER_MS, Audio, Event
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import Context, NodeFactory
from rspp.nodes import Segmenter
from rspp.sim.scenario import IN_STEP, Scenario
from rspp.sim.world import Seat, World

NODE: Final = "segmenter"


class NodeBrokeError(RuntimeError):
    """What the broken node raises."""


class Flaky(Segmenter):
    """The real segmenter; each armed fault spoils the first event after its time."""

    def __init__(
        self, config: Mapping[str, object], faults: list[tuple[int, str]], fire: Callable[[str], None]
    ) -> None:
        super().__init__(config)
        self._faults = faults
        self._fire = fire

    def on_event(self, ctx: Context, port: str, event: Event) -> None:
        for fault in self._faults:
            if fault[0] <= ctx.now:
                self._faults.remove(fault)
                self._fire(fault[1])
                if fault[1] == "node_raises":
                    raise NodeBrokeError("armed")
                ctx.emit("text", Audio(bytes(2), 1, 0))
                return
        super().on_event(ctx, port, event)


def factories(scenario: Scenario, fire: Callable[[str], None]) -> Mapping[str, NodeFactory]:
    """The node types of a session; every kernel gets instances of its own."""
    faults = [(armed.at_ms * NS_PER_MS, armed.name) for armed in scenario.faults if armed.name in IN_STEP]
    return {NODE: lambda config: Flaky(config, list(faults), fire)}


class Nodes:
    """The host's half of a node's faults: its meter, and its workers."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._armed: list[str] = []
        world.when("turn_open", self._turn_open)

    def arm(self, name: str) -> None:
        if name not in IN_STEP:
            self._armed.append(name)

    def _turn_open(self, seat: Seat, effect: fx.Announce) -> None:
        while self._armed:
            self.world.after(180, self._break, seat, self._armed.pop())

    def _break(self, seat: Seat, name: str) -> None:
        if not seat.live:
            return
        self.world.fire(name)
        if name == "node_overruns":
            seat.give(i.NodeMeasured(NODE, 2_400, 2_400))
        else:
            seat.give(i.NodeRaised(NODE, "WorkerDied"))
