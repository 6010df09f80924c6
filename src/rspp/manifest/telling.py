"""What those who watch are told of a manifest: one snapshot for each line of its trace, in order, and never twice by intent.

Who takes them (a store with a journal, a test) is behind `Tells`, so that a manifest needs no server. What cannot be told
fails no update: the trace has it, and it is told with the next one. A teller may get a line again, from another process
that cannot know; `WorkSnapshot.line` and `.trace` tell it apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from rspp.manifest.document import Ledgers, ResumeTarget, Routing
from rspp.manifest.refused import Missing


class WorkSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run of work stood after one line of its trace. The field names are what consoles and journals read."""

    id: str  # SESSION_ID
    state: str  # blank, running, waiting, stopped, failed, done
    kind: str = ""  # ROUTING's PIPE_SELECTED, else its ARTIFACT_TYPE
    step: str = ""  # STEP_ID
    goal: str = ""
    reason: str = ""  # why it waits, stopped or failed; "" while it runs
    author: str = ""  # who said the update
    since_ms: int = 0  # when this state began
    line: int = 0  # the line's number, from 1
    trace: str = ""  # the line's digest
    begun: str = ""  # the digest of the session's first line: another one's is another session of that name
    begun_at_ms: int = 0
    what: str = ""  # the update's name
    steps: int = 0  # begun so far
    steps_done: int = 0  # of them ended in PASS
    updated_at_ms: int = 0
    routing: Routing = Routing()
    ledgers: Ledgers = Ledgers()
    missing: tuple[Missing, ...] = ()  # of the newest line only: it is about files as they are now
    requirements: tuple[str, ...] = ()
    resume_allowed: bool = False
    target: ResumeTarget = ResumeTarget()
    folder: str = ""  # its name, never a whole path
    result: dict[str, Any] = {}  # LAST_RESULT, by its keys


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a trace: its number, and its digest."""

    line: int
    trace: str


class Tells(Protocol):
    """Who is told. Called under the manifest's lock, so it answers soon or raises."""

    def told(self, snapshots: Sequence[WorkSnapshot]) -> None:
        """Take these, oldest first; raises when it cannot, and then gets them again with the next update."""
        ...

    def signal(self, session: str, step: str) -> str | None:
        """The signal that an operator gave to go on after this step of this session, taken by asking; None: none."""
        ...


@runtime_checkable
class Remembers(Tells, Protocol):
    """One who also knows what was told before, by whatever process: only what it lacks is told then."""

    def last(self, session: str) -> Mark | None:
        """The line that was told last of the session of this name, which may be another one's; None: none."""
        ...
