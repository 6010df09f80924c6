"""What a client and RSPP say to each other over a socket: `rspp.v1`, control messages and binary audio frames.

A control message is one tagged object, as JSON or as MessagePack; which of the two is agreed by the subprotocol's name. An
audio frame is a header of twenty bytes, most significant first, and the sound behind it:

    byte 0        version, 1
    byte 1        flags: 1 = the stream of this turn ends here (it may carry no sound)
    bytes 2-3     turn ordinal: 0 from the client, else the number that `playback start` gave to the turn
    bytes 4-7     sequence, from 0 in each direction of each connection
    bytes 8-11    epoch of the session's authority, as `welcome` and later signals tell it
    bytes 12-19   sample index: where the frame begins in its stream, in samples of the agreed rate

Bytes from outside become one of these types or a `CodecError`; nothing else is raised, and nothing is half read.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Annotated, Any, Final, Literal, cast

import msgspec

from rspp.contract.codec import (
    CodecError,
    Limits,
    decode_json,
    decode_msgpack,
    encode_json,
    encode_msgpack,
)
from rspp.contract.words import CancelMode, CancelScope, Codec

SUBPROTOCOLS: Final[Mapping[str, str]] = {"rspp.v1+msgpack": "msgpack", "rspp.v1+json": "json"}
PATH: Final = "/v1/rtc/ws"

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Secret = Annotated[str, msgspec.Meta(max_length=4096)]
Words = Annotated[dict[Word, Annotated[str, msgspec.Meta(max_length=1024)]], msgspec.Meta(max_length=32)]
Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Rate = Annotated[int, msgspec.Meta(ge=1, le=192_000)]
FrameMs = Annotated[int, msgspec.Meta(ge=5, le=120)]
Detail = dict[str, str | int | float | bool | None]


class Message(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    tag_field="type",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """The common root."""


class AudioFormat(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True
):
    """One channel of sound. `frame_ms` is how much of it a frame is meant to hold."""

    codec: Codec = Codec.PCM16
    rate: Rate = 16_000
    frame_ms: FrameMs = 20


# ---- from the client ----------------------------------------------------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """The first message. With `session` and `resume` it asks for a session that lost its line; without, for a new one."""

    tenant: Word
    pipeline: Word | None = None
    session: Word | None = None
    resume: Secret | None = None
    epoch: Natural | None = None  # the last one known, for a resume
    token: Secret | None = None
    audio_in: AudioFormat | None = AudioFormat()
    audio_out: AudioFormat | None = AudioFormat()
    playback_reports: bool = True
    metadata: Words = {}

    def __repr__(self) -> str:
        """Secrets are not shown."""
        return f"Hello(tenant={self.tenant!r}, session={self.session!r})"


class Control(Message, frozen=True, tag="control"):
    """What the caller asks for: cancel, stop, barge_in, end_of_utterance, talk_pressed, talk_released, digit."""

    signal: Word
    scope: CancelScope | None = None
    target: Word | None = None
    reason: Word | None = None
    mode: CancelMode | None = None
    value: Word | None = None
    key: Word | None = None
    epoch: Natural | None = None
    extensions: dict[str, Any] | None = None


class Say(Message, frozen=True, tag="say"):
    """Typed words of the caller."""

    text: str
    key: Word | None = None
    epoch: Natural | None = None


class Delivery(Message, frozen=True, tag="delivery"):
    """What became of a turn's audio at the client; `heard_ms` is how much of the turn was really played."""

    what: Literal["accepted", "started", "position", "completed"]
    turn_id: Word
    heard_ms: Natural = 0
    epoch: Natural | None = None


class Ping(Message, frozen=True, tag="ping"):
    nonce: Natural = 0


class Bye(Message, frozen=True, tag="bye"):
    """The caller has hung up: the session ends, it does not wait."""

    reason: Word | None = None


ClientMessage = Hello | Control | Say | Delivery | Ping | Bye
CLIENT_TYPES: Final = ("hello", "control", "say", "delivery", "ping", "bye")


# ---- from the server ----------------------------------------------------------------------------------------------


class LimitsTold(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a client must keep to."""

    message_bytes_max: int
    messages_per_second: int
    bytes_per_second: int


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """The session stands. `resume` is a secret: whoever has it can take the session's line over.

    The numbers of this socket's frames begin at 0. `frames` and `controls` are how many the session has had here over its
    former lines; both are 0 where it has `moved`: it goes on in another process, with what that one found in the store.
    """

    session: str
    epoch: Natural
    resume: Secret
    resumed: bool = False
    moved: bool = False
    frames: Natural = 0
    controls: Natural = 0
    audio_in: AudioFormat | None = None
    audio_out: AudioFormat | None = None
    limits: LimitsTold
    keepalive_ms: Natural
    resume_ms: Natural
    compressed: bool = False

    def __repr__(self) -> str:
        """The resume token is not shown."""
        return f"Welcome(session={self.session!r}, epoch={self.epoch}, resumed={self.resumed}, moved={self.moved})"


class Told(Message, frozen=True, tag="signal"):
    """A control signal of the session, without what a client has no use for."""

    signal: str
    sequence: Natural
    at_ms: Natural
    epoch: Natural
    turn_id: str | None = None
    reason: str | None = None
    detail: Detail | None = None


class Caption(Message, frozen=True, tag="text"):
    """Words: the caller's as they were understood, or the assistant's as they are spoken."""

    text: str
    role: str | None = None
    turn_id: str | None = None
    segment: Natural = 0
    revision: Natural = 0
    final: bool = False
    language: str | None = None


class Playback(Message, frozen=True, tag="playback"):
    """`start` names the turn that frames with this ordinal belong to; `stop` throws away what was not played yet but for
    `keep_ms` past the play head.
    """

    action: Literal["start", "pause", "resume", "stop"]
    turn_id: str
    turn: Natural = 0
    keep_ms: Natural = 0


class Problem(Message, frozen=True, tag="error"):
    """Something the client sent was refused; unless a close follows, the session goes on."""

    code: str
    message: str
    path: str | None = None
    retryable: bool = False


class Goodbye(Message, frozen=True, tag="goodbye"):
    """The last message; the socket's close follows with the code of the same name. `endpoint`: ask there."""

    code: str
    reason: str
    retry_after_ms: Natural | None = None
    endpoint: str | None = None


class Pong(Message, frozen=True, tag="pong"):
    nonce: Natural = 0


ServerMessage = Welcome | Told | Caption | Playback | Problem | Goodbye | Pong

CONTROL_BYTES_MAX: Final = 65_536
CONTROL_VALUES_MAX: Final = 128  # the fullest `hello` has less than half of it
CONTROL_LIMITS: Final = Limits(size_bytes_max=CONTROL_BYTES_MAX, depth_max=8, values_max=CONTROL_VALUES_MAX)


class Kind(msgspec.Struct, frozen=True):
    """As much as can be said of a message of an unknown type."""

    type: Word
    extensions: dict[str, Any] | None = None


def encode(message: Message, encoding: str) -> bytes:
    return encode_json(message) if encoding == "json" else encode_msgpack(message)


def decode_client(data: bytes, encoding: str) -> ClientMessage:
    return cast(ClientMessage, _decode(data, encoding, ClientMessage))


def decode_server(data: bytes, encoding: str) -> ServerMessage:
    return cast(ServerMessage, _decode(data, encoding, ServerMessage))


def decode_kind(data: bytes, encoding: str) -> Kind:
    """The type and the extensions of a message that `decode_client` does not know."""
    return cast(Kind, _decode(data, encoding, Kind))


def _decode(data: bytes, encoding: str, kind: Any) -> object:
    decode = decode_json if encoding == "json" else decode_msgpack
    return decode(data, kind, CONTROL_LIMITS)


# ---- audio frames -------------------------------------------------------------------------------------------------

FRAME_VERSION: Final = 1
FLAG_END: Final = 1
HEADER: Final = struct.Struct("!BBHIIQ")
HEADER_BYTES: Final = HEADER.size
SEQUENCE_MAX: Final = 2**32 - 1
# What a JavaScript client can count to, and six thousand years of 48 kHz.
SAMPLE_INDEX_MAX: Final = 2**53


class Header(msgspec.Struct, frozen=True, gc=False):
    """A frame's header, read."""

    end: bool
    turn: int
    sequence: int
    epoch: int
    sample_index: int


def encode_header(turn: int, sequence: int, epoch: int, sample_index: int, end: bool = False) -> bytes:
    return HEADER.pack(FRAME_VERSION, FLAG_END if end else 0, turn, sequence, epoch, sample_index)


def decode_header(frame: bytes) -> Header:
    """The header, or a `CodecError` that names the field."""
    if len(frame) < HEADER_BYTES:
        raise CodecError("truncated", "frame", f"{len(frame)} bytes; a header has {HEADER_BYTES}")
    version, flags, turn, sequence, epoch, sample_index = HEADER.unpack_from(frame)
    if version != FRAME_VERSION:
        raise CodecError("schema_version_unsupported", "frame.version", f"{version}; known: {FRAME_VERSION}")
    if flags & ~FLAG_END:
        raise CodecError("value_invalid", "frame.flags", f"{flags:#04x}; only {FLAG_END:#04x} has a meaning")
    if sample_index > SAMPLE_INDEX_MAX:
        raise CodecError("number_out_of_range", "frame.sample_index", f"at most {SAMPLE_INDEX_MAX}")
    return Header(bool(flags), turn, sequence, epoch, sample_index)


# ---- how a connection ends ----------------------------------------------------------------------------------------


class CloseCode(IntEnum):
    """Why a socket was closed. The name in lower case is the code string of `goodbye`, and the close frame's reason."""

    NORMAL = 1000
    GOING_AWAY = 1001
    MALFORMED = 4000
    HELLO_TIMEOUT = 4001
    HELLO_EXPECTED = 4002
    SUBPROTOCOL_UNSUPPORTED = 4003
    TOKEN_REFUSED = 4004
    MESSAGE_TOO_LARGE = 4005
    FORMAT_UNSUPPORTED = 4006
    SLOW_READER = 4007
    FLOOD = 4008
    KEEPALIVE_TIMEOUT = 4009
    SEQUENCE_REPLAYED = 4010
    EPOCH_STALE = 4011
    TOO_MANY_CONNECTIONS = 4012
    CONNECT_RATE_EXCEEDED = 4013
    RESUME_REFUSED = 4014
    TAKEN_OVER = 4015
    SESSION_REFUSED = 4016
    COMPRESSION_REFUSED = 4017
    SESSION_MOVED = 4018  # it lives at `endpoint`, and was not to be had here
    SESSION_HELD = 4019  # its owner is not heard of, and cannot be replaced yet
    MIGRATED = 4020  # it goes on elsewhere: come back at once
    AUTHORITY_LOST = 4021  # this process does not own it any more; somebody else may
    SESSION_OVER = 4022  # it has ended for good

    @property
    def word(self) -> str:
        return self.name.lower()


# After these the session is over; after the others it waits for its caller until its deadline.
FINAL_CLOSES: Final = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.MALFORMED,
        CloseCode.MESSAGE_TOO_LARGE,
        CloseCode.FLOOD,
        CloseCode.SEQUENCE_REPLAYED,
        CloseCode.EPOCH_STALE,
        CloseCode.COMPRESSION_REFUSED,
    }
)
