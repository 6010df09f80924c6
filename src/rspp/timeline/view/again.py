"""What was sent is not recorded, it follows from the inputs: a kernel runs again, and says it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from rspp.contract.errors import RsppError
from rspp.kernel.hosting import NodeFactory
from rspp.timeline.recording import Recording
from rspp.timeline.replay.engine import ExactReplay
from rspp.timeline.story import Story, Teller


class Again(msgspec.Struct, frozen=True):
    """The run as the kernel did it again, or why there is none."""

    story: Story | None
    why_not: str | None = None


def again(recording: Recording, factories: Mapping[str, NodeFactory], *, frames: bool = False) -> Again:
    """Feed the recording's inputs to a fresh kernel; with `frames` keep the audio that it sends."""
    if not recording.complete_through:
        return Again(None, "the recording has no inputs")
    lacking = sorted(set(recording.head.node_types) - set(factories))
    if lacking:
        return Again(None, f"the nodes {', '.join(lacking)} are not here")
    teller = Teller(recording, frames=frames)
    try:
        for step in ExactReplay(recording, factories):
            teller.take(step.number, step.at, step.received, step.effects)
    except RsppError as error:
        return Again(None, f"the kernel does not take its inputs: {error}")
    graph = recording.head.graph
    return Again(teller.story("replay", graph, mode="re_simulate_nodes", decisions="replay_decisions"))
