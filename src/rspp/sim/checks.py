"""What only the world can see: whether somebody waits in vain, and whether what is remembered was really heard.

The kernel's own promises are checked from its inputs and effects by `kernel.invariants`. Here the truth comes from the
simulated client, recogniser and clock.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Signal
from rspp.kernel import effects as fx
from rspp.kernel.memory import conversation_in
from rspp.sim.faults import excused
from rspp.sim.providers import Providers
from rspp.sim.transports import Client, Playback
from rspp.sim.world import Seat, World

# After the voice ends: the longest pause, the wait for the final, the recogniser's own slowness, and some air.
ANSWER_MS: Final = 3_200
# A drain waits for the turn in hand and for its sound; when both are over it has nothing left to wait for.
DRAIN_IDLE_MS: Final = 3_500
DRAIN_LOOK_MS: Final = 250
ROTATION_SETTLES_MS: Final = 1_000
HOLD_SLACK_MS: Final = 300
QUEUE_SLACK_MS: Final = 100
# Any of these says what became of an utterance.
ANSWERS: Final = (
    "turn_open",
    "turn_confirmed",
    "overlap_decided",
    "reject",
    "defer",
    "deauthorized_drain",
    "backchannel",
    "transcript_amended",
)


class Checks:
    """The checkers that know the world."""

    def __init__(self, world: World, client: Client, providers: Providers) -> None:
        self.world = world
        self.client = client
        self.providers = providers
        self.voice_at = -1  # when the caller last began to make a sound
        self._answered_at = -1
        self._history: list[list[str]] = []
        self._subject: str | None = None
        self._remembered: dict[str, str] = {}
        self._aborted: dict[str, None] = {}
        self._turns: dict[str, int] = {}
        self._open: dict[int, int] = {}  # seat -> turns that are open
        self._rotated_at = 0
        self._waiting: dict[int, int] = {}  # seat -> since when an intent waits behind a turn
        self._draining: dict[int, None] = {}
        for signal in ANSWERS:
            world.when(signal, self._answered)
        world.when("turn_open", self._turn_open)
        world.when("session_state_changed", self._state_changed)
        world.when("close", self._about)
        world.when("memory_truncated", self._about)
        world.when("close", self._closed)
        world.when("abort", self._abort)
        world.when("stale_epoch_reject", self._stale)
        world.when("lease_rotated", self._rotated)
        world.when("playback_paused", self._held)
        world.when("intent_queued", self._queued)
        world.when("turn_open_proposed", self._proposed)

    # ---- nobody waits in vain ------------------------------------------------------------------------------------

    def expect_answer(self, text: str, took_ms: int) -> None:
        """Words are being spoken: when they have been, something must become of them."""
        ended_at = self.world.now + took_ms * NS_PER_MS
        self.world.after(took_ms + ANSWER_MS, self._expected, text, self.world.now, ended_at)

    def _answered(self, seat: Seat, effect: fx.Announce) -> None:
        self._answered_at = self.world.now
        signal = effect.event.payload
        if isinstance(signal, Signal) and signal.signal != "overlap_decided":
            self._waiting.pop(seat.number, None)

    def _expected(self, text: str, since: int, ended_at: int) -> None:
        world = self.world
        if self.voice_at >= ended_at:
            return  # the caller went on, and both together are one utterance
        line = self.client.line
        if self._answered_at >= since or excused(world.fired) or not world.seat.live:
            return
        if line is None or (line.up and not line.gone):
            world.seat.violated("no stuck turn", "utterance_is_answered", f"nothing became of {text!r}")

    def _held(self, seat: Seat, effect: fx.Announce) -> None:
        """A reply that was paused goes on or is stopped: it does not wait for ever."""
        decide_ms = seat.graph.policies.turn_taking.decide_ms_max
        turn_id = effect.event.scope.turn_id or ""
        self.world.after(decide_ms + HOLD_SLACK_MS, self._decided, seat, turn_id, self.world.now)

    def _decided(self, seat: Seat, turn_id: str, held_at: int) -> None:
        play, line = self.client.plays.get(turn_id), self.client.line
        if play is None or play.paused_at is None or play.stopped_at is not None:
            return
        if not seat.live or seat is not self.world.seat or play.seat != seat.number:
            return
        if play.paused_at - self.client.delay <= held_at and line is not None and line.up:
            held_ms = (self.world.now - held_at) // NS_PER_MS
            seat.violated("INV-07", "hold_is_decided", f"{turn_id} is silent since {held_ms} ms, undecided")

    def _queued(self, seat: Seat, effect: fx.Announce) -> None:
        self._waiting[seat.number] = self.world.now

    def _proposed(self, seat: Seat, effect: fx.Announce) -> None:
        self._waiting.pop(seat.number, None)  # a newer intent may take the place of the one that waits

    def _taken(self, seat: Seat, since: int) -> None:
        """What was queued behind a turn has its turn, or a refusal, when that one is over."""
        waiting = self._waiting.get(seat.number)
        if waiting is None or waiting > since or not seat.live or seat.number in self._draining:
            return
        if seat.kernel.egress.playing is not None:
            # What queues lets the caller hear the last answer out; how long that may take is judged elsewhere.
            self.world.after(QUEUE_SLACK_MS, self._taken, seat, since)
        else:
            seat.violated(
                "no stuck turn", "queued_intent_is_taken", "an intent waits behind a turn that is over"
            )

    def _state_changed(self, seat: Seat, effect: fx.Announce) -> None:
        signal = effect.event.payload
        if isinstance(signal, Signal) and (signal.detail or {}).get("to") == "DRAINING":
            self._draining[seat.number] = None
            limits = seat.graph.policies.limits
            self.world.after(limits.drain_ms_max + limits.close_ms_max + 500, self._ended, seat, "draining")
            self._watch_drain(seat, self.world.now)

    def _watch_drain(self, seat: Seat, busy_at: int) -> None:
        """A drain with nothing left to do ends; it does not sit out its deadline."""
        now = self.world.now
        if not seat.live or seat is not self.world.seat:
            return
        if self._open.get(seat.number) or self.client.audible():
            busy_at = now
        elif now - busy_at > DRAIN_IDLE_MS * NS_PER_MS:
            idle_ms = (now - busy_at) // NS_PER_MS
            seat.violated(
                "lifecycle", "idle_drain_ends", f"nothing is left to do for {idle_ms} ms, yet it drains on"
            )
            return
        self.world.after(DRAIN_LOOK_MS, self._watch_drain, seat, busy_at)

    # ---- the owner is not a stranger to itself -------------------------------------------------------------------

    def _rotated(self, seat: Seat, effect: fx.Announce) -> None:
        self._rotated_at = self.world.now

    def _stale(self, seat: Seat, effect: fx.Announce) -> None:
        """Long after a rotation the owner produces nothing under its old epoch any more."""
        signal = effect.event.payload
        detail = (signal.detail or {}) if isinstance(signal, Signal) else {}
        forged = any(armed.name == "forged_report" for armed in self.world.scenario.faults)
        settled = self.world.now - self._rotated_at > ROTATION_SETTLES_MS * NS_PER_MS
        if detail.get("side") == "egress" and self._rotated_at and settled and not forged:
            seat.violated(
                "INV-11", "owner_speaks_under_its_epoch", "the owner refused an output of its own as stale"
            )

    def expect_end(self, seat: Seat, within_ms: int) -> None:
        """The caller has left: the session must end."""
        self.world.after(within_ms, self._ended, seat, "the caller left")

    def _ended(self, seat: Seat, why: str) -> None:
        if seat.live:
            seat.violated("lifecycle", "session_ends", f"the session goes on long after {why}")

    def _turn_open(self, seat: Seat, effect: fx.Announce) -> None:
        """One turn id is one turn, also over kernels: reports and keys are told apart by it."""
        turn_id = effect.event.scope.turn_id or ""
        self._open[seat.number] = self._open.get(seat.number, 0) + 1
        another = self._turns.setdefault(turn_id, seat.number) != seat.number
        if another and seat.epoch == self.world.epoch:
            seat.violated("INV-13", "turn_id_is_one_turn", f"{turn_id} is a turn of the former owner already")

    def _closed(self, seat: Seat, effect: fx.Announce) -> None:
        self.world.after(QUEUE_SLACK_MS, self._taken, seat, self.world.now)
        self._open[seat.number] = self._open.get(seat.number, 0) - 1

    # ---- what is remembered was heard ----------------------------------------------------------------------------

    def _abort(self, seat: Seat, effect: fx.Announce) -> None:
        self._aborted[effect.event.scope.turn_id or ""] = None

    def _about(self, seat: Seat, effect: fx.Announce) -> None:
        self._subject = effect.event.scope.turn_id

    def saved(self, seat: Seat, effect: fx.SaveState) -> None:
        """The conversation was saved: its last words belong to the turn that was just closed, or cut."""
        saved = conversation_in({effect.key: effect.value}).get("history")
        if seat.epoch != self.world.epoch or not isinstance(saved, list):
            return
        history = [[str(role), str(text)] for role, text in saved]
        subject, self._subject = self._subject, None
        if subject is not None and subject in self.client.plays:
            grew = history[-1:] != self._history[-1:] and bool(history) and history[-1][0] == "assistant"
            self._remembered[subject] = history[-1][1] if grew else ""
        self._history = history

    def finish(self) -> None:
        """Of a turn that was cut, not a word more is remembered than the client has played."""
        if not self.world.knobs.reports and "slow_reader" in self.world.fired:
            return  # without reports nobody can know
        for turn_id, remembered in self._remembered.items():
            play = self.client.plays[turn_id]
            if remembered and (play.stopped_at is not None or turn_id in self._aborted):
                self._compare(turn_id, play, remembered)

    def _compare(self, turn_id: str, play: Playback, remembered: str) -> None:
        heard_ns = play.heard(1 << 62 if play.stopped_at is None else play.stopped_at)
        allowed = self._heard_characters(play, heard_ns)
        said = len(remembered.replace(" ", ""))
        # A millisecond's rounding is a character at most.
        if said > allowed + 1:
            self.world.seat.violated(
                "INV-10",
                "remembered_was_heard",
                f"{turn_id}: {said} characters are remembered, {allowed} were heard in {heard_ns // NS_PER_MS} ms: {remembered!r}",
            )

    def _heard_characters(self, play: Playback, heard_ns: int) -> int:
        """How many characters, blanks left out, the audio that sounded has spoken."""
        total = 0
        for call_id, sent_ns in play.segments:
            into = min(heard_ns, sent_ns)
            heard_ns -= into
            text = self.providers.texts.get(call_id, "").strip()
            whole = self.providers.audio_ns.get(call_id, 1)
            spoken = text[: -(-len(text) * into // whole)] if into < whole else text
            total += len(spoken.replace(" ", ""))
        return total
