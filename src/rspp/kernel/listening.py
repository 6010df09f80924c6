"""The listener's words and tables: what it hears, the states it can be in, the moves it can make.

        QUIET --sound--> ONSET --voice--> SPEAKING --hush--> PAUSING --end--> ENDING --final--> QUIET
                           |                 ^------sound------'  ^---sound----'
        QUIET --press--> TALKING --release--> ENDING

        CLEAR --voice--> HELD or WATCHING --enough--> CLEAR (interrupt)
                                          --ended --> CLEAR (resume)

A pair that is not in its table is nothing: the state stays. Who runs the tables is `turn_taking`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.event import Text


class Caller(StrEnum):
    QUIET = "quiet"
    ONSET = "onset"
    SPEAKING = "speaking"
    PAUSING = "pausing"
    ENDING = "ending"
    TALKING = "talking"


class Heard(StrEnum):
    """What moves the caller's machine."""

    SOUND = "sound"
    VOICE = "voice"
    HUSH = "hush"
    END = "end"
    FINAL = "final"
    PRESS = "press"
    RELEASE = "release"
    DEADLINE = "deadline"


class Overlap(StrEnum):
    CLEAR = "clear"
    WATCHING = "watching"
    HELD = "held"


class Over(StrEnum):
    """What moves the overlap machine."""

    VOICE_HOLD = "voice_hold"
    VOICE_WATCH = "voice_watch"
    ENOUGH = "enough"
    ENDED = "ended"
    GONE = "assistant_gone"
    DEADLINE = "deadline"


_C, _H = Caller, Heard
CALLER: Final[Mapping[tuple[Caller, Heard], Caller]] = {
    (_C.QUIET, _H.SOUND): _C.ONSET,
    (_C.QUIET, _H.PRESS): _C.TALKING,
    (_C.ONSET, _H.VOICE): _C.SPEAKING,
    (_C.ONSET, _H.HUSH): _C.QUIET,
    (_C.ONSET, _H.DEADLINE): _C.QUIET,
    (_C.ONSET, _H.PRESS): _C.TALKING,
    (_C.ONSET, _H.END): _C.ENDING,
    (_C.SPEAKING, _H.HUSH): _C.PAUSING,
    (_C.SPEAKING, _H.END): _C.ENDING,
    (_C.SPEAKING, _H.PRESS): _C.TALKING,
    (_C.SPEAKING, _H.DEADLINE): _C.ENDING,
    (_C.PAUSING, _H.SOUND): _C.SPEAKING,
    (_C.PAUSING, _H.END): _C.ENDING,
    (_C.PAUSING, _H.PRESS): _C.TALKING,
    (_C.PAUSING, _H.DEADLINE): _C.ENDING,
    (_C.ENDING, _H.SOUND): _C.SPEAKING,
    (_C.ENDING, _H.PRESS): _C.TALKING,
    (_C.ENDING, _H.FINAL): _C.QUIET,
    (_C.ENDING, _H.DEADLINE): _C.QUIET,
    (_C.TALKING, _H.RELEASE): _C.ENDING,
    (_C.TALKING, _H.END): _C.ENDING,
    (_C.TALKING, _H.DEADLINE): _C.ENDING,
}

_O, _V = Overlap, Over
OVERLAP: Final[Mapping[tuple[Overlap, Over], Overlap]] = {
    (_O.CLEAR, _V.VOICE_HOLD): _O.HELD,
    (_O.CLEAR, _V.VOICE_WATCH): _O.WATCHING,
    (_O.WATCHING, _V.ENOUGH): _O.CLEAR,
    (_O.WATCHING, _V.ENDED): _O.CLEAR,
    (_O.WATCHING, _V.GONE): _O.CLEAR,
    (_O.WATCHING, _V.DEADLINE): _O.CLEAR,
    (_O.HELD, _V.ENOUGH): _O.CLEAR,
    (_O.HELD, _V.ENDED): _O.CLEAR,
    (_O.HELD, _V.GONE): _O.CLEAR,
    (_O.HELD, _V.DEADLINE): _O.CLEAR,
}


class Do(StrEnum):
    """A move: what the session should do now."""

    SPEECH_STARTED = "speech_started"
    SPEECH_STOPPED = "speech_stopped"
    HOLD = "hold"  # pause the assistant's audio, at once
    RESUME = "resume"
    INTERRUPT = "interrupt"
    BACKCHANNEL = "backchannel"
    FINALISE = "finalise"  # ask the recogniser for its final
    SPECULATE = "speculate"
    SUPERSEDE = "supersede"  # the speculation was wrong
    CONFIRM = "confirm"  # it was right
    PROPOSE = "propose"
    AMEND = "amend"
    NOTHING = "nothing"  # an utterance without words
    IGNORED = "ignored"  # an end of utterance with nothing to end
    IDLE = "idle"


class Move(msgspec.Struct, frozen=True, gc=False):
    do: Do
    reason: str = ""
    text: str = ""
    utterance: int = 0


class Utterance(msgspec.Struct):
    """What has been recognised of the one utterance in hand."""

    number: int = 0
    finals: tuple[str, ...] = ()
    partial: str = ""
    owed: Text | None = None  # the revision of which no final has come yet
    keyed: str = ""  # digits that were keyed while it was spoken
    closing: bool = False  # it was too long: nothing lengthens it further
    final_since_pause: bool = False
    started_at: int = 0
    voiced_at: int | None = None  # its first frame of voice; none if it was keyed
    speculated: str | None = None
    speculations: int = 0
    overlapped: bool = False
    proposed_at: int | None = None
    proposed_text: str = ""
    by_digits: bool = False

    @property
    def text(self) -> str:
        return " ".join(part for part in (*self.finals, self.partial, self.keyed) if part).strip()


# Words beyond this many are not remembered for one utterance: far more than `utterance_ms_max` can hold.
FINALS_MAX: Final = 512


def words_of(text: str) -> list[str]:
    return [
        word
        for word in ("".join(c for c in raw if c.isalnum() or c in "'-") for raw in text.lower().split())
        if word
    ]


def only_backchannel(text: str, backchannels: Collection[str]) -> bool:
    """Is that all that was said: a word, or words, by which a listener only says that they listen?"""
    words = words_of(text)
    return " ".join(words) in backchannels or all(word in backchannels for word in words)


def same_words(one: str, other: str) -> bool:
    return words_of(one) == words_of(other)
