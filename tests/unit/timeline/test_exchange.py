"""Recordings go out and come in again as they were; what is no recording does not come in at all."""

from __future__ import annotations

import asyncio
import io
import json
import random
from typing import Any

import msgspec
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from rspp.contract.codec import CodecError
from rspp.contract.errors import MisuseError
from rspp.contract.words import RecordingLevel
from rspp.kernel.trace import Item
from rspp.nodes import factories
from rspp.testing.store import MemoryStore
from rspp.timeline import catalogue, exchange, intake
from rspp.timeline import records as r
from rspp.timeline.exchange import COLUMNS, FORMAT, JsonLines, ParquetRows, checked, pieces_of
from rspp.timeline.intake import take_in
from rspp.timeline.library import Library
from rspp.timeline.recording import Recording
from rspp.timeline.view.seen import Seen, see
from tests.unit.timeline.calls import replayed, simulated, simulated_bytes
from tests.unit.timeline.scripted import scripted_bytes

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# ---- out -------------------------------------------------------------------------------------------------------------


def views() -> list[Seen]:
    return [see(simulated(7, session), factories()) for session in (0, 2)]


def json_lines(seen: list[Seen]) -> list[dict[str, Any]]:
    file = io.BytesIO()
    table = JsonLines(file)
    for one in seen:
        table.session(one.head, one.rows)
    table.close()
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_json_lines_are_a_header_then_each_session_and_its_rows() -> None:
    seen = views()
    header, *lines = json_lines(seen)
    assert header["format"] == FORMAT
    assert [name for name, _ in header["columns"]] == [column.name for column in COLUMNS]
    assert [line["session"] for line in lines if line["record"] == "session"] == ["s0", "s2"]
    rows = [line for line in lines if line["record"] == "row"]
    assert len(rows) == sum(len(one.rows) for one in seen)
    for row in rows:
        assert {*row} == {"record", *(column.name for column in COLUMNS)}
    told = [
        row["text"]
        for row in rows
        if row["session"] == "s0" and row["kind"] == "send" and row["name"] == "text"
    ]
    assert told == [one.text for one in replayed(simulated(7, 0)).said]


def test_a_parquet_table_has_the_very_rows_of_the_json_lines() -> None:
    seen = views()
    file = io.BytesIO()
    table = ParquetRows(file)
    for one in seen:
        table.session(one.head, one.rows)
    table.close()
    read = pyarrow.parquet.read_table(io.BytesIO(file.getvalue()))
    rows = read.to_pylist()
    for row in rows:
        row["facts"] = json.loads(row["facts"])
    expected = [
        {key: value for key, value in line.items() if key != "record"} for line in json_lines(seen)[1:]
    ]
    assert rows == [line for line in expected if "kind" in line]
    heads = json.loads(read.schema.metadata[b"sessions"])
    assert [head["session_id"] for head in heads] == ["s0", "s2"]


def test_numbers_of_a_hostile_recording_fit_a_table() -> None:
    recording = simulated(7, 0)
    recording.items.append(Item(2**64 - 1, 10, "signal", "close", None, None, None, {"x": "\u2028"}))
    seen = see(recording)
    file = io.BytesIO()
    table = ParquetRows(file)
    table.session(seen.head, seen.rows)
    table.close()
    assert (
        max(pyarrow.parquet.read_table(io.BytesIO(file.getvalue())).column("step").to_pylist()) == 2**63 - 1
    )


# ---- in --------------------------------------------------------------------------------------------------------------


def test_a_file_is_looked_at_whole() -> None:
    data = simulated_bytes(7, 0)
    found = checked(data)
    assert (found.data, found.cut, found.recording.session_id) == (data, 0, "s0")
    assert found.recording.whole


@pytest.mark.parametrize("size", [1, 7, 8, 100, 5_000])
def test_a_torn_tail_is_cut_off_and_counted(size: int) -> None:
    data = simulated_bytes(7, 0)
    found = checked(data[:-size])
    assert len(found.data) + found.cut == len(data) - size
    assert list(r.ends(found.data))[-1] == len(found.data)
    assert not found.recording.whole


def _record(**fields: Any) -> bytes:
    return r.frame(r.Inputs(**fields))


def _head(**changes: Any) -> bytes:
    return r.frame(msgspec.structs.replace(simulated(7, 0).head, **changes))


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello, I am a recording",
    "zeros": bytes(4096),
    "a length without end": b"\xff\xff\xff\xff" + bytes(64),
    "an archive": b"PK\x03\x04" + bytes(200),
    "no head": _record(first=1, at=0, entries=[1]),
    "another format": _head(format="rspp-recording-v9"),
    "a later version": _head(schema_version="v2.0"),
    "unknown flags": _head(request=msgspec.structs.replace(simulated(7, 0).head.request, flags=(9_999,))),
    "two sessions": simulated_bytes(7, 0) + simulated_bytes(7, 2),
    "a frame of nothing": _head() + _record(first=1, at=0, entries=[1]),
    "a wrong entry": _head() + _record(first=1, at=0, entries=[["x", {}]]),
    "an unknown input": _head() + _record(first=1, at=0, entries=[[0, {"input": "rm"}]]),
    "deep nesting": _head()
    + _record(first=1, at=0, entries=[[0, {"input": "fact_changed", "name": "x", "value": [[[[]]]]}]]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_recording_is_refused_by_name(name: str) -> None:
    with pytest.raises(CodecError) as caught:
        checked(HOSTILE[name])
    assert caught.value.path


def test_a_file_that_would_fill_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = {
        "input": "audio_received",
        "audio": {
            "type": "audio",
            "data": b"",
            "samples": 1,
            "sample_index": 0,
            "rate": 16_000,
            "channels": 1,
            "codec": "pcm16",
            "end": False,
        },
        "transport_sequence": 1,
    }
    bomb = _head() + _record(first=1, at=0, entries=[[0, audio, 16 * 1024 * 1024]] * 1_000)
    with pytest.raises(CodecError, match="audio that is not there"):
        checked(bomb)
    monkeypatch.setattr(exchange, "FILE_BYTES_MAX", 10)
    with pytest.raises(CodecError, match="at most 10 bytes"):
        checked(bomb)


def test_no_flipped_bit_gets_in_unseen() -> None:
    data = simulated_bytes(7, 0)
    for seed in range(60):
        spoiled = bytearray(data)
        spoiled[random.Random(seed).randrange(len(data))] ^= 1 << seed % 8
        try:
            found = checked(bytes(spoiled))
        except CodecError:
            continue
        assert found.cut, "it was taken for whole"
        assert found.data == data[: len(found.data)]


def test_pieces_are_whole_records_and_together_the_file() -> None:
    data = simulated_bytes(7, 0)
    for size in (1, 1_000, 50_000, 10**9):
        pieces = pieces_of(data, size)
        assert b"".join(pieces) == data
        assert all(list(r.ends(piece))[-1] == len(piece) for piece in pieces)
    assert len(pieces_of(data, 50_000)) > 2


def taken_in(data: bytes, store: MemoryStore) -> tuple[intake.TakenIn, Recording]:
    async def main() -> tuple[intake.TakenIn, Recording]:
        said = await take_in(store, checked(data), 1_000)
        library = Library(store)
        return said, await library.read(await library.find(said.name))

    return asyncio.run(main())


@pytest.mark.parametrize("level", list(RecordingLevel))
def test_what_comes_in_is_what_went_out(monkeypatch: pytest.MonkeyPatch, level: RecordingLevel) -> None:
    monkeypatch.setattr(intake, "PIECE_BYTES", 40_000)
    data = simulated_bytes(7, 0, level=level)
    said, recording = taken_in(data, MemoryStore())
    assert (said.new, said.bytes, said.cut) == (True, len(data), 0)
    assert recording == checked(data).recording
    if level is not RecordingLevel.L0:
        assert recording.end is not None
        assert replayed(recording).digest == recording.end.digest


def test_the_same_file_twice_is_one_recording_and_another_of_its_name_stands_beside_it() -> None:
    store = MemoryStore()
    first, _ = taken_in(simulated_bytes(7, 0), store)
    again, _ = taken_in(simulated_bytes(7, 0), store)
    other, recording = taken_in(simulated_bytes(8, 0), store)
    assert (first.new, again.new, again.name) == (True, False, first.name)
    assert other.new
    assert other.name.startswith("s0~import-")
    assert recording.inputs == checked(simulated_bytes(8, 0)).recording.inputs
    found = asyncio.run(Library(store).sessions())
    assert found.total == 2
    assert {one.entry.origin for one in found.sessions} == {"import"}
    assert all(one.entry.complete for one in found.sessions)


def test_the_raw_bytes_of_the_library_are_the_file() -> None:
    store = MemoryStore()
    data = scripted_bytes()
    said, _ = taken_in(data, store)

    async def raw() -> bytes:
        library = Library(store)
        return await library.raw(await library.find(said.name))

    assert asyncio.run(raw()) == data


def test_what_was_deleted_does_not_come_back_by_a_file() -> None:
    store = MemoryStore()
    data = simulated_bytes(7, 0)
    taken_in(data, store)

    async def delete() -> None:
        held = await catalogue.get(store, catalogue.key_of(checked(data).recording.tenant_id, "s0"))
        assert held is not None
        held.entry.deleted_wall_ms = 5
        await catalogue.put(store, held.key, held.entry, held.revision)

    asyncio.run(delete())
    with pytest.raises(MisuseError, match="deleted"):
        taken_in(data, store)
