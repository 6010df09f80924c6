"""A sync node runs inside the step, sees only its context, and harms nobody: what it raises is a failure of that node.

A node is made once, started once, stopped once. It may ask for the time and for random numbers, both of which are
given to it, and its outputs are checked before they travel. How long it took is not known here: the host's meter says
so afterwards, as an input. Knows no edges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol, cast

import msgspec

from rspp.contract.event import Audio, Event, Fault, Note, Payload, Sample, Scope, Text
from rspp.contract.words import CancelReason, EventKind, PayloadClass
from rspp.kernel.determinism import Stream
from rspp.kernel.state import State, StateClass
from rspp.spec.graph import NodeDefinition

OUTPUTS_PER_STEP_MAX: Final = 64
KIND_OF: Final[Mapping[type, EventKind]] = {
    Audio: EventKind.AUDIO,
    Text: EventKind.TEXT,
    Sample: EventKind.METRICS,
    Note: EventKind.DEBUG,
    Fault: EventKind.ERROR,
}
CLASS_OF: Final[Mapping[type, PayloadClass]] = {
    Audio: PayloadClass.AUDIO_RAW,
    Text: PayloadClass.TEXT_RAW,
    Sample: PayloadClass.METADATA,
    Note: PayloadClass.METADATA,
    Fault: PayloadClass.METADATA,
}


class Output(msgspec.Struct, frozen=True, gc=False):
    port: str
    payload: Payload


class Saved(msgspec.Struct, frozen=True, gc=False):
    """A value that a node made durable."""

    key: str
    value: object
    revision: int


def _plain(value: object) -> object:
    """The value as a store would give it back: a copy, of plain types; raises TypeError for what cannot be written."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


class Context:
    """What a node may know and do in one step."""

    __slots__ = (
        "_outputs",
        "_saves",
        "_state",
        "budget_ms",
        "cancelled",
        "config",
        "node_id",
        "now",
        "random",
        "scope",
    )

    def __init__(self, definition: NodeDefinition, state: State, budget_ms: int) -> None:
        self.node_id = definition.id
        self.config = definition.config
        self.budget_ms = budget_ms
        self.now = 0
        self.scope: Scope | None = None
        self.random = Stream(0, definition.id)
        self.cancelled = False
        self._state = state
        self._outputs: list[Output] = []
        self._saves: list[Saved] = []

    @property
    def session_id(self) -> str:
        return self.scope.session_id if self.scope else ""

    @property
    def turn_id(self) -> str | None:
        return self.scope.turn_id if self.scope else None

    def emit(self, port: str, payload: Payload) -> None:
        """Send something out of one of the node's ports, when the step ends."""
        if len(self._outputs) >= OUTPUTS_PER_STEP_MAX:
            raise RuntimeError(f"a node emits at most {OUTPUTS_PER_STEP_MAX} events a step")
        self._outputs.append(Output(port, payload))

    def metric(self, name: str, value: float, unit: str = "") -> None:
        self.emit("", Sample(name, float(value), unit))

    def note(self, message: str) -> None:
        """A debug remark: nothing happens unless the session is being debugged."""
        self.emit("", Note(message))

    def get(self, kind: StateClass, key: str) -> object:
        return self._state.get(kind, self._key(key), self.turn_id)

    def put(self, kind: StateClass, key: str, value: object) -> None:
        """Keep something. What is durable leaves the process, so it must be plain: texts, numbers, lists, maps."""
        durable = kind is StateClass.DURABLE
        if durable:
            if len(self._saves) >= OUTPUTS_PER_STEP_MAX:
                raise RuntimeError(f"a node saves at most {OUTPUTS_PER_STEP_MAX} values a step")
            value = _plain(value)
        name = self._key(key)
        revision = self._state.put(kind, name, value, self._state.epoch, self.turn_id)
        if durable and revision is not None:
            self._saves.append(Saved(name, value, revision))

    def _key(self, key: str) -> str:
        return f"{self.node_id}/{key}"

    @property
    def said(self) -> tuple[tuple[Output, ...], tuple[tuple[str, object], ...]]:
        """What this step has emitted and made durable until now, by the node's own keys; for who records it."""
        prefix = len(self.node_id) + 1
        return tuple(self._outputs), tuple((saved.key[prefix:], saved.value) for saved in self._saves)

    def take(self) -> list[Output]:
        outputs, self._outputs = self._outputs, []
        return outputs

    def take_saves(self) -> list[Saved]:
        """What the step made durable."""
        saves, self._saves = self._saves, []
        return saves


class SyncNode(Protocol):
    """A node that runs inside the step: pure but for its context."""

    def on_event(self, ctx: Context, port: str, event: Event) -> None: ...


NodeFactory = Callable[[Mapping[str, object]], SyncNode]


class Failed(msgspec.Struct, frozen=True, gc=False):
    """A node raised, or broke its word: which hook, and the name of the error. Never its payload."""

    node_id: str
    hook: str
    error: str


class Hosted:
    """One node's one instance."""

    __slots__ = ("_instance", "_started", "_stopped", "context", "definition")

    def __init__(self, definition: NodeDefinition, instance: SyncNode, state: State, budget_ms: int) -> None:
        self.definition = definition
        self.context = Context(definition, state, budget_ms)
        self._instance = instance
        self._started = self._stopped = False

    def start(self, now: int, scope: Scope) -> list[Output] | Failed:
        """Run the start hook; a second start is nothing."""
        if self._started:
            return []
        self._started = True
        return self._run("on_start", now, scope)

    def step(self, now: int, scope: Scope, port: str, event: Event) -> list[Output] | Failed:
        if not self._started or self._stopped:
            return Failed(self.definition.id, "on_event", "event_outside_start_and_stop")
        return self._run("on_event", now, scope, port, event)

    def cancel(self, now: int, scope: Scope, reason: CancelReason) -> list[Output] | Failed:
        self.context.cancelled = True
        result = self._run("on_cancel", now, scope, reason)
        self.context.cancelled = False
        # A cancelled node has nothing more to say.
        return result if isinstance(result, Failed) else []

    def told(self, hook: str, now: int, scope: Scope, *arguments: object) -> list[Output] | Failed:
        """Run one of the hooks that only tell (`on_barge_in`, `on_budget_exhausted`): of what it emits, measurements count."""
        if not self._started or self._stopped:
            return []
        result = self._run(hook, now, scope, *arguments)
        return result if isinstance(result, Failed) else [output for output in result if output.port == ""]

    def stop(self, now: int, scope: Scope) -> None:
        if self._started and not self._stopped:
            self._stopped = True
            self._run("on_stop", now, scope)

    def reseed(self, seed: int) -> None:
        """A turn's own draws."""
        self.context.random = Stream(seed, self.definition.id)

    def _run(self, hook: str, now: int, scope: Scope, *arguments: object) -> list[Output] | Failed:
        call = getattr(self._instance, hook, None)
        if call is None:
            return []
        context = self.context
        context.now, context.scope = now, scope
        try:
            cast(Callable[..., None], call)(context, *arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - supervised: a node's fault is that node's
            context.take()
            return Failed(self.definition.id, hook, type(error).__name__)
        return self._checked(hook, context.take())

    def _checked(self, hook: str, outputs: list[Output]) -> list[Output] | Failed:
        ports = {port.name: port.kinds for port in self.definition.outputs}
        for output in outputs:
            kind = KIND_OF.get(type(output.payload))
            if kind is None:
                return Failed(self.definition.id, hook, "payload_of_unknown_kind")
            if output.port == "" and kind in (EventKind.METRICS, EventKind.DEBUG):
                continue
            if kind not in ports.get(output.port, ()):
                return Failed(self.definition.id, hook, f"output_port_refused:{output.port[:32]}:{kind}")
        return outputs
