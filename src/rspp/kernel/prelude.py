"""What the listener decides, done: the moves of `turn_taking` become signals, pauses, interruptions and intents.

It always runs, in every session, and opens no turn itself: it proposes. Knows no provider and no transport.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from rspp.contract import emitters
from rspp.contract.event import Text
from rspp.contract.signals import SignalName
from rspp.contract.words import CancelReason, CancelScope, InterruptionMode, LateEventPolicy
from rspp.kernel.desk import Desk
from rspp.kernel.egress import Egress
from rspp.kernel.flags import Flag
from rspp.kernel.listening import Caller, Do, Move, same_words
from rspp.kernel.turn import Turn
from rspp.kernel.turn_taking import TurnTaking
from rspp.kernel.turns import Turns


class Owner(Protocol):
    """What this needs of the session."""

    def accepting(self) -> bool: ...
    def finalise(self) -> None: ...
    def amended(self, turn: Turn, text: str) -> None: ...
    def truncated(self, turn: Turn) -> None: ...
    def barged_in(self, turn: Turn | None) -> None: ...


class Prelude:
    """The session-scoped part that listens."""

    def __init__(self, desk: Desk, turns: Turns, egress: Egress, owner: Owner) -> None:
        self._desk = desk
        self._turns = turns
        self._egress = egress
        self._owner = owner
        self.listener = TurnTaking(desk.policies.turn_taking, desk.flags)
        self.scores_lost = False
        self.audio_ingress_at: int | None = None
        self.listener.resting(desk.now)
        self.act()

    # ---- inputs --------------------------------------------------------------------------------------------------

    def scored(self, probability: float) -> None:
        listener = self.listener
        state = listener.caller
        listener.scored(self._desk.now, probability)
        if listener.moves or listener.caller is not state:
            self.act()

    def end_scored(self, probability: float) -> None:
        self._look()
        self.listener.end_scored(self._desk.now, probability)
        self.act()

    def transcript(self, text: Text) -> None:
        now = self._desk.now
        self._look()
        if self.scores_lost and text.text.strip():
            self.listener.voiced_by_text(now)
        self.listener.heard(now, text)
        self.act()

    def talk(self, pressed: bool) -> None:
        if pressed:
            self.listener.pressed(self._desk.now)
        else:
            self.listener.released(self._desk.now)
        self.act()

    def ended(self) -> None:
        self._look()
        self.listener.ended(self._desk.now)
        self.act()

    def keyed(self, digit: str) -> None:
        self.listener.keyed(self._desk.now, digit)
        self.act()

    def wake(self) -> None:
        self._look()
        self.listener.wake(self._desk.now)
        self.act()

    def _look(self) -> None:
        """Before an utterance may end: is what plays the end of a turn that has said everything?"""
        playing = self._egress.playing
        self.listener.assistant_done = playing is not None and playing.terminal is not None

    def audible_changed(self) -> None:
        """Tell the listener whether there is anything to interrupt."""
        playing = self._egress.playing
        audible = playing is not None and playing.playout.audible(self._desk.now)
        if audible != self.listener.assistant:
            self.listener.assistant_changed(self._desk.now, audible)
            self.act()

    # ---- moves ---------------------------------------------------------------------------------------------------

    def act(self) -> None:
        """Do what the listener decided, then be woken when it next must decide."""
        listener = self.listener
        while listener.moves:
            moves, listener.moves = listener.moves, []
            for move in moves:
                self._do(move)
        at = listener.deadline()
        if at is None:
            self._desk.disarm("listen")
        else:
            self._desk.arm("listen", at)

    def _do(self, move: Move) -> None:
        desk = self._desk
        by = emitters.PRELUDE
        if move.do is Do.SPEECH_STARTED:
            self.audio_ingress_at = desk.now
            desk.announce(SignalName.SPEECH_STARTED, by, utterance=move.utterance)
        elif move.do is Do.SPEECH_STOPPED:
            desk.announce(SignalName.SPEECH_STOPPED, by, reason=move.reason or None, utterance=move.utterance)
        elif move.do is Do.FINALISE:
            self._owner.finalise()
        elif move.do is Do.HOLD:
            desk.announce(SignalName.INTERRUPTION_PENDING, by, reason=move.reason)
            self._egress.hold(move.reason)
        elif move.do is Do.RESUME:
            desk.announce(SignalName.INTERRUPTION_RESOLVED, by, reason=move.reason, interrupted=False)
            self._egress.resume(move.reason)
        elif move.do is Do.INTERRUPT:
            self.interrupt(move.reason)
        elif move.do is Do.BACKCHANNEL:
            desk.announce(SignalName.BACKCHANNEL, by, utterance=move.utterance)
        elif move.do is Do.IGNORED:
            desk.announce(SignalName.END_OF_UTTERANCE, by, reason=f"ignored_{move.reason}")
        elif move.do is Do.IDLE:
            self._idle()
        elif move.do is Do.NOTHING:
            desk.announce(SignalName.END_OF_UTTERANCE, by, reason="no_words", utterance=move.utterance)
        else:
            self._turn(move)

    def _idle(self) -> None:
        """The caller is silent: that is worth saying only while it is the caller's turn to speak."""
        turns = self._turns
        if self._owner.accepting() and not (turns.current or turns.waiting or turns.deferred):
            self._desk.announce(SignalName.CALLER_IDLE, emitters.PRELUDE)
        else:
            self.listener.resting(self._desk.now)

    def _turn(self, move: Move) -> None:
        """The moves that concern a turn."""
        turn = self._turns.current
        if move.do is Do.SPECULATE:
            if turn is None and not self._turns.waiting and self._turns.deferred is None:
                self._intend(move, speculative=True)
        elif move.do is Do.SUPERSEDE:
            self._supersede(turn, move)
        elif move.do is Do.CONFIRM:
            self._confirm(turn, move)
        elif move.do is Do.PROPOSE:
            self._desk.announce(
                SignalName.END_OF_UTTERANCE, emitters.PRELUDE, reason=move.reason, utterance=move.utterance
            )
            self._intend(move)
        elif move.do is Do.AMEND:
            self._amend(turn, move)

    def _confirm(self, turn: Turn | None, move: Move) -> None:
        """A guess that opened late may be an older one, for words that were taken back: only the same words count."""
        if turn is None or not turn.conditions:
            if turn is not None and _guesses(turn, move) and same_words(turn.intent.text, move.text):
                self._turns.confirm()
                self._egress.pump()
                return
            self._supersede(turn, msgspec.structs.replace(move, reason="words_changed"))
        self._intend(move)

    def _intend(self, move: Move, *, speculative: bool = False) -> None:
        self._turns.intend(
            move.text,
            utterance=move.utterance,
            speculative=speculative,
            # Who may not be interrupted is not interrupted by the end of an utterance either.
            yields=self.listener.settings.interruption is InterruptionMode.NEVER,
            audio_ingress_at=self._ingress_of(move),
        )

    def _ingress_of(self, move: Move) -> int | None:
        """When the first frame of the words that are to be answered came in."""
        if Flag.INGRESS_OF_UTTERANCE in self._desk.flags:
            utterances = (self.listener.utterance, self.listener.before)
            return next((one.voiced_at for one in utterances if one.number == move.utterance), None)
        return self.audio_ingress_at

    def _supersede(self, turn: Turn | None, move: Move) -> None:
        if turn is not None and _guesses(turn, move):
            self._replace(turn, move)
        else:
            self._turns.forget_speculative(move.utterance)

    def _replace(self, turn: Turn, move: Move) -> None:
        """End a turn whose words another one will answer."""
        turn.superseded = True
        self._desk.announce(SignalName.TURN_SUPERSEDED, emitters.PRELUDE, turn.scope, reason=move.reason)
        self._turns.cancel(CancelScope.TURN, CancelReason.BARGE_IN)

    def _amend(self, turn: Turn | None, move: Move) -> None:
        """A late final knows better: if nothing was heard yet the turn starts over with it, else memory is mended."""
        desk = self._desk
        owner = turn if turn is not None and turn.intent.utterance == move.utterance else None
        desk.announce(
            SignalName.TRANSCRIPT_AMENDED,
            emitters.PRELUDE,
            owner.scope if owner else None,
            reason=move.reason,
        )
        reopen = Flag.LATE_FINAL_REOPENS in desk.flags and owner is not None and owner.first_output_at is None
        if owner is not None and reopen and owner.terminal is None and not owner.conditions:
            self._replace(owner, move)
            self._intend(move)
            return
        found = owner or next(
            (t for t in reversed(self._turns.closed) if t.intent.utterance == move.utterance), None
        )
        if found is not None and found.terminal is None:
            self._owner.amended(found, move.text)
        elif found is not None:
            self._late(found, move)

    def _late(self, turn: Turn, move: Move) -> None:
        """Words for a turn that is closed: it does not open again; what else is done about them is policy."""
        policy = self._desk.policies.late_events
        self._desk.announce(SignalName.LATE_EVENT_DECIDED, emitters.ARBITER, turn.scope, reason=policy.value)
        if policy is LateEventPolicy.REPROPOSE:
            self._intend(move)
        elif policy is LateEventPolicy.DIAGNOSE:
            self._owner.amended(turn, move.text)

    def interrupt(self, reason: str) -> None:
        """The caller takes the floor: the open turn is cancelled; of one that is committed, only the sound stops."""
        desk = self._desk
        turn, playing = self._turns.current, self._egress.playing
        desk.announce(SignalName.BARGE_IN, emitters.FENCES, turn.scope if turn else None, reason=reason)
        self._owner.barged_in(turn)
        if self.listener.overlap.value != "clear" or playing is not None:
            desk.announce(SignalName.INTERRUPTION_RESOLVED, emitters.PRELUDE, reason=reason, interrupted=True)
        if turn is not None and turn.terminal is None:
            self._turns.cancel(CancelScope.TURN, CancelReason.BARGE_IN)
        if playing is not None and playing.terminal is not None:
            self._egress.stop(playing, "barge_in")
            self._owner.truncated(playing)

    def speaking(self) -> bool:
        return self.listener.caller in (Caller.SPEAKING, Caller.TALKING)


def _guesses(turn: Turn, move: Move) -> bool:
    return turn.speculative and turn.intent.utterance == move.utterance
