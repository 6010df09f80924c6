"""The control plane's view of a process that runs alone: everything is allowed, nothing is known to be unhealthy.

A session asks for a view no older than a minute at each turn; the host renews it well before. Where there is a control
plane, its own snapshots take this one's place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rspp.contract.plan import SnapshotProvenance
from rspp.kernel.snapshot import Snapshot
from rspp.spec.graph import GraphDefinition

# What is in force now for a tenant's sessions on a graph; None when that is not known, or too long ago.
SnapshotSource = Callable[[int, str, GraphDefinition], Snapshot | None]

ALONE: Final = SnapshotProvenance(
    routing_view_snapshot="local/routing",
    admission_policy_snapshot="local/admission",
    abi_compatibility_snapshot="local/abi",
    version_resolution_snapshot="local/versions",
    policy_resolution_snapshot="local/policy",
    provider_health_snapshot="local/health",
)


def alone() -> SnapshotSource:
    """Views that differ in nothing but their number and time."""
    version = 0

    def take(now: int, *_: object) -> Snapshot:
        nonlocal version
        version += 1
        return Snapshot(version=version, taken_at=now, provenance=ALONE)

    return take
