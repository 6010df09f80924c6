"""A tenant's sessions are processed, and what is left of them is kept, where its residency policy lets them be, and nowhere else.

A policy names regions, or jurisdictions: named sets of regions. Where nobody has said anything about a tenant, it may be
anywhere. Where something was said that cannot be read, or names what there is not, it may be nowhere: a mistake must not
let data out. What may be kept somewhere may not for that reason be processed there, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.control.names import CONFIG, key, parts
from rspp.host.ports import Entry, Store

KIND: Final = "residency"
JURISDICTION: Final = "jurisdiction"
# Before a name in a policy that is of a jurisdiction and not of a region.
OF_JURISDICTION: Final = "jurisdiction:"
REGIONS_MAX: Final = 256


class Use(StrEnum):
    PROCESS = "process"  # run a session
    STORE = "store"  # keep its state, timeline or recording


class Residency(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One tenant's policy. Each use names its regions; None is anywhere, and nothing is nowhere."""

    tenant_id: str
    process: tuple[str, ...] | None = None
    store: tuple[str, ...] | None = None
    author: str = ""
    reason: str = ""


class Jurisdiction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A named set of regions, such as those of one legal space."""

    name: str
    regions: tuple[str, ...]
    author: str = ""
    reason: str = ""


class ResidencyRules(msgspec.Struct, frozen=True, kw_only=True):
    """All that was said about residency. `unreadable` are tenants of whom something was said that cannot be read."""

    tenants: Mapping[str, Residency] = {}
    jurisdictions: Mapping[str, Jurisdiction] = {}
    unreadable: frozenset[str] = frozenset()

    def regions(self, tenant_id: str, use: Use) -> frozenset[str] | None:
        """Where this may be done with a tenant's sessions; None is anywhere."""
        if tenant_id in self.unreadable:
            return frozenset()
        policy = self.tenants.get(tenant_id)
        named = None if policy is None else (policy.process if use is Use.PROCESS else policy.store)
        if named is None:
            return None
        found: set[str] = set()
        for name in named:
            if name.startswith(OF_JURISDICTION):
                known = self.jurisdictions.get(name.removeprefix(OF_JURISDICTION))
                found.update(known.regions if known is not None else ())
            else:
                found.add(name)
        return frozenset(found)

    def may_process(self, tenant_id: str, region: str) -> bool:
        return _within(self.regions(tenant_id, Use.PROCESS), region)

    def may_store(self, tenant_id: str, region: str) -> bool:
        return _within(self.regions(tenant_id, Use.STORE), region)

    def may(self, tenant_id: str, region: str, use: Use) -> bool:
        return _within(self.regions(tenant_id, use), region)


def _within(regions: frozenset[str] | None, region: str) -> bool:
    return regions is None or region in regions


# ---- in the store --------------------------------------------------------------------------------------------------------

_RESIDENCY: Final = msgspec.json.Decoder(Residency).decode
_JURISDICTION: Final = msgspec.json.Decoder(Jurisdiction).decode
_ENCODE: Final = msgspec.json.Encoder(order="deterministic").encode


def rules_of(entries: list[Entry]) -> ResidencyRules:
    """What these records say together. A record whose tenant is not that of its key says nothing that can be relied on."""
    tenants: dict[str, Residency] = {}
    jurisdictions: dict[str, Jurisdiction] = {}
    unreadable: set[str] = set()
    for entry in entries:
        kind, _, rest = entry.key.partition("/")
        name = parts(rest)[0]
        try:
            if kind == KIND:
                policy = _RESIDENCY(entry.value)
                if policy.tenant_id != name:
                    raise msgspec.ValidationError("another tenant's")
                tenants[name] = policy
            elif kind == JURISDICTION:
                jurisdiction = _JURISDICTION(entry.value)
                if jurisdiction.name == name:
                    jurisdictions[name] = jurisdiction
        except (msgspec.DecodeError, UnicodeDecodeError):
            if kind == KIND:
                unreadable.add(name)  # a jurisdiction that cannot be read is none, so nobody is in it
    return ResidencyRules(tenants=tenants, jurisdictions=jurisdictions, unreadable=frozenset(unreadable))


class Residencies:
    """The policies of the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def rules(self) -> ResidencyRules:
        """All of them, as they are now."""
        found = []
        for prefix in (f"{KIND}/", f"{JURISDICTION}/"):
            for name in await self._store.keys(CONFIG, prefix):
                entry = await self._store.get(CONFIG, name)
                if entry is not None:
                    found.append(entry)
        return rules_of(found)

    async def put(self, policy: Residency, *, expect: int | None = None) -> int | None:
        """Say where a tenant may be; None if somebody else was first."""
        for named in (policy.process, policy.store):
            _check(named or (), policy.author, policy.reason)
        return await self._store.put(CONFIG, key(KIND, policy.tenant_id), _ENCODE(policy), expect=expect)

    async def put_jurisdiction(self, jurisdiction: Jurisdiction, *, expect: int | None = None) -> int | None:
        _check(jurisdiction.regions, jurisdiction.author, jurisdiction.reason)
        return await self._store.put(
            CONFIG, key(JURISDICTION, jurisdiction.name), _ENCODE(jurisdiction), expect=expect
        )


def _check(names: tuple[str, ...], author: str, reason: str) -> None:
    if not author.strip() or not reason.strip():
        raise MisuseError("residency_invalid", "a residency policy is set by somebody, and for a reason")
    if len(names) > REGIONS_MAX or not all(name.strip() for name in names):
        raise MisuseError(
            "residency_invalid", f"a policy names up to {REGIONS_MAX} regions, none of them empty"
        )
