"""Whoever asks twice with one key is answered once: over retries, reconnects and failovers.

Keys come from the caller and expire with their window; the book is bounded and forgets the oldest first. Identifiers
of our own come from counters, never from chance.
"""

from __future__ import annotations


class KeyBook:
    """The idempotency keys of one session."""

    __slots__ = ("_keys", "keys_max", "window_ns")

    def __init__(self, keys_max: int, window_ns: int) -> None:
        self.keys_max = keys_max
        self.window_ns = window_ns
        self._keys: dict[str, tuple[int, int]] = {}

    def register(self, now: int, key: str, sequence: int) -> int | None:
        """None the first time a key is seen in its window; afterwards the runtime sequence it was first seen with."""
        known = self._keys.get(key)
        if known is not None and now - known[0] < self.window_ns:
            return known[1]
        self._keys.pop(key, None)
        if len(self._keys) >= self.keys_max:
            del self._keys[next(iter(self._keys))]
        self._keys[key] = (now, sequence)
        return None

    def export(self) -> dict[str, tuple[int, int]]:
        """What another process needs to go on deduplicating."""
        return dict(self._keys)

    def in_force(self, now: int) -> dict[str, tuple[int, int]]:
        """Those whose window is not over."""
        return {key: seen for key, seen in self._keys.items() if now - seen[0] < self.window_ns}

    def restore(self, keys: dict[str, tuple[int, int]]) -> None:
        for key, (at, sequence) in list(keys.items())[-self.keys_max :]:
            self._keys[key] = (at, sequence)

    def __len__(self) -> int:
        return len(self._keys)


def invocation_id(session_id: str, turn_id: str | None, event: str, modality: str) -> str:
    """The identity of one logical provider call: the same for the same asking."""
    return f"pvi/{session_id}/{turn_id or 'session'}/{event}/{modality}"


def correlation_id(session_id: str, turn_id: str | None) -> str:
    return f"corr/{session_id}/{turn_id or 'session'}"


def turn_id(session_id: str, ordinal: int, epoch: int | None = None) -> str:
    """A turn's name. A successor's turns carry its epoch: a former owner that does not know yet names no turn alike."""
    return f"{session_id}/turn-{ordinal}" if epoch is None else f"{session_id}/turn-{epoch}.{ordinal}"
