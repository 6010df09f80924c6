"""A place is one worker as routing sees it: what it can take, and whether anything speaks against it."""

from __future__ import annotations

from typing import Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.control.authority.members import GONE, MemberState, Seen, is_silent

# A member renews every third of its ttl: after two thirds it is late, and others are asked first.
LATE_OF_TTL: Final = 2 / 3
# The label in which a worker names its transports, with commas; without it, it is thought to have them all.
TRANSPORTS: Final = "transports"
# The label in which a worker names, with commas, the pipelines of its own files; without it, it serves what is published.
PIPELINES: Final = "pipelines"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. `healthy` is whether it lives; `ready` whether it says itself that it can serve."""

    id: str
    endpoint: str = ""
    region: str = "local"
    zone: str = ""
    state: MemberState = MemberState.UP
    healthy: bool = True
    late: bool = False  # a sign of life is overdue: the last to be chosen
    ready: bool = True
    reasons: tuple[str, ...] = ()  # why it is not ready
    capacity: int = 0
    sessions: int = 0
    load: float = 0.0
    versions: dict[str, str] = {}
    labels: dict[str, str] = {}

    @property
    def fullness(self) -> float:
        """How much of what it can bear it bears: of its sessions or of its load, whichever is more."""
        return max(self.sessions / self.capacity if self.capacity > 0 else 1.0, self.load)


def own_pipelines(place: Place) -> tuple[str, ...]:
    """What it serves from files, each as `name@version`; nothing where it serves what is published."""
    return tuple(filter(None, place.labels.get(PIPELINES, "").split(",")))


def place_of(seen: Seen, now: int) -> Place:
    """A member's record as a place, at this time of the clock that saw it."""
    member = seen.member
    return Place(
        id=member.id,
        endpoint=member.endpoint or member.shared_endpoint,
        region=member.region,
        zone=member.zone,
        state=member.state,
        healthy=member.state not in GONE and not is_silent(seen, now),
        late=now - seen.at > member.ttl_ms * LATE_OF_TTL * NS_PER_MS,
        ready=member.ready,
        reasons=member.reasons,
        capacity=member.capacity,
        sessions=member.sessions,
        load=member.load,
        versions=member.versions,
        labels=member.labels,
    )
