"""What can be offered: one row for each kind of action, with the operation that it is and from where its fields come.

The operations, their paths, permissions and roles are the control plane's. This layer may not import it, so they stand here as
data, and a test compares each row with its table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Risk = Literal["low", "medium", "high"]
Role = Literal["viewer", "operator", "admin"]
Said = str | int | float | bool

ID: Final = "aggregate_id"
TENANT: Final = "tenant_id"


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of action. `fields` says from where in a row each field of the request comes: its id, its tenant, a fact.

    What it acts upon is `of`: the row itself, or, with `surface`, a thing that several rows may be about. Then it is offered
    once however many ask for it.
    """

    kind: str
    title: str  # may name fields of the request
    operation: str
    method: str = "POST"
    path: str
    permission: str
    role: Role  # the least that has the permission
    risk: Risk
    fields: Mapping[str, str]
    fixed: Mapping[str, Said] = {}
    of: str = ID
    surface: str = ""

    @property
    def path_fields(self) -> tuple[str, ...]:
        return tuple(part[1:-1] for part in self.path.split("/") if part.startswith("{"))


# ---- workers -----------------------------------------------------------------------------------------------------------

DRAIN: Final = Offer(
    kind="drain_worker",
    title="Drain worker {worker}: its sessions move to others, and it takes nobody new",
    operation="workers.drain",
    path="/v1/workers/{worker}/drain",
    permission="workers.drain",
    role="operator",
    risk="medium",
    fields={"worker": ID},
    fixed={"mode": "migrate"},
)
EMPTY: Final = Offer(
    kind="empty_worker",
    title="Drain worker {worker}, on which a node fails: its sessions move to others",
    operation="workers.drain",
    path="/v1/workers/{worker}/drain",
    permission="workers.drain",
    role="operator",
    risk="medium",
    fields={"worker": "worker"},
    fixed={"mode": "migrate"},
    of="worker",
    surface="workers",
)
RESUME: Final = Offer(
    kind="resume_worker",
    title="Resume worker {worker}: it takes new sessions again",
    operation="workers.resume",
    path="/v1/workers/{worker}/resume",
    permission="workers.drain",
    role="operator",
    risk="low",
    fields={"worker": ID},
)
FENCE: Final = Offer(
    kind="fence_worker",
    title="Cut worker {worker} off: others may take what it had",
    operation="workers.fence",
    path="/v1/workers/{worker}/fence",
    permission="leases.revoke",
    role="admin",
    risk="high",
    fields={"worker": ID},
)
SETTLE: Final = Offer(
    kind="settle_worker",
    title="Worker {worker} was looked at: it is gone, and no trouble any more",
    operation="workers.settle",
    path="/v1/workers/{worker}/settle",
    permission="workers.drain",
    role="operator",
    risk="low",
    fields={"worker": ID},
)

# ---- sessions ----------------------------------------------------------------------------------------------------------

MIGRATE: Final = Offer(
    kind="migrate_session",
    title="Move session {session} to another worker",
    operation="sessions.migrate",
    path="/v1/tenants/{tenant}/sessions/{session}/migrate",
    permission="sessions.migrate",
    role="operator",
    risk="medium",
    fields={"tenant": TENANT, "session": ID},
)
CLOSE: Final = Offer(
    kind="close_session",
    title="Close session {session} in good order",
    operation="sessions.close",
    path="/v1/tenants/{tenant}/sessions/{session}/close",
    permission="sessions.cancel",
    role="operator",
    risk="medium",
    fields={"tenant": TENANT, "session": ID},
)
REVOKE: Final = Offer(
    kind="revoke_lease",
    title="Withdraw the authority over session {session}, whatever its worker does",
    operation="sessions.revoke",
    path="/v1/tenants/{tenant}/sessions/{session}/revoke",
    permission="leases.revoke",
    role="admin",
    risk="high",
    fields={"tenant": TENANT, "session": ID},
)

# ---- providers and regions -----------------------------------------------------------------------------------------------

RESET_CIRCUIT: Final = Offer(
    kind="reset_circuit",
    title="Reset the circuits of provider {provider}: every session calls it again at once",
    operation="fleet.reset_circuit",
    path="/v1/provider-health/{provider}/reset",
    permission="health.change",
    role="operator",
    risk="medium",
    fields={"provider": "provider"},
    of="provider",
    surface="circuits",
)
OPEN_REGION: Final = Offer(
    kind="open_region",
    title="Open region {region}: it takes sessions again, and nothing is wrong there any more",
    operation="regions.set",
    method="PUT",
    path="/v1/regions/{region}",
    permission="regions.change",
    role="admin",
    risk="high",
    fields={"region": ID},
    fixed={"mode": "open"},
)

# ---- rollouts and consent --------------------------------------------------------------------------------------------------

ROLL_BACK: Final = Offer(
    kind="roll_back",
    title="Roll pipeline {pipeline} back: new sessions get what was served before",
    operation="rollout.rollback",
    path="/v1/rollouts/{pipeline}/rollback",
    permission="rollout.change",
    role="operator",
    risk="medium",
    fields={"pipeline": ID},
)
UNFREEZE: Final = Offer(
    kind="unfreeze",
    title="End the freeze of pipeline {pipeline}",
    operation="rollout.unfreeze",
    path="/v1/rollouts/{pipeline}/unfreeze",
    permission="rollout.change",
    role="operator",
    risk="medium",
    fields={"pipeline": ID},
)
APPROVE: Final = Offer(
    kind="approve",
    title="Agree to proposal {proposal}",
    operation="approvals.approve",
    path="/v1/tenants/{tenant}/approvals/{proposal}/approve",
    permission="approvals.decide",
    role="admin",
    risk="medium",
    fields={"tenant": "tenant", "proposal": ID},
)
REFUSE: Final = Offer(
    kind="refuse",
    title="Refuse proposal {proposal}",
    operation="approvals.reject",
    path="/v1/tenants/{tenant}/approvals/{proposal}/reject",
    permission="approvals.decide",
    role="admin",
    risk="low",
    fields={"tenant": "tenant", "proposal": ID},
)

# ---- recordings ------------------------------------------------------------------------------------------------------------

RETRY_EXPORT: Final = Offer(
    kind="retry_export",
    title="Try the export of worker {worker} now",
    operation="workers.retry_exports",
    path="/v1/workers/{worker}/retry-exports",
    permission="health.change",
    role="operator",
    risk="low",
    fields={"worker": "worker"},
    of="worker",
    surface="evidence_export",
)
FREE_RECORDINGS: Final = Offer(
    kind="free_recordings",
    title="Delete now what retention lets go of the recordings of worker {worker}",
    operation="workers.free_recordings",
    path="/v1/workers/{worker}/free-recordings",
    permission="health.change",
    role="operator",
    risk="medium",
    fields={"worker": "worker"},
    of="worker",
    surface="recordings",
)
GIVE_UP: Final = Offer(
    kind="give_up_exports",
    title="Delete what waits for its export on worker {worker}; the recordings say what they lack",
    operation="workers.give_up_exports",
    path="/v1/workers/{worker}/give-up-exports",
    permission="recordings.delete",
    role="admin",
    risk="high",
    fields={"worker": "worker"},
    of="worker",
    surface="evidence_export",
)

# ---- work ------------------------------------------------------------------------------------------------------------------

CONTINUE_WORK: Final = Offer(
    kind="continue_work",
    title="Let work session {session} go on after step {step}",
    operation="work.signal",
    path="/v1/work/{session}/signal",
    permission="work.signal",
    role="operator",
    risk="medium",
    fields={"session": ID, "step": "step"},
)

OFFERS: Final = (
    *(DRAIN, EMPTY, RESUME, FENCE, SETTLE, MIGRATE, CLOSE, REVOKE, RESET_CIRCUIT, OPEN_REGION),
    *(ROLL_BACK, UNFREEZE, APPROVE, REFUSE, RETRY_EXPORT, FREE_RECORDINGS, GIVE_UP),
    CONTINUE_WORK,
)
