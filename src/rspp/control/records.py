"""A record of the store is read, changed and put back only if nobody else did so meanwhile; then it is read again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from rspp.contract.errors import PeerFault
from rspp.control.security.keys import UNREADABLE
from rspp.host.ports import Store

RecordT = TypeVar("RecordT", bound=msgspec.Struct)
# More than anybody loses by chance: whoever still loses then is told.
TRIES_MAX: Final = 16
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


class Records:
    """One bucket, with one kind of record."""

    def __init__(self, store: Store, bucket: str) -> None:
        self.store = store
        self.bucket = bucket

    async def read(self, key: str, kind: type[RecordT]) -> tuple[RecordT | None, int]:
        """The record and its revision; None and 0 if there is none."""
        entry = await self.store.get(self.bucket, key)
        return (None, 0) if entry is None else (decoded(entry.value, kind, key), entry.revision)

    async def change(
        self, key: str, kind: type[RecordT], decide: Callable[[RecordT | None], RecordT]
    ) -> RecordT:
        """Put back what `decide` makes of the record; it may be asked again, and raises what forbids the change.

        A write of which nobody knows whether it arrived raises; whoever asks again is asked to decide about what is there.
        """
        for _ in range(TRIES_MAX):
            old, revision = await self.read(key, kind)
            new = decide(old)
            if new == old or await self.store.put(self.bucket, key, _ENCODE(new), expect=revision):
                return new
        raise PeerFault("record_changed_meanwhile", f"{self.bucket}/{key} is changed by others all the time")


def decoded(data: bytes, kind: type[RecordT], key: str) -> RecordT:
    try:
        return msgspec.json.decode(data, type=kind)
    except UNREADABLE:
        raise PeerFault("store_record_unusable", f"{key} is no {kind.__name__} of this version") from None
