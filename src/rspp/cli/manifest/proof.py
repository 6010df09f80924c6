"""A command that is run as proof leaves two files: what it wrote, and a record of how it was run and how it ended.

Both lie beside the manifest, in `proof/SESSION/STEP/`, under names that were never used before; the ledger holds their
digests. The command runs unattended, in a process group of its own: whatever it leaves running is ended with it, so that what
it wrote cannot change after it was recorded.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import BinaryIO, Final, Literal

import msgspec

from rspp.contract.errors import LimitReached
from rspp.timeline.redaction.forms import Kind, without_secrets

PROOF_FOLDER: Final = "proof"
RECORD_SUFFIX: Final = ".run.json"
OUTPUT_BYTES_MAX: Final = 64 * 1024 * 1024
RECORD_BYTES_MAX: Final = 1024 * 1024
RUNS_MAX: Final = 10_000  # of one key in one step
NAME_CHARACTERS_MAX: Final = 80
LOOK_S: Final = 0.05
# How long an interrupted command may take to end by itself.
GRACE_S: Final = 3.0
TOLD_BY: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")

End = Literal["exited", "not_started", "interrupted", "too_long", "too_much"]


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended. Only `exited` with 0 is good."""

    end: End
    exit_status: int | None  # negative: the signal that ended it
    took_ms: int
    why: str = ""

    @property
    def good(self) -> bool:
        return self.end == "exited" and self.exit_status == 0

    def sentence(self) -> str:
        took = f"after {self.took_ms / 1000:.1f} s"
        if self.end == "exited":
            status = self.exit_status or 0
            return f"ended by signal {-status} {took}" if status < 0 else f"exit status {status} {took}"
        return {
            "not_started": f"could not be started: {self.why}",
            "interrupted": f"interrupted {took}",
            "too_long": f"ended, because it took too long, {took}",
            "too_much": f"ended, because it wrote more than {OUTPUT_BYTES_MAX} bytes, {took}",
        }[self.end]


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The record of one run; its own digest stands in the ledger, and `output` is what the command wrote."""

    session: str
    step: str
    key: str
    validator: bool
    command: tuple[str, ...]  # without what looks like a secret
    began_at: str
    ran: Ran
    output: str  # PATH#sha256=HEX
    saw: tuple[str, ...]  # outputs of the step as they were on record when it began, likewise
    schema: Literal["rspp-run-v1"] = "rspp-run-v1"


def safe_name(text: str) -> str:
    """A file's name for a key; where characters had to go it ends with a digest, so that two keys never share one."""
    name = _UNSAFE.sub("_", text).strip("._")[:NAME_CHARACTERS_MAX]
    return name if name == text else f"{name or 'key'}-{sha256(text.encode()).hexdigest()[:8]}"


def proof_folder(folder: Path, session: str, step: str) -> Path:
    made = folder / PROOF_FOLDER / safe_name(session) / safe_name(step)
    made.mkdir(parents=True, exist_ok=True)
    return made


def fresh(folder: Path, stem: str, suffix: str) -> Path:
    """A file that was not there, now made and empty: what was recorded before is never written over."""
    for number in range(1, RUNS_MAX + 1):
        path = folder / f"{stem}.{number}{suffix}"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        except FileExistsError:
            continue
        return path
    raise LimitReached(
        "manifest_runs_exhausted",
        f"{stem} was run {RUNS_MAX} times in this step. End the step and begin another one.",
    )


def shown(command: Sequence[str]) -> tuple[str, ...]:
    """The command as it may be written down."""
    words = (word.encode("utf-8", "backslashreplace").decode() for word in command)
    return tuple(without_secrets(word, Kind.FREE) for word in words)


def save(path: Path, content: bytes) -> None:
    """On the disk before anybody refers to it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


# ---- running ---------------------------------------------------------------------------------------------------------


def execute(
    command: Sequence[str], output: Path, *, limit_s: float | None, echo: Callable[[bytes], None]
) -> Ran:
    """Run it to its end, everything it writes into `output`, and to whoever watches."""
    began = time.monotonic()
    # Being told to end before the command has quite begun must end it all the same.
    with output.open("wb") as file, _told_to_end() as asked:
        try:
            process = _started(command, file)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            return Ran(end="not_started", exit_status=None, took_ms=_ms_since(began), why=why)
        try:
            end = _until_it_ends(process, output, began, limit_s, echo, asked)
        finally:
            _end(process)
        if output.stat().st_size > OUTPUT_BYTES_MAX:
            file.truncate(OUTPUT_BYTES_MAX)
        os.fsync(file.fileno())
    return Ran(end=end, exit_status=process.returncode, took_ms=_ms_since(began))


def _started(command: Sequence[str], output: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - whoever calls chose the command; no shell reads it
        list(command),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _until_it_ends(
    process: subprocess.Popen[bytes],
    output: Path,
    began: float,
    limit_s: float | None,
    echo: Callable[[bytes], None],
    asked: Event,
) -> End:
    with output.open("rb") as written:
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
            over = process.returncode is not None
            while new := written.read(65_536):
                echo(new)
                if written.tell() > OUTPUT_BYTES_MAX:
                    return "too_much"
            if over:
                return "exited"
            if asked.is_set():
                return "interrupted"
            if limit_s is not None and time.monotonic() - began > limit_s:
                return "too_long"


def _end(process: subprocess.Popen[bytes]) -> None:
    """The command and all that it started: asked first while it still runs, then made to."""
    try:
        if process.poll() is None:
            _signal(process, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
    finally:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextmanager
def _told_to_end() -> Iterator[Event]:
    """Whether we are told to end meanwhile, by Ctrl-C or otherwise: the command is ended then, and that is recorded."""
    asked = Event()

    def ask(_number: int, _frame: object) -> None:
        asked.set()

    before = {}
    with suppress(ValueError):  # not the main thread: there nobody is told
        before = {number: signal.signal(number, ask) for number in TOLD_BY}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ms_since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
