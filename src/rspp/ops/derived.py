"""What is made of the other surfaces, and lies nowhere: it can be lost at any time, and is made again."""

from __future__ import annotations

from typing import Final

from rspp.contract.surface import Coverage, Surface, Truth
from rspp.ops.surfaces import ACTIONS, HEALTH

# Every canonical surface whose rows can make health worse.
FROM: Final = (
    *("sessions", "leases", "routing_view", "workers", "rollouts", "provider_health", "circuits"),
    *(
        "admission_quotas",
        "evidence_export",
        "recordings",
        "approvals",
        "external_nodes",
        "runtime_work_session",
    ),
)

HEALTH_SURFACE: Final = Surface(
    name=HEALTH,
    owner="rspp.ops.health",
    summary="How everything is, and why: the worst of what the other surfaces' rows say.",
    aggregate_type="health",
    storage="memory",
    truth=Truth.DERIVED,
    derived_from=FROM,
    read="rspp runtime health",
    coverage=Coverage.NONE,
)

ACTIONS_SURFACE: Final = Surface(
    name=ACTIONS,
    owner="rspp.ops.actions",
    summary="What an operator can do now, and the one call that does it.",
    aggregate_type="action",
    storage="memory",
    truth=Truth.DERIVED,
    derived_from=(HEALTH,),
    read="rspp runtime actions",
    coverage=Coverage.NONE,
)
