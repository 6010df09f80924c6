"""Bytes become our types or one CodecError; both encodings say the same and refuse the same."""

from __future__ import annotations

import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract.codec import (
    CodecError,
    Limits,
    decode_json,
    decode_msgpack,
    encode_json,
    encode_msgpack,
    negotiate,
)
from rspp.contract.codes import CODES
from rspp.contract.decisions import DecisionOutcome
from rspp.contract.errors import MisuseError
from rspp.contract.event import Audio, Envelope, SeqRange, Text
from rspp.contract.evidence import TurnEvidence
from rspp.contract.scan import INT_MAX, LIMITS
from rspp.contract.signals import SIGNALS
from tests.fuzz import fuzz_codec
from tests.unit.contract import samples

RECORDS: list[Any] = [samples.text(), samples.audio(), samples.admit(), samples.evidence(), samples.close()]
RECORDS += [samples.signal(name) for name in SIGNALS]
PLAIN = dict[str, object]


def refused(decode: Any, data: bytes, kind: Any = PLAIN, **more: Any) -> CodecError:
    with pytest.raises(CodecError) as caught:
        decode(data, kind, **more)
    assert caught.value.code in CODES
    return caught.value


def both_refuse(value: object, kind: Any = Envelope) -> tuple[str, str]:
    """The code and path that both encodings refuse a value with."""
    told = [
        refused(decode_json, msgspec.json.encode(value), kind),
        refused(decode_msgpack, msgspec.msgpack.encode(value), kind),
    ]
    assert (told[0].code, told[0].path) == (told[1].code, told[1].path)
    return told[0].code, told[0].path


def wire(**more: Any) -> dict[str, Any]:
    made: dict[str, Any] = msgspec.to_builtins(samples.text())
    return {**made, **more}


# --- agreement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_equal_from_either_encoding(record: Any) -> None:
    assert decode_msgpack(encode_msgpack(record), type(record)) == record
    assert decode_json(encode_json(record), type(record)) == record


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), INT_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_any_plain_value_comes_back_equal_from_either_encoding(value: dict[str, object]) -> None:
    assert decode_msgpack(encode_msgpack(value), PLAIN) == value
    assert decode_json(encode_json(value), PLAIN) == value


def test_equal_values_have_equal_bytes_whatever_order_their_maps_were_filled_in() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert encode_msgpack(one) == encode_msgpack(other)
    assert encode_json(one) == encode_json(other)


@pytest.mark.parametrize("encode", [encode_json, encode_msgpack])
def test_a_text_that_no_encoding_can_hold_is_refused_before_it_is_stored(encode: Any) -> None:
    with pytest.raises(MisuseError, match="text_not_utf8"):
        encode(Text("\ud800"))


# --- hostile bytes ------------------------------------------------------------------------------------------------

HOSTILE_JSON: list[tuple[bytes, str, str]] = [
    (b"", "truncated", ""),
    (b"  \n", "truncated", ""),
    (b'{"a":', "truncated", "a"),
    (b'{"a":[1,2', "truncated", "a[2]"),
    (b'{"a":1}{"b":2}', "trailing_bytes", ""),
    (b'{"a":1} x', "trailing_bytes", ""),
    (b'{"a":1,"a":2}', "key_repeated", "a"),
    (b'{"a":1,"\\u0061":2}', "key_repeated", "a"),
    (b'{"x":{"a":1,"b":2,"a":3}}', "key_repeated", "x.a"),
    (b'{"a":NaN}', "number_not_finite", "a"),
    (b'{"a":[1,-Infinity]}', "number_not_finite", "a[1]"),
    (b'{"a":1e999}', "number_out_of_range", "a"),
    (b'{"a":18446744073709551616}', "number_out_of_range", "a"),
    (b'{"a":-9223372036854775809}', "number_out_of_range", "a"),
    (b'{"a":' + b"9" * 10_000 + b"}", "number_out_of_range", "a"),
    (b'{"a":"\xff"}', "text_not_utf8", ""),
    (b'{"a":"\xed\xa0\x80"}', "text_not_utf8", ""),
    (b'{"a":"\\ud800"}', "text_not_utf8", "a"),
    (b'{"a":"\\x41"}', "malformed", "a"),
    (b'{"a":"\n"}', "malformed", "a"),
    (b'{"a":01}', "malformed", ""),
    (b'{"a":1,}', "malformed", ""),
    (b'{"a" 1}', "malformed", "a"),
    (b"{1:2}", "malformed", ""),
    (b"{'a':1}", "malformed", ""),
    (b'{"a":[1}', "malformed", "a[1]"),
    (b"[1]]", "trailing_bytes", ""),
    (b"]", "malformed", ""),
    (b",", "malformed", ""),
    (b"tru", "malformed", ""),
    (b"\xef\xbb\xbf{}", "malformed", ""),
    (b"[" * 100_000, "nesting_too_deep", "[0]" * 32),
    (b'{"a":' * 100_000, "nesting_too_deep", ".".join("a" * 32)),
]


@pytest.mark.parametrize(("data", "code", "path"), HOSTILE_JSON, ids=lambda value: repr(value)[:40])
def test_hostile_json_is_refused_with_code_and_place(data: bytes, code: str, path: str) -> None:
    error = refused(decode_json, data)
    assert (error.code, error.path) == (code, path)


def m(*parts: int | bytes) -> bytes:
    return b"".join(part if isinstance(part, bytes) else bytes([part]) for part in parts)


A = m(0xA1, b"a")
HOSTILE_MSGPACK: list[tuple[bytes, str, str]] = [
    (b"", "truncated", ""),
    (m(0x81, A), "truncated", "a"),
    (m(0x81, 0xA5, b"ab"), "truncated", ""),
    (m(0x82, A, 1), "truncated", ""),
    (m(0x81, A, 0xCD, 1), "truncated", "a"),
    (m(0x81, A, 0xDB, b"\xff\xff\xff\xff"), "truncated", "a"),
    (m(0x81, A, 0xDD, b"\xff\xff\xff\xff"), "truncated", "a"),
    (m(0x81, A, 0xDF, b"\xff\xff\xff\xff"), "truncated", "a"),
    (m(0x81, A, 0xC6, b"\xff\xff\xff\xff"), "truncated", "a"),
    (m(0x80, 0x80), "trailing_bytes", ""),
    (m(0x82, A, 1, A, 2), "key_repeated", "a"),
    (m(0x82, A, 1, 0xD9, 1, b"a", 2), "key_repeated", "a"),
    (m(0x81, A, 0x82, A, 1, A, 2), "key_repeated", "a.a"),
    (m(0x81, A, 0xCB, struct.pack(">d", float("nan"))), "number_not_finite", "a"),
    (m(0x81, A, 0xCA, struct.pack(">f", float("inf"))), "number_not_finite", "a"),
    (m(0x81, A, 0x92, 1, 0xCB, struct.pack(">d", float("-inf"))), "number_not_finite", "a[1]"),
    (m(0x81, 1, 2), "key_not_text", ""),
    (m(0x81, 0xC4, 1, b"a", 2), "key_not_text", ""),
    (m(0x81, A, 0xA1, 0xFF), "text_not_utf8", "a"),
    (m(0x81, 0xA1, 0xFF, 1), "text_not_utf8", ""),
    (m(0x81, A, 0xD6, 0xFF, b"\0\0\0\0"), "extension_type_refused", "a"),
    (m(0x81, A, 0xC7, 1, 5, 0), "extension_type_refused", "a"),
    (m(0x81, A, 0xC1), "malformed", "a"),
    (m(0x91) * 100_000, "nesting_too_deep", "[0]" * 32),
    (m(0x81, A) * 100_000, "nesting_too_deep", ".".join("a" * 32)),
]


@pytest.mark.parametrize(("data", "code", "path"), HOSTILE_MSGPACK, ids=lambda value: repr(value)[:40])
def test_hostile_msgpack_is_refused_with_code_and_place(data: bytes, code: str, path: str) -> None:
    error = refused(decode_msgpack, data)
    assert (error.code, error.path) == (code, path)


@pytest.mark.parametrize(("encode", "decode"), [(encode_json, decode_json), (encode_msgpack, decode_msgpack)])
def test_a_message_may_be_as_large_and_as_deep_as_the_limits_and_no_more(encode: Any, decode: Any) -> None:
    data = encode({"a": {"b": 1}})
    exact = Limits(size_bytes_max=len(data), depth_max=2)
    assert decode(data, PLAIN, exact) == {"a": {"b": 1}}
    assert refused(
        decode, data, limits=msgspec.structs.replace(exact, size_bytes_max=len(data) - 1)
    ).code == ("payload_too_large")
    assert (
        refused(decode, data, limits=msgspec.structs.replace(exact, depth_max=1)).code == "nesting_too_deep"
    )


def test_the_default_depth_leaves_room_for_everything_of_ours() -> None:
    assert all(fuzz_codec.depth(msgspec.to_builtins(record)) * 2 < LIMITS.depth_max for record in RECORDS)


# --- wrong content ------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str, str]] = [
    (wire(runtime_sequence="7"), "type_mismatch", "runtime_sequence"),
    (wire(runtime_sequence=-1), "value_invalid", "runtime_sequence"),
    (wire(session_id=""), "value_invalid", "session_id"),
    (wire(lane="FastLane"), "word_unknown", "lane"),
    (wire(seq_range={"start": 1}), "field_missing", "seq_range.end"),
    (wire(seq_range={"start": 1, "end": 2, "step": 1}), "field_unknown", "seq_range.step"),
    (wire(payload={"type": "video"}), "tag_unknown", "payload.type"),
    (wire(payload={"type": "text", "text": "a", "colour": 1}), "field_unknown", "payload.colour"),
    (wire(colour=1), "field_unknown", "colour"),
    (wire(merged_from_event_ids=["a", 1]), "type_mismatch", "merged_from_event_ids[1]"),
    ({key: value for key, value in wire().items() if key != "transport_sequence"}, "field_missing", "transport_sequence"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "code", "path"), WRONG, ids=lambda value: str(value)[:30])
def test_wrong_content_is_refused_alike_by_both_encodings(value: object, code: str, path: str) -> None:
    assert both_refuse(value) == (code, path)


@pytest.mark.parametrize("name", ["rate", "channels", "codec", "samples", "sample_index", "data"])
def test_audio_that_lacks_a_field_is_refused_and_no_default_is_assumed(name: str) -> None:
    inner = msgspec.to_builtins(Audio(b"\0\0", 1, 0), builtin_types=(bytes,))
    whole = msgspec.to_builtins(samples.audio(), builtin_types=(bytes,))
    del inner[name]
    del whole["payload"][name]
    assert both_refuse(inner, Audio) == ("field_missing", name)
    assert both_refuse(whole) == ("field_missing", f"payload.{name}")


def test_a_payload_inside_an_extension_is_not_taken_for_the_payload() -> None:
    value = wire(extensions={"acme.copy": {"type": "audio"}})
    assert decode_json(msgspec.json.encode(value), Envelope).extensions == {"acme.copy": {"type": "audio"}}


# --- versions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("found", ["v1.1", "v2.0", "v1.0.1"])
def test_a_later_version_is_refused_by_name_even_when_the_rest_cannot_be_read(found: str) -> None:
    value = wire(schema_version=found, colour=1, lane="FastLane")
    error = refused(decode_msgpack, msgspec.msgpack.encode(value), Envelope)
    assert (error.code, error.path) == ("schema_version_unsupported", "schema_version")
    for said in (found, "v1.0", CODES["schema_version_unsupported"].remedy):
        assert said in error.message
    assert both_refuse(value) == ("schema_version_unsupported", "schema_version")


def test_a_version_that_is_none_is_refused_as_malformed() -> None:
    assert both_refuse(wire(schema_version="latest")) == ("schema_version_malformed", "schema_version")


def test_evidence_of_a_later_version_is_refused_by_name() -> None:
    value = {**msgspec.to_builtins(samples.evidence()), "or02_evidence_schema_version": "or02/v2"}
    assert both_refuse(value, TurnEvidence) == ("schema_version_unsupported", "or02_evidence_schema_version")


# --- negotiation --------------------------------------------------------------------------------------------------


def test_the_first_encoding_of_the_peers_wish_that_is_known_here_is_taken() -> None:
    assert negotiate(["protobuf", "json", "msgpack"]) == "json"
    assert negotiate(["msgpack"]) == "msgpack"


@pytest.mark.parametrize("offered", [[], ["protobuf", "cbor"], ["JSON"]])
def test_a_peer_that_offers_nothing_known_is_told_what_is_known(offered: list[str]) -> None:
    with pytest.raises(CodecError, match="msgpack, json") as caught:
        negotiate(offered)
    assert caught.value.code == "encoding_unsupported"


def test_the_bytes_of_the_other_encoding_are_refused() -> None:
    refused(decode_json, encode_msgpack(samples.text()), Envelope)
    refused(decode_msgpack, encode_json(samples.text()), Envelope)


# --- anything at all ----------------------------------------------------------------------------------------------


@given(st.binary(max_size=200))
def test_whatever_the_bytes_only_a_codec_error_comes_out(data: bytes) -> None:
    fuzz_codec.one_input(data)


@given(st.integers(0, 2**32))
def test_whatever_is_done_to_a_good_message_only_a_codec_error_comes_out(seed: int) -> None:
    fuzz_codec.run(rounds=5, seed=seed)


def test_the_time_a_scan_takes_grows_with_the_message_and_not_with_its_square() -> None:
    """Hostile repeats that make a backtracking reader slow are read to their end here, at a megabyte each."""
    size = LIMITS.size_bytes_max
    for piece in (
        b'"\\',
        b'"' + b"\\\\" * (size // 4),
        b"1" * (size - 8),
        b"[" + b"1," * (size // 4),
        b" " * size,
    ):
        refused(decode_json, piece)


def test_types_and_errors_are_told_apart() -> None:
    assert both_refuse([1], DecisionOutcome)[0] == "type_mismatch"
    assert both_refuse({"type": "text"}, Text) == ("field_missing", "text")
    assert both_refuse({"start": 1.5, "end": 2}, SeqRange) == ("type_mismatch", "start")
