"""The manifest's work sessions, as an operator sees them: what runs, what waits for somebody, what stopped and why.

Each is a record under its own id in bucket `work`, one revision for each line of its manifest's trace: `line` is a fact of the
row, so that each line is a change, and one record of the journal. Of it only what is named here is read; the rest is shown by
`rspp.control.fleet.work`.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

import msgspec

from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut

WORK: Final = "work"
STOPPED: Final = frozenset({"stopped", "failed", "blocked"})
WAITING: Final = frozenset({"waiting", "paused"})
OVER: Final = frozenset({"passed", "done", "abandoned"})


class _Requirement(msgspec.Struct, frozen=True):
    what: str
    ref: str = ""


class _Work(msgspec.Struct, frozen=True):
    id: str
    state: str
    kind: str = ""
    step: str = ""
    goal: str = ""
    reason: str = ""
    author: str = ""
    since_ms: int = 0
    line: int = 0
    steps: int = 0
    steps_done: int = 0
    next_goal: str = ""
    requirements: tuple[_Requirement, ...] = ()


_DECODE: Final = msgspec.json.Decoder(_Work).decode


def row_of(key: str, value: bytes) -> Row | None:
    """A work session; None for what is none, or not that of its key."""
    try:
        work = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if quote(work.id, safe="") != key:
        return None
    level, reason, message = _standing(work)
    return Row(
        aggregate_id=cut(work.id),
        state=cut(work.state),
        level=level,
        reason=reason,
        message=message,
        since_ms=work.since_ms,
        facts={
            "kind": cut(work.kind),
            "step": cut(work.step),
            "goal": cut(work.goal),
            "author": cut(work.author),
            "steps": work.steps,
            "steps_done": work.steps_done,
            "line": work.line,
        },
        over=work.state in OVER,
    )


def _standing(work: _Work) -> tuple[Level, str, str]:
    """Level, reason and message. What still requires something stopped, whatever it calls itself: no signal helps it."""
    at = work.step or "its beginning"
    unmet = [one.what for one in work.requirements if not one.ref]
    if work.state in STOPPED or (work.state in WAITING and unmet):
        why = f": {work.reason}" if work.reason else ""
        needs = f". It requires: {'; '.join(unmet)}" if unmet else ""
        reason, message = "work_stopped", f"{work.id} stopped at {at}{why}{needs}"
        return Level.DEGRADED, reason, cut(message)
    if work.state in WAITING:
        goal = f" to begin: {work.next_goal}" if work.next_goal else ""
        reason, message = "work_waiting", f"{work.id} waits after {at} for the signal{goal}"
        return Level.NOTICE, reason, cut(message)
    return Level.OK, "", ""


SURFACE: Final = Surface(
    name="runtime_work_session",
    owner=__name__,
    summary="The manifest's work sessions: where each stands after the last line of its trace.",
    aggregate_type="work_session",
    storage=f"kv:{WORK}",
    truth=Truth.CANONICAL,
    read="GET /v1/work",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(WORK),
    row=row_of,
)
