"""What the probes answer: alive is who can still answer, ready is who may be sent new sessions. Pure.

A dependency that fails (store, provider, membership) makes a process not ready and leaves it alive: a restart would not
bring the dependency back, and would lose the sessions. Only a loop that has stopped makes it dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from rspp.control.supervisor.words import State


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """One child, as its supervisor sees it. No state: it has not begun to serve."""

    name: str
    pid: int
    starting: bool
    silent_ms: int
    endpoint: str = ""  # its own, for callers whose session is there; its own probes are beside it
    state: State | None = None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """An answer to a probe, and why."""

    ok: bool
    reasons: tuple[str, ...] = ()
    workers: tuple[Seen, ...] = ()

    @property
    def status(self) -> HTTPStatus:
        return HTTPStatus.OK if self.ok else HTTPStatus.SERVICE_UNAVAILABLE

    @property
    def body(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"


def is_wedged(seen: Seen, wedged_ms: int) -> bool:
    """It serves, and its loop has not been heard of for too long."""
    return not seen.starting and seen.silent_ms >= wedged_ms


def live(workers: Mapping[str, Seen], wedged_ms: int) -> Health:
    """Somebody lives, or comes to life: else whoever watches the whole should start it anew."""
    wedged = tuple(name for name, seen in workers.items() if is_wedged(seen, wedged_ms))
    reasons = tuple(f"{name}: no sign of its loop for {workers[name].silent_ms} ms" for name in wedged)
    return Health(ok=len(wedged) < max(1, len(workers)), reasons=reasons, workers=tuple(workers.values()))


def ready(workers: Mapping[str, Seen], wedged_ms: int, *, stopping: bool) -> Health:
    """At least one may be sent new sessions."""
    reasons: list[str] = ["stopping"] if stopping else []
    able = 0
    for name, seen in workers.items():
        if is_wedged(seen, wedged_ms):
            reasons.append(f"{name}: wedged")
        elif seen.state is None:
            reasons.append(f"{name}: starting")
        elif seen.state.draining or not seen.state.ready:
            reasons += [f"{name}: {why}" for why in seen.state.reasons or ("draining",)]
        else:
            able += 1
    return Health(ok=able > 0 and not stopping, reasons=tuple(reasons), workers=tuple(workers.values()))
