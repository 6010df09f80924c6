"""Durable state on its way to the store: the newest value of each key, written in the order of its session's revisions.

A session never waits for it. A write that fails is tried again while newer values replace it; what is left at the end is
flushed, and what could not be is counted.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.host.ports import Store
from rspp.kernel.effects import SaveState

BUCKET: Final = "state"
# Far more sessions than a host has, each with its few keys.
PENDING_MAX: Final = 100_000
RETRY_S: Final = 0.5
# What every store says, now and later, of a name or a value that is beyond its bounds (`host.stored`).
NEVER_TAKEN: Final = frozenset({"store_name_invalid", "text_not_utf8", "payload_too_large"})
_ENCODE: Final = msgspec.msgpack.Encoder(order="deterministic")


class Saved(msgspec.Struct, frozen=True):
    """One key of a session's durable state, as it is kept."""

    value: object
    revision: int
    epoch: int


class StateWriter:
    """Writes what sessions save."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: dict[str, SaveState] = {}
        self._wanted = asyncio.Event()
        self.dropped = 0
        self.failures = 0

    def put(self, session_id: str, effect: SaveState) -> None:
        key = f"{session_id}/{effect.key}"
        if key not in self._pending and len(self._pending) >= PENDING_MAX:
            self.dropped += 1
            return
        self._pending[key] = effect
        self._wanted.set()

    async def run(self) -> None:
        """Write for as long as the host lives."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if not await self._write_all():
                await asyncio.sleep(RETRY_S)
                self._wanted.set()

    async def flush(self, timeout_s: float) -> int:
        """Write what is left; how much could not be."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._write_all()
        except TimeoutError:
            pass
        return len(self._pending)

    async def _write_all(self) -> bool:
        while self._pending:
            key, effect = next(iter(self._pending.items()))
            try:
                saved = _ENCODE.encode(Saved(effect.value, effect.revision, effect.epoch))
            except (TypeError, ValueError, OverflowError, RecursionError):
                del self._pending[key]  # no store can keep it, now or later
                self.dropped += 1
                continue
            try:
                await self._store.put(BUCKET, key, saved)
            except Exception as error:  # noqa: BLE001 - supervised: whatever a store raises, it may take it the next time
                self.failures += 1
                if not isinstance(error, RsppError) or error.code not in NEVER_TAKEN:
                    return False
                self.dropped += 1  # it must not stand in the way of the others for ever
            newest = self._pending.pop(key)
            if newest is not effect:
                self._pending[key] = newest  # it came meanwhile, and waits behind the others
        return True
