"""One table: what each reason means, and what can be done about it, or why nothing can be done from here.

The owners of the surfaces write the codes into their rows; a test reads their code and finds every one of them here, and none
here that nobody writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from rspp.ops import offers
from rspp.ops.health import UNEXPLAINED
from rspp.ops.offers import Offer


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What a reason says, and what can be done about it. Nothing: `none_because` tells why."""

    says: str
    offers: tuple[Offer, ...] = ()
    none_because: str = ""


_M = Meaning
o = offers

REASONS: Final[Mapping[str, Meaning]] = {
    # --- workers --------------------------------------------------------------------------------------------------
    "worker_silent": _M(
        says="A process has not renewed its record in time: it may be dead, or cut off from the store.",
        offers=(o.FENCE,),
    ),
    "worker_lost": _M(
        says="A process died or was cut off. Who called there comes back elsewhere.", offers=(o.SETTLE,)
    ),
    "worker_draining": _M(says="A worker takes nobody new, and empties.", offers=(o.RESUME,)),
    "worker_unready": _M(says="A worker is there, and says why it takes nobody.", offers=(o.DRAIN,)),
    # --- sessions -------------------------------------------------------------------------------------------------
    "session_degraded": _M(
        says="A session goes on without something that its pipeline has.",
        offers=(o.MIGRATE, o.CLOSE, o.REVOKE),
    ),
    "turn_failed": _M(
        says="A turn ended early that should not have.",
        none_because="it is over, and the session goes on; the session's page shows what went wrong",
    ),
    "lease_revoked": _M(
        says="The authority over a session was withdrawn.", none_because="the session is over"
    ),
    "node_down": _M(
        says="A process of a node ended that should not have; another one was begun.", offers=(o.EMPTY,)
    ),
    # --- providers and regions --------------------------------------------------------------------------------------
    "circuit_open": _M(
        says="A provider failed so often that sessions do not call it for a while.", offers=(o.RESET_CIRCUIT,)
    ),
    "provider_unhealthy": _M(says="A provider fails, as a worker sees it.", offers=(o.RESET_CIRCUIT,)),
    "region_shut": _M(says="A region takes no sessions.", offers=(o.OPEN_REGION,)),
    "region_incident": _M(
        says="Somebody has said that something is wrong in a region.", offers=(o.OPEN_REGION,)
    ),
    # --- rules ------------------------------------------------------------------------------------------------------
    "rollout_frozen": _M(
        says="Nobody is led to another version: the error budget is spent, or somebody froze it.",
        offers=(o.ROLL_BACK, o.UNFREEZE),
    ),
    "approval_waiting": _M(says="A change waits for somebody's consent.", offers=(o.APPROVE, o.REFUSE)),
    "quota_used_up": _M(
        says="A tenant has used up a quota.",
        none_because="how much a tenant may have is a number that somebody decides: `rspp control quotas set`",
    ),
    "quota_nearly_used_up": _M(
        says="A tenant has nearly used up a quota.",
        none_because="how much a tenant may have is a number that somebody decides: `rspp control quotas set`",
    ),
    # --- recordings -------------------------------------------------------------------------------------------------
    "export_failing": _M(
        says="Recordings do not get into their store; they wait on the worker's disk.",
        offers=(o.RETRY_EXPORT,),
    ),
    "export_lagging": _M(
        says="Recordings wait for long before they are in their store.", offers=(o.RETRY_EXPORT,)
    ),
    "recordings_nearly_full": _M(
        says="What may wait on the worker's disk for its export is nearly used up.",
        offers=(o.RETRY_EXPORT, o.FREE_RECORDINGS),
    ),
    "recordings_full": _M(
        says="What may wait on the worker's disk for its export is used up: nothing more is recorded in detail.",
        offers=(o.RETRY_EXPORT, o.FREE_RECORDINGS, o.GIVE_UP),
    ),
    "recording_downgraded": _M(
        says="Sessions are recorded at a lower level than they began at, to keep up.",
        offers=(o.RETRY_EXPORT,),
    ),
    # --- work sessions ----------------------------------------------------------------------------------------------
    "work_stopped": _M(
        says="A work session stopped at one of its steps, and something must be met before the next one.",
        none_because="what it requires is met where the work is done: `rspp manifest resume` there",
    ),
    "work_waiting": _M(
        says="A work session waits for the signal to begin its next step.", offers=(o.CONTINUE_WORK,)
    ),
    # --- and where an owner is at fault -----------------------------------------------------------------------------
    UNEXPLAINED: _M(
        says="Something is not well, and does not say why.",
        none_because="its owner has to say why: this is a defect of RSPP",
    ),
}
OFFERED: Final[Mapping[str, tuple[Offer, ...]]] = {code: one.offers for code, one in REASONS.items()}
