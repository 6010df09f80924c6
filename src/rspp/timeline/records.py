"""What a recording is made of: one record a frame, each with its length and check sum, in the order of what happened.

    Part        whose segment this is; the first record of each
    Head        what the session began with, and under which level and policy it is recorded
    Inputs      a run of inputs, in the order in which the kernel took them; audio and texts are stand-ins of the same shape
    Words       texts of earlier inputs, redacted, as far as the policy lets them be kept
    Sound       audio of earlier inputs (level L2)
    Trace       what the kernel did about them, as `kernel.trace` tells it, and the digest until here
    Steps       what sync nodes made of inputs that are withheld, or that they failed
    Evidence, Close, Plan, Level, Gap, End

A record is only ever added to; a reader skips what it does not know (a later version's) and says so. The numbers of inputs
(`step`) count from 1 over the whole session; 0 is the kernel's birth.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct as Layout
from typing import Any, Final, NamedTuple

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.evidence import CloseStamp, TurnEvidence
from rspp.contract.plan import ResolvedTurnPlan
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Stepped
from rspp.kernel.snapshot import OpenRequest
from rspp.kernel.trace import Item, Run
from rspp.spec.graph import GraphDefinition

FORMAT: Final = "rspp-recording-v1"
SCHEMA_VERSION: Final = "v1.0"
RECORD_BYTES_MAX: Final = 16 * 1024 * 1024


class Record(msgspec.Struct, frozen=True, gc=False, tag_field="r", omit_defaults=True, kw_only=True):
    """The common root."""


class Part(Record, frozen=True, tag="part"):
    """The first record of a segment: the `number`th (from 1) of one recorder's life."""

    session_id: str
    tenant_id: str
    run: str
    number: int


class Head(Record, frozen=True, tag="head"):
    """The first record of a recording. `request` and `graph` are all that a kernel is born with, secrets as stand-ins."""

    format: str
    schema_version: str
    session_id: str
    tenant_id: str
    level: RecordingLevel
    policy_id: str  # of redaction: which rules were in force
    request: OpenRequest
    graph: GraphDefinition
    node_types: list[str]
    runtime: str  # this program's version
    opened_wall_ms: int
    sampled: str = "all"  # why this session is recorded: all, rate:0.25, forced
    origin: str = "run"  # run, sim, demo, replay, import


class Inputs(Record, frozen=True, tag="inputs"):
    """Inputs from `first` on. `entries` are packed by `timeline.packing`; `at` is the time before the first of them.

    `payload` is the SHA-256 over the bytes of audio that are withheld here, in order: what was there can be proven, not had.
    """

    first: int
    at: int
    entries: list[Any]
    audio: int = 0  # inputs that carry audio
    audio_bytes: int = 0
    payload: str | None = None


class Span(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A place in a text, in characters, that is masked, and for what: card, phone, email, national_id, secret..."""

    start: int
    end: int
    kind: str


class Spoken(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The text of input `step`, its masked places replaced by stand-ins of the same shape."""

    step: int
    text: str
    masked: list[Span] = []


class Words(Record, frozen=True, tag="words"):
    """Texts of inputs whose stand-ins stand in `Inputs`; known only once their whole stream was seen."""

    texts: list[Spoken]


class Sound(Record, frozen=True, tag="sound"):
    """Audio of the inputs `steps`, one after the other, each of so many bytes; what is masked is silence."""

    steps: list[int]
    sizes: list[int]
    data: bytes
    masked: list[int] = []


class Trace(Record, frozen=True, tag="trace"):
    """What the kernel did, up to and including input `through`. `digest` (and `words`) are over everything until there.

    At L0 only control is kept, and there is no digest.
    """

    through: int
    items: list[Item]
    runs: list[Run] = []
    digest: str | None = None
    words: str | None = None
    effects: int = 0


class NodeStep(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A sync node's `nth` hook (from 1, all hooks of that node counted), at input `step`."""

    step: int
    nth: int
    stepped: Stepped


class Steps(Record, frozen=True, tag="steps"):
    steps: list[NodeStep]


class Evidence(Record, frozen=True, tag="evidence"):
    record_id: str
    evidence: TurnEvidence


class Close(Record, frozen=True, tag="close"):
    record_id: str
    stamp: CloseStamp


class Plan(Record, frozen=True, tag="plan"):
    """A turn's plan, whole."""

    plan: ResolvedTurnPlan


class PlanLike(Record, frozen=True, tag="plan_like"):
    """A turn's plan that is that of turn `like`, which stands before it, but for these fields."""

    like: str
    changes: dict[str, Any]


class Level(Record, frozen=True, tag="level"):
    """From input `step` on this level is in force."""

    step: int
    at: int
    old: RecordingLevel
    new: RecordingLevel
    trigger: str
    policy_id: str


class Gap(Record, frozen=True, tag="gap"):
    """Detail from input `step` on is not here, and why: no room, a broken disk. Evidence is never in a gap."""

    step: int
    at: int
    reason: str
    records: int = 0


class End(Record, frozen=True, tag="end"):
    """The last record. `withheld_texts` and `withheld_audio` count the payloads that are not here, or not whole."""

    steps: int
    at: int
    reason: str
    effects: int = 0
    digest: str | None = None
    words: str | None = None
    withheld_texts: int = 0
    withheld_audio: int = 0
    lost: int = 0


AnyRecord = (
    Part
    | Head
    | Inputs
    | Words
    | Sound
    | Trace
    | Steps
    | Evidence
    | Close
    | Plan
    | PlanLike
    | Level
    | Gap
    | End
)


# ---- frames ----------------------------------------------------------------------------------------------------

PREFIX: Final = Layout(">II")
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.msgpack.Decoder(AnyRecord).decode


class _Tag(msgspec.Struct):
    r: str = ""


_DECODE_TAG: Final = msgspec.msgpack.Decoder(_Tag).decode
_KNOWN: Final = frozenset(
    str(kind.__struct_config__.tag)
    for kind in (
        Part,
        Head,
        Inputs,
        Words,
        Sound,
        Trace,
        Steps,
        Evidence,
        Close,
        Plan,
        PlanLike,
        Level,
        Gap,
        End,
    )
)


class Frames(NamedTuple):
    """The records of a piece of a recording. `torn` if the last is not whole; `end` is where the whole ones end."""

    records: list[AnyRecord]
    torn: bool
    end: int
    unknown: int


def frame(record: Record) -> bytes:
    """One record, as it stands in a segment."""
    data = _ENCODE(record)
    return PREFIX.pack(len(data), zlib.crc32(data)) + data


def ends(data: bytes, *, number: int = 0) -> Iterator[int]:
    """Where each whole record ends. A wrong check sum before the end is a fault of the file; at the end it is a torn tail.

    Zeros to the end are a tail, too: some file systems lengthen a file before what was written is in it.
    """
    at = 0
    size = len(data)
    while size - at >= PREFIX.size:
        length, checksum = PREFIX.unpack_from(data, at)
        if length == 0 and not any(data[at:]):
            return
        place = f"records[{number}]"
        if not 0 < length <= RECORD_BYTES_MAX:
            raise CodecError("payload_too_large", place, f"a record has 1 to {RECORD_BYTES_MAX} bytes")
        at += PREFIX.size + length
        if at > size:
            return
        if zlib.crc32(memoryview(data)[at - length : at]) != checksum:
            if at == size:
                return
            raise CodecError("malformed", place, "the check sum is wrong")
        number += 1
        yield at


def unframe(data: bytes, *, number: int = 0) -> Frames:
    """Every whole record, and what stands where they end."""
    records: list[AnyRecord] = []
    unknown = began = 0
    for end in ends(data, number=number):
        body = memoryview(data)[began + PREFIX.size : end]
        began = end
        try:
            records.append(_DECODE(body))
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as error:
            if _tag_of(body) in _KNOWN:
                place = f"records[{number + len(records) + unknown}]"
                raise CodecError("malformed", place, str(error)) from error
            unknown += 1
    return Frames(records, began < len(data), began, unknown)


def is_recording(data: bytes, firsts: tuple[str, ...] = ("head", "part")) -> bool:
    """Does it begin as recordings begin, and not as a journal of the kernel does?"""
    if len(data) < PREFIX.size:
        return False
    length, checksum = PREFIX.unpack_from(data)
    body = memoryview(data)[PREFIX.size : PREFIX.size + length]
    return len(body) == length and zlib.crc32(body) == checksum and _tag_of(body) in firsts


def _tag_of(body: memoryview) -> str:
    try:
        return _DECODE_TAG(body).r
    except (msgspec.DecodeError, ValueError, RecursionError):
        return "head"  # no record at all: at fault, not unknown
