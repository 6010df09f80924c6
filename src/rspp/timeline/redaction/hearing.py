"""What of the caller's sound no recogniser has answered for yet, and where in that words may have been spoken.

A recogniser answers for what it heard until it was asked for its final. What none has answered for is doubtful from the first
score that may be speech on, or from the first stretch that the voice detector did not score; before that, it is quiet.
"""

from __future__ import annotations

from typing import Final

import msgspec

# Words may have been begun so long before the final in front of theirs came.
OVERLAP_NS: Final = 4_000_000_000
# Speech begins at most so long before it is scored as speech.
SCORE_MARGIN_NS: Final = 1_000_000_000
# Sound that has no score for so long is not scored.
SCORE_LATE_NS: Final = 300_000_000
# Where the profile lets speech end; what is above may be speech.
SPEECH_MIN: Final = 0.35
DOUBTS_MAX: Final = 1_024
LOST_MAX: Final = 1_024
ASKED_MAX: Final = 64
RECOGNISERS_MAX: Final = 64

Key = tuple[str, int]  # call and attempt


class Recogniser(msgspec.Struct):
    """One attempt of a listening call, and until when it has answered for what it heard."""

    begun: int
    judged: int
    asked: list[int] = []  # bounded: ASKED_MAX; finals it owes
    said: list[int] = []  # bounded: by the texts that wait; when each segment that is not judged was begun
    saying: bool = False


class Hearing:
    """One session's. Times are those of the inputs."""

    def __init__(self) -> None:
        self._open: dict[Key, Recogniser] = {}  # bounded: RECOGNISERS_MAX
        self._ended: list[tuple[int, Key, bool]] = []  # bounded: taken away with each batch
        self._lost: list[tuple[int, int | None]] = []  # bounded: LOST_MAX; what nobody will answer for
        self._doubts: list[tuple[int, int]] = []  # bounded: DOUBTS_MAX; where words may have been spoken
        self._deaf: int | None = 0  # since when nobody listens
        self._unscored: int | None = None  # the first frame that has no score
        self._last = 0
        self._detected = False  # has anything been scored?

    # ---- sound and its scores ------------------------------------------------------------------------------------

    def heard(self, at: int) -> None:
        if self._unscored is None:
            self._unscored = at
        self._last = at

    def scored(self, at: int, probability: float) -> None:
        self._detected = True
        unscored, self._unscored = self._unscored, None
        if unscored is not None and at - unscored > SCORE_LATE_NS:
            self._doubt(unscored, at)
        if probability >= SPEECH_MIN:
            self._doubt(at - SCORE_MARGIN_NS, at)

    def _doubt(self, begin: int, end: int) -> None:
        doubts = self._doubts
        while doubts and (begin <= doubts[-1][1] or len(doubts) >= DOUBTS_MAX):
            before = doubts.pop()
            begin, end = min(begin, before[0]), max(end, before[1])
        doubts.append((begin, end))

    # ---- recognisers ---------------------------------------------------------------------------------------------

    def begins(self, at: int, call_id: str, attempt: int) -> None:
        self.killed(at, call_id)  # an attempt before this one says no more
        if (call_id, attempt) in self._open or len(self._open) >= RECOGNISERS_MAX:
            return
        if self._deaf is not None:
            self._lose(self._deaf, at)
            self._deaf = None
        self._open[call_id, attempt] = Recogniser(at, at)

    def asked(self, at: int, call_id: str) -> None:
        """It was asked for its final: that answers for what it has heard until now."""
        for (call, _), recogniser in self._open.items():
            if call == call_id and len(recogniser.asked) < ASKED_MAX:
                recogniser.asked.append(at)

    def killed(self, at: int, call_id: str) -> None:
        self._ended += [(at, key, False) for key in self._open if key[0] == call_id]

    def said(self, at: int, key: Key, text: str, *, final: bool) -> int:
        """Until when this text answers for what was heard, once it is judged."""
        recogniser = self._known(key)
        if recogniser is None:
            return 0
        if text.strip() and not recogniser.saying:
            recogniser.said.append(at)
            recogniser.saying = True
        if not final:
            return 0
        recogniser.saying = False
        if recogniser.asked and recogniser.asked[0] <= at:
            return recogniser.asked.pop(0)
        return at - OVERLAP_NS  # it was not asked: how far it has come is not known

    def _known(self, key: Key) -> Recogniser | None:
        if key not in self._open and not self._open:
            # It was begun before anybody listened to what the kernel does.
            begun, self._deaf = self._deaf or 0, None
            self._open[key] = Recogniser(begun, begun)
        return self._open.get(key)

    def judged(self, at: int, key: Key, until: int) -> None:
        """Its final of this time has been judged."""
        recogniser = self._open.get(key)
        if recogniser is not None:
            recogniser.judged = max(recogniser.judged, until)
            recogniser.said = [begun for begun in recogniser.said if begun > at]

    def missed(self, at: int, key: Key) -> None:
        """A text of it will never be judged, nor what was heard until it came."""
        recogniser = self._open.get(key)
        if recogniser is not None:
            self._give_up(recogniser, at)
            recogniser.judged, recogniser.said = at, []

    def ended(self, at: int, key: Key, *, properly: bool) -> None:
        if key in self._open:
            self._ended.append((at, key, properly))

    # ---- what is known by now ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """All texts that came before these ends are judged, or will never be."""
        ended, self._ended = self._ended, []
        for at, key, properly in ended:
            recogniser = self._open.pop(key, None)
            if recogniser is None:
                continue
            if not properly or recogniser.said:
                self._give_up(recogniser, at)
            if not self._open:
                self._deaf = at
            elif (begun := min(one.begun for one in self._open.values())) > at:
                self._lose(at, begun)

    def close(self) -> None:
        """The session is over: nobody answers for the rest."""
        if self._unscored is not None and self._late():
            self._doubt(self._unscored, self._last + 1)
        self.settle()
        for recogniser in self._open.values():
            self._give_up(recogniser, None)
        if self._deaf is not None:
            self._lose(self._deaf, None)

    def _give_up(self, recogniser: Recogniser, end: int | None) -> None:
        begin, said = recogniser.judged, recogniser.said
        since = self._doubtful_since(begin)
        if said and (since is None or since > said[0]):
            self._doubts.append((begin, said[0]))  # it has heard what no score told
            self._doubts.sort()
        self._lose(begin, end)

    def _lose(self, begin: int, end: int | None) -> None:
        if len(self._lost) >= LOST_MAX:
            begin = min(begin, *(one[0] for one in self._lost))
            self._lost, end = [], None
        if self._lost and self._lost[-1][1] == begin:
            begin = self._lost.pop()[0]
        if end is None or begin < end:
            self._lost.append((begin, end))

    @property
    def answered(self) -> int:
        """What was heard before is judged, or lost."""
        if self._open:
            return min(one.judged for one in self._open.values())
        return self._deaf or 0

    def is_lost(self, at: int) -> bool:
        """May words have been spoken there that nobody will answer for?"""
        return any(
            begin <= at and (end is None or at < end) and self._doubtful(begin, at)
            for begin, end in self._lost
        )

    def is_open(self, at: int) -> bool:
        """May words have been spoken there that nobody has answered for yet?"""
        if self._deaf is not None and self._deaf <= at and self._doubtful(self._deaf, at):
            return True
        for one in self._open.values():
            if one.judged <= at and (one.said or self._doubtful(one.judged, at)):
                return True
        # Sound that waits for its scores is in doubt as well.
        return self._unscored is not None and self._unscored <= at and self._late()

    def _late(self) -> bool:
        assert self._unscored is not None
        return not self._detected or self._last - self._unscored > SCORE_LATE_NS

    def _doubtful(self, begin: int, at: int) -> bool:
        since = self._doubtful_since(begin)
        return since is not None and since <= at

    def _doubtful_since(self, begin: int) -> int | None:
        return next((max(begin, doubt[0]) for doubt in self._doubts if doubt[1] > begin), None)
