"""One live session: its kernel, its inbox, and whoever does what the kernel asks.

Inputs wait in three bounded lanes until the host serves them; each is handed to the kernel, and what the kernel wants done
is done at once, in order. Nothing is decided here. What raises costs this session and no other: a line that raises counts
as disconnected, a provider that raises has failed its call, and a kernel that raises ends the session with its cause.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from rspp.contract.event import Signal
from rspp.contract.signals import SignalName
from rspp.contract.words import ConnectionState, Lane, OutcomeClass
from rspp.host.calls import REFUSING, CoroutineCall, Reply, adapter_error
from rspp.host.ports import (
    AnyProvider,
    AsyncNode,
    Call,
    Clock,
    Line,
    ProviderError,
    ReactiveProvider,
    Recorder,
)
from rspp.host.registry import AsyncNodeFactory
from rspp.host.steps import metered
from rspp.host.tasks import TaskScope
from rspp.host.watchdog import Running
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

CONTROL, DATA, TELEMETRY = Lane.CONTROL, Lane.DATA, Lane.TELEMETRY
# How many inputs may wait in each lane. Data: five seconds of frames with their scores, on a process that stands still.
INBOX_ITEMS_MAX: Final[Mapping[Lane, int]] = {CONTROL: 1_024, DATA: 1_024, TELEMETRY: 256}
# The inputs that may overtake nothing of their own: audio, what is said of it, and what calls produce, to their end.
_DATA_INPUTS: Final = (
    i.AudioReceived,
    i.TextReceived,
    i.SpeechScored,
    i.EndOfTurnScored,
    i.CallAccepted,
    i.CallProduced,
    i.CallFinished,
    i.CallFailed,
)
_TELEMETRY_INPUTS: Final = (i.NodeMeasured, i.ClockObserved)
LANE_OF_INPUT: Final[Mapping[type, Lane]] = {
    **dict.fromkeys(_DATA_INPUTS, DATA),
    **dict.fromkeys(_TELEMETRY_INPUTS, TELEMETRY),
}


class Owner(Protocol):
    """What a session needs of its host."""

    @property
    def clock(self) -> Clock: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def running(self) -> Running: ...
    def woke(self, session: LiveSession, lane: Lane) -> None: ...
    def arm(self, session: LiveSession) -> None: ...
    def provider(self, session: LiveSession, request: fx.Invoke) -> AnyProvider | AsyncNode: ...
    def snapshot_wanted(self, session: LiveSession, reason: str) -> None: ...
    def save(self, session: LiveSession, effect: fx.SaveState) -> None: ...
    def over(self, session: LiveSession) -> None: ...
    def call_ended(self, session: LiveSession, node_id: str | None, signal: Signal) -> None: ...
    def blame(self, session: LiveSession, what: str, error: BaseException) -> None: ...


class LiveSession:
    """A kernel in the world."""

    __slots__ = (
        "_calls",
        "_lanes",
        "_nodes",
        "_owner",
        "_serving",
        "armed_at",
        "async_nodes",
        "crash",
        "end_reason",
        "ended",
        "graph",
        "kernel",
        "line",
        "lost",
        "recorder",
        "request",
        "session_id",
        "tasks",
        "tenant_id",
    )

    def __init__(
        self,
        owner: Owner,
        request: OpenRequest,
        graph: GraphDefinition,
        factories: Mapping[str, NodeFactory],
        line: Line,
        recorder: Recorder,
    ) -> None:
        self.request = request
        self.session_id = request.session_id
        self.graph = graph
        self.tenant_id = request.tenant_id
        self.line = line
        self.recorder = recorder
        self.async_nodes: Mapping[str, AsyncNodeFactory] = {}  # those it began with
        self.armed_at: int | None = None
        self.ended = False
        self.end_reason: str | None = None
        self.crash: BaseException | None = None
        self.lost = 0  # inputs for which there was no room
        self.tasks = TaskScope(owner.loop, self._task_failed)
        self._owner = owner
        self._serving: Lane | None = (
            None  # the scheduler asks after a service whether more waits: it need not be told
        )
        self._calls: dict[str, tuple[Reply, Call]] = {}
        self._nodes: dict[str, AsyncNode] = {}
        self._lanes: dict[Lane, deque[i.Input]] = {
            lane: deque(maxlen=bound) for lane, bound in INBOX_ITEMS_MAX.items()
        }
        recorder.opened(request, graph)
        self.kernel = SessionKernel(request, graph, metered(graph, factories, owner.running, self._slow))

    # ---- the seat ------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self.kernel.authority.epoch

    def ingest(self, received: i.Input) -> bool:
        """Take an input for its turn in its lane; False, and counted, when there is no room or nobody any more."""
        if self.ended:
            return False
        lane = LANE_OF_INPUT.get(type(received), CONTROL)
        queue = self._lanes[lane]
        if not queue:
            queue.append(received)
            if lane is not self._serving:
                self._owner.woke(self, lane)
            return True
        if len(queue) == queue.maxlen:
            self.lost += 1
            return False
        queue.append(received)
        return True

    def attach(self, line: Line) -> None:
        """From now on this is the caller's line; the former one is closed."""
        former, self.line = self.line, line
        if former is not line:
            self._tell(former.close, "taken_over")

    # ---- service -------------------------------------------------------------------------------------------------

    def serve(self, lane: Lane, count_max: int) -> tuple[int, bool]:
        """Work off inputs of one lane: how many, and whether more wait."""
        queue, now = self._lanes[lane], self._owner.clock.now
        count = 0
        self._serving = lane
        while queue and count < count_max:
            count += 1
            self._step(now(), queue.popleft())
        self._serving = None
        if self.ended:
            return count, False
        self._owner.arm(self)
        return count, bool(queue)

    def deadline(self) -> int | None:
        """When the kernel wants to be woken; the timer forgets a session that has ended, and asks no more."""
        return self.kernel.deadline()

    def due(self) -> None:
        """The timer has come: what is due is done when it is this session's turn, before its data."""
        self.ingest(i.Woken())

    def _step(self, now: int, received: i.Input) -> None:
        kernel = self.kernel
        self.recorder.took(now, received)
        try:
            if type(received) is i.Woken:
                kernel.wake(now)
            else:
                kernel.receive(now, received)
            effects = kernel.drain()
        except Exception as error:  # noqa: BLE001 - the host supervises: this session ends, with its cause and its inputs
            self._crashed("kernel", error)
            return
        if effects:
            self.perform(now, effects)

    def perform(self, now: int, effects: list[fx.Effect]) -> None:
        did = self.recorder.did
        for effect in effects:
            did(now, effect)
            DO[type(effect)](self, effect)

    # ---- toward the caller ---------------------------------------------------------------------------------------

    def _send(self, effect: fx.Send) -> None:
        try:
            self.line.send(effect.event)
        except Exception as error:  # noqa: BLE001 - a line that breaks its word is a line that is cut
            self._line_broke(error)

    def _announce(self, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if isinstance(signal, Signal) and signal.signal == SignalName.CALL_ENDED:
            self._owner.call_ended(self, effect.event.node_id, signal)
        try:
            self.line.announce(effect.event)
        except Exception as error:  # noqa: BLE001 - as above
            self._line_broke(error)

    def _tell(self, method: Callable[..., None], *arguments: object) -> None:
        try:
            method(*arguments)
        except Exception as error:  # noqa: BLE001 - as above
            self._line_broke(error)

    def _line_broke(self, error: Exception) -> None:
        self._owner.blame(self, "line", error)
        self.ingest(i.ConnectionChanged(ConnectionState.DISCONNECTED))

    # ---- toward providers ----------------------------------------------------------------------------------------

    def _invoke(self, request: fx.Invoke) -> None:
        reply = Reply(request, self, self._call_over)
        former = self._calls.get(request.call_id)
        if former is not None:
            self._let_go(former)
        # The reply must be known before the provider is: it may answer, and even end, within `begin`.
        self._calls[request.call_id] = (reply, REFUSING)
        try:
            provider = self._owner.provider(self, request)
            call: Call
            if isinstance(provider, ReactiveProvider):
                call = provider.begin(request, reply)
            else:
                call = CoroutineCall(request, reply, provider.run, self.tasks.spawn)
        except ProviderError as error:
            reply.fail(error)
        except Exception as error:  # noqa: BLE001 - the host supervises: what an adapter raises is that call's outcome
            self._owner.blame(self, f"provider {request.provider}", error)
            reply.fail(adapter_error(error))
        else:
            if not reply.ended:
                self._calls[request.call_id] = (reply, call)

    def own_node(self, node_id: str, make: Callable[[], AsyncNode]) -> AsyncNode:
        """The session's one instance of an async node, made when it is first called."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = make()
        return node

    def _call_over(self, reply: Reply) -> None:
        known = self._calls.get(reply.request.call_id)
        if known is not None and known[0] is reply:
            del self._calls[reply.request.call_id]

    def _feed(self, effect: fx.Feed) -> None:
        known = self._calls.get(effect.call_id)
        if known is not None:
            try:
                known[1].feed(effect.event)
            except Exception as error:  # noqa: BLE001 - as in `_invoke`
                self._provider_raised(known, error)

    def _with_call(self, call_id: str, method: str, *arguments: object, attempt: int | None = None) -> None:
        known = self._calls.get(call_id)
        if known is None or (attempt is not None and known[0].request.attempt != attempt):
            return
        try:
            getattr(known[1], method)(*arguments)
        except Exception as error:  # noqa: BLE001 - as in `_invoke`
            self._provider_raised(known, error)

    def _throttle(self, effect: fx.Throttle) -> None:
        known = self._calls.get(effect.call_id)
        if known is not None:
            known[0].throttled = effect.on
            self._with_call(effect.call_id, "throttle", effect.on)

    def _kill(self, effect: fx.KillCall) -> None:
        """The grace is over: the call is let go of, whatever its provider does with it."""
        known = self._calls.get(effect.call_id)
        if known is not None and known[0].request.attempt == effect.attempt:
            self._let_go(known)

    def _let_go(self, known: tuple[Reply, Call]) -> None:
        reply, call = known
        self._calls.pop(reply.request.call_id, None)
        reply.ended = True
        try:
            call.kill()
        except Exception as error:  # noqa: BLE001 - it is let go of; whoever it was is blamed
            self._owner.blame(self, f"provider {reply.request.provider}", error)

    def _provider_raised(self, known: tuple[Reply, Call], error: Exception) -> None:
        reply = known[0]
        self._owner.blame(self, f"provider {reply.request.provider}", error)
        reply.fail(error if isinstance(error, ProviderError) else adapter_error(error))

    # ---- evidence and the end ------------------------------------------------------------------------------------

    def _evidence(self, effect: fx.StoreEvidence) -> None:
        try:
            refusal = self.recorder.evidence(effect.record_id, effect.evidence)
        except Exception as error:  # noqa: BLE001 - a recorder that raises has taken nothing
            self._owner.blame(self, "recorder", error)
            refusal = "recorder_failed"
        self.ingest(i.EvidenceStored(effect.record_id, refusal is None, refusal))

    def _slow(self, node_id: str, elapsed_ms: int, turn_ms: int) -> None:
        self.ingest(i.NodeMeasured(node_id, elapsed_ms, turn_ms))

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._owner.blame(self, name, error)

    def _crashed(self, what: str, error: BaseException) -> None:
        """Ours or a node's defect got through: this session stops here, and the caller's line is closed."""
        self.crash = error
        self._owner.blame(self, what, error)
        self._tell(self.line.close, "runtime_internal_error")
        self._end(fx.EndSession("runtime_internal_error"))

    def force(self, reason: str) -> None:
        """End now, whatever the kernel thinks of it: the deadline of closing is over."""
        if not self.ended:
            self._tell(self.line.close, reason)
            self._end(fx.EndSession(reason))

    def _end(self, effect: fx.EndSession) -> None:
        if self.ended:
            return
        self.ended = True
        self.end_reason = effect.reason
        for known in list(self._calls.values()):
            self._let_go(known)
        for lane in self._lanes.values():
            lane.clear()
        self.tasks.cancel_all()
        try:
            self.recorder.closed()
        except Exception as error:  # noqa: BLE001 - the session is over all the same
            self._owner.blame(self, "recorder", error)
        self._owner.over(self)

    @property
    def open_calls(self) -> int:
        return len(self._calls)

    @property
    def waiting(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())


def _nothing(session: LiveSession, effect: fx.Effect) -> None:
    """Done by being recorded."""


# Who does which effect: one line each. One table for all sessions, as there are many of them.
DO: Final[Mapping[type, Callable[[LiveSession, Any], None]]] = {
    fx.Send: LiveSession._send,
    fx.Announce: LiveSession._announce,
    fx.PausePlayback: lambda s, e: s._tell(s.line.pause, e.turn_id),
    fx.ResumePlayback: lambda s, e: s._tell(s.line.resume, e.turn_id),
    fx.StopPlayback: lambda s, e: s._tell(s.line.stop, e.turn_id, e.keep_ms),
    fx.CloseConnection: lambda s, e: s._tell(s.line.close, e.reason),
    fx.Invoke: LiveSession._invoke,
    fx.Feed: LiveSession._feed,
    fx.EndFeed: lambda s, e: s._with_call(e.call_id, "end", e.last),
    fx.Throttle: LiveSession._throttle,
    fx.CancelCall: lambda s, e: s._with_call(e.call_id, "cancel", e.reason, e.mode, attempt=e.attempt),
    fx.KillCall: LiveSession._kill,
    fx.StoreEvidence: LiveSession._evidence,
    fx.StoreClose: lambda s, e: s.recorder.closed_turn(e.record_id, e.stamp),
    fx.Record: _nothing,
    fx.SaveState: lambda s, e: s._owner.save(s, e),
    fx.DeadLetter: _nothing,
    fx.Observe: _nothing,
    fx.RequestSnapshot: lambda s, e: s._owner.snapshot_wanted(s, e.reason),
    fx.StopNode: _nothing,
    fx.EndSession: LiveSession._end,
}


# A provider's failure to begin, as the kernel should see it when the provider never got ready.
def not_ready(name: str, why: str) -> ProviderError:
    return ProviderError(
        OutcomeClass.INFRASTRUCTURE_FAILURE,
        "provider_not_ready",
        f"{name}: {why}",
        retryable=True,
        circuit=True,
    )
