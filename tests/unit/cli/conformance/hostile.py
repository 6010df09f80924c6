"""Targets that mean harm: they know the line by which results are told, and what they start is to stay."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rspp.host.clock import MachineClock
from rspp.host.pools import Fair


def _results() -> int:
    return int(sys.argv[2])


def garbage() -> Any:
    """Says rubbish before there is anything to be said."""
    os.write(_results(), b'{"type": \xff\n')
    return MachineClock()


def smaller() -> Any:
    """Says that it is made, and that the suite has one check."""
    named = '"names":[["target","can be loaded and made"]]'
    os.write(_results(), f'{{"type":"made","port":"clock","subject":{{"named":"x"}},{named}}}\n'.encode())
    return MachineClock()


class Forges(MachineClock):
    """Says that its checks passed while the first of them runs."""

    def now(self) -> int:
        for number in range(1, 5):
            said = f'{{"category":"units","name":"{number}","verdict":"passed"}}'
            os.write(_results(), f'{{"type":"came","number":{number},"result":{said}}}\n'.encode())
        os.write(_results(), b'{"type":"done"}\n')
        os._exit(0)


class Closes(MachineClock):
    """Closes all that it did not open, as one does who goes to the background."""

    def now(self) -> int:
        os.closerange(3, 256)
        return super().now()


class Stays(MachineClock):
    """Leaves a process behind that nothing binds to this one."""

    def now(self) -> int:
        if not Path("pid").exists():
            left = subprocess.Popen(
                [sys.executable, "-c", "import time; time.sleep(600)"],
                start_new_session=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            Path("pid").write_text(str(left.pid))
        return super().now()


class Good(Fair):
    """Keeps its word."""


class Bad(Fair):
    """Stands in the same file, and says that it is from elsewhere."""


Bad.__module__ = "json"
partly = functools.partial(Good)
