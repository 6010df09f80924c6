"""A recording's parts in the store: read only as the catalogue names them, and replaced so that a reader gets the old or the new.

Parts are only ever added or replaced by whole blobs of other names: new blobs, then the entry, then the old ones go. What a
crash leaves between these steps is a blob that no entry names; `stray` finds it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rspp.contract.errors import PeerFault
from rspp.host.ports import Store
from rspp.timeline import catalogue
from rspp.timeline.catalogue import Catalogued, Held, Stored

# So many small parts in a row become one: a call of a day must not have an entry of forty thousand.
MERGE_PARTS: Final = 64
MERGED_BYTES_MAX: Final = 16 * 1024 * 1024

New = tuple[Stored, bytes]


async def read(store: Store, part: Stored) -> bytes | None:
    """The part's bytes, checked; None if they are not there (any more)."""
    data = await store.get_blob(part.blob)
    if data is None:
        return None
    if len(data) != part.size or await asyncio.to_thread(_sum_of, data) != part.sha256:
        raise PeerFault("recording_damaged", f"{part.blob} is not what the catalogue says")
    return data


def _sum_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def made(held: Held, first: Stored, last: Stored, data: bytes) -> Stored:
    """How the catalogue names what stands for `first` to `last` from now on."""
    name = first.part if first is last else f"{first.part}+{last.last - first.number}"
    return Stored(
        part=name,
        number=first.number,
        last=last.last,
        # A name that nobody else comes to: who loses the race for the entry removes its own blobs, never the winner's.
        blob=catalogue.blob_of(held.key, f"{name}.{secrets.token_hex(8)}"),
        size=len(data),
        sha256=_sum_of(data),
        through=last.through,
    )


async def replace(
    store: Store,
    held: Held,
    old: Sequence[Stored],
    new: Sequence[New],
    change: Callable[[Catalogued], None] = lambda _: None,
) -> bool:
    """Put `new` in the place of `old`, and `change` the entry with it; False if somebody else changed the entry meanwhile."""
    for part, data in new:
        await store.put_blob(part.blob, data)
    entry = msgspec.structs.replace(held.entry)
    gone = {part.blob for part in old}
    left = [part for part in entry.parts if part.blob not in gone]
    entry.parts = sorted([*left, *(part for part, _ in new)], key=lambda one: one.number)
    change(entry)
    if await catalogue.put(store, held.key, entry, held.revision) is None:
        for part, _ in new:
            await store.delete_blob(part.blob)
        return False
    for blob in gone:
        await store.delete_blob(blob)
    return True


async def merge(store: Store, key: str) -> bool:
    """Make one part of the last `MERGE_PARTS` single ones, if there are so many."""
    held = await catalogue.get(store, key)
    if held is None:
        return False
    single = mergeable(held.entry)
    if len(single) < MERGE_PARTS:
        return False
    pieces = [await read(store, part) for part in single]
    whole = [piece for piece in pieces if piece is not None]
    if len(whole) != len(single):
        return False
    data = b"".join(whole)
    one = await asyncio.to_thread(made, held, single[0], single[-1], data)
    return await replace(store, held, single, [(one, data)])


def mergeable(entry: Catalogued) -> list[Stored]:
    """The first run of single parts, as many as go into one."""
    found: list[Stored] = []
    size = 0
    for part in entry.parts:
        follows = not found or part.number == found[-1].last + 1
        if part.last != part.number or not follows or size + part.size > MERGED_BYTES_MAX:
            found, size = [], 0
        if part.last == part.number:
            found.append(part)
            size += part.size
        if len(found) == MERGE_PARTS:
            break
    return found


async def stray(store: Store, key: str, entry: Catalogued | None) -> list[str]:
    """Blobs of this recording that its entry does not name."""
    named = {part.blob for part in entry.parts} if entry is not None else set()
    return [blob for blob in await store.blobs(f"{catalogue.BLOBS}/{key}/") if blob not in named]
