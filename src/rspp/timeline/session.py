"""One session's recorder: it takes everything at once, and hands it on in records, a batch at a time.

Nothing waits here. Inputs are gathered and packed a batch at a time, effects are traced at once. Evidence goes on at once,
in reserved space, and is answered when it is really kept, and can be read again. Which level is in force is the kernel's decision, read from what it
announces, so a replay finds the same change at the same input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from rspp import __version__
from rspp.contract.errors import InvariantBreach
from rspp.contract.event import Signal
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.signals import SignalName
from rspp.contract.words import EventKind, RecordingLevel
from rspp.host.ports import EVIDENCE_LATER, Stepped, Tell
from rspp.kernel import effects as fx
from rspp.kernel.flags import resolve
from rspp.kernel.inputs import EvidenceStored, Input, RecorderPressed, SpeechScored
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.trace import Item, Run, Tracer, item, words_of
from rspp.spec.graph import GraphDefinition, Role
from rspp.spec.graph import Recording as Thresholds
from rspp.timeline import records as r
from rspp.timeline.meters import RecorderMeters
from rspp.timeline.packing import pack, silenced, sound_of
from rspp.timeline.plans import Plans
from rspp.timeline.ports import CLOSED, FULL, NO_ROOM, Append, Everything, Kept, Redactor

__all__ = ["Append", "Everything", "Kept", "Redactor", "SessionRecorder"]

# Inputs of a batch: over a second of a call. Handing on costs as much as fifty inputs; effects are not held at all, for what
# lives long falls out of the processor's caches, and that costs every frame more than its trace.
BATCH_INPUTS: Final = 128
# Control of a batch at L0.
BATCH_CONTROL: Final = 64
# Pulses, five a second, after which a batch that is not full is handed on all the same.
FLUSH_PULSES: Final = 5
# Records of evidence whose fate is remembered: the contract's capacity of the baseline.
ASKED_MAX: Final = 128
# Steps of text nodes that wait for word of whether what they saw may be kept; then all are written.
STEPS_WAITING_MAX: Final = 256
L0, L1, L2 = RecordingLevel.L0, RecordingLevel.L1, RecordingLevel.L2
_RANK: Final = {L0: 0, L1: 1, L2: 2}
_LEVEL_SIGNALS: Final = frozenset(
    {SignalName.RECORDING_LEVEL_DOWNGRADED.value, SignalName.RECORDING_LEVEL_RESTORED.value}
)
# What L0 keeps of the trace: everything that is control, and what is decided.
_CONTROL: Final = frozenset({fx.Announce, fx.StoreEvidence, fx.StoreClose, fx.Record, fx.EndSession})


class SessionRecorder:
    """Recorder, TellsSession and WatchesNodes in one, for one session.

    `ceiling` is the highest level that may be recorded at, whatever the pipeline asks for: a tenant's.
    """

    def __init__(
        self,
        append: Append,
        redactor: Redactor,
        *,
        wall_ms: Callable[[], int],
        sampled: str = "all",
        origin: str = "run",
        capture: bool = False,
        ceiling: RecordingLevel = L2,
        meters: RecorderMeters | None = None,
    ) -> None:
        self.level = L0
        self._append = append
        self._redactor = redactor
        self._wall_ms = wall_ms
        self._sampled, self._origin = sampled, origin
        # Keep what every sync node did, whatever it saw: where they cannot be run again.
        self._capture = capture
        self._ceiling = ceiling
        self._meters = meters or RecorderMeters()
        self._tell: Tell = lambda _: False
        self._session_id = ""
        self._thresholds: Thresholds | None = None
        self._tracer: Tracer | None = None  # None at L0, where only control is told
        self._exact = False  # is every effect in the tracer's digest, and every input on record?
        self._batch: list[tuple[int, Input]] = []  # bounded: BATCH_INPUTS
        self._control: list[Item] = []  # bounded: BATCH_CONTROL; at L0
        self._plans: list[ResolvedTurnPlan] = []  # bounded: with the control
        self._told_plans = Plans()
        self._steps: list[r.NodeStep] = []  # bounded: with the batch
        self._waiting: list[r.NodeStep] = []  # bounded: STEPS_WAITING_MAX
        self._nth: dict[str, int] = {}
        self._hearing: frozenset[str] = frozenset()  # nodes that are given audio
        # Nodes that have seen what is withheld: from there on all they do is kept.
        self._captured: set[str] = set()
        self._step = 0  # the input that is being worked on
        self._first = 1  # the number of the first input that is not handed on yet
        self._at = self._since = 0  # when the last input was taken, and the one before the batch
        self._lost = self._pulses = 0
        self._detailed = self._over = self._begun = False
        self._pressing = self._loss_told = False
        self._sounds_withheld = 0
        self._head: r.Head | None = None
        self._head_due = False
        self._gap: r.Gap | None = None  # what was lost and is not on record as lost yet
        self._asked: dict[str, bool] = {}  # bounded: ASKED_MAX; record id -> is it kept?
        self._evidence: tuple[str, TurnEvidence] | None = None

    # ---- as a recorder -----------------------------------------------------------------------------------------------

    def attach(self, tell: Tell) -> None:
        self._tell = tell

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        if self._begun or self._over:
            return
        self._begun = True
        self._session_id = request.session_id
        self._thresholds = graph.policies.recording
        self._set_level(self._capped(graph.recording_policy.level))
        self._meters.opened(self.level)
        self._exact = self._detailed
        self._at = self._since = request.anchor.monotonic
        self._hearing = frozenset(
            node.id
            for node in graph.nodes
            if node.role is Role.SYNC and any(EventKind.AUDIO in port.kinds for port in node.inputs)
        )
        request = msgspec.structs.replace(request, flags=tuple(sorted(resolve(request.flags))))
        self._head = r.Head(
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
        self._head_due = True
        self._begin_file()

    def took(self, at: int, received: Input) -> None:
        if self._detailed:
            batch = self._batch
            if len(batch) >= BATCH_INPUTS:  # all that came of them is known now
                self.flush()
                batch = self._batch
            batch.append((at, received))
            if self.level is L2:
                if type(received) is SpeechScored:
                    self._redactor.scored(at, received.probability)
                elif (data := sound_of(received)) is not None:
                    self._redactor.hear(self._step + 1, at, received, data)
        self._step += 1
        self._at = at

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        tracer = self._tracer
        if not self._step:
            at = self._at  # the kernel's birth is at the session's anchor, whenever the host came to it
        if tracer is not None:
            tracer.take(self._step, at, effects)
            if self.level is L2:
                self._says(at, effects)
        # A kernel hands out control first: what does not begin with it has none.
        if effects and type(effects[0]) in _CONTROL:
            if tracer is None:
                self._did_control(at, effects)
            if any(map(_changes_level, effects)):
                self.flush()

    def _says(self, at: int, effects: Sequence[fx.Effect]) -> None:
        """What is given to a speaking call is what will be heard of it; a listening one answers for what it hears."""
        for effect in effects:
            if isinstance(effect, fx.Invoke | fx.EndFeed | fx.KillCall):
                self._redactor.listens(at, effect)
            if isinstance(effect, fx.Invoke | fx.Feed) and (text := words_of(effect)):
                self._redactor.says(effect.call_id, text)

    def _did_control(self, at: int, effects: Sequence[fx.Effect]) -> None:
        if self._over or not self._begun:
            return
        for effect in effects:
            if type(effect) in _CONTROL:
                self._control.append(item(self._step, at, effect))
                if type(effect) is fx.Record and isinstance(effect.entry, ResolvedTurnPlan):
                    self._plans.append(effect.entry)
        if len(self._control) >= BATCH_CONTROL:
            self.flush()

    def stepped(self, step: Stepped) -> None:
        nth = self._nth[step.node_id] = self._nth.get(step.node_id, 0) + 1
        if not self._detailed:
            return
        made = r.NodeStep(self._step, nth, step)
        if self._capture or step.error is not None or step.node_id in self._captured:
            self._steps.append(made)
        elif step.node_id in self._hearing and self.level is L1:
            self._captured.add(step.node_id)
            self._steps.append(made)
        else:
            self._waiting.append(made)
            if len(self._waiting) > STEPS_WAITING_MAX:
                self._keep_waiting()

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        if self._over or not self._begun:
            return CLOSED
        known = self._asked.get(record_id)
        if known is not None:  # given twice: it is on record once
            return None if known else EVIDENCE_LATER
        self.flush()
        if len(self._asked) >= ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        self._asked[record_id] = False
        self._evidence = (record_id, evidence)
        record = r.frame(r.Evidence(record_id=record_id, evidence=evidence))
        if self._begin_file() and self._append.append(
            record, reserved=True, kept=partial(self._evidence_kept, record_id)
        ):
            return EVIDENCE_LATER
        self._refused(record_id, FULL)
        return FULL

    def _evidence_kept(self, record_id: str, why: str | None) -> None:
        if (
            why is None and self._head_due
        ):  # the head was lost before it: it is worth nothing until that is written
            if self._begin_file(partial(self._evidence_kept, record_id)):
                return
            why = FULL
        if why is None:
            self._asked[record_id] = True
        else:
            self._head_due = True
            self._refused(record_id, why)
        self._tell(EvidenceStored(record_id, why is None, why))

    def _refused(self, record_id: str, why: str) -> None:
        self._asked.pop(record_id, None)
        self._meters.refused(self._session_id, record_id, why)

    def closed_turn(self, record_id: str, stamp: CloseStamp) -> None:
        self._loss_told = False
        if self._over or not self._begun:
            return
        self.flush()
        (known, evidence), self._evidence = self._evidence or ("", None), None
        over = partial(self._turn_over, record_id, evidence if known == record_id else None, stamp)
        record = r.frame(r.Close(record_id=record_id, stamp=stamp))
        if not self._append.append(record, reserved=True, kept=over):
            over(FULL)

    def _turn_over(
        self, record_id: str, evidence: TurnEvidence | None, stamp: CloseStamp, why: str | None
    ) -> None:
        """The stamp comes after the evidence: what became of that is known, too."""
        if why is not None:
            self._head_due = True
        kept = self._asked.get(record_id, False)
        self._meters.turn(self._session_id, evidence if kept else None, stamp if why is None else None)

    def closed(self) -> None:
        if self._over:
            return
        if self._begun:
            self.flush(last=True)
            if self._begin_file():
                self._append.append(self._ending(), reserved=True)
            self._meters.closed(self.level)
            self._meters.ended(self._session_id)
        self._over = True
        self._detailed = False
        self._append.close()

    def _ending(self) -> bytes:
        tracer = self._tracer if self._exact else None
        gap = b"" if self._gap is None else r.frame(self._gap)
        return gap + r.frame(
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
        )

    # ---- its pulse ---------------------------------------------------------------------------------------------------

    def pulse(self, fill: float, lag_ms: int) -> None:
        """Five times a second: hand on what lies here too long, and say how pressed the local append is."""
        self._pulses += 1
        if self._pulses >= FLUSH_PULSES and (self._batch or self._control):
            self.flush()
        t = self._thresholds
        if t is None:
            return
        if fill >= t.recovery_fill or lag_ms >= t.recovery_lag_ms:
            self._pressing = True
            self._tell(RecorderPressed(fill, lag_ms))
        elif self._pressing:
            # Once it is over, the kernel counts from here; if it has no room for that now, then the next time.
            self._pressing = not self._tell(RecorderPressed(fill, lag_ms))

    # ---- a batch -----------------------------------------------------------------------------------------------------

    def flush(self, *, last: bool = False) -> None:
        """Hand on what has come since the last time."""
        batch, self._batch = self._batch, []
        if self._over or not self._begun:
            return  # nobody wants it
        self._pulses = 0
        records: list[r.Record] = []
        if batch:
            packed = pack(self._first, self._since, batch, self._redactor.take)
            records.append(packed)
            if self.level is not L2:
                self._sounds_withheld += packed.audio
        texts = self._redactor.settled(all_of_it=last)
        if texts:
            records.append(r.Words(texts=texts))
        records += self._redactor.sounds(all_of_it=last)
        self._settle_steps(records)
        items = self._trace(records)
        first, self._first = self._first, self._step + 1
        self._since = self._at
        if records:
            self._hand_on(first, records)
        for one in items:
            if one.what == "signal" and one.name in _LEVEL_SIGNALS:
                self._change_level(one)

    def _settle_steps(self, records: list[r.Record]) -> None:
        """Steps of text nodes are kept only if something that they may have seen is not."""
        if self._redactor.tainted:
            self._keep_waiting()
        elif not self._redactor.settling:
            self._waiting.clear()
        if self._steps:
            kept = [
                _replace(one, stepped=self._redactor.stepped(silenced(one.stepped))) for one in self._steps
            ]
            records.append(r.Steps(steps=kept))
            self._steps = []

    def _keep_waiting(self) -> None:
        self._captured.update(one.stepped.node_id for one in self._waiting)
        self._steps += self._waiting
        self._waiting = []

    def _trace(self, records: list[r.Record]) -> list[Item]:
        """Add what the kernel did: at L0 its control, else all of it."""
        tracer = self._tracer
        items, plans = self._control, self._plans
        runs: list[Run] = []
        self._control, self._plans = [], []
        if tracer is not None:
            items, runs, plans = tracer.cut()
        records += map(self._told_plans.record, plans)
        if not items and not runs:
            return items
        digest = words = None
        if tracer is not None and self._exact:
            digest = tracer.digest()
            # A sum over words that are withheld, or may come to be, could be tried against guesses at them.
            hidden = self._redactor.withheld or self._redactor.settling
            words = None if hidden else tracer.words()
        records.append(
            r.Trace(
                through=self._step,
                items=[self._redactor.item(one) for one in items],
                runs=runs,
                digest=digest,
                words=words,
                effects=0 if tracer is None else tracer.effects,
            )
        )
        return items

    # ---- levels ------------------------------------------------------------------------------------------------------

    def _capped(self, level: RecordingLevel) -> RecordingLevel:
        return level if _RANK[level] <= _RANK[self._ceiling] else self._ceiling

    def _set_level(self, level: RecordingLevel) -> None:
        self.level = self._redactor.level = level
        self._detailed = level is not L0
        if not self._detailed:
            self._tracer = None
            self._exact = False  # the inputs that follow are not here
        elif self._tracer is None:
            self._tracer = Tracer()

    def _change_level(self, one: Item) -> None:
        """The kernel has changed the level: from the next input on."""
        detail = one.facts.get("detail", {})
        asked_old, asked = RecordingLevel(detail["old"]), RecordingLevel(detail["new"])
        if abs(_RANK[asked_old] - _RANK[asked]) != 1:
            raise InvariantBreach("recording_level_skipped", f"from {asked_old} to {asked} in one step")
        old, new = self.level, self._capped(asked)
        if old is new:
            return  # the ceiling is below both
        self._set_level(new)
        trigger = str(detail.get("trigger_class", ""))
        self._meters.changed(self._session_id, old, new, trigger, one.at)
        change = r.Level(
            step=self._first,
            at=one.at,
            old=old,
            new=new,
            trigger=trigger,
            policy_id=str(detail.get("policy_id", "")),
        )
        self._append.append(r.frame(change), reserved=True)

    # ---- into the file -----------------------------------------------------------------------------------------------

    def _begin_file(self, then: Kept | None = None) -> bool:
        """A file begins with the head: if it is not there, or may have been lost with its file, it comes first."""
        if not self._head_due:
            return True
        assert self._head is not None
        self._head_due = False
        if self._append.append(r.frame(self._head), reserved=True, kept=partial(self._head_kept, then)):
            return True
        self._head_due = True
        return False

    def _head_kept(self, then: Kept | None, why: str | None) -> None:
        if why is not None:
            self._head_due = True
        if then is not None:
            then(why)

    def _hand_on(self, first: int, records: list[r.Record]) -> None:
        gap, self._gap = self._gap, None
        count = len(records)
        if gap is not None:
            records = [gap, *records]
        written = partial(self._written, first, count, gap)
        if not self._begin_file() or not self._append.append(b"".join(map(r.frame, records)), kept=written):
            written(NO_ROOM)

    def _written(self, first: int, count: int, gap: r.Gap | None, why: str | None) -> None:
        """A batch is in its file, or it is lost, and that is said as soon as there is room."""
        if why is None:
            return
        self._exact = False
        self._told_plans.forget()
        self._lost += count
        if why != NO_ROOM:
            self._head_due = True
        lost = r.Gap(step=first, at=self._at, reason=why, records=count)
        for other in (gap, self._gap):
            if other is not None:
                lost = _replace(lost, step=min(lost.step, other.step), records=lost.records + other.records)
        self._gap = lost
        self._meters.lost(self._session_id, why, count, first=not self._loss_told)
        if not self._loss_told:
            self._loss_told = True
            if why == NO_ROOM:
                self._tell(RecorderPressed(1.0, 0))


_replace: Final = msgspec.structs.replace


def _changes_level(effect: fx.Effect) -> bool:
    if type(effect) is not fx.Announce:
        return False
    payload = effect.event.payload
    return isinstance(payload, Signal) and payload.signal in _LEVEL_SIGNALS
