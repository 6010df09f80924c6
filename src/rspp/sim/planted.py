"""The faults that mutants have: each takes a true method of the kernel and gives one with a single thing wrong.

Written against the kernel's inside on purpose: a bug is planted where it would be made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rspp.contract import emitters
from rspp.contract.decisions import OutcomeKind
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason, RecordingLevel
from rspp.kernel.authority import Authority
from rspp.kernel.buffers import Crossed, Dropped, EdgeQueue
from rspp.kernel.calls import Call
from rspp.kernel.commands import Commands
from rspp.kernel.desk import Desk
from rspp.kernel.effects import Observe, Send, StopPlayback
from rspp.kernel.egress import Egress
from rspp.kernel.gateway import Gateway
from rspp.kernel.graph import Graph
from rspp.kernel.lanes import Outbox
from rspp.kernel.levels import Change, RecordingLevels
from rspp.kernel.listening import Caller
from rspp.kernel.playout import Playout
from rspp.kernel.prelude import Prelude
from rspp.kernel.turn_taking import TurnTaking
from rspp.kernel.turns import Turns

Method = Callable[..., Any]


def answers(value: object) -> Callable[[Method], Method]:
    """The method does nothing and answers this."""
    return lambda true: lambda self, *args, **kwargs: value


def after(act: Callable[..., None]) -> Callable[[Method], Method]:
    """The method does what it should, and then something that it should not."""

    def write(true: Method) -> Method:
        def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
            answer = true(self, *args, **kwargs)
            act(self, *args)
            return answer

        return faulty

    return write


def before(act: Callable[..., None]) -> Callable[[Method], Method]:
    def write(true: Method) -> Method:
        def faulty(self: Any, *args: Any, **kwargs: Any) -> Any:
            act(self, *args)
            return true(self, *args, **kwargs)

        return faulty

    return write


def without_signal(name: SignalName) -> Callable[[Method], Method]:
    """This signal is never announced."""

    def write(true: Method) -> Method:
        def announce(self: Desk, signal: SignalName, *args: Any, **kwargs: Any) -> Any:
            event = true(self, signal, *args, **kwargs)
            if signal is name:
                self.outbox._control.pop()
            return event

        return announce

    return write


# ---- opening and ending ----------------------------------------------------------------------------------------------


def decide_without_admit(true: Method) -> Method:
    def decide(self: Desk, kind: OutcomeKind, *args: Any, **kwargs: Any) -> Any:
        outcome = true(self, kind, *args, **kwargs)
        if kind is OutcomeKind.ADMIT:
            self.outbox._control.pop()
        return outcome

    return decide


def plan_of_older_epoch(true: Method) -> Method:
    def build(graph: Any, snapshot: Any, turn_id: str, version: str, epoch: int, *rest: Any) -> Any:
        return true(graph, snapshot, turn_id, version, max(0, epoch - 1), *rest)

    return build


def abort_what_was_refused(self: Turns, *args: Any) -> None:
    scope = msgspec.structs.replace(self._desk.scope, turn_id=self._candidate())
    self._desk.announce(SignalName.ABORT, emitters.ARBITER, scope, reason="policy_terminated")


def second_terminal(self: Turns, turn: Any) -> None:
    self._desk.announce(SignalName.ABORT, emitters.ARBITER, turn.scope, reason="cancelled")


def cancel_without_condition(true: Method) -> Method:
    def cancel(self: Turns, *args: Any) -> bool:
        done = bool(true(self, *args))
        if self.current is not None:
            self.current.conditions.clear()
        return done

    return cancel


def commit_at_once(true: Method) -> Method:
    def ask(self: Turns, turn: Any, reason: Any) -> None:
        true(self, turn, reason)
        if reason is None and turn.terminal is None:
            self._end(turn)

    return ask


def evidence_without_plan(true: Method) -> Method:
    return lambda *args: msgspec.structs.replace(true(*args), plan_hash="unknown")


def evidence_without_cancel(true: Method) -> Method:
    return lambda *args: msgspec.structs.replace(true(*args), cancel_accepted_at=None)


# ---- lanes, edges ----------------------------------------------------------------------------------------------------


def reversed_lanes(true: Method) -> Method:
    return lambda self: list(reversed(true(self)))


def telemetry_first(true: Method) -> Method:
    def drain(self: Outbox) -> list[Any]:
        effects = true(self)
        return [e for e in effects if isinstance(e, Observe)] + [
            e for e in effects if not isinstance(e, Observe)
        ]

    return drain


def data_first(true: Method) -> Method:
    def drain(self: Outbox) -> list[Any]:
        effects = true(self)
        return [e for e in effects if isinstance(e, Send)] + [e for e in effects if not isinstance(e, Send)]

    return drain


def deeper_than_told(true: Method) -> Method:
    """Twice the items that the policy allows."""

    def full(self: EdgeQueue, now: int, event: Any) -> Any:
        return true(self, now, event) if len(self.items) >= 2 * self.policy.max_queue_items + 64 else None

    return full


def head_however_late(true: Method) -> Method:
    def head(self: EdgeQueue, now: int) -> Any:
        return self.items[0] if self.items else None

    return head


def marks_every_item(true: Method) -> Method:
    def rise(self: EdgeQueue, now: int, depth: int) -> None:
        true(self, now, depth)
        self.saturated = False

    return rise


def lost_without_a_word(true: Method) -> Method:
    def tell(self: Graph, edge: Any, notice: Any) -> None:
        if isinstance(notice, Dropped):
            self._desk.announce(
                SignalName.DROP_NOTICE, emitters.BUFFERS, reason=notice.reason, edge_id=edge.id
            )
        else:
            true(self, edge, notice)

    return tell


def falls_unrisen(self: EdgeQueue, *args: Any) -> None:
    self.notices.append(Crossed(False, "low", len(self.items)))


# ---- waits -----------------------------------------------------------------------------------------------------------


def generated_is_not_busy(true: Method) -> Method:
    """A turn is done when its calls are, whatever waits to be sent."""
    return lambda self, turn: turn.injected and not self.work.book.turn_busy(turn.id)


def forgets_the_pause(self: TurnTaking, *args: Any) -> None:
    if self.caller is not Caller.PAUSING:
        return
    for name in ("state", "pause_min", "scores"):
        self.timers.pop(name, None)


# ---- fences, memory --------------------------------------------------------------------------------------------------


def fence_one_late(true: Method) -> Method:
    """One more frame goes out after the cancellation was accepted."""

    def fence(self: Egress, turn: Any, reason: str) -> None:
        late = next((e.queue.items[0] for e, sounds in self._lines if sounds and e.queue.items), None)
        true(self, turn, reason)
        if late is not None:
            self._desk.outbox.data(Send(late))

    return fence


def stops_without_stopping(true: Method) -> Method:
    def stop(self: Egress, turn: Any, reason: str) -> None:
        true(self, turn, reason)
        control = self._desk.outbox._control
        control[:] = [e for e in control if not isinstance(e, StopPlayback)]

    return stop


def believes_every_report(true: Method) -> Method:
    def reported(self: Egress, what: str, turn_id: str, heard_ms: int, epoch: Any) -> None:
        turn = self._owner.find_turn(turn_id)
        if turn is not None and what == "started":
            self._desk.announce(SignalName.PLAYBACK_STARTED, emitters.TRANSPORT, turn.scope)
        elif turn is not None and what == "accepted":
            self._desk.announce(SignalName.OUTPUT_ACCEPTED, emitters.TRANSPORT, turn.scope)
        else:
            true(self, what, turn_id, heard_ms, epoch)

    return reported


def speaks_late_chunks(true: Method) -> Method:
    def take_chunk(self: Call, now: int, attempt: int, sequence: int) -> Any:
        true(self, now, attempt, sequence)
        return None

    return take_chunk


def heard_is_sent(true: Method) -> Method:
    def heard_text(self: Playout, now: int) -> str:
        speeches = {segment.call_id: segment.speech for segment in self.segments}
        return " ".join(speech.text for speech in speeches.values()) + " and more"

    return heard_text


# ---- authority -------------------------------------------------------------------------------------------------------


def any_epoch_in(true: Method) -> Method:
    return lambda self, received: true(self, msgspec.structs.replace(received, epoch=None))


def believes_forged_epochs(self: Gateway, carried: int, *args: Any) -> None:
    if carried > self._authority.epoch:
        self._authority.epoch = carried
        self._desk.scope = msgspec.structs.replace(self._desk.scope, epoch=carried)


def issues_any_epoch(true: Method) -> Method:
    def issue(self: Authority, epoch: int, token: Any, expires_at: Any) -> bool:
        self.epoch = self.highest_seen = epoch
        return True

    return issue


# ---- plans, identity -------------------------------------------------------------------------------------------------


def replans_in_the_turn(self: Commands, *args: Any) -> None:
    turn = self._kernel.turn()
    if turn is not None:
        others = dict.fromkeys(turn.plan.provider_bindings, ("unplanned",))
        turn.plan = msgspec.structs.replace(turn.plan, provider_bindings=others)


def rehashed(true: Method) -> Method:
    def build(*args: Any) -> Any:
        plan = true(*args)
        return msgspec.structs.replace(plan, plan_hash="0" * 64) if hasattr(plan, "plan_hash") else plan

    return build


def same_number_again(self: Desk, *args: Any) -> None:
    self.sequence -= 1


def belongs_to_another(true: Method) -> Method:
    def announce(self: Desk, name: SignalName, by: str, scope: Any = None, **kwargs: Any) -> Any:
        if name is SignalName.SPEECH_STARTED:
            scope = msgspec.structs.replace(self.scope, tenant_id="somebody-else")
        return true(self, name, by, scope, **kwargs)

    return announce


# ---- levels, boundaries ----------------------------------------------------------------------------------------------


def skips_a_level(true: Method) -> Method:
    def pressed(self: RecordingLevels, now: int, fill: float, lag_ms: int) -> Any:
        change = true(self, now, fill, lag_ms)
        if change is None or change.old is not RecordingLevel.L2:
            return change
        self.level = RecordingLevel.L0
        return Change(RecordingLevel.L2, RecordingLevel.L0, change.trigger)

    return pressed


def falls_for_nothing(true: Method) -> Method:
    def pressed(self: RecordingLevels, now: int, fill: float, lag_ms: int) -> Any:
        change = true(self, now, fill, lag_ms)
        if change is None and self.level is not RecordingLevel.L0:
            return self._step(
                {"L2": RecordingLevel.L1, "L1": RecordingLevel.L0}[self.level.value], "queue_fill"
            )
        return change

    return pressed


def judges_quality(self: Prelude, text: Any) -> None:
    """A turn is ended because a transcript does not please."""
    if text.final and len(text.text) > 3:
        self._turns.condition(AbortReason.PROVIDER_FAILURE, "poor transcript")
    if self._turns.current is not None:
        self._turns.condition(AbortReason.PROVIDER_FAILURE, "poor transcript")
