"""What the control plane cannot do without goes into one file that is whole or refused: a changed byte is found before any is used.

    line 1   what this is: format, when it was made, how many entries, and the SHA-256 of all of that and of the rest
    rest     one JSON line an entry: bucket, key, value

In it are documents (pipelines, policies, provider configs, rollouts, regions, residency, quotas), public keys, principals,
approvals, and the heads of the audit logs, so that a log which was cut can be told later. Not in it are what is gone with
its processes (members, sessions, slots, health), the audit logs themselves (`audit export` has them), and private keys.

To restore is to write documents first and what points at them after, so that nobody is ever led to what is not there yet;
then everything is read back and compared. What has come to an end since the backup stays at its end, whoever says replace: a key
that was revoked, a principal that was removed, tokens that were withdrawn, a proposal that was decided or used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault
from rspp.control.security.approvals import PROPOSALS, Proposal, ProposalState
from rspp.control.security.keyring import KEYS
from rspp.control.security.keys import UNREADABLE, KeyRecord, KeyState
from rspp.control.security.principals import PRINCIPALS, PrincipalRecord
from rspp.host.ports import Store

FORMAT: Final = "rspp-backup/v1"
BACKUP_BYTES_MAX: Final = 32 * 1024 * 1024
ENTRIES_MAX: Final = 100_000
# How old the last backup may be when it is needed, and how long a restore may take: what we promise (docs/control-api.md).
RPO_MS: Final = 24 * 3_600_000
RTO_MS: Final = 60_000
AUDIT_HEADS: Final = "audit"
RESTORES: Final = "restores"
RESTORES_KEPT: Final = 1_000
# What begins so points at documents: it is written after them.
POINTING: Final = ("pointer/", "rollout/")
# How far each has come: nothing goes back.
KEY_STEPS: Final = (KeyState.ACTIVE, KeyState.RETIRING, KeyState.REVOKED)
PROPOSAL_STEPS: Final = {
    ProposalState.OPEN: 0,
    ProposalState.APPROVED: 1,
    ProposalState.REJECTED: 1,
    ProposalState.USED: 2,
}
RecordT = TypeVar("RecordT", bound=msgspec.Struct)


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bucket: str
    key: str
    value: str  # Base64


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    made_at_ms: int
    made_by: str
    entries: int
    sha256: str  # of what stands above, and of everything after this line


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was read and found whole."""

    header: Header
    entries: tuple[Entry, ...]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What a restore came to, and whether it kept what was promised."""

    entries: int
    written: int  # the others were there already
    kept: int = 0  # of those, what has come to an end since the backup, and stays there
    made_at_ms: int
    data_loss_ms: int  # changes of so long before now may be missing
    took_ms: int
    within_rpo: bool
    within_rto: bool
    audit_heads: dict[str, str]  # of the time of the backup: writer -> count:hash


_ENTRY: Final = msgspec.json.Decoder(Entry).decode
_HEADER: Final = msgspec.json.Decoder(Header).decode
_RESTORED: Final = msgspec.json.Decoder(Restored).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


async def make(store: Store, buckets: Sequence[str], *, made_by: str, now_ms: int) -> bytes:
    """The file. Changes that are made meanwhile may be in it or not; what points is read first, so that it points at what is in it."""
    found: dict[tuple[str, str], Entry] = {}
    for pointing in (True, False):
        for bucket in (*buckets, AUDIT_HEADS):
            for name in await store.keys(bucket):
                entry = await store.get(bucket, name) if name.startswith(POINTING) is pointing else None
                if entry is not None:
                    value = base64.b64encode(entry.value).decode()
                    found[bucket, name] = Entry(bucket=bucket, key=name, value=value)
    order = (*buckets, AUDIT_HEADS)
    lines = [_ENCODE(found[place]) for place in sorted(found, key=lambda one: (order.index(one[0]), one[1]))]
    if len(lines) > ENTRIES_MAX:
        raise LimitReached(
            "backup_too_large", f"a backup has at most {ENTRIES_MAX} entries, not {len(lines)}"
        )
    body = b"".join(line + b"\n" for line in lines)
    header = Header(format=FORMAT, made_at_ms=now_ms, made_by=made_by, entries=len(lines), sha256="")
    header = msgspec.structs.replace(header, sha256=_digest(header, body))
    data = _ENCODE(header) + b"\n" + body
    if len(data) > BACKUP_BYTES_MAX:
        raise LimitReached("backup_too_large", f"a backup has at most {BACKUP_BYTES_MAX} bytes")
    return data


def read(data: bytes, buckets: Sequence[str]) -> Backup:
    """The backup; raises PeerFault `backup_corrupt` for anything that is not exactly what was written."""
    if len(data) > BACKUP_BYTES_MAX:
        raise LimitReached("backup_too_large", f"a backup has at most {BACKUP_BYTES_MAX} bytes")
    first, newline, body = data.partition(b"\n")
    try:
        header = _HEADER(first)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _corrupt("its first line is not a backup's") from error
    if header.format != FORMAT:
        raise PeerFault("backup_unsupported", f"this reads {FORMAT}, not {header.format[:40]!r}")
    if not newline or _digest(header, body) != header.sha256:
        raise _corrupt("it is not what was written: its hash is another")
    lines = body.splitlines()
    if len(lines) != header.entries:
        raise _corrupt(f"it says {header.entries} entries and has {len(lines)}")
    entries = tuple(_entry(line, number) for number, line in enumerate(lines, 1))
    foreign = sorted({one.bucket for one in entries} - {*buckets, AUDIT_HEADS})
    if foreign:
        raise _corrupt(f"it would write into {', '.join(foreign)}")
    return Backup(header=header, entries=entries)


def _digest(header: Header, body: bytes) -> str:
    """Of the whole file, its own place apart: a backup cannot be made younger than it is."""
    unsealed = msgspec.structs.replace(header, sha256="")
    return hashlib.sha256(_ENCODE(unsealed) + b"\n" + body).hexdigest()


def _entry(line: bytes, number: int) -> Entry:
    try:
        entry = _ENTRY(line)
        base64.b64decode(entry.value, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as error:
        raise _corrupt(f"entry {number} cannot be read") from error
    return entry


def put_back(entry: Entry, there: bytes) -> bytes:
    """What a restore makes of a value that is there: the backup's, but nothing that has ended begins anew."""
    value = base64.b64decode(entry.value)
    if entry.bucket == KEYS:
        keys = _both(there, value, KeyRecord)
        return there if keys and KEY_STEPS.index(keys[0].state) > KEY_STEPS.index(keys[1].state) else value
    if entry.bucket == PROPOSALS:
        proposals = _both(there, value, Proposal)
        if proposals and PROPOSAL_STEPS[proposals[0].state] >= PROPOSAL_STEPS[proposals[1].state]:
            return there
    if entry.bucket == PRINCIPALS:
        people = _both(there, value, PrincipalRecord)
        if people and people[0].removed:
            return there
        if people and people[0].tokens_from_ms > people[1].tokens_from_ms:
            return _ENCODE(msgspec.structs.replace(people[1], tokens_from_ms=people[0].tokens_from_ms))
    return value


def _both(there: bytes, value: bytes, kind: type[RecordT]) -> tuple[RecordT, RecordT] | None:
    """Both as records; None if one of them is none."""
    try:
        return msgspec.json.decode(there, type=kind), msgspec.json.decode(value, type=kind)
    except UNREADABLE:
        return None


async def restore(store: Store, backup: Backup, *, replace: bool = False) -> tuple[int, int]:
    """Write what is in it; how many entries were written, and how many stay at the end that they have come to since.

    Raises `MisuseError` where other values stand.

    A store that holds something else under these keys is not overwritten unless `replace` says so: the newer of the two
    may be the one that is there.
    """
    due = sorted((one for one in backup.entries if one.bucket != AUDIT_HEADS), key=_in_order)
    there = {(one.bucket, one.key): await store.get(one.bucket, one.key) for one in due}
    values = {
        (one.bucket, one.key): base64.b64decode(one.value) if found is None else put_back(one, found.value)
        for one in due
        for found in (there[one.bucket, one.key],)
    }
    other = [
        f"{one.bucket}/{one.key}"
        for one in due
        if (found := there[one.bucket, one.key]) is not None and found.value != values[one.bucket, one.key]
    ]
    if other and not replace:
        message = f"{len(other)} entries are there with other values, the first is {other[0]}; say replace"
        raise MisuseError("backup_store_not_empty", message)
    written = 0
    for one in due:
        found, value = there[one.bucket, one.key], values[one.bucket, one.key]
        if found is not None and found.value == value:
            continue
        expect = 0 if found is None else found.revision
        if await store.put(one.bucket, one.key, value, expect=expect) is None:
            raise PeerFault("store_contended", f"somebody else writes {one.bucket}/{one.key} meanwhile")
        written += 1
    await _compare(store, values)
    kept = sum(values[one.bucket, one.key] != base64.b64decode(one.value) for one in due)
    return written, kept


async def _compare(store: Store, values: dict[tuple[str, str], bytes]) -> None:
    for (bucket, name), value in values.items():
        found = await store.get(bucket, name)
        if found is None or found.value != value:
            raise PeerFault("backup_not_restored", f"{bucket}/{name} is not what was restored")


def _in_order(entry: Entry) -> tuple[bool, str, str]:
    return entry.key.startswith(POINTING), entry.bucket, entry.key


def heads_in(backup: Backup) -> dict[str, str]:
    """How long each audit log was when the backup was made, as text for people to keep."""
    return {
        one.key: base64.b64decode(one.value).decode(errors="replace")
        for one in backup.entries
        if one.bucket == AUDIT_HEADS
    }


def result_of(backup: Backup, written: int, *, now_ms: int, took_ms: int, kept: int = 0) -> Restored:
    """What to tell of a restore: the window of loss is as long as the backup is old."""
    loss_ms = max(0, now_ms - backup.header.made_at_ms)
    return Restored(
        entries=len(backup.entries),
        written=written,
        kept=kept,
        made_at_ms=backup.header.made_at_ms,
        data_loss_ms=loss_ms,
        took_ms=took_ms,
        within_rpo=loss_ms <= RPO_MS,
        within_rto=took_ms <= RTO_MS,
        audit_heads=heads_in(backup),
    )


async def keep_result(store: Store, result: Restored) -> None:
    """On record in the store itself: what a drill, or the real thing, came to."""
    number = await store.append(RESTORES, _ENCODE(result))
    if number > RESTORES_KEPT:
        await store.trim(RESTORES, number - RESTORES_KEPT)


async def results(store: Store) -> list[Restored]:
    """What restores came to, oldest first."""
    return [_RESTORED(data) async for _, data in store.read(RESTORES)]


def _corrupt(why: str) -> PeerFault:
    return PeerFault("backup_corrupt", f"the backup is not whole: {why}")
