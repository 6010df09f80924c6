"""How many sessions and turns came out well, and how many did not, is counted where it is known and added up for the deployment.

    turn      good when it was committed, bad when it was aborted for a reason of ours; a caller who hung up or
              cancelled, and a text that policy forbids, count for nothing
    session   good when it ended in order, bad when it was ended by force or by a failure of ours, or when it was refused
              though its caller might have it; one that goes on elsewhere is counted there

Each process keeps a record an hour with a count a minute, in bucket `availability`, under `<deployment>/<hour>/<member>`: it
alone writes it, so nothing is counted twice, and what a process has counted outlives it. The objective, its budget and what
counts as an incident are `error_budget`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.contract.event import NS_PER_MS, Signal
from rspp.contract.evidence import TurnEvidence
from rspp.contract.signals import SignalName
from rspp.contract.words import AbortReason
from rspp.control.fleet.status import GOES_ON
from rspp.control.names import key, parts
from rspp.control.objectives.error_budget import HOUR_MS, Counts
from rspp.host.ports import Clock, Entry, Store
from rspp.kernel.snapshot import OpenRequest
from rspp.spec.graph import GraphDefinition

log = logging.getLogger("rspp.control.objectives.availability")

BUCKET: Final = "availability"
MINUTE_MS: Final = 60_000
# A day longer than the longest objective.
KEPT_MS: Final = 31 * 24 * HOUR_MS
WRITE_MS: Final = 5_000
# Hours that could not be written: a store that is away for longer loses the oldest.
HOURS_MAX: Final = 72
HOURS_KNOWN_MAX: Final = 200_000

_NOT_OURS: Final = frozenset(
    {
        AbortReason.CANCELLED.value,
        AbortReason.TRANSPORT_DISCONNECT_OR_STALL.value,
        AbortReason.POLICY_TERMINATED.value,
    }
)
_BAD_ENDS: Final = frozenset(
    {"", "runtime_internal_error", "close_deadline", "node_start_failed", "authority_lost"}
)
# Refusals that say something of the caller, and nothing of the service.
CALLERS_FAULT: Final = frozenset(
    {
        *("session_exists", "session_over", "session_unknown", "pipeline_unknown", "residency_denied"),
        *("token_refused", "tenant_sessions_full"),
    }
)


class What(StrEnum):
    SESSIONS = "sessions"
    TURNS = "turns"


class Hour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process's counts of one hour: of each minute in which there was something, good and bad."""

    hour: int  # since 1970
    sessions: dict[int, tuple[int, int]] = {}
    turns: dict[int, tuple[int, int]] = {}


_DECODE: Final = msgspec.json.Decoder(Hour).decode
_ENCODE: Final = msgspec.json.Encoder().encode


def turn_is_good(signal: Signal) -> bool | None:
    """What a turn's terminal says of the service; None for nothing."""
    if signal.signal == SignalName.COMMIT:
        return True
    if signal.signal == SignalName.ABORT and signal.reason not in _NOT_OURS:
        return False
    return None


def session_is_good(reason: str) -> bool | None:
    """What the end of a session says of the service; None for nothing."""
    return None if reason in GOES_ON else reason not in _BAD_ENDS


class AvailabilityCount:
    """What one process counts: a listener of its sessions, and the task that writes."""

    def __init__(self, store: Store, clock: Clock, *, deployment: str, member_id: Callable[[], str]) -> None:
        self.lost = 0  # hours that were never written
        self._store = store
        self._clock = clock
        self._deployment = deployment
        self._member_id = member_id
        self._hours: dict[tuple[int, str], Hour] = {}  # bounded: HOURS_MAX
        self._changed: set[tuple[int, str]] = set()  # bounded: likewise

    # ---- as a listener ---------------------------------------------------------------------------------------------

    def opened(self, request: OpenRequest, graph: GraphDefinition) -> None: ...

    def heard(self, session_id: str, signal: Signal) -> None:  # noqa: ARG002 - the port has it
        self.count(What.TURNS, turn_is_good(signal))

    def turn(self, session_id: str, evidence: TurnEvidence) -> None: ...

    def over(self, session_id: str, reason: str) -> None:  # noqa: ARG002 - the port has it
        self.count(What.SESSIONS, session_is_good(reason))

    def refused(self, code: str) -> None:
        """A session that was not opened."""
        self.count(What.SESSIONS, None if code in CALLERS_FAULT else False)

    def count(self, what: What, good: bool | None) -> None:
        if good is None:
            return
        at_ms = self._clock.wall() // NS_PER_MS
        where = (at_ms // HOUR_MS, self._member_id())
        hour = self._hours.get(where) or self._begun(where)
        minutes = hour.sessions if what is What.SESSIONS else hour.turns
        minute = at_ms % HOUR_MS // MINUTE_MS
        was_good, was_bad = minutes.get(minute, (0, 0))
        minutes[minute] = (was_good + good, was_bad + (not good))
        self._changed.add(where)

    def _begun(self, where: tuple[int, str]) -> Hour:
        if len(self._hours) >= HOURS_MAX:
            oldest = min(self._hours)
            del self._hours[oldest]
            if oldest in self._changed:
                self._changed.discard(oldest)
                self.lost += 1
        hour = self._hours[where] = Hour(hour=where[0], sessions={}, turns={})
        return hour

    def _not_written(self, where: tuple[int, str]) -> None:
        if where in self._hours:
            self._changed.add(where)
        else:
            self.lost += 1

    # ---- as a task -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_MS / 1000)
            await self.write()

    async def write(self) -> int:
        """Write what has changed; how many hours are not in the store as they are."""
        for where in sorted(self._changed):
            if where not in self._changed:
                continue  # given up meanwhile, for want of room
            hour, member_id = where
            value = _ENCODE(self._hours[where])
            self._changed.discard(where)  # what is counted meanwhile is written the next time
            written = False
            try:
                await self._store.put(
                    BUCKET, key(self._deployment, str(hour), member_id), value, ttl_ms=KEPT_MS
                )
                written = True
            except (RsppError, OSError) as error:
                log.info("availability was not written: %s", type(error).__name__)
                break
            finally:
                if not written:  # also when this was cancelled
                    self._not_written(where)
        # An hour is kept for one more: were it begun anew when a clock is put back, the new record would replace it.
        last_hour = self._clock.wall() // NS_PER_MS // HOUR_MS - 1
        for where in [one for one in self._hours if one[0] < last_hour and one not in self._changed]:
            del self._hours[where]
        return len(self._changed)


class Availability:
    """What all processes of a store have counted. What cannot be read counts for nothing, and is told."""

    def __init__(self, store: Store) -> None:
        self.unreadable = 0
        self._store = store
        self._hours: dict[str, Hour] = {}  # bounded: HOURS_KNOWN_MAX

    async def refresh(self, deployment: str) -> None:
        """Read everything of one deployment."""
        for name in await self._store.keys(BUCKET, f"{key(deployment)}/"):
            entry = await self._store.get(BUCKET, name)
            if entry is not None:
                self.take(entry)

    async def run(self) -> None:
        """Hear of all deployments for as long as the process lives."""
        while True:
            try:
                async for entry in self._store.watch(BUCKET):
                    self.take(entry)
            except (RsppError, OSError) as error:
                log.warning("availability could not be watched: %s", type(error).__name__)
            await asyncio.sleep(1.0)

    def take(self, entry: Entry) -> None:
        try:
            hour = _DECODE(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self.unreadable += 1
            return
        found = parts(entry.key)
        if len(found) != 3 or found[1] != str(hour.hour) or not _sound(hour):
            self.unreadable += 1
        elif entry.key in self._hours or len(self._hours) < HOURS_KNOWN_MAX:
            self._hours[entry.key] = hour

    def counts(self, deployment: str, what: What, now_ms: int, spans_ms: Iterable[int]) -> dict[int, Counts]:
        """Of each span before now, to the minute: what `error_budget.judge` wants."""
        self._prune(now_ms)
        prefix = f"{key(deployment)}/"
        hours = [hour for name, hour in self._hours.items() if name.startswith(prefix)]
        return {span: _sum(hours, what, now_ms - span, now_ms) for span in spans_ms}

    def _prune(self, now_ms: int) -> None:
        oldest = (now_ms - KEPT_MS) // HOUR_MS
        for name in [name for name, hour in self._hours.items() if hour.hour < oldest]:
            del self._hours[name]


def _sum(hours: Iterable[Hour], what: What, after_ms: int, until_ms: int) -> Counts:
    good = bad = 0
    for hour in hours:
        if not after_ms // HOUR_MS <= hour.hour <= until_ms // HOUR_MS:
            continue
        minutes: Mapping[int, tuple[int, int]] = hour.sessions if what is What.SESSIONS else hour.turns
        for minute, (was_good, was_bad) in minutes.items():
            began_ms = hour.hour * HOUR_MS + minute * MINUTE_MS
            # A minute counts whole as soon as a part of it lies in the span: there are no finer counts.
            if after_ms - MINUTE_MS < began_ms <= until_ms:
                good, bad = good + was_good, bad + was_bad
    return Counts(good, bad)


def _sound(hour: Hour) -> bool:
    """Counts below 0 are nobody's."""
    return all(
        0 <= minute < 60 and good >= 0 and bad >= 0
        for minutes in (hour.sessions, hour.turns)
        for minute, (good, bad) in minutes.items()
    )
