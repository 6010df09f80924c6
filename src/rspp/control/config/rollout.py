"""Which version a session runs is a pure function of the rollout, the tenant and the session: the same question, the same answer.

    asked for by name          if the rollout lets callers ask for it      `requested`
    tenant on the allow list   the canary                                 `tenant`
    FNV-1a-32 of `tenant:session`, modulo 100, below the percentage       `percent`: the canary
    everybody else             the base                                   `base`

A change makes a new rollout out of the old one and touches no session that runs. While a rollout is frozen nobody new is
led to another version; to go back to one that is known stays possible, because that is what one freezes for.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError, PeerFault

PERCENT_MAX: Final = 100
TENANTS_MAX: Final = 1_000
OPEN_VERSIONS_MAX: Final = 50
BASES_MAX: Final = 50
BY_BUDGET: Final = "error_budget"

_FNV_OFFSET: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193


class Rollout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is served of one pipeline. `bases` are those that were the base before, the last one last."""

    pipeline: str
    base: str
    canary: str | None = None
    percent: int = 0
    tenants: tuple[str, ...] = ()
    open_versions: tuple[str, ...] = ()  # what callers may ask for beside the base and the canary
    bases: tuple[str, ...] = ()
    frozen: bool = False
    frozen_by: str = ""  # a person, or `error_budget`
    frozen_reason: str = ""

    @property
    def served(self) -> tuple[str, ...]:
        """Every version that a new session may get."""
        return tuple(dict.fromkeys((self.base, *([self.canary] if self.canary else []), *self.open_versions)))


class Choice(msgspec.Struct, frozen=True):
    """A version, and which rule led to it."""

    version: str
    why: str  # requested, tenant, percent, base


def fnv1a_32(text: str) -> int:
    value = _FNV_OFFSET
    for byte in text.encode():
        value = ((value ^ byte) * _FNV_PRIME) & 0xFFFFFFFF
    return value


def share_of(tenant_id: str, session_id: str) -> int:
    """0 to 99: the same for the same session for ever."""
    return fnv1a_32(f"{tenant_id}:{session_id}" if tenant_id else session_id) % 100


def choose(rollout: Rollout, tenant_id: str, session_id: str, requested: str | None = None) -> Choice:
    """The version for a new session; raises PeerFault `pipeline_unknown` for one that callers may not ask for."""
    if requested is not None:
        if requested not in rollout.served:
            raise PeerFault("pipeline_unknown", f"{rollout.pipeline}@{requested} is not served")
        return Choice(requested, "requested")
    if rollout.canary is not None:
        if tenant_id in rollout.tenants:
            return Choice(rollout.canary, "tenant")
        if share_of(tenant_id, session_id) < rollout.percent:
            return Choice(rollout.canary, "percent")
    return Choice(rollout.base, "base")


def checked(rollout: Rollout, published: Collection[str]) -> Rollout:
    """The rollout, if it can be one; raises MisuseError otherwise."""
    if not 0 <= rollout.percent <= PERCENT_MAX:
        raise MisuseError(
            "rollout_invalid", f"a percentage is 0 to {PERCENT_MAX}, not {rollout.percent}", "percent"
        )
    if rollout.canary is None and (rollout.percent or rollout.tenants):
        raise MisuseError(
            "rollout_invalid", "without a canary there is nothing to lead a share of sessions to", "canary"
        )
    if rollout.canary == rollout.base:
        raise MisuseError("rollout_invalid", "the canary is the base", "canary")
    bounds = (
        (rollout.tenants, TENANTS_MAX, "tenants"),
        (rollout.open_versions, OPEN_VERSIONS_MAX, "open_versions"),
    )
    for values, most, name in bounds:
        if len(values) > most or len(set(values)) != len(values) or not all(values):
            raise MisuseError("rollout_invalid", f"{name} are at most {most}, each once, none empty", name)
    for version in rollout.served:
        if version not in published:
            raise PeerFault("document_missing", f"{rollout.pipeline}@{version} was never published")
    return rollout


# ---- changes: each gives the next rollout, or raises and changes nothing --------------------------------------------


def begin(pipeline: str, base: str) -> Rollout:
    return Rollout(pipeline=pipeline, base=base)


def canary(rollout: Rollout, version: str, percent: int, tenants: tuple[str, ...] | None = None) -> Rollout:
    """Lead a share of sessions, and all of some tenants, to a version; `tenants` None keeps the list of this canary."""
    kept = rollout.tenants if tenants is None and version == rollout.canary else tenants or ()
    less = version == rollout.canary and percent <= rollout.percent and set(kept) <= set(rollout.tenants)
    if not less:
        _is_not_frozen(rollout)
    return msgspec.structs.replace(rollout, canary=version, percent=percent, tenants=kept)


def promote(rollout: Rollout, version: str | None = None) -> Rollout:
    """The canary becomes the base of all; with `version` only if it is that one, so that nobody promotes what came meanwhile.

    What is the base already, and was promoted by this name, is left as it is.
    """
    if version is not None and rollout.canary is None and rollout.base == version:
        return rollout
    _is_not_frozen(rollout)
    if rollout.canary is None:
        raise MisuseError("rollout_invalid", "there is no canary to promote", "canary")
    if version not in (None, rollout.canary):
        raise MisuseError("rollout_invalid", f"the canary is {rollout.canary}, not {version}", "version")
    return _based(rollout, rollout.canary)


def roll_back(rollout: Rollout, target: str | None = None) -> Rollout:
    """New sessions go to the target at once; without one: the canary is withdrawn, or the former base is base again.

    A way back leads to what was in force, and to nothing else: it waits for nobody's consent, and no freeze holds it up.
    """
    if target is None and rollout.canary is not None:
        target = rollout.base
    if target is None:
        if not rollout.bases:
            raise MisuseError(
                "rollback_target_missing", f"{rollout.pipeline} had no base before {rollout.base}"
            )
        target = rollout.bases[-1]
    if target != rollout.base and target not in rollout.bases:
        message = f"{target} was never the base of {rollout.pipeline}; lead sessions to it as a canary"
        raise MisuseError("rollback_target_missing", message, "version")
    if target in rollout.bases:
        bases = rollout.bases[: rollout.bases.index(target)]
        return msgspec.structs.replace(rollout, base=target, bases=bases, canary=None, percent=0, tenants=())
    return _based(rollout, target)


def open_to_requests(rollout: Rollout, versions: tuple[str, ...]) -> Rollout:
    if not set(versions) <= set(rollout.open_versions):
        _is_not_frozen(rollout)
    return msgspec.structs.replace(rollout, open_versions=versions)


def freeze(rollout: Rollout, by: str, reason: str) -> Rollout:
    """A person's freeze is not replaced by that of an error budget, which would end by itself."""
    if rollout.frozen and by == BY_BUDGET:
        return rollout
    return msgspec.structs.replace(rollout, frozen=True, frozen_by=by, frozen_reason=reason)


def unfreeze(rollout: Rollout) -> Rollout:
    return msgspec.structs.replace(rollout, frozen=False, frozen_by="", frozen_reason="")


def governed(rollout: Rollout, burned: bool, reason: str) -> Rollout:
    """As the error budget has it: frozen while it is burned, and free again after, unless a person froze it."""
    if burned:
        return freeze(rollout, BY_BUDGET, reason)
    return unfreeze(rollout) if rollout.frozen_by == BY_BUDGET else rollout


def _based(rollout: Rollout, base: str) -> Rollout:
    bases = rollout.bases if base == rollout.base else (*rollout.bases, rollout.base)[-BASES_MAX:]
    return msgspec.structs.replace(rollout, base=base, bases=bases, canary=None, percent=0, tenants=())


def _is_not_frozen(rollout: Rollout) -> None:
    if rollout.frozen:
        why = f" by {rollout.frozen_by}: {rollout.frozen_reason}" if rollout.frozen_by else ""
        raise MisuseError("rollout_frozen", f"the rollout of {rollout.pipeline} is frozen{why}")
