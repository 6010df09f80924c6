"""What leaves for the caller: authority first, then the fence, then the pace; and what became of it.

The queue is the edge into the sink; this takes from it as fast as the lead allows. After a fence nothing of the turn
leaves, and no report of it is accepted. Keeps INV-09, INV-10 and INV-11's egress half.
"""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from rspp.contract import emitters
from rspp.contract.event import NS_PER_MS, Audio, Event, Text
from rspp.contract.signals import SignalName
from rspp.contract.words import CancelScope, Codec, EventKind, Lane, PayloadClass
from rspp.kernel.authority import Authority
from rspp.kernel.desk import Desk
from rspp.kernel.effects import PausePlayback, ResumePlayback, Send, StopPlayback
from rspp.kernel.graph import EdgeRun, Graph
from rspp.kernel.playout import Playout
from rspp.kernel.turn import Turn
from rspp.spec.graph import Role


class Owner(Protocol):
    """What this needs of the session whose voice it is."""

    def turn(self) -> Turn | None: ...
    def find_turn(self, turn_id: str) -> Turn | None: ...
    def connected(self) -> bool: ...
    def stale_egress(self, event: Event) -> None: ...
    def audible_changed(self) -> None: ...
    def degraded(self) -> tuple[str, ...]: ...
    def turn_progressed(self) -> None: ...


class Egress:
    """The way out of one session."""

    def __init__(self, desk: Desk, authority: Authority, owner: Owner) -> None:
        self._desk = desk
        self._authority = authority
        self._owner = owner
        self._settings = desk.policies.playout
        self._graph: Graph
        self._lines: tuple[tuple[EdgeRun, bool], ...] = ()  # each edge to the caller, and whether it sounds
        self._rest: Event | None = None  # what is left of a chunk that is longer than a frame
        self._captions: list[str] = []  # bounded: a turn's; what it has shown and perhaps not said
        self.playing: Turn | None = None
        self.refused = 0
        self._pumping = self._again = False

    def attach(self, graph: Graph) -> None:
        self._graph = graph
        sinks = [node for node in graph.nodes.values() if node.role is Role.SINK]
        for node in sinks:
            node.open = False
        self._lines = tuple(
            (edge, EventKind.AUDIO in edge.definition.kinds) for node in sinks for edge in node.inbound
        )

    @property
    def sounds(self) -> bool:
        """Is the answer heard? Without a voice, what is shown is the answer."""
        return any(sounds for _, sounds in self._lines) and "tts" not in self._owner.degraded()

    # ---- sending -------------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Something waits for the caller."""
        self.pump()

    def pump(self) -> None:
        """Send all text that waits, and as much audio as the lead allows."""
        if not self._lines or not self._owner.connected():
            return
        self._again = True
        if self._pumping:
            return
        self._pumping = True
        try:
            # What is taken makes room for what is blocked behind it: look again if something came meanwhile.
            while self._again:
                self._again = False
                self._fetch()
        finally:
            self._pumping = False

    def _fetch(self) -> None:
        now = self._desk.now
        turn = self._owner.turn()
        if turn is not None and turn.speculative:
            turn = None  # an unconfirmed turn is not heard
        waiting = left = False
        for edge, sounds in self._lines:
            queue = edge.queue
            if sounds and self._rest is not None and queue.silenced(self._rest):
                self._rest = None
            while queue.items or (sounds and self._rest is not None):
                rest = self._rest if sounds else None
                event = rest or queue.head(now)
                if event is None or not self._ready(event, turn):
                    break
                if rest is None:
                    self._graph.poll(edge)
                else:
                    self._rest = None
                self._send(event, turn)
            if queue.notices:
                self._graph.settle(edge)
            if queue.items or queue.parked or (sounds and self._rest is not None):
                left = True
                waiting = waiting or sounds
        if turn is not None:
            self._arm(turn, waiting)
            if not left:
                self._owner.turn_progressed()

    def _ready(self, event: Event, turn: Turn | None) -> bool:
        if event.scope.turn_id is None:
            return True
        if turn is None or turn.settling is not None or event.scope.turn_id != turn.id:
            return False
        if event.kind is EventKind.AUDIO:
            return turn.playout.may_send(self._desk.now)
        return True

    def _send(self, event: Event, turn: Turn | None) -> None:
        """One output attempt: authority, then fence, then out."""
        if event.scope.epoch != self._authority.epoch or not self._authority.held:
            self.refused += 1
            self._owner.stale_egress(event)
            return
        if event.scope.turn_id is not None:
            if turn is None or event.generation < turn.fence_floor:
                self.refused += 1
                return
            if isinstance(event.payload, Audio):
                if not event.payload.samples:
                    return  # a provider's bare end: only the turn's own end closes its stream
                event = self._frame(event, event.payload, turn.playout)
        if self._desk.outbox.data(Send(event)):
            if turn is not None and event.scope.turn_id is not None:
                self._account(event, turn)
        else:
            self._desk.announce(
                SignalName.DROP_NOTICE,
                emitters.LANES,
                reason="lane_queue_capacity_exceeded",
                edge_id=event.edge_id or "egress",
                lane=Lane.DATA,
                span=(event.sequence, event.sequence),
            )

    def _frame(self, event: Event, audio: Audio, playout: Playout) -> Event:
        """The next frame of the turn's one stream, whose place and end are ours, not those of a sentence.

        No more than one goes at once: the lead could not be kept otherwise. The rest stays first in line; only opus,
        whose bytes say nothing of its samples, cannot be cut.
        """
        samples, index = self._settings.frame_ms * audio.rate // 1000, playout.sample_index(audio.rate)
        if audio.samples <= samples or audio.codec is Codec.OPUS:
            if audio.sample_index == index and not audio.end:
                return event
            return replace(event, payload=replace(audio, sample_index=index, end=False))
        cut = samples * audio.channels * (2 if audio.codec is Codec.PCM16 else 1)
        head = replace(audio, data=audio.data[:cut], samples=samples, sample_index=index, end=False)
        rest = replace(audio, data=audio.data[cut:], samples=audio.samples - samples)
        self._rest = replace(event, payload=rest)
        return replace(event, payload=head)

    def _account(self, event: Event, turn: Turn) -> None:
        """Keep what has left: only that can be heard."""
        payload, now = event.payload, self._desk.now
        if turn.first_output_at is None:
            turn.first_output_at = now
            self._captions = []
            self._desk.disarm("turn.budget", turn.id)
        if isinstance(payload, Audio):
            if turn.playout.sent(now, payload.samples, payload.rate, event.invocation_id):
                self.playing = turn
                self._owner.audible_changed()
        elif isinstance(payload, Text) and payload.role == "assistant" and payload.text:
            self._captions.append(payload.text)
            if not self.sounds:
                self._uttered(turn)

    def _uttered(self, turn: Turn) -> None:
        """What was only shown is the answer: it counts as said. Where there is a voice, only the voice is heard."""
        turn.said += self._captions
        self._captions = []

    def _arm(self, turn: Turn, waiting: bool) -> None:
        """Be woken when there is room again, or when the audio will have been played."""
        desk, playout = self._desk, turn.playout
        if playout.first_sent_at is None or playout.paused_at is not None:
            return
        if waiting:
            desk.arm("egress", max(playout.room_at() or 0, desk.now + 1))
        else:
            desk.arm("egress.quiet", max(playout.quiet_at(), desk.now + 1))

    def drained(self) -> bool:
        """Has everything that was produced for the caller been sent?"""
        for edge, _ in self._lines:
            if edge.queue.items or edge.queue.parked:
                return False
        return self._rest is None

    def end_stream(self, turn: Turn) -> None:
        """Close the turn's audio stream, once; a whole answer that made no sound was its captions."""
        playout = turn.playout
        if playout.first_sent_at is None:
            if turn.first_output_at is not None:
                self._uttered(turn)
            return
        end = Audio(b"", 0, playout.sample_index(playout.rate), playout.rate, end=True)
        event = self._desk.event(EventKind.AUDIO, end, PayloadClass.AUDIO_RAW, turn.scope)
        self._desk.outbox.data(Send(event))

    # ---- pausing, stopping ---------------------------------------------------------------------------------------

    def hold(self, reason: str) -> None:
        """Silence now, undecided: the audio waits where it is."""
        turn = self.playing
        if turn is None or turn.playout.paused_at is not None or not turn.playout.audible(self._desk.now):
            return
        turn.playout.pause(self._desk.now)
        self._desk.do(PausePlayback(turn.id))
        self._desk.announce(SignalName.PLAYBACK_PAUSED, emitters.PLAYOUT, turn.scope, reason=reason)

    def resume(self, reason: str) -> None:
        turn = self.playing
        if turn is None or turn.playout.paused_at is None:
            return
        turn.playout.resume(self._desk.now)
        self._desk.do(ResumePlayback(turn.id))
        self._desk.announce(SignalName.PLAYBACK_RESUMED, emitters.PLAYOUT, turn.scope, reason=reason)
        self.rearm(turn)
        self.pump()

    def rearm(self, turn: Turn) -> None:
        """Be woken when what was sent will have been played; not while it stands still."""
        if turn.playout.first_sent_at is not None and turn.playout.paused_at is None:
            self._desk.arm("egress.quiet", max(turn.playout.quiet_at(), self._desk.now + 1))

    def closed(self, turn: Turn) -> None:
        """The turn has ended; its audio is heard to the end, and was perhaps already."""
        if self.playing is not turn:
            return
        if turn.playout.reported_complete:
            self._complete(turn)
        else:
            self.rearm(turn)

    def fence(self, turn: Turn, reason: str) -> None:
        """From here on nothing of this turn leaves, and what the client has buffered is thrown away."""
        desk = self._desk
        turn.fence_floor = desk.fences.raise_floor(CancelScope.TURN, turn.id)
        self._rest = None
        if turn.first_output_at is not None and not self.sounds:
            self._uttered(turn)  # its voice was lost after it was shown
        self._graph.fence_turn(turn.fence_floor)
        refused = desk.outbox.refuse(
            lambda effect: isinstance(effect, Send) and effect.event.scope.turn_id == turn.id
        )
        for _ in refused:
            turn.refused("audio", "cancel_fence_applied", desk.now)
        self.stop(turn, reason)

    def stop(self, turn: Turn, reason: str) -> None:
        """Flush the client's buffer of a turn that is being heard."""
        playout = turn.playout
        if playout.first_sent_at is None or playout.cancelled or playout.completed:
            return
        heard = playout.heard_ms(self._desk.now)
        playout.cancelled = True
        self._desk.disarm("egress")
        self._desk.disarm("egress.quiet")
        self._desk.do(StopPlayback(turn.id, self._settings.commit_point_ms))
        self._desk.announce(
            SignalName.PLAYBACK_CANCELLED,
            emitters.PLAYOUT,
            turn.scope,
            reason=reason,
            heard_ms=heard,
            sent_ms=playout.sent_ms,
        )
        if self.playing is turn:
            self.playing = None
        self._owner.audible_changed()

    # ---- reports -------------------------------------------------------------------------------------------------

    def reported(self, what: str, turn_id: str, heard_ms: int, epoch: int | None) -> None:
        """What the transport says became of a turn's audio; after a fence it is refused, whatever it says."""
        desk = self._desk
        turn = self._owner.find_turn(turn_id)
        if turn is None:
            desk.announce(SignalName.OUTPUT_REFUSED, emitters.PLAYOUT, reason="turn_unknown", what=what)
            return
        if what in ("accepted", "started") and (turn.fenced or turn.playout.cancelled):
            self._refuse(turn, what, epoch)
            return
        playout = turn.playout
        if what == "accepted":
            playout.accepted += 1
            desk.announce(SignalName.OUTPUT_ACCEPTED, emitters.TRANSPORT, turn.scope)
        elif what == "started":
            if playout.started_at is None:
                playout.started_at = turn.playback_started_at = desk.now
                desk.announce(SignalName.PLAYBACK_STARTED, emitters.TRANSPORT, turn.scope)
        elif what == "position":
            if not playout.cancelled:
                playout.reported(desk.now, heard_ms)
        elif what == "completed":
            playout.reported(desk.now, heard_ms)
            playout.reported_complete = True
            if not playout.cancelled and turn.terminal is not None:
                self._complete(turn)

    def _refuse(self, turn: Turn, what: str, epoch: int | None) -> None:
        self.refused += 1
        turn.playout.refused += 1
        turn.refused(what, "cancel_fence_applied", self._desk.now)
        self._desk.announce(
            SignalName.OUTPUT_REFUSED,
            emitters.FENCES,
            turn.scope,
            reason="cancel_fence_applied",
            what=what,
            late=turn.cancelled is not None,
        )

    def _complete(self, turn: Turn) -> None:
        playout = turn.playout
        if playout.completed or playout.cancelled or playout.first_sent_at is None:
            return
        playout.completed = True
        if playout.heard_reported_ms < playout.sent_ms:
            playout.heard_reported_ms = playout.sent_ms
        self._desk.announce(
            SignalName.PLAYBACK_COMPLETED, emitters.TRANSPORT, turn.scope, heard_ms=playout.sent_ms
        )
        self._desk.disarm("egress.overdue")
        if self.playing is turn:
            self.playing = None
        self._owner.audible_changed()

    def quiet_due(self) -> None:
        """What was sent should have been played by now; a report that never comes must not leave a turn hanging."""
        turn, desk = self.playing, self._desk
        if turn is None:
            return
        self._owner.audible_changed()
        playout = turn.playout
        if turn.terminal is None or playout.paused_at is not None:
            return
        if not playout.reports:
            self._complete(turn)
        elif not playout.completed:
            desk.arm("egress.overdue", desk.now + self._settings.report_ms_max * NS_PER_MS)

    def overdue(self) -> None:
        playing = self.playing
        if playing is not None and playing.terminal is not None and playing.playout.paused_at is None:
            self._complete(playing)
