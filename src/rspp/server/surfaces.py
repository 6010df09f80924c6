"""All surfaces of RSPP: each is declared by its owner, and none is missing here (a test walks all modules)."""

from __future__ import annotations

from typing import Final

from rspp.contract.surface import Surface, Truth
from rspp.control.authority import leases, members
from rspp.control.config import policies, registry, rollouts
from rspp.control.fleet import provider_board, regions, status_writer, turns
from rspp.control.intake import limits
from rspp.control.security import approvals
from rspp.host import isolation_fates
from rspp.ops import derived, work_session
from rspp.ops.surfaces import Surfaces
from rspp.timeline import audit, export, spool

SURFACES: Final[tuple[Surface, ...]] = (
    status_writer.SURFACE,
    turns.SURFACE,
    leases.SURFACE,
    regions.SURFACE,
    members.SURFACE,
    registry.SURFACE,
    rollouts.SURFACE,
    policies.SURFACE,
    provider_board.SURFACE,
    provider_board.CIRCUITS,
    limits.SURFACE,
    export.SURFACE,
    spool.SURFACE,
    audit.SURFACE,
    approvals.SURFACE,
    isolation_fates.SURFACE,
    work_session.SURFACE,
    derived.HEALTH_SURFACE,
    derived.ACTIONS_SURFACE,
)


def surfaces() -> Surfaces:
    """All of them, checked; raises `MisuseError` with what is wrong."""
    return Surfaces(SURFACES)


def table() -> str:
    """The surfaces as a table of `docs/state-engine.md`, which a test compares with this."""
    lines = [
        "| surface | holds | owner | lies in | counts for | asked by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in SURFACES:
        counts = ("health" * one.affects_health, "actions" * one.affects_actions, "authority" * one.authority)
        lies = one.storage if one.truth is Truth.CANONICAL else f"made from {', '.join(one.derived_from)}"
        lines.append(
            f"| `{one.name}` | {one.summary} | `{one.owner.removeprefix('rspp.')}` | {lies} "
            f"| {', '.join(filter(None, counts))} | `{one.read}` |"
        )
    return "\n".join(lines)
