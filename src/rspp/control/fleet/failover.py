"""A region that is in trouble for long enough is left, and one that has been well for longer is used again. Decided here, purely.

Trouble is a number from 0 up: what is wrong with its workers, its room and its providers, each from 0 to 1, by the weight that
the policy gives it, and its incident if somebody has reported one.

    open --(trouble >= fail_at for hold_ms, and another region is well)--> drain or migrate
         <--(trouble <= recover_at for recover_ms)--

Between the two marks nothing changes, so a region does not flap. What an operator has turned or pinned is left as it is, and
where no other region is well the trouble is told and nothing is done: to leave is only better if there is somewhere to go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.control.fleet.places import Place
from rspp.control.fleet.provider_health import FleetHealth, ProviderState
from rspp.control.fleet.regions import Region, RegionMode

AUTHOR: Final = "failover"


class FailoverPolicy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What an operator sets. A weight of 0 leaves a factor out."""

    mode: Literal["drain", "migrate"] = "drain"
    fail_at: float = 0.5
    recover_at: float = 0.2
    hold_ms: int = 10_000
    recover_ms: int = 60_000
    workers_weight: float = 1.0
    room_weight: float = 1.0
    providers_weight: float = 1.0
    incident_weight: float = 1.0
    room_min: float = (
        0.05  # with less of its room free than this, room is a trouble; with none it is one of 1
    )
    # By use, which providers do for each other. Without it each stands for itself.
    provider_groups: dict[str, tuple[str, ...]] = {}

    def __post_init__(self) -> None:
        """Raises ValueError for marks between which a region would flap, and for what is less than nothing."""
        if not 0 <= self.recover_at < self.fail_at:
            raise ValueError("recover_at lies below fail_at, and both above 0")
        weights = (self.workers_weight, self.room_weight, self.providers_weight, self.incident_weight)
        if min(self.hold_ms, self.recover_ms, *weights) < 0 or not 0 <= self.room_min <= 1:
            raise ValueError("times and weights are not below 0, and room_min is from 0 to 1")


class Trigger(msgspec.Struct, frozen=True):
    """One thing that is wrong, from 0 to 1, and its weight."""

    factor: str
    severity: float
    weight: float
    told: str

    @property
    def share(self) -> float:
        return self.severity * self.weight


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one region."""

    region: str
    workers: int = 0
    well: int = 0  # workers that live and are ready, or stop in good order
    capacity: int = 0
    sessions: int = 0
    providers: Mapping[str, FleetHealth] = {}
    incident: str = ""


class Since(msgspec.Struct, frozen=True):
    """Since when a region is in trouble, and since when it is well; None while it is not."""

    ill: int | None = None
    well: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A switch that failover wants turned, and what made it want that."""

    region: Region
    trouble: float
    triggers: tuple[Trigger, ...]


class Decision(msgspec.Struct, frozen=True):
    """What failover has seen and wants. `stuck` are regions in trouble that nothing can be done about."""

    memory: Mapping[str, Since]
    trouble: Mapping[str, float]
    changes: tuple[Change, ...] = ()
    stuck: tuple[str, ...] = ()


def evidence_of(
    region: str, places: Sequence[Place], providers: Mapping[str, FleetHealth], incident: str = ""
) -> Evidence:
    """Gathered from what routing and provider health know."""
    here = [place for place in places if place.region == region]
    serving = [place for place in here if place.healthy and (place.ready or place.state.value == "draining")]
    taking = [place for place in serving if place.state.value == "up"]
    return Evidence(
        region=region,
        workers=len(here),
        well=len(serving),
        capacity=sum(place.capacity for place in taking),
        sessions=sum(min(place.sessions, place.capacity) for place in taking),
        providers=providers,
        incident=incident,
    )


def triggers_of(evidence: Evidence, policy: FailoverPolicy) -> tuple[Trigger, ...]:
    """What is wrong with a region, the worst first."""
    found = [
        _workers(evidence, policy),
        _room(evidence, policy),
        _providers(evidence, policy),
        Trigger("incident", float(bool(evidence.incident)), policy.incident_weight, evidence.incident),
    ]
    return tuple(sorted((one for one in found if one.share > 0), key=lambda one: -one.share))


def trouble_of(triggers: Sequence[Trigger]) -> float:
    return sum(trigger.share for trigger in triggers)


def decide(
    evidence: Mapping[str, Evidence],
    regions: Mapping[str, Region],
    memory: Mapping[str, Since],
    policy: FailoverPolicy,
    now: int,
    wall_ms: int,
) -> Decision:
    """One look at all regions. `now` is of the clock that `memory` was counted on."""
    found = {name: triggers_of(one, policy) for name, one in sorted(evidence.items())}
    trouble = {name: trouble_of(triggers) for name, triggers in found.items()}
    # A region that is nobody's known, or has no workers, is nowhere to go.
    switches = {name: regions.get(name, Region(name=name)) for name in found}
    memory = {name: _since(memory.get(name, Since()), trouble[name], policy, now) for name in found}
    changes: list[Change] = []
    stuck: list[str] = []
    for name, triggers in found.items():
        switch, since = switches[name], memory[name]
        if switch.pinned:
            continue
        if switch.mode is RegionMode.OPEN and _lasted(since.ill, now, policy.hold_ms):
            if any(_refuge(evidence[other], switches[other], trouble[other], policy) for other in found):
                changes.append(_leave(switch, triggers, trouble[name], policy, wall_ms))
            else:
                stuck.append(name)
        elif switch.automatic and _lasted(since.well, now, policy.recover_ms):
            changes.append(_return(switch, trouble[name], wall_ms))
    return Decision(memory, trouble, tuple(changes), tuple(stuck))


def _since(before: Since, trouble: float, policy: FailoverPolicy, now: int) -> Since:
    ill = trouble >= policy.fail_at
    well = trouble <= policy.recover_at
    return Since(
        (before.ill if before.ill is not None else now) if ill else None,
        (before.well if before.well is not None else now) if well else None,
    )


def _lasted(since: int | None, now: int, ms: int) -> bool:
    return since is not None and now - since >= ms * NS_PER_MS


def _refuge(evidence: Evidence, switch: Region, trouble: float, policy: FailoverPolicy) -> bool:
    """Can sessions go there? Workers that all stop in good order are well, and take nobody."""
    room = evidence.capacity > evidence.sessions
    return switch.mode is RegionMode.OPEN and trouble < policy.fail_at and room


def _leave(
    switch: Region, triggers: Sequence[Trigger], trouble: float, policy: FailoverPolicy, wall_ms: int
) -> Change:
    facts = {one.factor: f"{one.severity:.2f} x {one.weight:g}: {one.told}"[:512] for one in triggers}
    told = "; ".join(f"{one.factor}: {one.told}" for one in triggers)
    region = msgspec.structs.replace(
        switch,
        mode=RegionMode(policy.mode),
        reason=f"trouble {trouble:.2f} of {policy.fail_at:g}: {told}"[:512],
        author=AUTHOR,
        at_wall_ms=wall_ms,
        automatic=True,
        facts=facts | {"trouble": f"{trouble:.2f}", "fail_at": f"{policy.fail_at:g}"},
    )
    return Change(region, trouble, tuple(triggers))


def _return(switch: Region, trouble: float, wall_ms: int) -> Change:
    region = msgspec.structs.replace(
        switch,
        mode=RegionMode.OPEN,
        reason=f"well again: trouble {trouble:.2f}",
        author=AUTHOR,
        at_wall_ms=wall_ms,
        automatic=False,
        facts={"trouble": f"{trouble:.2f}"},
    )
    return Change(region, trouble, ())


def _workers(evidence: Evidence, policy: FailoverPolicy) -> Trigger:
    severity = 1.0 if evidence.workers == 0 else 1.0 - evidence.well / evidence.workers
    told = f"{evidence.well} of {evidence.workers} workers are well"
    return Trigger("workers", severity, policy.workers_weight, told)


def _room(evidence: Evidence, policy: FailoverPolicy) -> Trigger:
    """Room is no trouble where there is nobody to have it: that is the workers' trouble, and is counted once."""
    if evidence.capacity <= 0 or policy.room_min <= 0:
        return Trigger("room", 0.0, policy.room_weight, "")
    free = 1.0 - evidence.sessions / evidence.capacity
    severity = max(0.0, 1.0 - free / policy.room_min)
    return Trigger(
        "room", severity, policy.room_weight, f"{free:.0%} of {evidence.capacity} sessions are free"
    )


def _providers(evidence: Evidence, policy: FailoverPolicy) -> Trigger:
    """With groups, one of which nobody is left is the whole trouble; without, it is the share of providers that are ill."""
    ill = [name for name, one in evidence.providers.items() if one.state is ProviderState.UNHEALTHY]
    told = f"unhealthy: {', '.join(sorted(ill))}"
    if policy.provider_groups:
        down = [use for use, names in policy.provider_groups.items() if names and set(names) <= set(ill)]
        told = f"no provider left for {', '.join(sorted(down))}"
        return Trigger("providers", float(bool(down)), policy.providers_weight, told)
    severity = len(ill) / len(evidence.providers) if evidence.providers else 0.0
    return Trigger("providers", severity, policy.providers_weight, told)
