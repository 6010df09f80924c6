"""The few things that are done to a disk, each by its own name, so that a test can end the world between any two of them.

replace   a file is the old one or the new one at every instant: it is prepared beside it, then renamed
append    at the end that was agreed, or not at all: what failed half way is taken back
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from rspp.manifest.faults import ManifestError

FILE_MODE: Final = 0o644
_OPEN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK  # no link is followed, and no pipe waited for


class Seen(NamedTuple):
    """What tells that a file is the one that was read."""

    inode: int
    size: int
    changed_ns: int  # by the system's own clock: nobody can set it back, as a file's date


class Disk(Protocol):
    """Each call is one step that a crash can come before, in the middle of, or after."""

    def open(self, path: Path, flags: int, mode: int) -> int: ...
    def write(self, number: int, data: bytes) -> None: ...
    def cut(self, number: int, size: int) -> None: ...
    def sync(self, number: int) -> None: ...
    def rename(self, path: Path, to: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def close(self, number: int) -> None: ...


class RealDisk:
    """The machine's own."""

    def open(self, path: Path, flags: int, mode: int) -> int:
        return os.open(path, flags, mode)

    def write(self, number: int, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(number, rest) :]

    def cut(self, number: int, size: int) -> None:
        os.ftruncate(number, size)

    def sync(self, number: int) -> None:
        os.fsync(number)

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def close(self, number: int) -> None:
        os.close(number)


@contextmanager
def told(path: Path) -> Iterator[None]:
    """What the system says about a file becomes a sentence for whoever asked."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ELOOP:
            what, fix = "it is a symbolic link", "Put the file itself there."
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            what, fix = "the disk is full", "Free space, then say it again."
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what, fix = "it may not be written or read by you", "Make its folder yours, or use another one."
        elif error.errno == errno.ENOENT:
            what, fix = "its folder is not there", "Make the folder, or name another one."
        else:
            what, fix = os.strerror(error.errno) if error.errno else str(error), "See what is in its place."
        raise ManifestError(
            "manifest_unwritable", f"{path.name}: {what}. {fix} Nothing was changed."
        ) from error


def read(path: Path, bytes_max: int) -> tuple[bytes, Seen] | None:
    """A whole file and what it was then; None when there is none. Raises ManifestError for what is no file."""
    with told(path):
        try:
            number = os.open(path, os.O_RDONLY | _OPEN)
        except FileNotFoundError:
            return None
        try:
            about = os.fstat(number)
            _check_file(path, about)
            data = _read(number, bytes_max + 1)
        finally:
            os.close(number)
    return data, _seen(about)


def seen(path: Path) -> Seen | None:
    try:
        about = path.lstat()
    except OSError:
        return None
    return _seen(about)


def beside(path: Path) -> Path:
    """Where a file's new content is prepared."""
    return path.with_name(f".{path.name}.new")


class Replacing:
    """A file's new content, prepared beside it and on disk; `done` puts it in its place."""

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        # One name is enough: only the holder of the lock prepares a file, and what a crash left is written over.
        self._beside = beside(path)

    def prepare(self, data: bytes) -> None:
        mode = FILE_MODE
        with suppress(FileNotFoundError):
            about = self._path.lstat()
            _check_file(self._path, about)
            mode = stat.S_IMODE(about.st_mode)
        disk = self._disk
        disk.remove(self._beside)
        number = disk.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN, mode)
        try:
            os.fchmod(number, mode)
            disk.write(number, data)
            disk.sync(number)
        finally:
            disk.close(number)

    def done(self) -> None:
        self._disk.rename(self._beside, self._path)
        # It is in its place. Should the folder forget that in a power cut, the trace has it, and the next writer mends it.
        with suppress(OSError):
            sync_folder(self._disk, self._path.parent)

    def forget(self) -> None:
        with suppress(OSError):
            self._disk.remove(self._beside)


def replace(disk: Disk, path: Path, data: bytes) -> None:
    """The file holds these bytes, or still what it held."""
    replacing = Replacing(disk, path)
    with told(path):
        try:
            replacing.prepare(data)
            replacing.done()
        except OSError:
            replacing.forget()
            raise


def append(disk: Disk, path: Path, data: bytes, at: int, size: int) -> None:
    """The file ends with these bytes after its first `at` ones, on disk; what was behind those is gone.

    It must have as many bytes as when it was read (`size`): what somebody else has written since is never cut. An error takes
    back what was written: the file ends at `at` then.
    """
    fresh = seen(path) is None
    number = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _OPEN, FILE_MODE)
    try:
        about = os.fstat(number)
        _check_file(path, about)
        if about.st_size != size:
            raise ManifestError(
                "manifest_unwritable",
                f"{path.name} was written by somebody else meanwhile. See who that is. Nothing was changed.",
            )
        if fresh:
            sync_folder(disk, path.parent)
        try:
            if about.st_size > at:
                disk.cut(number, at)
            disk.write(number, data)
            disk.sync(number)
        except OSError:
            _take_back(disk, number, at)
            raise
    finally:
        disk.close(number)


def cut(disk: Disk, path: Path, at: int) -> None:
    """Take back what was appended."""
    number = disk.open(path, os.O_WRONLY | _OPEN, FILE_MODE)
    try:
        _take_back(disk, number, at)
    finally:
        disk.close(number)


def sync_folder(disk: Disk, folder: Path) -> None:
    """The folder's own entries are on disk, too."""
    number = disk.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, FILE_MODE)
    try:
        disk.sync(number)
    finally:
        disk.close(number)


def _take_back(disk: Disk, number: int, at: int) -> None:
    # Where even this fails the tail is torn, and the next writer cuts it.
    with suppress(OSError):
        disk.cut(number, at)
        disk.sync(number)


def _check_file(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no file"
        if stat.S_ISLNK(about.st_mode):
            kind = "a symbolic link"
        raise ManifestError(
            "manifest_unwritable", f"{path.name} is {kind}. Put the file itself there. Nothing was changed."
        )


def _seen(about: os.stat_result) -> Seen:
    return Seen(about.st_ino, about.st_size, about.st_ctime_ns)


def _read(number: int, size: int) -> bytes:
    parts = []
    while size > 0:
        part = os.read(number, min(size, 1 << 20))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
