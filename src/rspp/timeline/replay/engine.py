"""The exact replay: the recorded inputs, at their times, into a fresh kernel. Equal inputs, equal effects, byte for byte.

Knows nothing of modes, tolerances or people: it steps. What a replay makes of it stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from rspp.kernel.effects import Effect
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import Input, Woken
from rspp.kernel.session import SessionKernel
from rspp.timeline.recording import Recording
from rspp.timeline.replay.nodes import played_back


class Step(msgspec.Struct, frozen=True, gc=False):
    """One input and all that the kernel wanted done about it; step 0 is the kernel's birth."""

    number: int
    at: int
    received: Input | None
    effects: list[Effect]


class ExactReplay:
    """A fresh kernel, and the inputs that it has not been given yet."""

    def __init__(self, recording: Recording, factories: Mapping[str, NodeFactory]) -> None:
        head = recording.head
        self.recording = recording
        self.kernel = SessionKernel(
            head.request, head.graph, played_back(head.graph, factories, recording.nodes)
        )
        self.last = recording.complete_through
        self.number = -1

    def step(self) -> Step | None:
        """Give the next input; None when there is no further one."""
        if self.number >= self.last:
            return None
        self.number += 1
        if self.number == 0:
            return Step(0, self.recording.began_at, None, self.kernel.drain())
        at, received = self.recording.inputs[self.number]
        if isinstance(received, Woken):
            self.kernel.wake(at)
        else:
            self.kernel.receive(at, received)
        return Step(self.number, at, received, self.kernel.drain())

    def __iter__(self) -> Iterator[Step]:
        while (step := self.step()) is not None:
            yield step
