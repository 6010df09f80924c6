"""The manifest's work sessions, as an operator sees them: what runs, what waits for somebody, what stopped and why.

Each is a record under its own id in bucket `work`. Of it only what is named here is read; the rest is the manifest's.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.surface import Coverage, Kept, Level, Row, Surface, Truth, cut

WORK: Final = "work"
STOPPED: Final = frozenset({"stopped", "failed", "blocked"})
WAITING: Final = frozenset({"waiting", "paused"})
OVER: Final = frozenset({"passed", "done", "abandoned"})


class _Work(msgspec.Struct, frozen=True):
    id: str
    state: str
    kind: str = ""
    step: str = ""
    reason: str = ""
    author: str = ""
    since_ms: int = 0
    steps: int = 0
    steps_done: int = 0


_DECODE: Final = msgspec.json.Decoder(_Work).decode


def row_of(key: str, value: bytes) -> Row | None:
    """A work session; None for what is none, or not that of its key."""
    try:
        work = _DECODE(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if work.id != key:
        return None
    level, reason, message = Level.OK, "", ""
    if work.state in STOPPED:
        level, reason = Level.DEGRADED, "work_stopped"
        message = cut(f"{work.id} stopped at {work.step or 'its beginning'}: {work.reason}")
    elif work.state in WAITING:
        level, reason = Level.NOTICE, "work_waiting"
        message = cut(f"{work.id} waits at {work.step or 'its beginning'}: {work.reason}")
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
            "author": cut(work.author),
            "steps": work.steps,
            "steps_done": work.steps_done,
        },
        over=work.state in OVER,
    )


SURFACE: Final = Surface(
    name="runtime_work_session",
    owner=__name__,
    summary="The manifest's work sessions; nothing writes any before there is a manifest.",
    aggregate_type="work_session",
    storage=f"kv:{WORK}",
    truth=Truth.CANONICAL,
    read="GraphQL work",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=Kept(WORK),
    row=row_of,
)
