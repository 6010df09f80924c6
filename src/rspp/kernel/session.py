"""A session's kernel: hand it inputs stamped with a time, take its effects, wake it when it asks. It never waits.

    kernel = SessionKernel(request, graph, factories)
    kernel.receive(now, an_input)
    for effect in kernel.drain(): ...
    kernel.deadline()         # when it next wants to be woken, or None
    kernel.wake(now)

Drain after each input: how much still waits to leave is part of what decides, so a recording replays exactly only if
it is drained as it was. Time does not go backwards: an earlier `now` is taken as the latest one seen, and that is said once a session. An
invariant of ours that breaks ends this session, and only this one, with its cause; nothing is swallowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rspp.contract import emitters
from rspp.contract.errors import InvariantBreach
from rspp.contract.event import Event, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, CancelReason, CancelScope, EventKind, PayloadClass, SessionState
from rspp.kernel import inputs as i
from rspp.kernel.admission import Admission
from rspp.kernel.authority import Authority
from rspp.kernel.commands import Commands
from rspp.kernel.connection import Connection
from rspp.kernel.desk import Desk
from rspp.kernel.effects import Effect, EndSession, Message, SaveState
from rspp.kernel.egress import Egress
from rspp.kernel.flags import Flag
from rspp.kernel.gateway import Gateway
from rspp.kernel.graph import Graph, Joiner, Taker
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.levels import Change, RecordingLevels
from rspp.kernel.lifecycle import SessionTrigger
from rspp.kernel.memory import CONVERSATION, Conversation, sent_text
from rspp.kernel.metering import Metering
from rspp.kernel.placement import Placement
from rspp.kernel.prelude import Prelude
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.state import State
from rspp.kernel.steps import Steps
from rspp.kernel.turn import Turn
from rspp.kernel.turns import Turns
from rspp.kernel.wiring import handlers, timers
from rspp.kernel.work import Work
from rspp.spec.graph import GraphDefinition, Role

# Far more than a session has parts that can be due at one instant.
TIMERS_AT_ONCE_MAX: Final = 4096
# Endings after which the caller is owed a word.
APOLOGISE: Final = frozenset(
    {
        AbortReason.PROVIDER_FAILURE,
        AbortReason.NODE_TIMEOUT_OR_FAILURE,
        AbortReason.BUDGET_EXHAUSTED,
        AbortReason.RUNTIME_INTERNAL_ERROR,
        AbortReason.EXECUTION_POOL_SATURATED,
        AbortReason.EXECUTION_POOL_CLOSED,
        AbortReason.NODE_CONCURRENCY_LIMITED,
    }
)


class SessionKernel:
    """Everything that decides in one session."""

    def __init__(
        self, request: OpenRequest, graph: GraphDefinition, factories: Mapping[str, NodeFactory] | None = None
    ) -> None:
        self.desk = desk = Desk(request, graph)
        self.authority = Authority(request.epoch, request.lease_token, request.lease_expires_at)
        self.admission = Admission()
        self.state = State(request.epoch)
        self.memory = Conversation(graph.policies.limits.history_messages_max)
        self.levels = RecordingLevels(graph.recording_policy.level, graph.policies.recording)
        self.gateway = Gateway(desk, self.authority)
        self.work = Work(desk, self.admission, self)
        self.steps = Steps(desk, self.state, factories or {}, self)
        self.turns = Turns(desk, self.authority, self.admission, self)
        self.egress = Egress(desk, self.authority, self)
        self.prelude = Prelude(desk, self.turns, self.egress, self)
        self.connection = Connection(desk, self)
        self.placement = Placement(desk, self.authority, self.state, self)
        self.commands = Commands(desk, self)
        self.graph = Graph(desk, self.work.throttle, self.egress.arrived)
        self.metering = self.work.book.metering = Metering(desk, self.graph)
        self._wire()
        self._degraded: dict[str, str] = {}
        # Of turns that ended with their authority; bounded: by the keys in force.
        self._keys_cut: set[str] = set()
        self._progressed = self._went_back = False
        self.error: InvariantBreach | None = None
        self._handlers = handlers(self)
        self._timers = timers(self)
        desk.learn(request.snapshot.facts if request.snapshot else {})
        self.graph.facts_changed()
        if request.resume is not None:
            self.placement.attach(request.resume)
        desk.arm("connect", desk.now + graph.policies.limits.connect_ms_max * 1_000_000)
        desk.arm("lease", request.lease_expires_at)

    def _wire(self) -> None:
        graph = self.graph
        self.work.attach(graph)
        self.steps.graph = graph
        self.egress.attach(graph)
        joiner = Joiner(self.desk, graph)
        takers: dict[Role, Taker] = {Role.CALL: self.work.dispatch, Role.SYNC: self.steps}
        for node in graph.nodes.values():
            if node.role not in (Role.SOURCE, Role.SINK):
                node.taker = takers.get(node.role, joiner)
        self._sources = tuple(node for node in graph.nodes.values() if node.role is Role.SOURCE)

    # ---- the surface ---------------------------------------------------------------------------------------------

    def receive(self, now: int, received: i.Input) -> None:
        """Take one input and carry it through to its end."""
        self._reach(now)
        if self.connection.state is SessionState.ENDED:
            return
        try:
            if self.desk.overdue():
                # What was due before this input happens before it, whoever forgot to wake us.
                self._wake_all()
            self._handlers[type(received)](received)
            self._finish()
        except InvariantBreach as breach:
            self._breach(breach)

    def wake(self, now: int) -> None:
        """The deadline has come: everything that is due happens, in order of time and name."""
        self._reach(now)
        if self.connection.state is SessionState.ENDED:
            return
        try:
            self._wake_all()
        except InvariantBreach as breach:
            self._breach(breach)

    def _reach(self, now: int) -> None:
        """Time goes on, never back."""
        desk = self.desk
        if now >= desk.now:
            desk.now = now
        elif not self._went_back:
            self._went_back = True
            desk.announce(
                SignalName.CLOCK_REBASED,
                emitters.TIMEBASE,
                reason="time_went_backwards",
                by_ns=desk.now - now,
            )

    def _wake_all(self) -> None:
        for _ in range(TIMERS_AT_ONCE_MAX):
            key = self.desk.due()
            if key is None:
                return
            self._timers[key[0]](key[1])
            self._finish()
        raise InvariantBreach(
            "timer_storm", "deadlines are set that are past already; a part of ours does not wait"
        )

    def drain(self) -> list[Effect]:
        """The effects since the last time: control, then data, then telemetry."""
        return self.desk.outbox.drain()

    def deadline(self) -> int | None:
        return self.desk.deadline()

    @property
    def ended(self) -> bool:
        return self.connection.state is SessionState.ENDED

    def _finish(self) -> None:
        """After each input: settle the turn if something can have ended it, or go on to the next."""
        turn = self.turns.current
        if turn is not None:
            if turn.conditions or self._progressed:
                self._progressed = False
                self.turns.settle()
        elif self._progressed:
            self._progressed = False
            if self.connection.state is SessionState.ACTIVE:
                self.turns.next_waiting()
            self.connection.drained_if_idle()

    def _breach(self, breach: InvariantBreach) -> None:
        """Our bug: this session stops here, and says why."""
        desk = self.desk
        self.error = breach
        if breach.code == "control_lane_overflow":
            desk.outbox.drain()  # there is no room left to say even this
        desk.rest()
        desk.announce(
            SignalName.ERROR_RAISED,
            emitters.LIFECYCLE,
            reason="runtime_internal_error",
            code=breach.code,
            retryable=False,
        )
        self.connection.move(SessionTrigger.BREACH)
        desk.do(EndSession("runtime_internal_error"))

    # ---- audio in, the hot path ----------------------------------------------------------------------------------

    def audio(self, received: i.AudioReceived) -> None:
        if self.connection.state is not SessionState.ACTIVE and not self.listening():
            return
        event = self.gateway.audio(received)
        while event is not None:
            for node in self._sources:
                self.graph.push(node, "audio", event)
            event = self.gateway.next_held()

    def scored(self, received: i.SpeechScored) -> None:
        self.metering.scored("vad")
        self.prelude.scored(received.probability)

    def end_scored(self, received: i.EndOfTurnScored) -> None:
        self.metering.scored("end_of_turn")
        self.prelude.end_scored(received.probability)

    def ingest(self, port: str, event: Event) -> None:
        """Let an event that is not audio enter the graph."""
        for node in self._sources:
            self.graph.push(node, port, event)

    # ---- what the parts ask of the session -----------------------------------------------------------------------

    def turn(self) -> Turn | None:
        turn = self.turns.current
        return turn if turn is not None and turn.terminal is None else None

    def find_turn(self, turn_id: str) -> Turn | None:
        return self.turns.find(turn_id)

    def history(self) -> tuple[Message, ...]:
        return self.memory.history()

    def connected(self) -> bool:
        return self.connection.sending

    def accepting(self) -> bool:
        return self.connection.state is SessionState.ACTIVE

    def speaking(self) -> bool:
        return self.egress.playing is not None

    def listening(self) -> bool:
        """A draining session still hears its caller, who may interrupt what is left; without authority it does not."""
        return self.connection.state in (SessionState.ACTIVE, SessionState.DRAINING) and self.authority.held

    def capabilities(self) -> dict[str, tuple[str, ...]]:
        return {"transport": self.connection.capabilities()}

    def open_circuits(self) -> frozenset[str]:
        return self.work.book.circuits.open_at(self.desk.now)

    def degraded(self) -> tuple[str, ...]:
        return tuple(self._degraded)

    def transcript(self, text: Text) -> None:
        self.prelude.transcript(text)

    def finalise(self) -> None:
        self.work.finalise()

    def rescoped(self) -> None:
        """A new epoch owns the session: its own calls go on under it."""
        for call in self.work.book.calls.values():
            if call.scope.turn_id is None:
                call.scope = self.desk.scope

    def turn_failed(self, reason: AbortReason, detail: str) -> None:
        self.turns.condition(reason, detail)

    def turn_progressed(self) -> None:
        self._progressed = True

    def audible_changed(self) -> None:
        self._progressed = True
        self.prelude.audible_changed()

    def stale_egress(self, event: Event) -> None:
        self.gateway.stale(event.scope.epoch, "egress", event.scope.turn_id)

    def capability_lost(self, modality: str, reason: str) -> None:
        """The session goes on without one of its capabilities, and says so."""
        if modality in ("vad", "end_of_turn"):
            self.prelude.scores_lost = self.prelude.scores_lost or modality == "vad"
        if modality not in self._degraded:
            self._degraded[modality] = reason
            self.desk.announce(SignalName.DEGRADED, emitters.LIFECYCLE, reason=reason, capability=modality)
        turn = self.turns.current
        if turn is not None:
            turn.degraded = True

    def capability_back(self, modality: str) -> None:
        if modality == "vad":
            self.prelude.scores_lost = False
        if self._degraded.pop(modality, None) is not None:
            self.desk.announce(
                SignalName.RECOVERED, emitters.LIFECYCLE, reason="provider_back", capability=modality
            )

    # ---- a turn's milestones -------------------------------------------------------------------------------------

    def turn_opened(self, turn: Turn) -> None:
        """Give the turn its words: its work begins."""
        desk = self.desk
        self.state.open_turn(turn.id)
        self.graph.adopt(turn.plan)
        self.steps.open_turn(turn)
        playing = self.egress.playing
        if playing is not None and playing is not turn:
            self.egress.stop(playing, "next_turn")
            self.truncated(playing)
        self.work.dispatch.open_turn()
        turn.injected = True
        self._progressed = True
        if turn.intent.say:
            self._say(turn)
            return
        words = Text(turn.intent.text, segment=turn.intent.utterance, final=True, role="user")
        node_id, port = desk.graph.turn_input
        event = desk.event(EventKind.TEXT, words, PayloadClass.TEXT_RAW, turn.scope, node_id)
        self.graph.push(self.graph.nodes[node_id], port, event)

    def turn_confirmed(self) -> None:
        """The speculation was right: what its cap held back goes on."""
        self.work.dispatch.go_on()

    def _say(self, turn: Turn) -> None:
        """Speak the intent's own words: into the synthesiser, or as text where there is none."""
        desk = self.desk
        words = Text(turn.intent.text, final=True, role="assistant")
        event = desk.event(EventKind.TEXT, words, PayloadClass.TEXT_RAW, turn.scope)
        for node in self.graph.nodes.values():
            speaks = node.definition.modality == "tts" and "tts" not in self._degraded
            if speaks and node.open and node.taker is not None and node.inbound:
                node.taker.take(node, node.inbound[0], event)
                return
        for node in self.graph.nodes.values():
            if node.role is Role.SINK:
                for edge in node.inbound:
                    # A session's edge into the sink (captions) has a cadence of its own.
                    if edge.turn_scoped and EventKind.TEXT in edge.definition.kinds:
                        edge.queue.offer(desk.now, event)
                        self.egress.pump()
                        return

    def generated(self, turn: Turn) -> bool:
        """Has the turn produced everything it will, and has all of it been sent?"""
        return (
            turn.injected
            and not self.work.book.turn_busy(turn.id)
            and self.graph.turn_idle()
            and self.egress.drained()
        )

    def silence(self, turn: Turn, reason: CancelReason, why: str) -> None:
        """The fence first, then everybody who is still working for the turn."""
        self.egress.fence(turn, why)
        self.work.cancelling.cancel_turn(turn.id, reason)
        self.steps.cancel_turn(turn.scope, reason)

    def barged_in(self, turn: Turn | None) -> None:
        self.steps.barge_in(turn.scope if turn else self.desk.scope)

    def turn_settling(self, turn: Turn) -> None:
        if turn.settling == "commit":
            self.egress.end_stream(turn)

    def turn_closed(self, turn: Turn) -> None:
        """Remember what was said and heard, and go on with what waits."""
        desk = self.desk
        self.state.close_turn(turn.id)
        if self.memory.remember(turn, desk.now):
            desk.announce(
                SignalName.MEMORY_TRUNCATED, emitters.PLAYOUT, turn.scope, sent=len(sent_text(turn))
            )
        self._key_closed(turn)
        self.save_history()
        if Flag.KEYS_SAVED_WITH_TURNS not in desk.flags:
            self.save("next_turn", self.turns.next_ordinal)
        if turn.first_output_at is not None:
            waited_ms = (turn.first_output_at - turn.opened_at) // 1_000_000
            desk.observe("turn_first_output_ms", waited_ms, "ms", turn.scope)
        self.metering.turn_closed(turn.scope)
        if desk.debugging():
            desk.remark(f"{turn.id} {turn.terminal}: {turn.terminal_reason or 'whole'}", turn.scope)
        change = self.levels.turn_boundary(desk.now)
        if change is not None:
            self.level_changed(change)
        self.egress.closed(turn)
        self._apologise(turn)
        self._progressed = True

    def _apologise(self, turn: Turn) -> None:
        desk = self.desk
        text = desk.policies.error_reply.text
        reason = turn.terminal_reason
        if turn.terminal == "commit" or not text or turn.intent.say or reason not in APOLOGISE:
            return
        if turn.speculative:
            return  # the caller has not finished speaking, and knows of no turn
        if self.turns.waiting or not self.accepting():
            return
        desk.announce(SignalName.ERROR_REPLY, emitters.ARBITER, reason=reason.value if reason else None)
        self.turns.intend(text, say=True)

    def amended(self, turn: Turn, text: str) -> None:
        if self.memory.amend_user(turn.intent.text, text):
            self.save_history()

    def truncated(self, turn: Turn) -> None:
        """A committed turn's sound was cut: what is remembered of it is what was heard."""
        if self.memory.truncate(turn, self.desk.now):
            self.desk.announce(
                SignalName.MEMORY_TRUNCATED, emitters.PLAYOUT, turn.scope, sent=len(sent_text(turn))
            )
            self.save_history()

    def save(self, key: str, value: object) -> None:
        """Have durable state kept outside this process, under the epoch that owns it."""
        self.state.revision += 1
        self.desk.do(SaveState(key, value, self.state.revision, self.authority.epoch))

    def save_history(self) -> None:
        """The conversation, and with it what belongs to it: a successor finds a turn and its key, or neither."""
        history = self.memory.export()
        if Flag.KEYS_SAVED_WITH_TURNS not in self.desk.flags:
            self.save("history", history)
            return
        keys = self._keys_answered()
        self.save(CONVERSATION, {"history": history, "next_turn": self.turns.next_ordinal, "keys": keys})

    def _key_closed(self, turn: Turn) -> None:
        """What this turn has answered is not answered again, here or in another process; what authority cut off may be."""
        key = turn.intent.key
        if key is not None and turn.terminal_reason is AbortReason.AUTHORITY_LOSS:
            self._keys_cut.add(key)
        elif key is not None:
            self._keys_cut.discard(key)

    def _keys_answered(self) -> dict[str, tuple[int, int]]:
        known = self.gateway.keys.in_force(self.desk.now)
        self._keys_cut &= known.keys()
        unanswered = self.turns.unanswered_keys() | self._keys_cut
        return {key: seen for key, seen in known.items() if key not in unanswered}

    def level_changed(self, change: Change) -> None:
        up = change.trigger == "recovered"
        self.desk.announce(
            SignalName.RECORDING_LEVEL_RESTORED if up else SignalName.RECORDING_LEVEL_DOWNGRADED,
            emitters.EVIDENCE if up else emitters.RECORDER,
            reason=change.trigger,
            policy_id=self.desk.graph.profile,
            old=change.old.value,
            new=change.new.value,
            trigger_class=change.trigger,
        )

    # ---- starting and stopping -----------------------------------------------------------------------------------

    def started(self) -> None:
        """The session is active: its own calls and nodes begin."""
        self.desk.disarm("connect")
        self.desk.announce(
            SignalName.SESSION_STARTED,
            emitters.LIFECYCLE,
            state="RUNNING",
            pipeline=self.desk.graph.ref,
            fingerprint=self.desk.graph.fingerprint,
            flags=",".join(str(flag) for flag in sorted(self.desk.flags)),
        )
        self.steps.start()
        self.work.dispatch.start_session_calls()

    def stopping(self) -> None:
        """The session has ended: nothing is left running."""
        self.work.cancelling.end_all(CancelReason.USER_CANCEL)
        self.steps.stop()

    def draining(self) -> None:
        """No new turns; what waits is let go."""
        self.turns.drop_waiting()
        self.turns.deferred = None
        self.desk.disarm("turn.defer")
        self._progressed = True

    def cancel(self, scope: CancelScope, reason: CancelReason) -> bool:
        return self.turns.cancel(scope, reason)
