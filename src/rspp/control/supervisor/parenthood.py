"""A child does not outlive its supervisor: the kernel kills it when that one dies, however it dies."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1


def die_with_parent(parent_pid: int) -> bool:
    """False if the parent is gone already: then nobody would ever end us. Elsewhere than on Linux the channel's end must do."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent_pid
