"""INV-09 to INV-11, and INV-10's memory: what leaves, under whose authority, what stops it, what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rspp.contract.event import NS_PER_MS, Audio, Event, Signal, Text
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.invariants.view import CallSeen, SegmentSeen, TurnSeen, View
from rspp.kernel.memory import conversation_in

FASTEST_CHARACTERS_PER_SECOND: Final = 20
FORGED_MAX: Final = 512
# A host's timer keeps whole milliseconds: what is due is done a little later, on the input that wakes the kernel.
WAKE_LATE_NS: Final = 2 * NS_PER_MS


class OutputChecks:
    """What goes to the caller, from outside."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._forged: dict[int, Audio] = {}
        self._just_cancelled: list[TurnSeen] = []
        self._remembered: TurnSeen | None = None
        self._moving_to: int | None = None
        resumed = view.request.resume
        known = conversation_in(resumed.values).get("history") if resumed else None
        self._history: list[object] = list(known) if isinstance(known, (list, tuple)) else []
        self.on_input: Mapping[type, Callable[..., None]] = {
            i.AudioReceived: self._audio_in,
            i.LeaseChanged: self._lease,
            i.MigrationChanged: self._migration,
            i.CallProduced: self._produced,
            i.CallFinished: self._finished,
            i.CallCancelled: self._acked,
            i.CallFailed: self._acked,
            i.DeliveryReported: self._reported,
        }
        self.on_effect: Mapping[type, Callable[..., None]] = {
            fx.Send: self._send,
            fx.Feed: self._feed,
            fx.Invoke: self._invoke,
            fx.CancelCall: self._cancel_call,
            fx.KillCall: self._killed,
            fx.StopPlayback: self._stop,
            fx.SaveState: self._save,
        }
        self.on_signal: Mapping[str, Callable[[Event, Signal], None]] = {
            "cancel": self._cancelled,
            "call_ended": self._call_ended,
            "output_accepted": self._accepted,
            "playback_started": self._accepted,
            "playback_completed": self._completed,
            "playback_cancelled": self._playback_cancelled,
            "commit": self._settled,
            "abort": self._settled,
            "lease_rotated": self._rotated,
        }
        self.causes: Callable[[str], None] = lambda cause: None

    # ---- authority -----------------------------------------------------------------------------------------------

    def _lease(self, change: i.LeaseChanged) -> None:
        view = self._view
        if change.change in ("issued", "rotated") and change.epoch > view.epoch:
            view.epoch, view.revoked = change.epoch, False
            view.expires_at = change.expires_at if change.expires_at is not None else view.expires_at
            self.causes("rotated")
        elif change.change in ("issued", "rotated") and change.epoch == view.epoch and view.held():
            view.expires_at = change.expires_at if change.expires_at is not None else view.expires_at
        elif change.change == "renewed" and change.epoch == view.epoch and not view.revoked:
            view.expires_at = max(view.expires_at, change.expires_at or 0)
        elif change.change == "revoked" and change.epoch == view.epoch:
            view.revoked = True
            self.causes("revoked")

    def _migration(self, change: i.MigrationChanged) -> None:
        """Only the end of a move that was begun, and of that one, takes authority away."""
        if change.epoch < self._view.epoch:
            return
        if change.phase == "start" and self._moving_to is None:
            self._moving_to = change.epoch
        elif change.epoch != self._moving_to:
            return
        elif change.phase == "failed":
            self._moving_to = None
        elif change.phase == "finish":
            self._moving_to = None
            self._view.revoked = True
            self.causes("migrated")

    def _rotated(self, event: Event, signal: Signal) -> None:
        if event.scope.epoch != self._view.epoch:
            self._view.blame(
                "INV-11", "rotation_issued", f"rotated to epoch {event.scope.epoch}, which nobody issued"
            )

    def _audio_in(self, received: i.AudioReceived) -> None:
        if received.epoch is not None and received.epoch != self._view.epoch:
            self._forged[received.transport_sequence] = received.audio
            if len(self._forged) > FORGED_MAX:
                del self._forged[next(iter(self._forged))]
        elif self._forged:
            self._forged.pop(received.transport_sequence, None)

    def _feed(self, effect: fx.Feed) -> None:
        # A true frame may carry the same number, and may have been held: it is the very frame that must not pass.
        number = effect.event.transport_sequence
        if self._forged and number is not None and self._forged.get(number) is effect.event.payload:
            self._view.blame("INV-11", "stale_ingress", f"a frame of a wrong epoch reached {effect.call_id}")
        call = self._view.calls.get(effect.call_id)
        if call is None or call.ended or call.cancel_sent_at is not None:
            self._view.blame("INV-09", "feed_of_live_call", f"{effect.call_id} was fed after its end")

    # ---- sending -------------------------------------------------------------------------------------------------

    def _send(self, effect: fx.Send) -> None:
        view, event = self._view, effect.event
        scope = event.scope
        if scope.epoch != view.epoch or not view.held():
            view.blame("INV-11", "stale_egress", f"output {event.sequence} left under epoch {scope.epoch}")
        if scope.turn_id is None:
            return
        turn = view.turns.get(scope.turn_id)
        if turn is None or not turn.opened:
            view.blame("INV-02", "output_in_turn", f"output {event.sequence} of a turn that is not open")
            return
        if turn.terminal is not None:
            view.blame(
                "INV-02", "output_before_terminal", f"output {event.sequence} of {turn.id} after its terminal"
            )
        if turn.cancelled or turn.playback_cancelled:
            view.blame(
                "INV-10", "output_before_fence", f"output {event.sequence} of {turn.id} after its fence"
            )
        payload = event.payload
        if isinstance(payload, Audio) and payload.samples:
            self._sent(turn, payload, event.invocation_id or "")

    def _sent(self, turn: TurnSeen, audio: Audio, call_id: str) -> None:
        if not turn.segments or turn.segments[-1].call.id != call_id:
            call = self._view.calls.get(call_id) or CallSeen(call_id, "", turn.id, "")
            turn.segments = [*turn.segments, SegmentSeen(call, turn.sent_us)]
        if not turn.sent_us:
            turn.first_sent_at = self._view.now
        length = audio.samples * 1_000_000 // audio.rate
        turn.sent_us += length
        turn.segments[-1].sent_us += length

    def _reported(self, report: i.DeliveryReported) -> None:
        turn = self._view.turns.get(report.turn_id)
        if turn is not None and report.what in ("position", "completed") and not turn.playback_cancelled:
            turn.heard_of_at = self._view.now
            turn.heard_us = max(turn.heard_us, min(report.heard_ms * 1000, turn.sent_us))

    def _accepted(self, event: Event, signal: Signal) -> None:
        turn = self._view.turns.get(event.scope.turn_id or "")
        if turn is not None and (turn.cancelled or turn.playback_cancelled):
            self._view.blame(
                "INV-10", "accepted_after_fence", f"{signal.signal} of {turn.id} after its fence"
            )

    def _completed(self, event: Event, signal: Signal) -> None:
        turn = self._view.turns.get(event.scope.turn_id or "")
        if turn is not None:
            turn.completed = True

    def _playback_cancelled(self, event: Event, signal: Signal) -> None:
        turn = self._view.turns.get(event.scope.turn_id or "")
        if turn is None:
            return
        turn.playback_cancelled = True
        heard = (signal.detail or {}).get("heard_ms")
        if isinstance(heard, int) and heard * 1000 > turn.sent_us + 1000:
            self._view.blame(
                "INV-10", "heard_within_sent", f"{turn.id}: {heard} ms heard, {turn.sent_us // 1000} sent"
            )
        if not self._view.request.reports_playback and isinstance(heard, int):
            turn.heard_us = heard * 1000

    def _stop(self, effect: fx.StopPlayback) -> None:
        turn = self._view.turns.get(effect.turn_id)
        if turn is not None:
            turn.stopped = True

    # ---- cancelling ----------------------------------------------------------------------------------------------

    def _invoke(self, effect: fx.Invoke) -> None:
        call = self._view.calls.get(effect.call_id)
        if call is None:
            text = (
                effect.event.payload.text if effect.event and isinstance(effect.event.payload, Text) else ""
            )
            call = CallSeen(effect.call_id, effect.node_id, effect.turn_id, effect.modality, text=text)
            self._view.calls[effect.call_id] = call
        call.attempt, call.next_sequence = effect.attempt, 0
        call.cancel_sent_at = None  # that was another attempt's
        call.waiting_since = self._view.now

    def _cancel_call(self, effect: fx.CancelCall) -> None:
        call = self._view.calls.get(effect.call_id)
        # A cancel for a time-out ends one attempt; the call itself may go on with another.
        if call is None:
            return
        if effect.reason.value == "timeout":
            call.timed_out_at = self._view.now
        else:
            call.cancel_sent_at = self._view.now

    def _acked(self, received: i.CallCancelled | i.CallFailed) -> None:
        call = self._view.calls.get(received.call_id)
        if call is not None and call.cancel_sent_at is not None and received.attempt == call.attempt:
            call.ended = True

    def _killed(self, effect: fx.KillCall) -> None:
        call = self._view.calls.get(effect.call_id)
        # Killing an attempt that timed out leaves the attempt that followed it alone.
        if call is not None and effect.attempt == call.attempt and call.cancel_sent_at is not None:
            call.ended = True

    def _call_ended(self, event: Event, signal: Signal) -> None:
        call = self._view.calls.get(event.invocation_id or "")
        if call is not None:
            call.ended = True

    def _cancelled(self, event: Event, signal: Signal) -> None:
        turn = self._view.turns.get(event.scope.turn_id or "")
        if turn is not None:
            self._just_cancelled.append(turn)

    def batch_over(self) -> None:
        """Everything that one input caused has been seen: did the cancellation reach everybody in it?"""
        if not self._just_cancelled:
            return
        view = self._view
        for turn in self._just_cancelled:
            for call in view.calls.values():
                told = call.cancel_sent_at is not None or call.timed_out_at == view.now
                if call.turn_id == turn.id and not call.ended and not told:
                    view.blame(
                        "INV-09",
                        "cancel_reaches_calls",
                        f"{call.id} was not told that {turn.id} is cancelled",
                    )
            if turn.sent_us and not turn.completed and not turn.stopped:
                view.blame(
                    "INV-09", "cancel_stops_playback", f"{turn.id} was cancelled, its playback not stopped"
                )
        self._just_cancelled.clear()

    def watch(self) -> None:
        """What was asked to stop has stopped, or was made to."""
        view = self._view
        grace = view.graph.policies.calls.cancel_grace_ms * NS_PER_MS + WAKE_LATE_NS
        gone = []
        for call in view.calls.values():
            if call.ended:
                # Audio of the open turn may still be waiting to leave: what it says must be known then.
                if view.open_turn is None or call.turn_id != view.open_turn.id:
                    gone.append(call.id)
            elif (
                call.cancel_sent_at is not None and view.now > call.cancel_sent_at + grace and not view.ended
            ):
                view.blame(
                    "INV-09", "grace_is_over", f"{call.id} was neither stopped nor killed in its grace"
                )
                call.ended = True
        for call_id in gone[:-64]:
            del view.calls[call_id]

    # ---- memory --------------------------------------------------------------------------------------------------

    def _produced(self, received: i.CallProduced) -> None:
        call = self._view.calls.get(received.call_id)
        if call is None or received.attempt != call.attempt:
            return
        call.waiting_since = self._view.now
        call.fresh = received.sequence >= call.next_sequence
        call.next_sequence = max(call.next_sequence, received.sequence + 1)
        if call.fresh and isinstance(received.payload, Audio):
            call.produced_us += received.payload.samples * 1_000_000 // max(1, received.payload.rate)

    def _finished(self, received: i.CallFinished) -> None:
        call = self._view.calls.get(received.call_id)
        if call is not None and received.attempt == call.attempt:
            call.finished = True
            if call.cancel_sent_at is not None:
                call.ended = True

    def _settled(self, event: Event, signal: Signal) -> None:
        self._remembered = self._view.turns.get(event.scope.turn_id or "")

    def _save(self, effect: fx.SaveState) -> None:
        view = self._view
        if effect.epoch != view.epoch:
            view.blame("INV-11", "state_epoch", f"state {effect.key!r} was saved under epoch {effect.epoch}")
        history, turn = conversation_in({effect.key: effect.value}).get("history"), self._remembered
        if not isinstance(history, (list, tuple)):
            return
        added, self._history = list(history) != self._history, list(history)
        if turn is None or turn.terminal != "abort" or not turn.sent_us or not added:
            return
        if not history or history[-1][0] != "assistant":
            return
        allowed = self._heard_characters(turn)
        text = str(history[-1][1])
        said = sum(len(segment.call.text) for segment in turn.segments)
        if said and len(text) > allowed:
            view.blame(
                "INV-10",
                "remembers_what_was_heard",
                f"{turn.id}: {len(text)} characters kept, {allowed} heard",
            )
        self._remembered = None

    def _heard_characters(self, turn: TurnSeen) -> int:
        """How many characters the heard audio can have spoken."""
        allowed, view = 0, self._view
        unheard_of = turn.heard_of_at is None and turn.sent_us > 0
        if (
            unheard_of
            and view.now - turn.first_sent_at >= view.graph.policies.playout.report_ms_max * NS_PER_MS
        ):
            # A client that never reports is believed to play what it is sent.
            turn.heard_us = max(turn.heard_us, min(turn.sent_us, (view.now - turn.first_sent_at) // 1000))
        for segment in turn.segments:
            into, call = min(turn.heard_us - segment.start_us, segment.sent_us) // 1000 + 1, segment.call
            if into <= 1:
                continue
            total = call.produced_us // 1000
            if not call.finished:
                total = max(total, len(call.text) * 1000 // FASTEST_CHARACTERS_PER_SECOND)
            allowed += 1 + (len(call.text) if into >= total else len(call.text) * into // total)
        return allowed
