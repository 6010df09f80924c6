"""Who runs at this moment, for a log line that does not say so itself: the session, its turn and version, and the node."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Protocol

from rspp.host.session import LiveSession
from rspp.host.watchdog import Running

CALL: str = "call:pvi/"


class Seats(Protocol):
    """What this needs of a host."""

    @property
    def running(self) -> Running: ...
    @property
    def sessions(self) -> Mapping[str, LiveSession]: ...


class LogScope:
    """One host's. It is asked on whatever thread logs, and knows something only of the loop's."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._thread = threading.get_ident()

    def __call__(self) -> dict[str, str]:
        if threading.get_ident() != self._thread:
            return {}
        running = self._seats.running
        if running.node_step:
            return self._of(running.session_id, running.node_id)
        if running.what is not None:
            return self._of(running.session_id, None)
        return self._of_task()

    def _of(self, session_id: str | None, node_id: str | None) -> dict[str, str]:
        found = {"session_id": session_id or "", "node_id": node_id or ""}
        session = self._seats.sessions.get(session_id or "")
        if session is not None:
            found["pipeline_version"] = session.request.pipeline_version
            turn = session.kernel.turn()
            if turn is not None:
                found["turn_id"] = turn.id
        return found

    def _of_task(self) -> dict[str, str]:
        """A provider, or a node that waits, runs in a task that is named by its call."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return {}
        name = "" if task is None else task.get_name()
        if not name.startswith(CALL):
            return {}
        call_id = name.removeprefix("call:").rpartition("#")[0]
        session_id = ""
        for part in name.removeprefix(CALL).split("/"):
            session_id = f"{session_id}/{part}" if session_id else part
            session = self._seats.sessions.get(session_id)
            if session is not None:
                asked = session.asked(call_id)
                found = {"session_id": session_id, "pipeline_version": session.request.pipeline_version}
                if asked is not None:
                    found |= {"node_id": asked.node_id, "turn_id": asked.turn_id or ""}
                return found
        return {}
