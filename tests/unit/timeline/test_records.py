"""A piece of a recording is read up to its last whole record, and whatever stands there is a record, a torn tail or a fault."""

from __future__ import annotations

import contextlib
import random
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.codec import CodecError
from rspp.contract.words import RecordingLevel
from rspp.timeline import records as r
from tests.unit.timeline.calls import simulated_bytes

GAPS = [r.Gap(step=number, at=number, reason="no_room") for number in range(1, 4)]
DATA = b"".join(map(r.frame, GAPS))


def framed(body: bytes) -> bytes:
    return r.PREFIX.pack(len(body), zlib.crc32(body)) + body


def test_whole_records_come_back_as_they_were() -> None:
    assert r.unframe(DATA) == (GAPS, False, len(DATA), 0)
    assert r.unframe(b"") == ([], False, 0, 0)


def test_a_piece_that_is_cut_anywhere_gives_the_records_before_the_cut() -> None:
    ends = [0, *r.ends(DATA)]
    for size in range(len(DATA)):
        frames = r.unframe(DATA[:size])
        whole = sum(end <= size for end in ends) - 1
        assert frames == (GAPS[:whole], size not in ends, ends[whole], 0)


def test_a_piece_that_a_file_system_lengthened_with_zeros_ends_where_they_begin() -> None:
    assert r.unframe(DATA + bytes(4096)) == (GAPS, True, len(DATA), 0)


def test_a_changed_byte_is_never_a_changed_record() -> None:
    for at in range(len(DATA)):
        for bit in range(8):
            changed = bytearray(DATA)
            changed[at] ^= 1 << bit
            try:
                frames = r.unframe(bytes(changed))
            except CodecError:
                continue
            assert frames.torn
            assert frames.records == GAPS[: len(frames.records)]


@pytest.mark.parametrize("length", [0, r.RECORD_BYTES_MAX + 1, 0xFFFFFFFF])
def test_a_length_that_no_record_has_is_a_fault_at_its_place(length: int) -> None:
    with pytest.raises(CodecError, match=r"payload_too_large at records\[3\]"):
        r.unframe(DATA + r.PREFIX.pack(length, 1) + b"x" * 20)


def test_a_record_of_a_later_version_is_skipped_and_counted() -> None:
    later = framed(msgspec.msgpack.encode({"r": "hologram", "x": 1}))
    assert r.unframe(later + DATA + later) == (GAPS, False, len(DATA) + 2 * len(later), 2)
    more = framed(msgspec.msgpack.encode({"r": "gap", "step": 1, "at": 1, "reason": "no_room", "later": [1]}))
    assert r.unframe(more).records == GAPS[:1]


@pytest.mark.parametrize(
    "body",
    [
        b"\xc1",
        b"\x90",
        b"\xc0",
        msgspec.msgpack.encode("head"),
        msgspec.msgpack.encode({"r": 5}),
        msgspec.msgpack.encode({"r": "gap"}),
        msgspec.msgpack.encode({"r": "gap", "step": "one", "at": 1, "reason": "x"}),
        msgspec.msgpack.encode({"r": "gap", "step": 1.5, "at": 1, "reason": "x"}),
        msgspec.msgpack.encode({"r": "inputs", "first": 1, "at": 0, "entries": 7}),
        msgspec.msgpack.encode({"r": "head", "level": "L9"}),
        b"\x91" * 5_000,
        b"\x81\xa1r" * 5_000,
        b"\xdd\xff\xff\xff\xff",
        b"\x81\xa1r\xdb\xff\xff\xff\xff",
    ],
)
def test_a_body_that_is_no_record_is_a_fault_with_its_place(body: bytes) -> None:
    with pytest.raises(CodecError, match=r"malformed at records\[3\]"):
        r.unframe(DATA + framed(body))


@given(st.binary(max_size=200))
def test_any_bytes_with_a_true_sum_are_records_or_a_fault(body: bytes) -> None:
    with contextlib.suppress(CodecError):
        assert len(r.unframe(framed(body) if body else b"").records) <= 1


def test_a_real_recording_with_changed_bytes_is_read_or_refused_and_nothing_else() -> None:
    data = simulated_bytes(level=RecordingLevel.L1)
    draws = random.Random(7)
    outcomes: set[object] = set()
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(draws.randrange(1, 4)):
            changed[draws.randrange(len(data))] = draws.randrange(256)
        try:
            outcomes.add(r.unframe(bytes(changed[: draws.randrange(len(data))])).torn)
        except CodecError as error:
            outcomes.add(error.code)
    assert "malformed" in outcomes
