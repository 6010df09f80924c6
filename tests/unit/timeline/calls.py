"""Recordings for tests, made as live ones are: by the recorder, of kernels that really ran."""

from __future__ import annotations

from functools import lru_cache

from rspp.cli.sim_recorder import record
from rspp.contract.words import RecordingLevel
from rspp.nodes import factories
from rspp.sim.scenario import draw
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.replay.engine import ExactReplay
from rspp.timeline.story import Story, Teller


@lru_cache(maxsize=64)
def simulated_bytes(
    seed: int = 7, session: int = 0, faults: str = "none", level: RecordingLevel = RecordingLevel.L1
) -> bytes:
    """The recording of a simulated call's first kernel, as a file's bytes."""
    _, recordings = record(draw(seed, session, faults), level)
    return recordings[0]


def simulated(
    seed: int = 7, session: int = 0, faults: str = "none", level: RecordingLevel = RecordingLevel.L1
) -> Recording:
    """The same, read; each caller gets one of its own."""
    return assemble([unframe(simulated_bytes(seed, session, faults, level))])


def replayed(recording: Recording, *, frames: bool = False) -> Story:
    """The story of an exact replay."""
    teller = Teller(recording, frames=frames)
    for step in ExactReplay(recording, factories()):
        teller.take(step.number, step.at, step.received, step.effects)
    return teller.story("replay", recording.head.graph, mode="re-simulate", decisions="replay-decisions")
