"""Everything that can be asked of the control plane, as one table: the server, the command line and the docs are made from it."""

from __future__ import annotations

from typing import Final

from rspp.control.operations.approvals import APPROVALS
from rspp.control.operations.audit import AUDITS
from rspp.control.operations.backup import BACKUPS
from rspp.control.operations.circuits import CIRCUITS
from rspp.control.operations.documents import POLICIES, PROVIDER_CONFIGS
from rspp.control.operations.fleet import FLEET
from rspp.control.operations.keys import KEYS
from rspp.control.operations.operation import Operation
from rspp.control.operations.people import PEOPLE
from rspp.control.operations.pipelines import PIPELINES
from rspp.control.operations.quotas import QUOTAS
from rspp.control.operations.regions import REGIONS
from rspp.control.operations.rollout import ROLLOUTS
from rspp.control.operations.routes import ROUTES
from rspp.control.operations.sessions import SESSIONS
from rspp.control.operations.statuses import STATUSES
from rspp.control.operations.usage import USAGE
from rspp.control.operations.work import WORKS
from rspp.control.operations.workers import WORKERS

OPERATIONS: Final[tuple[Operation, ...]] = (
    *FLEET,
    *CIRCUITS,
    *PIPELINES,
    *ROLLOUTS,
    *POLICIES,
    *PROVIDER_CONFIGS,
    *QUOTAS,
    *USAGE,
    *ROUTES,
    *SESSIONS,
    *STATUSES,
    *WORKERS,
    *REGIONS,
    *KEYS,
    *PEOPLE,
    *APPROVALS,
    *AUDITS,
    *BACKUPS,
    *WORKS,
)


def operation_named(name: str) -> Operation:
    """The row of this name; raises KeyError for what is none."""
    return {one.name: one for one in OPERATIONS}[name]
