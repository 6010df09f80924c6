"""Where a session goes, decided from what is known and nothing else: equal places, wish and policy give an equal answer.

    fit        lives, is ready, takes sessions, has room, may have this tenant, has what is asked for
    region     of those with a fit place: the nearest, or by shares, whichever the policy says
    place      of two in it that the session's name picks by hash, the one that bears less

Two by hash, for a view is never quite new: if all went to the emptiest place that everybody sees, it would be the fullest
by the next view. The hash is rendezvous hashing, so a place that comes or goes moves only its own sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from hashlib import blake2b
from math import log
from typing import Final

import msgspec

from rspp.control.authority.members import GONE, MemberState
from rspp.control.fleet.places import TRANSPORTS, Place
from rspp.control.fleet.regions import RegionMode

CANDIDATES: Final = 2
RETRY_MS: Final = 2_000
# What will not change by itself soon: to be told to try again would be a lie.
_LASTING: Final = frozenset({"region_not_allowed", "label_missing", "version_unfit", "transport_missing"})
_NOBODY: Final[Mapping[str, RegionMode]] = {}


class Prefer(StrEnum):
    NEAREST = "nearest"  # the region with the least latency
    SHARES = "shares"  # regions share sessions by weight


class RoutingPolicy(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What an operator sets about routing. A region without a weight has no share while another has one."""

    prefer: Prefer = Prefer.NEAREST
    shares: dict[str, float] = {}
    load_max: float = 1.0
    latency_ms_max: int = 0  # regions beyond it are not taken; 0 takes them all
    retry_after_ms: int = RETRY_MS


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a session that looks for a place."""

    tenant_id: str
    session_id: str
    pipeline_version: str = ""
    transport_kind: str = ""
    region: str = ""  # the nearest, as the caller's side says; `latencies_ms` is better where it is known
    latencies_ms: dict[str, float] = {}
    regions_allowed: frozenset[str] | None = None  # None: nobody has said where the tenant must be
    labels: dict[str, str] = {}
    versions: dict[str, tuple[str, ...]] = {}  # of a component, those that will do
    avoid: frozenset[str] = frozenset()  # members that it comes from


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """Where it goes, and why there."""

    place: Place
    region_why: str
    place_why: str


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Nowhere: for each place why not. The message counts reasons and names no member; it may be told to a caller."""

    code: str
    message: str
    retry_after_ms: int | None
    unfit: dict[str, str]


def choose(
    places: Sequence[Place],
    wish: Wish,
    policy: RoutingPolicy | None = None,
    modes: Mapping[str, RegionMode] = _NOBODY,
) -> Chosen | Refusal:
    """The place for a session, or why there is none."""
    policy = policy or RoutingPolicy()
    unfit: dict[str, str] = {}
    fit: dict[str, list[Place]] = {}
    for place in places:
        reason = why_not(place, wish, policy, modes)
        if reason is None:
            fit.setdefault(place.region, []).append(place)
        else:
            unfit[place.id] = reason
    if not fit:
        return _refused(places, unfit, policy)
    region, region_why = _region(sorted(fit), wish, policy)
    place, place_why = _place(fit[region], wish)
    return Chosen(place=place, region_why=region_why, place_why=place_why)


def why_not(
    place: Place, wish: Wish, policy: RoutingPolicy, modes: Mapping[str, RegionMode] = _NOBODY
) -> str | None:
    """What speaks against a place, the most lasting first; None if nothing does."""
    return _never(place, wish) or _not_there(place, wish, policy, modes) or _not_now(place, wish, policy)


def _never(place: Place, wish: Wish) -> str | None:
    """What the place is, and the session may not have."""
    if wish.regions_allowed is not None and place.region not in wish.regions_allowed:
        return "region_not_allowed"
    if wish.labels and any(place.labels.get(name) != value for name, value in wish.labels.items()):
        return "label_missing"
    if wish.versions and any(place.versions.get(part) not in those for part, those in wish.versions.items()):
        return "version_unfit"
    if wish.transport_kind and not _has_transport(place, wish.transport_kind):
        return "transport_missing"
    return None


def _not_there(
    place: Place, wish: Wish, policy: RoutingPolicy, modes: Mapping[str, RegionMode]
) -> str | None:
    """What speaks against its region, for as long as somebody wants it so."""
    mode = modes.get(place.region, RegionMode.OPEN)
    if mode is not RegionMode.OPEN:
        return f"region_{mode.value}"
    if policy.latency_ms_max and wish.latencies_ms.get(place.region, 0.0) > policy.latency_ms_max:
        return "too_far"
    return None


def _not_now(place: Place, wish: Wish, policy: RoutingPolicy) -> str | None:
    """What may be otherwise in a moment."""
    if not place.healthy or place.state in GONE:
        return "unhealthy"
    if place.state is not MemberState.UP:
        return place.state.value
    if not place.ready:
        return f"not_ready:{','.join(place.reasons)}" if place.reasons else "not_ready"
    if place.id in wish.avoid:
        return "avoided"
    if place.sessions >= place.capacity:
        return "full"
    return "overloaded" if place.load >= policy.load_max else None


def _has_transport(place: Place, kind: str) -> bool:
    named = place.labels.get(TRANSPORTS)
    return named is None or kind in named.split(",")


def _region(regions: Sequence[str], wish: Wish, policy: RoutingPolicy) -> tuple[str, str]:
    """Of regions with a fit place, in the order of their names, the one to take."""
    if policy.prefer is Prefer.SHARES:
        weighed = [region for region in regions if policy.shares.get(region, 0.0) > 0.0]
        if weighed:
            picked = max(weighed, key=lambda region: _lot(wish, f"region {region}", policy.shares[region]))
            return picked, "share"
    known = [region for region in regions if region in wish.latencies_ms]
    if known:
        return min(known, key=lambda region: wish.latencies_ms[region]), "least_latency"
    if wish.region in regions:
        return wish.region, "nearest"
    return max(regions, key=lambda region: _lot(wish, f"region {region}")), "only" if len(
        regions
    ) == 1 else "hash"


def _place(places: Sequence[Place], wish: Wish) -> tuple[Place, str]:
    """The one that bears less of the two that the name picks; equals are told apart by the hash, and then by their ids."""
    timely = [place for place in places if not place.late] or places
    ranked = sorted(timely, key=lambda place: (-_lot(wish, f"member {place.id}"), place.id))
    first, *others = ranked[:CANDIDATES]
    if not others:
        return first, "only"
    picked = min(first, *others, key=lambda place: place.fullness)
    return picked, "less_loaded_of_two"


def _lot(wish: Wish, name: str, weight: float = 1.0) -> float:
    """A session's lot for a name: the one with the largest wins, in proportion to its weight."""
    data = f"{len(wish.tenant_id)}:{wish.tenant_id}:{wish.session_id}\0{name}".encode(errors="replace")
    # 52 bits and a half: neither 0, which has no logarithm, nor 1, whose logarithm cannot be divided by.
    drawn = (int.from_bytes(blake2b(data, digest_size=8).digest()) >> 12) + 0.5
    return -weight / log(drawn / 2**52)


def _refused(places: Sequence[Place], unfit: Mapping[str, str], policy: RoutingPolicy) -> Refusal:
    counts: dict[str, int] = {}
    for reason in unfit.values():
        kind = reason.partition(":")[0]
        counts[kind] = counts.get(kind, 0) + 1
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    lasting = bool(places) and set(counts) <= _LASTING
    return Refusal(
        code=_code(set(counts)),
        message=f"no worker can take the session: {told or 'there is none'}",
        retry_after_ms=None if lasting else policy.retry_after_ms,
        unfit=dict(unfit),
    )


def _code(kinds: set[str]) -> str:
    """The code of what keeps the session out; where reasons differ, of what stands in the way of those that might do."""
    if not kinds:
        return "route_no_workers"
    near = kinds - _LASTING
    if not near:
        return "residency_denied" if "region_not_allowed" in kinds else "route_unfit"
    if near <= {"full", "overloaded"}:
        return "fleet_full"
    if all(kind.startswith("region_") for kind in near):
        return "regions_closed"
    return "route_unfit"
