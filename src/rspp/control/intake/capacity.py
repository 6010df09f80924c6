"""How much more one process can bear: admission acts at declared thresholds, before it is overloaded. Pure.

Each resource is measured as a part of what there is: 0 idle, 1 all of it. It has two thresholds:

    below `defer`            whoever comes is let in
    from `defer` on          whoever comes is put off: sessions to another process, turns to a little later
    from `reject` on         whoever comes is refused

A level begins with the first measure that reaches its threshold, and ends when the measures have stayed below a part of it
(`clear`) for a while (`hold_ms`): so it does not flutter. Each change of a resource's level is an event that names the
resource and the value. The severest level of all resources is what the process says of itself.

    model = CapacityModel(CapacityLimits())
    for event in model.look(now, {Resource.CPU: 0.91}): ...
    model.capacity.level, model.capacity.resource, model.capacity.value
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import NS_PER_MS


class Resource(StrEnum):
    CPU = "cpu"  # of the one thread that serves sessions, or of the machine, whichever is busier
    QUEUE_DEPTH = "queue_depth"  # inputs that wait to be served
    PROVIDER_CONCURRENCY = "provider_concurrency"  # calls of providers that run
    SESSIONS = "sessions"


class Level(StrEnum):
    ALLOW = "allow"
    DEFER = "defer"
    REJECT = "reject"


_RANK: Final = {Level.ALLOW: 0, Level.DEFER: 1, Level.REJECT: 2}
Part = Annotated[float, msgspec.Meta(gt=0, le=100)]


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where the two levels of a resource begin, and below which part of that they end."""

    defer: Part
    reject: Part
    clear: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.9
    hold_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 2_000


class CapacityLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a process may take on, and from where on it says no; the absolute numbers are what is called 1."""

    # A thread that is busy for nine tenths of its time lets frames wait for tens of milliseconds; at four fifths it does not.
    cpu: Threshold = Threshold(defer=0.80, reject=0.90)
    queue_depth: Threshold = Threshold(defer=0.50, reject=0.90)
    provider_concurrency: Threshold = Threshold(defer=0.90, reject=1.0)
    sessions: Threshold = Threshold(defer=1.0, reject=1.0, hold_ms=0, clear=1.0)
    # A tenth of a second of work, at 50 microseconds an input.
    queue_inputs_max: Annotated[int, msgspec.Meta(ge=1)] = 2_000
    # What each provider takes at a time of this process; the fullest of them counts, one that is not named is not looked at.
    provider_calls_max: dict[str, Annotated[int, msgspec.Meta(ge=1)]] = {}
    sessions_max: Annotated[int, msgspec.Meta(ge=0)] = 0  # 0: as many as there is room for otherwise

    def __post_init__(self) -> None:
        for resource in Resource:
            threshold: Threshold = getattr(self, resource.value)
            if threshold.reject < threshold.defer:
                raise MisuseError("capacity_invalid", f"{resource.value}: reject begins below defer")


class CapacityEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A resource has reached another level. `limit` is the threshold that was crossed, on the way up or down."""

    resource: Resource
    before: Level
    level: Level
    value: float
    limit: float
    at: int


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """What the process says of itself: its level, and the resource that it is for."""

    level: Level = Level.ALLOW
    resource: Resource | None = None
    value: float = 0.0
    limit: float = 0.0
    load: float = 0.0  # the fullest resource, as a part of where it would put callers off


FREE: Final = Capacity()


class _State(msgspec.Struct):
    level: Level = Level.ALLOW
    value: float = 0.0
    below_since: int | None = None


class CapacityModel:
    """The level of each resource. A resource that is not measured keeps its level: not to know is not to be free."""

    def __init__(self, limits: CapacityLimits) -> None:
        self.limits = limits
        self.capacity = FREE
        self._states = {resource: _State() for resource in Resource}

    def look(self, now: int, measured: Mapping[Resource, float]) -> list[CapacityEvent]:
        """Take what was measured at this time; the levels that changed."""
        events = []
        for resource, value in measured.items():
            event = self._take(now, resource, value)
            if event is not None:
                events.append(event)
        self.capacity = self._worst()
        return events

    def _take(self, now: int, resource: Resource, value: float) -> CapacityEvent | None:
        state, threshold = self._states[resource], self._threshold(resource)
        # What is no number is a broken meter, and tells nothing.
        if value != value:  # noqa: PLR0124 - NaN is the one value that differs from itself
            return None
        before, state.value = state.level, value
        reached = level_of(value, threshold)
        if _RANK[reached] >= _RANK[before]:
            state.below_since = None
            state.level = reached
        elif value < limit_of(threshold, before) * threshold.clear:
            if state.below_since is None:
                state.below_since = now
            if now - state.below_since >= threshold.hold_ms * NS_PER_MS:
                state.below_since = None
                state.level = reached
        else:
            state.below_since = None
        if state.level is before:
            return None
        crossed = state.level if _RANK[state.level] > _RANK[before] else before
        return CapacityEvent(
            resource=resource,
            before=before,
            level=state.level,
            value=value,
            limit=limit_of(threshold, crossed),
            at=now,
        )

    def _worst(self) -> Capacity:
        """The severest level; of several, the resource that is furthest beyond its threshold."""

        def fullness(resource: Resource) -> float:
            return self._states[resource].value / self._threshold(resource).defer

        resource = max(Resource, key=lambda one: (_RANK[self._states[one].level], fullness(one)))
        state, load = self._states[resource], max(map(fullness, Resource))
        if state.level is Level.ALLOW:
            return Capacity(load=load)
        limit = limit_of(self._threshold(resource), state.level)
        return Capacity(level=state.level, resource=resource, value=state.value, limit=limit, load=load)

    def _threshold(self, resource: Resource) -> Threshold:
        threshold: Threshold = getattr(self.limits, resource.value)
        return threshold


def level_of(value: float, threshold: Threshold) -> Level:
    if value >= threshold.reject:
        return Level.REJECT
    return Level.DEFER if value >= threshold.defer else Level.ALLOW


def limit_of(threshold: Threshold, level: Level) -> float:
    return threshold.reject if level is Level.REJECT else threshold.defer


def severer(*words: str) -> str:
    """Of several words of a snapshot's capacity, the one that counts."""
    return max((Level(word) for word in words), key=lambda level: _RANK[level], default=Level.ALLOW).value
