"""Packed inputs come back exactly, audio as silence of the same length; what is no packing is refused at its place."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.codec import CodecError
from rspp.contract.event import Audio, Text
from rspp.contract.words import Codec
from rspp.kernel import inputs as i
from rspp.timeline.packing import pack, sound_of, unpack, with_sound
from rspp.timeline.records import Inputs, frame, unframe

FRAME = i.AudioReceived(Audio(b"\1" * 640, 320, 0), 0)


def kept(batch: list[tuple[int, i.Input]], began: int = 0, first: int = 1) -> list[tuple[int, i.Input]]:
    """Through a file and back, with the sound put back where it was."""
    record = pack(first, began, batch, lambda step, at, received: received)
    (read,) = unframe(frame(record)).records
    assert isinstance(read, Inputs)
    found = unpack(read)
    assert [at for at, _ in found] == [at for at, _ in batch]
    for (_, was), (_, now) in zip(batch, found, strict=True):
        before, after = sound_of(was), sound_of(now)
        assert (before is None) == (after is None)
        assert after is None or after == bytes(len(before or b""))
    return [
        (at, with_sound(now, sound_of(was) or b"")) for (_, was), (at, now) in zip(batch, found, strict=True)
    ]


def audio(number: int, **changes: Any) -> i.AudioReceived:
    made = i.AudioReceived(Audio(bytes([number % 256]) * 640, 320, number * 320), number)
    return msgspec.structs.replace(
        made,
        audio=msgspec.structs.replace(
            made.audio, **{k: v for k, v in changes.items() if k in Audio.__struct_fields__}
        ),
        **{k: v for k, v in changes.items() if k not in Audio.__struct_fields__},
    )


def given_audio(number: int, **changes: Any) -> i.CallProduced:
    payload = Audio(bytes(1600), 800, number * 800, 24_000)
    return msgspec.structs.replace(i.CallProduced("tts/1", 1, number, payload), **changes)


def test_a_stream_of_frames_is_a_number_each() -> None:
    batch: list[tuple[int, i.Input]] = [(number * 20_000_000, audio(number)) for number in range(50)]
    assert kept(batch) == batch
    record = pack(1, 0, batch, lambda step, at, received: received)
    assert record.entries[1:] == [20_000_000] * 49
    assert (record.audio, record.audio_bytes) == (50, 50 * 640)


def test_a_calls_stream_of_audio_and_wakings_are_little_more() -> None:
    batch: list[tuple[int, i.Input]] = []
    for number in range(10):
        batch += [(number * 10, given_audio(number)), (number * 10 + 3, i.Woken())]
    assert kept(batch) == batch
    assert pack(1, 0, batch, lambda step, at, received: received).entries[-2:] == [[7], -4]


@pytest.mark.parametrize(
    "odd",
    [
        {"sample_index": 7},
        {"samples": 160},
        {"rate": 8_000},
        {"channels": 2},
        {"codec": Codec.OPUS},
        {"end": True},
        {"data": b""},
        {"data": b"\2" * 100},
        {"transport_sequence": 99},
        {"epoch": 3},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_a_frame_that_is_other_than_the_one_before_comes_back_as_it_was(odd: dict[str, Any]) -> None:
    batch: list[tuple[int, i.Input]] = [(n, audio(n, **(odd if n == 2 else {}))) for n in range(5)]
    assert kept(batch) == batch


@pytest.mark.parametrize(
    "odd",
    [
        {"call_id": "tts/2"},
        {"attempt": 2},
        {"sequence": 40},
        {"port": "audio"},
        {"payload": Audio(bytes(3), 1, 5)},
    ],
    ids=lambda odd: next(iter(odd)),
)
def test_a_calls_audio_that_is_other_than_the_one_before_comes_back_as_it_was(odd: dict[str, Any]) -> None:
    batch: list[tuple[int, i.Input]] = [(n, given_audio(n, **(odd if n == 2 else {}))) for n in range(5)]
    assert kept(batch) == batch


def test_time_that_goes_back_and_numbers_without_end_come_back_as_they_were() -> None:
    batch: list[tuple[int, i.Input]] = [
        (100, audio(0)),
        (-50, audio(1)),
        (-60, i.Woken()),
        (2**62, i.SpeechScored(0.1)),
        (2**62, audio(2, sample_index=2**63 - 1, transport_sequence=2**63)),
        (2**62, audio(3)),
        (5, i.TextReceived("é\n", 3)),
        (6, i.CallProduced("stt", 1, 0, Text("hi", 0, 1, final=True, role="user"))),
    ]
    assert kept(batch, began=50) == batch


INPUT = st.one_of(
    st.builds(audio, st.integers(0, 3)),
    st.builds(given_audio, st.integers(0, 3)),
    st.just(i.Woken()),
    st.builds(i.SpeechScored, st.floats(0, 1)),
    st.builds(i.TextReceived, st.text(max_size=5), st.integers(0, 9)),
    st.builds(i.EvidenceStored, st.text(max_size=3), st.booleans()),
)


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), INPUT), max_size=12), st.integers(0, 2**40))
def test_any_inputs_come_back_as_they_were(batch: list[tuple[int, i.Input]], began: int) -> None:
    assert kept(batch, began) == batch


def full(size: int = 640) -> list[Any]:
    bare = msgspec.structs.replace(FRAME, audio=msgspec.structs.replace(FRAME.audio, data=b""))
    return [0, msgspec.to_builtins(bare, builtin_types=(bytes,)), size]


@pytest.mark.parametrize(
    "entry",
    [
        5,  # a frame that goes on from none
        [5],  # a call's audio likewise
        [],
        None,
        "x",
        b"x",
        1.5,
        True,
        [None, 0.5],
        ["1", 0.5],
        [0, None],
        [0, "nan"],
        [0, {}],
        [0, {"input": "no_such_input"}],
        [0, {"input": "woken"}, 5],
        full(-1),
        full(1 << 40),
        [*full()[:2], "640"],
        [*full()[:2], 1.5],
        {"0": 1},
        [0, [1, 2]],
    ],
    ids=str,
)
def test_an_entry_that_makes_no_sense_is_refused_at_its_place(entry: Any) -> None:
    with pytest.raises(CodecError, match=r"malformed at inputs\[42\]"):
        unpack(Inputs(first=41, at=0, entries=[[0, 0.5], entry]))


def test_numbers_that_grow_beyond_all_bounds_are_numbers_still() -> None:
    record = Inputs(first=1, at=2**63, entries=[full(), *[2**63 - 1] * 10])
    assert unpack(record)[-1][0] == 2**63 + 10 * (2**63 - 1)


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.binary(max_size=3) | st.text(max_size=3),
        st.lists,
        max_leaves=6,
    )
)
def test_no_entry_whatever_raises_anything_else(entry: Any) -> None:
    with contextlib.suppress(CodecError):
        assert len(unpack(Inputs(first=1, at=0, entries=[full(), entry]))) == 2
