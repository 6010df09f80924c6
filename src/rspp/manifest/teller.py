"""Those who watch are told of each line once, in order; what cannot be told now is told with the next line.

What was told last is known by its line: its number and its digest. In this process it is remembered; before the first word,
whoever takes the lines is asked, if it remembers. Only what comes after that line is told. Where it is no line of this trace
(another session of the same name, a trace that was put back from a copy), all that there is is told.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from rspp.manifest.refused import Missing
from rspp.manifest.snapshots import snapshot, snapshots
from rspp.manifest.telling import Mark, Remembers, Tells, WorkSnapshot
from rspp.manifest.trace import Folded, Trace

log = logging.getLogger("rspp.manifest.teller")

# Of a trace that nobody was told of the newest lines are told; the trace has all.
SNAPSHOTS_MAX: Final = 2_000


class Teller:
    """Between a manifest and whoever takes its snapshots. Nothing that those do fails an update."""

    def __init__(self, tells: Tells | None, trace: Trace, folder: str) -> None:
        self._tells = tells
        self._trace = trace
        self._folder = folder
        self._told: Mark | None = None
        self._warned = False

    def tell(self, folded: Folded, missing: Callable[[], tuple[Missing, ...]]) -> None:
        if self._tells is None or folded.last is None:
            return
        now = Mark(line=folded.lines, trace=folded.digest)
        if self._told == now:
            return
        try:
            new = self._new(folded, self._tells)
            if new and new[-1].state == "running":
                new[-1] = msgspec.structs.replace(new[-1], missing=missing())
            self._tells.told(new)
        except Exception as error:  # noqa: BLE001 - whatever a store does, the update is on disk already
            self._warn("is not told", error)
        else:
            self._told = now
            self._warned = False

    def signal(self, folded: Folded, missing: Callable[[], tuple[Missing, ...]]) -> str:
        """What an operator signalled who saw the work where it is now; "" where nobody did, or it cannot be known.

        So they are told first what they do not know yet. Who remembers another line than ours shows another session of this
        name, and a signal for that one is none for us.
        """
        if self._tells is None:
            return ""
        self.tell(folded, missing)
        if isinstance(self._tells, Remembers) and self._told != Mark(line=folded.lines, trace=folded.digest):
            return ""
        document = folded.document
        try:
            return self._tells.signal(document.SESSION.SESSION_ID, document.CURRENT_STEP.STEP_ID) or ""
        except Exception as error:  # noqa: BLE001 - no signal can be had; the update is refused for want of it
            self._warn("gets no signal", error)
            return ""

    def _new(self, folded: Folded, tells: Tells) -> list[WorkSnapshot]:
        """All that comes after what was told last; the newest line alone where that is all, without reading the trace again."""
        assert folded.last is not None
        told = self._told
        if told is None and folded.lines > 1 and isinstance(tells, Remembers):
            told = tells.last(folded.document.SESSION.SESSION_ID)
        if told == Mark(line=folded.lines, trace=folded.digest):
            return []  # another process told it
        if told == _before(folded):
            return [snapshot(folded, self._folder)]
        after = told.line if told is not None and self._has(told) else 0
        steps = Trace(self._trace.path).steps()
        return list(deque(snapshots(steps, self._folder, after), maxlen=SNAPSHOTS_MAX))

    def _has(self, told: Mark) -> bool:
        """Is it a line of this trace?"""
        return any(
            folded.digest == told.trace
            for folded in Trace(self._trace.path).steps()
            if folded.lines == told.line
        )

    def _warn(self, what: str, error: Exception) -> None:
        if not self._warned:
            log.warning("whoever watches the work %s for now: %s", what, error)
        self._warned = True


def _before(folded: Folded) -> Mark | None:
    """The line before the last one; None before the first."""
    assert folded.last is not None
    return Mark(line=folded.lines - 1, trace=folded.last.prev) if folded.lines > 1 else None
