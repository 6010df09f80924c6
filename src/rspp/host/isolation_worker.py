"""A process in which one sync node runs, and nothing else: it takes events on its standard input and answers on its output.

    host -> worker: load, take, take, cancel, ... stop        worker -> host: ready, gave, done, failed, stopped

Frames are four bytes of length and a MessagePack map. The node runs in the kernel's own hosting, so what it raises, and
what it may not emit, is judged as it would be inside. Its memory is bounded by the system, its processor time by a timer
that ends the process. When the host is gone the input ends, and so does this.
"""

from __future__ import annotations

import hashlib
import os
import queue
import resource
import signal
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, BinaryIO, Final

import msgspec

from rspp.contract.event import Audio, Event, Note, Sample, Scope, Text
from rspp.contract.words import CancelReason
from rspp.kernel.hosting import Failed as HookFailed
from rspp.kernel.hosting import Hosted, Output, SyncNode
from rspp.kernel.state import State
from rspp.spec.graph import NodeDefinition

FRAME_BYTES_MAX: Final = 8 << 20
# All that one event may lead to.
OUTPUT_BYTES_MAX: Final = 4 << 20
# Events on their way to the node. The host counts them and gives up before the pipe would hold it up.
FEED_EVENTS_MAX: Final = 64
LENGTH: Final = struct.Struct(">I")


class Message(msgspec.Struct, frozen=True, tag_field="is", omit_defaults=True):
    """The common root."""


class Load(Message, frozen=True, tag="load"):
    """Become this node."""

    reference: str
    node: NodeDefinition
    search_path: tuple[str, ...]
    memory_mb: int
    cpu_ms: int


class Take(Message, frozen=True, tag="take"):
    number: int
    event: Event


class Cancel(Message, frozen=True, tag="cancel"):
    """Whatever has a number up to this one is wanted no more."""

    upto: int
    reason: CancelReason


class Stop(Message, frozen=True, tag="stop"):
    """The node's session is over."""


class Ready(Message, frozen=True, tag="ready"):
    """Everything is imported but the node."""


class Gave(Message, frozen=True, tag="gave"):
    number: int
    port: str
    payload: Audio | Text | Sample | Note


class Done(Message, frozen=True, tag="done"):
    number: int


class Failed(Message, frozen=True, tag="failed"):
    """The node failed on this event: in which hook, and the name of the error."""

    number: int
    hook: str
    error: str


class Stopped(Message, frozen=True, tag="stopped"):
    upto: int


Order = Load | Take | Cancel | Stop
Report = Ready | Gave | Done | Failed | Stopped
ENCODE: Final = msgspec.msgpack.Encoder()
REPORTS: Final[msgspec.msgpack.Decoder[Report]] = msgspec.msgpack.Decoder(Report)


def framed(message: Message) -> bytes:
    body = ENCODE.encode(message)
    return LENGTH.pack(len(body)) + body


class Worker:
    """The one node of this process."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        self._say = say
        self._hosted: Hosted | None = None
        self._state = State(0)
        self._load_error = "not_loaded"
        self._cpu_s = 0.0
        self._turn: str | None = None
        self._started = False
        self._upto = 0

    def cancelling(self, order: Cancel) -> None:
        """Called while the node may be at work, from the thread that reads: it can see that it is not wanted."""
        self._upto = order.upto
        if self._hosted is not None:
            self._hosted.context.cancelled = True

    def obey(self, order: Order) -> bool:
        """Do what is asked; False when it was the last."""
        if isinstance(order, Load):
            self._load(order)
        elif isinstance(order, Take):
            if order.number > self._upto:
                self._take(order.number, order.event)
        elif isinstance(order, Cancel):
            self._tell(lambda hosted, scope: hosted.cancel(hosted.context.now, scope, order.reason))
            self._say(Stopped(order.upto))
        else:
            self._tell(lambda hosted, scope: hosted.stop(hosted.context.now, scope))
            return False
        return True

    def _tell(self, hook: Callable[[Hosted, Scope], object]) -> None:
        """Run a hook of a node that has seen something already."""
        hosted = self._hosted
        if hosted is not None:
            scope = hosted.context.scope
            if scope is not None:
                self._timed(lambda hosted: hook(hosted, scope))
            hosted.context.cancelled = False

    def _load(self, order: Load) -> None:
        bytes_max = order.memory_mb << 20
        resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
        self._cpu_s = order.cpu_ms / 1000
        self._state = State(0)
        sys.path[:0] = order.search_path
        signal.setitimer(signal.ITIMER_PROF, max(self._cpu_s, 1.0))
        try:
            node = _made(order.reference, order.node.config)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - supervised: it is told with the first event
            self._load_error = type(error).__name__
        else:
            self._hosted = Hosted(order.node, node, self._state, order.node.budget.per_event_ms or 0)
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _take(self, number: int, event: Event) -> None:
        if self._hosted is None:
            self._say(Failed(number, "init", self._load_error))
            return
        self._enter(event.scope)
        outputs: list[Output] = []
        if not self._started:
            self._started = True
            given = self._timed(lambda hosted: hosted.start(event.at, event.scope))
            if isinstance(given, HookFailed):
                self._say(Failed(number, given.hook, given.error))
                return
            outputs += given
        port = _port_of(self._hosted.definition, event)
        given = self._timed(lambda hosted: hosted.step(event.at, event.scope, port, event))
        if number <= self._upto:
            return  # it was cancelled meanwhile: what it gave is nobody's
        if isinstance(given, HookFailed):
            self._say(Failed(number, given.hook, given.error))
            return
        self._give(number, [*outputs, *given])

    def _give(self, number: int, outputs: list[Output]) -> None:
        size = 0
        for output in outputs:
            if not isinstance(output.payload, Audio | Text | Sample | Note):
                self._say(Failed(number, "on_event", "payload_of_unknown_kind"))
                return
            size += len(ENCODE.encode(output.payload))
        if size > OUTPUT_BYTES_MAX:
            self._say(Failed(number, "on_event", "output_too_large"))
            return
        for output in outputs:
            assert isinstance(output.payload, Audio | Text | Sample | Note)
            self._say(Gave(number, output.port, output.payload))
        self._say(Done(number))

    def _timed(self, hook: Callable[[Hosted], Any]) -> Any:
        """Run a hook; past its processor time the system ends the process."""
        assert self._hosted is not None
        signal.setitimer(signal.ITIMER_PROF, self._cpu_s)
        try:
            return hook(self._hosted)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _enter(self, scope: Scope) -> None:
        """A turn's state is that turn's; its draws are the same whenever this turn is asked again."""
        if scope.turn_id == self._turn or self._hosted is None:
            return
        if self._turn is not None:
            self._state.close_turn(self._turn)
        self._turn = scope.turn_id
        if scope.turn_id is not None:
            self._state.open_turn(scope.turn_id)
            digest = hashlib.sha256(scope.turn_id.encode()).digest()
            self._hosted.reseed(int.from_bytes(digest[:8], "big"))


def _made(reference: str, config: Mapping[str, object]) -> SyncNode:
    """An instance of the class, from its settings as its declaration reads them."""
    module, _, attribute = reference.partition(":")
    cls: Any = import_module(module)
    for step in attribute.split("."):
        cls = getattr(cls, step)
    declaration = getattr(cls, "declaration", None)
    settings = msgspec.convert(dict(config), declaration.config) if declaration is not None else config
    made: SyncNode = cls(settings)
    return made


def _port_of(node: NodeDefinition, event: Event) -> str:
    """The input that takes such an event; the spec's checker saw to it that there is one at most."""
    return next((port.name for port in node.inputs if event.kind in port.kinds), "")


def _read(source: BinaryIO, worker: Worker, orders: queue.Queue[Order | None]) -> None:
    """Read orders until the host is gone; a cancel is seen at once, whatever the node is doing."""
    decode = msgspec.msgpack.Decoder(Order).decode
    while len(head := source.read(LENGTH.size)) == LENGTH.size:
        order: Order = decode(source.read(LENGTH.unpack(head)[0]))
        if isinstance(order, Cancel):
            worker.cancelling(order)
        orders.put(order)
    os._exit(0)  # nobody is there to be answered, and the node may never come back


def main() -> None:
    """Keep the two pipes to ourselves, then obey. What the node prints goes nowhere."""
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def say(message: Message) -> None:
        answers.write(framed(message))
        answers.flush()

    worker = Worker(say)
    orders: queue.Queue[Order | None] = queue.Queue(FEED_EVENTS_MAX)
    threading.Thread(target=_read, args=(source, worker, orders), daemon=True).start()
    say(Ready())
    while (order := orders.get()) is not None and worker.obey(order):
        pass
    os._exit(0)  # whatever threads the node has begun


if __name__ == "__main__":
    main()
