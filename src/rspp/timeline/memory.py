"""A local append in memory: for tests, and for runs whose recording nobody has to find again."""

from __future__ import annotations

from rspp.timeline.recording import Recording, assemble
from rspp.timeline.records import unframe
from rspp.timeline.session import Kept


class MemoryAppend:
    """Takes everything, keeps it, and says at once that it is kept."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.closed = False

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        self.data += data
        if kept is not None:
            kept(None)
        return True

    def close(self) -> None:
        self.closed = True

    def recording(self) -> Recording:
        """What was taken, read again."""
        return assemble([unframe(bytes(self.data))])
