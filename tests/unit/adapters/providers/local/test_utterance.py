"""Speech is kept and decoded when it is worth it, silence never is, and no syllable falls between two utterances."""

from __future__ import annotations

import numpy as np

from rspp.adapters.providers.local.silero_model import WINDOW_BYTES, Scored, Window, nothing_heard
from rspp.adapters.providers.local.sound import Samples
from rspp.adapters.providers.local.utterance import (
    NEW_WINDOWS_MIN,
    PAUSE_WINDOWS,
    PRE_ROLL_WINDOWS,
    QUIET_WINDOWS_MAX,
    WINDOWS_MAX,
    Utterance,
)
from rspp.adapters.providers.local.whisper_model import NO_WORDS, Words


class Loud:
    """A detector for which anything but zeros is speech."""

    def infer(self, batch: list[Window]) -> list[Scored]:
        return [Scored(1.0 if any(window.pcm) else 0.0, nothing_heard()) for window in batch]


class Decoder:
    """Says how many windows of speech it was shown, and remembers them."""

    def __init__(self) -> None:
        self.shown: list[Samples] = []

    def __call__(self, sound: Samples) -> Words:
        self.shown.append(sound)
        return Words(f"{np.count_nonzero(sound) // 512} windows", 0.9)


def utterance() -> tuple[Utterance, Decoder]:
    decoder = Decoder()
    return Utterance(Loud(), decoder), decoder


def speech(windows: int) -> bytes:
    return b"\x00\x10" * 512 * windows


def quiet(windows: int) -> bytes:
    return bytes(WINDOW_BYTES * windows)


def test_silence_is_never_decoded() -> None:
    heard, decoder = utterance()

    assert heard.listen(quiet(500)) is None
    assert heard.finish(b"") == NO_WORDS
    assert decoder.shown == []


def test_a_click_is_no_speech() -> None:
    heard, decoder = utterance()
    heard.listen(quiet(20) + speech(2) + quiet(20))

    assert heard.finish(b"") == NO_WORDS
    assert decoder.shown == []


def test_without_speech_only_the_last_second_is_kept() -> None:
    heard, _ = utterance()
    for _ in range(50):
        heard.listen(quiet(20))

    assert len(heard._pcm) == QUIET_WINDOWS_MAX * WINDOW_BYTES


def test_a_partial_comes_after_enough_new_speech_and_not_before() -> None:
    heard, decoder = utterance()

    assert heard.listen(quiet(40) + speech(NEW_WINDOWS_MIN - 1)) is None
    first = heard.listen(speech(1))
    assert first is not None
    assert first.words.text == f"{NEW_WINDOWS_MIN} windows"
    assert heard.listen(speech(1)) is None
    assert len(decoder.shown) == 1


def test_what_was_decoded_in_the_pause_is_the_final() -> None:
    heard, decoder = utterance()
    heard.listen(quiet(40) + speech(6))
    partial = heard.listen(quiet(PAUSE_WINDOWS))
    assert partial is not None

    assert heard.finish(quiet(3)) == partial.words
    assert len(decoder.shown) == 1


def test_speech_after_the_last_decode_is_in_the_final() -> None:
    heard, _ = utterance()
    heard.listen(speech(12))

    assert heard.finish(speech(4)).text == "16 windows"


def test_the_sound_before_the_first_speech_is_decoded_with_it() -> None:
    heard, decoder = utterance()
    heard.listen(quiet(100))
    heard.finish(speech(5))

    assert len(decoder.shown[0]) == (PRE_ROLL_WINDOWS + 5) * 512


def test_a_final_begins_the_next_utterance_and_nothing_is_heard_twice() -> None:
    heard, _ = utterance()
    heard.listen(quiet(20) + speech(10) + quiet(PRE_ROLL_WINDOWS))
    heard.finish(b"")

    assert heard.finish(quiet(5)) == NO_WORDS
    assert heard.finish(speech(4)).text == "4 windows"


def test_half_a_window_at_the_end_is_heard() -> None:
    heard, decoder = utterance()
    heard.finish(speech(3) + speech(1)[: WINDOW_BYTES // 2])

    assert np.count_nonzero(decoder.shown[0]) == 3 * 512 + 256


def test_an_endless_utterance_is_cut_at_its_quietest_and_the_rest_is_kept() -> None:
    heard, decoder = utterance()
    tail = 50
    got = None
    for chunk in (speech(WINDOWS_MAX - tail - 1), quiet(1), speech(tail)):
        got = heard.listen(chunk)

    assert got is not None
    assert got.final
    assert got.words.text == f"{WINDOWS_MAX - tail - 1} windows"
    assert heard.finish(b"").text == f"{tail} windows"
    assert max(map(len, decoder.shown)) <= WINDOWS_MAX * 512
