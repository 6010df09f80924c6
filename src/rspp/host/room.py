"""Whether a process that decides alone has room for one more. What is another tenant's is told to nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from rspp.host.ports import Bootstrap, Refused
from rspp.host.session import LiveSession


class Bounds(Protocol):
    """Of the host's settings, those that say how many there may be."""

    @property
    def sessions_max(self) -> int: ...
    @property
    def tenant_sessions_max(self) -> int: ...
    @property
    def retry_after_ms(self) -> int: ...


def why_not(bootstrap: Bootstrap, sessions: Mapping[str, LiveSession], bounds: Bounds) -> Refused | None:
    """The refusal of whoever asks, if they get no room."""
    sessions_max, retry_after_ms, tenant = bounds.sessions_max, bounds.retry_after_ms, bootstrap.tenant_id
    full = Refused("sessions_full", f"all {sessions_max} sessions are taken", retry_after_ms)
    if len(sessions) >= sessions_max:
        return full
    if bounds.tenant_sessions_max:
        taken = sum(1 for session in sessions.values() if session.tenant_id == tenant)
        if taken >= bounds.tenant_sessions_max:
            return Refused("tenant_sessions_full", f"the tenant has its {taken} sessions", retry_after_ms)
    known = None if bootstrap.session_id is None else sessions.get(bootstrap.session_id)
    if known is None:
        return None
    if known.tenant_id != tenant:
        # That another tenant has it is nobody's business: here is no room, as if all places were taken.
        return full
    return Refused("session_exists", "a session of this name runs; resume it", None)
