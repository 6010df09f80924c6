"""Who was let in, and who was not, is on record before anything is given: without an audit record there is no access.

    audit/<writer>    a log of records, each with the hash of the one before it; one writer appends to it
    bucket `audit`    of each writer how many records there are, and the hash of the last

So a record that was changed, taken out, put in or moved breaks the chain at its place, and a log that was cut is shorter than
its head says. Who can rewrite both must be answered with a copy: `heads` is small, and meant to be kept elsewhere.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from secrets import token_hex
from typing import Final

import msgspec

from rspp.contract.errors import PeerFault, RsppError
from rspp.contract.surface import Coverage, Kept, Row, Surface, Truth, cut
from rspp.host.ports import Store

AUDIT_VERSION: Final = "audit/v1"
BUCKET: Final = "audit"
PREFIX: Final = "audit/"
APPEND_MS_MAX: Final = 5_000
FIELD_CHARACTERS_MAX: Final = 512
FIELDS_MAX: Final = 32
GENESIS: Final = "0" * 64
# What a decoder raises: for some bytes that are not UTF-8 not its own error but Python's.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)


class AuditRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing that was done, or refused. `number` counts from 1 in the writer's log."""

    version: str
    number: int
    at_wall_ms: int
    action: str  # access, deletion, retention, ...
    decision: str  # allow, deny, done
    tenant_id: str
    principal_id: str
    reason: str
    facts: dict[str, str]
    before: str  # the hash of the record before


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    count: int
    digest: str


class Verified(msgspec.Struct, frozen=True):
    """What a verification found. `broken` names the places that are not as they were written."""

    logs: int
    records: int
    broken: tuple[str, ...]


class AuditFault(PeerFault):
    """The audit log could not take a record."""


_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode
_DECODE: Final = msgspec.json.Decoder(AuditRecord).decode
_HEAD: Final = msgspec.json.Decoder(Head).decode


def row_of(key: str, value: bytes) -> Row | None:
    """One writer's log, by its head: that it grew, and to what. What is in it is asked for with a reason, and not shown here."""
    try:
        head = _HEAD(value)
    except UNREADABLE:
        return None
    return Row(
        aggregate_id=cut(key),
        state="kept",
        facts={"records": head.count, "head": head.digest[:16]},
    )


SURFACE: Final = Surface(
    name="audit_log",
    owner=__name__,
    summary="Who did what, or was refused: the length and the head of each writer's log.",
    aggregate_type="log",
    storage=f"log:{PREFIX}, its heads in kv:{BUCKET}",
    truth=Truth.CANONICAL,
    read="GET /v1/audit",
    coverage=Coverage.JOURNAL,
    kept=Kept(BUCKET, sole=True),
    row=row_of,
)


class AuditLog:
    """One writer's log. Appends are one after the other; each is in the store when it returns."""

    def __init__(self, store: Store, *, wall_ms: Callable[[], int], writer: str | None = None) -> None:
        self.writer = writer or token_hex(8)
        self._store = store
        self._wall_ms = wall_ms
        self._head = Head(0, GENESIS)
        self._known = writer is None  # a writer of a name of its own goes on where it stopped
        self._turn = asyncio.Lock()

    async def append(
        self,
        action: str,
        decision: str,
        *,
        tenant_id: str,
        principal_id: str,
        reason: str,
        facts: dict[str, str] | None = None,
    ) -> AuditRecord:
        """Write one record; raises AuditFault, with the contract's reasons, if it is not written."""
        async with self._turn:
            try:
                async with asyncio.timeout(APPEND_MS_MAX / 1000):
                    await self._go_on()
                    record = AuditRecord(
                        version=AUDIT_VERSION,
                        number=self._head.count + 1,
                        at_wall_ms=self._wall_ms(),
                        action=action,
                        decision=decision,
                        tenant_id=tenant_id,
                        principal_id=principal_id,
                        reason=reason,
                        facts=facts or {},
                        before=self._head.digest,
                    )
                    _check(record)
                    data = _ENCODE(record)
                    # Until both are in the store, and also if this is cancelled, what is there is not known.
                    self._known = False
                    if self._head.count == 0:  # so that who looks for logs finds it, whatever happens next
                        await self._store.put(BUCKET, self.writer, _ENCODE(self._head), expect=0)
                    await self._store.append(PREFIX + self.writer, data)
                    self._head = Head(record.number, _digest(data))
                    await self._store.put(BUCKET, self.writer, _ENCODE(self._head))
                    self._known = True
                    return record
            except AuditFault:
                raise
            except (RsppError, OSError, TimeoutError) as error:
                message = f"the audit record was not written: {type(error).__name__}"
                raise AuditFault("audit_sink_write_failed", message) from error

    async def _go_on(self) -> None:
        """A writer that was here before goes on from its last record, whatever its head says."""
        if self._known:
            return
        head = Head(0, GENESIS)
        async for _, data in self._store.read(PREFIX + self.writer):
            head = Head(head.count + 1, _digest(data))
        self._head, self._known = head, True


async def records(store: Store, writer: str) -> list[AuditRecord]:
    """A writer's records; raises AuditFault where one is none."""
    found = []
    async for number, data in store.read(PREFIX + writer):
        try:
            found.append(_DECODE(data))
        except UNREADABLE as error:
            raise AuditFault("audit_chain_broken", str(error), f"{PREFIX}{writer}[{number}]") from error
    return found


async def heads(store: Store) -> dict[str, Head]:
    """How long each log is, and its last hash: what to keep in another place. Raises AuditFault where one is none."""
    found = {}
    for writer in await store.keys(BUCKET):
        entry = await store.get(BUCKET, writer)
        if entry is None:
            continue
        try:
            found[writer] = _HEAD(entry.value)
        except UNREADABLE as error:
            message = "the head of a log cannot be read"
            raise AuditFault("audit_chain_broken", message, f"{BUCKET}:{writer}") from error
    return found


async def verify(store: Store, known: dict[str, Head] | None = None) -> Verified:
    """Is every log as it was written? `known` are heads that were kept elsewhere, of now or of before."""
    broken: list[str] = []
    logs = count = 0
    marks: dict[str, list[Head]] = {writer: [head] for writer, head in (known or {}).items()}
    for writer in await store.keys(BUCKET):
        entry = await store.get(BUCKET, writer)
        try:
            marks.setdefault(writer, []).append(_HEAD(entry.value if entry is not None else b""))
        except UNREADABLE:
            broken.append(f"{BUCKET}:{writer}")
    for writer, due in sorted(marks.items()):
        logs += 1
        found, place = await _verify_log(store, writer, due)
        count += found
        if place is not None:
            broken.append(place)
    return Verified(logs, count, tuple(broken))


async def _verify_log(store: Store, writer: str, due: list[Head]) -> tuple[int, str | None]:
    """How many records are sound, and the first place that is not."""
    before, count = GENESIS, 0
    digests: dict[int, str] = {head.count: head.digest for head in due if head.count == 0}
    async for _, data in store.read(PREFIX + writer):
        place = f"{PREFIX}{writer}[{count + 1}]"
        try:
            record = _DECODE(data)
        except UNREADABLE:
            return count, place
        if record.number != count + 1 or record.before != before:
            return count, place
        before, count = _digest(data), count + 1
        if any(head.count == count for head in due):
            digests[count] = before
    for head in due:
        if head.count and digests.get(head.count) != head.digest:
            return count, f"{PREFIX}{writer}[{min(head.count, count + 1)}]"
    return count, None


def _check(record: AuditRecord) -> None:
    """A record says who, what and why; one that does not is none."""
    texts = (record.action, record.decision, record.tenant_id, record.principal_id, record.reason)
    said = (*texts, *record.facts, *record.facts.values())
    if not all(texts[:2]) or not all(isinstance(text, str) for text in said):
        raise AuditFault("audit_event_invalid", "an audit record needs an action and a decision, as text")
    if len(record.facts) > FIELDS_MAX or max(map(len, said)) > FIELD_CHARACTERS_MAX:
        raise AuditFault("audit_event_invalid", "a field of an audit record is too long")
    try:
        "".join(said).encode()
    except UnicodeEncodeError:
        raise AuditFault("audit_event_invalid", "a field of an audit record is not text") from None


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
