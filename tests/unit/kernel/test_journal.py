"""A journal gives back what was written, says when it is torn, and refuses what is not a journal."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.cli.bench_call import FRAME_NS, FRAMES_AHEAD, Call, inbound, outbound, request, run_watched
from rspp.contract.codec import CodecError
from rspp.contract.errors import MisuseError, PeerFault
from rspp.contract.event import Audio, Text
from rspp.contract.words import CancelScope, ConnectionState
from rspp.kernel.effects import Effect
from rspp.kernel.flags import CURRENT
from rspp.kernel.inputs import (
    AudioReceived,
    CallProduced,
    ConnectionChanged,
    ControlReceived,
    Input,
    SpeechScored,
    TextReceived,
    Woken,
)
from rspp.kernel.journal import (
    Digest,
    Encoding,
    effects_digest,
    encoding_of,
    read,
    replay,
    write_header,
    write_input,
)
from rspp.nodes import factories
from rspp.spec import voice_template

BOTH = pytest.mark.parametrize("encoding", list(Encoding))
GRAPH = voice_template()
START = request().anchor.monotonic
INPUTS: list[tuple[int, Input]] = [
    (START, ConnectionChanged(ConnectionState.CONNECTED)),
    (START + 5, AudioReceived(Audio(b"\x00\xff\n\r", 2, 0), 0)),
    (START + 6, SpeechScored(0.25)),
    (START + 7, TextReceived("héllo\n“you”", 1, idempotency_key="k")),
    (START + 8, CallProduced("pvi/x", 1, 0, Text("so", role="assistant"))),
    (
        START + 9,
        ControlReceived("cancel", 2, scope=CancelScope.TURN, extensions={"vendor.x": [1, {"a": None}]}),
    ),
    (START + 10_000_000_000, Woken()),
]


def journal(encoding: Encoding, inputs: Iterable[tuple[int, Input]] = INPUTS) -> bytes:
    return write_header(request(), GRAPH, encoding) + b"".join(
        write_input(at, i, encoding) for at, i in inputs
    )


@BOTH
def test_what_was_written_is_read(encoding: Encoding) -> None:
    found = read(journal(encoding), encoding)
    assert found.inputs == INPUTS
    assert not found.torn
    assert msgspec.to_builtins(found.graph) == msgspec.to_builtins(GRAPH)
    assert msgspec.structs.replace(found.request, flags=None) == request()


@BOTH
def test_flags_are_written_resolved_so_that_a_later_version_replays_the_old_path(encoding: Encoding) -> None:
    assert request().flags is None
    assert read(journal(encoding), encoding).request.flags == CURRENT


class Recorder:
    """Keeps what a call was given, and the digest of what it did."""

    def __init__(self) -> None:
        self.inputs: list[tuple[int, Input]] = []
        self.digest = Digest()

    def saw_input(self, now: int, received: Input) -> None:
        self.inputs.append((now, received))

    def saw_effect(self, now: int, effect: Effect) -> None:
        self.digest.add([effect])


@pytest.mark.proves("F-008")
@BOTH
def test_a_replay_of_a_call_does_byte_for_byte_what_the_call_did(encoding: Encoding) -> None:
    recorder = Recorder()
    call = Call(GRAPH, watch=recorder)
    run_watched(call, inbound(300, call.now), recorder)
    call.now = START + 300 * FRAME_NS
    call.open_turn()
    call.speak(FRAMES_AHEAD)
    run_watched(call, outbound(50, call.now, call.tts, call.turn_id), recorder)
    call.now += 51 * FRAME_NS
    call.give(ControlReceived("cancel", 2, scope=CancelScope.TURN))
    again = Digest()
    recorded = read(journal(encoding, recorder.inputs), encoding)
    for _, effects in replay(recorded, factories()):
        again.add(effects)
    assert again.count > 900
    assert (again.count, again.hexdigest()) == (recorder.digest.count, recorder.digest.hexdigest())


@pytest.mark.parametrize("kept", range(1, 40))
def test_a_torn_binary_journal_is_read_up_to_its_last_whole_record(kept: int) -> None:
    whole, last = (
        journal(Encoding.MSGPACK),
        write_input(START + 1, TextReceived("a last one", 9), Encoding.MSGPACK),
    )
    found = read(whole + last[: min(kept, len(last) - 1)], Encoding.MSGPACK)
    assert (found.torn, found.inputs) == (True, INPUTS)


def test_a_binary_tail_of_zeros_or_with_a_wrong_check_sum_is_torn() -> None:
    whole, last = journal(Encoding.MSGPACK), write_input(START, Woken(), Encoding.MSGPACK)
    for tail in (bytes(64), last[:-1] + b"?"):
        found = read(whole + tail, Encoding.MSGPACK)
        assert (found.torn, found.inputs) == (True, INPUTS)


@pytest.mark.slow
def test_a_torn_line_is_read_up_to_its_last_whole_record() -> None:
    whole, last = journal(Encoding.JSON), write_input(START, TextReceived("last", 9), Encoding.JSON)
    for kept in range(1, len(last) - 1):
        found = read(whole + last[:kept], Encoding.JSON)
        assert (found.torn, found.inputs) == (True, INPUTS)


def test_a_last_line_without_its_newline_is_whole() -> None:
    assert read(journal(Encoding.JSON).rstrip(b"\n"), Encoding.JSON).inputs == INPUTS


@BOTH
@pytest.mark.parametrize("size", [0, 1, 9, 200])
def test_a_journal_torn_in_its_header_is_refused(encoding: Encoding, size: int) -> None:
    with pytest.raises(CodecError) as refused:
        read(journal(encoding)[:size], encoding)
    assert (refused.value.code, refused.value.path) == ("truncated", "records[0]")


def test_a_wrong_check_sum_before_the_end_names_its_record() -> None:
    header, rest = write_header(request(), GRAPH, Encoding.MSGPACK), bytearray(journal(Encoding.MSGPACK))
    rest[len(header) + 10] ^= 1
    with pytest.raises(CodecError) as refused:
        read(bytes(rest), Encoding.MSGPACK)
    assert (refused.value.code, refused.value.path) == ("malformed", "records[1]")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"nonsense", "malformed"),
        (b'[1, {"input": "no_such_input"}]', "tag_unknown"),
        (b'[1, {"input": "speech_scored"}]', "field_missing"),
        (b'["1", {"input": "woken"}]', "type_mismatch"),
        (b'[1, {"input": "text_received", "text": "\xff", "transport_sequence": 1}]', "text_not_utf8"),
        (b"[" * 100_000, "nesting_too_deep"),
    ],
)
def test_a_wrong_record_is_refused_with_its_code_and_number(line: bytes, code: str) -> None:
    with pytest.raises(PeerFault) as refused:
        read(journal(Encoding.JSON) + line + b"\n", Encoding.JSON)
    assert refused.value.code == code
    assert (refused.value.path or "").startswith(f"records[{len(INPUTS) + 1}]")


@BOTH
def test_another_format_version_or_flag_is_refused_by_name(encoding: Encoding) -> None:
    module = msgspec.json if encoding is Encoding.JSON else msgspec.msgpack
    written = read(journal(encoding, []), encoding)
    header = {
        "format": "rspp-inputs-v1",
        "schema_version": "v1.0",
        "open": written.request,
        "graph": GRAPH,
        "node_types": [],
    }
    unknown_flag = msgspec.structs.replace(written.request, flags=(99,))
    for changed in ({"format": "rspp-inputs-v9"}, {"schema_version": "v2.0"}, {"open": unknown_flag}):
        record = module.encode({**header, **changed})
        with pytest.raises(CodecError) as refused:
            read(_framed(record, encoding), encoding)
        assert refused.value.code == "schema_version_unsupported"
        assert next(iter(changed)) in refused.value.path


def _framed(record: bytes, encoding: Encoding) -> bytes:
    import zlib

    head = len(record).to_bytes(4, "big") + zlib.crc32(record).to_bytes(4, "big")
    return record + b"\n" if encoding is Encoding.JSON else head + record


def test_json_refuses_a_number_that_it_cannot_hold_and_messagepack_keeps_it() -> None:
    odd = SpeechScored(float("nan"))
    with pytest.raises(MisuseError, match="number_not_finite"):
        write_input(START, odd, Encoding.JSON)
    ((_, kept),) = read(journal(Encoding.MSGPACK, [(START, odd)]), Encoding.MSGPACK).inputs
    assert isinstance(kept, SpeechScored)
    assert kept.probability != kept.probability


@settings(deadline=None)
@given(data=st.binary(max_size=200), encoding=st.sampled_from(Encoding), at=st.integers(0, 4000))
def test_no_bytes_raise_anything_but_a_peer_fault_that_says_where(
    data: bytes, encoding: Encoding, at: int
) -> None:
    whole = journal(encoding)
    faults: list[PeerFault] = []
    for hostile in (data, whole + data, whole[:-at] + data + whole[len(whole) - at :]):
        try:
            read(hostile, encoding)
        except PeerFault as fault:
            faults.append(fault)
    assert all(fault.code and (fault.path or "").startswith("records[") for fault in faults)


def test_the_encoding_is_known_by_the_name_of_the_file() -> None:
    assert (encoding_of("a.b.rspp"), encoding_of("a.jsonl")) == (Encoding.MSGPACK, Encoding.JSON)
    with pytest.raises(MisuseError, match="encoding_unsupported"):
        encoding_of("a.wav")


def test_the_digest_depends_on_every_effect_and_on_their_order() -> None:
    effects = Call(GRAPH).give(TextReceived("hello", 1))
    assert len(effects) > 2
    digests = {effects_digest(effects), effects_digest(effects[:-1]), effects_digest(effects[::-1])}
    assert len(digests) == 3
    assert effects_digest(effects) in digests
