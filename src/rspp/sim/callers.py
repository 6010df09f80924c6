"""A scripted caller: every 20 ms a frame and its score; words for the recogniser; and all the other things people do.

The tick is the hot path and knows nothing but whether there is voice now. Everything else is a few events an act.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Audio
from rspp.contract.words import CancelScope
from rspp.kernel import inputs as i
from rspp.sim.checks import Checks
from rspp.sim.listeners import Listeners
from rspp.sim.script import Act, Phrase
from rspp.sim.transports import FRAME_NS, Client, Line, Uplink
from rspp.sim.world import World

# One frame's worth of samples, shared by all: what they hold does not matter to anybody here.
FRAME: Final = bytes(640)
SAMPLES: Final = 320
VOICE: Final = tuple(i.SpeechScored(p) for p in (0.97, 0.93, 0.88, 0.95))
HUSH: Final = tuple(i.SpeechScored(p) for p in (0.02, 0.05, 0.01, 0.12))
LOOK_MS: Final = 40
PATIENCE_MS: Final = 3_000  # so long the caller waits for an answer before going on
END_SCORE_MS: Final = 220  # the end-of-turn model needs this much silence to judge


class Caller:
    """The person on the line."""

    def __init__(
        self, world: World, uplink: Uplink, line: Line, client: Client, listeners: Listeners, checks: Checks
    ) -> None:
        self.world = world
        self.uplink = uplink
        self.line = line
        self.client = client
        self.listeners = listeners
        self.checks = checks
        self.script = list(world.scenario.script)
        self.voicing = False
        self.frames = 0
        self.left_at: int | None = None
        self._index = 0
        self._control = 0
        self._act: Act | None = None
        self._give_up_at = 0
        self._free_at = 0
        self._heard_reply = True  # nothing is owed to the first act
        self._sounding = False

    def begin(self) -> None:
        """Connect, start sending frames, and begin the script."""
        self.world.after(20, self.line.connect)
        self.world.after(40, self.tick)
        self.world.after(300, self._next)
        self.world.after(self.world.scenario.seconds * 1000, self.leave)

    # ---- the hot path --------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Twenty milliseconds of the caller's line."""
        world, line = self.world, self.line
        if line.gone or self.left_at is not None:
            return
        index = self._index
        self._index = index + 1
        if line.up:
            self.frames += 1
            frame = i.AudioReceived(Audio(FRAME, SAMPLES, index * SAMPLES), index)
            if self.uplink.straight:
                world.give(frame)
            else:
                self.uplink.carry(frame)
            if self.listeners.scoring:
                world.give((VOICE if self.voicing else HUSH)[index & 3])
        if not index & 1:
            self._listen()
        if not index % 50:
            for seat in world.seats:
                seat.check_bounds()
        world.at(world.now + FRAME_NS, self.tick)

    def _listen(self) -> None:
        """Keep track of when the assistant is to be heard."""
        sounding = self.client.audible()
        if sounding is not self._sounding:
            self._sounding = sounding
            if sounding:
                self.client.speaking_since = self.world.now
                self._heard_reply = True
            else:
                self.client.quiet_since = self.world.now

    # ---- the script ----------------------------------------------------------------------------------------------

    def _next(self) -> None:
        if not self.script or self.left_at is not None:
            return
        self._act = self.script.pop(0)
        self._give_up_at = self.world.now + PATIENCE_MS * NS_PER_MS
        self._look()

    def _look(self) -> None:
        """Has this act's moment come?"""
        act, now = self._act, self.world.now
        if act is None or self.left_at is not None:
            return
        if self._is_moment(act, now):
            self._act = None
            getattr(self, f"_{act.kind}")(act)
        elif act.after == "speech" and now >= self._give_up_at:
            self._next()  # there was nothing to talk over
        else:
            self.world.after(LOOK_MS, self._look)

    def _is_moment(self, act: Act, now: int) -> bool:
        wait = act.wait_ms * NS_PER_MS
        if act.after == "speech":
            return self._sounding and now - self.client.speaking_since >= wait
        if act.after == "now":
            return now - self._free_at >= wait
        if self._sounding or now - max(self.client.quiet_since, self._free_at) < wait:
            return False
        return self._heard_reply or now >= self._give_up_at

    def _done(self) -> None:
        self._free_at = self.world.now
        self._heard_reply = False
        self.world.after(LOOK_MS, self._next)

    # ---- voice ---------------------------------------------------------------------------------------------------

    def _speak(self, phrases: tuple[Phrase, ...]) -> int:
        """Have the phrases spoken from now on; returns how long that takes."""
        at_ms = 0
        for phrase in phrases:
            last = phrase is phrases[-1]
            self.world.after(at_ms, self._voice, phrase)
            self.world.after(at_ms + phrase.voiced_ms, self._hush, last)
            pause = phrase.pause_ms if not last else 600
            for delay in range(END_SCORE_MS, pause, 200):
                self.world.after(at_ms + phrase.voiced_ms + delay, self._score_end, phrase.end)
            at_ms += phrase.voiced_ms + phrase.pause_ms
        return at_ms

    def _voice(self, phrase: Phrase) -> None:
        self.voicing = True
        self.checks.voice_at = self.world.now
        self.listeners.hears(phrase.text, phrase.voiced_ms)

    def _hush(self, last: bool) -> None:
        self.voicing = False
        self.listeners.voice_ended(last)

    def _score_end(self, probability: float) -> None:
        if not self.voicing:
            self.listeners.score_end(probability)

    def _talk(self, act: Act) -> None:
        took = self._speak(act.phrases)
        text = " ".join(phrase.text for phrase in act.phrases if phrase.text)
        if text:
            self.checks.expect_answer(text, took)
        self.world.after(took, self._done)

    _talk_over = _pause = _backchannel = _cough = _cough_over = _mumble = _talk

    def _end_of_utterance(self, act: Act) -> None:
        """Speak, and have the client say that this was all."""
        took = self._speak(act.phrases)
        self.world.after(took + 60, self._signal, "end_of_utterance")
        self.world.after(took + 80, self._done)

    def _push_to_talk(self, act: Act) -> None:
        self._signal("talk_pressed")
        took = self._speak(act.phrases)
        self.world.after(took + 40, self._signal, "talk_released")
        self.world.after(took + 60, self._done)

    # ---- everything else -----------------------------------------------------------------------------------------

    def _signal(self, name: str, scope: CancelScope | None = None, value: str | None = None) -> None:
        if self.line.up:
            self._control += 1
            self.world.give(i.ControlReceived(name, self._control, scope=scope, value=value))

    def _digits(self, act: Act) -> None:
        for number, digit in enumerate(act.text):
            self.world.after(220 * number, self._key, digit)
        if act.ms:
            self.world.after(220 * len(act.text), self._key, "#")
        self.world.after(220 * (len(act.text) + 1), self._done)

    def _key(self, digit: str) -> None:
        self._signal("digit", value=digit)

    def type(self, text: str, key: str | None = None) -> None:
        if self.line.up:
            self._control += 1
            self.world.give(i.TextReceived(text, self._control, idempotency_key=key))

    def _type(self, act: Act) -> None:
        self.type(act.text)
        self._done()

    def _type_twice(self, act: Act) -> None:
        """A client that is not sure whether its message arrived sends it again, with the same key."""
        key = f"message-{self._control}"
        self.type(act.text, key)
        self.world.after(150, self.type, act.text, key)
        self.world.after(200, self._done)

    def _cancel(self, act: Act) -> None:
        self._signal("cancel", CancelScope.TURN)
        self._done()

    def _stop(self, act: Act) -> None:
        self._signal("stop")
        self._done()

    def _barge_in_signal(self, act: Act) -> None:
        self._signal("barge_in")
        self._done()

    def _long_silence(self, act: Act) -> None:
        self.world.after(act.ms, self._done)

    def _nonsense(self, act: Act) -> None:
        """What a broken client sends: unknown kinds and signals, audio of no known rate, bytes that are nothing."""
        world = self.world
        if self.line.up:
            self._control += 1
            world.give(i.UnknownReceived("vendor.mood", self._control))
            world.give(i.MalformedReceived("truncated", "payload", "the message ends too early"))
            world.give(i.AudioReceived(Audio(FRAME, SAMPLES, 0, rate=11_025), self._index))
            self._signal("make_coffee")
            self._signal("digit", value="x")
        self._done()

    def leave(self) -> None:
        """The script is over, whatever is left of it."""
        if self.left_at is None:
            self.left_at = self.world.now
            self.voicing = False
            self.line.hang_up(self.world.knobs.hangs_up)
