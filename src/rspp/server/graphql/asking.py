"""One request's asker, and what every resolver goes through: may they, and whose things do they see.

Every denial is on record, as those of the REST operations are, and names the field of the schema that was asked for. What is
another tenant's is answered as if it were not there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgspec
import strawberry

from rspp.contract.surface import Row
from rspp.control.operations import operation_named
from rspp.control.operations.calling import call, is_known_to
from rspp.control.operations.operation import Denied, NotFound
from rspp.control.security.roles import Permission, Principal, allowed
from rspp.ops.actions import Action, actions_of
from rspp.ops.health import Health
from rspp.server.acting import health_for
from rspp.server.graphql.turns import Turns
from rspp.server.sight import rows_seen

if TYPE_CHECKING:
    from rspp.control.plane import ControlPlane
    from rspp.ops.engine import StateEngine


Rows = Callable[[str], list[Row]]


class Recordings(Protocol):
    """What is known of single sessions, of pipelines and of providers: `server.recorded`."""

    async def sessions(
        self, principal: Principal, wanted: Mapping[str, str | None], first: int, after: str | None
    ) -> Any: ...
    async def session(
        self, principal: Principal, tenant: str, session_id: str, parts: Collection[str]
    ) -> Any: ...
    async def timeline(
        self, principal: Principal, tenant: str, session_id: str, wanted: Mapping[str, Any]
    ) -> Any: ...
    async def replay(self, principal: Principal, tenant: str, session_id: str) -> Any: ...
    async def diff(self, principal: Principal, tenant: str, session_id: str, other: str) -> Any: ...
    async def pipelines(self, principal: Principal, tenant: str | None) -> Any: ...
    async def pipeline(self, principal: Principal, name: str, version: str | None) -> Any: ...
    async def providers(self, rows: Rows) -> Any: ...
    async def load(self, rows: Rows, tenant: str | None) -> Any: ...


class Acts(Protocol):
    """Takes an action that is offered: `server.acting`."""

    async def take(self, principal: Principal, action_id: str, key: str, reason: str) -> Any: ...


class Sources(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the console asks."""

    plane: ControlPlane
    engine: StateEngine
    recorded: Recordings
    acts: Acts
    dev: bool = False


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and whom."""

    principal: Principal
    sources: Sources
    turns: Turns = msgspec.field(default_factory=Turns)  # everybody's who asks here

    @property
    def plane(self) -> ControlPlane:
        return self.sources.plane

    @property
    def engine(self) -> StateEngine:
        return self.sources.engine

    async def must(self, permission: Permission, tenant: str | None, field: str) -> None:
        """Returns if the asker may; raises `Denied`, or `NotFound` for a tenant that it has nothing to do with."""
        if allowed(self.principal, permission, tenant):
            return
        if tenant and not is_known_to(self.principal, tenant):
            about = {"asked_tenant": tenant}
            await self.plane.audit.denied(self.principal.id, f"graphql.{field}", None, "hidden", about)
            raise NotFound
        await self.plane.audit.denied(self.principal.id, f"graphql.{field}", tenant or "", "denied", {})
        raise Denied(permission)

    async def must_somewhere(self, permission: Permission, field: str) -> None:
        """For what is shown as far as the asker may see it: raises `Denied` for who may see none of it."""
        if not any(allowed(self.principal, permission, tenant) for tenant in self.principal.roles):
            await self.must(permission, None, field)

    async def may(self, permission: Permission, tenant: str, field: str) -> bool:
        """The same for what is null where it is not there."""
        try:
            await self.must(permission, tenant, field)
        except NotFound:
            return False
        return True

    async def turn(self) -> None:
        """Before a piece of work that takes some milliseconds: what else waits on this loop goes first."""
        await self.turns.take()

    def rows(self, surface: str, tenant: str | None = None) -> list[Row]:
        """The rows of one surface that the asker may see."""
        return rows_seen(self.principal, surface, self.engine.snapshots.rows(surface), tenant)

    def row(self, surface: str, aggregate_id: str, tenant: str | None = None) -> Row | None:
        """The first row of this name that the asker may see."""
        named = [one for one in self.engine.snapshots.rows(surface) if one.aggregate_id == aggregate_id]
        return next(iter(rows_seen(self.principal, surface, named, tenant)), None)

    def health(self) -> Health:
        """As it looks to the asker: of a tenant, as if there were no others and no fleet."""
        return health_for(self.principal, self.engine)

    def actions(self) -> list[Action]:
        """What may be done about what the asker sees."""
        return actions_of(self.health())

    async def ask(self, operation: str, **fields: Any) -> Any:
        """One of the control plane's operations, with all that belongs to it; raises what it raises."""
        row = operation_named(operation)
        return await call(self.plane, self.principal, row, msgspec.convert(fields, row.request))


def asking(info: strawberry.Info) -> Asking:
    return cast(Asking, info.context)
