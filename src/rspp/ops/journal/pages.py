"""How the journal lies in the store's bucket `journal`, and what one step of writing makes of it.

    tail                          the newest page: every batch replaces it, if nobody else did since it was read
    pages/<birth>/<12 digits>     full pages. Each is a copy of a tail that was full
    kept                          what compaction has left of older pages

The next number stands in the tail and nowhere else, and the store lets one writer at a time replace it: so numbers have no gap
and none is given twice, by whichever processes, and a batch is there whole or not at all. A tail that is full is copied to its
page before the next tail takes its place; a crash between the two leaves a copy that nobody reads. Whether it is full is seen
from the tail alone, and nobody adds to one that is: so all who copy it write the same, however late.

A `birth` is drawn when a tail is created where there was none. If the bucket is deleted while others write, the first of them to
create a tail begins the journal anew; pages of another birth are nobody's any more. (A log of the store would have been simpler,
but JetStream's numbers have gaps; pages by number alone could be begun in two places at once after a deletion.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from rspp.contract.errors import PeerFault
from rspp.ops.changes import StateChange
from rspp.ops.journal.bounds import (
    BATCH_BYTES_MAX,
    BATCH_RECORDS_MAX,
    PAGE_FULL_BYTES,
    PAGE_FULL_RECORDS,
)

BUCKET: Final = "journal"
TAIL: Final = "tail"
KEPT: Final = "kept"
PAGES: Final = "pages/"
FORMAT: Final = 1


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Records whose numbers follow each other: from `first` up to, not including, `next`."""

    format: int
    birth: str
    index: int
    origin: int  # the last number before this birth; 0 where nothing was
    first: int
    next: int
    records: tuple[StateChange, ...]


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What compaction has left: numbers up to `through` have gaps, and pages below `page_first` are nobody's any more."""

    format: int
    birth: str
    through: int
    page_first: int
    forgotten: int  # newest records of aggregates that had no room
    records: tuple[StateChange, ...]


class Step(msgspec.Struct, frozen=True):
    """What is to be written: first the full page, if there is one, then the tail."""

    sealed: Page | None
    tail: Page
    records: tuple[StateChange, ...]  # those of the batch, with their numbers


_PAGE: Final = msgspec.msgpack.Decoder(Page).decode
_KEPT: Final = msgspec.msgpack.Decoder(Kept).decode
encode: Final = msgspec.msgpack.Encoder().encode


def page_key(birth: str, index: int) -> str:
    return f"{PAGES}{birth}/{index:012d}"


def page_of(key: str, data: bytes) -> Page:
    """Of this version: another one's page is not added to, and so not spoilt."""
    try:
        page = _PAGE(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable(key) from None
    if page.format != FORMAT:
        raise _unreadable(key)
    return page


def kept_of(data: bytes) -> Kept:
    try:
        kept = _KEPT(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _unreadable(KEPT) from None
    if kept.format != FORMAT:
        raise _unreadable(KEPT)
    return kept


def _unreadable(key: str) -> PeerFault:
    return PeerFault("journal_unreadable", f"{BUCKET}/{key} is no page of this version; `validate` says more")


def first_page(birth: str, last: int) -> Page:
    """Of a journal that begins, or begins anew after the number `last`."""
    return Page(format=FORMAT, birth=birth, index=0, origin=last, first=last + 1, next=last + 1, records=())


def batches(drafts: Sequence[StateChange]) -> Iterator[list[StateChange]]:
    """The drafts in order, cut into what may be written at once."""
    batch: list[StateChange] = []
    size_bytes = 0
    for one in drafts:
        more_bytes = len(encode(one))
        if batch and (len(batch) >= BATCH_RECORDS_MAX or size_bytes + more_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(one)
        size_bytes += more_bytes
    if batch:
        yield batch


def is_full(tail: Page) -> bool:
    return len(tail.records) >= PAGE_FULL_RECORDS or len(encode(tail)) >= PAGE_FULL_BYTES


def written(tail: Page, drafts: Sequence[StateChange]) -> Step:
    """The drafts behind what is there, as one batch: on this page, or on the next one if this is full."""
    records = tuple(_numbered(one, tail.next + place) for place, one in enumerate(drafts))
    behind = tail.next + len(records)
    if not is_full(tail):
        return Step(None, msgspec.structs.replace(tail, next=behind, records=tail.records + records), records)
    turned = msgspec.structs.replace(
        tail, index=tail.index + 1, first=tail.next, next=behind, records=records
    )
    return Step(tail, turned, records)


def _numbered(draft: StateChange, sequence: int) -> StateChange:
    return msgspec.structs.replace(draft, sequence=sequence)
