"""Spans of one session, read off what it takes and what it wants done: turn -> node -> provider invocation.

    turn s-1/turn-3                          one trace a turn; its id, and all ids in it, follow from the names
      node llm                               from a call's start to its end, whoever served it
        chat some-model                      one attempt; of a language model with the attributes of the GenAI conventions
      node segmenter                         a sync node: from its first step in the turn to its last

A call that lasts as long as the session has a trace of the session's own. Each span carries session, turn (where there is one)
and pipeline version, and none says what anybody said, unless that is asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from rspp.contract.event import Event, Signal, Text
from rspp.contract.signals import SignalName
from rspp.host.ports import Stepped
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# Spans of one session that have begun and not ended; of more nothing is told.
OPEN_MAX: Final = 256
CONTENT_CHARACTERS_MAX: Final = 4_096
MESSAGES_MAX: Final = 32

Value = str | int | float | bool
Redact = Callable[[str], str]
Words = tuple[tuple[str, str], ...]  # role, text


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One that is over. Times are of the day, in nanoseconds."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int  # 0: none
    began: int
    ended: int
    attributes: dict[str, Value]
    marks: tuple[tuple[str, int], ...] = ()  # what happened in it, and when
    client: bool = False  # somebody else was asked
    error: str = ""
    # As they were said, newest last, if words are told at all. To mask them takes longer than a frame lasts, so that is
    # left to whoever exports.
    heard: Words = ()
    said: Words = ()


def messages(words: Words, content: Redact) -> str:
    """The newest of these that fit, masked, as the GenAI conventions have them: JSON whatever is cut."""
    told: list[dict[str, str]] = []  # bounded: CONTENT_CHARACTERS_MAX
    left = CONTENT_CHARACTERS_MAX
    for role, text in reversed(words):
        masked = content(text)
        told.append({"role": role, "content": masked[:left]})
        left -= len(masked)
        if left <= 0:
            break
    return json.dumps(told[::-1])


class _Open(msgspec.Struct):
    """One that goes on."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int
    began: int
    attributes: dict[str, Value]
    marks: list[tuple[str, int]] = []
    client: bool = False
    heard: Words = ()
    said: str = ""


def trace_of(name: str) -> int:
    """Never 0, and the same for the same name wherever it is computed."""
    return int.from_bytes(hashlib.sha256(name.encode(errors="surrogatepass")).digest()[:16], "big") | 1


def span_of(*names: object) -> int:
    text = "\x1f".join(map(str, names))
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") | 1


class SessionSpans:
    """A `Watcher` that also sees the steps of sync nodes. What is over goes to `put`."""

    awaits: type[i.Input] | None = None

    def __init__(
        self,
        request: OpenRequest,
        graph: GraphDefinition,
        put: Callable[[Span], None],
        words: bool = False,
    ) -> None:
        """`words`: what was said to language models and by them is told as well."""
        self._put, self._words = put, words
        self._offset = request.anchor.wall - request.anchor.monotonic
        self._session_id = request.session_id
        self._ids: dict[str, Value] = {
            "session_id": request.session_id,
            "pipeline_version": request.pipeline_version,
            "pipeline": graph.pipeline,
            "tenant_id": request.tenant_id,
        }
        self._models = {
            name: str(given.get("model", name)) for name, given in graph.provider_settings.items()
        }
        self._kinds = {name: str(given.get("use", name)) for name, given in graph.provider_settings.items()}
        self._at = self._began = request.anchor.monotonic
        self._open: dict[tuple[str, ...], _Open] = {}  # bounded: OPEN_MAX
        self._asked: dict[str, int] = {}  # bounded: with the open calls; the attempt that goes on
        self._turn_id: str | None = None
        self._steps: list[str] = []  # bounded: by the steps of one input
        self.untold = 0

    # ---- as a watcher --------------------------------------------------------------------------------------------

    def took(self, at: int, received: i.Input) -> None:
        self._at = at
        if isinstance(received, i.CallProduced):
            self._produced(received)
        elif isinstance(received, i.CallFinished):
            attempt = self._open.get(("attempt", received.call_id, str(received.attempt)))
            if attempt is not None and received.tokens:
                attempt.attributes["gen_ai.usage.output_tokens"] = received.tokens

    def stepped(self, step: Stepped) -> None:
        if step.hook == "on_event" and len(self._steps) < OPEN_MAX:
            self._steps.append(step.node_id)

    def did(self, at: int, effects: Sequence[fx.Effect]) -> None:
        first = effects[0]
        if type(first) is fx.Feed and type(effects[-1]) is fx.Feed and not self._steps:
            return  # a frame on its way
        self._at = at
        for effect in effects:
            if type(effect) is fx.Announce:
                payload = effect.event.payload
                handle = _SAID.get(payload.signal) if isinstance(payload, Signal) else None
                if handle is not None:
                    handle(self, effect.event, payload)
            elif type(effect) is fx.Invoke:
                self._invoked(effect)
        if self._steps:
            self._stepped()

    def closed(self) -> None:
        """Whatever goes on ends here."""
        for key in list(self._open):
            self._end(key, error="session_over" if key[0] != "turn" else "")
        trace_id = trace_of(self._session_id)
        self._put(
            Span(
                name="session",
                trace_id=trace_id,
                span_id=span_of(self._session_id),
                parent_id=0,
                began=self._began + self._offset,
                ended=self._at + self._offset,
                attributes=dict(self._ids),
            )
        )

    # ---- spans ---------------------------------------------------------------------------------------------------

    def _begin(
        self, key: tuple[str, ...], name: str, turn_id: str | None, parent_id: int, **more: Value
    ) -> _Open | None:
        if len(self._open) >= OPEN_MAX or key in self._open:
            self.untold += 1
            return None
        ids = self._ids if turn_id is None else {**self._ids, "turn_id": turn_id}
        trace_id = trace_of(turn_id or self._session_id)
        found = _Open(name, trace_id, span_of(*key), parent_id, self._at, {**ids, **more})
        self._open[key] = found
        return found

    def _end(self, key: tuple[str, ...], error: str = "", **more: Value) -> None:
        one = self._open.pop(key, None)
        if one is None:
            return
        self._put(
            Span(
                name=one.name,
                trace_id=one.trace_id,
                span_id=one.span_id,
                parent_id=one.parent_id,
                began=one.began + self._offset,
                ended=self._at + self._offset,
                attributes={**one.attributes, **more},
                marks=tuple((name, at + self._offset) for name, at in one.marks),
                client=one.client,
                error=error,
                heard=one.heard,
                said=(("assistant", one.said),) if one.said else (),
            )
        )

    def _mark(self, key: tuple[str, ...], name: str) -> None:
        one = self._open.get(key)
        if one is not None and len(one.marks) < OPEN_MAX:
            one.marks.append((name, self._at))

    # ---- turns ---------------------------------------------------------------------------------------------------

    def _turn_opened(self, event: Event, _: Signal) -> None:
        turn_id = event.scope.turn_id
        if turn_id is not None:
            self._turn_id = turn_id
            self._begin(("turn", turn_id), "turn", turn_id, 0)

    def _turn_marked(self, event: Event, signal: Signal) -> None:
        self._mark(("turn", event.scope.turn_id or ""), signal.signal)

    def _turn_judged(self, event: Event, signal: Signal) -> None:
        one = self._open.get(("turn", event.scope.turn_id or ""))
        if one is not None:
            one.attributes["rspp.turn.outcome"] = signal.signal
            if signal.reason:
                one.attributes["rspp.turn.reason"] = signal.reason

    def _turn_closed(self, event: Event, _: Signal) -> None:
        turn_id = event.scope.turn_id or ""
        for key in [key for key in self._open if key[0] == "step" and key[1] == turn_id]:
            self._end(key)
        self._end(("turn", turn_id))
        if self._turn_id == turn_id:
            self._turn_id = None

    # ---- nodes and calls -------------------------------------------------------------------------------------------

    def _root(self, turn_id: str | None) -> int:
        return span_of(self._session_id) if turn_id is None else span_of("turn", turn_id)

    def _stepped(self) -> None:
        """Of each sync node one span a turn; what it does between turns belongs to none."""
        steps, self._steps = self._steps, []
        turn_id = self._turn_id
        if turn_id is None:
            return
        for node_id in steps:
            key = ("step", turn_id, node_id)
            one = self._open.get(key) or self._begin(
                key, f"node {node_id}", turn_id, self._root(turn_id), node_id=node_id
            )
            if one is not None:
                one.attributes["rspp.node.steps"] = int(one.attributes.get("rspp.node.steps", 0)) + 1

    def _call_started(self, event: Event, _: Signal) -> None:
        call_id, node_id, turn_id = event.invocation_id or "", event.node_id or "", event.scope.turn_id
        more = {"node_id": node_id, "rspp.invocation_id": call_id}
        self._begin(("call", call_id), f"node {node_id}", turn_id, self._root(turn_id), **more)

    def _invoked(self, asked: fx.Invoke) -> None:
        call_id, number = asked.call_id, str(asked.attempt)
        former = self._asked.get(call_id)
        if former is not None:  # it was given up for this one
            self._end(("attempt", call_id, str(former)), error="given_up")
        self._asked[call_id] = asked.attempt
        model = self._models.get(asked.provider, asked.provider)
        llm = asked.modality == "llm"
        more: dict[str, Value] = {
            "rspp.modality": asked.modality,
            "rspp.attempt": asked.attempt,
            "rspp.invocation_id": call_id,
            "node_id": asked.node_id,
            "provider": asked.provider,
        }
        one = self._begin(
            ("attempt", call_id, number),
            f"chat {model}" if llm else f"{asked.modality} {asked.provider}",
            asked.turn_id,
            span_of("call", call_id),
            **more,
        )
        if one is None:
            return
        one.client = True
        if llm:
            one.attributes |= {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._kinds.get(asked.provider, asked.provider),
                "gen_ai.request.model": model,
                "gen_ai.conversation.id": self._session_id,
                "gen_ai.output.type": "text",
            }
            self._heard(one, asked)

    def _heard(self, one: _Open, asked: fx.Invoke) -> None:
        if not self._words:
            return
        words = [(said.role, said.text) for said in asked.history[-MESSAGES_MAX:]]
        payload = None if asked.event is None else asked.event.payload
        if isinstance(payload, Text):
            words.append(("user", payload.text))
        one.heard = tuple(words)

    def _produced(self, chunk: i.CallProduced) -> None:
        one = self._open.get(("attempt", chunk.call_id, str(chunk.attempt)))
        if one is None:
            return
        if chunk.sequence == 0:
            one.marks.append(("first_chunk", self._at))
            waited_s = (self._at - one.began) / 1e9
            one.attributes["gen_ai.response.time_to_first_chunk"] = waited_s
        keeps = self._words and "gen_ai.operation.name" in one.attributes
        if keeps and isinstance(chunk.payload, Text) and len(one.said) < CONTENT_CHARACTERS_MAX:
            one.said += chunk.payload.text

    def _call_failed(self, event: Event, signal: Signal) -> None:
        told = signal.detail or {}
        call_id = event.invocation_id or ""
        key = ("attempt", call_id, str(told.get("attempt")))
        code = str(told.get("code"))
        self._end(key, error=code, **{"error.type": code})
        if self._asked.get(call_id) == told.get("attempt"):
            del self._asked[call_id]

    def _call_ended(self, event: Event, signal: Signal) -> None:
        told = signal.detail or {}
        call_id, outcome = event.invocation_id or "", str(told.get("outcome"))
        error = "" if outcome in ("success", "cancelled") else signal.reason or outcome
        attempt = self._asked.pop(call_id, None)
        if attempt is not None:
            key = ("attempt", call_id, str(attempt))
            self._end(key, error=error, **{"rspp.outcome": outcome})
        attempts = told.get("attempts")
        more: dict[str, Value] = {"rspp.outcome": outcome, "provider": str(told.get("provider"))}
        if isinstance(attempts, int):
            more["rspp.attempts"] = attempts
        self._end(("call", call_id), error=error, **more)


_SAID: Final[Mapping[str, Callable[[SessionSpans, Event, Any], None]]] = {
    SignalName.TURN_OPEN.value: SessionSpans._turn_opened,
    SignalName.COMMIT.value: SessionSpans._turn_judged,
    SignalName.ABORT.value: SessionSpans._turn_judged,
    SignalName.CLOSE.value: SessionSpans._turn_closed,
    SignalName.CALL_STARTED.value: SessionSpans._call_started,
    SignalName.CALL_ENDED.value: SessionSpans._call_ended,
    SignalName.PROVIDER_ERROR.value: SessionSpans._call_failed,
    **dict.fromkeys(
        (
            SignalName.BARGE_IN.value,
            SignalName.OUTPUT_ACCEPTED.value,
            SignalName.PLAYBACK_STARTED.value,
            SignalName.TURN_CONFIRMED.value,
            SignalName.CANCEL.value,
        ),
        SessionSpans._turn_marked,
    ),
}
