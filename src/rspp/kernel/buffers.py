"""An edge's queue is bounded in items, time, bytes and added latency, and accounts for everything it loses.

        offer --> [ gate ] --> items (bounded) --> poll --> target
                     |  full: the strategy decides
                     +--> parked (a blocked producer's outputs, at most max_block_time_ms)

What is dropped or merged is told in `notices`, which the owner announces. A fence empties the queue in constant time:
the items are set aside and freed a few at a time later. Keeps INV-06, INV-07 and INV-08; knows no node and no clock.

A patient queue, one into the sink, has no limits of time: what waits there waits on purpose (for the pace, an
unconfirmed turn, a hold, a cut line), and so does the producer that it blocks. Its items and bytes bound it.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

import msgspec

from rspp.contract.event import Audio, Event, Merge, Text
from rspp.contract.plan import BufferPolicy
from rspp.contract.words import BufferStrategy, DropSide
from rspp.kernel.sync import SyncGroups

NS: Final = 1_000_000
FREED_AT_ONCE: Final = 8  # set-aside items freed with each offer: they are gone long before the queue refills
FENCED_CALLS_MAX: Final = 64
PARKED_MAX: Final = 64  # outputs of the one step that a blocked producer had begun
# Where nothing is parked: it takes nothing, so all edges may share it.
NOTHING: Final[deque[Event]] = deque(maxlen=0)
MERGED_IDS_MAX: Final = 64


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """Items lost on purpose: why, how many, and the span of their runtime sequences."""

    reason: str
    first: int
    last: int
    count: int
    sync_id: str | None = None


class Cut(msgspec.Struct, frozen=True, gc=False):
    """A stream was interrupted; receivers of the domain start afresh."""

    domain: str
    discontinuity_id: str


class Crossed(msgspec.Struct, frozen=True, gc=False):
    """A watermark was crossed: once up and once down in each saturation episode."""

    rising: bool
    cause: str
    depth: int


Notice = Dropped | Cut | Crossed


class Waits(Protocol):
    """Who wants to know how long items waited. It decides nothing and hears of nothing else."""

    def record(self, value: int, /) -> None: ...


def size_of(event: Event) -> int:
    """What an item weighs against the byte bound."""
    payload = event.payload
    if isinstance(payload, Audio):
        return len(payload.data) or payload.samples * 2
    if isinstance(payload, Text):
        return len(payload.text) + 16
    return 64


def settled(event: Event) -> bool:
    """Is this item one that no strategy may thin out: a final text, or the end of an audio stream?"""
    payload = event.payload
    if isinstance(payload, Text):
        return payload.final
    return isinstance(payload, Audio) and payload.end


class EdgeQueue:
    """The queue of one edge."""

    __slots__ = (
        "_graves",
        "_last_release",
        "_sampled",
        "blocked_since",
        "bytes",
        "depth_max",
        "dropped",
        "edge_id",
        "fenced_calls",
        "floor",
        "gated",
        "items",
        "merged",
        "notices",
        "parked",
        "patient",
        "policy",
        "saturated",
        "stale",
        "sync",
        "waited_max",
        "waits",
    )

    def __init__(self, edge_id: str, policy: BufferPolicy, patient: bool = False) -> None:
        self.edge_id = edge_id
        self.patient = patient
        self.items: deque[Event] = deque()  # bounded: by the policy, in `offer`
        self.parked = NOTHING  # an own one when something is, which few edges ever see
        self._graves: list[deque[Event]] = []
        self.notices: list[Notice] = []
        self.fenced_calls: dict[str, None] = {}
        self.bytes = 0
        self.floor = 0
        self.saturated = False
        self.gated = False  # does a gate that counts credits decide when what is parked comes in?
        self.blocked_since: int | None = None
        self._last_release = -(1 << 62)
        self._sampled = 0
        self.dropped = self.merged = self.stale = self.depth_max = self.waited_max = 0
        self.waits: Waits | None = None
        self.adopt(policy)

    def adopt(self, policy: BufferPolicy) -> None:
        """Take the policy of a newly opened turn's plan."""
        self.policy = policy
        self.sync = SyncGroups(policy.sync_drop)

    # ---- in ------------------------------------------------------------------------------------------------------

    def offer(self, now: int, event: Event) -> bool:
        """Take an item; False means that its producer is blocked, and that the item waits with it (or was shed)."""
        if self._graves:
            self._free()
        if event.generation < self.floor:
            self.stale += 1
            return True
        if self.sync.active and self.sync.is_lost(event):
            self._lost(event, "sync_atomic_drop")
            return True
        if self.parked:
            # Nothing overtakes what waits with a blocked producer.
            return self.park(now, event, "queue_blocked")
        policy = self.policy
        if (policy.coalesce_ms or policy.strategy is BufferStrategy.LATEST_ONLY) and self._replace(event):
            return True
        full = self._full(now, event)
        if full is not None:
            return self._overflow(now, event, full)
        self._append(now, event)
        return True

    def park(self, now: int, event: Event, reason: str) -> bool:
        """Keep an output of a blocked producer for as long as it may be blocked; beyond that, shed it."""
        if self.policy.max_block_time_ms is None or len(self.parked) >= PARKED_MAX:
            self._lost(event, reason)
            return False
        if self.blocked_since is None:
            self.blocked_since = now
        if self.parked is NOTHING:
            self.parked = deque(maxlen=PARKED_MAX)
        self.parked.append(event)
        return False

    def _append(self, now: int, event: Event) -> None:
        self.items.append(event)
        self.bytes += size_of(event)
        depth = len(self.items)
        if depth > self.depth_max:
            self.depth_max = depth
        if not self.saturated:
            self._rise(now, depth)

    def _full(self, now: int, event: Event) -> str | None:
        policy = self.policy
        if len(self.items) >= policy.max_queue_items:
            return "queue_items_exceeded"
        if self.bytes + size_of(event) > policy.max_queue_bytes:
            return "queue_bytes_exceeded"
        if not self.patient and self.items and now - self.items[0].at >= policy.max_queue_ms * NS:
            return "queue_ms_exceeded"
        return None

    def _overflow(self, now: int, event: Event, reason: str) -> bool:
        strategy = self.policy.strategy
        if strategy is BufferStrategy.BLOCK:
            return self.park(now, event, reason)
        if strategy is BufferStrategy.MERGE and self._merge(event):
            return True
        if strategy is BufferStrategy.SAMPLE and not settled(event):
            self._sampled += 1
            if self._sampled % 2:
                self._lost(event, reason)
                return True
        if (
            strategy is BufferStrategy.DROP
            and self.policy.drop_side is DropSide.NEWEST
            and not settled(event)
        ):
            self._lost(event, reason)
            return True
        self._make_room(now, event, reason)
        return True

    def _make_room(self, now: int, event: Event, reason: str) -> None:
        """Drop the oldest items that may be dropped until the new one fits; if none may, drop what is oldest."""
        while (reason_now := self._full(now, event)) is not None and self.items:
            index = next((i for i, item in enumerate(self.items) if not settled(item)), 0)
            victim = self.items[index]
            del self.items[index]
            self.bytes -= size_of(victim)
            self._lost(victim, reason_now)
        if self._full(now, event) is None:
            self._append(now, event)
        else:
            self._lost(event, reason)

    # ---- merging -------------------------------------------------------------------------------------------------

    def _replace(self, event: Event) -> bool:
        """Put a newer revision in the place of an older one of the same segment; a final replaces its partials."""
        new = event.payload
        if not isinstance(new, Text) or not self.items:
            return False
        last = self.items[-1]
        old = last.payload
        if not isinstance(old, Text) or old.final or old.segment != new.segment:
            return False
        self.items[-1] = self._joined(last, event, new)
        self.bytes += size_of(event) - size_of(last)
        self.merged += 1
        return True

    def _merge(self, event: Event) -> bool:
        """Fold an item into the newest one, if they are of one kind and it stays within the byte bound."""
        if not self.items or self.bytes + size_of(event) > self.policy.max_queue_bytes:
            return False
        last = self.items[-1]
        payload = _fold(last.payload, event.payload)
        if payload is None:
            return False
        self.items[-1] = self._joined(last, event, payload)
        self.bytes += size_of(self.items[-1]) - size_of(last)
        self.merged += 1
        return True

    def _joined(self, last: Event, event: Event, payload: Audio | Text) -> Event:
        ids = last.merge.event_ids if last.merge else (last.event_id,)
        lineage = Merge(f"mrg/{self.edge_id}/{event.sequence}", (*ids, event.event_id)[-MERGED_IDS_MAX:])
        return msgspec.structs.replace(event, payload=payload, merge=lineage, at=last.at)

    # ---- out -----------------------------------------------------------------------------------------------------

    def head(self, now: int) -> Event | None:
        """The item that would be polled next; whatever is stale or too late before it is gone afterwards."""
        items = self.items
        while items:
            event = items[0]
            if self.silenced(event):
                self._take(now)
                self.stale += 1
                self.notices.append(Dropped("cancel_fence_applied", event.sequence, event.sequence, 1))
            elif self._late(now, event):
                self._take(now)
                self._lost(event, "latency_contribution_exceeded")
            else:
                return event if not self.policy.coalesce_ms or self._released(now) else None
        return None

    def _late(self, now: int, event: Event) -> bool:
        limit = self.policy.max_latency_contribution_ms * NS
        return now - event.at > limit and not self.patient and not settled(event)

    def silenced(self, event: Event) -> bool:
        """Is this item older than a fence of its turn, its node or its call?"""
        return event.generation < self.floor or (
            bool(self.fenced_calls) and event.invocation_id in self.fenced_calls
        )

    def poll(self, now: int) -> Event | None:
        """Take the next item, if there is one and its cadence allows it."""
        event = self.head(now)
        if event is not None:
            self._take(now)
            self._last_release = now
            waited = now - event.at
            if waited > self.waited_max:
                self.waited_max = waited
            if self.waits is not None:
                self.waits.record(waited)
        return event

    def _released(self, now: int) -> bool:
        return now >= self.release_at() or any(settled(item) for item in self.items)

    def release_at(self) -> int:
        return self._last_release + (self.policy.coalesce_ms or 0) * NS

    def _take(self, now: int) -> None:
        self.bytes -= size_of(self.items.popleft())
        if self.parked and not self.gated:
            self.readmit(now, len(self.parked))
        if self.saturated:
            self._fall(now)

    def readmit(self, now: int, limit: int) -> int:
        """Let up to `limit` parked items in, as far as there is room; returns how many."""
        taken = 0
        while taken < limit and self.parked and self._full(now, self.parked[0]) is None:
            self._append(now, self.parked.popleft())
            taken += 1
        if not self.parked:
            self.blocked_since = None
        return taken

    # ---- time, fences, marks -------------------------------------------------------------------------------------

    def wake_at(self) -> int | None:
        """When this queue wants to be looked at again without anything arriving."""
        at: int | None = None
        if not self.patient and self.blocked_since is not None and self.policy.max_block_time_ms is not None:
            at = self.blocked_since + self.policy.max_block_time_ms * NS
        if self.policy.coalesce_ms and self.items and (at is None or self.release_at() < at):
            at = self.release_at()
        return at

    def shed_blocked(self, now: int) -> bool:
        """End a block that has lasted its time: what its producer held is shed."""
        limit = self.policy.max_block_time_ms
        if self.patient or self.blocked_since is None or limit is None:
            return False
        if now - self.blocked_since < limit * NS:
            return False
        while self.parked:
            self._lost(self.parked.popleft(), "max_block_time_exceeded")
        self.blocked_since = None
        return True

    def fence(self, floor: int) -> int:
        """Make everything here stale, in constant time; returns how many items that silenced."""
        self.floor = floor
        count = len(self.items) + len(self.parked)
        if count:
            first = (self.items or self.parked)[0].sequence
            last = (self.parked or self.items)[-1].sequence
            self.notices.append(Dropped("cancel_fence_applied", first, last, count))
            self.stale += count
            self.parked.clear()
            self.blocked_since = None
            self._graves.append(self.items)
            self.items = deque()  # bounded: by the policy, in `offer`
            self.bytes = 0
        if self.saturated:
            self.saturated = False
            self.notices.append(Crossed(False, "cancel_fence_applied", 0))
        return count

    def empty(self) -> list[Event]:
        """Take everything that is still wanted, whatever its cadence: the queue is being given up."""
        taken = [event for event in (*self.items, *self.parked) if not self.silenced(event)]
        self.items.clear()
        self.parked.clear()
        self.bytes, self.blocked_since = 0, None
        return taken

    def fence_call(self, call_id: str) -> None:
        """Make one call's items stale; its siblings stay."""
        self.fenced_calls[call_id] = None
        if len(self.fenced_calls) > FENCED_CALLS_MAX:
            del self.fenced_calls[next(iter(self.fenced_calls))]

    def _free(self) -> None:
        grave = self._graves[-1]
        for _ in range(min(FREED_AT_ONCE, len(grave))):
            grave.pop()
        if not grave:
            self._graves.pop()

    def _rise(self, now: int, depth: int) -> None:
        marks = self.policy.watermarks
        if marks.queue_items is not None and depth >= marks.queue_items.high:
            cause = "queue_items_high"
        elif marks.queue_ms is not None and now - self.items[0].at >= marks.queue_ms.high * NS:
            cause = "queue_ms_high"
        else:
            return
        self.saturated = True
        self.notices.append(Crossed(True, cause, depth))

    def _fall(self, now: int) -> None:
        marks = self.policy.watermarks
        depth = len(self.items)
        if marks.queue_items is not None and depth > marks.queue_items.low:
            return
        if marks.queue_ms is not None and depth and now - self.items[0].at > marks.queue_ms.low * NS:
            return
        self.saturated = False
        self.notices.append(Crossed(False, "low", depth))

    def _lost(self, event: Event, reason: str) -> None:
        """Account for one lost item, and for what must go with it."""
        self.dropped += 1
        sync_id = event.sync.sync_id if event.sync else None
        if not self.sync.active:
            self.notices.append(Dropped(reason, event.sequence, event.sequence, 1, sync_id))
            return
        cut = self.sync.cut(self.edge_id)
        if cut is not None:
            self.notices.append(
                Dropped("sync_drop_with_discontinuity", event.sequence, event.sequence, 1, sync_id)
            )
            self.notices.append(Cut(*cut))
            return
        self.notices.append(Dropped("sync_atomic_drop", event.sequence, event.sequence, 1, sync_id))
        group = self.sync.lose(event)
        if group is not None:
            self._lose_group(group)

    def _lose_group(self, group: str) -> None:
        kept: deque[Event] = deque()  # bounded: by the queue that it replaces
        for item in self.items:
            if self.sync.group(item) == group:
                self.bytes -= size_of(item)
                self.dropped += 1
                sync_id = item.sync.sync_id if item.sync else None
                self.notices.append(Dropped("sync_atomic_drop", item.sequence, item.sequence, 1, sync_id))
            else:
                kept.append(item)
        self.items = kept


def _fold(old: object, new: object) -> Audio | Text | None:
    """One payload from two neighbours of a kind, or None if they do not fold."""
    if isinstance(old, Audio) and isinstance(new, Audio):
        if old.end or (old.rate, old.channels, old.codec) != (new.rate, new.channels, new.codec):
            return None
        return msgspec.structs.replace(
            old, data=old.data + new.data, samples=old.samples + new.samples, end=new.end
        )
    if isinstance(old, Text) and isinstance(new, Text) and not old.final and old.segment == new.segment:
        # The assistant's text comes in pieces, a caller's transcript in ever longer revisions.
        text = old.text + new.text if new.role == "assistant" else new.text
        return msgspec.structs.replace(new, text=text)
    return None
