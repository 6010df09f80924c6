"""One live session: its kernel, its inbox, and whoever does what the kernel asks.

Inputs wait in three bounded lanes until the host serves them; each is handed to the kernel, and what the kernel wants done
is done at once, in order. Nothing is decided here. What raises costs this session and no other: a line that raises counts
as disconnected, a provider that raises has failed its call, and a kernel that raises ends the session with its cause.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from rspp.contract.event import Event, Signal
from rspp.contract.signals import SignalName
from rspp.contract.words import ConnectionState, InBand, Lane, OutcomeClass
from rspp.host.inbox import INBOX_ITEMS_MAX, NEVER_REFUSED, lane_of
from rspp.host.overhead import Overhead, now_ns
from rspp.host.pipeline_meters import Board, PipelineMeters
from rspp.host.ports import (
    EVIDENCE_LATER,
    AnyProvider,
    AsyncNode,
    Clock,
    Line,
    ProviderError,
    Recorder,
    Stepped,
    TellsSession,
    WatchesNodes,
)
from rspp.host.recorder import RECORDER_FAILED, BrokenRecorder
from rspp.host.registry import AsyncNodeFactory
from rspp.host.session_calls import RAISED, SessionCalls
from rspp.host.steps import metered
from rspp.host.tasks import TaskScope
from rspp.host.watchdog import Running
from rspp.host.watching import FRAMES, Watcher, several_steps, unharmed, watcher_of
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition, OnFailure


class Owner(Protocol):
    """What a session needs of its host."""

    @property
    def clock(self) -> Clock: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def running(self) -> Running: ...
    @property
    def overhead(self) -> Overhead: ...
    @property
    def board(self) -> Board: ...
    def woke(self, session: LiveSession, lane: Lane) -> None: ...
    def arm(self, session: LiveSession) -> None: ...
    def provider(self, session: LiveSession, request: fx.Invoke) -> AnyProvider | AsyncNode: ...
    def snapshot_wanted(self, session: LiveSession, reason: str) -> None: ...
    def save(self, session: LiveSession, effect: fx.SaveState) -> None: ...
    def over(self, session: LiveSession) -> None: ...
    def attempt_over(self, request: fx.Invoke) -> None: ...
    def call_ended(self, session: LiveSession, node_id: str | None, signal: Signal) -> None: ...
    def blame(self, session: LiveSession, what: str, error: BaseException) -> None: ...


class Nobody:
    """The line of a caller whose own has been cut."""

    __slots__ = ()

    def send(self, event: Event) -> None: ...
    def announce(self, event: Event) -> None: ...
    def pause(self, turn_id: str) -> None: ...
    def resume(self, turn_id: str) -> None: ...
    def stop(self, turn_id: str, keep_ms: int) -> None: ...
    def close(self, reason: str) -> None: ...


NOBODY: Final[Line] = Nobody()


class LiveSession:
    """A kernel in the world."""

    __slots__ = (
        "_board",
        "_calls",
        "_control_at",
        "_ending",
        "_lanes",
        "_overhead",
        "_owner",
        "_running",
        "_serving",
        "_watcher",
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
        mine: PipelineMeters | None = None,
        watchers: Sequence[Watcher] = (),
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
        self._overhead, self._running, self._board = owner.overhead, owner.running, owner.board
        self._watcher = watcher_of(watchers)
        self._control_at = 0  # since when control waits, of this session
        self._serving: Lane | None = (
            None  # the scheduler asks after a service whether more waits: it need not be told
        )
        self._ending: str | None = None  # why it ends, once everything that the kernel wants done is done
        self._calls = SessionCalls(self)
        self._lanes: dict[Lane, deque[i.Input]] = {
            lane: deque()  # bounded: by INBOX_ITEMS_MAX, in `ingest`
            for lane in INBOX_ITEMS_MAX
        }
        if isinstance(recorder, TellsSession):
            recorder.attach(self.ingest)
        told: list[Callable[[Stepped], None]] = []
        if isinstance(recorder, WatchesNodes):
            told.append(recorder.stepped)
        told += [
            unharmed(one.stepped, self._watcher_broke) for one in watchers if isinstance(one, WatchesNodes)
        ]
        watch = several_steps(told)
        nodes = metered(
            graph,
            factories,
            owner.running,
            self._slow,
            watch,
            None if mine is None else mine.sync_node,
            tell_all=request.metrics is InBand.ALL,
        )
        recorder.opened(request, graph)
        self.kernel = SessionKernel(request, graph, nodes)
        if mine is not None:
            mine.began(self.session_id, self.kernel)

    # ---- the seat ------------------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        return self.kernel.authority.epoch

    def ingest(self, received: i.Input) -> bool:
        """Take an input for its turn in its lane; False, and counted, when there is no room or nobody any more."""
        if self.ended:
            return False
        lane = lane_of(received)
        queue = self._lanes[lane]
        if not queue:
            queue.append(received)
            if lane is not self._serving:
                if lane is Lane.CONTROL:
                    self._control_at = self._owner.clock.now()
                self._owner.woke(self, lane)
            return True
        if len(queue) >= INBOX_ITEMS_MAX[lane] and type(received) not in NEVER_REFUSED:
            self.lost += 1
            self._board.dropped[lane].add()
            return False
        queue.append(received)
        return True

    def attach(self, line: Line) -> None:
        """From now on this is the caller's line; the former one is closed."""
        former, self.line = self.line, line
        if former is not line:
            self._hang_up(former, "taken_over")

    # ---- service -------------------------------------------------------------------------------------------------

    def serve(self, lane: Lane, count_max: int) -> tuple[int, bool]:
        """Work off inputs of one lane: how many, and whether more wait."""
        queue, now = self._lanes[lane], self._owner.clock.now
        count = 0
        self._serving = lane
        if self._control_at and lane is Lane.CONTROL:
            self._board.preempt.record(now() - self._control_at)
            self._control_at = 0
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
        kernel, overhead, running = self.kernel, self._overhead, self._running
        try:
            self.recorder.took(now, received)
        except RAISED as error:
            self._recorder_broke(error)
        watcher = self._watcher
        if watcher is not None and (type(received) not in FRAMES or watcher.awaits is type(received)):
            try:
                watcher.took(now, received)
            except RAISED as error:
                self._watcher_broke(error)
        overhead.left -= 1
        running.began_ns = now_ns()
        began = 0 if overhead.left > 0 else running.began_ns - running.nodes_ns
        try:
            if type(received) is i.Woken:
                kernel.wake(now)
            else:
                kernel.receive(now, received)
            effects = kernel.drain()
            if began:
                # What its nodes took is theirs, and is measured by name.
                overhead.took(now, now_ns() - running.nodes_ns - began)
        except RAISED as error:  # the host supervises: this session ends, with its cause and its inputs
            self.crashed("kernel", error)
            return
        if effects:
            self.perform(now, effects)

    def perform(self, now: int, effects: list[fx.Effect]) -> None:
        try:
            self.recorder.did(now, effects)
        except RAISED as error:
            self._recorder_broke(error)
        if self._watcher is not None and effects:
            try:
                self._watcher.did(now, effects)
            except RAISED as error:
                self._watcher_broke(error)
        try:
            for effect in effects:
                DO[type(effect)](self, effect)
        except RAISED as error:  # a port that broke its word in a way that nobody foresaw
            self.crashed("host", error)
        else:
            if self._ending is not None:
                self._end(self._ending)

    # ---- toward the caller ---------------------------------------------------------------------------------------

    def _send(self, effect: fx.Send) -> None:
        try:
            self.line.send(effect.event)
        except RAISED as error:
            self._line_broke(error)

    def _announce(self, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if isinstance(signal, Signal):
            if signal.signal == SignalName.CALL_ENDED:
                self._owner.call_ended(self, effect.event.node_id, signal)
            elif signal.signal == SignalName.NODE_FAILED:
                self._node_failed(effect.event.node_id, signal)
        try:
            self.line.announce(effect.event)
        except RAISED as error:
            self._line_broke(error)

    def _node_failed(self, node_id: str | None, signal: Signal) -> None:
        """A session whose node never started is no session, unless its pipeline says how to do without that node."""
        if (signal.detail or {}).get("hook") == "on_start":
            node = next(node for node in self.graph.nodes if node.id == node_id)
            if node.on_failure is OnFailure.TERMINATE:
                self.ingest(i.CloseRequested("node_start_failed", drain=False))

    def _tell(self, method: Callable[..., None], *arguments: object) -> None:
        try:
            method(*arguments)
        except RAISED as error:
            self._line_broke(error)

    def _line_broke(self, error: BaseException) -> None:
        """A line that breaks its word is cut, and hears nothing more: it would only raise again. The caller may come back."""
        self.blame("line", error)
        former, self.line = self.line, NOBODY
        self._hang_up(former, "runtime_internal_error")
        self.ingest(i.ConnectionChanged(ConnectionState.DISCONNECTED))

    def _hang_up(self, line: Line, reason: str) -> None:
        try:
            line.close(reason)
        except RAISED as error:
            self.blame("line", error)

    # ---- what its calls need -----------------------------------------------------------------------------------------

    def provider(self, request: fx.Invoke) -> AnyProvider | AsyncNode:
        return self._owner.provider(self, request)

    def own_node(self, node_id: str, make: Callable[[], AsyncNode]) -> AsyncNode:
        return self._calls.own_node(node_id, make)

    def attempt_over(self, request: fx.Invoke) -> None:
        self._owner.attempt_over(request)

    def soon(self, callback: Callable[..., None], *arguments: object) -> None:
        self._owner.loop.call_soon(callback, *arguments)

    def blame(self, what: str, error: BaseException) -> None:
        self._owner.blame(self, what, error)

    # ---- evidence and the end ------------------------------------------------------------------------------------

    def _evidence(self, effect: fx.StoreEvidence) -> None:
        try:
            refusal = self.recorder.evidence(effect.record_id, effect.evidence)
        except RAISED as error:
            self._recorder_broke(error)
            refusal = RECORDER_FAILED
        if refusal != EVIDENCE_LATER:
            self.ingest(i.EvidenceStored(effect.record_id, refusal is None, refusal))

    def _close_turn(self, effect: fx.StoreClose) -> None:
        try:
            self.recorder.closed_turn(effect.record_id, effect.stamp)
        except RAISED as error:
            self._recorder_broke(error)

    def _recorder_broke(self, error: BaseException) -> None:
        """From here on there is a hole in the record: it gets nothing more, and no further turn's evidence is taken."""
        self.blame("recorder", error)
        self.recorder = BrokenRecorder(self.recorder)

    def _watcher_broke(self, error: BaseException) -> None:
        """Whatever it measured is not worth a call: the session goes on unwatched."""
        self.blame("watcher", error)
        self._unwatch()

    def _unwatch(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            try:
                watcher.closed()
            except RAISED as error:
                self.blame("watcher", error)

    def _slow(self, node_id: str, elapsed_ms: int, turn_ms: int) -> None:
        self.ingest(i.NodeMeasured(node_id, elapsed_ms, turn_ms))

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.blame(name, error)

    def crashed(self, what: str, error: BaseException) -> None:
        """Ours or a node's defect got through: this session stops here, and the caller's line is closed."""
        self.crash = error
        self.blame(what, error)
        self.force("runtime_internal_error")

    def force(self, reason: str) -> None:
        """End now, whatever the kernel thinks of it: the deadline of closing is over."""
        if not self.ended:
            self._hang_up(self.line, reason)
            self._end(reason)

    def _ends(self, effect: fx.EndSession) -> None:
        """Noted, and done last of all: what it came with may still be work, or the record of it."""
        self._ending = effect.reason

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        self.end_reason = reason
        self._calls.let_all_go()
        for lane in self._lanes.values():
            lane.clear()
        self.tasks.cancel_all()
        try:
            self.recorder.closed()
        except RAISED as error:  # the session is over all the same
            self.blame("recorder", error)
        self._unwatch()
        self._owner.over(self)

    def asked(self, call_id: str) -> fx.Invoke | None:
        return self._calls.asked(call_id)

    @property
    def open_calls(self) -> int:
        return len(self._calls)

    @property
    def waiting(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def waiting_in(self, lane: Lane) -> int:
        return len(self._lanes[lane])


def _nothing(session: LiveSession, effect: fx.Effect) -> None:
    """Done by being recorded."""


# Who does which effect: one line each. One table for all sessions, as there are many of them.
DO: Final[Mapping[type, Callable[[LiveSession, Any], None]]] = {
    fx.Send: LiveSession._send,
    fx.Announce: LiveSession._announce,
    fx.PausePlayback: lambda s, e: s._tell(s.line.pause, e.turn_id),
    fx.ResumePlayback: lambda s, e: s._tell(s.line.resume, e.turn_id),
    fx.StopPlayback: lambda s, e: s._tell(s.line.stop, e.turn_id, e.keep_ms),
    fx.CloseConnection: lambda s, e: s._hang_up(s.line, e.reason),
    fx.Invoke: lambda s, e: s._calls.invoke(e),
    fx.Feed: lambda s, e: s._calls.feed(e),
    fx.EndFeed: lambda s, e: s._calls.end_feed(e),
    fx.Throttle: lambda s, e: s._calls.throttle(e),
    fx.CancelCall: lambda s, e: s._calls.cancel(e),
    fx.KillCall: lambda s, e: s._calls.kill(e),
    fx.StoreEvidence: LiveSession._evidence,
    fx.StoreClose: LiveSession._close_turn,
    fx.Record: _nothing,
    fx.SaveState: lambda s, e: s._owner.save(s, e),
    fx.DeadLetter: _nothing,
    fx.Observe: _nothing,
    fx.RequestSnapshot: lambda s, e: s._owner.snapshot_wanted(s, e.reason),
    fx.StopNode: _nothing,
    fx.EndSession: LiveSession._ends,
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
