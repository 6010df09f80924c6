"""One session's share of the meters: read off what it takes and what it wants done, as a `Watcher`.

A frame costs a look at its types and no more: of what comes fifty times a second, one in `EVERY` is timed. Everything else
happens a few times a turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any, Final

from rspp.contract.emitters import LANES
from rspp.contract.event import NS_PER_MS, Audio, Event, Note, Payload, Sample, Signal, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import EventKind, Lane
from rspp.host.logs import DEBUG
from rspp.host.meters import Histogram
from rspp.host.metric_names import NONE
from rspp.host.pipeline_meters import Board, PipelineMeters
from rspp.host.watchdog import Running
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.spec.graph import GraphDefinition, Lifetime

debug = logging.getLogger(DEBUG)

EVERY: Final = 32
SCORES: Final[Mapping[str, type[i.Input]]] = {"vad": i.SpeechScored, "end_of_turn": i.EndOfTurnScored}


def weight_of(payload: Payload) -> int:
    """How many bytes a payload is for a provider."""
    if isinstance(payload, Text):
        return len(payload.text.encode(errors="surrogatepass"))
    if isinstance(payload, Audio):
        return len(payload.data) or payload.samples * 2 * payload.channels
    return 0


class _Call:
    """One call that goes on: who serves it now, since when it owes an answer, and what went each way."""

    __slots__ = (
        "began",
        "fed",
        "given",
        "got",
        "modality",
        "node",
        "provider",
        "rtt",
        "stops",
        "took",
        "turn_id",
    )

    def __init__(self, at: int, node: str, modality: str, turn_id: str | None) -> None:
        self.began = self.fed = at  # fed: 0 once it has answered
        self.node, self.modality, self.turn_id = node, modality, turn_id
        self.provider = ""
        self.given = self.got = 0
        self.rtt: Histogram | None = None
        self.took: Histogram | None = None
        self.stops: dict[int, int] = {}  # bounded: by its attempts; when each was told to stop


class SessionMeters:
    """A `Watcher`."""

    def __init__(
        self,
        board: Board,
        mine: PipelineMeters,
        session_id: str,
        graph: GraphDefinition,
        running: Running | None = None,
    ) -> None:
        self.awaits: type[i.Input] | None = None
        self._board, self._mine, self._session_id = board, mine, session_id
        self._running = running or Running()
        self._lasting = {node.id for node in graph.nodes if node.lifetime is Lifetime.SESSION}
        self._modalities = {node.id: node.modality or node.type for node in graph.nodes}
        self._hearing = {
            node.id for node in graph.nodes if any(EventKind.AUDIO in port.kinds for port in node.inputs)
        }
        self._calls: dict[str, _Call] = {}  # bounded: by the calls that the kernel has open
        self._listening: set[str] = set()  # bounded: likewise; calls that are fed sound
        self._scoring: dict[type[i.Input], _Call] = {}  # bounded: SCORES
        self._left = EVERY
        self._frame_at = 0  # when the newest frame was on its way

    # ---- inputs ----------------------------------------------------------------------------------------------------

    def took(self, at: int, received: i.Input) -> None:
        kind = type(received)
        if kind is self.awaits:
            self._scored(at, kind)
        elif kind is i.CallProduced:
            self._produced(at, received)  # type: ignore[arg-type]
        elif kind is i.CallFinished:
            self._finished(at, received)  # type: ignore[arg-type]
        elif kind is i.CallCancelled:
            self._stopped(at, received.call_id, received.attempt)  # type: ignore[attr-defined]

    def _scored(self, at: int, kind: type[i.Input]) -> None:
        """Voice activity answers the frame that was sampled. Whoever judges pauses answers when there is one, however many
        frames later: from the newest of them.
        """
        self.awaits = None
        call = self._scoring.get(kind)
        if call is None:
            return
        if kind is i.EndOfTurnScored:
            call.fed = self._frame_at
        elif i.EndOfTurnScored in self._scoring:
            self.awaits = i.EndOfTurnScored
        if call.fed:
            self._answered(at, call)

    def _produced(self, at: int, chunk: i.CallProduced) -> None:
        call = self._calls.get(chunk.call_id)
        if call is None or isinstance(chunk.payload, Sample):
            return
        call.got += weight_of(chunk.payload)
        # Of words that are still being recognised, the last revision is the answer.
        partial = isinstance(chunk.payload, Text) and not chunk.payload.final and call.node in self._lasting
        if call.fed and not partial:
            self._answered(at, call)

    def _finished(self, at: int, finished: i.CallFinished) -> None:
        call = self._calls.get(finished.call_id)
        if call is None:
            return
        if call.fed:
            self._answered(at, call)
        if finished.tokens > 0:
            self._mine.count_provider("provider_tokens_total", call.modality, call.provider).add(
                finished.tokens
            )

    def _answered(self, at: int, call: _Call) -> None:
        since, call.fed = call.fed, 0
        assert call.rtt is not None
        assert call.took is not None
        began = since if call.node in self._lasting else call.began
        if call.modality in SCORES:
            call.rtt.record(at - since)
            call.took.record(at - began)
        else:
            call.rtt.record_for(at - since, self._session_id, call.turn_id)
            call.took.record_for(at - began, self._session_id, call.turn_id)
            if call.node in self._lasting:
                self._sized(call)

    def _sized(self, call: _Call) -> None:
        """What went each way: of a call, or of a stream since it answered last."""
        for name, size in (("provider_request_bytes", call.given), ("provider_response_bytes", call.got)):
            sizes = self._mine.of_provider(name, call.modality, call.provider)
            sizes.record_for(size, self._session_id, call.turn_id)
        call.given = call.got = 0

    def _stopped(self, at: int, call_id: str, attempt: int) -> None:
        call = self._calls.get(call_id)
        since = None if call is None else call.stops.pop(attempt, None)
        if call is not None and since is not None:
            stopping = self._mine.cancel(call.node, call.provider)
            stopping.record_for(at - since, self._session_id, call.turn_id)

    # ---- effects ---------------------------------------------------------------------------------------------------

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        first = effects[0]
        if type(first) is fx.Feed and type(effects[-1]) is fx.Feed and first.call_id in self._listening:
            # A frame on its way: whatever else is asked for comes with a word, and words go before data.
            self._frame_at = at
            self._left -= 1
            if not self._left:
                self._left = EVERY
                self._sampled(at, effects)
            return
        for effect in effects:
            handle = _DID.get(type(effect))
            if handle is not None:
                handle(self, at, effect)

    def _sampled(self, at: int, effects: Sequence[Any]) -> None:
        for effect in effects:
            call = self._calls.get(effect.call_id)
            if call is not None:
                call.given += EVERY * weight_of(effect.event.payload)
        vad = self._scoring.get(i.SpeechScored)
        if vad is not None:  # one is timed at a time: this one, then the other
            vad.fed, self.awaits = at, i.SpeechScored
        elif i.EndOfTurnScored in self._scoring:
            self.awaits = i.EndOfTurnScored

    def _invoke(self, at: int, asked: fx.Invoke) -> None:
        call = self._calls.get(asked.call_id)
        if call is None:
            call = self._calls[asked.call_id] = _Call(at, asked.node_id, asked.modality, asked.turn_id)
            if asked.node_id in self._hearing:
                self._listening.add(asked.call_id)
            if asked.modality in SCORES:
                self._scoring[SCORES[asked.modality]] = call
        mine = self._mine
        if asked.attempt > 1:
            mine.count_provider("provider_retries_total", asked.modality, asked.provider).add()
        if call.provider != asked.provider:
            call.provider = asked.provider
            call.rtt = mine.of_provider("provider_rtt_ms", asked.modality, asked.provider)
            call.took = mine.node(asked.node_id, asked.provider)
        # A stream that lasts owes nothing before it has been given something.
        call.fed = 0 if asked.node_id in self._lasting and asked.event is None else at
        if asked.event is not None:
            call.given += weight_of(asked.event.payload)
        call.given += sum(len(said.text.encode(errors="surrogatepass")) for said in asked.history)

    def _feed(self, at: int, fed: fx.Feed) -> None:
        call = self._calls.get(fed.call_id)
        if call is not None and fed.call_id not in self._listening:
            call.given += weight_of(fed.event.payload)
            call.fed = at

    def _end_feed(self, at: int, ended: fx.EndFeed) -> None:
        call = self._calls.get(ended.call_id)
        if call is not None and call.node in self._lasting and call.modality not in SCORES:
            call.fed = at  # it is asked for what it holds

    def _cancel(self, at: int, told: fx.CancelCall) -> None:
        call = self._calls.get(told.call_id)
        if call is not None:
            call.stops[told.attempt] = at

    def _kill(self, at: int, told: fx.KillCall) -> None:
        self._stopped(at, told.call_id, told.attempt)

    def _observe(self, _: int, seen: fx.Observe) -> None:
        sample, scope = seen.event.payload, seen.event.scope
        if isinstance(sample, Note):
            ids = {"session_id": scope.session_id, "turn_id": scope.turn_id, "node_id": seen.event.node_id}
            debug.info("%s", sample.message, extra={**ids, "pipeline_version": scope.pipeline_version})
            return
        if (
            isinstance(sample, Sample)
            and sample.name == "turn_first_output_ms"
            and seen.event.node_id is None
        ):
            value = round(sample.value * NS_PER_MS)
            self._mine.first_output.record_for(value, scope.session_id, scope.turn_id)

    def _announce(self, _: int, told: fx.Announce) -> None:
        event = told.event
        signal = event.payload
        if isinstance(signal, Signal):
            handle = _SAID.get(signal.signal)
            if handle is not None:
                handle(self, event, signal)

    # ---- signals ---------------------------------------------------------------------------------------------------

    def _ended(self, event: Event, _: Signal) -> None:
        call_id = event.invocation_id or ""
        call = self._calls.get(call_id)
        if call is None:
            return
        self._sized(call)
        for effect_type in [kind for kind, one in self._scoring.items() if one is call]:
            del self._scoring[effect_type]
        self._listening.discard(call_id)
        del self._calls[call_id]

    def _failed(self, event: Event, signal: Signal) -> None:
        told = signal.detail or {}
        modality = self._modalities.get(event.node_id or "", NONE)
        self._mine.count_provider(
            "provider_errors_total", modality, str(told.get("provider")), code=str(told.get("code"))
        ).add()

    def _decided(self, _: Event, signal: Signal) -> None:
        self._board.decided(self._mine, signal.signal)

    def _turn_over(self, _: Event, signal: Signal) -> None:
        self._mine.count("turns_total", signal.signal)

    def _planned(self, event: Event, __: Signal) -> None:
        took_ns = perf_counter_ns() - self._running.began_ns
        self._mine.plan_build.record_for(took_ns, event.scope.session_id, event.scope.turn_id)

    def _interrupted(self, _: Event, __: Signal) -> None:
        self._mine.interruptions.add()

    def _lost(self, event: Event, signal: Signal) -> None:
        """On a lane; what an edge loses, its queue counts."""
        if signal.emitted_by == LANES:
            span = signal.seq_range
            count = 1 if span is None else span.end - span.start + 1
            self._board.dropped[signal.target_lane or Lane.DATA].add(count)

    def closed(self) -> None:
        for call in self._calls.values():
            if call.given or call.got:
                self._sized(call)
        self._calls.clear()
        self._mine.ended(self._session_id)


_DID: Final[Mapping[type, Callable[[SessionMeters, int, Any], None]]] = {
    fx.Announce: SessionMeters._announce,
    fx.Invoke: SessionMeters._invoke,
    fx.Feed: SessionMeters._feed,
    fx.EndFeed: SessionMeters._end_feed,
    fx.CancelCall: SessionMeters._cancel,
    fx.KillCall: SessionMeters._kill,
    fx.Observe: SessionMeters._observe,
}
_SAID: Final[Mapping[str, Callable[[SessionMeters, Event, Signal], None]]] = {
    SignalName.CALL_ENDED.value: SessionMeters._ended,
    SignalName.PROVIDER_ERROR.value: SessionMeters._failed,
    SignalName.COMMIT.value: SessionMeters._turn_over,
    SignalName.ABORT.value: SessionMeters._turn_over,
    SignalName.PLAN_RESOLVED.value: SessionMeters._planned,
    SignalName.BARGE_IN.value: SessionMeters._interrupted,
    SignalName.DROP_NOTICE.value: SessionMeters._lost,
    **dict.fromkeys(
        (SignalName.ADMIT.value, SignalName.REJECT.value, SignalName.DEFER.value, SignalName.SHED.value),
        SessionMeters._decided,
    ),
}
