"""Counts what each session uses, in front of its recorder, at a cost that no frame notices; nothing here waits.

    recorder = SessionMeter(inner, board)          # one a session: board.recorders(...) makes them
    tenant.turns, tenant.audio_us, ...             # all that the tenant's sessions here have used since the process began

Counted are turns that opened, tokens that providers told of, sound that was heard and spoken, and what was asked of each
provider. A language model that is cut off tells no tokens, so those are not known. Whoever recognises speech is charged for
the sound that came in while its call ran, whoever speaks for the text that it was given and the sound that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from rspp.contract.event import Audio, Event, Signal, Text
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.signals import SignalName
from rspp.control.intake.tariffs import Tariff, Tariffs, Used, cost_micros
from rspp.host.ports import Recorder, TellsSession, WatchesNodes
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import Input
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

# The reasons of a turn's refusal that come of a quota, or of a full machine.
BY_CAPACITY: Final = frozenset({"admission_capacity_reject", "admission_capacity_defer"})


class TenantMeter:
    """What a tenant's sessions in this process have used since it began. The numbers only rise."""

    __slots__ = ("audio_us", "rows", "sessions", "tenant_id", "tokens", "turns")

    def __init__(self, tenant_id: str) -> None:
        self.tenant_id = tenant_id
        self.turns = self.tokens = self.audio_us = 0
        # bounded: by the providers and models of what is served
        self.rows: dict[tuple[str, str | None], tuple[Used, Tariff | None]] = {}
        self.sessions: dict[str, SessionMeter] = {}  # bounded: by the host's sessions_max

    def row(self, provider: str, model: str | None, tariffs: Tariffs) -> Used:
        found = self.rows.get((provider, model))
        if found is None:
            found = self.rows[provider, model] = (Used(), tariffs.find(provider, model))
        return found[0]

    def spend_micros(self) -> int:
        return sum(cost_micros(used, tariff) for used, tariff in self.rows.values())


class Board(Protocol):
    """Whom a session's meter tells."""

    tariffs: Tariffs
    flying: dict[str, int]  # provider -> attempts that run in this process

    def enter(self, meter: SessionMeter, tenant_id: str) -> TenantMeter: ...
    def leave(self, meter: SessionMeter, tenant: TenantMeter) -> None: ...
    def touched(self, tenant: TenantMeter) -> None:
        """A turn was opened, or a call has ended: a quota may be used up."""
        ...

    def opened_turn(self, tenant: TenantMeter) -> None: ...
    def refused_turn(self, tenant: TenantMeter) -> None: ...


class _Running:
    """One attempt of one call."""

    __slots__ = ("mark_us", "modality", "provider", "used")

    def __init__(self, modality: str, provider: str, used: Used, mark_us: int) -> None:
        self.modality, self.provider, self.used, self.mark_us = modality, provider, used, mark_us


class SessionMeter:
    """A session's recorder, around the one that keeps its record."""

    def __init__(self, recorder: Recorder, board: Board) -> None:
        self._recorder = recorder
        self._took, self._did = recorder.took, recorder.did
        self._board = board
        self._graph: GraphDefinition | None = None
        self._tenant = TenantMeter("")
        self._running: dict[tuple[str, int], _Running] = {}  # bounded: by the open calls of the session
        self._heard_us = 0
        self.session_id = ""
        # As they are: nothing pays for passing them on.
        self.evidence: Callable[[str, TurnEvidence], str | None] = recorder.evidence
        self.closed_turn: Callable[[str, CloseStamp], None] = recorder.closed_turn
        if isinstance(recorder, TellsSession):
            self.attach = recorder.attach
        if isinstance(recorder, WatchesNodes):
            self.stepped = recorder.stepped

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        self.session_id, self._graph = request.session_id, graph
        self._tenant = self._board.enter(self, request.tenant_id)
        self._recorder.opened(request, graph)
        # A recorder may know only now who keeps the record of this session.
        self._took, self._did = self._recorder.took, self._recorder.did

    def closed(self) -> None:
        self.settle()
        for running in self._running.values():
            self._lands(running)
        self._running.clear()
        self._board.leave(self, self._tenant)
        self._recorder.closed()

    def settle(self) -> None:
        """What calls that run on have been given until now is counted."""
        for running in self._running.values():
            if running.modality == "stt":
                running.used.audio_us += self._heard_us - running.mark_us
                running.mark_us = self._heard_us

    # ---- what comes in -----------------------------------------------------------------------------------------------

    def took(self, at: int, received: Input) -> None:
        count = _TOOK.get(type(received))
        if count is not None:
            count(self, received)
        self._took(at, received)

    def _heard(self, received: i.AudioReceived) -> None:
        audio = received.audio
        if audio.rate:
            length_us = audio.samples * 1_000_000 // audio.rate
            self._heard_us += length_us
            self._tenant.audio_us += length_us

    def _produced(self, received: i.CallProduced) -> None:
        payload = received.payload
        if type(payload) is Audio and payload.rate:
            running = self._running.get((received.call_id, received.attempt))
            if running is not None and running.modality == "tts":
                running.used.audio_us += payload.samples * 1_000_000 // payload.rate

    def _finished(self, received: i.CallFinished) -> None:
        running = self._ended(received)
        if running is not None and received.tokens > 0:
            running.used.tokens += received.tokens
            self._tenant.tokens += received.tokens
            self._board.touched(self._tenant)

    def _ended(self, received: Any) -> _Running | None:
        running = self._running.pop((received.call_id, received.attempt), None)
        if running is not None:
            self._lands(running)
            if running.modality == "stt":
                running.used.audio_us += self._heard_us - running.mark_us
        return running

    def _lands(self, running: _Running) -> None:
        flying = self._board.flying
        flying[running.provider] -= 1
        if not flying[running.provider]:
            del flying[running.provider]

    # ---- what the kernel wants -----------------------------------------------------------------------------------------

    def did(self, at: int, effects: Sequence[Effect]) -> None:
        self._did(at, effects)
        for effect in effects:
            count = _DID.get(type(effect))
            if count is not None:
                count(self, effect)

    def _sent(self, effect: fx.Send) -> None:
        audio = effect.event.payload
        if type(audio) is Audio and audio.rate:
            self._tenant.audio_us += audio.samples * 1_000_000 // audio.rate

    def _announced(self, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if type(signal) is not Signal:
            return
        if signal.signal == SignalName.TURN_OPEN:
            self._tenant.turns += 1
            self._board.touched(self._tenant)
            self._board.opened_turn(self._tenant)
        elif signal.signal in (SignalName.REJECT, SignalName.DEFER) and signal.reason in BY_CAPACITY:
            self._board.refused_turn(self._tenant)

    def _invoked(self, effect: fx.Invoke) -> None:
        assert self._graph is not None
        model = self._graph.provider_settings.get(effect.provider, {}).get("model")
        used = self._tenant.row(
            effect.provider, model if isinstance(model, str) else None, self._board.tariffs
        )
        used.calls += 1
        running = _Running(effect.modality, effect.provider, used, self._heard_us)
        self._running[effect.call_id, effect.attempt] = running
        flying = self._board.flying
        flying[effect.provider] = flying.get(effect.provider, 0) + 1
        if effect.event is not None:
            _give(running, effect.event)

    def _fed(self, effect: fx.Feed) -> None:
        if type(effect.event.payload) is Text:
            for (call_id, _), running in self._running.items():
                if call_id == effect.call_id:
                    _give(running, effect.event)

    def _killed(self, effect: fx.KillCall) -> None:
        self._ended(effect)


def _give(running: _Running, event: Event) -> None:
    payload = event.payload
    if running.modality == "tts" and type(payload) is Text:
        running.used.characters += len(payload.text)


_TOOK: Final[Mapping[type, Callable[[SessionMeter, Any], object]]] = {
    i.AudioReceived: SessionMeter._heard,
    i.CallProduced: SessionMeter._produced,
    i.CallFinished: SessionMeter._finished,
    i.CallFailed: SessionMeter._ended,
    i.CallCancelled: SessionMeter._ended,
}
_DID: Final[Mapping[type, Callable[[SessionMeter, Any], None]]] = {
    fx.Send: SessionMeter._sent,
    fx.Announce: SessionMeter._announced,
    fx.Invoke: SessionMeter._invoked,
    fx.Feed: SessionMeter._fed,
    fx.KillCall: SessionMeter._killed,
}
