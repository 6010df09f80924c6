"""permessage-deflate (RFC 7692), each message by itself: no dictionary is kept, so an idle call costs no memory for it.

A message is inflated to no more than the limit of any message: a small one that would swell further is refused before it
has. What compression costs is measured, message by message.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from typing import Final

from rspp.adapters.transports.websocket.counters import Compression
from rspp.contract.errors import PeerFault

NAME: Final = "permessage-deflate"
TAIL: Final = b"\x00\x00\xff\xff"
WINDOW_BITS: Final = 12  # 4 kB: more than any message here
ANSWER: Final = f"{NAME}; server_no_context_takeover; client_no_context_takeover"
_KNOWN: Final = ("client_no_context_takeover", "server_no_context_takeover", "client_max_window_bits")


class CompressionError(PeerFault):
    """A message that cannot be inflated, or not within bounds."""

    def __init__(self, message: str) -> None:
        super().__init__("compression_refused", message)


def accepts(offers: Sequence[str]) -> str | None:
    """The answer to the first offer that can be kept, or None: then nothing is compressed."""
    for offer in (part for header in offers for part in header.split(",")):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == NAME and all(_keepable(parameter) for parameter in parameters):
            return ANSWER
    return None


def _keepable(parameter: str) -> bool:
    name, _, value = (part.strip().strip('"') for part in parameter.partition("="))
    if name == "server_max_window_bits":
        return value.isdigit() and WINDOW_BITS <= int(value) <= 15
    return name in _KNOWN


class Deflate:
    """Both directions of one connection."""

    __slots__ = ("_bytes_max", "_tally")

    def __init__(self, bytes_max: int, tally: Compression) -> None:
        self._bytes_max = bytes_max
        self._tally = tally

    def compress(self, plain: bytes) -> bytes:
        start = time.perf_counter_ns()
        stream = zlib.compressobj(1, zlib.DEFLATED, -WINDOW_BITS, 5)
        wire = stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH)
        wire = wire.removesuffix(TAIL)
        self._count(start, len(plain), len(wire))
        return wire

    def inflate(self, wire: bytes) -> bytes:
        """The message, or `CompressionError`."""
        start = time.perf_counter_ns()
        stream = zlib.decompressobj(-15)
        try:
            plain = stream.decompress(wire + TAIL, self._bytes_max + 1)
        except zlib.error as error:
            raise CompressionError("these bytes are no deflate stream") from error
        if len(plain) > self._bytes_max or stream.unconsumed_tail:
            raise CompressionError(f"inflates to more than {self._bytes_max} bytes")
        self._count(start, len(plain), len(wire))
        return plain

    def _count(self, start: int, plain_bytes: int, wire_bytes: int) -> None:
        tally = self._tally
        tally.messages += 1
        tally.plain_bytes += plain_bytes
        tally.wire_bytes += wire_bytes
        tally.cpu_ns += time.perf_counter_ns() - start
