"""Reading processes: few, begun when they are needed, each at one job at a time, and killed when a job takes too long.

    idle --job--> busy --answer--> idle
                       --too long, died, grown too big--> gone; the next job begins another

Who asks waits outside the loop's way: the pipe is written and read on a thread, which lets the interpreter go meanwhile.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.errors import LimitReached, PeerFault
from rspp.server.recorded import job as j

MODULE: Final = "rspp.server.recorded.child"
# Memory that a process took for a long call it does not give back: then it is let go of.
RSS_BYTES_MAX: Final = 512 * 1024 * 1024
UNANSWERED: Final = "recording_unanswered"
BUSY: Final = "recordings_busy"


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs at once, how many more may wait, and how long one may take, by its kind."""

    at_once: int = 2
    long_at_once: int = 1  # of replays and comparisons: one process stays free for people who look
    waiting_max: int = 64
    view_s: float = 60.0
    sound_s: float = 120.0
    long_s: float = 300.0

    def seconds(self, kind: j.Kind) -> float:
        return {j.Kind.VIEW: self.view_s, j.Kind.SOUND: self.sound_s}.get(kind, self.long_s)


class Child:
    """One process."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            [sys.executable, "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a key pressed in our terminal is for us
        )
        self.fat = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, header: bytes, parts: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Its answer, on whatever thread this is called; raises PeerFault if the process ends instead."""
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        try:
            j.write_frame(questions, header, [data for blobs in parts for data in blobs])  # type: ignore[arg-type]
            return self._answer(answers)
        except (OSError, ValueError, CodecError, msgspec.DecodeError) as error:
            raise PeerFault(UNANSWERED, "the process that read the recording has ended") from error

    def _answer(self, answers: IO[bytes]) -> list[bytes]:
        header = j.read_header(answers)  # type: ignore[arg-type]  # a pipe's reader
        if header is None:
            raise CodecError("truncated", "frame", "there is no answer")
        reply = j.REPLY(header)
        blobs = [j.read_blob(answers, size) for size in reply.sizes]  # type: ignore[arg-type]  # likewise
        self.fat = reply.rss_bytes > RSS_BYTES_MAX
        if reply.failure is not None:
            raise PeerFault(reply.failure.code, reply.failure.message)
        return blobs

    def kill(self) -> None:
        """End it now. Whoever waits for its answer is told that there is none."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Let go of its pipes, once nobody is at them."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError, ValueError):
                    stream.close()


class Children:
    """All of them. `ask` raises what the job raises, LimitReached if too many wait, PeerFault if it took too long."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.begun = 0  # processes, ever
        self._idle: list[Child] = []  # bounded: at_once
        self._all: set[Child] = set()  # bounded: likewise
        self._making: set[asyncio.Future[Child]] = set()  # bounded: likewise
        self._waiting = 0
        self._places = asyncio.Semaphore(self.bounds.at_once)
        self._long = asyncio.Semaphore(self.bounds.long_at_once)

    async def ask(self, job: j.Job, parts: Sequence[Sequence[bytes]]) -> list[bytes]:
        if self._waiting >= self.bounds.waiting_max:
            raise LimitReached(BUSY, f"{self._waiting} others wait for a recording; try again in a moment")
        self._waiting += 1
        try:
            if job.kind in (j.Kind.REPLAY, j.Kind.DIFF):
                async with self._long, self._places:
                    return await self._asked(job, parts)
            async with self._places:
                return await self._asked(job, parts)
        finally:
            self._waiting -= 1

    async def _asked(self, job: j.Job, parts: Sequence[Sequence[bytes]]) -> list[bytes]:
        child = self._idle.pop() if self._idle else await self._begin()
        work = asyncio.ensure_future(asyncio.to_thread(child.ask, j.ENCODE(job), parts))
        try:
            async with asyncio.timeout(self.bounds.seconds(job.kind)):
                blobs = await asyncio.shield(work)
        except TimeoutError as error:
            await self._end(child, work)
            seconds = self.bounds.seconds(job.kind)
            raise PeerFault(UNANSWERED, f"the recording was not read within {seconds:g} s") from error
        except asyncio.CancelledError:
            await self._end(child, work)
            raise
        except PeerFault as error:
            if error.code == UNANSWERED:
                await self._end(child, work)
            else:
                await self._keep(child)
            raise
        await self._keep(child)
        return blobs

    async def _begin(self) -> Child:
        """A new process; if who wanted it goes away meanwhile, it waits for the next."""
        made = asyncio.ensure_future(asyncio.to_thread(Child))
        self._making.add(made)
        made.add_done_callback(self._made)
        try:
            child = await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(self._not_wanted)
            raise
        except OSError as error:
            raise PeerFault(UNANSWERED, f"no process can be begun: {error.strerror or error}") from error
        return child

    def _made(self, made: asyncio.Future[Child]) -> None:
        self._making.discard(made)
        if not made.cancelled() and made.exception() is None:
            self.begun += 1
            self._all.add(made.result())

    def _not_wanted(self, made: asyncio.Future[Child]) -> None:
        if not made.cancelled() and made.exception() is None:
            self._idle.append(made.result())

    async def _keep(self, child: Child) -> None:
        if child.fat or len(self._idle) >= self.bounds.at_once:
            await self._end(child, None)
        else:
            self._idle.append(child)

    async def _end(self, child: Child, work: asyncio.Future[list[bytes]] | None) -> None:
        """The process first, so that the thread that waits for its answer comes back."""
        self._all.discard(child)
        await asyncio.to_thread(child.kill)
        if work is not None:
            await asyncio.wait([work])
            with suppress(asyncio.CancelledError):
                work.exception()
        child.close()

    async def close(self) -> None:
        """End all of them, also those that are at work: who waits for an answer is told that there is none."""
        if self._making:
            await asyncio.wait(list(self._making))
        idle, self._idle = self._idle, []
        for child in list(self._all):
            self._all.discard(child)
            await asyncio.to_thread(child.kill)
        for child in idle:
            child.close()
