"""One session's values that are not in the store yet: of each key the newest, and who waits until they are."""

from __future__ import annotations

import asyncio

import msgspec

from rspp.kernel.effects import SaveState


class Item(msgspec.Struct, frozen=True, gc=False):
    """A value that waits. Nothing that was put for its key from `since` to `place` is in the store."""

    effect: SaveState
    since: int
    place: int


class Unsaved:
    """What waits, in the order in which its keys began to wait."""

    __slots__ = ("_count", "_items", "_missing", "_waiting")

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}  # bounded: by the writer's PENDING_MAX
        self._count = 0
        self._missing: set[str] = set()  # keys whose newest value was let go; bounded: by the session's keys
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []  # bounded: a few, one for each who waits

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def put(self, effect: SaveState) -> None:
        self._count += 1
        older = self._items.get(effect.key)
        since = self._count if older is None else older.since
        self._items[effect.key] = Item(effect, since, self._count)

    def first(self) -> Item | None:
        return next(iter(self._items.values()), None)

    def written(self, item: Item) -> bool:
        """This value is in the store; says whether nothing newer of its key waits."""
        self._missing.discard(item.effect.key)
        return self._over(item)

    def dropped(self, item: Item) -> bool:
        """No store can keep this value."""
        self._missing.add(item.effect.key)
        return self._over(item)

    def lost(self, key: str) -> None:
        """A value was not taken at all."""
        self._missing.add(key)

    def clear(self) -> int:
        """None of it will be written; how many values that were."""
        count = len(self._items)
        self._missing.update(self._items)
        self._items.clear()
        self._tell()
        return count

    def again(self) -> None:
        """A new owner writes: what its predecessor could not is not missed any more."""
        self._missing.clear()

    def when_saved(self) -> asyncio.Future[bool]:
        """Done when nothing that was put until now waits: False if some of it never came to the store."""
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._count, told))
        self._tell()
        return told

    def _over(self, item: Item) -> bool:
        key = item.effect.key
        newest = self._items.pop(key, None)
        if newest is not None and newest.place != item.place:
            # It came meanwhile, and waits behind the others.
            self._items[key] = Item(newest.effect, item.place + 1, newest.place)
            newest = None
        self._tell()
        return newest is not None

    def _tell(self) -> None:
        oldest = min((item.since for item in self._items.values()), default=self._count + 1)
        left = []
        for count, told in self._waiting:
            if told.done():
                continue  # whoever asked does not wait any more
            if count >= oldest:
                left.append((count, told))
            else:
                told.set_result(not self._missing)
        self._waiting = left
