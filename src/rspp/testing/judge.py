"""A recorder that judges: the invariants are checked on a live session, as the simulator checks them on a simulated one.

host = Host(registry, recorders=judges.recorder)
...
assert judges.violations() == []
"""

from __future__ import annotations

from collections.abc import Sequence

from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.invariants import Monitor
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition


class Judge:
    """One session's recorder and its judge."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.memory = MemoryRecorder()
        self.monitor: Monitor | None = None
        self.over = False
        self._last = 0

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self.monitor = Monitor(graph, request)

    def took(self, at: int, received: Input) -> None:
        self._last = at
        if self.monitor is not None:
            self.monitor.saw_input(at, received)

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        self._last = at
        if self.monitor is not None:
            for effect in effects:
                self.monitor.saw_effect(at, effect)

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return self.memory.evidence(record_id, evidence)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self.memory.closed_turn(record_id, stamp)

    def closed(self) -> None:
        self.over = True

    def violations(self) -> list[str]:
        if self.monitor is None:
            return []
        if self.over:
            self.monitor.finish(self._last)
        return [
            f"{self.session_id}: {found.inv} {found.checker}: {found.message}"
            for found in self.monitor.violations
        ]


class Judges:
    """The judges of all sessions of a host; of those that are over only what they found is kept."""

    def __init__(self) -> None:
        self._sitting: dict[str, Judge] = {}
        self._found: list[str] = []
        self.judged = 0

    def recorder(self, session_id: str) -> Judge:
        self._retire()
        judge = self._sitting[session_id] = Judge(session_id)
        self.judged += 1
        return judge

    def violations(self) -> list[str]:
        """What was found so far, in all sessions."""
        self._retire()
        return self._found + [found for judge in self._sitting.values() for found in judge.violations()]

    def _retire(self) -> None:
        for session_id, judge in list(self._sitting.items()):
            if judge.over:
                self._found += judge.violations()
                del self._sitting[session_id]
