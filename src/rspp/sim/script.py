"""What a simulated caller does, as a list of acts: each waits for its moment, then happens.

The words are fixed lists: a session is read more easily when its caller talks sense.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.kernel.determinism import Stream


class Phrase(msgspec.Struct, frozen=True, gc=False):
    """A stretch of voice, then a pause; `end` is how much that pause sounds like the end of a turn."""

    text: str
    voiced_ms: int
    pause_ms: int = 0
    end: float = 0.9


class Act(msgspec.Struct, frozen=True, gc=False):
    """One thing the caller does, and the moment it waits for: `reply` (over), `speech` (under way) or `now`."""

    kind: str
    after: str = "reply"
    wait_ms: int = 400
    phrases: tuple[Phrase, ...] = ()
    text: str = ""
    ms: int = 0


QUESTIONS: Final = (
    "what time do you close today",
    "can you book a table for four at seven",
    "is there parking near the restaurant",
    "how much is the train to the airport",
    "please move my appointment to friday morning",
    "tell me about the cancellation policy",
    "does the flat have a balcony",
    "i lost my card yesterday evening",
    "which bus goes to the old harbour",
    "could you repeat the second part please",
)
INTERRUPTIONS: Final = (
    "no wait i meant tomorrow",
    "stop that is wrong",
    "hold on a second please",
    "actually make it eight o'clock",
)
BACKCHANNELS: Final = ("yeah", "mhm", "okay", "right", "uh-huh")
# How often each kind of act comes up, beside plain talk, which is the rest.
KINDS: Final = (
    *("talk",) * 4,
    *("talk_over",) * 7,
    *("pause",) * 2,
    *("backchannel",) * 2,
    *("cough",) * 2,
    *("cough_over",) * 2,
    "push_to_talk",
    "digits",
    "digits_over",
    "type",
    "type_twice",
    "type_over",
    "cancel",
    "stop",
    "barge_in_signal",
    "end_of_utterance",
    "long_silence",
    "nonsense",
    "mumble",
)
MS_PER_CHARACTER: Final = 55


def spoken_ms(text: str) -> int:
    """How long it takes to say this."""
    return max(260, len(text) * MS_PER_CHARACTER) // 20 * 20


def draw_script(stream: Stream, seconds: int) -> tuple[Act, ...]:
    """As many acts as fit into the session; the first is always plain talk."""
    acts = [_talk(stream, 300)]
    for _ in range(max(4, seconds // 3)):
        act = _draw_act(stream)
        if act.after == "speech" and stream.below(4):
            acts.append(_talk(stream, 300))  # there has to be a reply to talk over
        acts.append(act)
    return tuple(acts)


def _one_of(stream: Stream, texts: tuple[str, ...]) -> str:
    return texts[stream.below(len(texts))]


def _talk(stream: Stream, wait_ms: int) -> Act:
    text = _one_of(stream, QUESTIONS)
    return Act("talk", wait_ms=wait_ms, phrases=(Phrase(text, spoken_ms(text)),))


def _draw_act(stream: Stream) -> Act:
    kind = _one_of(stream, KINDS)
    wait_ms = 200 + stream.below(900)
    over_ms = 150 + stream.below(2500)
    if kind == "talk":
        return _talk(stream, wait_ms)
    if kind == "talk_over":
        text = _one_of(stream, INTERRUPTIONS)
        return Act(kind, "speech", over_ms, (Phrase(text, spoken_ms(text)),))
    if kind == "pause":
        return Act(kind, "reply", wait_ms, _with_pause(stream))
    if kind == "backchannel":
        text = _one_of(stream, BACKCHANNELS)
        return Act(kind, "speech", over_ms, (Phrase(text, 260 + stream.below(160)),))
    if kind in ("cough", "cough_over"):
        after = "speech" if kind == "cough_over" else "reply"
        return Act(
            kind,
            after,
            over_ms if kind == "cough_over" else wait_ms,
            (Phrase("", 60 + stream.below(240), 0, 0.1),),
        )
    if kind == "mumble":
        return Act(kind, "reply", wait_ms, (Phrase("", 900 + stream.below(900), 0, 0.5),))
    return _draw_signal(stream, kind, wait_ms, over_ms)


def _draw_signal(stream: Stream, kind: str, wait_ms: int, over_ms: int) -> Act:
    """The acts that are not, or not only, voice."""
    over = kind in ("digits_over", "type_over", "cancel", "stop", "barge_in_signal")
    after, wait = ("speech", over_ms) if over else ("reply", wait_ms)
    if kind == "push_to_talk":
        text = _one_of(stream, QUESTIONS)
        return Act(kind, "now", 600 + stream.below(1500), (Phrase(text, spoken_ms(text)),))
    if kind in ("digits", "digits_over"):
        return Act(
            "digits",
            after,
            wait,
            text="".join(str(stream.below(10)) for _ in range(1 + stream.below(4))),
            ms=stream.below(2),
        )
    if kind in ("type", "type_twice", "type_over"):
        return Act(
            "type_twice" if kind == "type_twice" else "type", after, wait, text=_one_of(stream, QUESTIONS)
        )
    if kind == "end_of_utterance":
        text = _one_of(stream, QUESTIONS)
        return Act(kind, "reply", wait_ms, (Phrase(text, spoken_ms(text), 0, 0.2),))
    return Act(kind, after, wait, ms=1500 + stream.below(3500))


def _with_pause(stream: Stream) -> tuple[Phrase, ...]:
    """A sentence with a hole in it; sometimes the hole sounds like an end, and is none."""
    text = _one_of(stream, QUESTIONS)
    words = text.split()
    cut = 1 + stream.below(max(1, len(words) - 2))
    first, second = " ".join(words[:cut]), " ".join(words[cut:])
    sounds_like_end = 0.85 if stream.below(2) else 0.2
    return (
        Phrase(first, spoken_ms(first), 200 + stream.below(600), sounds_like_end),
        Phrase(second, spoken_ms(second)),
    )
