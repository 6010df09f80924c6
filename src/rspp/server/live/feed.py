"""What one client has still to be told, and how it knows that it missed something; no clocks, no sockets.

    changed  {surface, aggregateId, sequence, after}   something changed; ask for it again
    at       {sequence, after}                         all that you may see, up to this number, has been told to you
    refetch  {sequence, after}                         too much happened to tell it one by one: ask for everything again

Each message carries the journal's number that the client knows of after it, and in `after` the number of the message before it.
Numbers have gaps for many reasons, since others' changes are not told and many changes of one thing are told once. So a client
does not count: it keeps the last `sequence` it got, and where a message's `after` is higher than that, it missed some. That holds
across connections too, as the first message of each is `at` with both numbers equal.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

# Things that may wait to be told to one client. Of more, none is told but that there were too many.
PENDING_MAX: Final = 256


class Message(msgspec.Struct, frozen=True):
    """One event, as it is sent."""

    event: str
    data: dict[str, Any]


class Feed:
    """The changes of one client, from its connection to its end."""

    def __init__(self, sequence: int) -> None:
        self._told = sequence
        self._newest = sequence
        # By surface and aggregate the newest number, in the order of the numbers.
        self._pending: dict[tuple[str, str], int] = {}  # bounded: PENDING_MAX, then all are dropped
        self._dropped = False

    @property
    def waiting(self) -> bool:
        return self._dropped or bool(self._pending)

    def greeting(self) -> Message:
        """The first message: from where on changes are told. It says nothing of what waits already."""
        return Message("at", {"sequence": self._told, "after": self._told})

    def changed(self, surface: str, aggregate_id: str, sequence: int) -> None:
        """To be told with the next messages: once for each thing, however often it changes until then."""
        self._newest = max(self._newest, sequence)
        if self._dropped:
            return
        key = (surface, aggregate_id)
        self._pending.pop(key, None)
        self._pending[key] = self._newest
        if len(self._pending) > PENDING_MAX:
            self._pending.clear()
            self._dropped = True

    def take(self, most: int) -> list[Message]:
        """What is to be sent now, so many at most; it counts as told."""
        if most <= 0:
            return []
        if self._dropped:
            self._dropped = False
            return [Message("refetch", self._step(self._newest))]
        taken = list(self._pending.items())[:most]
        messages = []
        for (surface, aggregate_id), sequence in taken:
            del self._pending[(surface, aggregate_id)]
            about = {"surface": surface, "aggregateId": aggregate_id}
            messages.append(Message("changed", {**about, **self._step(sequence)}))
        return messages

    def at(self, sequence: int) -> Message | None:
        """Up to where all is told; nothing while there is something to tell."""
        if self.waiting:
            return None
        return Message("at", self._step(sequence))

    def _step(self, sequence: int) -> dict[str, int]:
        after = self._told
        self._told = max(sequence, after)
        self._newest = max(self._newest, self._told)
        return {"sequence": self._told, "after": after}
