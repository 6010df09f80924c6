"""What a provider gives must be what its modality gives: whole audio in order, text that moves forward, true probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rspp.contract.event import Audio, Note, Sample, Text
from rspp.contract.streams import TextStreamCheck, check_audio
from rspp.spec.graph import ISOLATED
from rspp.testing.conformance.attempt import Attempt, Heard
from rspp.testing.conformance.checks import CheckFailedError, NotApplicableError, require

if TYPE_CHECKING:
    from rspp.testing.conformance.provider import Bench

# What each modality may produce beside metrics and notes, and in whose name its texts are.
PRODUCES: Final = {
    "stt": (Text,),
    "llm": (Text,),
    "tts": (Audio,),
    "vad": (),
    "end_of_turn": (),
    "external": (Text, Audio),
    ISOLATED: (Text, Audio),
}
ROLE: Final = {"stt": "user", "llm": "assistant"}
SCORES: Final = ("vad", "end_of_turn")


async def _fits(bench: Bench) -> None:
    """It gives something, and nothing of a kind that its modality does not give."""
    modality = bench.trial.modality
    heard = await _whole(bench)
    allowed = (*PRODUCES[modality], Sample, Note)
    given: list[object] = [*heard.chunks]
    wrong = {type(chunk).__name__ for chunk in given} - {kind.__name__ for kind in allowed}
    require(not wrong, f"a provider of {modality} gave {', '.join(sorted(wrong))}")
    if modality in SCORES:
        require(heard.scores, "it gave no score for speech and the silence after it")
    else:
        require(not heard.scores, f"a provider of {modality} gave scores")
        require(any(isinstance(chunk, (Text, Audio)) for chunk in heard.chunks), "it gave nothing")


async def _in_order(bench: Bench) -> None:
    """Each chunk is whole and follows the one before."""
    if bench.trial.modality in SCORES:
        raise NotApplicableError("it gives scores and no chunks")
    heard = await _whole(bench)
    in_order(heard, bench.make().info.rates if bench.trial.modality == "tts" else ())
    if bench.trial.modality in ROLE:
        role = ROLE[bench.trial.modality]
        strangers = sorted({str(text.role) for text in heard.texts if text.role != role})
        require(not strangers, f"texts in the name of {', '.join(strangers)}, where {role} is speaking")


def in_order(heard: Heard, rates: tuple[int, ...] = ()) -> None:
    """Audio runs on from its first sample, and text moves forward."""
    due = 0
    for audio in heard.audio:
        for violation in check_audio(audio):
            raise CheckFailedError(f"{violation.code}: {violation.message}")
        require(audio.sample_index == due, f"audio starts at sample {audio.sample_index}, where {due} is due")
        require(not rates or audio.rate in rates, f"audio at {audio.rate} Hz; info says {rates}")
        due += audio.samples
    stream = TextStreamCheck()
    for text in heard.texts:
        for violation in stream.feed(text):
            raise CheckFailedError(f"{violation.code}: {violation.message}")


async def _probable(bench: Bench) -> None:
    """A score is a probability."""
    if bench.trial.modality not in SCORES:
        raise NotApplicableError("it gives chunks and no scores")
    heard = await _whole(bench)
    wrong = [score for score in heard.scores if not 0 <= score <= 1]
    require(not wrong, f"a score of {wrong[:1]} is no probability")


CHECKS: Final = [
    ("output", "gives what its modality gives", _fits),
    ("output", "gives whole chunks in order", _in_order),
    ("output", "scores with probabilities", _probable),
]

# ---- recognition ----------------------------------------------------------------------------------------------------


async def _answers_finalise(bench: Bench) -> None:
    """Asked to finalise after speech, it gives a final, and the next words are another segment."""
    trial = bench.trial
    async with bench.attempt() as attempt:
        await attempt.feed_all((*trial.speech, *trial.silence))
        first = await _final(bench, attempt, 1)
        await attempt.feed_all((*trial.speech, *trial.silence))
        second = await _final(bench, attempt, 2)
        require(second.segment > first.segment, "the second final has the segment of the first")


async def _answers_silence(bench: Bench) -> None:
    """Asked to finalise where nothing was said, it gives an empty final."""
    async with bench.attempt() as attempt:
        await attempt.feed_all(bench.trial.silence[:10])
        final = await _final(bench, attempt, 1)
        require(not final.text.strip(), "it recognised words in silence")


async def _answers_each(bench: Bench) -> None:
    """Asked twice in a row, it answers twice: two unanswered are taken for a hung stream."""
    async with bench.attempt() as attempt:
        attempt.end(last=False)
        attempt.end(last=False)
        await attempt.heard.until(
            lambda h: _finals(h, 2),
            bench.trial.answer_ms_max,
            "asked twice to finalise, it did not answer twice",
        )


async def _final(bench: Bench, attempt: Attempt, number: int) -> Text:
    attempt.end(last=False)
    await attempt.heard.until(
        lambda h: _finals(h, number), bench.trial.answer_ms_max, "asked to finalise, it gave no final"
    )
    return [text for text in attempt.heard.texts if text.final][number - 1]


def _finals(heard: Heard, count: int) -> bool:
    return sum(text.final for text in heard.texts) >= count


async def _whole(bench: Bench) -> Heard:
    async with bench.attempt() as attempt:
        return await bench.whole(attempt)


RECOGNITION: Final = [
    ("finalise", "answers with a final after speech", _answers_finalise),
    ("finalise", "answers with an empty final after silence", _answers_silence),
    ("finalise", "answers each time it is asked", _answers_each),
]
