"""Where the time went between a caller's last word and the first sound of the answer; live and recorded, by one code.

    end of speech --endpointing--> stopped --stt--> words --llm_first_token--> token --llm--> sentence
        --tts_first_audio--> audio --playout--> heard

A stage that was over before the one ahead of it (speculation) counts nothing, so the stages of a turn always add up to its
whole. The two ends are said by whoever knows best, and the waterfall says who: the sound itself where there is any, the
scores of the speech detector, what was typed, or else the session's own belief.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Final

import msgspec

from rspp.adapters.transports.loopback.script import voiced
from rspp.contract.event import Text
from rspp.contract.signals import SignalName
from rspp.kernel import inputs as i
from rspp.kernel.trace import Item
from rspp.media.level import mean_square
from rspp.timeline.story import Said, Story

STAGES: Final = ("endpointing", "stt", "llm_first_token", "llm", "tts_first_audio", "playout")
# Speech with a hole no longer than this is one run of speech.
HOLE_NS: Final = 300_000_000
NS_PER_TENTH: Final = 100_000

# Who says when the caller's speech ended.
BY_SOUND: Final = "sound"
BY_SCORES: Final = "speech_scores"
BY_SIGNAL: Final = "speech_stopped"
BY_TYPING: Final = "typed"
# Who says when the caller first heard the answer.
BY_PLAYBACK: Final = "playback_started"
BY_SENDING: Final = "audio_sent"


class Marks(msgspec.Struct):
    """The moments of one turn, as far as it has come. Times are the session's nanoseconds."""

    turn_id: str
    opened_at: int
    stopped_at: int | None = None  # the session took the caller to have stopped
    words_at: int | None = None
    token_at: int | None = None
    sentence_at: int | None = None
    audio_at: int | None = None
    sent_at: int | None = None
    played_at: int | None = None  # the client says that the caller hears it
    cut_at: int | None = None  # the caller took the floor
    ended_at: int | None = None
    heard_ms: int = 0
    superseded: bool = False
    terminal: str = "none"
    reason: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """What the caller's ear knows of one turn."""

    first_ns: int | None = None
    last_ns: int | None = None
    heard_ms: int = 0
    gap_ms_most: int = 0


class Waterfall(msgspec.Struct, frozen=True, kw_only=True):
    """One turn's latency, whole and by stage; empty where nothing was heard, or nothing said before it."""

    turn_id: str
    whole_ms: float | None
    stages_ms: dict[str, float]
    speech_ended_at: int | None
    heard_at: int | None
    speech_by: str | None
    heard_by: str | None
    broken: bool = (
        False  # inputs of it are not in the recording, so that its end of speech or its stages are not known
    )


class Watch:
    """Notes the moments of all turns from a session's inputs and what came of them."""

    def __init__(self) -> None:
        self.turns: dict[str, Marks] = {}  # bounded: one a turn of the session
        self.calls: dict[str, tuple[str | None, str]] = {}  # running calls -> turn, modality
        self._stopped_at: int | None = None
        self._words_at: int | None = None

    def took(self, at: int, received: i.Input) -> None:
        """An input."""
        if type(received) is i.CallProduced:
            self._produced(at, received)
        elif isinstance(received, i.CallFinished | i.CallFailed | i.CallCancelled):
            self.calls.pop(received.call_id, None)

    def did(self, made: Item) -> None:
        """What the kernel did; frames of audio come by `sent`."""
        if made.what == "signal":
            self._announced(made)
        elif made.what == "invoke":
            self.calls[made.facts["call"]] = (made.turn, made.name)
            turn = self.turns.get(made.turn or "")
            if turn is not None and made.name == "tts" and "chars" in made.facts:
                turn.sentence_at = made.at if turn.sentence_at is None else turn.sentence_at
        elif made.what == "kill_call":
            self.calls.pop(made.facts["call_id"], None)
        elif made.what == "send" and made.facts.get("samples"):
            self.sent(made.at, made.turn)

    def sent(self, at: int, turn_id: str | None) -> None:
        """Samples went out toward the caller."""
        turn = self.turns.get(turn_id or "")
        if turn is not None and turn.sent_at is None:
            turn.sent_at = at
            self._answers(turn)

    def _answers(self, turn: Marks) -> None:
        """From now on it is settled what this turn answers."""
        turn.stopped_at, turn.words_at = self._stopped_at, self._words_at

    def _produced(self, at: int, chunk: i.CallProduced) -> None:
        turn_id, modality = self.calls.get(chunk.call_id, (None, ""))
        if (
            modality == "stt"
            and isinstance(chunk.payload, Text)
            and chunk.payload.final
            and chunk.payload.text.strip()
        ):
            self._words_at = at
        turn = self.turns.get(turn_id or "")
        if turn is None:
            return
        if modality == "llm" and turn.token_at is None:
            turn.token_at = at
        elif modality == "tts" and turn.audio_at is None:
            turn.audio_at = at

    def _announced(self, made: Item) -> None:
        name, at = made.name, made.at
        if name == SignalName.SPEECH_STOPPED:
            self._stopped_at = at
        elif name == SignalName.TURN_OPEN and made.turn is not None:
            self.turns[made.turn] = Marks(made.turn, at)
        turn = self.turns.get(made.turn or "")
        if turn is None:
            return
        if name == SignalName.TURN_SUPERSEDED:
            turn.superseded = True
        elif name == SignalName.PLAYBACK_STARTED:
            if turn.sent_at is None:
                self._answers(turn)  # at level L0 nothing is seen to be sent
            turn.played_at = at if turn.played_at is None else turn.played_at
        elif name in (SignalName.PLAYBACK_CANCELLED, SignalName.PLAYBACK_COMPLETED):
            turn.heard_ms = max(turn.heard_ms, made.facts.get("detail", {}).get("heard_ms", 0))
            if made.facts.get("reason") == "barge_in":
                turn.cut_at = at
        elif name in (SignalName.COMMIT, SignalName.ABORT):
            turn.terminal, turn.reason, turn.ended_at = name, made.facts.get("reason"), at


# ---- one turn ------------------------------------------------------------------------------------------------------


def speech_ended(turn: Marks, speech_ns: Sequence[int], heard: Heard) -> int | None:
    """The last frame of the speech that this turn answers, if its answer was heard, and after it."""
    said = bisect_right(speech_ns, turn.stopped_at or turn.opened_at)
    if not said or heard.first_ns is None or heard.first_ns < speech_ns[said - 1]:
        return None
    return speech_ns[said - 1]


def stages_of(turn: Marks, ended: int | None, heard: Heard) -> tuple[float | None, dict[str, float]]:
    """The whole and its parts, in milliseconds; nothing where nothing was heard, or nothing said before it."""
    last = heard.first_ns
    if ended is None or last is None:
        return None, {}
    marks = (turn.stopped_at, turn.words_at, turn.token_at, turn.sentence_at, turn.audio_at, last)
    stages: dict[str, float] = {}
    before = 0
    for stage, mark in zip(STAGES, marks, strict=True):
        at = ended if mark is None else min(mark, last)
        # In whole tenths of a millisecond from the end of speech, so that rounding loses nothing.
        now = max(before, round((at - ended) / NS_PER_TENTH))
        stages[stage] = (now - before) / 10
        before = now
    return before / 10, stages


def interrupted_at(turn: Marks, speech_ns: Sequence[int]) -> int | None:
    """The first frame of the speech that interrupted."""
    if turn.cut_at is None:
        return None
    index = bisect_right(speech_ns, turn.cut_at) - 1
    if index < 0:
        return None
    while index and speech_ns[index] - speech_ns[index - 1] <= HOLE_NS:
        index -= 1
    return speech_ns[index]


def silenced_ms(turn: Marks, speech_ns: Sequence[int], heard: Heard) -> float | None:
    """From the first frame of the speech that interrupted to the last sound of the turn."""
    began = interrupted_at(turn, speech_ns)
    if began is None or heard.last_ns is None:
        return None
    return max(0, round((heard.last_ns - began) / NS_PER_TENTH)) / 10


def stopped_after_ms(turn: Marks, speech_ns: Sequence[int]) -> float | None:
    """From the first frame of the speech that interrupted to the moment from which nothing of the turn is played; None where
    no speech came over what was heard.
    """
    began, heard_from = interrupted_at(turn, speech_ns), turn.played_at or turn.sent_at
    if began is None or turn.cut_at is None or heard_from is None or began < heard_from:
        return None
    return round((turn.cut_at - began) / NS_PER_TENTH) / 10


# ---- of a story ----------------------------------------------------------------------------------------------------


class Speech(msgspec.Struct, frozen=True):
    """The times of frames with a voice in them, those of typed messages, and who says so."""

    by: str
    voiced_ns: list[int]
    typed_ns: list[int]


def questions(story: Story, turns: Mapping[str, Marks]) -> dict[str, list[Said]]:
    """Each turn's words of the caller: the finals since the turn before, or else what was heard last.

    A turn that opened on a guess has its final words only afterwards.
    """
    asked: dict[str, list[Said]] = {}
    before = -1
    for turn in turns.values():
        if not meant(turn):
            continue
        until = max(turn.opened_at, turn.words_at or 0)
        between = [one for one in story.heard if before < one.at <= until and one.text]
        asked[turn.turn_id] = [one for one in between if one.final] or between[-1:]
        before = until
    return asked


def watched(story: Story) -> dict[str, Marks]:
    """The turns of a run, with their moments."""
    watch = Watch()
    inputs = iter(story.inputs.items())
    done = sorted(
        [(made.step, 0, made.at, made) for made in story.items]
        + [(run.step, 1, run.at, run) for run in story.runs],
        key=lambda one: one[:3],
    )
    pending = next(inputs, None)
    for step, whats in groupby(done, key=lambda one: one[0]):
        while pending is not None and pending[0] <= step:
            watch.took(*pending[1])
            pending = next(inputs, None)
        for _, _, at, what in whats:
            if isinstance(what, Item):
                watch.did(what)
            elif what.samples:
                watch.sent(at, what.turn)
    return watch.turns


def speech_of(story: Story) -> Speech:
    """When the caller spoke, by the best that the run has to say it."""
    typed: list[int] = []
    scores: list[tuple[int, float]] = []
    sounds: list[tuple[int, bytes]] = []
    for at, received in story.inputs.values():
        if type(received) is i.SpeechScored:
            scores.append((at, received.probability))
        elif type(received) is i.AudioReceived:
            sounds.append((at, received.audio.data))
        elif type(received) is i.TextReceived:
            typed.append(at)
    # Where some of the sound is silenced, an end of it may be no end of speech.
    if story.has_sound and not story.withheld_audio and sounds:
        levels = [mean_square(data[: len(data) // 2 * 2]) ** 0.5 for _, data in sounds]
        loud = [at for (at, _), is_loud in zip(sounds, voiced(levels), strict=True) if is_loud]
        if loud:
            return Speech(BY_SOUND, loud, typed)
    if scores:
        return Speech(BY_SCORES, _scored(scores, story), typed)
    stopped = [made.at for made in story.items if made.name == SignalName.SPEECH_STOPPED]
    return Speech(BY_SIGNAL, stopped, typed)


def _scored(scores: Sequence[tuple[int, float]], story: Story) -> list[int]:
    """As the turn taking reads scores: a voice begins over one threshold and lasts until it is under another."""
    settings = story.graph.policies.turn_taking
    talking = False
    found: list[int] = []
    for at, probability in scores:
        talking = probability >= (settings.silence_threshold if talking else settings.speech_threshold)
        if talking:
            found.append(at)
    return found


def waterfalls(
    story: Story, turns: Mapping[str, Marks] | None = None, speech: Speech | None = None
) -> list[Waterfall]:
    """One a turn, in the order in which they opened, but for those that were taken back before anybody heard of them."""
    speech, missing = speech or speech_of(story), holes(story)
    turns = watched(story) if turns is None else turns
    return [_waterfall(turn, speech, story, missing) for turn in turns.values() if meant(turn)]


def holes(story: Story) -> list[tuple[int, int]]:
    """Between which moments inputs are missing, in a recording that has some."""
    found = [
        (before[0], after[0])
        for (step, before), (following, after) in pairwise(story.inputs.items())
        if following != step + 1
    ]
    if story.inputs and max(story.inputs) < story.through:
        found.append((story.inputs[max(story.inputs)][0], story.ended_at))
    return found


def heard_ms(story: Story, turns: Mapping[str, Marks]) -> dict[str, float]:
    """How much of each turn was heard: as long as the client says; where it does not, as much as was sent."""
    sent: dict[str | None, float] = {}
    for run in story.runs:
        sent[run.turn] = sent.get(run.turn, 0.0) + (run.samples * 1000 / run.rate if run.rate else 0.0)
    return {
        turn.turn_id: turn.heard_ms
        or (0.0 if story.reports_playback and turn.played_at is None else sent.get(turn.turn_id, 0.0))
        for turn in turns.values()
    }


def meant(turn: Marks) -> bool:
    """Is this a turn that people would count? One that was opened too early and taken back unheard is not."""
    return turn.sent_at is not None or turn.played_at is not None or not turn.superseded


def _first_heard(turn: Marks, story: Story) -> tuple[int | None, str | None]:
    """When the caller first heard the turn, and who says so; of a client that says what it plays, nobody else does."""
    if turn.played_at is not None:
        return turn.played_at, BY_PLAYBACK
    if turn.sent_at is None or story.reports_playback:
        return None, None
    return turn.sent_at, BY_SENDING


def _waterfall(turn: Marks, speech: Speech, story: Story, missing: Sequence[tuple[int, int]]) -> Waterfall:
    first, heard_by = _first_heard(turn, story)
    heard = Heard(first)
    by, spoken = speech.by, speech.voiced_ns
    typed = bisect_right(speech.typed_ns, turn.opened_at)
    if typed and speech.typed_ns[typed - 1] > (turn.stopped_at or -1):
        at = speech.typed_ns[typed - 1]
        by, spoken = BY_TYPING, [at]
        turn = msgspec.structs.replace(turn, stopped_at=at, words_at=at)
    ended = speech_ended(turn, spoken, heard)
    broken = ended is not None and _lies_in(missing, ended, first or ended)
    if ended is not None and _lies_in(missing, ended, turn.stopped_at or turn.opened_at):
        ended = None
    whole, stages = stages_of(turn, ended, heard)
    return Waterfall(
        turn_id=turn.turn_id,
        whole_ms=whole,
        # Without the inputs nobody knows which stage took the time.
        stages_ms=stages if story.inputs and not broken else {},
        speech_ended_at=ended,
        heard_at=first,
        speech_by=by if ended is not None else None,
        heard_by=heard_by,
        broken=broken,
    )


def _lies_in(missing: Sequence[tuple[int, int]], first: int, last: int) -> bool:
    """Is any input missing between these moments?"""
    return any(began < last and ended > first for began, ended in missing)
