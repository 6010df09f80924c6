"""Whatever bytes come, the wire gives a message, a header, or a named refusal."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.contract import wire
from rspp.contract.codec import CodecError
from rspp.contract.codes import CODES
from rspp.contract.words import CancelMode, CancelScope, Codec

CLIENT = [
    wire.Hello(
        tenant="t",
        session="s",
        resume="secret",
        token="secret",
        epoch=4,
        audio_in=wire.AudioFormat(codec=Codec.OPUS, rate=48_000),
        metadata={"a": "b"},
    ),
    wire.Hello(tenant="t", audio_in=None, audio_out=None, playback_reports=False),
    wire.Control(signal="cancel", scope=CancelScope.NODE, mode=CancelMode.SOFT, target="llm", key="k"),
    wire.Control(signal="digit", value="7", extensions={"a.b": [1, None, {"c": 2.5}]}),
    wire.Say(text="good day"),
    wire.Delivery(what="position", turn_id="t1", heard_ms=120),
    wire.Ping(nonce=7),
    wire.Bye(reason="done"),
]
SERVER = [
    wire.Welcome(
        session="s",
        epoch=1,
        resume="secret",
        audio_in=wire.AudioFormat(),
        limits=wire.LimitsTold(message_bytes_max=1, messages_per_second=2, bytes_per_second=3),
        keepalive_ms=1,
        resume_ms=2,
    ),
    wire.Told(signal="commit", sequence=3, at_ms=5, epoch=1, turn_id="t", detail={"a": None, "b": 1.5}),
    wire.Caption(text="words", role="user", final=True, revision=2),
    wire.Playback(action="stop", turn_id="t", keep_ms=80),
    wire.Problem(code="truncated", message="m", path="frame"),
    wire.Goodbye(code="flood", reason="r", retry_after_ms=10),
    wire.Pong(),
]


KNOWN = {None, *CODES}


def refusal_of(decode: Callable[[], object]) -> str | None:
    """The code of the refusal, or None where there was none; anything else that is raised fails the test."""
    try:
        decode()
    except CodecError as error:
        return error.code
    return None


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_what_is_written_is_read_back(encoding: str) -> None:
    assert [wire.decode_client(wire.encode(m, encoding), encoding) for m in CLIENT] == CLIENT
    assert [wire.decode_server(wire.encode(m, encoding), encoding) for m in SERVER] == SERVER


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "truncated"),
        ("[]", "type_mismatch"),
        ('{"type":"hello"}', "field_missing"),
        ('{"type":"hello","tenant":""}', "value_invalid"),
        ('{"type":"hello","tenant":"t","epoch":-1}', "value_invalid"),
        ('{"type":"hello","tenant":"t","surprise":1}', "field_unknown"),
        ('{"type":"hello","tenant":"t","tenant":"u"}', "key_repeated"),
        ('{"type":"hello","tenant":"t","audio_in":{"codec":"mp3"}}', "word_unknown"),
        ('{"type":"delivery","what":"dreamt","turn_id":"t"}', "word_unknown"),
        (
            '{"type":"control","signal":"digit","extensions":' + '{"a":' * 9 + "1" + "}" * 10,
            "nesting_too_deep",
        ),
        ('{"type":"say","text":"' + "x" * 70_000 + '"}', "payload_too_large"),
        ('{"type":"ping","nonce":1e999}', "number_out_of_range"),
    ],
)
def test_a_message_that_is_wrong_is_refused_by_name(text: str, code: str) -> None:
    with pytest.raises(CodecError) as refused:
        wire.decode_client(text.encode(), "json")
    assert refused.value.code == code


@given(st.binary(max_size=300), st.sampled_from(["json", "msgpack"]))
def test_hostile_bytes_are_a_message_or_a_codec_error(data: bytes, encoding: str) -> None:
    assert refusal_of(lambda: wire.decode_client(data, encoding)) in KNOWN
    assert refusal_of(lambda: wire.decode_server(data, encoding)) in KNOWN
    assert refusal_of(lambda: wire.decode_kind(data, encoding)) in KNOWN


@given(st.data())
def test_a_message_with_a_byte_changed_is_a_message_or_a_codec_error(data: st.DataObject) -> None:
    encoding = data.draw(st.sampled_from(["json", "msgpack"]))
    whole = bytearray(wire.encode(data.draw(st.sampled_from(CLIENT)), encoding))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    assert refusal_of(lambda: wire.decode_client(bytes(whole), encoding)) in KNOWN


def test_secrets_are_not_shown() -> None:
    assert all("secret" not in repr(message) for message in (*CLIENT, *SERVER))


@given(
    st.integers(0, 65_535),
    st.integers(0, wire.SEQUENCE_MAX),
    st.integers(0, wire.SEQUENCE_MAX),
    st.integers(0, wire.SAMPLE_INDEX_MAX),
    st.booleans(),
)
def test_a_header_is_read_as_it_was_written(
    turn: int, sequence: int, epoch: int, index: int, end: bool
) -> None:
    data = wire.encode_header(turn, sequence, epoch, index, end)
    assert len(data) == wire.HEADER_BYTES == 20
    assert wire.decode_header(data + b"sound") == wire.Header(end, turn, sequence, epoch, index)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_header_or_a_codec_error(data: bytes) -> None:
    refusal = refusal_of(lambda: wire.decode_header(data))
    assert refusal in KNOWN
    if refusal is None:
        header = wire.decode_header(data)
        assert wire.encode_header(*_fields(header)) == data[: wire.HEADER_BYTES]


def _fields(header: wire.Header) -> tuple[int, int, int, int, bool]:
    return header.turn, header.sequence, header.epoch, header.sample_index, header.end


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"", "frame"),
        (bytes(19), "frame"),
        (bytes(20), "frame.version"),
        (b"\x02" + bytes(19), "frame.version"),
        (b"\x01\x02" + bytes(18), "frame.flags"),
        (b"\x01" + bytes(11) + b"\xff" * 8, "frame.sample_index"),
    ],
)
def test_a_header_that_is_wrong_is_refused_with_its_field(data: bytes, path: str) -> None:
    with pytest.raises(CodecError) as refused:
        wire.decode_header(data)
    assert refused.value.path == path


def test_every_close_code_has_a_meaning_and_a_remedy() -> None:
    assert all(code.word in CODES for code in wire.CloseCode)
    assert wire.FINAL_CLOSES.issubset(wire.CloseCode)
    assert all(code < 2000 or 4000 <= code < 5000 for code in wire.CloseCode)


def test_no_control_message_in_messagepack_looks_like_an_audio_frame() -> None:
    assert all(msgspec.msgpack.encode(message)[0] != wire.FRAME_VERSION for message in (*CLIENT, *SERVER))


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_message_of_many_values_is_refused_when_it_has_cost_little(encoding: str) -> None:
    """Sixty thousand bytes of them would keep everybody's loop for seventy milliseconds."""
    extensions: dict[str, object] = {"a.b": [[]] * (wire.CONTROL_VALUES_MAX - 8)}
    full = wire.Control(signal="digit", value="5", extensions=extensions)
    assert wire.decode_client(wire.encode(full, encoding), encoding) == full
    stuffing: tuple[object, ...] = (
        [1] * wire.CONTROL_VALUES_MAX,
        [[]] * wire.CONTROL_VALUES_MAX,
        [{}] * 20_000,
        {str(n): 1 for n in range(4_000)},
    )
    for many in stuffing:
        stuffed = wire.Control(signal="digit", value="5", extensions={"a.b": many})
        with pytest.raises(CodecError) as refused:
            wire.decode_client(wire.encode(stuffed, encoding), encoding)
        assert refused.value.code == "payload_too_large"
