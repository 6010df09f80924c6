"""Each session's status goes to the store as it changes, a few times a second at most, and its last one always does.

Changes are noted by plain calls while the session is served; one task writes. What changed again before it was written is
written once. A record that lives is renewed, so those of a process that is gone go by themselves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS, Signal
from rspp.contract.evidence import TurnEvidence
from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut
from rspp.control import names
from rspp.control.fleet.status import GOES_ON, SessionWord, Status, after, ended
from rspp.host.ports import Clock, Entry, Store
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.control.fleet.status")

# A change of the word is written at once, but two of one session not closer than this; a mere count may wait for longer.
WORD_MS_MIN: Final = 250
COUNT_MS_MIN: Final = 2_000
BEAT_MS: Final = 30_000
# Longer than it takes to call a process lost and to wait for somebody who takes its session up: else nobody could say its end.
LIVE_TTL_MS: Final = 300_000
ENDED_TTL_MS: Final = 15 * 60_000
RETRY_MS: Final = 500
AT_ONCE: Final = 16
# Far more than a host has sessions, with those that ended while the store was away.
ROWS_MAX: Final = 100_000
TRIES_MAX: Final = 4

DECODE: Final = msgspec.json.Decoder(Status).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def status_of(entry: Entry) -> Status | None:
    """None for what is no status, or not that of its key: so what lies in a tenant's room and is another's is not shown."""
    try:
        status = DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return status if names.parts(entry.key) == (status.tenant, status.session) else None


def row_of(key: str, value: bytes) -> Row | None:
    """A session as an operator sees it."""
    status = status_of(Entry(key, value, 0))
    if status is None:
        return None
    degraded = status.state is SessionWord.DEGRADED
    missing = ", ".join(status.missing)
    return Row(
        aggregate_id=status.session,
        tenant_id=status.tenant,
        state=status.state.value,
        level=Level.DEGRADED if degraded else Level.OK,
        reason="session_degraded" if degraded else "",
        message=cut(f"{status.session} goes on without {missing}: {status.reason}") if degraded else "",
        since_ms=status.since_ms,
        facts={
            "owner": cut(status.owner),
            "epoch": status.epoch,
            "region": cut(status.region),
            "pipeline": cut(status.pipeline),
            "policy": cut(status.policy),
            "turns": status.turns,
            "line": status.line,
            "missing": cut(missing),
            "because": cut(status.reason),
            "opened_ms": status.opened_ms,
        },
        over=status.state is SessionWord.ENDED,
    )


SURFACE: Final = Surface(
    name="sessions",
    owner=__name__,
    summary="Every session that runs or has just ended: how it fares, where it is, how many turns it had.",
    aggregate_type="session",
    storage=f"kv:{names.STATUS}",
    truth=Truth.CANONICAL,
    read="GET /v1/tenants/{tenant}/statuses",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(names.STATUS),
    row=row_of,
)


class _Row(msgspec.Struct):
    """A session's status, and what of it is in the store: nothing before its caller has come."""

    status: Status
    written: Status | None = None
    written_at: int = 0
    revision: int | None = None  # of our last write; None: look first


class StatusWriter:
    """A listener of all sessions of one host, and the task that writes what it notes."""

    def __init__(self, store: Store, clock: Clock, *, owner: Callable[[], str], region: str = "") -> None:
        self.dropped = 0
        self.failures = 0
        self.writes = 0
        self._store = store
        self._clock = clock
        self._owner = owner
        self._region = region
        self._rows: dict[str, _Row] = {}  # bounded: ROWS_MAX
        self._changed: dict[str, _Row] = {}  # bounded: ROWS_MAX; those that are not written as they are
        self._beat_at = 0
        self._away = False  # the store took one of the last rows not
        self._wanted = asyncio.Event()

    # ---- as a listener ---------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None:
        if len(self._rows) >= ROWS_MAX:
            self.dropped += 1
            return
        wall_ms = self._clock.wall() // NS_PER_MS
        snapshot = request.snapshot
        self._rows[request.session_id] = _Row(
            Status(
                tenant=request.tenant_id,
                session=request.session_id,
                state=SessionWord.CONNECTED,
                since_ms=wall_ms,
                opened_ms=wall_ms,
                epoch=request.epoch,
                owner=self._owner(),
                region=self._region,
                pipeline=f"{graph.pipeline}@{graph.version}",
                policy=snapshot.provenance.policy_resolution_snapshot if snapshot else "",
                turns=request.next_turn - 1,
            )
        )

    def heard(self, session_id: str, signal: Signal) -> None:
        row = self._rows.get(session_id)
        if row is not None:
            self._note(row, after(row.status, signal, self._clock.wall() // NS_PER_MS))

    def turn(self, session_id: str, evidence: TurnEvidence) -> None: ...

    def over(self, session_id: str, reason: str) -> None:
        """The last word; none if the session goes on elsewhere."""
        row = self._rows.get(session_id)
        if row is None:
            return
        if reason in GOES_ON:
            self._forget(row)
        else:
            self._note(row, ended(row.status, reason, self._clock.wall() // NS_PER_MS))

    def _note(self, row: _Row, status: Status) -> None:
        if status is not row.status:
            row.status = status
            self._changed[status.session] = row
            self._wanted.set()

    def _forget(self, row: _Row) -> None:
        """Not if its name has come back meanwhile."""
        session_id = row.status.session
        if self._rows.get(session_id) is row:
            del self._rows[session_id]
        if self._changed.get(session_id) is row:
            del self._changed[session_id]

    # ---- as a task -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write for as long as the host lives."""
        while True:
            self._wanted.clear()
            wait_ms = await self.write_due()
            if self._away:  # what changes meanwhile does not make it come back
                await asyncio.sleep(wait_ms / 1000)
                continue
            try:
                async with asyncio.timeout(wait_ms / 1000):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def flush(self, timeout_s: float) -> int:
        """Write all that is not written, whenever it was due; how much could not be."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._write(list(self._changed.values()))
        except TimeoutError:
            pass
        return len(self._changed)

    async def write_due(self) -> int:
        """Write what is due; in how many milliseconds something will be."""
        now = self._clock.now()
        if now >= self._beat_at:
            # Those that live and have not changed for long are said again, or their records would expire.
            self._beat_at = now + BEAT_MS * NS_PER_MS // 4
            old = now - BEAT_MS * NS_PER_MS
            quiet = [row for row in self._rows.values() if row.written is not None and row.written_at <= old]
            self._changed.update((row.status.session, row) for row in quiet)
        waits = [(_wait_ms(row, now), row) for row in self._changed.values()]
        self._away = not await self._write([row for wait_ms, row in waits if wait_ms <= 0])
        if self._away:
            return RETRY_MS
        left_ms = min((wait_ms for wait_ms, _ in waits if wait_ms > 0), default=BEAT_MS // 4)
        return max(1, left_ms)

    async def _write(self, rows: list[_Row]) -> bool:
        """Write these, a few at a time; False if the store took one of them not."""
        for start in range(0, len(rows), AT_ONCE):
            kept = await asyncio.gather(*(self._write_one(row) for row in rows[start : start + AT_ONCE]))
            if not all(kept):
                return False
        return True

    async def _write_one(self, row: _Row) -> bool:
        status = row.status
        try:
            for _ in range(TRIES_MAX):
                if await self._put(row, status):
                    break
        except (RsppError, OSError) as error:
            self.failures += 1
            log.info("the status of a session was not written: %s", type(error).__name__)
            if self._changed.get(status.session) is row:
                # After the others: one that no store takes keeps nobody else from being written.
                self._changed[status.session] = self._changed.pop(status.session)
            return False
        if row.written is row.status:
            if self._changed.get(status.session) is row:
                del self._changed[status.session]
            if status.state is SessionWord.ENDED:
                self._forget(row)
        return True

    async def _put(self, row: _Row, status: Status) -> bool:
        """One attempt; False if somebody has written meanwhile, perhaps we, unheard of: it is worth another look."""
        key = names.key(status.tenant, status.session)
        if row.revision is None:
            entry = await self._store.get(names.STATUS, key)
            there = status_of(entry) if entry is not None else None
            if there is not None and _is_over_for(there, status):
                self._forget(row)
                return True
            row.revision = entry.revision if entry is not None else 0
        over = status.state is SessionWord.ENDED
        ttl_ms = ENDED_TTL_MS if over else LIVE_TTL_MS
        revision = await self._store.put(
            names.STATUS, key, _ENCODE(status), expect=row.revision, ttl_ms=ttl_ms
        )
        row.revision = revision
        if revision is None:
            return False
        row.written, row.written_at = status, self._clock.now()
        self.writes += 1
        return True


def _is_over_for(there: Status, ours: Status) -> bool:
    """Is it another process's by now, or has somebody ended it for us while we were thought to be gone?"""
    same = (there.epoch, there.owner, there.opened_ms) == (ours.epoch, ours.owner, ours.opened_ms)
    ended_for_us = same and there.state is SessionWord.ENDED and ours.state is not SessionWord.ENDED
    return there.epoch > ours.epoch or ended_for_us


def _wait_ms(row: _Row, now: int) -> int:
    """How long what has changed may wait yet."""
    written, status = row.written, row.status
    if written is None or written is status or status.state is SessionWord.ENDED:
        return 0
    said, meant = (written.state, written.line, written.reason), (status.state, status.line, status.reason)
    least_ms = COUNT_MS_MIN if said == meant else WORD_MS_MIN
    return least_ms - (now - row.written_at) // NS_PER_MS


async def end_for(store: Store, tenant: str, session: str, reason: str, wall_ms: int) -> bool:
    """Say that a session is over whose owner cannot say it any more; for whoever ends its lease. False if nothing is known."""
    key = names.key(tenant, session)
    for _ in range(TRIES_MAX):
        entry = await store.get(names.STATUS, key)
        status = status_of(entry) if entry is not None else None
        if entry is None or status is None:
            return False
        over = ended(status, reason, wall_ms)
        if over is status:
            return True
        value = _ENCODE(over)
        if await store.put(names.STATUS, key, value, expect=entry.revision, ttl_ms=ENDED_TTL_MS) is not None:
            return True
    return False
