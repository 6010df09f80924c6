"""The session's own life, and its line to the caller: connected, cut, coming back, over.

    CONNECTING --> ACTIVE --> DRAINING --> ENDED

A session survives a reconnect inside its deadline. Nothing is believed before the first `connected`, and nothing after
`ended`. Draining and closing end by their deadlines, whatever is left. Owns the session's state; the table is
`lifecycle`'s.
"""

from __future__ import annotations

from typing import Final, Protocol

from rspp.contract import emitters
from rspp.contract.event import NS_PER_MS
from rspp.contract.signals import SignalName
from rspp.contract.transitions import Transition
from rspp.contract.words import AbortReason, ConnectionState, SessionState
from rspp.kernel.desk import Desk
from rspp.kernel.effects import CloseConnection, EndSession
from rspp.kernel.egress import Egress
from rspp.kernel.flags import Flag
from rspp.kernel.gateway import Gateway
from rspp.kernel.lifecycle import REFUSED_SESSION, SESSION, SessionTrigger, step
from rspp.kernel.turn import Turn
from rspp.kernel.turns import Turns

SIGNAL_OF: Final = {
    ConnectionState.CONNECTED: SignalName.CONNECTED,
    ConnectionState.RECONNECTING: SignalName.RECONNECTING,
    ConnectionState.DISCONNECTED: SignalName.DISCONNECTED,
    ConnectionState.ENDED: SignalName.ENDED,
    ConnectionState.SILENCE: SignalName.SILENCE,
    ConnectionState.STALL: SignalName.STALL,
}
# The states in which nothing can be sent.
CUT: Final = (ConnectionState.DISCONNECTED, ConnectionState.RECONNECTING, ConnectionState.STALL)


class Owner(Protocol):
    """What this needs of the session."""

    turns: Turns
    egress: Egress
    gateway: Gateway

    def turn(self) -> Turn | None: ...
    def listening(self) -> bool: ...
    def started(self) -> None: ...
    def draining(self) -> None: ...
    def stopping(self) -> None: ...
    def turn_progressed(self) -> None: ...
    def truncated(self, turn: Turn) -> None: ...


class Connection:
    """One session's lifecycle."""

    def __init__(self, desk: Desk, owner: Owner) -> None:
        self._desk = desk
        self._owner = owner
        self._limits = desk.policies.limits
        self.state = SessionState.CONNECTING
        self.line: ConnectionState | None = None
        self.sending = False  # can anything be sent to the caller now?
        self.end_reason = ""

    def capabilities(self) -> tuple[str, ...]:
        return ("playback_reports",) if self._desk.request.reports_playback else ()

    # ---- the machine ---------------------------------------------------------------------------------------------

    def move(self, trigger: SessionTrigger) -> bool:
        """One step of the session's table, or a refusal that changes nothing."""
        desk = self._desk
        after = step(SESSION, self.state, trigger)
        if after is None:
            desk.refuse_step(REFUSED_SESSION, desk.scope.session_id, self.state.value, trigger.value)
            return False
        before, self.state = self.state, after
        desk.record(Transition("session", desk.scope.session_id, before.value, trigger.value, after.value))
        if before is not SessionState.CONNECTING or after is not SessionState.ACTIVE:
            desk.announce(
                SignalName.SESSION_STATE_CHANGED, emitters.LIFECYCLE, reason=trigger.value, to=after.value
            )
        if after is SessionState.DRAINING:
            desk.arm("drain", desk.now + self._limits.drain_ms_max * NS_PER_MS)
            self._owner.draining()
        elif after is SessionState.ENDED:
            self._ended(trigger)
        return True

    def _ended(self, trigger: SessionTrigger) -> None:
        desk = self._desk
        self._owner.stopping()
        desk.rest()
        desk.do(CloseConnection(trigger.value))
        if trigger is not SessionTrigger.BREACH:
            desk.do(EndSession(self.end_reason or trigger.value))

    # ---- the line ------------------------------------------------------------------------------------------------

    def changed(self, line: ConnectionState) -> None:
        """The transport says what the line is doing: what it says is what is announced."""
        desk = self._desk
        if (
            self.line is None and line is not ConnectionState.CONNECTED
        ) or self.line is ConnectionState.ENDED:
            known = self.line.value if self.line else "none"
            desk.refuse_step("connection_state_refused", "connection", known, line.value)
            return
        before, self.line = self.line, line
        self.sending = line in (ConnectionState.CONNECTED, ConnectionState.SILENCE)
        if self.state is not SessionState.CONNECTING or line is not ConnectionState.CONNECTED:
            desk.announce(SIGNAL_OF[line], emitters.CONNECTION)
        if line is ConnectionState.CONNECTED:
            self._connected(before)
        elif line is ConnectionState.ENDED:
            self._peer_ended()
        elif line in CUT:
            self._cut()

    def _connected(self, before: ConnectionState | None) -> None:
        desk = self._desk
        desk.disarm("disconnect")
        if self.state is SessionState.CONNECTING:
            self.move(SessionTrigger.ACCEPTED)
            # That the session runs is the first thing that anybody hears of it.
            self._owner.started()
            desk.announce(SignalName.CONNECTED, emitters.CONNECTION)
            return
        if before in CUT:
            self._owner.gateway.restart_stream()
        self._owner.egress.pump()

    def _cut(self) -> None:
        desk = self._desk
        # The client plays what it has; what it has not yet waits here until the line is back.
        if ("disconnect", "") not in desk.timers:
            desk.arm("disconnect", desk.now + self._limits.disconnect_ms_max * NS_PER_MS)

    def _peer_ended(self) -> None:
        self.end_reason = "peer_ended"
        if self.state is SessionState.CONNECTING:
            self.move(SessionTrigger.REFUSED)
            return
        if self.state is SessionState.ACTIVE:
            self.move(SessionTrigger.PEER_ENDED)
        # Nobody is left to hear the rest.
        playing = self._owner.egress.playing
        if playing is not None and playing.terminal is not None:
            self._owner.truncated(playing)
        self._owner.turns.condition(AbortReason.TRANSPORT_DISCONNECT_OR_STALL, "peer_ended")
        self._owner.turn_progressed()

    # ---- deadlines -----------------------------------------------------------------------------------------------

    def connect_due(self) -> None:
        if self.state is SessionState.CONNECTING:
            self.end_reason = "connect_deadline"
            self.move(SessionTrigger.CONNECT_DEADLINE)

    def disconnect_due(self) -> None:
        """The line did not come back in time."""
        self.end_reason = "disconnect_deadline"
        if self._owner.turn() is not None:
            self._owner.turns.condition(AbortReason.TRANSPORT_DISCONNECT_OR_STALL, "disconnect_deadline")
            if self.state is SessionState.ACTIVE:
                self.move(SessionTrigger.PEER_ENDED)
        elif self.state is SessionState.ACTIVE:
            self.move(SessionTrigger.DISCONNECT_DEADLINE)
        elif self.state is SessionState.DRAINING:
            self.move(SessionTrigger.DRAINED)
        self._owner.turn_progressed()

    def drain_due(self) -> None:
        """Draining has lasted long enough: what is still open ends now."""
        if self.state is not SessionState.DRAINING:
            return
        if self._owner.turn() is not None:
            self._owner.turns.condition(AbortReason.POLICY_TERMINATED, "drain_deadline")
            self._desk.arm("close", self._desk.now + self._limits.close_ms_max * NS_PER_MS)
            return
        self.move(SessionTrigger.DRAIN_DEADLINE)

    def close_due(self) -> None:
        if self.state is SessionState.DRAINING:
            self.move(SessionTrigger.DRAIN_DEADLINE)

    def drained_if_idle(self) -> None:
        """A draining session with nothing left to do, or nobody left to hear it, has ended."""
        if self.state is not SessionState.DRAINING or self._owner.turn() is not None:
            return
        mute = Flag.ENDS_WITH_ITS_AUTHORITY in self._desk.flags and not self._owner.listening()
        if self._owner.egress.playing is None or not self.sending or mute:
            self.move(SessionTrigger.DRAINED)

    def close(self, reason: str, drain: bool) -> None:
        """Somebody who may has asked for the end: after the turn in hand, or at once."""
        self.end_reason = reason[:64]
        if self.state is SessionState.CONNECTING:
            self.move(SessionTrigger.REFUSED)
            return
        if self.state is SessionState.ACTIVE:
            self.move(SessionTrigger.SHUTDOWN)
        if not drain:
            playing = self._owner.egress.playing
            if playing is not None and playing.terminal is not None:
                self._owner.egress.stop(playing, "close_requested")
                self._owner.truncated(playing)
            self._owner.turns.condition(AbortReason.POLICY_TERMINATED, "close_requested")
            self._desk.arm("close", self._desk.now + self._limits.close_ms_max * NS_PER_MS)
        self._owner.turn_progressed()
