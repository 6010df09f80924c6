"""A child does not outlive its supervisor: the kernel kills it when that one dies, however it dies. And who serves no calls steps
back for those who do.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

PR_SET_PDEATHSIG: Final = 1
# On a core that is full it gets a tenth of it, so that it is slow and not gone.
STEPS_BACK: Final = 10
# Where Linux weighs sessions of processes and not processes, it is the session that has to step back.
OWN_GROUP: Final = Path("/proc/self/autogroup")


def die_with_parent(parent_pid: int) -> bool:
    """False if the parent is gone already: then nobody would ever end us. Elsewhere than on Linux the channel's end must do."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent_pid


def step_back() -> None:
    """From now on this process, and what it begins, gets what processes beside it leave over; it cannot be taken back."""
    os.nice(STEPS_BACK)
    with suppress(OSError):
        OWN_GROUP.write_text(f"{STEPS_BACK}\n")
