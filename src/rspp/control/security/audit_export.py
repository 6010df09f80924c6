"""The audit log as a file that proves itself: a chain for each writer, and under it all a seal that only a key holder can make.

    {"export": {version, at_ms}}
    {"writer": ..., "digest": ..., "record": {...}}     all records, each writer's in order; its digest is of `record`, byte for byte
    {"checkpoint": {heads, records, content}, "seal": {...}}

A record that was edited, taken out, put in or moved breaks its writer's chain; a file that was cut has no checkpoint, or one
that names more than there is; and who mends chain and checkpoint alike cannot make the seal. A checkpoint alone is small: it
is also kept in the store, and is meant to be kept elsewhere, so that who rewrites the store is found out.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from rspp.control.security.keys import UNREADABLE, KeyView
from rspp.control.security.seals import Seal, seal_holds
from rspp.control.security.tokens import Signer
from rspp.host.ports import Store
from rspp.timeline import audit as chain
from rspp.timeline.audit import GENESIS, PREFIX, AuditFault, AuditRecord, Head, Verified

EXPORT_VERSION: Final = "audit-export/v1"
PURPOSE: Final = "audit-checkpoint"
CHECKPOINTS: Final = "audit-checkpoints"
CHECKPOINTS_KEPT: Final = 1_000
LINE_BYTES_MAX: Final = 16 * 1024 * 1024  # the checkpoint is one line, with a head for each writer


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each log is and its last hash. `content` is the hash of all lines before it in a file."""

    heads: dict[str, Head]
    records: int
    content: str = ""


class SealedCheckpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    checkpoint: Checkpoint
    seal: Seal


class _Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    writer: str
    digest: str
    record: msgspec.Raw


class _About(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: str
    at_ms: int


class _First(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    export: _About


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_RECORD: Final = msgspec.json.Decoder(AuditRecord).decode
_LINE: Final = msgspec.json.Decoder(_Line).decode
_FIRST: Final = msgspec.json.Decoder(_First).decode
_SEALED: Final = msgspec.json.Decoder(SealedCheckpoint).decode


class _Chain:
    """One writer's records, as far as they were seen."""

    def __init__(self) -> None:
        self.count = 0
        self.digest = GENESIS

    def takes(self, data: bytes) -> bool:
        """Is this the next record?"""
        try:
            record = _RECORD(data)
        except UNREADABLE:
            return False
        if record.number != self.count + 1 or record.before != self.digest:
            return False
        self.count, self.digest = record.number, _digest(data)
        return True


# ---- out ----------------------------------------------------------------------------------------------------------


async def exported(store: Store, signer: Signer, now_ms: int) -> AsyncIterator[bytes]:
    """The lines of an export. Raises AuditFault at the place where the log is not as it was written: that is not sealed."""
    known = await chain.heads(store)
    content = hashlib.sha256()
    first = _ENCODE(_First(export=_About(version=EXPORT_VERSION, at_ms=now_ms))) + b"\n"
    content.update(first)
    yield first
    heads: dict[str, Head] = {}
    for writer, due in sorted(known.items()):
        own = _Chain()
        async for _, data in store.read(PREFIX + writer):
            if not own.takes(data):
                raise _broken(writer, own.count + 1)
            if own.count == due.count and own.digest != due.digest:
                raise _broken(writer, own.count)
            line = _ENCODE(_Line(writer=writer, digest=own.digest, record=msgspec.Raw(data))) + b"\n"
            content.update(line)
            yield line
        if own.count < due.count:
            raise _broken(writer, own.count + 1)
        heads[writer] = Head(own.count, own.digest)
    records = sum(head.count for head in heads.values())
    checkpoint = Checkpoint(heads=heads, records=records, content=content.hexdigest())
    yield _ENCODE(sealed(checkpoint, signer, now_ms)) + b"\n"


def sealed(checkpoint: Checkpoint, signer: Signer, now_ms: int) -> SealedCheckpoint:
    return SealedCheckpoint(checkpoint=checkpoint, seal=signer.seal(PURPOSE, _ENCODE(checkpoint), now_ms))


async def make_checkpoint(store: Store, signer: Signer, now_ms: int) -> SealedCheckpoint:
    """Seal the heads of now, and keep them in the store; the caller keeps a copy elsewhere."""
    heads = await chain.heads(store)
    records = sum(head.count for head in heads.values())
    made = sealed(Checkpoint(heads=heads, records=records), signer, now_ms)
    number = await store.append(CHECKPOINTS, _ENCODE(made))
    if number > CHECKPOINTS_KEPT:
        await store.trim(CHECKPOINTS, number - CHECKPOINTS_KEPT)
    return made


# ---- verified -----------------------------------------------------------------------------------------------------


async def verify(store: Store, keys: KeyView, kept: Iterable[SealedCheckpoint] = ()) -> Verified:
    """Is every log as it was written, and as every checkpoint says, those in the store and those that were kept elsewhere?"""
    broken: list[str] = []
    marks: dict[str, Head] = {}
    for number, one in enumerate(kept, start=1):
        _mark(marks, one, keys, broken, f"checkpoint[{number}]")
    async for number, data in store.read(CHECKPOINTS):
        place = f"{CHECKPOINTS}[{number}]"
        try:
            _mark(marks, _SEALED(data), keys, broken, place)
        except UNREADABLE:
            broken.append(place)
    found = await chain.verify(store, marks)
    return Verified(found.logs, found.records, (*broken, *found.broken))


def _mark(
    marks: dict[str, Head], one: SealedCheckpoint, keys: KeyView, broken: list[str], place: str
) -> None:
    """Of each writer the longest head that somebody sealed: a chain that reaches it has all the shorter ones in it."""
    if not seal_holds(keys, PURPOSE, _ENCODE(one.checkpoint), one.seal):
        broken.append(place)
        return
    for writer, head in one.checkpoint.heads.items():
        if head.count > marks.get(writer, Head(-1, "")).count:
            marks[writer] = head


def verify_export(path: Path, keys: KeyView) -> Verified:
    """Is this file as it was exported? `broken` names the first place that is not, by line and record."""
    chains: dict[str, _Chain] = {}
    content = hashlib.sha256()
    number = 0
    with path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX):
            number += 1
            place = _read(line, number, chains, content.hexdigest(), keys)
            if place is _END:
                rest = file.read(1)
                return _found(
                    chains, f"line {number + 1}: something follows the checkpoint" if rest else None
                )
            if place is not None:
                return _found(chains, place)
            content.update(line)
    return _found(chains, f"line {number + 1}: the checkpoint is missing; the file was cut")


# What `_read` answers for a checkpoint that holds: no place is wrong, and nothing may follow.
_END: Final = "end"


def _read(line: bytes, number: int, chains: dict[str, _Chain], content: str, keys: KeyView) -> str | None:
    """Take one line; the place that is wrong, None, or `_END`."""
    if not line.endswith(b"\n"):
        return f"line {number}: it is cut"
    try:
        if number == 1:
            known = _FIRST(line).export.version == EXPORT_VERSION
            return None if known else f"line {number}: no export of this version"
        if line.startswith(b'{"writer"'):
            return _record_fault(_LINE(line), number, chains)
        one = _SEALED(line)
    except UNREADABLE:
        return f"line {number}: it cannot be read"
    if _ENCODE(one) + b"\n" != line:
        return f"line {number}: the checkpoint is not written as ours are"
    return _checkpoint_fault(one, number, chains, content, keys) or _END


def _record_fault(line: _Line, number: int, chains: dict[str, _Chain]) -> str | None:
    own = chains.setdefault(line.writer, _Chain())
    data = bytes(line.record)
    place = f"line {number}: {PREFIX}{line.writer}[{own.count + 1}]"
    if _digest(data) != line.digest:
        return f"{place} is not what was exported"
    return None if own.takes(data) else f"{place} does not follow the record before"


def _checkpoint_fault(
    one: SealedCheckpoint, number: int, chains: Mapping[str, _Chain], content: str, keys: KeyView
) -> str | None:
    place = f"line {number}: the checkpoint"
    if not seal_holds(keys, PURPOSE, _ENCODE(one.checkpoint), one.seal):
        return f"{place} is not sealed by a key that is trusted"
    for writer, head in sorted(one.checkpoint.heads.items()):
        own = chains.get(writer, _Chain())
        if (own.count, own.digest) != (head.count, head.digest):
            return f"{place} knows {PREFIX}{writer}[{min(own.count + 1, head.count)}], which is missing or changed"
    if set(chains) - set(one.checkpoint.heads) or one.checkpoint.content != content:
        return f"{place} is of other lines than those before it"
    return None


def _found(chains: Mapping[str, _Chain], place: str | None) -> Verified:
    records = sum(own.count for own in chains.values())
    return Verified(len(chains), records, () if place is None else (place,))


def _broken(writer: str, number: int) -> AuditFault:
    return AuditFault(
        "audit_chain_broken", "the audit log is not as it was written", f"{PREFIX}{writer}[{number}]"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
