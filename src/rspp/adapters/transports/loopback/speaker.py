"""The caller's loudspeaker: plays what comes, in the order it comes, and knows to the sample what sounded.

    queue of chunks --(time passes)--> the timeline of what was heard, silence included

Nothing is played before it came, and what did not come in time is silence in the timeline. Sample n of the timeline
sounded n / rate seconds after the call began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from rspp.media.resample import Resampler

NS_PER_S: Final = 1_000_000_000
# A kernel sends a fraction of a second ahead; whoever sends more than this has no lead to speak of.
QUEUE_MS_MAX: Final = 10_000
# What is remembered of the sound. The call may last longer.
TIMELINE_MS_MAX: Final = 30 * 60_000
RATE: Final = 16_000


class Playing:
    """One turn's audio: how much came, how much sounded, and when it last did."""

    __slots__ = (
        "came",
        "completed",
        "dry",
        "dry_most",
        "ended",
        "first_ns",
        "last",
        "last_ns",
        "paused",
        "played",
        "reported",
        "started",
        "stopped",
    )

    def __init__(self) -> None:
        self.came = self.played = 0  # samples
        self.dry = self.dry_most = (
            0  # samples of silence because more of it did not come in time: in all, at once
        )
        self.last = 0  # where in the timeline it sounded last
        self.paused = False  # since then
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.ended = self.stopped = self.started = self.completed = False
        self.reported = -1  # samples that the last report told of

    @property
    def over(self) -> bool:
        return self.stopped or self.completed


class Speaker:
    """Plays by the clock. Every method is told the time, which never goes back."""

    def __init__(self, now: int) -> None:
        self.start_ns = now
        self.rate = 0  # that of the first sound; what comes at another is converted
        self.timeline = bytearray()  # bounded: by TIMELINE_MS_MAX
        self.turns: dict[str, Playing] = {}
        self.dropped = 0  # samples that came after a stop, or for which there was no room
        self._queue: deque[tuple[str, bytes]] = deque()  # bounded: by QUEUE_MS_MAX, in `play`
        self._queued = 0
        self._position = 0  # samples of the timeline so far
        self._paused = False
        self._resampler: tuple[str, Resampler] | None = None

    # ---- what it is told -----------------------------------------------------------------------------------------

    def play(self, now: int, turn_id: str, pcm: bytes, rate: int) -> None:
        """Take PCM16 mono of a turn."""
        self.advance(now)
        if not self.rate:
            self._begin(now, rate)
        playing = self.turns.setdefault(turn_id, Playing())
        pcm = pcm if rate == self.rate else self._converted(turn_id, pcm, rate)
        samples = len(pcm) // 2
        if playing.stopped or (self._queued + samples) * 1000 > QUEUE_MS_MAX * self.rate:
            self.dropped += samples
            return
        if playing.played and playing.played == playing.came and not playing.paused:
            gap = self._position - playing.last
            playing.dry += gap
            playing.dry_most = max(playing.dry_most, gap)
        playing.came += samples
        self._queued += samples
        self._queue.append((turn_id, pcm))

    def end(self, now: int, turn_id: str) -> None:
        """All of the turn has come."""
        self.advance(now)
        if turn_id in self.turns:
            self.turns[turn_id].ended = True

    def pause(self, now: int) -> None:
        self.advance(now)
        self._paused = True
        for playing in self.turns.values():
            playing.paused = True

    def resume(self, now: int) -> None:
        self.advance(now)
        self._paused = False

    def stop(self, now: int, turn_id: str, keep_ms: int) -> None:
        """Throw away what is queued of a turn, but for `keep_ms` of it."""
        self.advance(now)
        self._paused = False
        playing = self.turns.get(turn_id)
        if playing is None or playing.stopped:
            return
        playing.stopped = True
        keep = keep_ms * self.rate // 1000
        kept: deque[tuple[str, bytes]] = deque()  # bounded: by what it replaces
        for turn, pcm in self._queue:
            part = pcm if turn != turn_id else pcm[: 2 * keep]
            keep -= len(part) // 2 if turn == turn_id else 0
            if part:
                kept.append((turn, part))
        self._queue = kept
        self._queued = sum(len(pcm) for _, pcm in kept) // 2

    # ---- time ----------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> None:
        """Let everything sound that has sounded by now."""
        due = self._at(now) - self._position
        while due > 0:
            due -= self._sound(due)

    @property
    def sounding(self) -> bool:
        """Is there anything to be heard, now or when the pause is over?"""
        return bool(self._queue)

    def played_ms(self, turn_id: str) -> int:
        playing = self.turns.get(turn_id)
        return 0 if playing is None else playing.played * 1000 // self.rate

    def time_of(self, position: int) -> int:
        """When a sample of the timeline sounded."""
        return self.start_ns + position * NS_PER_S // self.rate

    def _at(self, now: int) -> int:
        return (now - self.start_ns) * self.rate // NS_PER_S

    def _begin(self, now: int, rate: int) -> None:
        self.rate = rate
        self._position = self._at(now)
        self.timeline += bytes(2 * min(self._position, TIMELINE_MS_MAX * rate // 1000))

    def _sound(self, due: int) -> int:
        """Play at most this many samples; how many it were."""
        if self._paused or not self._queue:
            self._heard(bytes(2 * due))
            return due
        turn_id, pcm = self._queue.popleft()
        now, rest = pcm[: 2 * due], pcm[2 * due :]
        if rest:
            self._queue.appendleft((turn_id, rest))
        samples = len(now) // 2
        playing = self.turns[turn_id]
        if playing.first_ns is None:
            playing.first_ns = self.time_of(self._position)
        self._queued -= samples
        playing.played += samples
        self._heard(now)
        playing.last, playing.last_ns = self._position, self.time_of(self._position)
        playing.paused = False
        return samples

    def _heard(self, pcm: bytes) -> None:
        room = 2 * TIMELINE_MS_MAX * self.rate // 1000 - len(self.timeline)
        self.timeline += pcm[: max(0, room)]
        self._position += len(pcm) // 2

    def _converted(self, turn_id: str, pcm: bytes, rate: int) -> bytes:
        """At the rate of the timeline; one converter for a turn, so that chunks meet without a click."""
        if self._resampler is None or self._resampler[0] != f"{turn_id}@{rate}":
            self._resampler = (f"{turn_id}@{rate}", Resampler(rate, self.rate))
        return self._resampler[1].process(pcm)


class Reports:
    """What a client says of the sound that it plays: started once, completed once, and now and then how far it is."""

    def __init__(self, speaker: Speaker, tell: Callable[[str, str], None]) -> None:
        self._speaker = speaker
        self._tell = tell

    def told(self, turn_id: str, playing: Playing, *, due: bool) -> None:
        """Tell of a turn what there is to tell by now; `due`: it is time to say how far it is."""
        if playing.played and not playing.started:
            playing.started = True
            self._tell("started", turn_id)
        if playing.ended and playing.played >= playing.came:
            playing.completed = True
            self._tell("completed", turn_id)
        elif due and playing.played != playing.reported:
            self.position(turn_id)

    def position(self, turn_id: str) -> None:
        playing = self._speaker.turns.get(turn_id)
        if playing is not None and playing.played:
            playing.reported = playing.played
            self._tell("position", turn_id)
