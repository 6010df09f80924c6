"""How long what is kept: by tenant and class of payload, by a policy whose source is told. What is due is deleted, audited.

    file        named by somebody, or `retention.yaml` in the data folder
    snapshot    the control plane's
    default     the contract's table: its windows are also the longest that any policy may ask for

A recording's age counts from its end. When its words or its sound are due they are taken out and the rest stays; when its
metadata is due all of it goes. A session with personal or health data in its evidence keeps its contents only as long as
those may be kept. What was deleted answers like what never was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, RsppError
from rspp.contract.words import PayloadClass
from rspp.host.ports import Store
from rspp.timeline import catalogue, parts
from rspp.timeline.audit import AuditLog
from rspp.timeline.catalogue import Catalogued, Held
from rspp.timeline.declared import declared_in
from rspp.timeline.library import not_found
from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.stripping import What, strip

DAY_MS: Final = 24 * 3_600_000
_SPAN: Final = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNIT_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": DAY_MS}
TENANTS_MAX: Final = 4_096
# Blobs that no entry names are given so long to be named.
STRAY: Final = "recordings_stray"
STRAY_MS: Final = 10 * 60_000
HARD_DELETE: Final = "hard_delete"
CRYPTO: Final = "crypto_inaccessible"
C = PayloadClass
# The contract's: kept at most so long.
LONGEST: Final[Mapping[PayloadClass, int]] = {
    C.AUDIO_RAW: 30 * DAY_MS,
    C.TEXT_RAW: 30 * DAY_MS,
    C.PII: 7 * DAY_MS,
    C.PHI: DAY_MS,
    C.DERIVED_SUMMARY: 30 * DAY_MS,
    C.METADATA: 30 * DAY_MS,
}
_PERSONAL: Final = (C.PII, C.PHI)


class RetentionPolicy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """How long each class is kept, as `30d`, `12h`, `5s`: for everybody, and for tenants of their own."""

    name: str = "contract"
    everybody: dict[PayloadClass, str] = {}
    tenants: dict[str, dict[PayloadClass, str]] = {}

    def __post_init__(self) -> None:
        if len(self.tenants) > TENANTS_MAX:
            raise ValueError(f"at most {TENANTS_MAX} tenants")
        for windows in (self.everybody, *self.tenants.values()):
            for payload_class, text in windows.items():
                if span_ms(text) > LONGEST[payload_class]:
                    days = LONGEST[payload_class] / DAY_MS
                    raise ValueError(f"{payload_class} is kept for {days:g} days at most, not {text}")

    def window_ms(self, tenant: str, payload_class: PayloadClass) -> int:
        for windows in (self.tenants.get(tenant, {}), self.everybody):
            if payload_class in windows:
                return span_ms(windows[payload_class])
        return LONGEST[payload_class]


class InForce(msgspec.Struct, frozen=True):
    """A policy, and where it comes from: `file:<name>`, `snapshot` or `default`."""

    policy: RetentionPolicy
    source: str


class Swept(msgspec.Struct, frozen=True, kw_only=True):
    """What was due of one recording: all of it, or some classes."""

    name: str
    tenant_id: str
    age_ms: int
    deleted: bool
    dropped: list[str]


class DeleteRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody wants something gone: exactly one of a session and a turn of one tenant."""

    tenant_id: str
    requester: str
    at_wall_ms: int
    session_id: str | None = None
    turn_id: str | None = None
    kind: str = HARD_DELETE


def span_ms(text: str) -> int:
    """`30d`, `12h`, `90m`, `5s`, `250ms`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of time like 30d, 12h, 90m or 5s")
    return int(found[1]) * _UNIT_MS[found[2]]


def load(path: Path) -> RetentionPolicy:
    return declared_in(path, RetentionPolicy, "retention_policy_invalid")


def in_force(path: Path | None, snapshot: RetentionPolicy | None = None) -> InForce:
    """The explicit file's policy, else the control plane's, else the default. A file that is wrong is no default."""
    if path is not None:
        return InForce(load(path), f"file:{path.name}")
    return InForce(RetentionPolicy(), "default") if snapshot is None else InForce(snapshot, "snapshot")


class Retention:
    """Deletes what is due, and what is asked for. Each is on record before and after; without a record nothing is deleted."""

    def __init__(
        self, store: Store, rules: InForce, audit: AuditLog, principal_id: str = "retention"
    ) -> None:
        self._store = store
        self._rules = rules
        self._audit = audit
        self._principal_id = principal_id

    # ---- what is due ---------------------------------------------------------------------------------------------

    async def sweep(
        self, now_wall_ms: int, *, dry_run: bool = False, tenant: str | None = None
    ) -> list[Swept]:
        """Delete all that is too old at this moment; what was, or with `dry_run` would be.

        A recording that cannot be cut or read does not keep the others: it is told when they are done.
        """
        prefix = "" if tenant is None else f"{catalogue.encoded(tenant)}/"
        swept = []
        failed: RsppError | None = None
        for key in await self._store.keys(catalogue.BUCKET, prefix):
            try:
                held = await catalogue.get(self._store, key)
                if held is None:
                    continue
                due = None if held.entry.deleted else self.due(held.entry, now_wall_ms)
                if not dry_run:
                    await self._clean(held, due, now_wall_ms)
                if due is not None:
                    swept.append(due)
            except RsppError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return swept

    def due(self, entry: Catalogued, now_wall_ms: int) -> Swept | None:
        """What of this recording is too old."""
        policy, tenant = self._rules.policy, entry.tenant_id
        age_ms = now_wall_ms - entry.age_from_ms
        old = {one for one in C if age_ms > policy.window_ms(tenant, one)}
        personal = [one for one in _PERSONAL if one in old and one.value in entry.classes]
        dropped = [
            one.value
            for one in (C.AUDIO_RAW, C.TEXT_RAW)
            if (one in old or personal) and one.value not in entry.dropped
        ]
        deleted = C.METADATA in old
        if not (deleted or dropped):
            return None
        return Swept(name=entry.name, tenant_id=tenant, age_ms=age_ms, deleted=deleted, dropped=dropped)

    async def _clean(self, held: Held, due: Swept | None, now_wall_ms: int) -> None:
        if due is None:
            await self._clear(held.key, held.entry, now_wall_ms)
            return
        facts = {
            "session": held.entry.name,
            "age_ms": str(due.age_ms),
            "classes": "all" if due.deleted else ",".join(due.dropped),
            "policy": self._rules.policy.name,
            "source": self._rules.source,
        }
        await self._tell("allow", held.entry, "expired", facts)
        if due.deleted:
            await self._delete(held.key, now_wall_ms)
        else:
            await self._drop(held.key, due.dropped, now_wall_ms)
        await self._tell("done", held.entry, "expired", facts)

    async def _drop(self, key: str, classes: list[str], now_wall_ms: int) -> None:
        def note(entry: Catalogued) -> None:
            entry.dropped = {**entry.dropped, **dict.fromkeys(classes, now_wall_ms)}

        what = What(texts=C.TEXT_RAW.value in classes, sounds=C.AUDIO_RAW.value in classes)
        await strip(self._store, key, what, note)

    # ---- what is asked for -----------------------------------------------------------------------------------------

    async def delete(self, request: DeleteRequest, *, dry_run: bool = False) -> list[str]:
        """Delete a session, or what was said and heard in a turn of one; the names of the recordings."""
        _check(request)
        session_id = request.session_id or str(request.turn_id).rpartition("/")[0]
        found = [held for held in await self._runs(request.tenant_id, session_id) if not held.entry.deleted]
        if not found:
            raise not_found(request.session_id or str(request.turn_id))
        facts = {"session": session_id, "turn": request.turn_id or "", "kind": request.kind}
        for held in found if not dry_run else ():
            await self._tell("allow", held.entry, "requested", facts, request.requester)
            if request.turn_id is None:
                await self._delete(held.key, request.at_wall_ms)
            else:
                await self._forget_turn(held, request.turn_id)
            await self._tell("done", held.entry, "requested", facts, request.requester)
        return [held.entry.name for held in found]

    async def _runs(self, tenant_id: str, session_id: str) -> list[Held]:
        plain = catalogue.key_of(tenant_id, session_id)
        keys = [
            key
            for key in await self._store.keys(catalogue.BUCKET, plain)
            if key == plain or key.startswith(f"{plain}~")
        ]
        return [held for key in keys if (held := await catalogue.get(self._store, key)) is not None]

    async def _forget_turn(self, held: Held, turn_id: str) -> None:
        pieces = [await parts.read(self._store, part) for part in held.entry.parts]
        recording = assemble(unframe(piece) for piece in pieces if piece is not None)
        first, last = steps_of(recording, turn_id)
        what = What(texts=True, sounds=True, here=lambda step: first <= step <= last, whole=False)

        def note(entry: Catalogued) -> None:
            entry.forgotten = sorted({*entry.forgotten, turn_id})

        await strip(self._store, held.key, what, note)

    # ---- deleting --------------------------------------------------------------------------------------------------

    async def _delete(self, key: str, now_wall_ms: int) -> None:
        """First the entry says that it is gone, then its parts go: nobody who comes in between puts them back."""
        for _ in range(catalogue.CAS_TRIES_MAX):
            held = await catalogue.get(self._store, key)
            if held is None:
                return
            old = held.entry
            entry = Catalogued(
                session_id=old.session_id,
                tenant_id=old.tenant_id,
                run=old.run,
                name=old.name,
                deleted_wall_ms=now_wall_ms,
                complete=True,
            )
            if await catalogue.put(self._store, key, entry, held.revision) is not None:
                await self._store.delete(catalogue.OPEN, key)
                for blob in await parts.stray(self._store, key, entry):
                    await self._store.delete_blob(blob)
                return
        raise LimitReached("store_contended", f"somebody else keeps changing the entry {key}")

    async def _clear(self, key: str, entry: Catalogued, now_wall_ms: int) -> None:
        """Blobs that no entry names, left behind by a process that died. One that was put a moment ago may be about to be
        named: so they are marked, and go with a later sweep.
        """
        if not entry.complete:
            return
        for blob in await parts.stray(self._store, key, entry):
            marked = await self._store.get(STRAY, blob)
            if marked is None:
                since = str(now_wall_ms).encode()
                await self._store.put(STRAY, blob, since, expect=0, ttl_ms=2 * DAY_MS)
            elif now_wall_ms - int(marked.value) >= STRAY_MS:
                await self._store.delete_blob(blob)
                await self._store.delete(STRAY, blob)

    async def _tell(
        self,
        decision: str,
        entry: Catalogued,
        reason: str,
        facts: dict[str, str],
        principal_id: str | None = None,
    ) -> None:
        await self._audit.append(
            "deletion" if reason == "requested" else "retention",
            decision,
            tenant_id=entry.tenant_id[:256],
            principal_id=principal_id or self._principal_id,
            reason=reason,
            facts={name: value[:256] for name, value in facts.items()},
        )


def _check(request: DeleteRequest) -> None:
    if request.kind == CRYPTO:
        raise MisuseError(
            "deletion_unsupported",
            f"{CRYPTO} needs recordings that are encrypted with a key a session; here only {HARD_DELETE} deletes",
        )
    if request.kind != HARD_DELETE:
        raise MisuseError("deletion_invalid", f"{request.kind!r} is neither {HARD_DELETE} nor {CRYPTO}")
    if (request.session_id is None) == (request.turn_id is None):
        raise MisuseError("deletion_invalid", "exactly one of a session and a turn is deleted")
    for name in ("tenant_id", "requester"):
        if not str(getattr(request, name)).strip():
            raise MisuseError("deletion_invalid", f"a request to delete names its {name}")
    if request.at_wall_ms <= 0:
        raise MisuseError("deletion_invalid", "a request to delete has a time")
    if request.turn_id is not None and "/" not in request.turn_id:
        raise MisuseError("deletion_invalid", "a turn is named <session>/<turn>")


def steps_of(recording: Recording, turn_id: str) -> tuple[int, int]:
    """The inputs of a turn, from its caller's first sound to its close; raises MisuseError if there is no such turn."""
    evidence = next((one for one in recording.evidence.values() if one.turn_id == turn_id), None)
    if evidence is None:
        raise not_found(turn_id)
    began = [at for at in (evidence.audio_input_ingress_at, evidence.turn_open_proposed_at) if at is not None]
    stamp = next((one for one in recording.stamps.values() if one.turn_id == turn_id), None)
    ended = stamp.turn_close_at if stamp is not None else evidence.turn_terminal_at or recording.ended_at
    first = min(began, default=recording.began_at)
    steps = [step for step, (at, _) in recording.inputs.items() if first <= at <= ended]
    return (min(steps), max(steps)) if steps else (1, 0)
