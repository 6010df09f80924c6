"""What comes back from a call: checked, counted, and sent on its way through the graph."""

from __future__ import annotations

from rspp.contract import emitters
from rspp.contract.event import Audio, Event, Note, Sample, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import CancelReason, EventKind, OutcomeClass, PayloadClass
from rspp.kernel.call_book import CallBook
from rspp.kernel.calls import Call, CallState, Failure, malformed
from rspp.kernel.cancelling import Cancelling
from rspp.kernel.desk import Desk
from rspp.kernel.graph import NodeRun
from rspp.kernel.hosting import CLASS_OF, KIND_OF
from rspp.kernel.recovery import Recovery
from rspp.kernel.spending import Spending
from rspp.spec.graph import ISOLATED, Lifetime


class Results:
    """Takes what one session's calls produce."""

    def __init__(
        self, desk: Desk, book: CallBook, recovery: Recovery, cancelling: Cancelling, spending: Spending
    ) -> None:
        self._desk = desk
        self._book = book
        self._recovery = recovery
        self._cancelling = cancelling
        self._spending = spending

    def accepted(self, call_id: str, attempt: int) -> None:
        call = self._book.calls.get(call_id)
        if call is None or not call.live or attempt != call.attempt:
            return
        node = self._book.graph.nodes[call.node_id]
        if node.definition.lifetime is Lifetime.SESSION:
            # It is fed all along; silence means nothing until something is asked of it.
            call.state = CallState.STREAMING
            self._desk.disarm("call", call_id)
            node.open = True
            self._book.owner.capability_back(call.modality)
            self._book.graph.pump(node)

    def produced(
        self,
        call_id: str,
        attempt: int,
        sequence: int,
        payload: Audio | Text | Sample | Note,
        port: str | None,
    ) -> None:
        """A chunk of output: check it, then send it on its way."""
        desk = self._desk
        call = self._book.calls.get(call_id)
        if call is None:
            self._book.late(None, call_id, "call_unknown")
            return
        broken = malformed(payload) or _port_refused(self._book.graph.nodes[call.node_id], port, payload)
        if broken is not None and call.live and attempt == call.attempt:
            self._cancelling.abandon(call, CancelReason.PROVIDER_ERROR)
            self._recovery.attempt_failed(call, Failure(OutcomeClass.INFRASTRUCTURE_FAILURE, broken))
            return
        soft = call.state is CallState.CANCELLING and call.soft_left > 0 and broken is None
        if soft:
            call.soft_left -= 1
        else:
            refused = call.take_chunk(desk.now, attempt, sequence)
            if refused is not None:
                self._book.late(call, call_id, refused)
                return
        if call.modality == "stt" and isinstance(payload, Text):
            self._transcribed(call, payload)
            return
        self._forward(call, payload, port)

    def _forward(self, call: Call, payload: Audio | Text | Sample | Note, port: str | None) -> None:
        desk, node = self._desk, self._book.graph.nodes[call.node_id]
        kind = KIND_OF.get(type(payload))
        if kind is None:
            return
        turn = self._book.owner.turn() if call.scope.turn_id is not None else None
        if turn is not None and isinstance(payload, (Audio, Text)):
            kept = self._spending.within(turn, call, payload)
            if kept is None:
                return
            payload = kept
        if isinstance(payload, Audio):
            if turn is not None:
                turn.playout.produced(call.id, payload.samples, payload.rate)
        elif kind is EventKind.METRICS or kind is EventKind.DEBUG:
            if kind is EventKind.METRICS or desk.debugging():
                desk.offer_telemetry(kind, payload, call.scope, node.id)
            return
        event = Event(
            call.scope,
            kind,
            desk.number(),
            desk.now,
            payload,
            CLASS_OF[type(payload)],
            call.generation,
            node.id,
            None,
            call.event.sequence if call.event else None,
            None,
            call.id,
        )
        if port is None:
            port = _port(node, kind)
        if port is not None:
            self._book.graph.push(node, port, event)

    def _transcribed(self, call: Call, text: Text) -> None:
        """What was recognised is shown at once, the last revision as well; whether a final becomes a turn's words is the
        listener's to say.
        """
        desk = self._desk
        refused = call.take_text(text)
        if refused is not None:
            desk.announce(
                SignalName.ERROR_RAISED,
                emitters.CALLS,
                reason="schema_validation_error",
                node_id=call.node_id,
                invocation_id=call.id,
                code=refused,
                retryable=False,
                segment=text.segment,
                revision=text.revision,
            )
            return
        if text.text or not text.final:
            node = self._book.graph.nodes[call.node_id]
            event = desk.event(
                EventKind.TEXT, text, PayloadClass.TEXT_RAW, call.scope, node.id, None, call.id
            )
            self._book.graph.push(node, "partial", event)
        if text.final:
            self._book.metering.answered(call.node_id)
        self._book.owner.transcript(text)

    def finished(self, call_id: str, attempt: int, tokens: int) -> None:
        self._cancelling.stopped(call_id, attempt)
        call = self._book.calls.get(call_id)
        if call is None or not call.live or attempt != call.attempt:
            if call is not None and call.state is CallState.CANCELLING:
                self._cancelling.acknowledged(call)
            return
        desk = self._desk
        self._book.admission.spent(desk.now, tokens)
        turn = self._book.owner.turn()
        uncounted = tokens - call.tokens
        if turn is not None and uncounted > 0 and turn.costs.take_tokens(uncounted) < uncounted:
            self._spending.reached(turn, "tokens_max", turn.costs.caps.tokens_max)
        if self._book.circuits.succeeded(call.provider) == "closed":
            desk.announce(
                SignalName.CIRCUIT_EVENT, emitters.CALLS, call.scope, reason="closed", provider=call.provider
            )
        node = self._book.graph.nodes[call.node_id]
        if turn is not None:
            turn.playout.finished(call.id)
        if _port(node, EventKind.TEXT) and call.scope.turn_id is not None and call.modality != ISOLATED:
            # Whoever collects text downstream learns that no more is coming.
            self._forward(call, Text("", final=True, role="assistant"), None)
        self._book.owner.capability_back(call.modality)
        self._book.close(call, OutcomeClass.SUCCESS, "")


def _port_refused(node: NodeRun, port: str | None, payload: Audio | Text | Sample | Note) -> str | None:
    """A port that a call names must be one that its node declares for such a payload; measurements need none."""
    if port is None or isinstance(payload, (Sample, Note)):
        return None
    kind = KIND_OF.get(type(payload))
    declared = any(one.name == port and kind in one.kinds for one in node.definition.outputs)
    return None if declared else "output_port_refused"


def _port(node: NodeRun, kind: EventKind) -> str | None:
    """The node's first port for this kind."""
    return next((port.name for port in node.definition.outputs if kind in port.kinds), None)
