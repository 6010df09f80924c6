"""The process in which a target runs, from outside: what it says, what it prints, how it ended, and that nothing of it is left."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from rspp.cli.conformance.messages import LINE_BYTES_MAX, Message, Request

CHILD: Final = "rspp.cli.conformance.child"
# Beyond its own time a check is only ended by force.
GRACE_S: Final = 3.0
# Of what a target prints, the end is kept.
OUTPUT_BYTES_MAX: Final = 8_192
READ_BYTES: Final = 65_536
# What a target starts inherits this, wherever it goes: so it is found and ended, also what left the process group.
MARK: Final = "RSPP_CONFORMANCE_RUN"
SWEEPS_MAX: Final = 5


class GarbledError(Exception):
    """What came by the line of results is none."""


class Process:
    """The child: a process group of its own, its lines, and the end of what it printed."""

    def __init__(self, request: Request, folder: Path, hash_seed: int) -> None:
        file = folder / "request.json"
        file.write_bytes(msgspec.json.encode(request))
        results, write = os.pipe()
        self._mark = os.urandom(16).hex()
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, our own module
                # -P: what lies in the folder must not stand before what this module imports.
                [sys.executable, "-P", "-m", CHILD, str(file), str(write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
                cwd=request.folder,
                env={**os.environ, "PYTHONHASHSEED": str(hash_seed), MARK: self._mark},
            )
        finally:
            os.close(write)
        assert self._child.stdout is not None
        self._results, self._printed = results, self._child.stdout.fileno()
        self._select = selectors.DefaultSelector()
        self._open = {self._results, self._printed}
        for fd in self._open:
            os.set_blocking(fd, False)
            self._select.register(fd, selectors.EVENT_READ)
        self._held = b""
        self.output = b""
        self.left = ""  # what could not be taken away afterwards
        self._decoder = msgspec.json.Decoder(Message)

    def message(self, within_s: float) -> Message | None:
        """The next thing that it says; None when there will be none. Raises TimeoutError when it is silent for too long,
        and GarbledError for what is no message.
        """
        deadline = time.monotonic() + within_s
        while b"\n" not in self._held:
            if self._results not in self._open:
                return None
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            for key, _ in self._select.select(left):
                self._read(key.fd)
        line, _, self._held = self._held.partition(b"\n")
        try:
            message: Message = self._decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise GarbledError from None
        return message

    def _read(self, fd: int) -> None:
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._open.discard(fd)
            self._select.unregister(fd)
        elif fd == self._printed:
            self.output = (self.output + data)[-OUTPUT_BYTES_MAX:]
        else:
            self._held += data
            if len(self._held) > LINE_BYTES_MAX and b"\n" not in self._held:
                raise GarbledError

    def ended(self) -> str:
        """How the process ended, in words; one that is still there is ended."""
        try:
            status = self._child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed the line by which its results are told"
        if status < 0:
            return f"it ended its process by {signal.Signals(-status).name}"
        return f"it ended its process, with status {status}"

    def close(self) -> None:
        """Nothing of the target is left running, whatever it started."""
        for fd in tuple(self._open):
            if fd == self._printed:
                self._read(fd)
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        _end_marked(self._mark)
        self._select.close()
        os.close(self._results)
        assert self._child.stdout is not None
        self._child.stdout.close()


def _end_marked(mark: str) -> None:
    """What a target started and sent away: found by the mark in its environment, where the system shows that."""
    for _ in range(SWEEPS_MAX):
        left = list(_marked(f"{MARK}={mark}".encode()))
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return


def _marked(mark: bytes) -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # Of one that has ended and was not waited for, nothing is left to be read.
            if mark in (place / "environ").read_bytes().split(b"\0"):
                yield int(place.name)
