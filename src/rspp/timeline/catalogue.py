"""What the store holds of each session: one entry a recording, which alone says which parts of it count.

    bucket `recordings`, key <tenant>/<session>              the entry
    blob   recordings/<tenant>/<session>/<part>              one segment's records

A part that no entry names is no part: it was put, and the step that would have made it count was lost. An entry moves by
compare-and-set, so whoever changes it (exports, drops what is due, deletes) starts from what it really is. A session that
was recorded by two processes, or opened twice, has an entry a run; the later ones have `~<run>` behind the session's id.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.event import NS_PER_MS
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Store
from rspp.timeline import records as r

BUCKET: Final = "recordings"
BLOBS: Final = "recordings"
# Keys of the entries that more may come of, so that nobody has to look at all to find them. It may lag, and then says too much.
OPEN: Final = "recordings_open"
# Of an encoded tenant's or session's name; with both, a run and a part's number a name stays below every store's bound.
NAME_CHARS_MAX: Final = 300
# A deletion is remembered for longer than anything may still come that would undo it.
DELETED_KEPT_MS: Final = 40 * 24 * 3_600_000
CAS_TRIES_MAX: Final = 16


class Stored(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """One part: the blob's name, and what it must be to count. `through` is the last input that it tells of."""

    part: str
    number: int
    last: int  # the number up to which segments are in it; its own, unless several were made one
    blob: str
    size: int
    sha256: str
    through: int = 0


class Change(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """The recording level from input `step` on."""

    step: int
    wall_ms: int
    level: RecordingLevel
    trigger: str


class Catalogued(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One recording, as the catalogue tells it."""

    session_id: str
    tenant_id: str
    run: str
    name: str  # of this recording among its tenant's: the session's id, or that and the run
    pipeline: str = ""
    version: str = ""
    fingerprint: str = ""
    origin: str = ""
    sampled: str = ""
    policy_id: str = ""
    level: RecordingLevel = RecordingLevel.L0
    levels: list[Change] = []
    classes: list[str] = []  # payload classes that the turns' evidence names
    turns: int = 0
    gaps: int = 0
    opened_wall_ms: int = 0
    opened_at: int = 0  # the same moment in the session's nanoseconds
    ended_wall_ms: int | None = None
    end_reason: str | None = None
    parts: list[Stored] = []
    recorded_through: int = 0  # the last input that is known to be recorded, here or in the local append
    exported_through: int = 0  # the last input that is in a part here
    exported_wall_ms: int = 0
    place: str = ""  # whose local append it comes from
    lag_ms: int = 0  # how long the part that came last had waited
    complete: bool = False  # nothing more comes
    damaged: list[str] = []  # what could not be read of it, and is not here
    given_up: list[str] = []  # parts that somebody asked to give up
    dropped: dict[str, int] = {}  # payload classes that are not here any more, and since when (wall ms)
    forgotten: list[str] = []  # turns of which only the evidence is left, by request
    deleted_wall_ms: int | None = None

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def deleted(self) -> bool:
        return self.deleted_wall_ms is not None

    @property
    def running(self) -> bool:
        """Does it go on, as far as can be seen from here?"""
        return not self.complete and self.ended_wall_ms is None and self.end_reason is None

    @property
    def age_from_ms(self) -> int:
        """Since when it ages: its end, as far as that is known."""
        return self.ended_wall_ms or self.exported_wall_ms or self.opened_wall_ms

    @property
    def markers(self) -> dict[str, object]:
        """How far the store's side of it is: `eventual` until nothing more comes."""
        return {
            "consistency": "complete" if self.complete else "eventual",
            "recorded_through": max(self.recorded_through, self.exported_through),
            "exported_through": self.exported_through,
            "lag_ms": self.lag_ms,
            "complete": self.complete,
        }

    def has(self, number: int) -> bool:
        """Is the segment of this number in a part?"""
        return any(part.number <= number <= part.last for part in self.parts)

    def wall_of(self, at: int) -> int:
        """A moment of the session as wall time."""
        return self.opened_wall_ms + max(0, at - self.opened_at) // NS_PER_MS


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.json.Decoder(Catalogued).decode


# ---- names -----------------------------------------------------------------------------------------------------


def encoded(name: str) -> str:
    """A tenant's or session's name as one step of a path: nobody's name reaches into another's."""
    text = quote(name, safe="", errors="surrogatepass").replace("~", "%7E")
    if len(text) <= NAME_CHARS_MAX:
        return text
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{text[: NAME_CHARS_MAX - 33].rstrip('%')}-{digest[:32]}"


def key_of(tenant_id: str, session_id: str, run: str | None = None) -> str:
    key = f"{encoded(tenant_id)}/{encoded(session_id)}"
    return key if run is None else f"{key}~{encoded(run)}"


def blob_of(entry_key: str, part: str) -> str:
    return f"{BLOBS}/{entry_key}/{encoded(part)}"


# ---- the catalogue ---------------------------------------------------------------------------------------------


class Held(msgspec.Struct, frozen=True):
    """An entry at one revision."""

    key: str
    entry: Catalogued
    revision: int


async def get(store: Store, key: str) -> Held | None:
    found = await store.get(BUCKET, key)
    return None if found is None else Held(key, decode(key, found.value), found.revision)


def decode(key: str, value: bytes) -> Catalogued:
    try:
        return _DECODE(value)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CodecError("malformed", f"catalogue.{key}", str(error)) from error


async def put(store: Store, key: str, entry: Catalogued, expect: int) -> int | None:
    """Write an entry if it still is what it was read as (0: is not there); None if it is not."""
    ttl_ms = DELETED_KEPT_MS if entry.deleted else None
    return await store.put(BUCKET, key, _ENCODE(entry), expect=expect, ttl_ms=ttl_ms)


async def of_run(store: Store, tenant_id: str, session_id: str, run: str) -> tuple[str, Held | None]:
    """The key of a run's entry, and the entry if there is one. The first run of a session has the plain key."""
    plain = key_of(tenant_id, session_id)
    held = await get(store, plain)
    if held is None or held.entry.run == run:
        return plain, held
    own = key_of(tenant_id, session_id, run)
    return own, await get(store, own)


def begun(key: str, tenant_id: str, session_id: str, run: str) -> Catalogued:
    """An entry of which nothing is known yet."""
    suffix = key.removeprefix(key_of(tenant_id, session_id))
    return Catalogued(session_id=session_id, tenant_id=tenant_id, run=run, name=session_id + suffix)


# ---- what a segment says -----------------------------------------------------------------------------------------


class _Tag(msgspec.Struct):
    r: str = ""


class _Steps(msgspec.Struct):
    """As much of `Inputs` and `Trace` as says how far they reach."""

    first: int = 0
    entries: list[msgspec.Raw] = []
    through: int = 0


_TAG: Final = msgspec.msgpack.Decoder(_Tag).decode
_FAR: Final = msgspec.msgpack.Decoder(_Steps).decode
_TOLD: Final = frozenset({"head", "evidence", "close", "level", "gap", "end"})


def told(entry: Catalogued, data: bytes) -> int:
    """Note in the entry what a segment's records say of the session; the last input that they tell of.

    What is many and large (inputs, words, sound) is not looked into: this runs for every segment of every call. A record that
    cannot be read is named as damage, and keeps nothing else out of the store.
    """
    through = 0
    for number, body in enumerate(bodies(data)):
        try:
            through = max(through, _told(entry, body))
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError, CodecError) as error:
            entry.damaged = [*entry.damaged, f"records[{number}]: {error}"]
    return through


def _told(entry: Catalogued, body: memoryview) -> int:
    tag = _TAG(body).r
    if tag == "inputs":
        far = _FAR(body)
        return far.first + len(far.entries) - 1
    if tag == "trace":
        entry.end_reason = _end_of(body) or entry.end_reason
        return _FAR(body).through
    if tag in _TOLD:
        _note(entry, r.unframe(framed(body)).records)
    return 0


def bodies(data: bytes) -> Iterator[memoryview]:
    """Each whole record's bytes."""
    began = 0
    view = memoryview(data)
    for end in r.ends(data):
        yield view[began + r.PREFIX.size : end]
        began = end


def framed(body: bytes | memoryview) -> bytes:
    """A record's bytes, as they stand in a segment."""
    return r.PREFIX.pack(len(body), zlib.crc32(body)) + body


def _end_of(body: memoryview) -> str | None:
    """Why the kernel ended the session, if it does in this record."""
    if b"end_session" not in bytes(body):
        return None
    for record in r.unframe(framed(body)).records:
        if isinstance(record, r.Trace):
            for item in record.items:
                if item.what == "end_session":
                    return str(item.facts.get("reason", "")) or None
    return None


def _note(entry: Catalogued, records: list[r.AnyRecord]) -> None:
    for record in records:
        match record:
            case r.Head():
                _begin(entry, record)
            case r.Evidence():
                entry.turns += 1
                tags = {str(tag) for tag in record.evidence.payload_tags}
                entry.classes = sorted({*entry.classes, *tags})
            case r.Level():
                wall = entry.wall_of(record.at)
                change = Change(step=record.step, wall_ms=wall, level=record.new, trigger=record.trigger)
                entry.levels = [*entry.levels, change]
            case r.Gap():
                entry.gaps += 1
            case r.End():
                entry.ended_wall_ms = entry.wall_of(record.at)
                entry.complete = True
                entry.end_reason = entry.end_reason or record.reason
                entry.recorded_through = max(entry.recorded_through, record.steps)


def _begin(entry: Catalogued, head: r.Head) -> None:
    entry.pipeline, entry.version = head.graph.pipeline, head.graph.version
    entry.fingerprint = head.graph.fingerprint
    entry.origin, entry.sampled, entry.policy_id = head.origin, head.sampled, head.policy_id
    entry.level = head.level
    entry.opened_wall_ms = head.opened_wall_ms
    entry.opened_at = head.request.anchor.monotonic
