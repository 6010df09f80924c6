"""How many calls a store has at once, and how many bytes they hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rspp.contract.errors import LimitReached


class Room:
    """Calls that are under way and calls that wait for those; more are refused at once."""

    def __init__(self, calls_max: int, bytes_max: int, at_once_max: int) -> None:
        self._calls_max = calls_max
        self._bytes_max = bytes_max
        self._turns = asyncio.Semaphore(at_once_max)
        self._empty = asyncio.Event()
        self._empty.set()
        self._calls = 0
        self._bytes = 0

    @asynccontextmanager
    async def taken(self, size: int = 0) -> AsyncIterator[None]:
        """Raises `LimitReached` when there is no room."""
        if self._calls >= self._calls_max or self._bytes + size > self._bytes_max:
            message = f"{self._calls} calls wait for the store, with {self._bytes} bytes"
            raise LimitReached("store_overloaded", message)
        self._calls += 1
        self._bytes += size
        self._empty.clear()
        try:
            async with self._turns:
                yield
        finally:
            self._calls -= 1
            self._bytes -= size
            if not self._calls:
                self._empty.set()

    async def emptied(self) -> None:
        """When the last call that is under way has ended."""
        await self._empty.wait()
