"""Audio streams are whole and end once; text only moves forward and its finals never change."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.codes import CODES
from rspp.contract.event import Audio, Text
from rspp.contract.rules import Violation
from rspp.contract.streams import AudioStreamCheck, TextStreamCheck, check_audio
from rspp.contract.words import Codec
from tests.unit.contract.samples import changed


def codes(found: list[Violation]) -> list[str]:
    assert {violation.code for violation in found} <= set(CODES)
    return [violation.code for violation in found]


def chunk(at: int = 0, **more: Any) -> Audio:
    return changed(Audio(b"\0\0" * 160, 160, at), **more)


@pytest.mark.parametrize("codec", [Codec.PCM16, Codec.OPUS])
def test_a_stream_of_chunks_that_ends_once_is_accepted(codec: Codec) -> None:
    stream = AudioStreamCheck()
    for at in (0, 160, 480):  # the network lost one
        assert stream.feed(chunk(at, codec=codec)) == []
    assert stream.feed(chunk(640, codec=codec, end=True)) == []
    assert stream.close() == []


def test_an_end_without_samples_is_accepted_wherever_it_stands() -> None:
    stream = AudioStreamCheck()
    assert stream.feed(chunk(0)) == []
    assert stream.feed(Audio(b"", 0, 0, end=True)) == []
    assert stream.close() == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"rate": 44_100}, "audio_rate_unsupported"),
        ({"rate": 0}, "audio_rate_unsupported"),
        ({"channels": 0}, "audio_channels_unsupported"),
        ({"channels": 3}, "audio_channels_unsupported"),
        ({"codec": "mp3"}, "audio_codec_unsupported"),
        ({"samples": 0, "data": b""}, "audio_empty"),
        ({"sample_index": -1}, "media_time_missing"),
        ({"channels": 2}, "audio_size_mismatch"),
        ({"samples": 159}, "audio_size_mismatch"),
        ({"codec": Codec.PCMU}, "audio_size_mismatch"),
    ],
)
def test_a_chunk_that_is_not_what_it_says_is_refused(fault: dict[str, Any], code: str) -> None:
    assert code in codes(check_audio(chunk(**fault)))


def test_a_chunk_of_another_format_or_from_the_past_is_refused_and_the_stream_goes_on() -> None:
    stream = AudioStreamCheck()
    assert stream.feed(chunk(0)) == []
    assert codes(stream.feed(chunk(160, rate=8_000))) == ["audio_format_changed"]
    assert codes(stream.feed(chunk(159))) == ["audio_overlap"]
    assert stream.feed(chunk(160)) == []


def test_a_stream_ends_exactly_once() -> None:
    stream = AudioStreamCheck()
    assert stream.close() == []  # never began
    stream.feed(chunk(0))
    assert codes(stream.close()) == ["audio_end_missing"]
    stream.feed(chunk(160, end=True))
    assert codes(stream.feed(chunk(320))) == ["audio_after_end"]
    assert codes(stream.feed(chunk(320, end=True))) == ["audio_after_end"]


# --- text ---------------------------------------------------------------------------------------------------------


def test_revisions_that_rise_and_one_final_a_segment_are_accepted() -> None:
    stream = TextStreamCheck()
    for segment in range(3):
        for revision in (0, 1, 5):
            assert stream.feed(Text("so far", segment, revision)) == []
        assert stream.feed(Text("all", segment, 6, final=True)) == []
    assert stream.close() == []


@pytest.mark.parametrize(
    ("late", "code"),
    [
        (Text("so", 1, 3), "text_reordered"),
        (Text("so far", 1, 4), "text_reordered"),
        (Text("old", 0, 9), "text_reordered"),
        (Text("old", 0, 9, final=True), "text_reordered"),
        (Text("next", 2, 0), "text_final_missing"),
        (Text("x", 1, -1), "number_negative"),
    ],
)
def test_text_that_does_not_go_forward_is_refused_and_the_stream_stands(late: Text, code: str) -> None:
    stream = TextStreamCheck()
    for good in (Text("first", 0, 1, final=True), Text("so far", 1, 4)):
        assert stream.feed(good) == []
    assert codes(stream.feed(late)) == [code]
    assert stream.feed(Text("so far so good", 1, 5, final=True)) == []


@pytest.mark.parametrize(
    ("after", "code"),
    [
        (Text("late", 0, 9), "text_after_final"),
        (Text("all", 0, 9, final=True), "text_final_repeated"),
        (Text("edited", 0, 9, final=True), "text_final_changed"),
    ],
)
def test_a_final_ends_its_segment_and_never_changes(after: Text, code: str) -> None:
    stream = TextStreamCheck()
    assert stream.feed(Text("all", 0, 1, final=True)) == []
    assert codes(stream.feed(after)) == [code]
    assert stream.feed(Text("next", 1, 0)) == []
    assert codes(stream.close()) == ["text_final_missing"]


TEXTS = st.builds(
    Text, st.sampled_from(["a", "b"]), st.integers(-1, 3), st.integers(-1, 3), final=st.booleans()
)


@given(st.lists(TEXTS, max_size=30))
def test_of_whatever_is_fed_what_is_accepted_only_moves_forward_with_one_final_a_segment(
    texts: list[Text],
) -> None:
    stream = TextStreamCheck()
    accepted = [text for text in texts if not stream.feed(text)]
    places = [(text.segment, text.revision) for text in accepted]
    assert places == sorted(set(places))
    for earlier, later in pairwise(accepted):
        assert earlier.final == (later.segment > earlier.segment)
