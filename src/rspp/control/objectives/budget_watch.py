"""The fleet's error budget is kept in the store, fed by how sessions ended, and freezes rollouts while it burns.

    bucket `status`          every session's last word, for a quarter of an hour after its end
    config:budget/<name>     a `Book`: good and bad ends by time, counted through a moment

Every control plane follows the ends; whoever is first writes the next minute of the book by compare-and-set, so each end is
counted once however many there are. Recent ends are kept by the minute, older ones by the hour.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from rspp.contract.errors import LimitReached, MisuseError, PeerFault, RsppError
from rspp.control.config.documents import WallMs
from rspp.control.config.rollouts import Rollouts
from rspp.control.fleet.status import FORCED, NOT_RESUMED, OPEN_FAILED, WORKER_LOST, SessionWord, Status
from rspp.control.fleet.status_writer import status_of
from rspp.control.names import CONFIG, STATUS, key
from rspp.control.objectives.error_budget import HOUR_MS, Counts, Objective, Verdict, judge
from rspp.host.ports import Entry, Store

log = logging.getLogger("rspp.control.budget")

BUDGET: Final = "budget"
MINUTE_MS: Final = 60_000
# By the minute for so long: the longest window in which minutes matter.
FINE_MS: Final = 6 * HOUR_MS
# An end is counted this long after it happened, so that one that is told late is not missed.
GRACE_MS: Final = 30_000
# A book that is further ahead than this was written under a clock that had leapt, or ours is wrong: nothing is counted on a guess.
AHEAD_MS_MAX: Final = HOUR_MS
ENDS_MAX: Final = 100_000
RETRY_MS: Final = 1_000
TRIES_MAX: Final = 5
# Ends that are the platform's doing. A caller who hangs up, or never comes, has used the service as meant.
BAD_ENDS: Final = frozenset(
    {FORCED, WORKER_LOST, NOT_RESUMED, OPEN_FAILED, "runtime_internal_error", "node_start_failed"}
    | {"drain", "drain_deadline", "close_deadline", "host_stopped"}
)


class Span(msgspec.Struct, frozen=True, array_like=True):
    """What ended within a minute, or an hour."""

    start_ms: int
    length_ms: int
    good: int
    bad: int


class Book(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All ends that were counted, the oldest span first. `through_ms`: what ended up to then is in it."""

    through_ms: int
    spans: tuple[Span, ...] = ()

    def counts(self, now_ms: int, span_ms: int) -> Counts:
        """Of the last `span_ms`, to the span that is cut."""
        inside = [one for one in self.spans if one.start_ms + one.length_ms > now_ms - span_ms]
        return Counts(sum(one.good for one in inside), sum(one.bad for one in inside))


_DECODE: Final = msgspec.json.Decoder(Book).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def is_bad(status: Status) -> bool:
    """Did the platform fail this session? One that ended with a capability missing was not served as promised."""
    return status.reason in BAD_ENDS or bool(status.missing)


def continued(book: Book, ends: Iterable[tuple[int, bool]], through_ms: int, window_ms: int) -> Book:
    """The book with the ends, (when, bad), after its last moment and up to the next; what is older than the window is gone."""
    spans = {(one.start_ms, one.length_ms): one for one in book.spans}
    for at_ms, bad in ends:
        if not book.through_ms < at_ms <= through_ms:
            continue
        _add(spans, at_ms // MINUTE_MS * MINUTE_MS, MINUTE_MS, int(not bad), int(bad))
    for span in list(spans.values()):
        if span.start_ms + span.length_ms <= through_ms - window_ms:
            del spans[span.start_ms, span.length_ms]
        elif span.length_ms < HOUR_MS and span.start_ms < through_ms - FINE_MS:
            del spans[span.start_ms, span.length_ms]
            _add(spans, span.start_ms // HOUR_MS * HOUR_MS, HOUR_MS, span.good, span.bad)
    ordered = sorted(spans.values(), key=lambda one: (one.start_ms, -one.length_ms))
    return Book(through_ms=max(book.through_ms, through_ms), spans=tuple(ordered))


def _add(spans: dict[tuple[int, int], Span], start_ms: int, length_ms: int, good: int, bad: int) -> None:
    was = spans.get((start_ms, length_ms), Span(start_ms, length_ms, 0, 0))
    spans[start_ms, length_ms] = Span(start_ms, length_ms, was.good + good, was.bad + bad)


class BudgetWatch:
    """Counts, judges and governs. `verdict` is the last one; `on_alerts` is told when the alerts that fire change."""

    def __init__(
        self,
        store: Store,
        rollouts: Rollouts,
        *,
        wall_ms: WallMs,
        objective: Objective | None = None,
        on_alerts: Callable[[Verdict], None] = lambda _: None,
    ) -> None:
        self.objective = objective or Objective()
        self.verdict: Verdict | None = None
        self._store = store
        self._rollouts = rollouts
        self._wall_ms = wall_ms
        self._on_alerts = on_alerts
        self._ends: OrderedDict[str, tuple[int, bool]] = OrderedDict()  # bounded: ENDS_MAX

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._settle_each_minute())

    def take(self, entry: Entry) -> None:
        """A session's word; only its end counts, and only once."""
        status = status_of(entry)
        if status is None or status.state is not SessionWord.ENDED:
            return
        self._ends[entry.key] = (status.since_ms, is_bad(status))
        while len(self._ends) > ENDS_MAX:
            self._ends.popitem(last=False)

    async def settle(self) -> Verdict:
        """Bring the book up to now, judge it, and freeze or free every rollout by it."""
        book = await self._write()
        now_ms = self._wall_ms()
        counts = {span: book.counts(now_ms, span) for span in self.objective.windows_ms}
        before, verdict = self.verdict, judge(self.objective, counts)
        self.verdict = verdict
        was = (before.firing, before.burned) if before is not None else ((), False)
        if was != (verdict.firing, verdict.burned):
            log.warning("error budget: %s", verdict.reason)
            self._on_alerts(verdict)
        for pipeline in await self._rollouts.pipelines():
            try:
                await self._rollouts.govern(pipeline, burned=verdict.freezes, reason=verdict.reason)
            except (MisuseError, PeerFault) as error:
                # One rollout that cannot be read or written must not keep the others from being frozen.
                log.error("the rollout of %s is not governed: %s", pipeline, error)  # noqa: TRY400 - no trace needed
        return verdict

    async def _write(self) -> Book:
        where = key(BUDGET, self.objective.name)
        for _ in range(TRIES_MAX):
            entry = await self._store.get(CONFIG, where)
            through_ms = self._wall_ms() - GRACE_MS
            book = _book_of(entry) if entry is not None else Book(through_ms=0)
            if book.through_ms > through_ms + AHEAD_MS_MAX:
                ahead_s = (book.through_ms - through_ms) // 1000
                message = f"it is counted {ahead_s} s ahead of this clock; set the clock that is wrong, or delete the key"
                raise PeerFault("clock_disagrees", message, where)
            grown = continued(book, list(self._ends.values()), through_ms, self.objective.window_ms)
            if grown.through_ms - book.through_ms < MINUTE_MS and entry is not None:
                return book  # somebody has just done it
            expect = entry.revision if entry is not None else 0
            if await self._store.put(CONFIG, where, _ENCODE(grown), expect=expect) is not None:
                self._forget(grown.through_ms)
                return grown
        raise LimitReached("store_contended", f"others keep writing {where}")

    def _forget(self, through_ms: int) -> None:
        for name in [name for name, (at_ms, _) in self._ends.items() if at_ms <= through_ms]:
            del self._ends[name]

    async def _follow(self) -> None:
        while True:
            try:
                async for entry in self._store.watch(STATUS):
                    self.take(entry)
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("the watch of %s broke: %s", STATUS, error)
            await asyncio.sleep(RETRY_MS / 1000)

    async def _settle_each_minute(self) -> None:
        while True:
            await asyncio.sleep(MINUTE_MS / 1000)
            try:
                await self.settle()
            except (RsppError, OSError, TimeoutError) as error:
                log.warning("the error budget was not settled: %s", error)


def _book_of(entry: Entry) -> Book:
    try:
        return _DECODE(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PeerFault(
            "document_corrupt", "the stored bytes are no book of an error budget", entry.key
        ) from error
