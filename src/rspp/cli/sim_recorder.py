"""Simulated calls, recorded as live ones are: the same records, at level L1 or whichever is asked for.

What the simulated nodes do (they may be made to fail) cannot be had from `rspp.nodes`, so every step of theirs is kept, and
a replay plays them back. Keeps a recorder a kernel: a call with a failover has two recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from rspp.cli.output import write_bytes
from rspp.contract.words import RecordingLevel
from rspp.host.steps import Witnessed, each_node
from rspp.kernel.effects import Effect, StoreClose, StoreEvidence
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import EvidenceStored, Input
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.sim.run import Job
from rspp.sim.scenario import Scenario, draw
from rspp.sim.session import Outcome, Session
from rspp.sim.world import KernelFactory, Seat
from rspp.spec.graph import GraphDefinition, NodeDefinition
from rspp.timeline.memory import MemoryAppend
from rspp.timeline.session import Everything, SessionRecorder


class SimRecorder:
    """Records one simulated call: it makes the kernels, and is shown everything."""

    def __init__(self, kernel: KernelFactory = SessionKernel) -> None:
        self.appends: list[MemoryAppend] = []  # one a kernel
        self._recorders: list[SessionRecorder] = []
        self._pending: list[list[Effect]] = []
        self._granted: list[list[StoreEvidence]] = []  # bounded: by the answers to one input
        self._at: list[int] = []
        self._asked: dict[str, StoreEvidence] = {}  # bounded: by the turns of a call
        self._kernel = kernel

    def make(
        self, request: OpenRequest, graph: GraphDefinition, factories: Mapping[str, NodeFactory]
    ) -> SessionKernel:
        """A kernel whose nodes are watched."""
        append = MemoryAppend()
        recorder = SessionRecorder(append, Everything(), wall_ms=lambda: 0, origin="sim", capture=True)
        recorder.opened(request, graph)
        self.appends.append(append)
        self._recorders.append(recorder)
        self._pending.append([])
        self._granted.append([])
        self._at.append(0)

        def watched(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
            return Witnessed(factory(config), node.id, recorder.stepped)

        return self._kernel(request, graph, each_node(graph, factories, watched))

    def saw(self, now: int, seat: Seat, what: Input | Effect) -> None:
        """The simulator's observer: effects come one by one after their input."""
        number = seat.number
        if isinstance(what, Effect):
            self._pending[number].append(what)
            self._at[number] = now
            return
        self._hand_on(number)
        self._recorders[number].took(now, what)
        if isinstance(what, EvidenceStored):
            self._answered(number, what)

    def _hand_on(self, number: int) -> None:
        effects, self._pending[number] = self._pending[number], []
        if effects:
            self._recorders[number].did(self._at[number], effects)
        # After all that the answer led to: a record's digest is over whole steps.
        granted, self._granted[number] = self._granted[number], []
        for asked in granted:
            self._recorders[number].evidence(asked.record_id, asked.evidence)
        for effect in effects:
            if isinstance(effect, StoreEvidence):
                self._asked[effect.record_id] = effect
            elif isinstance(effect, StoreClose):
                self._recorders[number].closed_turn(effect.record_id, effect.stamp)

    def _answered(self, number: int, answer: EvidenceStored) -> None:
        """Evidence is on record when the simulated recorder says that it took it, and only then."""
        asked = self._asked.pop(answer.record_id, None)
        if asked is not None and answer.ok:
            self._granted[number].append(asked)

    def finish(self) -> list[bytes]:
        """The recordings, one a kernel, each as the bytes of a file."""
        for number, recorder in enumerate(self._recorders):
            self._hand_on(number)
            recorder.closed()
        return [bytes(append.data) for append in self.appends]


def record(
    scenario: Scenario,
    level: RecordingLevel = RecordingLevel.L1,
    kernel: KernelFactory = SessionKernel,
) -> tuple[Outcome, list[bytes]]:
    """Run one scenario at this level; what came of it, and the recordings of its kernels.

    The level is the scenario's own, so that whoever checks the kernel starts from the graph that the kernel has.
    """
    scenario = msgspec.structs.replace(
        scenario, knobs=msgspec.structs.replace(scenario.knobs, recording_level=level.value)
    )
    recorder = SimRecorder(kernel)
    outcome = Session(scenario, recorder.make, recorder).run()
    return outcome, recorder.finish()


class RecordJob(msgspec.Struct, frozen=True):
    """Runs a simulated call and writes its recordings into a folder, in this process or in another."""

    folder: Path

    def __call__(self, job: Job) -> Outcome:
        scenario = draw(job.seed, job.session, job.wish)
        outcome, recordings = record(scenario)
        save(self.folder, scenario, recordings, write_bytes)
        return outcome


def save(
    folder: Path, scenario: Scenario, recordings: list[bytes], write: Callable[[Path, bytes], None]
) -> list[Path]:
    """One file a kernel, named after the scenario."""
    paths = []
    for number, data in enumerate(recordings):
        path = folder / f"sim-{scenario.seed}-{scenario.session}-{number}.rspp"
        write(path, data)
        paths.append(path)
    return paths
