"""A recording is put together from pieces of any shape; what contradicts itself, or would fill the memory, is refused."""

from __future__ import annotations

import msgspec
import pytest

from rspp.contract.codec import CodecError
from rspp.contract.event import Audio
from rspp.kernel.inputs import AudioReceived
from rspp.timeline import recording as recordings
from rspp.timeline import records as r
from rspp.timeline.recording import assemble
from tests.unit.timeline.calls import simulated_bytes


def records() -> list[r.AnyRecord]:
    return r.unframe(simulated_bytes()).records


def put_together(found: list[r.AnyRecord]) -> recordings.Recording:
    return assemble([r.Frames(found, torn=False, end=0, unknown=0)])


def part(run: str, number: int = 1) -> r.Part:
    return r.Part(session_id="s", tenant_id="t", run=run, number=number)


def test_what_was_written_before_the_head_counts_as_what_was_written_behind_it() -> None:
    head, *others = records()
    told, late = put_together([head, *others]), put_together([*others[:3], head, *others[3:]])
    assert isinstance(head, r.Head)
    assert late.input_list() == told.input_list()
    assert late.items == told.items
    assert late.whole


def test_without_any_head_there_is_no_recording() -> None:
    with pytest.raises(CodecError, match="truncated"):
        put_together(records()[1:])


def test_parts_of_one_run_are_one_recording_and_those_of_two_are_refused() -> None:
    every = records()
    assert put_together([part("1-1.000001"), *every[:4], part("1-1.000001", 2), *every[4:]]).whole
    with pytest.raises(CodecError, match="two runs"):
        put_together([part("1-1.000001"), *every[:4], part("1-1.000002"), *every[4:]])


def test_a_few_bytes_that_name_more_audio_than_any_call_has_are_refused() -> None:
    """Each number is a frame like the one before, of 16 MiB."""
    frame = msgspec.to_builtins(AudioReceived(Audio(b"", 320, 0), 0), builtin_types=(bytes,))
    count = recordings.AUDIO_BYTES_MAX // r.RECORD_BYTES_MAX
    head, fits = (
        records()[0],
        r.Inputs(first=1, at=0, entries=[[0, frame, r.RECORD_BYTES_MAX], *[1] * (count - 1)]),
    )
    assert len(put_together([head, fits]).inputs) == count
    with pytest.raises(CodecError, match=rf"payload_too_large at inputs\[{count + 1}\]"):
        put_together([head, msgspec.structs.replace(fits, entries=[*fits.entries, 1])])
