"""Durable state on its way to the store and back: the newest value of each key, under the epoch that owns the session.

A session never waits for it. Its values are written one after the other, in the order of their revisions; many sessions are
written at once. A record of a higher epoch is never written over: whoever finds one has lost its session, and is told.
What a `put` came to that raised is not known, so the record is read before it is tried again. Values wait while the store
does not answer, newer ones in the place of older ones; what no store can keep is dropped and counted.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.event import NS_PER_MS
from rspp.host.clock import MachineClock
from rspp.host.held_line import HeldLine
from rspp.host.ports import Clock, Entry, Line, Store
from rspp.host.unsaved import Unsaved
from rspp.kernel.effects import SaveState
from rspp.kernel.snapshot import Durable

BUCKET: Final = "state"
# Far more sessions than a host has, each with its few keys.
PENDING_MAX: Final = 100_000
# Sessions that are remembered though nothing of theirs waits; forgetting one costs it a read.
KNOWN_MAX: Final = 10_000
# Sessions that are written at once: a store that takes a millisecond then takes thirty values in it.
AT_ONCE_MAX: Final = 32
RETRY_S: Final = 0.5
# Lost races in a row: a key has one writer, and now and then that one's predecessor.
RACES_MAX: Final = 8
FLUSH_S: Final = 5.0
# A key that is deleted between the list and the read: the whole is read again.
READS_MAX: Final = 3
# What every store says, now and later, of a name or a value that is beyond its bounds (`host.stored`).
NEVER_TAKEN: Final = frozenset(
    {"store_name_invalid", "text_not_utf8", "payload_too_large", "residency_denied"}
)
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic")

Where = tuple[str, str]  # tenant and session


class Saved(msgspec.Struct, frozen=True):
    """One key of a session's durable state, as it is kept."""

    value: object
    revision: int
    epoch: int


def room(tenant_id: str, session_id: str) -> str:
    """How all keys of a session begin."""
    try:
        return f"{quote(tenant_id, safe='')}/{quote(session_id, safe='')}/"
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a name that UTF-8 cannot write") from None


def state_key(tenant_id: str, session_id: str, key: str) -> str:
    """Where a value is kept: the parts encoded, so that no name reaches into another session's room."""
    try:
        return f"{room(tenant_id, session_id)}{quote(key, safe='')}"
    except UnicodeEncodeError:
        raise MisuseError("text_not_utf8", "a key that UTF-8 cannot write") from None


async def load(store: Store, tenant_id: str, session_id: str, clock: Clock | None = None) -> Durable | None:
    """What the last owner left, all of it or none; `age_ms` is how long it took to read, and so how old it may be.

    Raises `durable_state_corrupt` with the key for a record that cannot be read: what is damaged is never taken for empty.
    """
    time: Clock = clock or MachineClock()
    prefix = room(tenant_id, session_id)
    for _ in range(READS_MAX):
        began = time.now()
        keys = await store.keys(BUCKET, prefix)
        entries = await asyncio.gather(*(store.get(BUCKET, key) for key in keys))
        there = [entry for entry in entries if entry is not None]
        if len(there) == len(keys):
            break
    else:
        raise PeerFault(
            "durable_state_unreadable", f"the state of session {session_id} changed while it was read"
        )
    if not there:
        return None
    saved = {entry.key.rpartition("/")[2]: _read(entry) for entry in there}
    return Durable(
        revision=max(one.revision for one in saved.values()),
        values={_unquoted(key): one.value for key, one in saved.items()},
        age_ms=(time.now() - began) // NS_PER_MS,
    )


async def forget(store: Store, tenant_id: str, session_id: str) -> None:
    """The session has ended for good."""
    keys = await store.keys(BUCKET, room(tenant_id, session_id))
    await asyncio.gather(*(store.delete(BUCKET, key) for key in keys))


class _Session:
    """What is known of one session's records."""

    __slots__ = ("fenced_by", "known", "line", "unsaved", "writing")

    def __init__(self) -> None:
        self.unsaved = Unsaved()
        self.known: dict[str, int] = {}  # the store's revision of what we wrote last; bounded: by its keys
        self.fenced_by = 0  # the epoch of another owner's record
        self.writing: asyncio.Task[None] | None = None
        self.line: HeldLine | None = None

    @property
    def idle(self) -> bool:
        return not self.unsaved and self.writing is None and (self.line is None or self.line.closed)


class StateWriter:
    """Writes what sessions save, reads it for their successors, and forgets it with them."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Clock | None = None,
        on_stale: Callable[[str, str], None] | None = None,
        lives: Callable[[str, str], Awaitable[bool]] | None = None,
    ) -> None:
        """`on_stale` is told the tenant and the session for each epoch under which another owner has written.

        `lives` is asked before anything is written of which the store has nothing: what a lost owner could not write must not
        bring back what was forgotten with its session.
        """
        self._store, self._clock, self._on_stale, self._lives = store, clock, on_stale, lives
        self._sessions: dict[Where, _Session] = {}  # bounded: by PENDING_MAX and KNOWN_MAX
        self._ready: dict[Where, _Session] = {}  # those that nobody writes yet; bounded: by the sessions
        self._wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: AT_ONCE_MAX
        self.pending = self.written = self.dropped = self.failures = self.stale = self.mended = 0

    # ---- from sessions -------------------------------------------------------------------------------------------

    def put(self, tenant_id: str, session_id: str, effect: SaveState) -> None:
        where = (tenant_id, session_id)
        session = self._session(where)
        if effect.epoch < session.fenced_by:
            self.stale += 1
            session.unsaved.lost(effect.key)
            return
        if session.fenced_by:
            session.fenced_by = 0  # the session is ours again, under that epoch or a later one
            session.unsaved.again()
        fresh = effect.key not in session.unsaved
        if fresh and self.pending >= PENDING_MAX:
            self.dropped += 1
            session.unsaved.lost(effect.key)
            return
        self.pending += fresh
        session.unsaved.put(effect)
        if session.writing is None:
            self._ready[where] = session
            self._wanted.set()

    async def flushed(self, tenant_id: str, session_id: str, timeout_s: float = FLUSH_S) -> None:
        """All that was put until now, and that a store can keep, is in the store. Raises `PeerFault` where it is not."""
        session = self._session((tenant_id, session_id))
        try:
            await asyncio.wait_for(session.unsaved.when_saved(), timeout_s)
        except TimeoutError:
            why = f"the state of session {session_id} was not written in {timeout_s:g} s"
            raise PeerFault("durable_state_unsaved", why) from None
        if session.fenced_by:
            raise PeerFault("authority_epoch_mismatch", f"session {session_id} is another owner's")

    def hold(self, tenant_id: str, session_id: str, line: Line) -> HeldLine:
        """The session's line, by which nothing is told as committed before its state is kept."""
        session = self._session((tenant_id, session_id))
        former = session.line
        session.line = held = HeldLine(line, session.unsaved.when_saved, lambda: session.fenced_by > 0)
        if former is not None:
            held.take_over(former)
        return held

    # ---- for successors ------------------------------------------------------------------------------------------

    async def load(self, tenant_id: str, session_id: str) -> Durable | None:
        """What the last owner left. If that was this process, what it could not write until now is written before, or was in
        vain: else a session would go on behind its own state, and be fenced for what it was long ago.
        """
        former = self._sessions.get((tenant_id, session_id))
        if former is not None and former.unsaved:
            try:
                await self.flushed(tenant_id, session_id)
            except PeerFault as error:
                if error.code != "authority_epoch_mismatch":
                    raise
        return await load(self._store, tenant_id, session_id, self._clock)

    async def forget(self, tenant_id: str, session_id: str) -> None:
        """The session has ended for good: nothing of it is written any more, and nothing kept."""
        session = self._sessions.pop((tenant_id, session_id), None)
        self._ready.pop((tenant_id, session_id), None)
        if session is not None:
            self.pending -= session.unsaved.clear()
            if session.writing is not None:
                await asyncio.wait([session.writing])
        await forget(self._store, tenant_id, session_id)

    # ---- to the store --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Write for as long as the host lives."""
        await self._serve(lambda: False)

    async def flush(self, timeout_s: float) -> int:
        """Write what is left; how much could not be."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._serve(lambda: not self.pending)
        return self.pending

    async def _serve(self, done: Callable[[], bool]) -> None:
        try:
            while not done():
                while self._ready and len(self._tasks) < AT_ONCE_MAX:
                    where = next(iter(self._ready))
                    self._begin(where, self._ready.pop(where))
                self._wanted.clear()
                await self._wanted.wait()
        except asyncio.CancelledError:
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(set(self._tasks))
            raise

    def _begin(self, where: Where, session: _Session) -> None:
        task = asyncio.get_running_loop().create_task(self._write(where, session), name="host:state:write")
        session.writing = task
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._wrote(where, session, task))

    def _wrote(self, where: Where, session: _Session, task: asyncio.Task[None]) -> None:
        """What is still unsaved is tried again: after a failure not at once."""
        self._tasks.discard(task)
        session.writing = None
        self._wanted.set()
        failed = not task.cancelled() and task.exception() is not None
        if not session.unsaved or self._sessions.get(where) is not session:
            return
        if failed:
            self.failures += 1
            asyncio.get_running_loop().call_later(RETRY_S, self._again, where, session)
        else:
            self._ready[where] = session

    def _again(self, where: Where, session: _Session) -> None:
        if session.unsaved and session.writing is None and self._sessions.get(where) is session:
            self._ready[where] = session
            self._wanted.set()

    async def _write(self, where: Where, session: _Session) -> None:
        """Write what waits, oldest first; whatever the store raises, it may take it the next time."""
        unsaved = session.unsaved
        while (item := unsaved.first()) is not None:
            record = _record(item.effect)
            if record is None:
                self.dropped += 1
                self.pending -= unsaved.dropped(item)
                continue
            try:
                if not await self._put(where, session, item.effect, record):
                    return
            except RsppError as error:
                if error.code not in NEVER_TAKEN:
                    raise
                self.failures += 1
                self.dropped += 1  # it must not stand in the way of the others for ever
                self.pending -= unsaved.dropped(item)
            else:
                self.written += 1
                self.pending -= unsaved.written(item)

    async def _put(self, where: Where, session: _Session, effect: SaveState, record: bytes) -> bool:
        """Write one record; False: another owner has."""
        name = state_key(*where, effect.key)
        # Taken out: if this raises or is cancelled, what the store has is not known.
        known = session.known.pop(effect.key, None)
        for _ in range(RACES_MAX):
            if known is None:
                entry = await self._store.get(BUCKET, name)
                if entry is not None and entry.value == record:
                    session.known[effect.key] = entry.revision  # what seemed to fail had not
                    return True
                if entry is not None and self._fenced(where, session, entry, effect.epoch):
                    return False
                if entry is None and self._lives is not None and not await self._lives(*where):
                    self._in_vain(session)
                    return False
                known = 0 if entry is None else entry.revision
            revision = await self._store.put(BUCKET, name, record, expect=known)
            if revision is not None:
                session.known[effect.key] = revision
                return True
            known = None
        raise PeerFault("durable_state_unsaved", f"{RACES_MAX} lost races for {name}")

    def _fenced(self, where: Where, session: _Session, entry: Entry, epoch: int) -> bool:
        """Is this another, later owner's record? Then the session is lost to us, with all that waits."""
        try:
            found = _read(entry).epoch
        except PeerFault:
            self.mended += 1  # who owns the session has it in memory, and writes it anew
            return False
        if found <= epoch:
            return False
        session.fenced_by = found
        self._in_vain(session)
        if self._on_stale is not None:
            self._on_stale(*where)
        return True

    def _in_vain(self, session: _Session) -> None:
        waited = session.unsaved.clear()
        self.pending -= waited
        self.stale += waited

    def _session(self, where: Where) -> _Session:
        session = self._sessions.get(where)
        if session is None:
            if len(self._sessions) >= KNOWN_MAX:
                idle = next((one for one, known in self._sessions.items() if known.idle), None)
                if idle is not None:
                    del self._sessions[idle]
            session = self._sessions[where] = _Session()
        return session


def _record(effect: SaveState) -> bytes | None:
    """The value as it is kept; None for one that no store can keep, now or later."""
    try:
        return _ENCODE.encode(Saved(effect.value, effect.revision, effect.epoch))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None


def _read(entry: Entry) -> Saved:
    try:
        return msgspec.msgpack.decode(entry.value, type=Saved)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PeerFault("durable_state_corrupt", str(error), entry.key) from error


def _unquoted(key: str) -> str:
    return unquote(key, errors="strict")
