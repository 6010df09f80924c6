"""One session's redactor: at once a stand-in of the same shape, and the text itself once it is known what may be seen of it.

What a kernel decides from a stand-in is what it decided from the text; so a redacted recording replays to the same digest.
Texts of a stream wait in `streams`, audio in `sounds`. Everything else that a peer may have written (identifiers, reasons,
extensions, facts) is rarely sensitive: it stays as it is but for what is found in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from rspp.contract.event import Audio, Fault, Note, Sample, Text
from rspp.contract.words import PayloadClass, RecordingLevel
from rspp.host.ports import Stepped
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.calls import WORD
from rspp.kernel.commands import CANCEL_REASONS
from rspp.kernel.hosting import Output
from rspp.kernel.inputs import Input
from rspp.kernel.memory import CONVERSATION
from rspp.kernel.snapshot import Durable, OpenRequest, Snapshot
from rspp.kernel.trace import REPEATED_DETAILS, REPEATING_SIGNALS, Item
from rspp.spec.graph import GraphDefinition, Role
from rspp.timeline.records import Sound, Spoken
from rspp.timeline.redaction.configs import cleaned, literals_of
from rspp.timeline.redaction.hearing import Hearing, Key
from rspp.timeline.redaction.known import Known
from rspp.timeline.redaction.patterns import find
from rspp.timeline.redaction.policy import Action, RedactionPolicy
from rspp.timeline.redaction.sounds import WORD_TIMES, Frame, Sounds
from rspp.timeline.redaction.standins import StandIns
from rspp.timeline.redaction.streams import Held, Streams
from rspp.timeline.redaction.values import Values

CARRIED_MAX: Final = 64  # segments whose beginning is remembered, for a final that comes late
HEARD_MAX: Final = 8_192
SIGNALS: Final = frozenset(
    {"cancel", "stop", "barge_in", "end_of_utterance", "talk_pressed", "talk_released", "digit"}
)
WITHHELD: Final = "Withheld."  # no word of an adapter's table, as what it stands for was none
_replace: Final = msgspec.structs.replace


class Said(NamedTuple):
    """What a recogniser said, for the sound that it was said in."""

    at: int
    key: Key
    until: int  # it answers for what was heard until then
    text: str
    final: bool
    times: object


class SessionRedactor:
    """Implements `timeline.ports.Redactor`. `key` is given by tests only; else it is drawn here and known to nobody."""

    def __init__(self, policy: RedactionPolicy, tenant_id: str, *, key: bytes | None = None) -> None:
        self.level = RecordingLevel.L1
        self.policy_id = policy.policy_id
        self._policy, self._tenant = policy, tenant_id
        self._kinds = policy.kinds(tenant_id)
        self._standins = StandIns(key)
        self._known = Known()
        self._values = Values(self._standins, self._known, self._sought)
        self._streams = Streams(self._known, self._sought)
        self._sounds = Sounds(self._may_be_heard)
        self._hearing: Hearing = self._sounds.hearing
        self._said = b""  # all finals until now
        self._carried: dict[tuple[str, int], bytes] = {}  # bounded: CARRIED_MAX
        self._heard: dict[int, Said] = {}  # bounded: HEARD_MAX
        self._session_id = ""
        self._hashed = 0
        self._counter = 0

    def __repr__(self) -> str:
        return f"SessionRedactor({self.policy_id!r})"

    # ---- what it says of itself ------------------------------------------------------------------------------------

    @property
    def settling(self) -> bool:
        return self._streams.held > 0

    @property
    def tainted(self) -> bool:
        return self.withheld > 0

    @property
    def withheld(self) -> int:
        return self._streams.masked + self._streams.dropped + self._hashed + self._values.changed

    def _sought(self) -> tuple[str, ...]:
        """What is looked for: with everything allowed still secrets, which no recording holds."""
        if self._texts() is Action.ALLOW:
            return ("secret",)
        return self._kinds

    def _texts(self) -> Action:
        return self._policy.texts(self._tenant, self.level)

    def _kept(self) -> bool:
        return self._texts() in (Action.ALLOW, Action.MASK)

    # ---- what a session begins with --------------------------------------------------------------------------------

    def request(self, request: OpenRequest) -> OpenRequest:
        self._session_id = request.session_id
        return _replace(
            request,
            lease_token=self._standins.opaque(request.lease_token),
            resume=self._durable(request.resume),
            snapshot=self._snapshot(request.snapshot),
        )

    def graph(self, graph: GraphDefinition) -> GraphDefinition:
        self._standins.keep(
            [word for phrase in graph.policies.turn_taking.backchannels for word in phrase.split()]
        )
        self._values.literals = literals_of(graph)
        standins, sought = self._standins, {*self._kinds, "secret"}
        # A sync node runs again in a replay, and needs its settings; a provider's are for show.
        nodes = tuple(
            _replace(
                node, config=cleaned(node.config, standins, ("secret",) if node.role is Role.SYNC else sought)
            )
            for node in graph.nodes
        )
        settings = {name: cleaned(value, standins, sought) for name, value in graph.provider_settings.items()}
        return _replace(graph, nodes=nodes, provider_settings=settings)

    def _durable(self, state: Durable | None) -> Durable | None:
        """Conversations of before: their streams are over, so of their texts only the shape is kept."""
        if state is None:
            return None
        values = {name: self._saved(name, value) for name, value in state.values.items()}
        return _replace(state, values=values)

    def _saved(self, name: str, value: object) -> object:
        if name == CONVERSATION and isinstance(value, dict):
            return {part: self._saved(part, one) for part, one in value.items()}
        if name == "keys" and isinstance(value, dict):
            return {self._standins.opaque(str(key)): seen for key, seen in value.items()}
        if name == "history" and isinstance(value, list | tuple):
            self._hashed += len(value)
            return [self._message(one) for one in value]
        if name == "next_turn":
            return value
        self._hashed += 1
        return self._values.hidden(value)

    def _message(self, message: object) -> object:
        if isinstance(message, list | tuple) and len(message) == 2:
            return [str(message[0]), self._standins.text(str(message[1]))]
        return self._values.hidden(message)

    def _snapshot(self, snapshot: Snapshot | None) -> Snapshot | None:
        if snapshot is None or not snapshot.facts:
            return snapshot
        facts: dict[str, Any] = {
            self._values.name(name): self._values.value(value, hide=not self._kept())
            for name, value in snapshot.facts.items()
        }
        return _replace(snapshot, facts=facts)

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def take(self, step: int, at: int, received: Input) -> Input:
        self._streams.pass_time(at)
        handle = _HANDLERS.get(type(received))
        return received if handle is None else handle(self, step, at, received)

    def _typed(self, step: int, at: int, received: i.TextReceived) -> Input:
        standin = self._standins.text(received.text, self._said)
        self._said = self._standins.follow(self._said, received.text)
        self._hold(lambda: self._streams.say("typed", Held(step, at, received.text, standin, final=True)))
        key = received.idempotency_key
        return _replace(
            received, text=standin, idempotency_key=None if key is None else self._standins.opaque(key)
        )

    def _control(self, step: int, at: int, received: i.ControlReceived) -> Input:
        value = received.value
        if received.signal == "digit" and value and len(value) == 1:
            # A digit looks like no other press of it; letters and marks are nobody's.
            key = self._standins.text(value, step.to_bytes(8)) if value.isdigit() else value
            held = Held(step, at, value, key, final=True)
            self._hold(lambda: self._streams.press(held))
            value = key
        elif value:
            value = self._free(value)
        reason, target, identity = received.reason, received.target, received.idempotency_key
        return _replace(
            received,
            signal=received.signal if received.signal in SIGNALS else self._free(received.signal),
            reason=reason if reason is None or reason in CANCEL_REASONS else self._free(reason),
            target=target if target is None or self._is_ours(target) else self._free(target),
            value=value,
            idempotency_key=None if identity is None else self._standins.opaque(identity),
            extensions=self._extensions(received.extensions),
        )

    def _free(self, text: str) -> str:
        """What a client wrote where one of our words was due."""
        return str(self._values.value(text, hide=not self._kept()))

    def _unknown(self, step: int, at: int, received: i.UnknownReceived) -> Input:
        return _replace(
            received,
            kind=self._values.name(received.kind),
            extensions=self._extensions(received.extensions),
        )

    def _extensions(self, extensions: dict[str, object] | None) -> dict[str, object] | None:
        if extensions is None:
            return None
        hide = not self._kept()
        return {
            self._values.name(name): self._values.value(value, hide=hide)
            for name, value in extensions.items()
        }

    def _produced(self, step: int, at: int, received: i.CallProduced) -> Input:
        payload = received.payload
        if isinstance(payload, Text):
            text = self._text(step, at, (received.call_id, received.attempt), payload)
            return _replace(received, payload=text, port=self._name(received.port))
        if isinstance(payload, Note):
            message = self._values.value(payload.message, hide=not self._kept())
            return _replace(received, payload=Note(str(message)))
        if isinstance(payload, Sample):
            return _replace(received, payload=self._sample(payload))
        return received

    def _name(self, name: str | None) -> str | None:
        """A name that an adapter gave, or none."""
        return name if name is None else self._values.name(name)

    def _sample(self, sample: Sample) -> Sample:
        return _replace(sample, name=self._values.name(sample.name), unit=self._values.name(sample.unit))

    def _text(self, step: int, at: int, key: Key, text: Text) -> Text:
        """A recogniser's revision, or a piece of an answer."""
        call_id = key[0]
        if text.role == "user" or (text.role != "assistant" and text.revision):
            standin = self._standins.text(text.text, self._before(call_id, text))
            held = Held(step, at, text.text, standin, text.final)
            self._hold(lambda: self._streams.revise(call_id, text.segment, held))
            self._was_said(step, at, key, text)
        else:
            standin = self._standins.text(text.text, b"%d" % step)
            held = Held(step, at, text.text, standin, text.final)
            self._hold(lambda: self._streams.go_on(call_id, held))
        return self._described(text, standin)

    def _was_said(self, step: int, at: int, key: Key, text: Text) -> None:
        until = self._hearing.said(at, key, text.text, final=text.final)
        if (self._kept() or self.level is RecordingLevel.L2) and len(self._heard) < HEARD_MAX:
            times = (text.attributes or {}).get(WORD_TIMES)
            self._heard[step] = Said(at, key, until, text.text, text.final, times)
        else:
            self._hearing.missed(at, key)

    def _before(self, call_id: str, text: Text) -> bytes:
        """What was said before a segment: the same for all of its revisions."""
        key = (call_id, text.segment)
        before = self._carried.get(key)
        if before is None:
            if len(self._carried) >= CARRIED_MAX:
                del self._carried[next(iter(self._carried))]
            before = self._carried[key] = self._said
        if text.final:
            self._said = self._standins.follow(self._said, text.text)
        return before

    def _hold(self, hold: Callable[[], None]) -> None:
        """At a level at which no text is kept, it is looked at only for what may be heard."""
        if not self._kept():
            self._hashed += 1
        if self._kept() or (self.level is RecordingLevel.L2 and self._audio() is Action.MASK):
            hold()

    def _described(self, text: Text, standin: str) -> Text:
        attributes: Any = text.attributes
        if attributes:
            hide = not self._kept()
            attributes = {
                self._values.name(name): value if name == WORD_TIMES else self._values.value(value, hide=hide)
                for name, value in attributes.items()
            }
        role, language = self._name(text.role), self._name(text.language)
        return _replace(text, text=standin, attributes=attributes, role=role, language=language)

    def _ended(self, step: int, at: int, received: Any) -> Input:
        cut = isinstance(received, i.CallCancelled)
        self._streams.end(received.call_id, cut=cut)
        self._hearing.ended(at, (received.call_id, received.attempt), properly=not cut)
        return received  # type: ignore[no-any-return]  # as it came

    def _failed(self, step: int, at: int, received: i.CallFailed) -> Input:
        self._streams.end(received.call_id, cut=True)
        self._hearing.ended(at, (received.call_id, received.attempt), properly=False)
        return received if WORD.fullmatch(received.reason) else _replace(received, reason=WITHHELD)

    def _lease(self, step: int, at: int, received: i.LeaseChanged) -> Input:
        token = None if received.token is None else self._standins.opaque(received.token)
        return _replace(received, change=self._values.name(received.change), token=token)

    def _fact(self, step: int, at: int, received: i.FactChanged) -> Input:
        value: Any = self._values.value(received.value, hide=not self._kept())
        return _replace(received, name=self._values.name(received.name), value=value)

    def _attached(self, step: int, at: int, received: i.DurableAttached) -> Input:
        state = self._durable(received.state)
        assert state is not None
        return _replace(received, state=state)

    def _published(self, step: int, at: int, received: i.SnapshotPublished) -> Input:
        snapshot = self._snapshot(received.snapshot)
        assert snapshot is not None
        return _replace(received, snapshot=snapshot)

    def _named(self, step: int, at: int, received: Input) -> Input:
        """Of the other inputs every text is a name, unless somebody has made it something else."""
        changes = {
            name: self._values.name(value)
            for name in received.__struct_fields__
            if isinstance(value := getattr(received, name), str) and not self._is_ours(value)
        }
        return _replace(received, **changes) if changes else received

    def _is_ours(self, name: str) -> bool:
        """Identifiers that the runtime has made, and node names: what they are made of was seen already."""
        return name in self._values.literals or (
            bool(self._session_id)
            and name.startswith((f"{self._session_id}/turn-", f"pvi/{self._session_id}/"))
            and len(name) <= len(self._session_id) + 160
            and not find(name.split(self._session_id, 1)[1], self._sought())
        )

    # ---- audio -----------------------------------------------------------------------------------------------------

    def _audio(self) -> Action:
        return self._policy.action(self._tenant, PayloadClass.AUDIO_RAW, self.level)

    def says(self, call_id: str, text: str) -> None:
        self._sounds.says(call_id, text)

    def scored(self, at: int, probability: float) -> None:
        self._hearing.scored(at, probability)

    def listens(self, at: int, effect: fx.Effect) -> None:
        if isinstance(effect, fx.Invoke):
            if effect.modality == "stt":
                self._hearing.begins(at, effect.call_id, effect.attempt)
        elif isinstance(effect, fx.EndFeed):
            self._hearing.asked(at, effect.call_id)
        elif isinstance(effect, fx.KillCall):
            self._hearing.killed(at, effect.call_id)

    def hear(self, step: int, at: int, received: Input, data: bytes) -> None:
        action = self._audio()
        if action is Action.DROP:
            return
        if isinstance(received, i.AudioReceived):
            frame = Frame(step, at, received.audio, data)
            keep = self._sounds.hear
        elif isinstance(received, i.CallProduced) and isinstance(received.payload, Audio):
            frame = Frame(step, at, received.payload, data, call=received.call_id)
            keep = self._sounds.speak
        else:
            return
        if action is Action.ALLOW:
            self._sounds.allow(frame)
        else:
            keep(frame)

    def _may_be_heard(self, text: str) -> bool:
        return not find(text, self._sought()) and next(self._known.seen_in(text), None) is None

    # ---- what is known by now --------------------------------------------------------------------------------------

    def settled(self, *, all_of_it: bool = False) -> list[Spoken]:
        if all_of_it:
            self._streams.close()
        for step, spans in sorted(self._streams.judged.items()):
            heard = self._heard.pop(step, None)
            if heard is not None:
                self._sounds.final(heard.at, heard.until, heard.text, spans, heard.times)
                if heard.final:
                    self._hearing.judged(heard.at, heard.key, heard.until)
        self._sounds.settled()
        ready = self._streams.take()
        for spoken in ready:
            self._heard.pop(spoken.step, None)
        if not self._kept():  # the level has fallen since they came
            self._hashed += len(ready)
            return []
        return ready

    def sounds(self, *, all_of_it: bool = False) -> list[Sound]:
        if not self._streams.answering:
            self._sounds.answered()
        if all_of_it:
            self._sounds.close()
        return self._sounds.take()

    # ---- what was made of it ---------------------------------------------------------------------------------------

    def stepped(self, stepped: Stepped) -> Stepped:
        """What a node made is of the words that it saw: only its shape is kept."""
        return _replace(
            stepped,
            outputs=tuple(map(self._output, stepped.outputs)),
            saves=tuple((self._values.name(key), self._values.hidden(value)) for key, value in stepped.saves),
        )

    def _output(self, output: Output) -> Output:
        payload = output.payload
        output = _replace(output, port=self._values.name(output.port))
        self._counter += 1
        if isinstance(payload, Text):
            standin = self._standins.text(payload.text, b"node%d" % self._counter)
            return _replace(output, payload=self._described(payload, standin))
        if isinstance(payload, Note | Fault):
            message = self._standins.text(payload.message, b"node%d" % self._counter)
            told: Note | Fault = _replace(payload, message=message)
            if isinstance(told, Fault):
                told = _replace(told, path=self._name(told.path))
            return _replace(output, payload=told)
        if isinstance(payload, Sample):
            return _replace(output, payload=self._sample(payload))
        return output

    def item(self, made: Item) -> Item:
        detail: Mapping[str, Any] | None = made.facts.get("detail")
        if not detail or made.name not in REPEATING_SIGNALS:
            return made
        told = {
            name: self._values.repeated(value)
            if name in REPEATED_DETAILS and isinstance(value, str)
            else value
            for name, value in detail.items()
        }
        return made if told == detail else _replace(made, facts={**made.facts, "detail": told})


_HANDLERS: Final[Mapping[type, Callable[[SessionRedactor, int, int, Any], Input]]] = {
    i.TextReceived: SessionRedactor._typed,
    i.ControlReceived: SessionRedactor._control,
    i.UnknownReceived: SessionRedactor._unknown,
    i.CallProduced: SessionRedactor._produced,
    i.CallFinished: SessionRedactor._ended,
    i.CallCancelled: SessionRedactor._ended,
    i.CallFailed: SessionRedactor._failed,
    i.LeaseChanged: SessionRedactor._lease,
    i.FactChanged: SessionRedactor._fact,
    i.DurableAttached: SessionRedactor._attached,
    i.SnapshotPublished: SessionRedactor._published,
    i.MalformedReceived: SessionRedactor._named,
    i.RoutingViewPublished: SessionRedactor._named,
    i.SnapshotLost: SessionRedactor._named,
    i.CloseRequested: SessionRedactor._named,
    i.NodeRaised: SessionRedactor._named,
    i.DeliveryReported: SessionRedactor._named,
    i.CreditGranted: SessionRedactor._named,
    i.MigrationChanged: SessionRedactor._named,
    i.CircuitReset: SessionRedactor._named,
    i.PoolChanged: SessionRedactor._named,
}
