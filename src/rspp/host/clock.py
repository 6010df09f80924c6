"""The machine's own clocks."""

from __future__ import annotations

import time


class MachineClock:
    """Monotonic time for everything that is decided, the time of day for people."""

    __slots__ = ()

    # The functions themselves: they are asked for each frame of each session.
    now = staticmethod(time.monotonic_ns)
    wall = staticmethod(time.time_ns)
