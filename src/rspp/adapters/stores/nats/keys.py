"""Keys: one subject each, of which the last message counts. A deleted key leaves nothing; its stream's numbers go on rising.

When a key's time is over the server removes it, a second or two late; every reader looks at the instant in its header, and so
it is gone for all of them at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

from rspp.adapters.stores.nats import names
from rspp.adapters.stores.nats.cells import Cells
from rspp.adapters.stores.nats.jetstream import Stored
from rspp.contract.errors import LimitReached, PeerFault
from rspp.contract.event import NS_PER_MS
from rspp.host.ports import Clock, Entry

HEAD: Final = "k"
NAME: Final = "Rspp-Name"
EXPIRES: Final = "Rspp-Expires-Ms"
TTL: Final = "Nats-TTL"
# The server's own removal comes after everybody's clock has said so.
LATE_S: Final = 1
# Revisions whose end is known here, so that replacing one of them asks nobody first.
KNOWN_MAX: Final = 4_096
MS_PER_S: Final = 1_000


class Keys:
    """The keys of every bucket."""

    def __init__(self, cells: Cells, namespace: str, clock: Clock, deadline_s: float) -> None:
        self._cells = cells
        self._namespace = namespace
        self._clock = clock
        self._deadline_s = deadline_s
        self._known: dict[str, tuple[int, int | None]] = {}  # bounded: KNOWN_MAX, the oldest goes

    async def get(self, bucket: str, key: str) -> Entry | None:
        found = await self._cells.read(self._subject(bucket, key))
        return None if found is None else self.entry(found)

    async def put(
        self, bucket: str, key: str, value: bytes, expect: int | None, ttl_ms: int | None
    ) -> int | None:
        subject = self._subject(bucket, key)
        headers = {NAME: names.to_header(key)}
        ends_ms: int | None = None
        if ttl_ms is not None:
            ends_ms = self._now_ms() + ttl_ms
            headers |= {EXPIRES: str(ends_ms), TTL: f"{-(-ttl_ms // MS_PER_S) + LATE_S}s"}
        if expect is None:
            revision: int | None = (await self._cells.overwrite(subject, value, headers)).revision
        elif expect == 0:
            revision = await self._create(subject, value, headers)
        else:
            revision = await self._swap(subject, value, headers, expect)
        if revision is not None:
            self._learn(subject, revision, ends_ms)
        return revision

    async def delete(self, bucket: str, key: str) -> None:
        await self._cells.remove(self._subject(bucket, key))

    async def names(self, bucket: str, prefix: str) -> list[str]:
        found = map(self.entry, await self._cells.read_all(self.below(bucket, prefix)))
        return sorted(one.key for one in found if one is not None and one.key.startswith(prefix))

    def below(self, bucket: str, prefix: str) -> str:
        return names.below(self._namespace, HEAD, names.token(bucket), prefix=prefix)

    def entry(self, found: Stored) -> Entry | None:
        """What a message says, while its time is not over."""
        ends_ms = _ends_ms(found)
        self._learn(found.subject, found.sequence, ends_ms)
        if self._is_over(ends_ms):
            return None
        try:
            key = names.from_header(found.headers[NAME])
        except (KeyError, ValueError):
            raise PeerFault("store_damaged", f"a message without a name of ours: {found.subject}") from None
        return Entry(key, found.data, found.sequence)

    async def _create(self, subject: str, value: bytes, headers: dict[str, str]) -> int | None:
        """Where nothing stands, or only what is over."""
        expected = 0
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._deadline_s
        while clock() < deadline:
            revision = await self._cells.replace(subject, value, headers, expected)
            if revision is not None:
                return revision
            found = await self._cells.read(subject)
            if found is not None and not self._is_over(_ends_ms(found)):
                return None
            expected = found.sequence if found else 0
        raise LimitReached("store_contended", "others keep creating and deleting what is to be created")

    async def _swap(self, subject: str, value: bytes, headers: dict[str, str], expect: int) -> int | None:
        """What is over is not replaced, though the server may still have it."""
        known = self._known.get(subject)
        if known is None or known[0] != expect:
            found = await self._cells.read(subject)
            if found is None or found.sequence != expect:
                return None
            known = (expect, _ends_ms(found))
        if self._is_over(known[1]):
            return None
        return await self._cells.replace(subject, value, headers, expect)

    def _learn(self, subject: str, revision: int, ends_ms: int | None) -> None:
        known = self._known.pop(subject, None)
        self._known[subject] = (revision, ends_ms) if known is None or known[0] <= revision else known
        if len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]

    def _subject(self, bucket: str, key: str) -> str:
        return names.subject(self._namespace, HEAD, names.token(bucket), name=key)

    def _is_over(self, ends_ms: int | None) -> bool:
        return ends_ms is not None and self._now_ms() >= ends_ms

    def _now_ms(self) -> int:
        return self._clock.wall() // NS_PER_MS


def _ends_ms(found: Stored) -> int | None:
    text = found.headers.get(EXPIRES)
    try:
        return None if text is None else int(text)
    except ValueError:
        raise PeerFault("store_damaged", f"a message whose end is no number: {found.subject}") from None
