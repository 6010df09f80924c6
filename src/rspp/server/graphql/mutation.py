"""What can be done from the console: each is an operation that others can ask for as well, with all that it asks for."""

from __future__ import annotations

from typing import Annotated, Final, cast

import strawberry

from rspp.contract.errors import MisuseError
from rspp.control.operations.operation import found
from rspp.control.security.roles import Permission
from rspp.server.graphql import types_fleet as fleet_types
from rspp.server.graphql import types_sessions as session_types
from rspp.server.graphql import types_state as state_types
from rspp.server.graphql.asking import asking

KEY_CHARACTERS_MAX: Final = 128
REASON_CHARACTERS_MAX: Final = 400

Info = strawberry.Info


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def act(self, info: Info, id: strawberry.ID, key: str, reason: str) -> state_types.ActionResult:  # noqa: A002 - as the schema has it
        """Take one of the offered actions. The same key is the same taking: it is done once, and answered alike."""
        _said("key", key, KEY_CHARACTERS_MAX)
        _said("reason", reason, REASON_CHARACTERS_MAX)
        asked = asking(info)
        return cast(
            "state_types.ActionResult", await asked.sources.acts.take(asked.principal, str(id), key, reason)
        )

    @strawberry.mutation
    async def open_route(self, info: Info, tenant: str, pipeline: str | None = None) -> fleet_types.Route:
        """A place for a call from this page: where to connect, and with what token."""
        answer = await asking(info).ask("routes.create", tenant=tenant, pipeline=pipeline or "")
        return fleet_types.Route(
            url=answer.endpoint,
            token=answer.token,
            session=answer.session,
            tenant=answer.tenant,
            expires_ms=answer.expires_at_ms,
        )

    @strawberry.mutation
    async def replay(self, info: Info, tenant: str, session: str) -> session_types.ReplayResult:
        """Run the kernel again on a recording and compare."""
        asked = asking(info)
        await asked.must(Permission.SESSIONS_READ, tenant, "replay")
        return cast(
            "session_types.ReplayResult",
            found(await asked.sources.recorded.replay(asked.principal, tenant, session)),
        )

    @strawberry.mutation
    async def diff(
        self, info: Info, tenant: str, session: str, other: Annotated[str, strawberry.argument(name="with")]
    ) -> session_types.DiffResult:
        """Compare two recordings."""
        asked = asking(info)
        await asked.must(Permission.SESSIONS_READ, tenant, "diff")
        return cast(
            "session_types.DiffResult",
            found(await asked.sources.recorded.diff(asked.principal, tenant, session, other)),
        )


def _said(field: str, value: str, characters_max: int) -> None:
    if not 0 < len(value.strip()) <= characters_max:
        raise MisuseError("value_invalid", f"{field} has 1 to {characters_max} characters", field)
