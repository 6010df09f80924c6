"""The hand that writes: one thread a process, which does nothing but put bytes into files and say what became of them.

    loop's thread                         writer's thread
    [Work(stream, data)...] -> SimpleQueue -> Pen.do: open, os.write, perhaps fsync
    settle([Done...])       <- call_soon_threadsafe, at once where evidence waits for it

Waking a thread costs more than what it writes, so detail comes in lots. The loop encodes; a write releases the interpreter,
so a slow disk costs the loop nothing. Whatever the file system does becomes a reason: a record that was half written is cut
off, or its segment is given up and the next one begun. Where time is virtual the same pen writes on the loop's own thread
(`Inline`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from typing import Final, Protocol

from rspp.timeline import records as r
from rspp.timeline.segments import SUFFIX, Segment, remove_file

# A process may have as many sessions; the file that was written longest ago is opened again when it is needed.
FILES_OPEN_MAX: Final = 256
DISK_FULL: Final = "disk_full"
READ_ONLY: Final = "read_only"
DISK_ERROR: Final = "disk_error"
_REASON: Final[Mapping[int | None, str]] = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EFBIG: DISK_FULL,
    errno.EROFS: READ_ONLY,
    errno.EACCES: READ_ONLY,
    errno.EPERM: READ_ONLY,
}


class Sync(StrEnum):
    """When the disk itself is waited for. A process that dies loses nothing in any of them; a machine that dies may."""

    NEVER = "never"
    EVIDENCE = "evidence"
    ALWAYS = "always"


class Disk(Protocol):
    """What is asked of the file system; it raises OSError and may take as long as it likes."""

    def open(self, path: Path, *, new: bool) -> int: ...
    def write(self, fd: int, data: bytes | memoryview) -> int: ...
    def cut(self, fd: int, size: int) -> None: ...
    def sync(self, fd: int) -> None: ...
    def is_linked(self, fd: int) -> bool: ...
    def close(self, fd: int) -> None: ...


class MachineDisk:
    """The machine's own."""

    def open(self, path: Path, *, new: bool) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else 0)
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            if not new:
                raise
        # The first of its session, or somebody has removed the folder.
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def cut(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        os.fdatasync(fd)

    def is_linked(self, fd: int) -> bool:
        """Is the file still in its folder? What is written into one that was removed is lost."""
        return os.fstat(fd).st_nlink > 0

    def close(self, fd: int) -> None:
        os.close(fd)


class Stream:
    """One recorder's segments, as the pen sees them; the loop's thread only makes it and hands it on."""

    __slots__ = ("fd", "folder", "number", "run", "session_id", "size", "tenant_id")

    def __init__(self, folder: Path, session_id: str, tenant_id: str, run: str) -> None:
        self.folder = folder
        self.session_id = session_id
        self.tenant_id = tenant_id
        self.run = run
        self.number = 0
        self.size = 0  # whole records in the segment that is being written; 0 if none is
        self.fd: int | None = None

    @property
    def path(self) -> Path:
        return self.folder / f"{self.number:06d}{SUFFIX}"


class Work:
    """One thing to write (`data`), or with no data the end of a segment, or with a `path` a file to remove."""

    __slots__ = ("at", "data", "kept", "path", "reserved", "settled", "stream")

    def __init__(
        self,
        stream: Stream | None,
        data: bytes | None,
        *,
        reserved: bool = False,
        kept: Callable[[str | None], None] | None = None,
        path: Path | None = None,
    ) -> None:
        self.stream = stream
        self.data = data
        self.at = 0.0  # when it was handed over
        self.reserved = reserved
        self.kept = kept
        self.path = path
        self.settled: asyncio.Future[None] | None = None  # for whoever waits until it is done


Done = tuple[Work, str | None, list[Segment]]
Settle = Callable[[Sequence[Done]], None]


class Pen:
    """Writes, and never raises: what it was given is in the file when it answers None, and else nothing of it is."""

    def __init__(self, disk: Disk, sync: Sync = Sync.NEVER) -> None:
        self._disk = disk
        self._sync = sync
        self._open: dict[Stream, None] = {}  # bounded: FILES_OPEN_MAX; the one used longest ago first
        self._sealed: list[Segment] = []  # bounded: taken away with each piece of work

    def do(self, work: Work) -> tuple[str | None, list[Segment]]:
        """Why it could not be done, if it could not; and the segments that nothing is added to from now on."""
        why = None
        if work.path is not None:
            remove_file(work.path)
        elif work.stream is not None and work.data is None:
            self._seal(work.stream)
        elif work.stream is not None and work.data is not None:
            wait = self._sync is Sync.ALWAYS or (self._sync is Sync.EVIDENCE and work.reserved)
            # Evidence has to be where somebody finds it: a file that was removed underneath takes everything.
            why = self._write(work.stream, work.data, wait=wait, sure=work.reserved)
        sealed, self._sealed = self._sealed, []
        return why, sealed

    def close(self) -> None:
        """Let go of all files."""
        for stream in list(self._open):
            self._let_go(stream)

    def _write(self, stream: Stream, data: bytes, *, wait: bool, sure: bool) -> str | None:
        try:
            fd = self._file(stream)
        except OSError as error:
            return _REASON.get(error.errno, DISK_ERROR)
        try:
            self._put(fd, data, wait=wait, sure=sure)
        except OSError as error:
            self._take_back(stream, fd)
            return _REASON.get(error.errno, DISK_ERROR)
        stream.size += len(data)
        return None

    def _put(self, fd: int, data: bytes, *, wait: bool, sure: bool) -> None:
        disk = self._disk
        written = disk.write(fd, data)
        if written != len(data):
            rest = memoryview(data)
            while written < len(data):
                more = disk.write(fd, rest[written:])
                if more <= 0:
                    raise OSError(errno.ENOSPC, "nothing more was taken")
                written += more
        if wait:
            disk.sync(fd)
        if sure and not disk.is_linked(fd):
            raise FileNotFoundError(errno.ENOENT, "the segment was removed underneath")

    def _file(self, stream: Stream) -> int:
        """The open file of the stream's segment, which begins with whose it is."""
        fd = stream.fd
        if fd is not None:
            self._open[stream] = self._open.pop(stream)
            return fd
        if len(self._open) >= FILES_OPEN_MAX:
            self._let_go(next(iter(self._open)))
        if stream.size:
            try:
                fd = self._disk.open(stream.path, new=False)
            except OSError:
                stream.size = 0  # it is gone; the next one is begun
                raise
        else:
            fd = self._begin(stream)
        stream.fd = fd
        self._open[stream] = None
        return fd

    def _begin(self, stream: Stream) -> int:
        stream.number += 1
        fd = self._disk.open(stream.path, new=True)
        part = r.frame(
            r.Part(
                session_id=stream.session_id,
                tenant_id=stream.tenant_id,
                run=stream.run,
                number=stream.number,
            )
        )
        try:
            self._put(fd, part, wait=False, sure=False)
        except OSError:
            with contextlib.suppress(OSError):
                self._disk.close(fd)
            remove_file(stream.path)
            raise
        stream.size = len(part)
        return fd

    def _take_back(self, stream: Stream, fd: int) -> None:
        """Cut off what was half written; if not even that goes, the segment ends where it was whole."""
        try:
            self._disk.cut(fd, stream.size)
            if self._disk.is_linked(fd):
                return
            stream.size = 0
        except OSError:
            pass
        self._seal(stream)

    def _seal(self, stream: Stream) -> None:
        self._let_go(stream)
        if stream.size:
            self._sealed.append(
                Segment(
                    session_id=stream.session_id,
                    tenant_id=stream.tenant_id,
                    run=stream.run,
                    number=stream.number,
                    path=stream.path,
                    size=stream.size,
                )
            )
        stream.size = 0

    def _let_go(self, stream: Stream) -> None:
        self._open.pop(stream, None)
        fd, stream.fd = stream.fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                self._disk.close(fd)


class Writer(Protocol):
    """Whoever works off what is to be written, in order, and tells the loop."""

    def give(self, works: Sequence[Work]) -> None: ...
    def finish(self) -> None:
        """Nothing more is given; `settle` is told of all that was, and then of nothing (an empty sequence)."""
        ...


class Inline:
    """Writes on the loop's own thread, in its next round: for virtual time, in which no thread can be waited for."""

    def __init__(self, pen: Pen, loop: asyncio.AbstractEventLoop, settle: Settle) -> None:
        self._pen, self._loop, self._settle = pen, loop, settle

    def give(self, works: Sequence[Work]) -> None:
        self._loop.call_soon(self._do, works)

    def finish(self) -> None:
        self._loop.call_soon(self._end)

    def _do(self, works: Sequence[Work]) -> None:
        self._settle([(work, *self._pen.do(work)) for work in works])

    def _end(self) -> None:
        self._pen.close()
        self._settle([])


class Threaded:
    """Writes on a thread of its own. It is a daemon: a disk that never answers does not keep the process alive."""

    def __init__(self, pen: Pen, loop: asyncio.AbstractEventLoop, settle: Settle) -> None:
        self._pen, self._loop, self._settle = pen, loop, settle
        # bounded: by the spool, which takes no work beyond its room
        self._queue: SimpleQueue[Sequence[Work] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def give(self, works: Sequence[Work]) -> None:
        self._queue.put(works)

    def finish(self) -> None:
        self._queue.put(None)

    def _run(self) -> None:
        do = self._pen.do
        while (works := self._queue.get()) is not None:
            done: list[Done] = []  # bounded: by what was given at once
            for work in works:
                done.append((work, *do(work)))
                # Who waits for word of evidence does not wait for what comes after it.
                if work.reserved:
                    self._tell(done)
                    done = []
            if done:
                self._tell(done)
        self._pen.close()
        self._tell([])

    def _tell(self, done: list[Done]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: there is nobody to tell
            self._loop.call_soon_threadsafe(self._settle, done)
