"""One session's recorder: it takes everything at once, and hands it on in records, a batch at a time.

Nothing waits here. What a step costs is two appends to a list; the work is done for a whole batch. Evidence goes on at once,
in reserved space, and is answered when it is really kept. Which level is in force is the kernel's decision, read from what it
announces, so a replay finds the same change at the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgspec

from rspp import __version__
from rspp.contract.event import Audio, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.signals import SignalName
from rspp.contract.words import EventKind, RecordingLevel
from rspp.host.ports import EVIDENCE_LATER, Stepped, Tell
from rspp.kernel import effects as fx
from rspp.kernel.flags import resolve
from rspp.kernel.inputs import EvidenceStored, Input, RecorderPressed
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.trace import Item, Tracer, item
from rspp.spec.graph import GraphDefinition, Role
from rspp.timeline import records as r
from rspp.timeline.packing import pack, sound_of

# Inputs of a batch: over half a second of a call, and a few kilobytes.
BATCH_INPUTS: Final = 64
# Effects of a batch that no input filled, while the kernel works off its timers.
BATCH_STEPS: Final = 256
# Steps of text nodes that wait for word of whether what they saw may be kept; then all are written.
STEPS_WAITING_MAX: Final = 256
L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
_RANK: Final = {L0: 0, L1: 1, L2: 2}
_LEVEL_SIGNALS: Final = frozenset(
    {SignalName.RECORDING_LEVEL_DOWNGRADED.value, SignalName.RECORDING_LEVEL_RESTORED.value}
)
# What L0 keeps of the trace: everything that is control, and what is decided.
_CONTROL: Final = frozenset({fx.Announce, fx.StoreEvidence, fx.StoreClose, fx.Record, fx.EndSession})

Kept = Callable[[str | None], None]


class Append(Protocol):
    """Where a session's records go: the local append. It never waits and never raises."""

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        """Take these records; False if there is no room for them. `reserved` is for evidence, which has room of its own.

        `kept` is called once on the loop's thread: with None when the bytes are in the file, else with the reason.
        """
        ...

    def close(self) -> None: ...


class Redactor(Protocol):
    """What may be kept of one session's contents. Streams of texts are judged whole, so a text is known late."""

    @property
    def policy_id(self) -> str: ...
    @property
    def settling(self) -> bool:
        """Does a stream of texts go on, whose last word is not yet spoken?"""
        ...

    @property
    def tainted(self) -> bool:
        """Was anything masked until now?"""
        ...

    @property
    def withheld(self) -> int:
        """Texts that are not here, or not whole."""
        ...

    def request(self, request: OpenRequest) -> OpenRequest: ...
    def graph(self, graph: GraphDefinition) -> GraphDefinition: ...
    def take(self, step: int, at: int, received: Input) -> Input:
        """The input with a stand-in of the same shape for its text."""
        ...

    def hear(self, step: int, at: int, received: Input, data: bytes) -> None:
        """Audio of an input, at L2."""
        ...

    def settled(self, *, all_of_it: bool = False) -> list[r.Spoken]:
        """Texts that are known now, masked; of all streams, if the session is over."""
        ...

    def sounds(self, *, all_of_it: bool = False) -> list[r.Sound]: ...
    def stepped(self, stepped: Stepped) -> Stepped:
        """What a node made, without what must not be kept, in the same shape."""
        ...

    def item(self, made: Item) -> Item:
        """An item whose details may hold what a peer wrote."""
        ...


class SessionRecorder:
    """Recorder, TellsSession and WatchesNodes in one, for one session."""

    def __init__(
        self,
        append: Append,
        redactor: Redactor,
        *,
        wall_ms: Callable[[], int],
        sampled: str = "all",
        origin: str = "run",
    ) -> None:
        self.level = L0
        self._append = append
        self._redactor = redactor
        self._wall_ms = wall_ms
        self._sampled, self._origin = sampled, origin
        self._tell: Tell = lambda _: False
        self._tracer: Tracer | None = None  # None once inputs are missing: no digest can be over them
        self._batch: list[tuple[int, Input]] = []  # bounded: BATCH_INPUTS
        self._done: list[tuple[int, int, Sequence[fx.Effect]]] = []  # bounded: BATCH_STEPS
        self._steps: list[r.NodeStep] = []  # bounded: with the batch
        self._waiting: list[r.NodeStep] = []  # bounded: STEPS_WAITING_MAX
        self._nth: dict[str, int] = {}
        self._hearing: frozenset[str] = frozenset()  # nodes that are given audio
        self._captured: set[str] = (
            set()
        )  # nodes that have seen what is withheld: from there on all they do is kept
        self._step = 0  # the input that is being worked on
        self._first = 1  # the number of the first input of the batch
        self._at = self._batch_at = 0
        self._lost = 0
        self._pressed = self._over = self._begun = False
        self._sounds_withheld = 0

    # ---- as a recorder -----------------------------------------------------------------------------------------------

    def attach(self, tell: Tell) -> None:
        self._tell = tell

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        if self._begun:
            return
        self._begun = True
        self.level = graph.recording_policy.level
        self._at = self._batch_at = request.anchor.monotonic
        if self.level is not L0:
            self._tracer = Tracer()
        self._hearing = frozenset(
            node.id
            for node in graph.nodes
            if node.role is Role.SYNC and any(EventKind.AUDIO in port.kinds for port in node.inputs)
        )
        request = msgspec.structs.replace(request, flags=tuple(sorted(resolve(request.flags))))
        head = r.Head(
            format=r.FORMAT,
            schema_version=r.SCHEMA_VERSION,
            session_id=request.session_id,
            tenant_id=request.tenant_id,
            level=self.level,
            policy_id=self._redactor.policy_id,
            request=self._redactor.request(request),
            graph=self._redactor.graph(graph),
            node_types=sorted({node.type for node in graph.nodes if node.role is Role.SYNC}),
            runtime=__version__,
            opened_wall_ms=self._wall_ms(),
            sampled=self._sampled,
            origin=self._origin,
        )
        self._append.append(r.frame(head), reserved=True)

    def took(self, at: int, received: Input) -> None:
        self._step += 1
        self._at = at
        if self.level is not L0:
            self._batch.append((at, received))
        if type(received) is RecorderPressed:
            self._pressed = True

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        if not self._step:
            at = self._at  # the kernel's birth is at the session's anchor, whenever the host came to it
        self._done.append((self._step, at, effects))
        if len(self._batch) >= BATCH_INPUTS or len(self._done) >= BATCH_STEPS or self._pressed:
            self.flush()

    def stepped(self, step: Stepped) -> None:
        nth = self._nth[step.node_id] = self._nth.get(step.node_id, 0) + 1
        if self.level is L0:
            return
        made = r.NodeStep(self._step, nth, step)
        if step.error is not None or step.node_id in self._captured:
            self._steps.append(made)
        elif step.node_id in self._hearing and self.level is L1:
            self._captured.add(step.node_id)
            self._steps.append(made)
        else:
            self._waiting.append(made)
            if len(self._waiting) > STEPS_WAITING_MAX:
                self._keep_waiting()

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        if self._over:
            return "recorder_closed"
        self.flush()

        def kept(why: str | None) -> None:
            self._tell(EvidenceStored(record_id, why is None, why))

        record = r.frame(r.Evidence(record_id=record_id, evidence=evidence))
        return EVIDENCE_LATER if self._append.append(record, reserved=True, kept=kept) else "recorder_full"

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        if not self._over:
            self.flush()
            self._append.append(r.frame(r.Close(record_id=record_id, stamp=stamp)), reserved=True)

    def closed(self) -> None:
        if self._over or not self._begun:
            self._over = True
            return
        self.flush(last=True)
        self._over = True
        tracer = self._tracer
        self._append.append(
            r.frame(
                r.End(
                    steps=self._step,
                    at=self._at,
                    reason="closed",
                    effects=tracer.effects if tracer else 0,
                    digest=tracer.digest() if tracer else None,
                    words=tracer.words() if tracer and not self._redactor.withheld else None,
                    withheld_texts=self._redactor.withheld,
                    withheld_audio=self._sounds_withheld,
                    lost=self._lost,
                )
            ),
            reserved=True,
        )
        self._append.close()

    # ---- a batch -----------------------------------------------------------------------------------------------------

    def flush(self, *, last: bool = False) -> None:
        """Hand on what has come since the last time."""
        if self._over:
            return
        self._pressed = False
        records: list[r.Record] = []
        if self._batch:
            records.append(pack(self._first, self._batch_at, self._batch, self._redactor.take))
            self._sound(records)
            self._batch_at = self._batch[-1][0]
        texts = self._redactor.settled(all_of_it=last)
        if texts:
            records.append(r.Words(texts=texts))
        records += self._redactor.sounds(all_of_it=last)
        self._settle_steps(records)
        self._trace(records)
        self._batch, self._done = [], []
        self._first = self._step + 1
        if not records:
            return
        data = b"".join(map(r.frame, records))
        if not self._append.append(data):
            self._lose(len(records))

    def _sound(self, records: list[r.Record]) -> None:
        if self.level is not L2:
            packed = records[-1]
            assert isinstance(packed, r.Inputs)
            self._sounds_withheld += packed.audio
            return
        for step, (at, received) in enumerate(self._batch, self._first):
            data = sound_of(received)
            if data is not None:
                self._redactor.hear(step, at, received, data)

    def _settle_steps(self, records: list[r.Record]) -> None:
        """Steps of text nodes are kept only if something that they may have seen is not."""
        if self._redactor.tainted:
            self._keep_waiting()
        elif not self._redactor.settling:
            self._waiting.clear()
        if self._steps:
            kept = [
                _replace(one, stepped=self._redactor.stepped(_silent(one.stepped))) for one in self._steps
            ]
            records.append(r.Steps(steps=kept))
            self._steps = []

    def _keep_waiting(self) -> None:
        self._captured.update(one.stepped.node_id for one in self._waiting)
        self._steps += self._waiting
        self._waiting = []

    def _trace(self, records: list[r.Record]) -> None:
        tracer = self._tracer
        control: list[Item] = []
        changes: list[r.Level] = []
        plans: list[r.Plan] = []
        for step, at, effects in self._done:
            if tracer is not None:
                tracer.take(step, at, effects)
                continue
            for effect in effects:
                if type(effect) in _CONTROL:
                    control.append(item(step, at, effect))
                    _note_plan(effect, plans)
        if tracer is not None:
            items, runs, made = tracer.cut()
            plans = [r.Plan(plan=plan) for plan in made]
        else:
            items, runs = control, []
        if not items and not runs and not self._batch:
            return
        for one in items:
            if one.what == "signal" and one.name in _LEVEL_SIGNALS:
                changes.append(self._changed(one))
        records += plans
        words = tracer.words() if tracer and not self._redactor.withheld else None
        records.append(
            r.Trace(
                through=self._step,
                items=[self._redactor.item(one) for one in items],
                runs=runs,
                digest=tracer.digest() if tracer else None,
                words=words,
                effects=tracer.effects if tracer else 0,
            )
        )
        records += changes
        if self.level is L0:
            self._tracer = None  # the inputs that follow are not here

    def _changed(self, one: Item) -> r.Level:
        """The kernel has changed the level: from the next input on."""
        detail = one.facts.get("detail", {})
        old, new = RecordingLevel(detail["old"]), RecordingLevel(detail["new"])
        assert abs(_RANK[old] - _RANK[new]) == 1, "a level was skipped"
        self.level = new
        return r.Level(
            step=one.step + 1,
            at=one.at,
            old=old,
            new=new,
            trigger=str(detail.get("trigger_class", "")),
            policy_id=str(detail.get("policy_id", "")),
        )

    def _lose(self, count: int) -> None:
        """There was no room: what was lost is said as soon as there is."""
        self._lost += count
        self._tracer = None
        gap = r.Gap(step=self._first, at=self._at, reason="no_room", records=count)
        self._append.append(r.frame(gap), reserved=True)


_replace: Final = msgspec.structs.replace


def _note_plan(effect: fx.Effect, plans: list[r.Plan]) -> None:
    entry: Any = getattr(effect, "entry", None)
    if isinstance(entry, ResolvedTurnPlan):
        plans.append(r.Plan(plan=entry))


def _silent(stepped: Stepped) -> Stepped:
    """Without the bytes of audio: silence of the same length says as much to a kernel."""
    if not any(isinstance(output.payload, Audio) for output in stepped.outputs):
        return stepped
    outputs = tuple(
        _replace(output, payload=_replace(output.payload, data=bytes(len(output.payload.data))))
        if isinstance(output.payload, Audio)
        else output
        for output in stepped.outputs
    )
    return _replace(stepped, outputs=outputs)


class Everything:
    """A redactor that keeps everything as it is: for simulated callers, who have no secrets."""

    policy_id = "keep-everything/v1"
    settling = tainted = False
    withheld = 0

    def __init__(self) -> None:
        self._texts: list[r.Spoken] = []  # bounded: taken away with each batch
        self._sounds: list[tuple[int, bytes]] = []  # bounded: likewise

    def request(self, request: OpenRequest) -> OpenRequest:
        return request

    def graph(self, graph: GraphDefinition) -> GraphDefinition:
        return graph

    def take(self, step: int, at: int, received: Input) -> Input:
        text = _text_of(received)
        if text is not None:
            self._texts.append(r.Spoken(step, text))
        return received

    def hear(self, step: int, at: int, received: Input, data: bytes) -> None:
        self._sounds.append((step, data))

    def settled(self, *, all_of_it: bool = False) -> list[r.Spoken]:
        texts, self._texts = self._texts, []
        return texts

    def sounds(self, *, all_of_it: bool = False) -> list[r.Sound]:
        if not self._sounds:
            return []
        kept, self._sounds = self._sounds, []
        sizes = [len(data) for _, data in kept]
        return [r.Sound(steps=[step for step, _ in kept], sizes=sizes, data=b"".join(d for _, d in kept))]

    def stepped(self, stepped: Stepped) -> Stepped:
        return stepped

    def item(self, made: Item) -> Item:
        return made


def _text_of(received: Input) -> str | None:
    text = getattr(received, "text", None)
    if isinstance(text, str):
        return text
    payload = getattr(received, "payload", None)
    return payload.text if isinstance(payload, Text) else None
