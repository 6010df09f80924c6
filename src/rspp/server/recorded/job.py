"""What a reading process is asked, and what it answers: bytes of recordings in, structs of `words` out.

    frame      length (8 bytes), header (msgpack), then the blobs that the header names the sizes of, one after the other

Neither side looks into what it does not need: rows stay as they were encoded, in chunks, until somebody asks for some.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import StrEnum
from typing import BinaryIO, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.server.recorded.words import ReplayResult, Said, Turn
from rspp.timeline.access import Grant
from rspp.timeline.prices import Prices

LENGTH: Final = struct.Struct("<Q")
HEADER_BYTES_MAX: Final = 16 * 1024 * 1024
ROWS_IN_CHUNK: Final = 1_000


class Kind(StrEnum):
    VIEW = "view"
    SOUND = "sound"
    REPLAY = "replay"
    DIFF = "diff"


class Piece(msgspec.Struct, frozen=True):
    """A part of a recording: the numbers of its first and its last segment, and its bytes in the frame."""

    first: int
    last: int
    size: int


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """One recording, and as far as which grant it is to be seen."""

    name: str
    grant: Grant
    pieces: tuple[Piece, ...]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`again`: a kernel is run on the inputs, so that what was sent has its words."""

    kind: Kind
    sources: tuple[Source, ...]
    again: bool = False
    prices: Prices | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    code: str
    message: str


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """`rss_bytes` is how much memory the process holds."""

    failure: Failure | None = None
    sizes: tuple[int, ...] = ()
    rss_bytes: int = 0


class Withheld(msgspec.Struct, frozen=True):
    """A class of payload that this reader does not see, and how much of it there was."""

    payload_class: str
    count: int


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One recording as one grant shows it. Behind it come a blob for each of `PARTS`, and `chunks` blobs of rows.

    What is large is decoded when somebody asks for it, so that no look at a long call stops the loop.
    """

    pipeline: str
    opened_wall_ms: int
    opened_seconds: float
    ended: str | None
    epoch: int
    level: str
    transcript: list[Said]
    turns: list[Turn]
    withheld: list[Withheld]
    problems: list[str]
    has_sound: bool
    rows: int
    chunks: int


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side's sound; its WAV is the blob of the same place behind the sides."""

    side: str
    seconds: float
    peaks: list[float]


# The blobs between a view and its rows, in this order.
PARTS: Final = ("evidence", "summary", "resolved")

ENCODE: Final = msgspec.msgpack.Encoder().encode
JOB: Final = msgspec.msgpack.Decoder(Job).decode
REPLY: Final = msgspec.msgpack.Decoder(Reply).decode
VIEW: Final = msgspec.msgpack.Decoder(View).decode
SIDES: Final = msgspec.msgpack.Decoder(list[Side]).decode
REPLAYED: Final = msgspec.msgpack.Decoder(ReplayResult).decode


def write_frame(stream: BinaryIO, header: bytes, blobs: Sequence[bytes]) -> None:
    stream.write(LENGTH.pack(len(header)))
    stream.write(header)
    stream.writelines(blobs)
    stream.flush()


def read_header(stream: BinaryIO) -> bytes | None:
    """None where the other side has ended in good order."""
    first = stream.read(LENGTH.size)
    if not first:
        return None
    if len(first) < LENGTH.size:
        raise CodecError("truncated", "frame", "its length is not whole")
    (size,) = LENGTH.unpack(first)
    if size > HEADER_BYTES_MAX:
        raise CodecError("payload_too_large", "frame", f"a header of {size} bytes")
    return read_blob(stream, size)


def read_blob(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise CodecError("truncated", "frame", f"{len(data)} of {size} bytes")
    return data
