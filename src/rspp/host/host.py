"""Many sessions in one event loop: opened, pumped, drained, closed.

    open_session -> ingest ... cancel ... -> close_session

One pump serves whoever has inputs, by the scheduler's order, for a slice of time, and then lets the loop breathe. One
timer wakes kernels. Everything that waits for long is a task of some session, or of the host, and ends with it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rspp.contract.event import Signal
from rspp.contract.words import CORE_SCHEMA_VERSION, CancelReason, CancelScope, InBand, Lane
from rspp.host.clock import MachineClock
from rspp.host.collector import Collector
from rspp.host.durable import StateWriter
from rspp.host.faults import Faults, alerted
from rspp.host.log_scope import LogScope
from rspp.host.logs import count_in, writers
from rspp.host.meters import Meters
from rspp.host.overhead import Overhead, Sink, StoreSink
from rspp.host.pipeline_meters import Board
from rspp.host.places import Places
from rspp.host.ports import AnyProvider, AsyncNode, Bootstrap, Clock, Grant, Line, Recorder, Refused, Store
from rspp.host.providers import Providers, Readiness
from rspp.host.recorder import MemoryRecorder
from rspp.host.registry import Registry
from rspp.host.room import why_not
from rspp.host.scheduler import FairScheduler, LaneScheduler
from rspp.host.session import LiveSession
from rspp.host.session_meters import SessionMeters
from rspp.host.snapshots import SnapshotSource, alone
from rspp.host.tasks import TaskScope
from rspp.host.timer import Timer
from rspp.host.watchdog import Running, Watchdog
from rspp.host.watching import Watches, made_by
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import ClockAnchor, OpenRequest
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.host")

NS_PER_MS: Final = 1_000_000
# A process that nobody else competes with owns its sessions for as long as it lives.
LEASE_ALONE_NS: Final = 10 * 365 * 86_400 * 1_000_000_000
# How long a thread of a model keeps the interpreter from the loop: ten times less than by default.
SWITCH_INTERVAL_S: Final = 0.0005
# After a session's own deadlines; then it is over whatever it says.
CLOSE_SLACK_MS: Final = 500
# Turns that run when the host stops abort, with their evidence; sessions that have not got that far by then never will.
STOP_MS: Final = 1_000


class HostSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one process takes on."""

    sessions_max: int = 1_000
    tenant_sessions_max: int = 0  # 0: as many as the host
    retry_after_ms: int = 2_000  # told to whoever is refused for want of room
    pump_slice_ms: float = 4.0  # then sockets and other tasks have their turn
    snapshot_every_ms: int = 20_000
    blocked_ms: int = 100  # who keeps the loop for longer is blamed by name
    break_ms: int = 1_000  # and a sync node that keeps it for longer is interrupted
    # What a step of the kernel may take, on average and at p95, over ten seconds; above it an alert is raised. Twice and
    # eight times the 12 us that `rspp bench kernel` aims at: this is wall-clock time, with caches that others use too.
    kernel_us_max: float = 24.0
    kernel_us_p95_max: float = 96.0
    # The host has the process to itself: it decides when garbage is collected and how often threads take turns.
    owns_process: bool = False
    debug: bool = False
    metrics: InBand = InBand.TURNS  # which metrics new sessions emit among their events
    flags: tuple[int, ...] | None = None  # behaviour flags of new sessions; None is today's


RecorderFactory = Callable[[str], Recorder]


def new_session_id() -> str:
    """A name that nobody else has."""
    return f"s-{secrets.token_hex(8)}"


class Host:
    """The runtime of one process. It is a `Door` for transports."""

    def __init__(
        self,
        registry: Registry,
        settings: HostSettings | None = None,
        *,
        clock: Clock | None = None,
        scheduler: LaneScheduler | None = None,
        recorders: RecorderFactory | None = None,
        snapshots: SnapshotSource | None = None,
        store: Store | None = None,
        state: StateWriter | None = None,
        overhead_to: Sink | None = None,
        meters: Meters | None = None,
        watches: Sequence[Watches] = (),
    ) -> None:
        self.settings = settings or HostSettings()
        self.registry = registry
        self.clock: Clock = clock or MachineClock()
        self.places = Places()
        self.sessions: dict[str, LiveSession] = {}
        self.draining = False
        self.refused = 0
        faults = Faults()
        self.blamed, self._blame = faults.counts, faults.raised
        self.running = Running()
        self.meters = meters or Meters()
        self.providers = Providers(registry, self._blame, self.meters)
        self.board = Board(self.meters, self._waiting_in)
        self._watches = tuple(watches)
        self.watchdog = Watchdog(
            self.running,
            on_blocked=faults.blocked,
            blocked_ms=self.settings.blocked_ms,
            break_ms=self.settings.break_ms,
            meters=self.meters,
        )
        self.overhead = Overhead(
            self.meters,
            budget_us=self.settings.kernel_us_max,
            budget_p95_us=self.settings.kernel_us_p95_max,
            wall_ms=lambda: self.clock.wall() // NS_PER_MS,
            sessions=lambda: len(self.sessions),
            on_alert=alerted,
        )
        self._overhead_to = overhead_to or (StoreSink(store) if store is not None else None)
        self._collector = Collector(meters=self.meters) if self.settings.owns_process else None
        self._scheduler: LaneScheduler = scheduler or FairScheduler()
        self._recorders: RecorderFactory = recorders or (lambda _: MemoryRecorder())
        self._snapshots = snapshots or alone()
        self._writer = state or (StateWriter(store) if store is not None else None)
        self.on_over: Callable[[LiveSession], None] | None = None  # told of each session that has ended
        self._graphs: dict[str, GraphDefinition] = {}
        self._default: GraphDefinition | None = None
        self._epoch = self._asked = 0
        self._pumping = False
        self._slice_ns = int(self.settings.pump_slice_ms * NS_PER_MS)
        self._closing: dict[str, asyncio.Future[str]] = {}
        # bounded: by tasks of ended sessions that would not end with them
        self._lingering: list[TaskScope] = []

    # ---- life ----------------------------------------------------------------------------------------------------

    def publish(self, graph: GraphDefinition, registry: Registry | None = None) -> None:
        """Serve this pipeline from now on; sessions that run keep theirs. What it names must exist.

        With a registry, new sessions take their nodes, and new graphs their providers, from that one.
        """
        self.providers.bind(graph, registry)
        self.registry = registry or self.registry
        self._graphs[graph.ref] = graph
        self._default = graph

    async def start(self) -> list[Readiness]:
        """Be ready for callers; says which providers are."""
        self.loop = asyncio.get_running_loop()
        self._scope = LogScope(self)
        self.timer = Timer(self.loop, self.clock.now)
        self.tasks = TaskScope(self.loop, self._blame)
        self.tasks.spawn(self._refresh(), "host:snapshots")
        if self._writer is not None:
            self.tasks.spawn(self._writer.run(), "host:state")
        if self._overhead_to is not None:
            self.tasks.spawn(self._meter(self._overhead_to), "host:overhead")
        ready = await self.providers.open()
        if self._collector is not None:
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            self._collector.start()
            self._collector.freeze_after_warmup()
        self.watchdog.start()
        count_in(self.meters)
        for writer in writers():
            writer.about(self._scope)
        return ready

    async def drain(self, deadline_ms: int) -> int:
        """No new sessions; let those that run end by themselves. How many were cut short: their turns abort, with evidence."""
        cut = await self._close_all("drain", None, deadline_ms, drain=True)
        await self._close_all("drain_deadline", "drain_deadline", STOP_MS, drain=False)
        return cut

    async def stop(self) -> list[str]:
        """End everything; the names of tasks that would not end."""
        await self._close_all("host_stopped", "host_stopped", STOP_MS, drain=False)
        leaked: list[str] = []
        for tasks in self._lingering:
            leaked += await tasks.wait(1.0)
        self.tasks.cancel_all()
        leaked += await self.tasks.wait(1.0)
        if self._writer is not None:
            await self._writer.flush(1.0)
        await self._last_window()
        await self.providers.close()
        self.timer.close()
        self.watchdog.stop()
        for writer in writers():
            writer.no_more_about(self._scope)
        if self._collector is not None:
            self._collector.stop()
        return leaked

    async def _close_all(self, reason: str, forced: str | None, deadline_ms: int, *, drain: bool) -> int:
        """Ask all sessions to close; those that have not by then are ended by force, if so wished. How many they are."""
        self.draining = True
        waiting = [self._ends(session) for session in self.sessions.values()]
        for session in self.sessions.values():
            session.ingest(i.CloseRequested(reason, drain=drain))
        if waiting:
            await asyncio.wait(waiting, timeout=deadline_ms / 1000)
        left = list(self.sessions.values())
        if forced is not None:
            for session in left:
                session.force(forced)
        return len(left)

    # ---- the top surface -------------------------------------------------------------------------------------------

    async def enter(self, bootstrap: Bootstrap, line: Line) -> LiveSession:
        """A session for whoever comes to a process that decides alone; raises `Refused`.

        Who is back is found by `find` where it was: a process that decides alone knows of no other place.
        """
        if bootstrap.back:
            raise self._refuse("session_unknown", "no such session runs here", None)
        return self.open(bootstrap, line)

    def open(self, bootstrap: Bootstrap, line: Line) -> LiveSession:
        """A session for this caller; raises `Refused`."""
        graph = self._admit(bootstrap)
        now = self.clock.now()
        self._epoch += 1
        request = OpenRequest(
            session_id=bootstrap.session_id or new_session_id(),
            tenant_id=bootstrap.tenant_id,
            pipeline_version=graph.version,
            epoch=bootstrap.epoch if bootstrap.epoch is not None else self._epoch,
            lease_token=secrets.token_hex(16),
            lease_expires_at=now + LEASE_ALONE_NS,
            anchor=ClockAnchor(monotonic=now, wall=self.clock.wall()),
            snapshot=self._snapshots(now, bootstrap.tenant_id, graph),
            debug=self.settings.debug,
            metrics=self.settings.metrics,
            flags=self.settings.flags,
            reports_playback=bootstrap.playback_reports,
        )
        return self._seat(request, graph, line)

    open_session = open  # noqa: A003 - the seed's name for it

    def take(self, grant: Grant, line: Line, *, playback_reports: bool = True) -> LiveSession:
        """A session that a control plane has given to this process; raises `Refused` where this process has no room."""
        graph = self._admit(
            Bootstrap(
                schema_version=CORE_SCHEMA_VERSION,
                transport_kind="granted",
                tenant_id=grant.tenant_id,
                requested_at_ms=self.clock.wall() // NS_PER_MS,
                session_id=grant.session_id,
                pipeline_version=grant.graph_ref,
            )
        )
        request = OpenRequest(
            session_id=grant.session_id,
            tenant_id=grant.tenant_id,
            pipeline_version=graph.version,
            epoch=grant.epoch,
            lease_token=grant.lease_token,
            lease_expires_at=grant.expires_at,
            anchor=ClockAnchor(monotonic=self.clock.now(), wall=self.clock.wall()),
            snapshot=grant.snapshot,
            resume=grant.durable,
            debug=self.settings.debug,
            metrics=self.settings.metrics,
            flags=self.settings.flags,
            reports_playback=playback_reports,
        )
        return self._seat(request, graph, line)

    def find(self, session_id: str) -> LiveSession | None:
        return self.sessions.get(session_id)

    def ingest(self, session_id: str, received: i.Input) -> bool:
        session = self.sessions.get(session_id)
        return session is not None and session.ingest(received)

    def cancel(
        self, session_id: str, scope: CancelScope, reason: CancelReason = CancelReason.USER_CANCEL
    ) -> bool:
        """Cancel what runs in a scope of a session, as the client's own `cancel` would."""
        # It has no place in the client's own sequence, so it is known by a key of the host's.
        self._asked += 1
        key = f"host/{self._asked}"
        return self.ingest(
            session_id, i.ControlReceived("cancel", 0, idempotency_key=key, scope=scope, reason=reason.value)
        )

    def debug(self, session_id: str, for_ms: int) -> bool:
        """Have a session tell more of itself until then; 0 ends that now. False if there is no such session, or no room."""
        until = self.clock.now() + for_ms * NS_PER_MS
        return self.ingest(session_id, i.DebugSwitched(for_ms > 0, until if for_ms > 0 else None))

    async def close_session(self, session_id: str, reason: str = "closed", *, drain: bool = True) -> str:
        """Close a session; it is over when this returns, by its deadlines at the latest. Says why it ended."""
        session = self.sessions.get(session_id)
        if session is None:
            return "unknown_session"
        ending = self._ends(session)
        session.ingest(i.CloseRequested(reason, drain=drain))
        limits = session.graph.policies.limits
        wait_ms = limits.close_ms_max + CLOSE_SLACK_MS + (limits.drain_ms_max if drain else 0)
        await asyncio.wait([ending], timeout=wait_ms / 1000)
        session.force("close_deadline")
        await session.tasks.wait(CLOSE_SLACK_MS / 1000)
        return session.end_reason or reason

    # ---- opening ---------------------------------------------------------------------------------------------------

    def _admit(self, bootstrap: Bootstrap) -> GraphDefinition:
        retry = self.settings.retry_after_ms
        if self.draining:
            raise self._refuse("runtime_draining", "this runtime takes no new sessions", retry)
        no = why_not(bootstrap, self.sessions, self.settings)
        if no is not None:
            self.refused += 1
            raise no
        if bootstrap.pipeline_version is None:
            if self._default is None:
                raise self._refuse("pipeline_missing", "this runtime serves no pipeline yet", retry)
            return self._default
        for ref, graph in self._graphs.items():
            if bootstrap.pipeline_version in (ref, graph.version):
                return graph
        raise self._refuse("pipeline_unknown", f"no pipeline version {bootstrap.pipeline_version!r}", None)

    def _refuse(self, code: str, message: str, retry_after_ms: int | None) -> Refused:
        self.refused += 1
        return Refused(code, message, retry_after_ms)

    def _seat(self, request: OpenRequest, graph: GraphDefinition, line: Line) -> LiveSession:
        try:
            recorder = self._recorders(request.session_id)
            mine = self.board.of(graph)
            meters = SessionMeters(self.board, mine, request.session_id, graph, self.running)
            watchers = (meters, *made_by(self._watches, request, graph, self._blame))
            session = LiveSession(self, request, graph, self.registry.nodes, line, recorder, mine, watchers)
        except (Exception, SystemExit) as error:  # a node's constructor costs its own caller, and nobody else
            self._blame("session", error, request.session_id)
            why = f"its nodes or its recorder could not be made: {type(error).__name__}"
            raise self._refuse("session_not_made", why, None) from error
        session.async_nodes = self.registry.async_nodes
        self.sessions[request.session_id] = session
        session.perform(self.clock.now(), session.kernel.drain())
        self.arm(session)
        return session

    # ---- the pump ----------------------------------------------------------------------------------------------------

    def woke(self, session: LiveSession, lane: Lane) -> None:
        """A lane of a session, empty until now, has something."""
        self._scheduler.wake(session, lane)
        if not self._pumping:
            self._pumping = True
            self.loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Serve for one slice; then go on in the loop's next round, so that sockets are read and timers kept."""
        scheduler, now, running = self._scheduler, self.clock.now, self.running
        until = now() + self._slice_ns
        while (turn := scheduler.next()) is not None:
            flow, lane, count_max = turn
            assert isinstance(flow, LiveSession)
            running.enter(flow.session_id, "pump")
            try:
                count, more = flow.serve(lane, count_max)
            except BaseException as error:
                # An exit, or an interrupt: it goes its way, its session is over, and the others are served on.
                scheduler.served(flow, lane, 0, False)
                self.loop.call_soon(self._pump)
                flow.crashed("pump", error)
                raise
            scheduler.served(flow, lane, count, more)
            if now() >= until:
                running.leave()
                self.loop.call_soon(self._pump)
                return
        running.leave()
        self._pumping = False
        if self._collector is not None:
            self._collector.idle(self.timer.quiet_ns())

    def arm(self, session: LiveSession) -> None:
        self.timer.arm(session)

    # ---- what sessions need ------------------------------------------------------------------------------------------

    def provider(self, session: LiveSession, request: fx.Invoke) -> AnyProvider | AsyncNode:
        """Who serves this call: the node's own code, or a provider that all sessions share."""
        node = next(node for node in session.graph.nodes if node.id == request.node_id)
        self.places.take(session.graph, node, request)
        factory = session.async_nodes.get(node.type)
        if factory is not None:
            return session.own_node(node.id, lambda: factory(node.config))
        return self.providers.find(session.graph, request.provider)

    def snapshot_wanted(self, session: LiveSession, reason: str) -> None:
        snapshot = self._snapshots(self.clock.now(), session.tenant_id, session.graph)
        if snapshot is None:
            session.ingest(i.SnapshotLost("snapshot_stale"))
        else:
            session.ingest(i.SnapshotPublished(snapshot))

    def renew_views(self, reason: str) -> None:
        """Something has changed for all: each session has the new view at once, and uses it from its next turn on."""
        for session in list(self.sessions.values()):
            self.snapshot_wanted(session, reason)

    def has(self, graph_ref: str) -> bool:
        """Is this graph served here?"""
        return graph_ref in self._graphs

    def save(self, session: LiveSession, effect: fx.SaveState) -> None:
        if self._writer is not None:
            self._writer.put(session.tenant_id, session.session_id, effect)

    def over(self, session: LiveSession) -> None:
        """The session has ended: nothing of it is served any more."""
        self._scheduler.remove(session)
        self.timer.forget(session)
        self.providers.release(session.session_id)
        self.sessions.pop(session.session_id, None)
        self._lingering = [tasks for tasks in self._lingering if len(tasks)]
        if len(session.tasks):
            self._lingering.append(session.tasks)
        waiting = self._closing.pop(session.session_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(session.end_reason or "")
        if self.on_over is not None:
            self.on_over(session)

    def attempt_over(self, request: fx.Invoke) -> None:
        self.places.give(request)

    def call_ended(self, session: LiveSession, node_id: str | None, signal: Signal) -> None:
        """Count how the kernel judged a call: a provider knows of no timeout."""
        node = next((node for node in session.graph.nodes if node.id == node_id), None)
        told = signal.detail or {}
        self.meters.counter(
            "provider_invocations_total",
            modality=(node.modality or node.type) if node else "",
            provider=str(told.get("provider")),
            outcome=str(told.get("outcome")),
        ).add()

    def _waiting_in(self, lane: Lane) -> int:
        return sum(session.waiting_in(lane) for session in self.sessions.values())

    def blame(self, session: LiveSession, what: str, error: BaseException) -> None:
        self._blame(what, error, session.session_id)

    async def _meter(self, sink: Sink) -> None:
        await self.overhead.run(sink, self.clock.now, lambda error: self._blame("overhead", error))

    async def _last_window(self) -> None:
        """What was timed until now is a window too, and is written if that can be done in a second."""
        self.overhead.close()
        if self._overhead_to is not None:
            try:
                await asyncio.wait_for(self.overhead.flush(self._overhead_to), 1.0)
            except Exception as error:  # noqa: BLE001 - the host stops all the same
                self._blame("overhead", error)

    def _ends(self, session: LiveSession) -> asyncio.Future[str]:
        waiting = self._closing.get(session.session_id)
        if waiting is None:
            waiting = self._closing[session.session_id] = self.loop.create_future()
            if session.ended:
                waiting.set_result(session.end_reason or "")
        return waiting

    async def _refresh(self) -> None:
        """Renew every session's view of the control plane well before it is too old."""
        while True:
            await asyncio.sleep(self.settings.snapshot_every_ms / 1000)
            try:
                self.renew_views("refresh")
            except Exception as error:  # noqa: BLE001 - supervised: a source that fails now may answer the next time
                self._blame("snapshots", error)
