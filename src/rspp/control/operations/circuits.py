"""A provider's circuits in the whole fleet: cut off by too many failures, and called again when somebody vouches for it.

Each session has circuits of its own, and each worker its own word about a provider. So a reset is an order to every worker
that is there, and the answer says of each what came of it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

from msgspec import Meta

from rspp.contract.errors import RsppError
from rspp.control.authority.members import GONE
from rspp.control.commands import Command, CommandKind, Outcome, new_command_id
from rspp.control.operations.operation import Conflict, Operation, Request, Response
from rspp.control.operations.words import NAME_MAX, Deadline, Reason
from rspp.control.security.roles import Permission, Principal

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane

WORKER: Final = "worker"
UNANSWERED: Final = "it did not answer in time"


class ResetCircuit(Request, frozen=True, kw_only=True):
    provider: Annotated[str, Meta(min_length=1, max_length=NAME_MAX, description="The provider's name.")]
    reason: Reason
    within_ms: Deadline = 5_000


class Reset(Response, frozen=True, kw_only=True):
    """How many workers did it, and of those that did not, why."""

    provider: str
    workers: int
    missed: dict[str, str]


async def reset(plane: ControlPlane, principal: Principal, asked: ResetCircuit) -> Reset:
    """Done where at least one worker did it; raises where none is there, or none did."""
    await plane.look_at_fleet()
    members = [seen.member for seen in plane.fleet.seen.values()]
    there = sorted(one.id for one in members if one.kind == WORKER and one.state not in GONE)
    if not there:
        raise Conflict("worker_gone", "there is no worker that could call the provider")
    answers = await asyncio.gather(*(_order(plane, principal, one, asked) for one in there))
    missed = {worker: why for worker, why in zip(there, answers, strict=True) if why}
    if len(missed) == len(there):
        raise Conflict("circuit_not_reset", f"no worker did it: {next(iter(missed.values()))}")
    return Reset(provider=asked.provider, workers=len(there) - len(missed), missed=missed)


async def _order(plane: ControlPlane, principal: Principal, worker: str, asked: ResetCircuit) -> str:
    """Why this worker did not do it; empty where it did."""
    command = Command(
        id=new_command_id(),
        kind=CommandKind.RESET_CIRCUIT,
        provider=asked.provider,
        reason=asked.reason,
        by=principal.id,
        at_ms=plane.wall_ms(),
    )
    try:
        result = await plane.commands.ask(worker, command, asked.within_ms)
    except RsppError as error:
        return error.code
    if result is None:
        return UNANSWERED
    return "" if result.outcome is Outcome.DONE else result.message or result.outcome.value


CIRCUITS: Final = (
    Operation(
        name="fleet.reset_circuit",
        method="POST",
        path="/v1/provider-health/{provider}/reset",
        request=ResetCircuit,
        response=Reset,
        permission=Permission.HEALTH_CHANGE,
        handler=reset,
        summary="Reset a provider's circuits: every session calls it again, and the fleet's word about it begins anew.",
        example={"provider": "deepgram", "reason": "its outage is over"},
        idempotent=True,
    ),
)
