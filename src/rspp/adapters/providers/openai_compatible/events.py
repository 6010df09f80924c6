"""Server-sent events out of bytes, however these were cut: by line, by character, or in the middle of either.

`EventParser` is pure. `EventReader` feeds it from a response; it waits for a whole event, so that a server which drips
one byte after the other is not taken for one that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from rspp.adapters.providers.openai_compatible.faults import PROTOCOL, TRUNCATED

EVENT_BYTES_MAX: Final = 262_144
ANSWER_BYTES_MAX: Final = 8 << 20
# The end of an answer comes with its last event; who dawdles longer is hung up on.
DRAIN_S_MAX: Final = 0.05
BOM: Final = b"\xef\xbb\xbf"


class EventParser:
    """The `data` of each event; names, ids and comments are nobody's concern here. Raises `ValueError`."""

    def __init__(self) -> None:
        self._rest = bytearray()  # bounded: EVENT_BYTES_MAX
        self._seen = (
            0  # no line ends before here: a long one that drips in is not searched anew for each byte
        )
        self._data: list[bytes] = []  # bounded: EVENT_BYTES_MAX
        self._size = 0
        self._started = False

    def feed(self, chunk: bytes) -> list[str]:
        """The events that are whole now."""
        self._rest += chunk
        if not self._started and len(self._rest) >= len(BOM):
            self._started = True
            if self._rest.startswith(BOM):
                del self._rest[: len(BOM)]
                self._seen = 0
        found: list[str] = []
        while (line := self._line()) is not None:
            self._take(line, found)
        if len(self._rest) + self._size > EVENT_BYTES_MAX:
            raise ValueError(f"an event is larger than {EVENT_BYTES_MAX} bytes")
        return found

    def end(self) -> list[str]:
        """What was left without its last line break: some servers forget it after their last event."""
        found = self.feed(b"\n\n") if self._rest or self._data else []
        self._rest.clear()
        return found

    def _line(self) -> bytes | None:
        """The next line. A carriage return at the very end waits: the line feed that belongs to it may follow."""
        feed, back = self._rest.find(b"\n", self._seen), self._rest.find(b"\r", self._seen)
        if back >= 0 and (feed < 0 or back < feed):
            if back + 1 == len(self._rest):
                self._seen = back
                return None
            after = back + 2 if self._rest[back + 1] == 0x0A else back + 1
            line = bytes(self._rest[:back])
        elif feed >= 0:
            after = feed + 1
            line = bytes(self._rest[:feed])
        else:
            self._seen = len(self._rest)
            return None
        del self._rest[:after]
        self._seen = 0
        return line

    def _take(self, line: bytes, found: list[str]) -> None:
        if not line:
            if self._data:
                found.append(b"\n".join(self._data).decode("utf-8"))
                self._data, self._size = [], 0
            return
        field, _, value = line.partition(b":")
        if field == b"data":
            value = value.removeprefix(b" ")
            self._size += len(value) + 1
            if self._size > EVENT_BYTES_MAX:
                raise ValueError(f"an event is larger than {EVENT_BYTES_MAX} bytes")
            self._data.append(value)


class EventReader:
    """The events of one answer, as they become whole."""

    def __init__(self, provider: str, chunks: AsyncIterator[bytes], read_ms: int) -> None:
        self._provider = provider
        self._chunks = chunks
        self._wait_s = read_ms / 1000
        self._parser = EventParser()
        self._read = 0
        self.ended = False

    async def next(self) -> list[str]:
        """At least one event, or none at the end of the answer; raises as its context translates."""
        async with asyncio.timeout(self._wait_s):
            while not self.ended:
                chunk = await anext(self._chunks, None)
                self.ended = chunk is None
                try:
                    found = self._parser.end() if chunk is None else self._parser.feed(chunk)
                except UnicodeDecodeError:
                    raise PROTOCOL.error(f"{self._provider}: an event is not UTF-8") from None
                except ValueError as error:
                    raise PROTOCOL.error(f"{self._provider}: {error}") from None
                self._read += len(chunk or b"")
                if self._read > ANSWER_BYTES_MAX:
                    raise PROTOCOL.error(
                        f"{self._provider}: an answer is larger than {ANSWER_BYTES_MAX} bytes"
                    )
                if found:
                    return found
        return []

    async def drain(self) -> None:
        """Read what may follow the last event, if it is here: only an answer that was read to its end leaves a
        connection that can be used again.
        """
        try:
            async with asyncio.timeout(DRAIN_S_MAX):
                while not self.ended:
                    self.ended = await anext(self._chunks, None) is None
        except TimeoutError:
            self.ended = True


async def read_whole(provider: str, chunks: AsyncIterator[bytes], read_ms: int) -> bytes:
    """A body that is not streamed, within the same bounds."""
    body = bytearray()  # bounded: ANSWER_BYTES_MAX
    async with asyncio.timeout(read_ms / 1000):
        async for chunk in chunks:
            body += chunk
            if len(body) > ANSWER_BYTES_MAX:
                raise PROTOCOL.error(f"{provider}: an answer is larger than {ANSWER_BYTES_MAX} bytes")
    if not body:
        raise TRUNCATED.error(f"{provider}: the answer is empty")
    return bytes(body)
