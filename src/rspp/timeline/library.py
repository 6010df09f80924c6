"""Every recording that can be had: those in the store, and what of them is still in the local append, put together.

The store's part is what the catalogue names; behind it come the segments of this data folder that are not exported yet,
those that a process writes at this moment and those that a dead one left. So a session can be looked at while it runs: its
markers say `eventual` until nothing more comes. Nothing is made up: a part that is missing is a gap, by name.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.errors import MisuseError
from rspp.contract.words import RecordingLevel
from rspp.host.ports import Store
from rspp.timeline import catalogue, parts
from rspp.timeline import records as r
from rspp.timeline.access import Access, AccessRequest, Grant, judge
from rspp.timeline.catalogue import Catalogued
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.redaction.reading import Seen, redacted
from rspp.timeline.segments import SPOOL, SUFFIX, Segment, boot_of, read_segment, safe_name, whole

LAST: Final = "last"
PAGE_MAX: Final = 1_000
# What is read may be moved meanwhile: from the spool to the store, or to merged parts. Then it is read again.
READ_TRIES_MAX: Final = 10
READ_PAUSE_S: Final = 0.02
NAMED_MAX: Final = 5
MISSING: Final = "part_missing"
# Entries that are fetched at a time, for a list of all.
AT_ONCE: Final = 64
# A run's head, its graph included, stands in so many bytes of its first segment.
HEAD_BYTES_MAX: Final = 512 * 1024
BEGUN_MAX: Final = 20_000

# By the first segment's number in it: the last one's, and the bytes.
Pieces = dict[int, tuple[int, bytes]]


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions are wanted; None is any."""

    tenant: str | None = None
    pipeline: str | None = None
    since_wall_ms: int | None = None
    until_wall_ms: int | None = None
    running: bool | None = None
    level: RecordingLevel | None = None


class Found(msgspec.Struct, kw_only=True):
    """One recording: its entry, as far as it has come with what is still here, and the segments that are."""

    key: str
    entry: Catalogued
    revision: int = 0  # of the entry in the store; 0 if it is not there yet
    local: list[Segment] = []

    @property
    def name(self) -> str:
        return self.entry.name


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """In whose name something is read. Without a fidelity it is the most that the policy lets be seen."""

    tenant_id: str
    principal_id: str
    role: str
    purpose: str
    fidelity: RecordingLevel | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Some sessions, newest first, and how many there are in all."""

    sessions: list[Found]
    total: int


class Library:
    """The recordings of one store and one data folder."""

    def __init__(self, store: Store, data: Path | None = None) -> None:
        self._store = store
        self._data = data
        self._begun: OrderedDict[Path, Catalogued] = OrderedDict()  # of each run's folder; bounded: BEGUN_MAX

    # ---- which there are -----------------------------------------------------------------------------------------

    async def sessions(self, wanted: Filter | None = None, *, count: int = PAGE_MAX, skip: int = 0) -> Page:
        """The sessions that pass the filter, newest first."""
        wanted = wanted or Filter()
        found = [one for one in await self._all(wanted.tenant) if _passes(one.entry, wanted)]
        found.sort(key=lambda one: (-one.entry.opened_wall_ms, one.key))
        return Page(sessions=found[skip : skip + min(count, PAGE_MAX)], total=len(found))

    async def entries(self, tenant: str | None = None) -> list[Catalogued]:
        """Every recording as its entry tells it, for lists: what is in the local append alone by how it began, and no further.

        An entry that cannot be read is left out: it is told to whoever asks for that session.
        """
        prefix = "" if tenant is None else f"{catalogue.encoded(tenant)}/"
        begun = await asyncio.to_thread(self._begun_here)
        found: dict[tuple[str, str, str], Catalogued] = {}
        for entry in begun:
            if tenant in (None, entry.tenant_id):
                found[entry.tenant_id, entry.session_id, entry.run] = entry
        keys = await self._store.keys(catalogue.BUCKET, prefix)
        for start in range(0, len(keys), AT_ONCE):
            lot = (self._store.get(catalogue.BUCKET, key) for key in keys[start : start + AT_ONCE])
            for held in await asyncio.gather(*lot):
                with suppress(CodecError):
                    if held is not None:
                        entry = catalogue.decode(held.key, held.value)
                        found[entry.tenant_id, entry.session_id, entry.run] = entry
        return [one for one in found.values() if not one.deleted]

    def _begun_here(self) -> list[Catalogued]:
        """One entry of each run in the spool: of each folder the beginning of the first file is read, and only once."""
        if self._data is None:
            return []
        first: dict[Path, Path] = {}
        for path in spooled(self._data):
            first.setdefault(path.parent, path)
        for folder, path in first.items():
            known = self._begun.get(folder) or _begun(path)
            if known is not None:
                self._begun[folder] = known
        for folder in [one for one in self._begun if one not in first]:
            del self._begun[folder]
        while len(self._begun) > BEGUN_MAX:
            self._begun.popitem(last=False)
        return list(self._begun.values())

    async def find(self, reference: str, tenant: str | None = None) -> Found:
        """The one recording of this name, or whose name begins so, or the newest if it is `last`."""
        there = await self._all(tenant, reference)
        if reference == LAST and all(one.name != LAST for one in there):
            there = sorted(await self._all(tenant), key=lambda one: one.entry.opened_wall_ms)[-1:]
        there = [one for one in there if one.name == reference] or there
        if len(there) == 1:
            return there[0]
        if not there:
            raise not_found(reference)
        named = ", ".join(sorted(f"{one.name} of {one.entry.tenant_id}" for one in there)[:NAMED_MAX])
        more = len(there) - NAMED_MAX
        raise MisuseError(
            "session_ambiguous",
            f"{reference!r} can be {named}{f' and {more} more' if more > 0 else ''}; say more of it, or the tenant",
        )

    async def runs(self, tenant: str, session_id: str) -> list[Found]:
        """Every recording of exactly this session, the newest last: nothing of any other session is read."""
        plain, own = catalogue.key_of(tenant, session_id), (catalogue.encoded(session_id),)
        found: dict[str, Found] = {}
        segments = await asyncio.to_thread(session_segments, self._data, tenant, session_id)
        for key in await self._store.keys(catalogue.BUCKET, plain):
            if key == plain or key.startswith(f"{plain}~"):
                held = await catalogue.get(self._store, key)
                if held is not None and not held.entry.deleted:
                    found[key] = Found(key=key, entry=held.entry, revision=held.revision)
        for segment in segments:
            await self._add(found, segment, own)
        for one in found.values():
            if one.local:
                await asyncio.to_thread(_look_on, one)
        return sorted(found.values(), key=lambda one: (one.entry.opened_wall_ms, one.key))

    async def _all(self, tenant: str | None, reference: str = "") -> list[Found]:
        """Every recording of the store and of this folder whose name begins with the reference."""
        prefix = "" if tenant is None else f"{catalogue.encoded(tenant)}/"
        beginnings = _beginnings(reference)
        found: dict[str, Found] = {}
        # These first: what leaves the spool from here on is in the store by then, and is met there.
        segments = await asyncio.to_thread(local_segments, self._data)
        for key in await self._store.keys(catalogue.BUCKET, prefix):
            if key.partition("/")[2].startswith(beginnings):
                held = await catalogue.get(self._store, key)
                if held is not None and not held.entry.deleted:
                    found[key] = Found(key=key, entry=held.entry, revision=held.revision)
        for segment in segments:
            if tenant in (None, segment.tenant_id):
                await self._add(found, segment, beginnings)
        for one in found.values():
            if one.local:
                await asyncio.to_thread(_look_on, one)
        return list(found.values())

    async def _add(self, found: dict[str, Found], segment: Segment, beginnings: tuple[str, ...]) -> None:
        """A segment that is still here, to its recording, unless the store has it."""
        key, held = await catalogue.of_run(self._store, segment.tenant_id, segment.session_id, segment.run)
        if not key.partition("/")[2].startswith(beginnings) or (held is not None and held.entry.deleted):
            return
        one = found.get(key)
        if one is None:
            entry = catalogue.begun(key, segment.tenant_id, segment.session_id, segment.run)
            one = found[key] = Found(key=key, entry=held.entry if held else entry)
        elif one.entry.run != segment.run:
            # Neither run is in the store yet, and both want the plain name: it is the first one's.
            key = catalogue.key_of(segment.tenant_id, segment.session_id, segment.run)
            entry = catalogue.begun(key, segment.tenant_id, segment.session_id, segment.run)
            one = found.setdefault(key, Found(key=key, entry=entry))
        if not one.entry.has(segment.number):
            one.local = sorted([*one.local, segment], key=lambda part: part.number)

    # ---- one of them -------------------------------------------------------------------------------------------------

    async def read(self, found: Found) -> Recording:
        """The recording, as far as it is here or there at this moment; for whoever need not be asked who they are."""
        return await asyncio.to_thread(assembled, await self._whole(found), found.name)

    async def seen(self, found: Found, access: Access, asker: Asker) -> Seen:
        """The recording as far as this asker may see it; raises AccessDenied. Either is on record before anything is read."""
        request = AccessRequest(
            tenant_id=asker.tenant_id,
            principal_id=asker.principal_id,
            role=asker.role,
            purpose=asker.purpose,
            requested_scope=f"{found.entry.tenant_id}/session:{found.entry.session_id}",
            requested_fidelity=asker.fidelity or RecordingLevel.L0,
        )
        for level in (RecordingLevel.L2, RecordingLevel.L1) if asker.fidelity is None else ():
            more = msgspec.structs.replace(request, requested_fidelity=level)
            if isinstance(judge(access.policy, more), Grant):
                request = more
                break
        grant = await access.ask(request)
        return redacted(await self.read(found), grant)

    async def raw(self, found: Found) -> bytes:
        """Its records one after the other, as a file has them."""
        return b"".join(data for _, data in (await self._whole(found)).values())

    async def pieces(self, found: Found) -> Pieces:
        """Its parts, each with the numbers of the first and the last segment in it, for whoever puts them together."""
        return await self._whole(found)

    async def _whole(self, found: Found) -> Pieces:
        for again in range(READ_TRIES_MAX):
            pieces = await self._pieces(found.entry)
            if pieces is not None and (again == READ_TRIES_MAX - 1 or not _holes(pieces)):
                return pieces
            await asyncio.sleep(READ_PAUSE_S)
        raise not_found(found.name)

    async def _pieces(self, known: Catalogued) -> Pieces | None:
        """None if one of them went away meanwhile. What is local comes first: what had left the spool by then is in the
        entry, which is read after it. The entry is the run's, whatever key it has by now.
        """
        local = await asyncio.to_thread(local_segments, self._data, known)
        _, held = await catalogue.of_run(self._store, known.tenant_id, known.session_id, known.run)
        entry = held.entry if held is not None else known
        if entry.deleted:
            raise not_found(known.name)
        pieces: Pieces = {}
        for part in entry.parts:
            data = await parts.read(self._store, part)
            if data is None:
                return None
            pieces[part.number] = (part.last, data)
        for segment in local:
            if not entry.has(segment.number):
                data = await asyncio.to_thread(_read, segment)
                if data is None:
                    return None
                pieces[segment.number] = (segment.number, data)
        return dict(sorted(pieces.items()))


def not_found(reference: str) -> MisuseError:
    return MisuseError("session_not_found", f"there is no recording of a session {reference!r}")


# ---- the local append --------------------------------------------------------------------------------------------


def spooled(data: Path, boot: str = "*", folder: str = "*") -> list[Path]:
    """The files of the spool in order; a folder that goes while it is looked at, as those do whose session is exported, has none."""
    found = [data / SPOOL]
    for pattern in (boot, folder, f"*{SUFFIX}"):
        above, found = found, []
        for one in above:
            with suppress(FileNotFoundError, NotADirectoryError):
                found += one.glob(pattern)
    return sorted(found)


def local_segments(data: Path | None, of: Catalogued | None = None) -> list[Segment]:
    """What is in the spool at this moment, of all sessions or one run: written, sealed or left behind, up to its last
    whole record.
    """
    boot = "*" if of is None else boot_of(of.run)
    folder = "*" if of is None else f"{safe_name(of.session_id)}*"
    if data is None or not boot:
        return []
    found = []
    for path in spooled(data, boot, folder):
        segment = read_segment(path)
        if segment is not None and (of is None or _is_of(segment, of)):
            found.append(segment)
    return found


def session_segments(data: Path | None, tenant_id: str, session_id: str) -> list[Segment]:
    """Those of one session, of all its runs; no other session's files are opened."""
    if data is None:
        return []
    read = map(read_segment, spooled(data, "*", f"{safe_name(session_id)}*"))
    return [
        one for one in read if one is not None and (one.tenant_id, one.session_id) == (tenant_id, session_id)
    ]


def _begun(path: Path) -> Catalogued | None:
    """What a run's first segment says of it, from the segment's first records; None while it says nothing."""
    try:
        with path.open("rb") as file:
            data = file.read(HEAD_BYTES_MAX)
        data = data[: whole(data)[0]]
        first = next(catalogue.bodies(data), None)
        part = None if first is None else r.unframe(catalogue.framed(first)).records[0]
    except (OSError, CodecError, IndexError):
        return None
    if not isinstance(part, r.Part) or boot_of(part.run) != path.parent.parent.name:
        return None
    entry = catalogue.begun(
        catalogue.key_of(part.tenant_id, part.session_id), part.tenant_id, part.session_id, part.run
    )
    catalogue.told(entry, data)
    return entry if entry.pipeline else None  # its head is not written yet, or is in the store by now


def _is_of(segment: Segment, entry: Catalogued) -> bool:
    return (segment.session_id, segment.tenant_id, segment.run) == (
        entry.session_id,
        entry.tenant_id,
        entry.run,
    )


def _read(segment: Segment) -> bytes | None:
    try:
        return segment.read()
    except OSError:
        return None  # it was exported and removed a moment ago


def _look_on(found: Found) -> None:
    """The entry, moved on by what is not exported: only to be shown."""
    entry = found.entry
    for segment in found.local:
        data = _read(segment)
        if data is not None:
            entry.recorded_through = max(entry.recorded_through, catalogue.told(entry, data))
    entry.complete = False


# ---- putting together ----------------------------------------------------------------------------------------------


def _holes(pieces: Pieces) -> list[int]:
    """The first numbers of segments that are not there, between those that are."""
    expected, holes = 1, []
    for first, (last, _) in pieces.items():
        if first > expected:
            holes.append(expected)
        expected = last + 1
    return holes


def assembled(pieces: Pieces, name: str) -> Recording:
    """The recording that these parts make; a number that is missing is a gap, by name."""
    if not pieces:
        raise not_found(name)
    recording = assemble(r.unframe(data) for _, data in pieces.values())
    for number in _holes(pieces):
        recording.gaps.append(r.Gap(step=recording.complete_through + 1, at=0, reason=f"{MISSING}:{number}"))
    return recording


def _passes(entry: Catalogued, wanted: Filter) -> bool:
    return (
        (wanted.tenant is None or entry.tenant_id == wanted.tenant)
        and (wanted.pipeline is None or entry.pipeline == wanted.pipeline)
        and (wanted.since_wall_ms is None or entry.opened_wall_ms >= wanted.since_wall_ms)
        and (wanted.until_wall_ms is None or entry.opened_wall_ms <= wanted.until_wall_ms)
        and (wanted.running is None or entry.running is wanted.running)
        and (wanted.level is None or entry.level is wanted.level)
    )


def _beginnings(reference: str) -> tuple[str, ...]:
    """How keys of such sessions begin: a `~` may be part of the name, or stand between it and a run."""
    session, found, run = reference.rpartition("~")
    whole = catalogue.encoded(reference)
    return (whole, f"{catalogue.encoded(session)}~{catalogue.encoded(run)}") if found else (whole,)
