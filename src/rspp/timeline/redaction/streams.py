"""Texts that belong together are judged together, and held until the last of them is known.

    a segment     revisions of one stretch of speech, then its final; what any of them shows is masked in all
    a speaker     finals one after the other: a number that goes on in the next segment is one number
    an answer     pieces of one call's text, judged as the one text that they are
    keys          digits that were pressed; a short choice may be known, a code may not

A text that nothing ends is given out at the session's end, masked strictly. What there is no room to hold is never given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from rspp.timeline.records import Span, Spoken
from rspp.timeline.redaction.known import Known
from rspp.timeline.redaction.patterns import find, merged, numbers

CHARACTERS_HELD_MAX: Final = 262_144  # of all streams of a session
TEXTS_HELD_MAX: Final = 8_192
TEXT_CHARACTERS_MAX: Final = 16_384  # of one text: nobody says more at once, and looking costs time
STREAMS_MAX: Final = 64
# So much is judged together, and so long a number at a text's end waits for its rest.
TAIL_CHARACTERS_MAX: Final = 4_096
TAIL_TEXTS_MAX: Final = 12
TAIL_WAIT_NS: Final = 20_000_000_000
STRICT_DIGITS: Final = 3
KEYS_CLEAR_MAX: Final = 2
KEYS_GAP_NS: Final = 5_000_000_000
_WORD: Final = re.compile(r"[^\W_]+")
# Ends in a number, or in what leads to one, a password or an address: what comes next may belong to it.
_OPEN: Final = re.compile(
    r"(?:\b(?:is|ist|lautet|at|ät|dot|punkt|underscore|double|triple|plus|dash|hyphen|and|und|born|geboren|bearer|pin"
    r"|on|am|\w*(?:password|passwort|kennwort|code|number|nummer|zahl|cvv|cvc|card|karte)|(?:at|ät|dot|punkt|underscore|unterstrich)\s+\w+)|[@:+=-])"
    r"[\s,.…-]*\Z",
    re.IGNORECASE,
)
# What is said around a number without saying what it is.
_FILLING: Final = re.compile(
    r"(?:[\W_]|\b(?:it|its|s|is|ist|lautet|es|das|are|sind|and|und|yes|yeah|ja|okay|ok|um|uh|ähm|please|bitte)\b)*",
    re.IGNORECASE,
)


class Held(msgspec.Struct):
    """A text of which only the stand-in is on record until now."""

    step: int
    at: int
    text: str
    standin: str
    final: bool


class Streams:
    """All open streams of one session. `held` and `dropped` count texts; `masked` those that were given with a hole."""

    def __init__(self, known: Known, kinds: Callable[[], Collection[str]]) -> None:
        self._known = known
        self._kinds = kinds
        self._segments: dict[tuple[str, int], list[Held]] = {}  # bounded: TEXTS_HELD_MAX in all
        self._tails: dict[str, list[list[Held]]] = {}  # bounded: likewise
        self._answers: dict[str, list[Held]] = {}  # bounded: likewise
        self._keys: list[Held] = []  # bounded: likewise
        self._full: dict[str, None] = {}  # bounded: STREAMS_MAX; streams there was no room for
        self._ready: list[Spoken] = []  # bounded: taken away with each batch
        self._characters = 0
        self.held = 0
        self.dropped = 0
        self.masked = 0
        self.judged: dict[
            int, list[Span]
        ] = {}  # bounded: taken away with `ready`; by the step of a segment's last text

    # ---- taking --------------------------------------------------------------------------------------------------

    def revise(self, call_id: str, segment: int, text: Held) -> None:
        """A revision of a segment. Its final is judged as soon as it cannot go on."""
        if not self._room(call_id, text):
            return
        self._segments.setdefault((call_id, segment), []).append(text)
        if text.final:
            self._say(call_id, self._segments.pop((call_id, segment)))

    def say(self, speaker: str, text: Held) -> None:
        """A text that is whole: a line that was typed."""
        self._full.pop(speaker, None)  # nothing of it is missing, whatever was before
        if self._room(speaker, text):
            self._say(speaker, [text])

    def go_on(self, call_id: str, text: Held) -> None:
        """A piece of an answer."""
        if call_id not in self._answers:
            for speaker in list(self._tails):
                self._close_tail(speaker)  # who is answered has said what there was to say
            self._pressed()
        if self._room(call_id, text):
            self._answers.setdefault(call_id, []).append(text)

    def press(self, text: Held) -> None:
        """A key."""
        if self._keys and text.at - self._keys[-1].at > KEYS_GAP_NS:
            self._pressed()
            self._full.pop("keys", None)
        if self._room("keys", text):
            self._keys.append(text)

    def end(self, call_id: str, *, cut: bool = False) -> None:
        """The call is over: nothing more comes of its streams. `cut`: there would have been more."""
        answer = self._answers.pop(call_id, None)
        if answer is not None:
            self._judge_answer(answer, cut)
        for key in [key for key in self._segments if key[0] == call_id]:
            self._say(call_id, self._segments.pop(key))
        self._close_tail(call_id)
        self._full.pop(call_id, None)

    def pass_time(self, now: int) -> None:
        for speaker in [name for name, tail in self._tails.items() if now - tail[-1][-1].at > TAIL_WAIT_NS]:
            self._close_tail(speaker)
        if self._keys and now - self._keys[-1].at > KEYS_GAP_NS:
            self._pressed()

    def close(self) -> None:
        """The session is over."""
        self._pressed()
        for call_id in [*self._answers, *{key[0] for key in self._segments}, *self._tails]:
            self.end(call_id, cut=True)

    def take(self) -> list[Spoken]:
        ready, self._ready = self._ready, []
        self.judged = {}
        return ready

    @property
    def answering(self) -> bool:
        return bool(self._answers)

    # ---- room ----------------------------------------------------------------------------------------------------

    def _room(self, stream: str, text: Held) -> bool:
        """A stream of which a part is missing cannot be judged: all of it stays what it is on record, a stand-in."""
        fits = (
            self.held < TEXTS_HELD_MAX
            and len(text.text) <= TEXT_CHARACTERS_MAX
            and self._characters + len(text.text) <= CHARACTERS_HELD_MAX
            and stream not in self._full
        )
        if fits:
            self.held += 1
            self._characters += len(text.text)
            return True
        self.dropped += 1
        if stream not in self._full:
            self._drop(stream)
        return False

    def _drop(self, stream: str) -> None:
        if len(self._full) >= STREAMS_MAX:
            del self._full[next(iter(self._full))]
        self._full[stream] = None
        lost = self._answers.pop(stream, [])
        for key in [key for key in self._segments if key[0] == stream]:
            lost += self._segments.pop(key)
        for texts in self._tails.pop(stream, []):
            lost += texts
        if stream == "keys":
            lost, self._keys = [*lost, *self._keys], []
        self.dropped += len(lost)
        self._forget(lost)

    def _forget(self, texts: list[Held]) -> None:
        self.held -= len(texts)
        self._characters -= sum(len(one.text) for one in texts)

    # ---- judging -------------------------------------------------------------------------------------------------

    def _say(self, speaker: str, segment: list[Held]) -> None:
        """A segment is whole. It is held on while a number at its end may go on in the next one."""
        tail = self._tails.setdefault(speaker, [])
        tail.append(segment)
        long = sum(len(one[-1].text) for one in tail) > TAIL_CHARACTERS_MAX
        if long or len(tail) > TAIL_TEXTS_MAX or not _open(segment[-1].text):
            self._close_tail(speaker)

    def _close_tail(self, speaker: str) -> None:
        """Judge all segments of the tail as one text."""
        tail = self._tails.pop(speaker, [])
        if not tail:
            return
        whole = " ".join(segment[-1].text for segment in tail)
        found = self._found(whole)
        if self._strict:
            run = _unfinished(whole)
            more = [*_bare(whole), *([run] if run is not None else [])]
            found = merged([*more, *((span.start, span.end, span.kind) for span in found)])
        begin = 0
        for segment in tail:
            length = len(segment[-1].text)
            inside = [
                (max(0, span.start - begin), min(length, span.end - begin), span.kind)
                for span in found
                if span.start < begin + length and span.end > begin
            ]
            self._judge_segment(segment, inside)
            begin += length + 1

    def _judge_segment(self, segment: list[Held], inside: list[tuple[int, int, str]]) -> None:
        """What is masked in one revision is masked in all of them, by its words."""
        last = segment[-1]
        places: list[list[tuple[int, int, str]]] = []
        words: dict[str, str] = {}
        certain = {run.digits for run in numbers(last.text)} if last.final else set()
        for one in segment:
            own = [*inside] if one is last else []
            own += [(span.start, span.end, span.kind) for span in self._found(one.text)]
            if self._strict and not (one is last and one.final):
                own += [
                    (run.start, run.end, "number")
                    for run in numbers(one.text)
                    if len(run.digits) >= STRICT_DIGITS and run.digits not in certain
                ]
            places.append(own)
            for start, end, kind in own:
                words.update((match[0].lower(), kind) for match in _WORD.finditer(one.text, start, end))
        for one, own in zip(segment, places, strict=True):
            if words:
                own += [
                    (*match.span(), words[match[0].lower()])
                    for match in _WORD.finditer(one.text)
                    if match[0].lower() in words
                ]
            self._give(one, merged(own))
        found = merged(places[-1])
        if not found and words:
            found = [Span(0, max(1, len(last.text)), "revised")]
        self.judged[last.step] = found

    def _judge_answer(self, answer: list[Held], cut: bool) -> None:
        whole = "".join(one.text for one in answer)
        found = self._found(whole)
        if self._strict and (run := _unfinished(whole, 1 if cut else STRICT_DIGITS)) is not None:
            found = merged([run, *((span.start, span.end, span.kind) for span in found)])
        self._known.learn(whole, found)
        begin = 0
        for one in answer:
            length = len(one.text)
            spans = [
                Span(max(0, span.start - begin), min(length, span.end - begin), span.kind)
                for span in found
                if span.start < begin + length and span.end > begin
            ]
            self._give(one, spans)
            begin += length

    @property
    def _strict(self) -> bool:
        """Is a number of no known form looked for at all?"""
        return "number" in self._kinds()

    def _found(self, text: str) -> list[Span]:
        spans = find(text, self._kinds())
        self._known.learn(text, spans)
        again = list(self._known.seen_in(text))
        if not again:
            return spans
        return merged([*again, *((span.start, span.end, span.kind) for span in spans)])

    def _pressed(self) -> None:
        keys, self._keys = self._keys, []
        digits = [one for one in keys if one.text.isdigit()]
        secret = self._strict and len(digits) > KEYS_CLEAR_MAX
        if secret:
            self._known.number("".join(one.text for one in digits))
        for one in keys:
            self._give(one, [Span(0, len(one.text), "keys")] if secret and one.text.isdigit() else [])

    def _give(self, one: Held, spans: list[Span]) -> None:
        text = one.text
        for span in spans:
            text = text[: span.start] + one.standin[span.start : span.end] + text[span.end :]
        self._ready.append(Spoken(one.step, text, spans))
        self.masked += bool(spans)
        self._forget([one])


def _open(text: str) -> bool:
    """May what comes next belong to what stands at this text's end?"""
    if _OPEN.search(text) is not None:
        return True
    found = numbers(text)
    return bool(found) and not any(c.isalnum() for c in text[found[-1].end :])


def _bare(text: str) -> list[tuple[int, int, str]]:
    """The numbers of a text that says nothing else: what they answer was asked before, and may have been a code."""
    found = [run for run in numbers(text) if len(run.digits) >= STRICT_DIGITS]
    rest = text
    for run in reversed(found):
        rest = rest[: run.start] + " " + rest[run.end :]
    if not found or _FILLING.fullmatch(rest) is None:
        return []
    return [(run.start, run.end, "number") for run in found]


def _unfinished(text: str, single_min: int = STRICT_DIGITS) -> tuple[int, int, str] | None:
    """A number at a text's end that is being said, digit by digit: the rest of it may never come, or come elsewhere."""
    found = numbers(text)
    if not found or any(c.isalnum() for c in text[found[-1].end :]):
        return None
    run = found[-1]
    single = sum(len(group) == 1 for group in run.groups)
    if len(run.digits) < STRICT_DIGITS or (single < single_min and single_min > 1):
        return None
    return run.start, run.end, "number"
