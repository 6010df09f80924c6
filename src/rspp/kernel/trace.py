"""What a kernel did, told without what was said: two runs decided the same exactly when their traces are equal.

    effects -> Tracer.take -> items, and a digest over everything

Each effect becomes an `Item`: its words and names whole, its content only as a shape (how many letters, digits and
samples, where the spaces are). A payload that was withheld from a recording and is replaced by one of the same shape
leaves the same trace. Audio frames are folded: each counts in the digest with its place, its number, its time and the
way it goes; a run of them is one item for people. What an event has beside its content (its class, its parent, its call)
only the digest has. Pure, like all of the kernel; the live recorder, the replay and the tests use this one file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.contract.event import Audio, Event, Fault, Note, Payload, Sample, Scope, Signal, Text
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.transitions import Transition
from rspp.kernel import effects as fx
from rspp.kernel.shapes import ENCODE, named, shape, shape_sum, shaped, sum_of, sum_of_record

TRACE_VERSION: Final = "trace/v1"
# Details of signals that are the caller's own words or keys.
CONTENT_DETAILS: Final = frozenset({"digit"})
# Details that repeat what a peer wrote: people may read them, redacted; the digest has only their shape.
REPEATED_DETAILS: Final = frozenset({"kind", "message", "path"})
REPEATING_SIGNALS: Final = frozenset({"abi_rejected", "unknown_event_handled"})


class Item(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One effect: caused by input `step` (from 1; 0 is the kernel's birth) at `at`.

    `what` is the effect's tag; `name` the signal, the modality or the kind of event; `seq` the event's runtime sequence.
    """

    step: int
    at: int
    what: str
    name: str
    turn: str | None
    epoch: int | None
    seq: int | None
    facts: dict[str, Any]


class Run(msgspec.Struct, gc=False, array_like=True):
    """Audio frames of one turn and epoch that were sent one after the other, without a hole in their samples."""

    step: int
    at: int
    turn: str | None
    sample_index: int
    samples: int
    frames: int
    last_at: int
    rate: int
    epoch: int | None = None


# ---- one effect, as an item --------------------------------------------------------------------------------------

Facts = dict[str, Any]


def _payload(payload: Payload | None) -> Facts:
    if isinstance(payload, Text):
        facts: Facts = {"chars": len(payload.text), "shape": shape_sum(payload.text)}
        for name in ("segment", "revision", "final"):
            value = getattr(payload, name)
            if value:
                facts[name] = value
        if payload.role:
            facts["role"] = named(payload.role)
        if payload.language is not None or payload.confidence is not None or payload.attributes:
            facts["more"] = sum_of([payload.language, payload.confidence, payload.attributes])
        return facts
    if isinstance(payload, Audio):
        return {"sample_index": payload.sample_index, "samples": payload.samples, "rate": payload.rate}
    if isinstance(payload, Signal):
        return _signal(payload)
    if isinstance(payload, Sample):
        return {"name": named(payload.name), "value": payload.value, "unit": named(payload.unit)}
    if isinstance(payload, Note):
        return {"chars": len(payload.message), "shape": shape_sum(payload.message)}
    if isinstance(payload, Fault):
        about = sum_of([payload.message, payload.path])
        return {"code": payload.code, "retryable": payload.retryable, "shape": about}
    return {}


def _signal(signal: Signal) -> Facts:
    facts: Facts = {"by": signal.emitted_by}
    if signal.reason is not None:
        facts["reason"] = signal.reason
    if signal.scope is not None:
        facts["scope"] = signal.scope.value
    if signal.target_lane is not None:
        facts["target_lane"] = signal.target_lane.value
    if signal.amount is not None:
        facts["amount"] = signal.amount
    if signal.seq_range is not None:
        facts["seq_range"] = [signal.seq_range.start, signal.seq_range.end]
    if signal.detail:
        facts["detail"] = {
            name: shape(value) if name in CONTENT_DETAILS and isinstance(value, str) else value
            for name, value in signal.detail.items()
        }
    return facts


def _of_event(step: int, at: int, what: str, event: Event, more: Facts | None = None) -> Item:
    payload, scope = event.payload, event.scope
    name = payload.signal if isinstance(payload, Signal) else event.kind.value
    facts = _payload(payload)
    if event.node_id is not None:
        facts["node"] = event.node_id
    if event.edge_id is not None:
        facts["edge"] = event.edge_id
    if event.generation:
        facts["generation"] = event.generation
    if event.late_after_cancel:
        facts["late"] = True
    if more:
        facts.update(more)
    return Item(step, at, what, name, scope.turn_id, scope.epoch, event.sequence, facts)


def _invoke(step: int, at: int, effect: fx.Invoke) -> Item:
    facts: Facts = {
        "call": effect.call_id,
        "attempt": effect.attempt,
        "node": effect.node_id,
        "provider": effect.provider,
        "key": effect.idempotency_key,
        "deadline": effect.deadline_at,
    }
    if effect.speculative:
        facts["speculative"] = True
    if effect.config:
        facts["config"] = sum_of(effect.config)
    if effect.history:
        facts["history"] = len(effect.history)
        facts["history_shape"] = sum_of([[one.role, one.text] for one in effect.history])
    if effect.event is not None:
        facts["event"] = effect.event.sequence
        facts.update(_payload(effect.event.payload))
    return Item(step, at, "invoke", effect.modality, effect.turn_id, effect.epoch, None, facts)


def _evidence(step: int, at: int, effect: fx.StoreEvidence) -> Item:
    evidence = effect.evidence
    facts: Facts = {"record": effect.record_id, "sum": sum_of_record(evidence)}
    if evidence.terminal_reason is not None:
        facts["reason"] = evidence.terminal_reason.value
    outcome = evidence.terminal_outcome or ""
    return Item(
        step,
        at,
        "store_evidence",
        outcome,
        evidence.turn_id,
        evidence.lease_epoch_at_terminal,
        None,
        facts,
    )


def _record(step: int, at: int, effect: fx.Record) -> Item:
    entry = effect.entry
    if isinstance(entry, ResolvedTurnPlan):
        facts: Facts = {"plan_hash": entry.plan_hash, "sum": sum_of_record(entry)}
        return Item(step, at, "record", "plan", entry.turn_id, None, None, facts)
    facts = msgspec.to_builtins(entry)
    name = "transition" if isinstance(entry, Transition) else "decision"
    return Item(step, at, "record", name, facts.pop("turn_id", None), None, None, facts)


def _save(step: int, at: int, effect: fx.SaveState) -> Item:
    facts: Facts = {"revision": effect.revision, "shape": sum_of(effect.value)}
    return Item(step, at, "save_state", effect.key, None, effect.epoch, None, facts)


def _plain(step: int, at: int, effect: fx.Effect) -> Item:
    """An effect without content: all of its fields."""
    facts = msgspec.to_builtins(effect)
    what = facts.pop("effect")
    return Item(step, at, what, "", facts.pop("turn_id", None), None, None, facts)


_ITEM: Final[Mapping[type, Callable[[int, int, Any], Item]]] = {
    fx.Announce: lambda step, at, e: _of_event(step, at, "signal", e.event),
    fx.Send: lambda step, at, e: _of_event(step, at, "send", e.event),
    fx.Feed: lambda step, at, e: _of_event(step, at, "feed", e.event, {"call": e.call_id}),
    fx.Observe: lambda step, at, e: _of_event(step, at, "observe", e.event),
    fx.DeadLetter: lambda step, at, e: _of_event(
        step, at, "dead_letter", e.event, {"node": e.node_id, "cause": e.cause}
    ),
    fx.Invoke: _invoke,
    fx.StoreEvidence: _evidence,
    fx.StoreClose: lambda step, at, e: Item(
        step,
        at,
        "store_close",
        "",
        e.stamp.turn_id,
        None,
        None,
        {"record": e.record_id, "sum": sum_of_record(e.stamp)},
    ),
    fx.Record: _record,
    fx.SaveState: _save,
}


def item(step: int, at: int, effect: fx.Effect) -> Item:
    """One effect's item."""
    return _ITEM.get(type(effect), _plain)(step, at, effect)


def _unrepeated(made: Item) -> Item:
    """Without what a peer wrote, for the digest."""
    if made.name not in REPEATING_SIGNALS or "detail" not in made.facts:
        return made
    detail = {
        name: shape(value) if name in REPEATED_DETAILS and isinstance(value, str) else value
        for name, value in made.facts["detail"].items()
    }
    return msgspec.structs.replace(made, facts={**made.facts, "detail": detail})


def _beside(event: Event, tenant: str) -> list[object]:
    """What an event has beside its content: for the digest alone, so that an item stays small.

    A recording may be brought to another tenant: what counts is whether all events are of the same one.
    """
    scope = event.scope
    return [
        scope.session_id,
        scope.tenant_id == tenant,
        scope.pipeline_version,
        scope.epoch,
        scope.turn_id,
        scope.lease_token is not None,  # which one it is means nothing in another run
        event.kind,
        event.at,
        event.payload_class,
        event.generation,
        event.node_id,
        event.parent,
        event.transport_sequence,
        event.invocation_id,
        shape(event.idempotency_key or ""),
        event.sync,
        event.merge,
        event.late_after_cancel,
        shaped(event.extensions),
    ]


def words_of(effect: fx.Effect) -> str | None:
    """The text that an effect carries: what the caller is shown, or what a provider is given."""
    event = getattr(effect, "event", None)
    payload = event.payload if isinstance(event, Event) else None
    return payload.text if isinstance(payload, Text) else None


# ---- all of them -------------------------------------------------------------------------------------------------

# Places that wait to be folded into the digest; folding is only cheaper in bulk, and changes nothing.
PLACES_MAX: Final = 2_048
_PLACE_MASK: Final = (1 << 62) - 1  # a peer may say that its audio is anywhere, and it must still fit


def _way(event: Event, audio: Audio, tenant: str) -> str:
    """How a frame goes: whose it is, in what form, under which fence. A text, for a peer may give any number of samples."""
    scope = event.scope
    whose = (
        f"{scope.session_id} {scope.turn_id} {scope.epoch} {event.kind} {event.payload_class} {event.node_id}"
    )
    form = f"{audio.samples} {audio.rate} {audio.channels} {audio.codec} {audio.end}"
    return f"{whose} {form} {event.generation} {event.late_after_cancel} {scope.tenant_id == tenant}"


class Tracer:
    """The trace of one run, as it goes on.

    `items`, `runs` and `plans` are what has come since they were last taken away; the digests are over everything.
    """

    __slots__ = (
        "_digest",
        "_fed_in",
        "_fed_samples",
        "_fed_way",
        "_places",
        "_run",
        "_sent_fence",
        "_sent_in",
        "_sent_samples",
        "_sent_way",
        "_tenant",
        "_words",
        "effects",
        "items",
        "plans",
        "runs",
    )

    def __init__(self) -> None:
        self._digest = hashlib.sha256(TRACE_VERSION.encode())
        self._words = hashlib.sha256()
        # Of each frame its place, its number, its time and the calls that it goes to; its way when another scope, size or
        # fence begins. bounded: PLACES_MAX
        self._places: list[int | str] = []
        self._fed_in: Scope | None = None
        self._sent_in: Scope | None = None
        self._fed_samples = self._sent_samples = self._sent_fence = -1
        self._fed_way = self._sent_way = self._tenant = ""
        self._run: Run | None = None
        self.effects = 0
        self.items: list[Item] = []
        self.runs: list[Run] = []
        self.plans: list[ResolvedTurnPlan] = []

    def take(self, step: int, at: int, effects: Sequence[fx.Effect]) -> None:
        """What the kernel wants done about input `step`, in order."""
        self.effects += len(effects)
        add = self._places.append
        heard: Event | None = None  # the frame that the last effect fed to a call: it goes to several
        for effect in effects:
            kind = type(effect)
            if kind is fx.Feed:
                event: Event = effect.event  # type: ignore[attr-defined]  # as its type says
                if event is not heard:
                    payload = event.payload
                    if type(payload) is not Audio:
                        self._other(step, at, effect)
                        continue
                    heard = event
                    if event.scope is not self._fed_in or payload.samples != self._fed_samples:
                        self._fed_in, self._fed_samples = event.scope, payload.samples
                        way = _way(event, payload, self._tenant)
                        if way != self._fed_way:
                            self._fed_way = way
                            add(way)
                    add(payload.sample_index)
                    add(event.sequence)
                    add(at)
                add(effect.call_id)  # type: ignore[attr-defined]
                continue
            if kind is fx.Send:
                event = effect.event  # type: ignore[attr-defined]
                if type(event.payload) is Audio and not event.payload.end:
                    self._sent(step, at, event, event.payload)
                    continue
            self._other(step, at, effect)
        if len(self._places) >= PLACES_MAX:
            self._fold()

    def _sent(self, step: int, at: int, event: Event, audio: Audio) -> None:
        scope = event.scope
        fence = event.generation
        if scope is not self._sent_in or audio.samples != self._sent_samples or fence != self._sent_fence:
            self._sent_in, self._sent_samples, self._sent_fence = scope, audio.samples, fence
            way = _way(event, audio, self._tenant)
            if way != self._sent_way:
                self._sent_way = way
                self._places.append(way)
        self._places += (audio.sample_index, event.sequence, at)
        run = self._run
        if (
            run is not None
            and run.turn == scope.turn_id
            and run.epoch == scope.epoch
            and run.sample_index + run.samples == audio.sample_index
        ):
            run.samples += audio.samples
            run.frames += 1
            run.last_at = at
            return
        place, samples = audio.sample_index, audio.samples
        self._run = Run(step, at, scope.turn_id, place, samples, 1, at, audio.rate, scope.epoch)
        self.runs.append(self._run)

    def _other(self, step: int, at: int, effect: fx.Effect) -> None:
        made = item(step, at, effect)
        self._fold()
        self._digest.update(ENCODE(_unrepeated(made)))
        event = getattr(effect, "event", None)
        if event is not None:
            self._tenant = self._tenant or event.scope.tenant_id
            self._digest.update(ENCODE(_beside(event, self._tenant)))
        words = words_of(effect)
        if words is not None:
            self._words.update(words.encode(errors="replace") + b"\0")
        if type(effect) is fx.Invoke:
            for one in effect.history:
                self._words.update(one.text.encode(errors="replace") + b"\0")
        self.items.append(made)
        if type(effect) is fx.Record and isinstance(effect.entry, ResolvedTurnPlan):
            self.plans.append(effect.entry)

    def _fold(self) -> None:
        places = self._places
        if places:
            try:
                folded = ENCODE(places)
            except OverflowError:
                folded = ENCODE([one & _PLACE_MASK if isinstance(one, int) else one for one in places])
            # Without the list's own length, which says only when it was folded.
            count = len(places)
            self._digest.update(folded[1 if count < 16 else 3 if count < 65_536 else 5 :])
            places.clear()

    def digest(self) -> str:
        """Over all effects until now, content only as shapes."""
        self._fold()
        return self._digest.hexdigest()

    def words(self) -> str:
        """Over all texts until now, as they were: comparable only where nothing was withheld."""
        return self._words.hexdigest()

    def cut(self) -> tuple[list[Item], list[Run], list[ResolvedTurnPlan]]:
        """Take away what has come since the last time; a run of frames that goes on begins anew."""
        taken = self.items, self.runs, self.plans
        self.items, self.runs, self.plans = [], [], []
        self._run = None
        return taken
