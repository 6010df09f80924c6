"""One loopback caller: a frame every 20 ms, a loudspeaker, and reports of what it played. It is the `Line` of its session.

A frame is handed in at the end of the 20 ms that it holds, as a microphone would, whether or not the caller speaks. Frames
that are late because the loop was busy follow at once, none is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rspp.adapters.transports.loopback.script import (
    FRAME_BYTES,
    FRAME_MS,
    FRAME_SAMPLES,
    RATE,
    HangUp,
    Press,
    Say,
    Step,
    UntilAnswered,
    UntilHeard,
    Wait,
    Write,
)
from rspp.adapters.transports.loopback.speaker import TIMELINE_MS_MAX, Reports, Speaker
from rspp.contract.event import Audio, Event, Signal
from rspp.contract.signals import SignalName
from rspp.contract.words import Codec, ConnectionState
from rspp.host.ports import Clock, Seat
from rspp.kernel import inputs as i

NS_PER_MS: Final = 1_000_000
FRAME_NS: Final = FRAME_MS * NS_PER_MS
REPORT_FRAMES: Final = 5  # 100 ms
SILENCE: Final = bytes(FRAME_BYTES)
TRACK_BYTES_MAX: Final = TIMELINE_MS_MAX * RATE // 1000 * 2
# Signals after which it is not quiet yet.
LIVELY: Final = frozenset(
    name.value
    for name in (
        SignalName.SPEECH_STARTED,
        SignalName.SPEECH_STOPPED,
        SignalName.END_OF_UTTERANCE,
        SignalName.TURN_OPEN,
        SignalName.CLOSE,
        SignalName.PLAYBACK_COMPLETED,
    )
)


class CallerOutcome(msgspec.Struct, frozen=True):
    """How a call went, as the caller knows it."""

    session_id: str
    reason: str  # why the line was closed
    frames: int
    lost: int  # frames and reports that the session had no room for
    unheard: tuple[str, ...]  # steps that waited for an answer that did not come
    gave_up: bool  # a deadline passed before the answer was over


def _deaf(event: Event) -> None: ...


class Caller:
    """Does what its script says, and listens. `ear` is told each event that comes, before it is played."""

    def __init__(
        self,
        steps: Sequence[Step],
        clock: Clock,
        *,
        name: str = "caller",
        ear: Callable[[Event], None] = _deaf,
    ) -> None:
        self.name = name
        self._ear = ear
        self.speech_ns: list[int] = []  # when each frame of speech was handed in; bounded: with the track
        self.track = bytearray()  # what was said, bounded: by TRACK_BYTES_MAX
        self.closed: asyncio.Event = asyncio.Event()
        self.close_reason = ""
        self.frames = self.lost = 0
        self.unheard: list[str] = []  # bounded: by the script
        self.gave_up = False
        self._clock = clock
        self._steps = [*steps, HangUp()]
        self._step = -1
        self._since = 0  # when the step began
        self._frame = 0  # of what is being said
        self._words = 0  # typed and pressed so far
        self._turns_open: set[str] = set()
        self._answers = 0  # turns closed since something was said last
        self._heard_before = 0  # played samples of all turns when something was said last
        self._listened = False  # the session hears somebody speak
        self._lively_at = 0
        self._spoke_at = 0

    # ---- the line ------------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        if self.closed.is_set():
            return
        self._ear(event)
        audio = event.payload
        turn_id = event.scope.turn_id or ""
        if not isinstance(audio, Audio):
            return
        now = self._clock.now()
        if audio.end:
            self.speaker.end(now, turn_id)
        elif audio.codec is not Codec.PCM16 or audio.channels != 1:
            self.lost += 1
        else:
            first = turn_id not in self.speaker.turns
            self.speaker.play(now, turn_id, audio.data, audio.rate)
            if first:
                self._report("accepted", turn_id)

    def announce(self, event: Event) -> None:
        if self.closed.is_set():
            return
        self._ear(event)
        signal, turn_id = event.payload, event.scope.turn_id or ""
        if not isinstance(signal, Signal):
            return
        if signal.signal in LIVELY:
            self._lively_at = self._clock.now()
        if signal.signal == SignalName.TURN_OPEN:
            self._turns_open.add(turn_id)
        elif signal.signal == SignalName.CLOSE:
            self._turns_open.discard(turn_id)
            self._answers += 1
        elif signal.signal == SignalName.TURN_SUPERSEDED:
            self._answers -= 1  # its close will follow, and answers nothing
        elif signal.signal in (SignalName.SPEECH_STARTED, SignalName.SPEECH_STOPPED):
            self._listened = signal.signal == SignalName.SPEECH_STARTED

    def pause(self, turn_id: str) -> None:
        self.speaker.pause(self._clock.now())
        self.reports.position(turn_id)

    def resume(self, turn_id: str) -> None:
        self.speaker.resume(self._clock.now())

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.speaker.stop(self._clock.now(), turn_id, keep_ms)
        self.reports.position(turn_id)

    def close(self, reason: str) -> None:
        self.close_reason = self.close_reason or reason
        self.closed.set()

    # ---- the call ------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """Hang up now, whatever the script still had to say."""
        self._step = len(self._steps) - 1

    def next(self, *steps: Step) -> None:
        """Break off what is being done, do this, and then go on with the script."""
        self._steps[self._step + 1 : self._step + 1] = steps
        if self._step >= 0:
            self._next_step(self._clock.now())

    async def run(self, seat: Seat) -> CallerOutcome:
        """The whole call, from the first frame to the line's end."""
        self._seat = seat
        self.start_ns = self._clock.now()
        self.speaker = Speaker(self.start_ns)
        self.reports = Reports(self.speaker, self._report)
        seat.ingest(i.ConnectionChanged(ConnectionState.CONNECTED))
        self._next_step(self.start_ns)
        while not self.closed.is_set() and not isinstance(self._current, HangUp):
            await self._sleep_until(self.start_ns + (self.frames + 1) * FRAME_NS)
            self._tick(self._clock.now())
        await self._hang_up()
        return CallerOutcome(
            seat.session_id, self.close_reason, self.frames, self.lost, tuple(self.unheard), self.gave_up
        )

    async def _hang_up(self) -> None:
        limits = self._seat.graph.policies.limits
        if not self.closed.is_set():
            self._seat.ingest(i.ConnectionChanged(ConnectionState.ENDED))
            try:
                async with asyncio.timeout((limits.drain_ms_max + limits.close_ms_max) / 1000 + 1):
                    await self.closed.wait()
            except TimeoutError:
                self.close_reason = "session_did_not_close"
        self.speaker.advance(self._clock.now())

    async def _sleep_until(self, at: int) -> None:
        await asyncio.sleep(max(0, at - self._clock.now()) / 1_000_000_000)

    def _tick(self, now: int) -> None:
        self.speaker.advance(now)
        for turn_id, playing in self.speaker.turns.items():
            if not playing.over:
                self.reports.told(turn_id, playing, due=self.frames % REPORT_FRAMES == 0)
        while self._is_over(now):
            self._next_step(now)
        if not isinstance(self._current, HangUp):
            self._feed(now)

    # ---- speaking ------------------------------------------------------------------------------------------------

    @property
    def _current(self) -> Step:
        return self._steps[self._step]

    def _next_step(self, now: int) -> None:
        self._step += 1
        self._since = now
        step = self._current
        if isinstance(step, Say | Write | Press):
            self._frame = self._answers = 0
            self._spoke_at = now
            self._heard_before = self._played()
        if isinstance(step, Write | Press):
            self._tell(step)

    def _feed(self, now: int) -> None:
        """Hand in the next 20 ms, of what is being said or of silence."""
        step, data = self._current, SILENCE
        if isinstance(step, Say):
            data = step.frame(self._frame)
            self._spoke_at = now
            if step.speech[self._frame] and len(self.track) < TRACK_BYTES_MAX:
                self.speech_ns.append(now)
            self._frame += 1
        audio = Audio(data, FRAME_SAMPLES, self.frames * FRAME_SAMPLES, RATE)
        if not self._seat.ingest(i.AudioReceived(audio, self.frames)):
            self.lost += 1
        self.frames += 1
        if len(self.track) < TRACK_BYTES_MAX:
            self.track += data

    def _tell(self, step: Write | Press) -> None:
        """Hand in words or a key, under numbers of their own: they and the frames are two streams."""
        self._words += 1
        received = (
            i.TextReceived(step.text, self._words)
            if isinstance(step, Write)
            else i.ControlReceived("digit", self._words, value=step.digit)
        )
        if not self._seat.ingest(received):
            self.lost += 1

    # ---- listening -----------------------------------------------------------------------------------------------

    def _is_over(self, now: int) -> bool:
        """Is the current step done? One that waits in vain is, after its deadline."""
        step, ms = self._current, (now - self._since) // NS_PER_MS
        if isinstance(step, Wait):
            return ms >= step.ms
        if isinstance(step, Say):
            return self._frame >= step.frames
        if isinstance(step, Write | Press):
            return True
        if isinstance(step, UntilHeard):
            if (self._played() - self._heard_before) * 1000 >= step.ms * max(1, self.speaker.rate):
                return True
            if ms >= step.deadline_ms or self._all_said(now, UntilAnswered().quiet_ms):
                self.unheard.append(f"{step.ms} ms of an answer")
                return True
        if isinstance(step, UntilAnswered):
            if self._all_said(now, step.quiet_ms):
                return True
            if not self._turns_open and not self._answers and not self._listened and ms >= step.patience_ms:
                self.unheard.append("an answer")
                return True
            self.gave_up = self.gave_up or ms >= step.deadline_ms
            return ms >= step.deadline_ms
        return False

    def _all_said(self, now: int, quiet_ms: int) -> bool:
        """Something was answered, nothing is going on, and that for a while."""
        if self.speaker.sounding:
            self._lively_at = now
        busy = self._turns_open or self._listened or self._answers <= 0
        since = max(self._lively_at, self._spoke_at)
        return not busy and now - since >= quiet_ms * NS_PER_MS

    def _played(self) -> int:
        return sum(playing.played for playing in self.speaker.turns.values())

    # ---- reports -------------------------------------------------------------------------------------------------

    def _report(self, what: str, turn_id: str) -> None:
        if not self._seat.ingest(i.DeliveryReported(what, turn_id, self.speaker.played_ms(turn_id))):
            self.lost += 1
