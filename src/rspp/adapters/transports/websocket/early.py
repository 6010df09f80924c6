"""What comes before there is a session: kept in order, within a bound of messages and one of bytes."""

from __future__ import annotations

from collections import deque


class Early:
    """A caller's messages, while the door is asked for its session."""

    __slots__ = ("_bytes", "_bytes_max", "_items", "_items_max")

    def __init__(self, items_max: int, bytes_max: int) -> None:
        self._items_max, self._bytes_max = items_max, bytes_max
        self._items: deque[tuple[bool, bytes]] = deque()  # bounded: by items_max, in `keep`
        self._bytes = 0

    def keep(self, data: bytes, *, audio: bool) -> bool:
        """Keep one; False where there is no room for it."""
        if len(self._items) >= self._items_max or self._bytes + len(data) > self._bytes_max:
            return False
        self._items.append((audio, data))
        self._bytes += len(data)
        return True

    def next(self) -> tuple[bool, bytes] | None:
        """The oldest, which is not kept any more."""
        return self._items.popleft() if self._items else None
