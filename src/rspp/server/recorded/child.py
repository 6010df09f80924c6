"""A process that reads recordings for a server, so that a long call, or a hostile one, costs its loop nothing.

It is given the bytes and gives structs back; it opens no store and no file of the data folder, gives way to everything else
on the machine, and may take `MEMORY_BYTES_MAX` and no more. It ends when the other side is gone.
"""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import BinaryIO, Final

from rspp.contract.errors import RsppError
from rspp.server.recorded import job as j
from rspp.server.recorded.work import done

# An hour with the sound of both sides takes less than a third of it.
MEMORY_BYTES_MAX: Final = 6 * 1024 * 1024 * 1024
NICER: Final = 5
UNREADABLE: Final = "recording_unreadable"
TOO_LARGE: Final = "recording_too_large"


def main() -> None:
    os.nice(NICER)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    # What is imported here may write to its standard output: that must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while answer(sys.stdin.buffer, answers):
        pass


def answer(questions: BinaryIO, answers: BinaryIO) -> bool:
    """One job; False where there are no more."""
    header = j.read_header(questions)
    if header is None:
        return False
    job = j.JOB(header)
    parts = [[j.read_blob(questions, one.size) for one in source.pieces] for source in job.sources]
    blobs: list[bytes] = []
    failure: j.Failure | None = None
    try:
        blobs = done(job, parts)
    except RsppError as error:
        failure = j.Failure(error.code, error.message)
    except MemoryError:
        failure = j.Failure(TOO_LARGE, "it takes more memory than one recording may")
    except Exception as error:  # noqa: BLE001 - a recording may say anything: whatever that leads to is told, and the next is read
        failure = j.Failure(UNREADABLE, f"it cannot be read: {type(error).__name__}")
    reply = j.Reply(failure=failure, sizes=tuple(map(len, blobs)), rss_bytes=held_bytes())
    j.write_frame(answers, j.ENCODE(reply), blobs)
    return True


def held_bytes() -> int:
    """The memory that this process holds now, where the system says it.

    The most that it ever held is no measure: a new process begins with what its parent held, so a large server's would look large.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
