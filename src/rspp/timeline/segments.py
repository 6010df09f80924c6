"""Segments on disk: where a process keeps what it recorded until the store has it, and what a dead process left.

    <data>/spool/<boot>/lock               locked as long as the process lives; the system lets go of it, however it died
    <data>/spool/<boot>/<session>/<n>.seg  records, one after the other; the first says whose they are

A boot's folder appears under its name only when its lock is held, so nobody takes a living process for a dead one. What
was acknowledged is whole in its file: only a tail that nobody was promised may be torn, and it is cut off.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.codec import CodecError
from rspp.contract.errors import LimitReached
from rspp.timeline import records as r

log = logging.getLogger("rspp.recorder")

SPOOL: Final = "spool"
LOCK: Final = "lock"
SUFFIX: Final = ".seg"
_MAKING: Final = "."  # how the name of a folder begins that is not locked yet
# A run is <boot>.<number>, and a boot's folder is named by a process. A run may come from a file: nothing else is looked for.
_RUN: Final = re.compile(r"([0-9]+-[0-9]+)\.[0-9]+")
_UNSAFE: Final = re.compile(r"[^a-z0-9_-]+")
# With the digest behind it, short enough for every file system.
_NAME_CHARS_MAX: Final = 40


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A file that nothing is added to any more: `size` bytes of whole records, which may be followed by a torn one.

    `run` is one recorder's life: a session that was opened twice, or in two processes, has two. Parts of one run are in
    order of their numbers. `damaged` says where records end that can be read, if more stands behind them.
    """

    session_id: str
    tenant_id: str
    run: str
    number: int
    path: Path
    size: int
    damaged: str | None = None

    @property
    def part(self) -> str:
        """A name for it that no other segment of its session has, in order within a run."""
        return f"{self.run}-{self.number:06d}"

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(self.size)


def safe_name(session_id: str) -> str:
    """A folder's name for a session: readable as far as it can be, and never that of another session."""
    readable = _UNSAFE.sub("_", session_id.lower())[:_NAME_CHARS_MAX]
    digest = hashlib.sha256(session_id.encode(errors="surrogatepass")).hexdigest()
    return f"{readable}-{digest[:16]}"


class Home:
    """One process's folder in the spool, locked while it is open."""

    def __init__(self, data: Path, boot: str) -> None:
        spool = data / SPOOL
        made = spool / f"{_MAKING}{boot}"
        made.mkdir(parents=True)
        self.boot = boot
        self.path = spool / boot
        self._lock = _locked(made / LOCK)
        if self._lock is None:
            raise LimitReached("spool_in_use", f"the spool's folder {boot} is another process's")
        made.rename(self.path)

    def close(self) -> None:
        """Let go of it: it is gone, or if there is something in it, it waits for who adopts it."""
        if self._lock is not None:
            _remove_boot(self.path)
            os.close(self._lock)
            self._lock = None


class Dead:
    """The folder of a process that is no more, taken over: nobody else takes it as long as this is open."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def segments(self) -> list[Segment]:
        """Its segments, in order, their torn tails cut off; files that hold nothing are removed.

        One that cannot be read, or not by this version, stays where it is.
        """
        found = []
        for path in _files(self.path):
            segment = read_segment(path)
            if segment is None:
                _remove_if_empty(path)
                continue
            if segment.damaged is None and path.stat().st_size > segment.size:
                os.truncate(path, segment.size)
            found.append(segment)
        return found

    def close(self) -> None:
        _remove_boot(self.path)
        os.close(self._lock)


def dead(data: Path) -> list[Dead]:
    """Take over every folder whose process is no more."""
    taken = []
    for path in _boots(data):
        lock = _locked(path / LOCK)
        if lock is not None:
            taken.append(Dead(path, lock))
    return taken


def read_segment(path: Path) -> Segment | None:
    """What a file holds, up to its last whole record; None if it says no more than whose it is, or not even that."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    end, wrong = whole(data)
    first = _first_end(data) if end else 0
    try:
        part = r.unframe(data[:first]).records[0]
    except (CodecError, IndexError):
        return None
    if not isinstance(part, r.Part) or (end == first and wrong is None):
        return None
    if boot_of(part.run) != path.parent.parent.name or part.number < 1:
        return None  # it is not one of this folder's: somebody has put it there
    return Segment(
        session_id=part.session_id,
        tenant_id=part.tenant_id,
        run=part.run,
        number=part.number,
        path=path,
        size=end,
        damaged=wrong,
    )


def _remove_if_empty(path: Path) -> None:
    """Remove a file that says no more than whose it is; what is only not understood is somebody's recording."""
    with contextlib.suppress(OSError):
        data = path.read_bytes()
        end, wrong = whole(data)
        nothing = not end or (end == _first_end(data) and r.is_recording(data[:end], ("part",)))
        if nothing and wrong is None:
            path.unlink()
        else:
            log.warning("%s is no segment that this version can read; it stays there", path)


def _first_end(data: bytes) -> int:
    return int(r.PREFIX.size + r.PREFIX.unpack_from(data)[0])


def boot_of(run: str) -> str:
    """The folder that a run's segments are in; empty if no process ever had such a run."""
    found = _RUN.fullmatch(run)
    return found[1] if found else ""


def is_alive(data: Path, run: str) -> bool:
    """Is the process that writes this run still there, as far as can be seen on this machine without touching its lock?"""
    boot = boot_of(run)
    if not boot or not (data / SPOOL / boot).is_dir():
        return False
    try:
        os.kill(int(boot.rpartition("-")[2]), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def whole(data: bytes) -> tuple[int, str | None]:
    """Where the records end that are whole, and what is wrong there if it is not just a torn tail."""
    end = 0
    try:
        for end in r.ends(data):  # noqa: B007 - the last one is what is wanted
            pass
    except CodecError as error:
        return end, str(error)
    return end, None


# ---- folders ---------------------------------------------------------------------------------------------------


def _boots(data: Path) -> list[Path]:
    spool = data / SPOOL
    if not spool.is_dir():
        return []
    return sorted(path for path in spool.iterdir() if path.is_dir() and not path.name.startswith(_MAKING))


def _files(boot: Path) -> list[Path]:
    return sorted(boot.glob(f"*/*{SUFFIX}"))


def _locked(path: Path) -> int | None:
    """The file, opened and locked; None if another process holds it, or the folder has just gone."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def remove_file(path: Path) -> None:
    """Remove a segment, and its session's folder with the last one; what is gone already is no fault."""
    with contextlib.suppress(OSError):
        path.unlink()
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def _remove_boot(path: Path) -> None:
    """Remove a boot's folder if nothing of any session is left in it."""
    with contextlib.suppress(OSError):
        for session in path.iterdir():
            if session.is_dir():
                with contextlib.suppress(OSError):
                    session.rmdir()
        if all(left.name == LOCK for left in path.iterdir()):
            (path / LOCK).unlink()
            path.rmdir()
