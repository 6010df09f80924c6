"""The models that listen: they learn from the caller what was said and tell the kernel, late, in pieces, or not at all.

They are opened as calls of the session. What they say goes to every kernel that has opened them, so that in a failover
both hear the same caller.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Text
from rspp.contract.words import OutcomeClass
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.sim.world import Seat, World

MODALITIES: Final = ("stt", "vad", "end_of_turn")
SLOW_ACCEPT_MS: Final = 1_100
WORDS_A_PARTIAL: Final = 2
OTHER_WORDS: Final = "i mean tomorrow"


class Stream:
    """One open listening call of one kernel."""

    __slots__ = ("attempt", "call_id", "open", "seat", "sequence")

    def __init__(self, seat: Seat, call_id: str, attempt: int) -> None:
        self.seat = seat
        self.call_id = call_id
        self.attempt = attempt
        self.open = False
        self.sequence = 0


class Listeners:
    """Recognition, voice activity and end of turn."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.scoring = False
        self._streams: dict[tuple[int, str], Stream] = {}
        self._words: list[str] = []  # recognised, and in no final yet
        self._segment = self._revision = 0
        self._slow: list[str] = []
        self._mute_until = dict.fromkeys(MODALITIES, 0)
        self._late_final = False
        self._pressed: dict[str, str] = {}
        world.react(fx.EndFeed, self._end_feed)
        for signal in ("drop_notice", "watermark", "discontinuity"):
            world.when(signal, self._edge_said)

    def arm(self, name: str) -> None:
        world = self.world
        if name == "listener_slow":
            self._slow.append("stt")
            self._pressed["drop_notice"] = name
        elif name == "sync_cut":
            self._slow.append("stt")
            self._pressed["discontinuity"] = name
        elif name == "stt_late_final":
            self._late_final = True
        elif name.endswith("_mute"):
            modality = name.removesuffix("_mute")
            self._mute_until[modality] = world.now + (3_000 if modality == "stt" else 1_500) * NS_PER_MS
            self._refresh()
            world.at(self._mute_until[modality], self._refresh)
            world.fire(name)
        else:
            self._break(name)

    def _break(self, name: str) -> None:
        modality = name.removesuffix("_fails")
        for stream in list(self._streams.values()):
            if stream.open and self._streams.get((stream.seat.number, modality)) is stream:
                stream.open = False
                self._refresh()
                self.world.fire(name)
                stream.seat.give(
                    i.CallFailed(
                        stream.call_id, stream.attempt, OutcomeClass.INFRASTRUCTURE_FAILURE, "stream_broken"
                    )
                )

    def _edge_said(self, seat: Seat, effect: fx.Announce) -> None:
        """A slow listener counts as pressure only when an edge really gave way to it."""
        signal = effect.event.payload
        name = self._pressed.pop(signal.signal, None) if hasattr(signal, "signal") else None
        if name is not None:
            self.world.fire(name)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def invoked(self, seat: Seat, call: fx.Invoke) -> None:
        """A kernel opens its stream; a slow listener lets it wait."""
        stream = Stream(seat, call.call_id, call.attempt)
        self._streams[seat.number, call.modality] = stream
        delay = 15
        if call.modality in self._slow:
            self._slow.remove(call.modality)
            delay = SLOW_ACCEPT_MS - 200
        self.world.after(delay, self._accept, stream)

    def _accept(self, stream: Stream) -> None:
        stream.open = True
        self._refresh()
        stream.seat.give(i.CallAccepted(stream.call_id, stream.attempt))

    def cancelled(self, seat: Seat, call_id: str, attempt: int) -> bool:
        """Stop listening for a kernel; says whether the call was one of these."""
        for key, stream in self._streams.items():
            if stream.seat is seat and stream.call_id == call_id:
                stream.open = False
                del self._streams[key]
                self._refresh()
                self.world.after(10, seat.give, i.CallCancelled(call_id, attempt))
                return True
        return False

    def _refresh(self) -> None:
        """Does anybody score speech now? The caller's tick asks fifty times a second."""
        self.scoring = self._any_open("vad") and self.world.now >= self._mute_until["vad"]

    def _any_open(self, modality: str) -> bool:
        return any(
            key[1] == modality and stream.open and stream.seat.attached
            for key, stream in self._streams.items()
        )

    # ---- what is heard -------------------------------------------------------------------------------------------

    def hears(self, text: str, voiced_ms: int) -> None:
        """These words are being spoken from now on, evenly."""
        words = text.split()
        latency = self.world.knobs.stt_partial_ms
        for count in range(WORDS_A_PARTIAL, len(words) + WORDS_A_PARTIAL, WORDS_A_PARTIAL):
            part = words[count - WORDS_A_PARTIAL : count]
            spoken_ms = voiced_ms * min(count, len(words)) // max(1, len(words))
            self.world.after(spoken_ms + latency, self._partial, part)

    def _partial(self, words: list[str]) -> None:
        if self._deaf():
            return
        self._words += words
        self._say(Text(" ".join(self._words), self._segment, self._next_revision(), role="user"))

    def _deaf(self) -> bool:
        return not self._any_open("stt") or self.world.now < self._mute_until["stt"]

    def _next_revision(self) -> int:
        self._revision += 1
        return self._revision

    def voice_ended(self, last: bool) -> None:
        """A recogniser that finds the ends of sentences by itself sends its final without being asked."""
        knobs = self.world.knobs
        if knobs.stt_endpoints and last:
            self.world.after(knobs.stt_partial_ms + knobs.stt_final_ms, self._final)

    def score_end(self, probability: float) -> None:
        if self._any_open("end_of_turn"):
            self.world.give(i.EndOfTurnScored(probability))

    def _end_feed(self, seat: Seat, effect: fx.EndFeed) -> None:
        """The kernel asks for the final of what was heard so far."""
        stream = self._streams.get((seat.number, "stt"))
        if stream is None or stream.call_id != effect.call_id or not stream.open:
            return
        knobs = self.world.knobs
        # Words still being recognised belong to what is asked for.
        self.world.after(max(knobs.stt_final_ms, knobs.stt_partial_ms + 20), self._final)

    def _final(self) -> None:
        if self._deaf() or not self._words:
            return
        text, self._words = " ".join(self._words), []
        if self._late_final:
            self._late_final = False
            self.world.fire("stt_late_final")
            self.world.after(900, self._say_final, f"{text} {OTHER_WORDS}")
            return
        self._say_final(text)

    def _say_final(self, text: str) -> None:
        self._say(Text(text, self._segment, self._next_revision(), final=True, role="user"))
        self._segment += 1

    def _say(self, text: Text) -> None:
        for stream in list(self._streams.values()):
            if stream.open and stream.seat.attached and "/stt" in stream.call_id:
                sequence = stream.sequence
                stream.sequence += 1
                stream.seat.give(i.CallProduced(stream.call_id, stream.attempt, sequence, text))
