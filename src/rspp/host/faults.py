"""Who raised, or stood in everybody's way: told in the log, and counted by a name that no caller can make more of."""

from __future__ import annotations

import logging

from rspp.host.alerts import Alert
from rspp.host.watchdog import Blame

log = logging.getLogger("rspp.host")


class Faults:
    """The table of one process."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}  # bounded: by the names of parts, nodes and error types

    def raised(self, what: str, error: BaseException, session_id: str = "") -> None:
        self._count(f"{_part(what)}:{type(error).__name__}")
        log.error("%s of session %s failed", what, session_id or "none", exc_info=error)

    def blocked(self, blame: Blame) -> None:
        """Somebody kept the loop from everybody else; only told, for what was to be done was done by the watchdog."""
        # Without the session or the number in a task's name: this table is not to grow with them.
        self._count(f"blocked:{blame.node_id or _part(blame.what).rstrip('-0123456789')}")
        log.warning(
            "the loop stood for %d ms: node %s, %s, session %s, at %s",
            blame.blocked_ms,
            blame.node_id or "none",
            blame.what,
            blame.session_id or "none",
            blame.stack[0] if blame.stack else "unseen",
        )

    def _count(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1


def _part(what: str) -> str:
    return what.partition("#")[0].partition("/")[0]


def alerted(alert: Alert) -> None:
    log.warning("%s: %s", alert.name, alert.message)
