"""Audio for which a session had no room: it waits here, up to a bound, and then the oldest or the newest is let go."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from rspp.adapters.transports.websocket.counters import Counters
from rspp.contract.words import DropSide
from rspp.kernel.inputs import AudioReceived


class Backlog:
    """One connection's waiting frames, oldest first."""

    __slots__ = ("_counters", "_drop", "_give", "_items", "_items_max")

    def __init__(
        self, give: Callable[[AudioReceived], bool], items_max: int, drop: DropSide, counters: Counters
    ) -> None:
        self._give, self._items_max, self._drop = give, items_max, drop
        self._items: deque[AudioReceived] = deque()  # bounded: by items_max, in `put`
        self._counters = counters

    def __len__(self) -> int:
        return len(self._items)

    def put(self, received: AudioReceived) -> None:
        """Give it on, behind what waits; keep it if it is not taken."""
        if self._items:
            self.drain()
        if not self._items and self._give(received):
            return
        self._counters.held += 1
        if len(self._items) >= self._items_max:
            self._counters.held_dropped += 1
            if self._drop is DropSide.NEWEST or not self._items:
                return
            self._items.popleft()
        self._items.append(received)

    def drain(self) -> None:
        items = self._items
        while items and self._give(items[0]):
            items.popleft()

    def clear(self) -> None:
        self._items.clear()
