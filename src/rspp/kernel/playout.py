"""The one ledger of what was sent to the caller, what was accepted, and what was really heard.

It paces: no more than `lead_ms` of audio is ever in the client's buffer, so that an interruption has little to take
back. It remembers which text each stretch of audio speaks, so that what the assistant remembers having said is what
the caller heard, and not a word more. Keeps INV-10's ledger; knows no transport and no graph.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.spec.graph import Playout as Settings

# How slow speech can be, for judging how much text a cut stretch of audio has spoken before its length is known:
# remembering a word too few is better than a word that nobody heard.
CHARACTERS_PER_SECOND_MIN: Final = 10
SEGMENTS_MAX: Final = 4096
# How old a client's report may be on a slow line; what is behind by more is a reader that stalls.
REPORT_AGE_MS_MAX: Final = 1_000


class Speech(msgspec.Struct):
    """A text that a synthesiser was given, and how much audio it has made of it."""

    text: str
    produced_us: int = 0
    finished: bool = False

    def spoken_in(self, ms: int) -> str:
        """As much of the text as `ms` of its audio can have spoken, cut at a word."""
        text = self.text.strip()
        total_ms = self.produced_us // 1000
        if not self.finished:
            total_ms = max(total_ms, len(text) * 1000 // CHARACTERS_PER_SECOND_MIN)
        if ms >= total_ms:
            return text
        words = text[: len(text) * ms // total_ms]
        return words.rsplit(" ", 1)[0].strip() if " " in words else ""


class Segment(msgspec.Struct):
    """A stretch of the audio that was sent, and the speech it belongs to."""

    call_id: str
    speech: Speech
    start_us: int
    sent_us: int = 0


class Playout:
    """The ledger of one turn's audio."""

    __slots__ = (
        "_horizon",
        "_lag_min_ms",
        "_run_ms",
        "_samples",
        "_sent_us",
        "_settings",
        "_stalled_ms",
        "accepted",
        "cancelled",
        "completed",
        "first_sent_at",
        "heard_reported_ms",
        "last_report_at",
        "paused_at",
        "rate",
        "refused",
        "reported_complete",
        "reports",
        "segments",
        "speeches",
        "started_at",
        "turn_id",
    )

    def __init__(self, turn_id: str, settings: Settings, reports: bool) -> None:
        self.turn_id = turn_id
        self._settings = settings
        self.reports = reports
        self._horizon = 0  # when what was sent will have been played, if nothing stops it
        self._sent_us = 0
        self._samples = 0  # what was sent, counted in the rate of what was sent last
        self._run_ms = 0  # where the stretch of audio that plays without a stop begins
        self._lag_min_ms = REPORT_AGE_MS_MAX  # the least a report was behind the clock: its age, not a stall
        self._stalled_ms = 0  # what the reader was taken to be behind, in the stretch that is playing
        self.rate = 16_000  # of what was sent last
        self.heard_reported_ms = 0
        self.last_report_at: int | None = None
        self.first_sent_at: int | None = None
        self.started_at: int | None = None
        self.paused_at: int | None = None
        self.reported_complete = False
        self.accepted = 0
        self.refused = 0
        self.completed = False
        self.cancelled = False
        self.segments: deque[Segment] = deque(maxlen=SEGMENTS_MAX)
        self.speeches: dict[str, Speech] = {}

    # ---- pacing --------------------------------------------------------------------------------------------------

    @property
    def sent_ms(self) -> int:
        return self._sent_us // 1000

    def sample_index(self, rate: int) -> int:
        """Where in the turn's one stream the next frame begins, in samples of its rate."""
        return self._samples if rate == self.rate else self._samples * rate // self.rate

    def may_send(self, now: int) -> bool:
        """Is there room in the client's buffer for another frame?"""
        room = (self._settings.lead_ms - self._settings.frame_ms) * NS_PER_MS
        return self.paused_at is None and self._horizon - now <= room

    def room_at(self) -> int | None:
        """When there will be room again; None while the audio is paused."""
        if self.paused_at is not None:
            return None
        return self._horizon - (self._settings.lead_ms - self._settings.frame_ms) * NS_PER_MS

    def sent(self, now: int, samples: int, rate: int, call_id: str | None) -> bool:
        """One frame has gone out; says whether it ends a silence."""
        duration_us = samples * 1_000_000 // rate
        self._samples = self.sample_index(rate) + samples
        self.rate = rate
        silent = self._horizon < now or self.first_sent_at is None
        if self._horizon < now:
            self._horizon = now
            self._run_ms = self.sent_ms
            self._stalled_ms = 0
        self._horizon += duration_us * 1000
        self.reported_complete = False
        if self.first_sent_at is None:
            self.first_sent_at = now
        segments = self.segments
        key = call_id or ""
        if not segments or segments[-1].call_id != key:
            segments.append(Segment(key, self.speeches.get(key) or Speech(""), self._sent_us))
        self._sent_us += duration_us
        segments[-1].sent_us += duration_us
        return silent

    def pause(self, now: int) -> None:
        """The audio stands still until it is decided what a voice means."""
        if self.paused_at is None:
            self.paused_at = now

    def resume(self, now: int) -> None:
        """Playing goes on where it stopped: what was ahead of the caller then is ahead still."""
        if self.paused_at is not None:
            self._run_ms = self._clock_ms(self.paused_at)
            if self._horizon > self.paused_at:
                self._horizon += now - self.paused_at
            self.paused_at = None

    # ---- what was heard ------------------------------------------------------------------------------------------

    def reported(self, now: int, heard_ms: int) -> None:
        """The client's word for how much it has played; it cannot have played what was not sent, or unplay."""
        self.last_report_at = now
        self.heard_reported_ms = max(self.heard_reported_ms, min(heard_ms, self.sent_ms))
        behind = self.heard_reported_ms < self.sent_ms
        if self.paused_at is None and behind:
            # A report is as old as the line is long. What it is behind by more than that is a slow or stalled reader:
            # trust it over the clock, so that the lead stays a lead.
            behind_ms = self.sent_ms + (now - self._horizon) // NS_PER_MS - self.heard_reported_ms
            behind_ms -= self._lag_min_ms
            if behind_ms >= 0:
                self._stalled_ms += behind_ms
            elif self.heard_reported_ms > self._run_ms:
                # An earlier report was only late itself: the reader never stalled by so much. Were that not taken back, each
                # late report would cost a little of the lead, until none is left.
                back_ms = min(self._stalled_ms, -behind_ms)
                self._stalled_ms -= back_ms
                self._lag_min_ms += behind_ms + back_ms
                behind_ms = -back_ms
            else:
                behind_ms = 0
            self._horizon += behind_ms * NS_PER_MS

    def heard_ms(self, now: int) -> int:
        """How much the caller has heard: by report where there are reports, else by the clock."""
        if self.reports and not self._unreported(now):
            return self.heard_reported_ms
        return self._clock_ms(self.paused_at if self.paused_at is not None else now)

    def _unreported(self, now: int) -> bool:
        """Did a client that said it would report never do so? Then the clock knows more than nothing."""
        if self.last_report_at is not None or self.first_sent_at is None:
            return False
        return now - self.first_sent_at >= self._settings.report_ms_max * NS_PER_MS

    def _clock_ms(self, at: int) -> int:
        """How much has been played by then, if it was played as it was sent."""
        return max(0, self.sent_ms - max(0, self._horizon - at) // NS_PER_MS)

    def audible(self, now: int) -> bool:
        """Is the caller hearing this turn now, or about to?"""
        if self.first_sent_at is None or self.cancelled or self.completed:
            return False
        return self.paused_at is not None or self._horizon > now

    def quiet_at(self) -> int:
        """When the audio sent so far will have been played."""
        return self._horizon

    # ---- what was said -------------------------------------------------------------------------------------------

    def speaking(self, call_id: str, text: str) -> None:
        """A synthesiser was given this text; its audio will come under this call."""
        if len(self.speeches) < SEGMENTS_MAX:
            self.speeches[call_id] = Speech(text)

    def produced(self, call_id: str, samples: int, rate: int) -> None:
        """It has made this much more audio of it."""
        speech = self.speeches.get(call_id)
        if speech is not None:
            speech.produced_us += samples * 1_000_000 // rate

    def finished(self, call_id: str) -> None:
        """It has made all of it."""
        speech = self.speeches.get(call_id)
        if speech is not None:
            speech.finished = True

    def heard_text(self, now: int) -> str:
        """The words that the heard audio speaks."""
        heard_us = self.heard_ms(now) * 1000
        said = []
        for segment in self.segments:
            into = min(heard_us - segment.start_us, segment.sent_us)
            if into <= 0:
                break
            # Reports are in milliseconds: less than one missing is nothing missing.
            said.append(segment.speech.spoken_in((into + 999) // 1000))
        return " ".join(part for part in said if part)
