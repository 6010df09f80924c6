"""Hears what a session's kernel announces, in the place of its recorder and in front of it, without being in anybody's way.

The few signals that tell how a session fares go to listeners; everything goes to the recorder as before. Inputs pass without a
call of their own, so a frame pays for one look at the effects of its step. A listener that raises is told to the recorder's
owner like a recorder that raises, so listeners do not: they only note.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from rspp.contract.event import Signal
from rspp.contract.evidence import TurnEvidence
from rspp.contract.signals import SignalName
from rspp.host.ports import Recorder, TellsSession, WatchesNodes
from rspp.kernel.effects import Announce, Effect, EndSession
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# What is passed on: signals that come a few times a turn at most.
HEARD: Final = frozenset(
    name.value
    for name in (
        SignalName.CONNECTED,
        SignalName.RECONNECTING,
        SignalName.DISCONNECTED,
        SignalName.SESSION_STATE_CHANGED,
        SignalName.TURN_OPEN,
        SignalName.COMMIT,
        SignalName.ABORT,
        SignalName.DEGRADED,
        SignalName.RECOVERED,
        SignalName.CIRCUIT_EVENT,
    )
)


class Listener(Protocol):
    """Somebody who wants to know. Nothing here waits or raises."""

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...
    def heard(self, session_id: str, signal: Signal) -> None: ...
    def turn(self, session_id: str, evidence: TurnEvidence) -> None: ...
    def over(self, session_id: str, reason: str) -> None:
        """The session is over here. An empty reason is one that its kernel did not give: it was ended by force."""
        ...


class SessionEar:
    """A recorder for one session, around the one that keeps its record."""

    def __init__(self, recorder: Recorder, listeners: Sequence[Listener]) -> None:
        self._recorder = recorder
        self._did = recorder.did
        self._listeners = tuple(listeners)
        self._session_id = ""
        self._reason = ""
        # As they are: no step pays for passing them on.
        self.took = recorder.took
        self.closed_turn = recorder.closed_turn
        if isinstance(recorder, TellsSession):
            self.attach = recorder.attach
        if isinstance(recorder, WatchesNodes):
            self.stepped = recorder.stepped

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self._session_id = request.session_id
        self._recorder.opened(request, graph)
        # A recorder may know only now who keeps the record of this session.
        self.took, self._did = self._recorder.took, self._recorder.did
        for listener in self._listeners:
            listener.opened(request, graph)

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        self._did(at, effects)
        for effect in effects:
            kind = type(effect)
            if kind is Announce:
                assert isinstance(effect, Announce)
                signal = effect.event.payload
                if isinstance(signal, Signal) and signal.signal in HEARD:
                    for listener in self._listeners:
                        listener.heard(self._session_id, signal)
            elif kind is EndSession:
                assert isinstance(effect, EndSession)
                self._reason = effect.reason

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        for listener in self._listeners:
            listener.turn(self._session_id, evidence)
        return self._recorder.evidence(record_id, evidence)

    def closed(self) -> None:
        self._recorder.closed()
        for listener in self._listeners:
            listener.over(self._session_id, self._reason)


def heard_by(
    recorders: Callable[[str], Recorder], listeners: Sequence[Listener]
) -> Callable[[str], Recorder]:
    """A host's recorders, with these listeners at each session."""
    return lambda session_id: SessionEar(recorders(session_id), listeners)
