"""What is masked in a text is silent in the sound, and what nobody has judged in time is silent too."""

from __future__ import annotations

from typing import Any

from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec, RecordingLevel
from rspp.kernel import inputs as i
from rspp.timeline.redaction.hearing import OVERLAP_NS
from rspp.timeline.redaction.policy import RedactionPolicy, policy_of
from rspp.timeline.redaction.session import SessionRedactor
from rspp.timeline.redaction.sounds import HELD_NS_MAX, WORD_TIMES

MS = 1_000_000
FRAME_MS = 20
LOUD = b"\x11\x22" * 320


class Line:
    """A redactor at L2 that hears a caller's frames; what came out of it is put together again by step."""

    def __init__(self, policy: RedactionPolicy | None = None) -> None:
        self.redactor = SessionRedactor(policy or RedactionPolicy(), "t")
        self.redactor.level = RecordingLevel.L2
        self.now = self.step = self.frames = 0
        self.out: dict[int, bytes] = {}
        self.masked: set[int] = set()
        self.at: dict[int, int] = {}

    def hear(self, ms: int, codec: Codec = Codec.PCM16, data: bytes = LOUD) -> None:
        for _ in range(ms // FRAME_MS):
            self.step += 1
            self.at[self.step] = self.now
            audio = Audio(data, 320, self.frames * 320, codec=codec)
            self.redactor.hear(self.step, self.now, i.AudioReceived(audio, self.frames), data)
            self.frames += 1
            self.now += FRAME_MS * MS

    def final(self, text: str, segment: int = 0, times: Any = None) -> None:
        self.step += 1
        attributes = None if times is None else {WORD_TIMES: times}
        said = Text(text, segment=segment, final=True, role="user", attributes=attributes)
        self.redactor.take(self.step, self.now, i.CallProduced("stt", 1, 0, said))

    def speak(self, call: str, chunks: int = 3) -> list[int]:
        steps = []
        for number in range(chunks):
            self.step += 1
            received = i.CallProduced(call, 1, number, Audio(LOUD, 320, number * 320))
            self.redactor.hear(self.step, self.now, received, LOUD)
            steps.append(self.step)
        return steps

    def take(self, *, all_of_it: bool = False) -> None:
        self.redactor.settled(all_of_it=all_of_it)
        for sound in self.redactor.sounds(all_of_it=all_of_it):
            at = 0
            for step, size in zip(sound.steps, sound.sizes, strict=True):
                self.out[step] = sound.data[at : at + size]
                at += size
            self.masked.update(sound.masked)

    def loud(self, begin_ms: int, end_ms: int) -> set[bool]:
        """Whether what was heard then is sound, or silence, or both."""
        return {
            any(self.out[step])
            for step, at in self.at.items()
            if begin_ms * MS <= at < end_ms * MS and step in self.out
        }


def test_sound_is_held_until_its_words_are_known_and_harmless_sound_is_whole() -> None:
    line = Line()
    line.hear(2_000)
    line.take()
    assert line.out == {}
    line.final("what a nice day")
    line.hear(8_000)
    line.final("and so it goes", 1)
    line.take()
    assert line.loud(0, 2_000) == {True}
    assert all(data == LOUD for data in line.out.values())
    assert line.masked == set()


def test_without_word_times_the_whole_utterance_is_silent() -> None:
    line = Line()
    line.hear(2_000)
    line.final("what a nice day")
    line.hear(10_000)
    line.final("my pin is 739184, ok", 1)
    line.hear(10_000)
    line.final("what else", 2)
    line.take()
    line.hear(10_000)
    line.final("good bye", 3)
    line.take()
    assert line.loud(2_000, 12_000) == {False}
    assert line.loud(12_020, 18_000) == {True}
    assert line.masked


def test_with_word_times_only_the_masked_words_are_silent() -> None:
    line = Line()
    line.hear(4_000)
    line.final("my pin is 739184, ok", times="0-400 500-900 1000-1300 2000-3000 3400-3800")
    line.hear(8_000)
    line.final("good bye", 1)
    line.take()
    assert line.loud(0, 1_860) == {True}
    assert line.loud(1_900, 3_100) == {False}
    assert line.loud(3_140, 4_000) == {True}


def test_word_times_that_do_not_fit_the_words_are_not_believed() -> None:
    for times in (
        "0-400",
        "0-400 500-900 1000-1300 2000-3000 x-y",
        "0-400 500-900 1000-1300 2000-3000 4000-3400",
        17,
    ):
        line = Line()
        line.hear(4_000)
        line.final("my pin is 739184, ok", times=times)
        line.hear(8_000)
        line.final("good bye", 1)
        line.take()
        assert line.loud(0, 4_000) == {False}, times


def test_a_frame_is_cut_to_the_sample() -> None:
    line = Line()
    line.hear(1_000)
    line.final("739184139, ok", times="290-410 800-900")
    line.hear(8_000)
    line.final("good bye", 1)
    line.take()
    first = next(step for step in sorted(line.masked))
    assert line.out[first][:320] == LOUD[:320]  # from 170 ms on, and its frame begins at 160
    assert not any(line.out[first][320:])


def test_what_nobody_judged_in_time_is_silence() -> None:
    line = Line()
    line.hear(HELD_NS_MAX // MS + 4_000)
    line.take()
    assert line.loud(0, 2_000) == {False}
    held = line.redactor._sounds
    assert held._bytes <= 60 * 50 * 640 + 640
    line.take(all_of_it=True)
    assert line.loud(0, HELD_NS_MAX // MS) == {False}
    assert held._bytes == 0


def test_silence_is_what_its_codec_calls_silence() -> None:
    line = Line()
    line.hear(100, Codec.PCMU, b"\x12" * 320)
    line.take(all_of_it=True)
    assert set(b"".join(line.out.values())) == {0xFF}


def test_an_answer_is_heard_and_the_sentence_with_a_number_is_not() -> None:
    line = Line()
    redactor = line.redactor
    redactor.says("tts-1", "Thank you.")
    redactor.says("tts-2", "Your card is 4111 1111 1111 1111.")
    plain, secret, unknown = line.speak("tts-1"), line.speak("tts-2"), line.speak("tts-3")
    line.take()
    assert {any(line.out[step]) for step in plain} == {True}
    assert {any(line.out[step]) for step in secret} == {False}
    assert not any(step in line.out for step in unknown)
    line.take(all_of_it=True)
    assert {any(line.out[step]) for step in unknown} == {False}
    assert set(secret) <= line.masked


def test_a_number_that_two_sentences_share_is_in_neither() -> None:
    """The answer is judged whole before any sentence of it is heard."""
    line = Line()
    for number, piece in enumerate(("The number is five five five.", " Zero one three nine.", " Bye.")):
        line.step += 1
        said = i.CallProduced("llm", 1, number, Text(piece, role="assistant"))
        line.redactor.take(line.step, 0, said)
    line.redactor.says("tts-1", "The number is five five five.")
    line.redactor.says("tts-2", "Zero one three nine.")
    line.redactor.says("tts-3", "Bye.")
    one, two, three = line.speak("tts-1"), line.speak("tts-2"), line.speak("tts-3")
    line.take()
    assert line.out == {}
    line.redactor.take(line.step + 1, 0, i.CallFinished("llm", 1))
    line.take()
    assert {any(line.out[step]) for step in (*one, *two)} == {False}
    assert {any(line.out[step]) for step in three} == {True}


def test_a_policy_may_drop_all_sound_or_keep_it_raw() -> None:
    dropped = Line(policy_of("{name: d, everybody: {audio_raw: {L2: drop}}}"))
    dropped.hear(1_000)
    dropped.take(all_of_it=True)
    assert dropped.out == {}
    raw = Line(policy_of("{name: r, everybody: {audio_raw: {L2: allow}}}"))
    raw.hear(1_000)
    raw.final("my pin is 739184, ok")
    raw.take()
    assert raw.loud(0, 1_000) == {True}
    assert raw.masked == set()


def test_hashed_texts_are_still_judged_for_what_may_be_heard() -> None:
    line = Line(policy_of("{name: h, everybody: {text_raw: {L2: hash}}}"))
    line.hear(2_000)
    line.final("my pin is 739184, ok")
    line.hear(2 * OVERLAP_NS // MS)
    line.final("good bye", 1)
    line.take()
    assert line.loud(0, 2_000) == {False}
    assert line.loud(2_020, 4_000) == {True}
