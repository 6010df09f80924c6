"""What was recorded goes to the store, behind the calls: each sealed segment exactly once, retried until it is acknowledged.

    segment -> blob under its own name -> the catalogue's entry names it -> acknowledged -> the segment is released

A process may die between any two of these. The blob has the segment's name, so putting it again changes nothing; the
entry moves by compare-and-set, and names a part once; the segment is only removed after that. Nobody waits for the store:
a slow or broken one makes the local append fuller and later, which lowers the recording level, and nothing else.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.errors import LimitReached, RsppError
from rspp.contract.surface import Coverage, Fact, Level, Row, Surface, Truth, cut
from rspp.host.conditions import kept, reader
from rspp.host.ports import Store
from rspp.timeline import catalogue, parts
from rspp.timeline.catalogue import Catalogued, Stored
from rspp.timeline.segments import SPOOL, Segment, boot_of

log = logging.getLogger("rspp.export")

PROCESS_LOST: Final = "process_lost"
LAG_EVERY_S: Final = 0.1
LOOK_EVERY_S: Final = 1.0  # should nobody have said that there is something
SEGMENT_GONE: Final = "segment_gone"
# For so long the oldest part may wait before it is told of.
LAGGING_MS: Final = 5_000


SURFACE: Final = Surface(
    name="evidence_export",
    owner=__name__,
    summary="Whether what each process recorded gets into the store, and in time.",
    aggregate_type="export",
    storage="memory, said in kv:conditions",
    truth=Truth.CANONICAL,
    read="rspp export",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=kept(),
    row=reader("evidence_export"),
)


class ExportSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The contract's stage B. A try that takes too long is given more time after the first three, up to a bound: a
    large part on a slow disk must get through some day.
    """

    queue_max: int = 256
    try_ms: int = 200
    try_ms_max: int = 10_000
    tries_short: int = 3
    pause_ms: int = 25
    pause_ms_max: int = 2_000


class ExportMeters(msgspec.Struct):
    """One process's; counters only rise."""

    durable_export_retries_total: int = 0
    durable_export_failures_total: dict[str, int] = {}  # tries, by reason
    durable_export_queue_depth: int = 0
    durable_export_lag_ms: int = 0
    exported_parts_total: int = 0
    exported_bytes_total: int = 0
    given_up_total: int = 0


class Spooled(Protocol):
    """The local append, as the exporter sees it."""

    @property
    def data(self) -> Path: ...
    def sealed(self) -> list[Segment]: ...
    def release(self, segment: Segment) -> None: ...
    @property
    def adopted(self) -> frozenset[str]: ...
    def adopt(self) -> list[Segment]: ...
    def lag(self, ms: int) -> None: ...


class _Trouble(msgspec.Struct):
    """A run whose next part has failed so often."""

    tries: int = 0
    due: float = 0.0
    why: str = ""


class Exporter:
    """One process's export. `run` is a task that ends with the host; `drain` waits for what is left."""

    def __init__(
        self,
        store: Store,
        spool: Spooled,
        settings: ExportSettings | None = None,
        *,
        meters: ExportMeters | None = None,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.settings = settings or ExportSettings()
        self.meters = meters or ExportMeters()
        self._store = store
        self._spool = spool
        self._wall_ms = wall_ms
        self._place = place_of(spool.data)
        self._wake = asyncio.Event()
        self._look_for_lost = asyncio.Event()
        self._look_for_lost.set()
        self._seen: dict[Path, float] = {}  # bounded: by what the spool may keep
        self._troubles: dict[str, _Trouble] = {}  # bounded: likewise; runs whose last try failed
        self._patience = (
            0  # tries after which a slow store took a part: the next one is not tried in less time
        )

    def sealed(self, segment: Segment) -> None:
        """There is one more (for the spool's `on_sealed`)."""
        self._wake.set()

    # ---- life ----------------------------------------------------------------------------------------------------

    async def adopt(self) -> int:
        """Take over what dead processes left, and close the entries of sessions that died with them. How many segments."""
        segments = await asyncio.to_thread(self._spool.adopt)
        self._wake.set()
        self._look_for_lost.set()
        return len(segments)

    async def run(self) -> None:
        """Export for as long as the host lives; nothing that a store does ends it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_lag(), name="export:lag")
            tasks.create_task(self._close_lost(), name="export:lost")
            while True:
                self._wake.clear()
                segment, pause_s = self._next()
                if segment is not None:
                    await self._try(segment)
                else:
                    await self._woken(pause_s)

    async def drain(self, deadline_ms: int, told: Callable[[int], None] = lambda _: None) -> int:
        """Wait, while `run` runs, until everything sealed is in the store; how many segments are left for the next process."""
        deadline = _now() + deadline_ms / 1000
        while (left := len(self._spool.sealed())) and _now() < deadline:
            told(left)
            await asyncio.sleep(0.02)
        return left

    def retry(self) -> int:
        """Try everything that waits now, however often it has failed; how many segments wait."""
        for trouble in self._troubles.values():
            trouble.due = 0.0
        self._wake.set()
        return len(self._spool.sealed())

    async def give_up(self, segment: Segment) -> None:
        """Only on request: this part will never be in the store, its entry says so, and the segment is removed."""
        key, held = await catalogue.of_run(self._store, segment.tenant_id, segment.session_id, segment.run)
        entry = held.entry if held else self._begun(key, segment)
        entry.given_up = [*entry.given_up, segment.part]
        entry.gaps += 1
        if await catalogue.put(self._store, key, entry, held.revision if held else 0) is None:
            raise LimitReached("store_contended", f"somebody else changed the entry of {segment.session_id}")
        self.meters.given_up_total += 1
        self._forget(segment)

    # ---- which comes next ------------------------------------------------------------------------------------------

    def _next(self) -> tuple[Segment | None, float]:
        """The first segment of a run that need not wait after a failure; else how long until there is one."""
        waiting = self._spool.sealed()
        self._note(waiting)
        now, blocked, pause_s = _now(), set[str](), LOOK_EVERY_S
        for segment in waiting[: self.settings.queue_max]:
            if segment.run in blocked:
                continue  # a run's parts go in their order
            trouble = self._troubles.get(segment.run)
            if trouble is None or trouble.due <= now:
                return segment, 0.0
            blocked.add(segment.run)
            pause_s = min(pause_s, trouble.due - now)
        return None, pause_s

    def _note(self, waiting: Sequence[Segment]) -> None:
        now = _now()
        self._seen = {one.path: self._seen.get(one.path, now) for one in waiting}
        self.meters.durable_export_queue_depth = len(waiting)

    @property
    def lag_ms(self) -> int:
        """How long the oldest segment has waited for its acknowledgement."""
        oldest = next(iter(self._seen.values()), None)
        return 0 if oldest is None else int((_now() - oldest) * 1000)

    def rows(self) -> list[Row]:
        """How the export fares. Its queue ticks with every part, so only its order of magnitude is told."""
        failing = [one for one in self._troubles.values() if one.tries >= self.settings.tries_short]
        waiting = self.meters.durable_export_queue_depth
        state, level, reason, message = "exporting" if waiting else "idle", Level.OK, "", ""
        if failing:
            state, level, reason = "failing", Level.DEGRADED, "export_failing"
            message = cut(f"what was recorded does not get into the store: {failing[0].why}")
        elif self.lag_ms >= LAGGING_MS:
            state, level, reason = "lagging", Level.DEGRADED, "export_lagging"
            message = f"what was recorded waits for {LAGGING_MS} ms or longer to get into the store"
        facts: dict[str, Fact] = {"waiting_from": 10 ** (len(str(waiting)) - 1) if waiting else 0}
        return [Row(aggregate_id="", state=state, level=level, reason=reason, message=message, facts=facts)]

    async def _woken(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _tell_lag(self) -> None:
        while True:
            self.meters.durable_export_lag_ms = lag_ms = self.lag_ms
            self._spool.lag(lag_ms)
            await asyncio.sleep(LAG_EVERY_S)

    # ---- one try -----------------------------------------------------------------------------------------------------

    async def _try(self, segment: Segment) -> None:
        trouble = self._troubles.get(segment.run)
        tries = trouble.tries if trouble else 0
        if tries:
            self.meters.durable_export_retries_total += 1
        began = _now()
        try:
            async with asyncio.timeout(self._try_s(max(tries, self._patience))):
                await self._export(segment)
        except TimeoutError:
            self._failed(segment, "timeout")
        except RsppError as error:
            self._failed(segment, error.code)
        except Exception as error:  # supervised: whatever a store raises, it may take it the next time
            log.debug("a try to export %s failed", segment.part, exc_info=error)
            self._failed(segment, type(error).__name__)
        else:
            in_time = (_now() - began) * 1000 < self.settings.try_ms
            self._patience = 0 if in_time else max(tries, self._patience)
            self._troubles.pop(segment.run, None)
            self.meters.exported_parts_total += 1
            self.meters.exported_bytes_total += segment.size
            self._forget(segment)

    def _try_s(self, tries: int) -> float:
        s = self.settings
        longer = 1 << min(max(0, tries - s.tries_short + 1), 16)
        return min(s.try_ms * longer, s.try_ms_max) / 1000

    def _failed(self, segment: Segment, why: str) -> None:
        s = self.settings
        trouble = self._troubles.setdefault(segment.run, _Trouble())
        pause_ms = min(s.pause_ms << min(trouble.tries, 16), s.pause_ms_max)
        trouble.tries += 1
        trouble.why = why
        trouble.due = _now() + pause_ms / 1000
        counts = self.meters.durable_export_failures_total
        counts[why] = counts.get(why, 0) + 1
        if trouble.tries == s.tries_short:  # said once, not at every try
            log.warning("export of %s of session %s fails: %s", segment.part, segment.session_id, why)

    def _forget(self, segment: Segment) -> None:
        self._spool.release(segment)
        self._seen.pop(segment.path, None)
        if self._is_last_of_dead(segment):
            self._look_for_lost.set()

    # ---- one segment, from the disk to the entry ---------------------------------------------------------------------

    async def _export(self, segment: Segment) -> None:
        data, sha256 = await asyncio.to_thread(_read, segment)
        blob = ""
        for _ in range(catalogue.CAS_TRIES_MAX):
            key, held = await catalogue.of_run(
                self._store, segment.tenant_id, segment.session_id, segment.run
            )
            entry = held.entry if held else self._begun(key, segment)
            named = catalogue.blob_of(key, segment.part)
            if entry.deleted:
                await self._store.delete_blob(named)  # of this try, or of one before it
                return
            ends = self._is_last_of_dead(segment) and not entry.complete
            if entry.has(segment.number):  # it counts already: the acknowledgement was lost
                if not ends:
                    return
            else:
                blob = await self._put_blob(named, blob, data)
                if held is None:
                    await self._store.put(catalogue.OPEN, key, f"{self._place} {segment.run}".encode())
                through = await asyncio.to_thread(catalogue.told, entry, data)
                self._add(entry, segment, through, sha256, blob)
            if ends:
                _lose(entry)
            if await catalogue.put(self._store, key, entry, held.revision if held else 0) is not None:
                if entry.complete:
                    await self._store.delete(catalogue.OPEN, key)
                if not entry.complete and len(parts.mergeable(entry)) == parts.MERGE_PARTS:
                    await parts.merge(self._store, key)
                return
        raise LimitReached(
            "store_contended", f"somebody else keeps changing the entry of {segment.session_id}"
        )

    async def _put_blob(self, name: str, before: str, data: bytes) -> str:
        """Put it under this name, if it is not there; where it is."""
        if data and name != before:
            if before:
                await self._store.delete_blob(before)  # its key has come to be another run's
            await self._store.put_blob(name, data)
            return name
        return before

    def _begun(self, key: str, segment: Segment) -> Catalogued:
        entry = catalogue.begun(key, segment.tenant_id, segment.session_id, segment.run)
        entry.place = self._place
        return entry

    def _add(self, entry: Catalogued, segment: Segment, through: int, sha256: str, blob: str) -> None:
        """The entry as it is with this segment, of which it knows already what its records say."""
        if segment.damaged is not None:
            entry.damaged = [*entry.damaged, f"{segment.part}: {segment.damaged}"]
        if sha256 == SEGMENT_GONE:
            entry.damaged = [*entry.damaged, f"{segment.part}: its file is gone"]
        else:
            number, size = segment.number, segment.size
            part = Stored(
                part=segment.part,
                number=number,
                last=number,
                blob=blob,
                size=size,
                sha256=sha256,
                through=through,
            )
            entry.parts = sorted([*entry.parts, part], key=lambda one: one.number)
            entry.exported_through = max(entry.exported_through, through)
        entry.recorded_through = max(entry.recorded_through, entry.exported_through)
        entry.exported_wall_ms = self._wall_ms()
        entry.lag_ms = int((_now() - self._seen.get(segment.path, _now())) * 1000)
        entry.dropped = {}  # this part is not cut yet: the next sweep goes through all of them again

    def _is_last_of_dead(self, segment: Segment) -> bool:
        """Is its process no more, and nothing else left of its run?"""
        others = (one for one in self._spool.sealed() if one.path != segment.path)
        return boot_of(segment.run) in self._spool.adopted and all(one.run != segment.run for one in others)

    # ---- sessions whose process died -----------------------------------------------------------------------------

    async def _close_lost(self) -> None:
        """Entries of ours that nobody will ever add to (their process died, and left nothing) are closed."""
        while True:
            await self._look_for_lost.wait()
            self._look_for_lost.clear()
            if not await self._closed_lost():
                self._look_for_lost.set()
                await asyncio.sleep(LOOK_EVERY_S)

    async def _closed_lost(self) -> bool:
        """Go through them once; False if one is left, which is tried again. One that fails does not keep the others."""
        all_done = True
        try:
            for key in await self._store.keys(catalogue.OPEN):
                try:
                    await self._close_if_lost(key)
                except CodecError as error:
                    log.warning("the entry of an open recording cannot be read: %s", error)
                except LimitReached as error:
                    all_done = False
                    log.debug("%s", error.message)
        except Exception as error:  # noqa: BLE001 - supervised: a store that fails now may answer the next time
            log.debug("the open recordings cannot be closed: %s", type(error).__name__)
            return False
        return all_done

    async def _close_if_lost(self, key: str) -> None:
        found = await self._store.get(catalogue.OPEN, key)
        place, _, run = found.value.decode(errors="replace").partition(" ") if found else ("", "", "")
        if place != self._place or self._lives(run):
            return
        for _ in range(catalogue.CAS_TRIES_MAX):
            held = await catalogue.get(self._store, key)
            if held is None or held.entry.complete or held.entry.deleted:
                break
            _lose(held.entry)
            if await catalogue.put(self._store, key, held.entry, held.revision) is not None:
                break
        else:
            raise LimitReached("store_contended", f"somebody else keeps changing the entry {key}")
        await self._store.delete(catalogue.OPEN, key)

    def _lives(self, run: str) -> bool:
        """Is there somebody, or something, that more may come from?"""
        boot = boot_of(run)
        if boot in self._spool.adopted:
            return any(segment.run == run for segment in self._spool.sealed())
        return bool(boot) and (self._spool.data / SPOOL / boot).exists()


def _lose(entry: Catalogued) -> None:
    if not entry.complete:
        entry.complete = True
        entry.end_reason = entry.end_reason or PROCESS_LOST


def _read(segment: Segment) -> tuple[bytes, str]:
    try:
        data = segment.read()
    except FileNotFoundError:
        return b"", SEGMENT_GONE
    return data, hashlib.sha256(data).hexdigest()


def place_of(data: Path) -> str:
    """This machine's name and the data folder's place, as one word."""
    return hashlib.sha256(f"{platform.node()}:{data.absolute()}".encode()).hexdigest()[:16]


def _now() -> float:
    return float(asyncio.get_running_loop().time())
