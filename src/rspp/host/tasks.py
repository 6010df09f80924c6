"""The tasks of one owner: they end with it. None is fire-and-forget, none outlives its session unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


class TaskScope:
    """Tasks that were begun for somebody, and are cancelled when that somebody ends."""

    __slots__ = ("_loop", "_on_failed", "_tasks", "closing")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_failed: Callable[[str, BaseException], None]
    ) -> None:
        self._loop = loop
        self._on_failed = on_failed
        self._tasks: set[asyncio.Task[Any]] = set()
        self.closing = False

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin a task; after `cancel_all` it is cancelled at once."""
        task = self._loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        if self.closing:
            task.cancel()
        return task

    def names(self) -> list[str]:
        return sorted(task.get_name() for task in self._tasks)

    def cancel_all(self) -> None:
        self.closing = True
        for task in list(self._tasks):
            task.cancel()

    async def wait(self, timeout_s: float) -> list[str]:
        """Give them time to end; the names of those that did not."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=timeout_s)
        return self.names()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_failed(task.get_name(), error)
