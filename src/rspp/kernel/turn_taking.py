"""When the caller began, paused, ended, interrupted or only coughed: decided from recorded inputs, never stuck.

Two machines run side by side; their words and tables are `listening`'s. `CALLER` follows the caller's voice to the end
of an utterance; `OVERLAP` decides what a voice over the assistant's means. Every state but the two resting ones has a
deadline, so whatever stops arriving (scores, transcripts, a release of the talk button), the turn goes on.

The moves it makes are read from `moves` by whoever owns the session; it knows nothing of turns, calls or sound.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import NS_PER_MS, Text
from rspp.contract.words import InterruptionMode
from rspp.kernel.flags import Flag
from rspp.kernel.listening import (
    CALLER,
    FINALS_MAX,
    OVERLAP,
    Caller,
    Do,
    Heard,
    Move,
    Over,
    Overlap,
    Utterance,
    only_backchannel,
    same_words,
    words_of,
)
from rspp.spec.graph import TurnTaking as Settings


class TurnTaking:
    """One session's listener."""

    __slots__ = (
        "assistant",
        "assistant_done",
        "before",
        "caller",
        "digits",
        "end_probability",
        "flags",
        "moves",
        "overlap",
        "score",
        "settings",
        "since",
        "sounded_at",
        "timers",
        "utterance",
        "voiced_ns",
    )

    def __init__(self, settings: Settings, flags: frozenset[int]) -> None:
        self.settings = settings
        self.flags = flags
        self.caller = Caller.QUIET
        self.overlap = Overlap.CLEAR
        self.utterance = Utterance()
        self.before = Utterance()  # the one before it, whose last final may still come
        self.moves: list[Move] = []
        self.timers: dict[str, int] = {}
        self.assistant = False  # is the assistant to be heard, or about to be?
        self.assistant_done = False  # has it said all it will, so that only the end of it is still playing?
        self.score = 0.0
        self.end_probability = 0.0
        self.since = self.sounded_at = 0  # when the current caller state, and the last onset, was entered
        self.voiced_ns = 0  # speech over the assistant so far
        self.digits = ""

    # ---- what is heard -------------------------------------------------------------------------------------------

    def scored(self, now: int, probability: float) -> None:
        """The probability that the last stretch of audio was speech."""
        state, settings = self.caller, self.settings
        self.score = probability
        if state is Caller.QUIET:
            if probability >= settings.speech_threshold:
                self._enter(now, Heard.SOUND)
            return
        if state is Caller.TALKING:
            return
        if state is Caller.SPEAKING:
            self.timers["scores"] = now + settings.silence_ms_max * NS_PER_MS
            if probability < settings.silence_threshold:
                self._enter(now, Heard.HUSH)
            elif self.overlap is not Overlap.CLEAR:
                self._weigh(now)
        elif state is Caller.ONSET:
            if probability < settings.silence_threshold:
                self._enter(now, Heard.HUSH)
            elif now - self.since >= settings.onset_ms * NS_PER_MS:
                self._enter(now, Heard.VOICE)
        elif probability >= settings.speech_threshold:
            self._enter(now, Heard.SOUND)

    def end_scored(self, now: int, probability: float) -> None:
        """The probability that the caller has finished the turn."""
        self.end_probability = probability
        if self.caller is Caller.PAUSING:
            self._consider_end(now)

    def heard(self, now: int, text: Text) -> None:
        """A transcript: a partial revision, or a segment's final."""
        utterance = self.utterance
        if self.caller in (Caller.QUIET, Caller.ONSET) and not self._awaited():
            self._late(now, text, utterance)
            return
        if self._of_before(text):
            self._late(now, text, self.before)
            if utterance.owed is not None and utterance.owed.segment == text.segment:
                utterance.partial, utterance.owed = "", None
            return
        utterance.owed = None if text.final else text
        if text.final:
            if len(utterance.finals) < FINALS_MAX:
                utterance.finals = (*utterance.finals, text.text.strip())
            utterance.partial = ""
            utterance.final_since_pause = self.caller in (Caller.PAUSING, Caller.ENDING)
        else:
            utterance.partial = text.text.strip()
        if self.overlap is not Overlap.CLEAR or self.assistant:
            # Also of a voice that was let pass as noise: it may have found its words.
            self._weigh_words(now, text.final)
        if text.final and self.caller is Caller.ENDING:
            self._enter(now, Heard.FINAL)

    def voiced_by_text(self, now: int) -> None:
        """Words are proof of a voice when nothing scores speech any more: they stand in for the scores."""
        if self.caller is Caller.QUIET:
            self._enter(now, Heard.SOUND)
        if self.caller is Caller.ONSET:
            self._enter(now, Heard.VOICE)
        elif self.caller is Caller.PAUSING:
            self._enter(now, Heard.SOUND)
        if self.caller is Caller.SPEAKING:
            self.timers["scores"] = now + self.settings.silence_ms_max * NS_PER_MS

    def pressed(self, now: int) -> None:
        """The caller holds the talk button: no endpointing by silence until it is released."""
        if self.caller is Caller.TALKING:
            return
        self._enter(now, Heard.PRESS)

    def released(self, now: int) -> None:
        if self.caller is not Caller.TALKING:
            self.moves.append(Move(Do.IGNORED, "not_talking"))
            return
        self._enter(now, Heard.RELEASE)

    def ended(self, now: int) -> None:
        """The client says that the utterance is over."""
        if self.caller in (Caller.QUIET, Caller.ENDING):
            self.moves.append(Move(Do.IGNORED, "no_open_utterance"))
            return
        self._enter(now, Heard.END)

    def keyed(self, now: int, digit: str) -> None:
        """A key of the telephone: it interrupts at once; what was keyed is an utterance when its terminator comes."""
        if self.assistant:
            self._interrupt("digit")
        settings = self.settings
        if digit == settings.digit_terminator or len(self.digits) >= 64:
            self._digits_done(now)
            return
        self.digits += digit
        self.timers["digits"] = now + settings.digit_gap_ms_max * NS_PER_MS

    def assistant_changed(self, now: int, audible: bool) -> None:
        """The assistant is, or is no longer, to be heard."""
        self.assistant = audible
        if not audible:
            self._over(Over.GONE)
        elif self.caller is Caller.SPEAKING or (self.caller is Caller.ONSET and self._holds()):
            # It begins while the caller speaks: as undecided as a caller who begins while it does.
            self._begin_overlap(now)
        elif self.caller is Caller.TALKING:
            self._interrupt("talk_pressed")
        self.resting(now)

    # ---- time ----------------------------------------------------------------------------------------------------

    def deadline(self) -> int | None:
        return min(self.timers.values(), default=None)

    def wake(self, now: int) -> None:
        """Let every deadline that has come do its work, in a fixed order."""
        for name, act in self._ACTS:
            at = self.timers.get(name)
            if at is not None and at <= now:
                del self.timers[name]
                act(self, now)

    def _state_deadline(self, now: int) -> None:
        self._enter(now, Heard.DEADLINE)

    def _pause_min(self, now: int) -> None:
        if self.caller is Caller.PAUSING:
            self._consider_end(now)

    def _scores_gone(self, now: int) -> None:
        """No score has come for as long as the longest pause: treat it as one."""
        if self.caller is Caller.SPEAKING:
            self._enter(now, Heard.HUSH)

    def _overlap_deadline(self, now: int) -> None:
        if self.overlap is Overlap.CLEAR:
            return
        speaking = self.caller in (Caller.SPEAKING, Caller.TALKING)
        text = self.utterance.text
        settings = self.settings
        by_words = settings.interruption is InterruptionMode.WORDS  # then noise that lasts is only noise
        wordless = by_words and len(words_of(text)) < settings.interruption_words_min
        if speaking and not wordless and not (text and only_backchannel(text, self.settings.backchannels)):
            self._over(Over.ENOUGH)
            self._interrupt("undecided_and_speaking")
        else:
            self._resume(now, "no_words" if wordless or not text else "backchannel")

    def _cough_over(self, now: int) -> None:
        if self.overlap is not Overlap.CLEAR and self.caller in (Caller.PAUSING, Caller.ENDING, Caller.QUIET):
            self._resume(now, "no_words")

    def _idle_over(self, now: int) -> None:
        if self.caller is Caller.QUIET and not self.assistant:
            self.moves.append(Move(Do.IDLE))

    def _digits_done(self, now: int) -> None:
        self.timers.pop("digits", None)
        digits, self.digits = self.digits, ""
        if not digits:
            return
        self._supersede("digits")
        if self.caller not in (Caller.QUIET, Caller.ONSET):
            # "My code is", and the keys: one utterance, which ends as the spoken one does.
            self.utterance.keyed = f"{self.utterance.keyed} {digits}".strip()
        else:
            self._begin(now)
            self.utterance.by_digits = True
            self._propose(now, digits, "digits")

    # ---- the caller's machine ------------------------------------------------------------------------------------

    def _enter(self, now: int, heard: Heard) -> None:
        before = self.caller
        after = CALLER.get((before, heard))
        if after is None or (before is Caller.ENDING and heard is Heard.SOUND and self.utterance.closing):
            return
        self.caller = after
        self.since = now
        for name in ("state", "pause_min", "scores"):
            self.timers.pop(name, None)
        if before is Caller.QUIET:
            self.timers.pop("idle", None)
        self._ENTRIES[after](self, now, before, heard)

    def _onset(self, now: int, before: Caller, heard: Heard) -> None:
        self.sounded_at = now
        # Onset lasts `onset_ms`; if scores stop arriving in it, it was nothing.
        self.timers["state"] = now + 4 * self.settings.onset_ms * NS_PER_MS
        if self.assistant and self._holds():
            self._begin_overlap(now)

    def _speaking(self, now: int, before: Caller, heard: Heard) -> None:
        settings = self.settings
        if before is Caller.ONSET:
            self._begin(now, voiced_at=self.sounded_at)
            self.moves.append(Move(Do.SPEECH_STARTED, utterance=self.utterance.number))
        else:
            self._supersede("caller_went_on")
            self.utterance.final_since_pause = False
            self.end_probability = 0.0  # of a pause that was not the end: it says nothing of the next one
        if self.assistant:
            self._begin_overlap(now)
        self.timers["state"] = max(now, self.utterance.started_at + settings.utterance_ms_max * NS_PER_MS)
        self.timers["scores"] = now + settings.silence_ms_max * NS_PER_MS

    def _pausing(self, now: int, before: Caller, heard: Heard) -> None:
        settings = self.settings
        self.utterance.final_since_pause = False
        self.timers["pause_min"] = now + settings.silence_ms_min * NS_PER_MS
        self.timers["state"] = now + settings.silence_ms_max * NS_PER_MS
        if self.overlap is not Overlap.CLEAR and Flag.COUGH_RESUMES_EARLY in self.flags:
            self.timers["cough"] = now + settings.silence_ms_min * NS_PER_MS
        self._consider_end(now)

    def _ending(self, now: int, before: Caller, heard: Heard) -> None:
        if before is Caller.ONSET:
            self._begin(now, voiced_at=self.sounded_at)
        reason = {Heard.DEADLINE: "deadline", Heard.END: "end_of_turn", Heard.RELEASE: "released"}.get(
            heard, ""
        )
        if before is Caller.SPEAKING and heard is Heard.DEADLINE:
            reason = "utterance_too_long"
            self.utterance.closing = True
        self.moves.append(Move(Do.SPEECH_STOPPED, reason, utterance=self.utterance.number))
        if self.utterance.final_since_pause and not self.utterance.partial:
            self._enter(now, Heard.FINAL)
            return
        self.moves.append(Move(Do.FINALISE))
        self.timers["state"] = now + self.settings.final_wait_ms_max * NS_PER_MS

    def _quiet(self, now: int, before: Caller, heard: Heard) -> None:
        if before is Caller.ENDING:
            self._complete(now, "final" if heard is Heard.FINAL else "final_overdue")
        elif self.overlap is not Overlap.CLEAR:
            self._resume(now, "no_voice")
        self.resting(now)

    def _talking(self, now: int, before: Caller, heard: Heard) -> None:
        if before in (Caller.QUIET, Caller.ONSET):
            self._begin(now, voiced_at=self.sounded_at if before is Caller.ONSET else now)
            self.moves.append(Move(Do.SPEECH_STARTED, "talk_pressed", utterance=self.utterance.number))
        else:
            self._supersede("talk_pressed")
        self.timers["state"] = now + self.settings.push_to_talk_ms_max * NS_PER_MS
        # Pressing the button is a decision; nothing has to be guessed.
        if self.assistant:
            if self.overlap is not Overlap.CLEAR:
                self._over(Over.ENOUGH)
            self._interrupt("talk_pressed")

    def _consider_end(self, now: int) -> None:
        settings, utterance = self.settings, self.utterance
        long_enough = now - self.since >= settings.silence_ms_min * NS_PER_MS
        if long_enough and self.end_probability >= settings.end_of_turn_threshold:
            self._enter(now, Heard.END)
            return
        likely = self.end_probability >= settings.speculation_threshold
        fresh = (
            utterance.speculated is None and utterance.speculations < settings.speculations_per_utterance_max
        )
        if settings.speculation and likely and fresh and utterance.text and self.overlap is Overlap.CLEAR:
            utterance.speculated = utterance.text
            utterance.speculations += 1
            self.moves.append(Move(Do.SPECULATE, text=utterance.text, utterance=utterance.number))

    def _begin(self, now: int, voiced_at: int | None = None) -> None:
        self.before = self.utterance
        self.utterance = Utterance(
            self.utterance.number + 1, started_at=now, voiced_at=voiced_at, overlapped=self.assistant
        )
        self.end_probability = 0.0
        self.voiced_ns = 0

    def _supersede(self, reason: str) -> None:
        if self.utterance.speculated is not None:
            self.utterance.speculated = None
            self.moves.append(Move(Do.SUPERSEDE, reason, utterance=self.utterance.number))

    def _complete(self, now: int, reason: str) -> None:
        """The utterance is whole: propose it, confirm what was speculated, or let it go."""
        utterance = self.utterance
        text = utterance.text
        if not text:
            self._supersede("no_words")
            self.moves.append(Move(Do.NOTHING, reason, utterance=utterance.number))
            if self.overlap is not Overlap.CLEAR:
                self._resume(now, "no_words")
            return
        if self.overlap is not Overlap.CLEAR:
            if only_backchannel(text, self.settings.backchannels) and not self.assistant_done:
                self._resume(now, "backchannel")
                self.moves.append(Move(Do.BACKCHANNEL, text=text, utterance=utterance.number))
                return
            self._over(Over.ENOUGH)
            self._interrupt("words")
        elif (
            utterance.overlapped
            and self.assistant
            and not self.assistant_done
            and only_backchannel(text, self.settings.backchannels)
        ):
            self.moves.append(Move(Do.BACKCHANNEL, text=text, utterance=utterance.number))
            return
        self._propose(now, text, reason)

    def _propose(self, now: int, text: str, reason: str) -> None:
        utterance = self.utterance
        utterance.proposed_at, utterance.proposed_text = now, text
        if utterance.speculated is not None:
            if same_words(utterance.speculated, text):
                self.moves.append(Move(Do.CONFIRM, reason, text, utterance.number))
                return
            self._supersede("words_changed")
        self.moves.append(Move(Do.PROPOSE, reason, text, utterance.number))

    # ---- late transcripts ----------------------------------------------------------------------------------------

    def _awaited(self) -> bool:
        """Is a held reply still waiting for the words of an utterance that is over?"""
        return self.overlap is not Overlap.CLEAR and self.caller is Caller.QUIET

    def _of_before(self, text: Text) -> bool:
        """Is this the final that the utterance before was proposed without?"""
        owed = self.before.owed
        if owed is None or self.before.proposed_at is None:
            return False
        if text.segment != owed.segment or text.revision <= owed.revision:
            self.before.owed = None  # the recogniser is past it, or has started over
            return False
        return text.final

    def _late(self, now: int, text: Text, utterance: Utterance) -> None:
        at = utterance.proposed_at
        if not text.final or at is None or now - at > self.settings.late_final_ms_max * NS_PER_MS:
            return
        utterance.owed = None
        words = " ".join((*utterance.finals, text.text.strip(), utterance.keyed)).strip()
        if words and not same_words(words, utterance.proposed_text):
            utterance.finals = (*utterance.finals[:FINALS_MAX], text.text.strip())
            utterance.partial = ""
            utterance.proposed_text = words
            self.moves.append(Move(Do.AMEND, "late_final", words, utterance.number))

    # ---- overlap -------------------------------------------------------------------------------------------------

    def _begin_overlap(self, now: int) -> None:
        mode = self.settings.interruption
        if mode is InterruptionMode.NEVER or self.overlap is not Overlap.CLEAR:
            return
        hold = self._holds()
        self._over(Over.VOICE_HOLD if hold else Over.VOICE_WATCH)
        self.timers["overlap"] = now + self.settings.decide_ms_max * NS_PER_MS
        if hold:
            self.moves.append(Move(Do.HOLD, "voice_over_assistant"))

    def _holds(self) -> bool:
        return self.settings.interruption is InterruptionMode.PAUSE_THEN_DECIDE

    def _weigh(self, now: int) -> None:
        """Has the caller spoken long enough over the assistant to mean it?"""
        settings = self.settings
        if settings.interruption is InterruptionMode.WORDS:
            return
        lasted = now - self.since
        text = self.utterance.text
        if lasted >= settings.interruption_ms_min * NS_PER_MS and not (
            text and only_backchannel(text, self.settings.backchannels)
        ):
            self._over(Over.ENOUGH)
            self._interrupt("speech")

    def _weigh_words(self, now: int, final: bool) -> None:
        text = self.utterance.text
        words = words_of(text)
        if not words or only_backchannel(text, self.settings.backchannels):
            return
        if final or len(words) >= self.settings.interruption_words_min:
            self._over(Over.ENOUGH)
            self._interrupt("words")

    def _over(self, what: Over) -> None:
        after = OVERLAP.get((self.overlap, what))
        if after is None:
            return
        self.overlap = after
        if after is Overlap.CLEAR:
            self.timers.pop("overlap", None)
            self.timers.pop("cough", None)

    def _interrupt(self, reason: str) -> None:
        if self.settings.interruption is InterruptionMode.NEVER:
            return  # not by a key and not by the talk button either: what they say waits its turn
        self.moves.append(Move(Do.INTERRUPT, reason, utterance=self.utterance.number))

    def _resume(self, now: int, reason: str) -> None:
        held = self.overlap is Overlap.HELD
        self._over(Over.ENDED)
        if held:
            self.moves.append(Move(Do.RESUME, reason))

    def resting(self, now: int) -> None:
        """Nobody speaks from here on: when is that worth a question?"""
        if self.settings.idle_prompt_ms and self.caller is Caller.QUIET and not self.assistant:
            self.timers["idle"] = now + self.settings.idle_prompt_ms * NS_PER_MS

    _ENTRIES: Final = {
        Caller.QUIET: _quiet,
        Caller.ONSET: _onset,
        Caller.SPEAKING: _speaking,
        Caller.PAUSING: _pausing,
        Caller.ENDING: _ending,
        Caller.TALKING: _talking,
    }
    _ACTS: Final = (
        ("overlap", _overlap_deadline),
        ("cough", _cough_over),
        ("scores", _scores_gone),
        ("pause_min", _pause_min),
        ("state", _state_deadline),
        ("digits", _digits_done),
        ("idle", _idle_over),
    )
