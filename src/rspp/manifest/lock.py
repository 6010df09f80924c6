"""One writer at a time: an advisory lock on a file beside the manifest, in which its holder says who it is and what for.

    free      nobody has it; the file is empty
    held      its holder has it open; the file names the holder
    left      nobody has it, and a holder is still named: it died. Taken over, and told.
    foreign   left by another host: whether it lives cannot be seen from here, so somebody must say `take_over`

The file is never removed, for whoever waits has it open. The system gives the lock up when its holder dies, whatever kills it.
A forked child does not keep it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rspp.manifest import disk
from rspp.manifest.faults import ManifestError

CONTENT_BYTES_MAX: Final = 4096
POLL_S: Final = 0.02
NAME_CHARACTERS_MAX: Final = 200


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who has the lock, as its file says."""

    name: str
    host: str
    pid: int
    started: str  # of the process, by its system's clock: a pid alone may be another one's by now
    since_ms: int
    purpose: str
    taken_by: str = ""  # of one who died: who took the lock over and had no line of the trace to say so


_DECODE: Final = msgspec.json.Decoder(Holder).decode
_ENCODE: Final = msgspec.json.encode


class Lock:
    """Of one file and one holder in this process; not for two threads at once, which is its keeper's to see to."""

    def __init__(
        self, path: Path, by: str, *, clock: Callable[[], int], wait_s: float, take_over: bool = False
    ) -> None:
        self.path = path
        self._by = by[:NAME_CHARACTERS_MAX]
        self._clock = clock
        self._wait_s = wait_s
        self._take_over = take_over
        self._number: int | None = None
        self._pid = 0
        self._is_watched = False  # for forks

    @property
    def is_held(self) -> bool:
        """Whether this object has it."""
        return self._number is not None and self._pid == os.getpid()

    def take(self, purpose: str) -> Holder | None:
        """It is ours when this returns: with the holder who died with it, if there is one. Raises with the living one's name."""
        with disk.told(self.path):
            number = self._open_locked()
        try:
            left = self._left(number)
        except BaseException:
            os.close(number)
            raise
        self._watch()
        self._number, self._pid = number, os.getpid()
        holder = Holder(
            name=self._by, host=socket.gethostname(), pid=self._pid, started=_started(self._pid),
            since_ms=self._clock(), purpose=purpose[:NAME_CHARACTERS_MAX],
        )  # fmt: skip
        # The lock is the system's; a name that could not be written only makes the refusal of others less clear.
        with suppress(OSError):
            os.ftruncate(number, 0)
            os.pwrite(number, _ENCODE(holder), 0)
        return left

    def check(self) -> None:
        """It is still ours: the file was not replaced under us."""
        if not self.is_held or self._number is None or not _same(self._number, self.path):
            raise ManifestError(
                "manifest_locked",
                f"{self.path.name} was removed or replaced while we had it, so another may write now. "
                "Stop, see who removed it, and begin again. Nothing was changed.",
            )

    def give_back(self, untold: Holder | None = None) -> None:
        """Free for others; a holder who died and of whom no line of the trace tells yet stays named, for the next one."""
        number, self._number = self._number, None
        if number is None:
            return
        if self._pid == os.getpid():
            with suppress(OSError):
                os.ftruncate(number, 0)
                if untold is not None:
                    os.pwrite(number, _ENCODE(msgspec.structs.replace(untold, taken_by=self._by)), 0)
        os.close(number)

    def holder(self) -> Holder | None:
        """Who has it now, as far as its file says; None when nobody does."""
        try:
            number = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        try:
            fcntl.flock(number, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _named(number) or _NOBODY
        else:
            return None
        finally:
            os.close(number)

    def _open_locked(self) -> int:
        until = time.monotonic() + self._wait_s
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            number = os.open(self.path, flags, disk.FILE_MODE)
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(number, self.path):
                    return number
            except BlockingIOError:
                if time.monotonic() >= until:
                    error = self._refusal(_named(number))
                    os.close(number)
                    raise error from None
            except BaseException:
                os.close(number)
                raise
            os.close(number)
            time.sleep(POLL_S)

    def _left(self, number: int) -> Holder | None:
        content = os.pread(number, CONTENT_BYTES_MAX, 0)
        if not content.strip(b"\0 \r\n"):
            return None
        left = _read(content)
        if left is None:
            return msgspec.structs.replace(_NOBODY, purpose="what it wrote cannot be read")
        if left.host != socket.gethostname() and not left.taken_by and not self._take_over:
            raise ManifestError(
                "manifest_lock_foreign",
                f"{left.name} on the host {left.host} took the lock {_ago(self._clock() - left.since_ms)} ago "
                f"({left.purpose}) and never gave it back; whether it still writes cannot be seen from here. "
                "See there that it does not, then take it over: --take-over, or take_over=True. Nothing was changed.",
            )
        return left

    def _refusal(self, holder: Holder | None) -> ManifestError:
        if holder is None:
            who = "somebody who has not said its name yet"
        else:
            here = "" if holder.host == socket.gethostname() else f" on {holder.host}"
            own = ", which is this very process" if (holder.pid == os.getpid() and not here) else ""
            age = _ago(self._clock() - holder.since_ms)
            who = f"{holder.name}{here} (process {holder.pid}{own}) since {age}: {holder.purpose}"
        return ManifestError(
            "manifest_locked",
            f"the manifest is held by {who}. Wait until it is done, or ask. Nothing was changed.",
        )

    def _watch(self) -> None:
        """A child of a fork has every open file, and with it the lock, for as long as it lives: unless it closes it at once.

        The system forgets none of these, so only who takes a lock asks for it, and once.
        """
        if self._is_watched:
            return
        self._is_watched, this = True, weakref.ref(self)

        def forget() -> None:
            lock = this()
            if lock is not None:
                lock._forget()

        os.register_at_fork(after_in_child=forget)

    def _forget(self) -> None:
        number, self._number = self._number, None
        if number is not None:
            with suppress(OSError):
                os.close(number)  # of the child alone: its parent's stays


_NOBODY: Final = Holder(name="somebody", host=socket.gethostname(), pid=0, started="", since_ms=0, purpose="")


def _named(number: int) -> Holder | None:
    return _read(os.pread(number, CONTENT_BYTES_MAX, 0))


def _read(content: bytes) -> Holder | None:
    try:
        return _DECODE(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _same(number: int, path: Path) -> bool:
    """Whether the path still leads to the file that is open."""
    try:
        there = path.lstat()
    except OSError:
        return False
    ours = os.fstat(number)
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)


def _started(pid: int) -> str:
    """When a process began, in ticks since its machine did; "" where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # its name may hold spaces and brackets


def _ago(elapsed_ms: int) -> str:
    seconds = max(0, elapsed_ms) // 1000
    for size, name in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if count > 1 else ''}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"
