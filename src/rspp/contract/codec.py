"""Bytes become our types, or one `CodecError` that names code and field; no other exception, and never half a value.

MessagePack on the wire and on disk, JSON for people. Both say the same: what one decodes to, the other does too. A
message is scanned (`contract.scan`), then its version is checked, because a message of a later version would otherwise
be refused for a reason that helps nobody, and only then decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

import msgspec

from rspp.contract.codes import CODES
from rspp.contract.errors import MisuseError
from rspp.contract.event import AUDIO_WIRE_FIELDS, Audio, Envelope
from rspp.contract.evidence import EVIDENCE_VERSION, TurnEvidence
from rspp.contract.scan import LIMITS, CodecError, Limits, Seen
from rspp.contract.scan_json import scan_json
from rspp.contract.scan_msgpack import scan_msgpack
from rspp.contract.words import CORE_SCHEMA_VERSION

__all__ = [
    "ENCODINGS",
    "SUPPORTED_SCHEMA_VERSIONS",
    "CodecError",
    "Limits",
    "decode_json",
    "decode_msgpack",
    "encode_json",
    "encode_msgpack",
    "from_plain",
    "negotiate",
]

T = TypeVar("T")

SUPPORTED_SCHEMA_VERSIONS: Final = (CORE_SCHEMA_VERSION,)
VERSION_PATTERN: Final = re.compile(r"v\d+\.\d+(\.\d+)?")
# Type -> the field that says its version, and the versions that can be read.
VERSIONED: Final[Mapping[Any, tuple[str, tuple[str, ...]]]] = {
    Envelope: ("schema_version", SUPPORTED_SCHEMA_VERSIONS),
    TurnEvidence: ("or02_evidence_schema_version", (EVIDENCE_VERSION,)),
}

ENCODINGS: Final = ("msgpack", "json")

# How a sentence of msgspec begins -> our code. The first that fits counts.
_TRANSLATIONS: Final = (
    ("Object missing required field", "field_missing"),
    ("Object contains unknown field", "field_unknown"),
    ("Invalid enum value", "word_unknown"),
    ("Invalid value", "tag_unknown"),
    ("Input data was truncated", "truncated"),
    ("Number out of range", "number_out_of_range"),
    ("Integer value out of range", "number_out_of_range"),
)
_EXPECTED: Final = re.compile(r"Expected `([^`]*)`(?:, got| *$)")
_PLACE: Final = re.compile(r" - at `(?:key in )?\$(.*)`$")
_FIELD: Final = re.compile(r"field `([^`]*)`")


def encode_msgpack(value: object) -> bytes:
    """The bytes of a value; equal values have equal bytes, whatever order their maps were filled in."""
    return _encode(value, msgspec.msgpack.encode)


def encode_json(value: object) -> bytes:
    """Like `encode_msgpack`, as JSON; bytes become base64."""
    return _encode(value, msgspec.json.encode)


def decode_msgpack(data: bytes, kind: type[T], limits: Limits = LIMITS) -> T:
    """A value of `kind`, or a `CodecError`."""
    return _decode(data, kind, scan_msgpack(data, limits), msgspec.msgpack.decode)


def decode_json(data: bytes, kind: type[T], limits: Limits = LIMITS) -> T:
    """A value of `kind`, or a `CodecError`."""
    return _decode(data, kind, scan_json(data, limits), msgspec.json.decode)


def from_plain(value: object, kind: type[T], *, strict: bool = True) -> T:
    """A value of `kind` from plain data, or a `CodecError`; not strict for what only text could say, as in an address."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise _translated(str(error)) from error


def negotiate(offered: Sequence[str]) -> str:
    """The first of the offered encodings that we speak: the order is the peer's wish."""
    for encoding in offered:
        if encoding in ENCODINGS:
            return encoding
    shown = ", ".join(repr(encoding)[:32] for encoding in offered[:8]) or "nothing"
    raise CodecError(
        "encoding_unsupported", "encoding", f"offered: {shown}; known here: {', '.join(ENCODINGS)}"
    )


def check_version(field: str, found: str, supported: Sequence[str]) -> None:
    """A version that is not in the list is refused by name, with what to do about it."""
    if found in supported:
        return
    if field == "schema_version" and VERSION_PATTERN.fullmatch(found) is None:
        raise CodecError("schema_version_malformed", field, f"found {found[:32]!r}; write it like v1.0")
    raise CodecError(
        "schema_version_unsupported",
        field,
        f"found {found[:32]!r}; supported here: {', '.join(supported)}. {CODES['schema_version_unsupported'].remedy}",
    )


def _encode(value: object, encode: Callable[..., bytes]) -> bytes:
    """Half a surrogate pair is no text in any encoding: who put it into a record must be told before it is stored."""
    try:
        return encode(value, order="deterministic")
    except UnicodeEncodeError as error:
        raise MisuseError("text_not_utf8", "a text holds half of a surrogate pair") from error


def _decode(data: bytes, kind: type[T], seen: Seen, decode: Callable[..., T]) -> T:
    if kind in VERSIONED:
        field, supported = VERSIONED[kind]
        if field in seen.versions:
            check_version(field, seen.versions[field], supported)
    try:
        value = decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise _translated(str(error)) from error
    _check_written(value, seen)
    return value


def _check_written(value: object, seen: Seen) -> None:
    """Audio says its rate, channels and codec itself: a default would turn a forgotten field into noise."""
    if isinstance(value, Audio):
        keys, prefix = seen.root, ""
    elif isinstance(value, Envelope) and isinstance(value.payload, Audio):
        keys, prefix = seen.payload, "payload."
    else:
        return
    for name in AUDIO_WIRE_FIELDS:
        if name not in keys:
            raise CodecError(
                "field_missing", prefix + name, f"audio carries its {name}; no default is assumed"
            )


def _translated(sentence: str) -> CodecError:
    place = _PLACE.search(sentence)
    path = place.group(1).lstrip(".") if place else ""
    message = sentence[: place.start()] if place else sentence
    code = next((code for start, code in _TRANSLATIONS if message.startswith(start)), None)
    if code in ("field_missing", "field_unknown") and (named := _FIELD.search(message)):
        path = f"{path}.{named.group(1)}" if path else named.group(1)
    if code is None:
        code = "type_mismatch" if _EXPECTED.match(message) else "value_invalid"
    return CodecError(code, path, message)
