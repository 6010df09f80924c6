"""Which sessions are recorded, and up to which level: `Recorders` is a host's factory of recorders over one spool.

    recorders = Recorders(spool, redactors, Sampling(rate=0.25))
    host = Host(registry, recorders=recorders)
    ...
    await host.stop()
    await recorders.close()

A session that is not sampled leaves no file. Its turns need evidence all the same before they commit: that is kept in
memory as long as the session lives, and goes with it. The draw is a hash of the session's id, so every process that a
session comes to draws the same.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Recorder, Stepped, Tell
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition
from rspp.timeline.ports import Redactor
from rspp.timeline.session import SessionRecorder
from rspp.timeline.spool import CLOSE_MS, Spool

Redactors = Callable[[OpenRequest, GraphDefinition], Redactor]
_DRAWS: Final = 1 << 64


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """The share of sessions that are recorded, and the highest level: for all, and for tenants who have their own.

    A pipeline asks for a level; what is here only lowers it. `forced` sessions are recorded whatever the rate is.
    """

    rate: float = 1.0
    level_max: RecordingLevel = RecordingLevel.L2
    tenant_rates: Mapping[str, float] = {}
    tenant_levels_max: Mapping[str, RecordingLevel] = {}
    forced: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for rate in (self.rate, *self.tenant_rates.values()):
            if not 0.0 <= rate <= 1.0:
                raise MisuseError("sampling_invalid", f"a rate is between 0 and 1, not {rate}")

    def why(self, session_id: str, tenant_id: str) -> str | None:
        """Why this session is recorded, or None if it is not."""
        if session_id in self.forced:
            return "forced"
        rate = self.tenant_rates.get(tenant_id, self.rate)
        if rate >= 1.0:
            return "all"
        return f"rate:{rate:g}" if _draw(session_id) < rate * _DRAWS else None

    def ceiling(self, tenant_id: str) -> RecordingLevel:
        return self.tenant_levels_max.get(tenant_id, self.level_max)


def _draw(session_id: str) -> int:
    digest = hashlib.sha256(session_id.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big")


class Recorders:
    """A recorder for each session of one host (`rspp.host.host.RecorderFactory`)."""

    def __init__(
        self,
        spool: Spool,
        redactors: Redactors,
        sampling: Sampling | None = None,
        *,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        origin: str = "run",
        keeps: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`keeps` says of a tenant whether anything of its sessions may be written here at all."""
        self.spool = spool
        self._keeps = keeps
        self.sampling = sampling or Sampling()
        self._redactors = redactors
        self._wall_ms = wall_ms
        self._origin = origin

    def __call__(self, session_id: str) -> Recorder:
        return SampledRecorder(self)

    def begin(self, request: OpenRequest, graph: GraphDefinition) -> SessionRecorder | None:
        """The recorder of a session that is sampled, which has its pulse from now on."""
        why = self.sampling.why(request.session_id, request.tenant_id)
        if why is None or not self._keeps(request.tenant_id):
            self.spool.meters.sessions_unsampled_total += 1
            return None
        redactor = self._redactors(request, graph)
        return self.spool.open(
            request.session_id,
            request.tenant_id,
            lambda append: SessionRecorder(
                append,
                redactor,
                wall_ms=self._wall_ms,
                sampled=why,
                origin=self._origin,
                ceiling=self.sampling.ceiling(request.tenant_id),
                meters=self.spool.meters,
            ),
        )

    async def close(self, deadline_ms: int = CLOSE_MS) -> bool:
        """Wait until everything is written; False if the disk did not answer in time. Sessions are over by now."""
        return await self.spool.close(deadline_ms)


class SampledRecorder:
    """One session's recorder, which knows only when the session opens whether it is one.

    What comes with every frame goes straight to whoever keeps it, without a step in between.
    """

    def __init__(self, recorders: Recorders) -> None:
        self._recorders = recorders
        self._tell: Tell = lambda _: False
        self._recorder: SessionRecorder | None = None
        self._keeper: Recorder = MemoryRecorder()
        self.took: Callable[[int, Input], None] = self._keeper.took
        self.did: Callable[[int, Sequence[Effect]], None] = self._keeper.did
        self._opened = False

    def attach(self, tell: Tell) -> None:
        self._tell = tell

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        if self._opened:
            return
        self._opened = True
        recorder = self._recorders.begin(request, graph)
        if recorder is not None:
            self._recorder = self._keeper = recorder
            self.took, self.did = recorder.took, recorder.did
            recorder.attach(self._tell)
            recorder.opened(request, graph)

    def stepped(self, step: Stepped) -> None:
        if self._recorder is not None:
            self._recorder.stepped(step)

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return self._keeper.evidence(record_id, evidence)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._keeper.closed_turn(record_id, stamp)

    def closed(self) -> None:
        self._keeper.closed()
