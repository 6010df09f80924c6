"""Recordings out of here and in again: as what they are, as JSON lines, or as a Parquet table.

A `.rspp` file is the recording itself, record by record, and the only form that can be taken in again and replayed. The other
two hold the rows of `view.rows`, equal in both, for people and their tools:

    {"record": "header", "format": "rspp-rows/v1", "columns": [["session", "text"], ...]}
    {"record": "session", "session": "3f2a...", ...}          what the recording says of itself
    {"record": "row", "session": "3f2a...", "row": 1, ...}    one a row, in the order of time

In a Parquet file the header and the sessions stand in the file's key-value metadata.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Final, Protocol

import msgspec

from rspp.contract.codec import CodecError
from rspp.timeline import records as r
from rspp.timeline.parquet import Column, ParquetWriter
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.sense import check_items
from rspp.timeline.view.rows import Row
from rspp.timeline.view.seen import Head

FORMAT: Final = "rspp-rows/v1"
SUFFIX: Final = ".rspp"
FILE_BYTES_MAX: Final = 1024 * 1024 * 1024
# Audio that is withheld takes a few bytes in a file and its full size in memory.
SILENCE_BYTES_MAX: Final = 2 * 1024 * 1024 * 1024
_INT64_MAX: Final = 2**63 - 1

COLUMNS: Final = (
    Column("session", "text"),
    Column("tenant", "text"),
    Column("row", "integer"),
    Column("time_ms", "number"),
    Column("duration_ms", "number"),
    Column("step", "integer"),
    Column("lane", "text"),
    Column("direction", "text"),
    Column("kind", "text"),
    Column("name", "text"),
    Column("node", "text", optional=True),
    Column("turn", "text", optional=True),
    Column("text", "text", optional=True),
    Column("what", "text"),
    Column("count", "integer"),
    Column("facts", "text"),
)

_ENCODE: Final = msgspec.json.Encoder(order="deterministic", enc_hook=str).encode


class Rows(Protocol):
    """Where rows are written to, session by session."""

    def session(self, head: Head, rows: Iterable[Row]) -> None: ...
    def close(self) -> None: ...


def values_of(head: Head, row: Row) -> list[Any]:
    """One row's values, in the order of `COLUMNS`; `facts` are JSON."""
    return [
        head.session_id,
        head.tenant_id,
        row.row,
        row.time_ms,
        row.duration_ms,
        min(row.step, _INT64_MAX),
        row.lane,
        row.direction,
        row.kind,
        row.name,
        row.node,
        row.turn,
        row.text,
        row.what,
        row.count,
        _ENCODE(row.facts).decode(),
    ]


class JsonLines:
    """One JSON object a line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        columns = [[column.name, column.kind] for column in COLUMNS]
        self._line({"record": "header", "format": FORMAT, "columns": columns})

    def session(self, head: Head, rows: Iterable[Row]) -> None:
        self._line({"record": "session", "session": head.session_id, **msgspec.structs.asdict(head)})
        for row in rows:
            values = zip(COLUMNS, values_of(head, row), strict=True)
            self._line(
                {"record": "row"} | {column.name: value for column, value in values} | {"facts": row.facts}
            )

    def close(self) -> None:
        self._file.flush()

    def _line(self, value: dict[str, Any]) -> None:
        self._file.write(_ENCODE(value) + b"\n")


class ParquetRows:
    """One table."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = ParquetWriter(file, COLUMNS, {"format": FORMAT})
        self._heads: list[Head] = []  # bounded: by the sessions that were named

    def session(self, head: Head, rows: Iterable[Row]) -> None:
        self._heads.append(head)
        self._writer.write(values_of(head, row) for row in rows)

    def close(self) -> None:
        self._writer.say("sessions", _ENCODE(self._heads).decode())
        self._writer.close()


# ---- in --------------------------------------------------------------------------------------------------------------


class Checked(msgspec.Struct, frozen=True):
    """A file that is a recording: `data` are its whole records, `cut` the bytes of a torn tail that were left out."""

    recording: Recording
    data: bytes
    cut: int


def checked(data: bytes) -> Checked:
    """All of a file, looked at record by record; raises CodecError if it is no recording, or says what cannot be."""
    if len(data) > FILE_BYTES_MAX:
        raise CodecError("payload_too_large", "file", f"a recording has at most {FILE_BYTES_MAX} bytes")
    frames = r.unframe(data)
    silence = sum(map(_silence, frames.records))
    if silence > SILENCE_BYTES_MAX:
        raise CodecError("payload_too_large", "inputs", f"{silence} bytes of audio that is not there")
    recording = assemble([frames])
    check_items(recording.items)
    return Checked(recording, data[: frames.end], len(data) - frames.end)


def _silence(record: r.AnyRecord) -> int:
    """How many bytes of audio a record says are withheld."""
    if not isinstance(record, r.Inputs):
        return 0
    told = (entry[2] for entry in record.entries if isinstance(entry, list) and len(entry) == 3)
    return sum(size for size in told if isinstance(size, int) and size > 0)


def pieces_of(data: bytes, bytes_max: int) -> list[bytes]:
    """The records, in pieces of about this size; none is cut."""
    pieces: list[bytes] = []
    began = before = 0
    for end in r.ends(data):
        if end - began > bytes_max and before > began:
            pieces.append(data[began:before])
            began = before
        before = end
    if before > began:
        pieces.append(data[began:before])
    return pieces
