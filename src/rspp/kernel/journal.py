"""A session's inputs as a file: with them and this code a fresh kernel does again what the session did.

    header   {format, schema_version, open, graph, node_types}
    record   [at_ns, input]          one for each input, in the order in which they were handed in

Two encodings. JSON lines (`.jsonl`) are for people. MessagePack (`.rspp`) is for everything else: each record is
preceded by its length and its CRC-32, four bytes each, big-endian. A file whose writer died is read up to its last
whole record, and says so (`torn`); a fault anywhere before that is refused with its code and the record's number.

Behaviour flags are written resolved, so a journal replays on the path it was made on. Bytes in, values out: opening
files is somebody else's affair. Keeps the replay rule: equal inputs, equal effects.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from struct import Struct as Layout
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from rspp.contract.codec import CodecError, Limits, decode_json, decode_msgpack
from rspp.contract.errors import MisuseError
from rspp.contract.words import CORE_SCHEMA_VERSION
from rspp.kernel.effects import Effect
from rspp.kernel.flags import resolve
from rspp.kernel.hosting import NodeFactory
from rspp.kernel.inputs import AnyInput, Input, Woken
from rspp.kernel.session import SessionKernel
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition, Role

FORMAT: Final = "rspp-inputs-v1"
# One input is at most a payload and its names; a header holds a whole graph. Far above both.
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
LIMITS: Final = Limits(size_bytes_max=RECORD_BYTES_MAX)

T = TypeVar("T")


class Encoding(StrEnum):
    """How a journal is written, by the ending of its file's name."""

    JSON = "jsonl"
    MSGPACK = "rspp"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first record: all that a kernel is born with. `node_types` are those a replay must have factories for."""

    format: str
    schema_version: str
    open: OpenRequest
    graph: GraphDefinition
    node_types: list[str]


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What a journal holds."""

    request: OpenRequest
    graph: GraphDefinition
    inputs: list[tuple[int, Input]]
    torn: bool = False


class _Stamp(msgspec.Struct):
    """As much of a header as says whether the rest can be read."""

    format: str = ""
    schema_version: str = ""


class _Whole(NamedTuple):
    """A journal's records as bytes."""

    records: list[bytes]
    torn: bool


_PREFIX: Final = Layout(">II")
_RECORD: Final[Any] = tuple[int, AnyInput]
_TO_JSON: Final = msgspec.json.Encoder(order="deterministic")
_TO_MSGPACK: Final = msgspec.msgpack.Encoder(order="deterministic")
_FROM_JSON: Final = msgspec.json.Decoder(_RECORD)
_FROM_MSGPACK: Final = msgspec.msgpack.Decoder(_RECORD)


def encoding_of(name: str) -> Encoding:
    """The encoding of a file, by its name."""
    ending = name.rsplit(".", 1)[-1]
    if ending not in (Encoding.JSON.value, Encoding.MSGPACK.value):
        known = " or ".join(f".{encoding}" for encoding in Encoding)
        raise MisuseError("encoding_unsupported", f"{name}: a journal's name ends in {known}")
    return Encoding(ending)


# ---- writing ---------------------------------------------------------------------------------------------------


def write_header(request: OpenRequest, graph: GraphDefinition, encoding: Encoding) -> bytes:
    """The first record of a journal."""
    flags = tuple(sorted(resolve(request.flags)))
    header = Header(
        format=FORMAT,
        schema_version=CORE_SCHEMA_VERSION,
        open=msgspec.structs.replace(request, flags=flags),
        graph=graph,
        node_types=sorted({node.type for node in graph.nodes if node.role is Role.SYNC}),
    )
    return _framed(
        _TO_JSON.encode(header) if encoding is Encoding.JSON else _TO_MSGPACK.encode(header), encoding
    )


def write_input(at: int, received: Input, encoding: Encoding) -> bytes:
    """The record of one input, handed in at `at`."""
    if encoding is Encoding.MSGPACK:
        return _framed(_TO_MSGPACK.encode((at, received)), encoding)
    line = _TO_JSON.encode((at, received))
    if b"null" in line:
        _check_null(line)
    return _framed(line, encoding)


def _check_null(line: bytes) -> None:
    """JSON has no NaN and no infinity: they are written as null, and what comes back would be another input."""
    try:
        _FROM_JSON.decode(line)
    except msgspec.DecodeError as error:
        raise MisuseError("number_not_finite", "JSON cannot hold this input; write MessagePack") from error


def _framed(record: bytes, encoding: Encoding) -> bytes:
    if encoding is Encoding.JSON:
        return record + b"\n"
    return _PREFIX.pack(len(record), zlib.crc32(record)) + record


# ---- reading ---------------------------------------------------------------------------------------------------


def read(data: bytes, encoding: Encoding) -> Recorded:
    """Everything that a journal holds, or a `CodecError` with the number of the record that is at fault."""
    whole = _lines(data) if encoding is Encoding.JSON else _frames(data)
    if not whole.records:
        raise CodecError("truncated", "records[0]", "the journal ends before its header does")
    header = _header(whole.records[0], encoding)
    decoder = _FROM_JSON if encoding is Encoding.JSON else _FROM_MSGPACK
    inputs: list[tuple[int, Input]] = []
    torn = whole.torn
    last = len(whole.records) - 1
    for number, record in enumerate(whole.records[1:], 1):
        try:
            inputs.append(decoder.decode(record))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            # Without a check sum, a line that was cut is known only by its being the last one and making no sense.
            if encoding is Encoding.JSON and number == last and not data.endswith(b"\n"):
                torn = True
                break
            # The decoder is fast and says little; what is wrong is found out only once it is wrong.
            inputs.append(_decoded(record, _RECORD, encoding, number))
    return Recorded(request=header.open, graph=header.graph, inputs=inputs, torn=torn)


def _header(record: bytes, encoding: Encoding) -> Header:
    # The stamp first: a header of another version would else be refused for a reason that helps nobody.
    stamp = _decoded(record, _Stamp, encoding, 0)
    if stamp.format != FORMAT:
        raise CodecError("schema_version_unsupported", "records[0].format", f"only {FORMAT} can be read")
    if stamp.schema_version.partition(".")[0] != CORE_SCHEMA_VERSION.partition(".")[0]:
        raise CodecError(
            "schema_version_unsupported",
            "records[0].schema_version",
            f"only {CORE_SCHEMA_VERSION} can be read",
        )
    header = _decoded(record, Header, encoding, 0)
    try:
        resolve(header.open.flags)
    except ValueError as error:
        raise CodecError("schema_version_unsupported", "records[0].open.flags", str(error)) from error
    return header


def _decoded(record: bytes, kind: type[T], encoding: Encoding, number: int) -> T:
    """One record by the contract's codec; its faults are placed in the file."""
    decode = decode_json if encoding is Encoding.JSON else decode_msgpack
    try:
        return decode(record, kind, LIMITS)
    except CodecError as fault:
        path = fault.path if not fault.path or fault.path[0] in ".[" else f".{fault.path}"
        raise CodecError(fault.code, f"records[{number}]{path}", fault.message) from fault


def _lines(data: bytes) -> _Whole:
    records = data.split(b"\n")
    torn = False
    if records[-1] == b"":
        records.pop()
    elif len(records) == 1:
        torn = not records[0].endswith(b"}")
    return _Whole([] if torn else records, torn)


def _frames(data: bytes) -> _Whole:
    """Every whole record; a check sum that is wrong before the end is a fault, at the end it is a torn tail."""
    records: list[bytes] = []
    at, size = 0, len(data)
    while at < size:
        if size - at < _PREFIX.size:
            return _Whole(records, torn=True)
        length, checksum = _PREFIX.unpack_from(data, at)
        at += _PREFIX.size
        # A disk that was cut off may leave zeros: an empty record is never written.
        if length == 0 and not any(data[at:]):
            return _Whole(records, torn=True)
        if length == 0 or length > RECORD_BYTES_MAX:
            raise CodecError(
                "payload_too_large", f"records[{len(records)}]", f"a record has 1 to {RECORD_BYTES_MAX} bytes"
            )
        record = data[at : at + length]
        at += length
        if len(record) < length or (at == size and zlib.crc32(record) != checksum):
            return _Whole(records, torn=True)
        if zlib.crc32(record) != checksum:
            raise CodecError("malformed", f"records[{len(records)}]", "the check sum is wrong")
        records.append(record)
    return _Whole(records, torn=False)


# ---- doing it again --------------------------------------------------------------------------------------------


class Digest:
    """SHA-256 over every effect in order: two runs did the same exactly when their digests are equal."""

    __slots__ = ("_hash", "count")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.count = 0

    def add(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            self._hash.update(_TO_MSGPACK.encode(effect))
            self.count += 1

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def effects_digest(effects: Iterable[Effect]) -> str:
    """The digest of effects that are all at hand."""
    digest = Digest()
    digest.add(effects)
    return digest.hexdigest()


def replay(
    recorded: Recorded, factories: Mapping[str, NodeFactory], kernel: SessionKernel | None = None
) -> Iterator[tuple[int, list[Effect]]]:
    """What a fresh kernel does for each input, at its time. A host that drains after each input did the same."""
    kernel = kernel or SessionKernel(recorded.request, recorded.graph, factories)
    for at, received in recorded.inputs:
        if isinstance(received, Woken):
            kernel.wake(at)
        else:
            kernel.receive(at, received)
        yield at, kernel.drain()
