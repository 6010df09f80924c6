"""What can be asked. Each resolver first asks whether the asker may, and then shows what the asker may see."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
import strawberry

from rspp import __version__
from rspp.contract.errors import MisuseError
from rspp.control.operations.operation import limited
from rspp.control.operations.work import sessions
from rspp.control.security.roles import EVERYWHERE, TABLE, Permission, Principal, allowed
from rspp.host.stored import NUMBER_MAX
from rspp.ops.changes import StateChange
from rspp.server.acting_routes import may_take
from rspp.server.graphql import types_fleet as fleet_types
from rspp.server.graphql import types_sessions as session_types
from rspp.server.graphql import types_state as state_types
from rspp.server.graphql import types_work as work_types
from rspp.server.graphql.asking import Asking, asking
from rspp.server.graphql.paging import found, page_of, shown
from rspp.server.sight import OF_THE_FLEET, reads, sees_record, sees_some

# Pages of the journal that are read to fill one, where most records are others'.
PAGES_MAX: Final = 10
WORK: Final = "runtime_work_session"

Info = strawberry.Info
LevelWord = state_types.LevelWord


@strawberry.type
class Query:
    @strawberry.field
    def me(self, info: Info) -> fleet_types.Me:
        """Who is asking, and what this server can do."""
        asked = asking(info)
        principal = asked.principal
        return fleet_types.Me(
            id=principal.id,
            tenants=sorted(one for one in principal.roles if one != EVERYWHERE),
            everywhere=bool(principal.roles.get(EVERYWHERE)),
            permissions=_permissions(principal),
            version=__version__,
            dev=asked.sources.dev,
        )

    @strawberry.field
    def surfaces(self, info: Info) -> list[state_types.Surface]:
        """Every declared surface that the caller may know of."""
        asked = asking(info)
        return cast(
            "list[state_types.Surface]",
            [one for one in asked.engine.surfaces if sees_some(asked.principal, one.name)],
        )

    @strawberry.field
    async def rows(
        self,
        info: Info,
        surface: str,
        tenant: str | None = None,
        state: str | None = None,
        level: LevelWord | None = None,
        text: str | None = None,
        first: int = 100,
        after: str | None = None,
    ) -> state_types.RowPage:
        """The rows of one surface; of one tenant, or of all that the caller may see."""
        asked = asking(info)
        await _may_read(asked, surface, tenant, "rows")
        await asked.turn()
        rows = found(asked.rows(surface, tenant), state=state, level=level and level.value, text=text)
        return page_of(surface, rows, limited(first), after)

    @strawberry.field
    async def row(
        self, info: Info, surface: str, aggregate_id: str, tenant: str | None = None
    ) -> state_types.Row | None:
        """One row; null for what is not there and for what is another's."""
        asked = asking(info)
        await asked.turn()
        one = asked.row(surface, aggregate_id, tenant)
        return None if one is None else shown(surface, one)

    @strawberry.field
    async def health(self, info: Info) -> state_types.Health:
        """How everything is that the caller may see."""
        asked = asking(info)
        await asked.must_somewhere(Permission.HEALTH_READ, "health")
        await asked.turn()
        return cast("state_types.Health", asked.health())

    @strawberry.field
    async def actions(self, info: Info) -> list[state_types.Action]:
        """What can be done about it, and whether the caller may."""
        asked = asking(info)
        await asked.must_somewhere(Permission.HEALTH_READ, "actions")
        await asked.turn()
        return [
            state_types.Action(
                id=strawberry.ID(one.id),
                kind=one.kind,
                title=one.title,
                why=one.why,
                surface=one.surface,
                aggregate_id=one.aggregate_id,
                tenant=one.tenant_id,
                role=str(one.role),
                risk=str(one.risk),
                allowed=may_take(asked.principal, one),
                call=state_types.Call(
                    method=one.call.method,
                    path=one.call.path,
                    body=one.call.body,  # type: ignore[arg-type]  # a scalar of plain values
                    graphql=one.call.graphql,
                    cli=one.call.cli,
                ),
            )
            for one in asked.actions()
        ]

    @strawberry.field
    async def journal(
        self, info: Info, after: float = 0, surface: str | None = None, first: int = 100
    ) -> state_types.JournalPage:
        """Records of the journal, in order; of other tenants there are none."""
        asked = asking(info)
        if surface is not None:
            await _may_read(asked, surface, None, "journal")
        return cast("state_types.JournalPage", await _records(asked, _number(after), surface, limited(first)))

    @strawberry.field
    async def journal_status(self, info: Info) -> state_types.JournalStatus:
        """How the journal is, and of each surface whether it tells all."""
        asked = asking(info)
        await asked.must(OF_THE_FLEET, None, "journalStatus")
        # A journal that cannot be read is no failure to answer: the answer says so.
        return cast("state_types.JournalStatus", await asked.engine.status())

    @strawberry.field
    async def load(self, info: Info, tenant: str | None = None) -> fleet_types.Load:
        """Live figures of the whole fleet, or of one tenant."""
        asked = asking(info)
        if tenant is None:
            await asked.must_somewhere(Permission.SESSIONS_READ, "load")
        else:
            await asked.must(Permission.SESSIONS_READ, tenant, "load")
        await asked.turn()
        load = await asked.sources.recorded.load(asked.rows, tenant)
        if not allowed(asked.principal, OF_THE_FLEET, None):
            # They are this whole process's, whoever called: how busy others are, and how long they wait.
            load = msgspec.structs.replace(load, stages=[])
        return cast("fleet_types.Load", load)

    @strawberry.field
    async def sessions(
        self,
        info: Info,
        tenant: str | None = None,
        state: str | None = None,
        pipeline: str | None = None,
        worker: str | None = None,
        text: str | None = None,
        first: int = 50,
        after: str | None = None,
    ) -> session_types.SessionPage:
        """Sessions, live and recorded; of one tenant, or of all that the caller may see."""
        asked = asking(info)
        if tenant is not None:
            await asked.must(Permission.SESSIONS_READ, tenant, "sessions")
        await asked.turn()
        wanted = {"tenant": tenant, "state": state, "pipeline": pipeline, "worker": worker, "text": text}
        return cast(
            "session_types.SessionPage",
            await asked.sources.recorded.sessions(asked.principal, wanted, limited(first), after),
        )

    @strawberry.field
    async def session(self, info: Info, tenant: str, id: str) -> session_types.Session | None:  # noqa: A002 - as the schema has it
        """One session, live or recorded; null for what is not there and what is another tenant's."""
        asked = asking(info)
        if not await asked.may(Permission.SESSIONS_READ, tenant, "session"):
            return None
        return cast(
            "session_types.Session | None",
            await asked.sources.recorded.session(asked.principal, tenant, id, selected(info)),
        )

    @strawberry.field
    async def pipelines(self, info: Info, tenant: str | None = None) -> list[fleet_types.Pipeline]:
        """What is published, with its versions and its rollout."""
        asked = asking(info)
        await asked.must(Permission.PIPELINES_READ, None, "pipelines")
        return cast(
            "list[fleet_types.Pipeline]", await asked.sources.recorded.pipelines(asked.principal, tenant)
        )

    @strawberry.field
    async def pipeline(
        self, info: Info, name: str, version: str | None = None
    ) -> fleet_types.Pipeline | None:
        """One version of one pipeline; if none is named, the one that new sessions get."""
        asked = asking(info)
        await asked.must(Permission.PIPELINES_READ, None, "pipeline")
        return cast(
            "fleet_types.Pipeline | None",
            await asked.sources.recorded.pipeline(asked.principal, name, version),
        )

    @strawberry.field
    async def providers(self, info: Info) -> list[fleet_types.Provider]:
        """Every provider as the fleet sees it."""
        asked = asking(info)
        await asked.must(Permission.HEALTH_READ, None, "providers")
        await asked.turn()
        return cast("list[fleet_types.Provider]", await asked.sources.recorded.providers(asked.rows))

    @strawberry.field
    async def work(self, info: Info) -> list[state_types.Row]:
        """The work sessions of the manifest, newest first."""
        asked = asking(info)
        await _may_read(asked, WORK, None, "work")
        await asked.turn()
        rows = sorted(asked.rows(WORK), key=lambda row: row.since_ms, reverse=True)
        return [shown(WORK, row) for row in rows]

    @strawberry.field
    async def work_session(self, info: Info, id: str) -> work_types.WorkSession | None:  # noqa: A002 - as the schema has it
        """One of them whole: its step, its ledgers, what is missing for PASS, what it requires; null for what is not there."""
        asked = asking(info)
        await _may_read(asked, WORK, None, "workSession")
        return cast("work_types.WorkSession | None", await sessions(asked.plane).get(id))


def _permissions(principal: Principal) -> list[str]:
    """What the principal may do somewhere."""
    may = {one for roles in principal.roles.values() for role in roles for one in TABLE[role]}
    return sorted(
        one.value for one in may if any(allowed(principal, one, tenant) for tenant in principal.roles)
    )


async def _may_read(asked: Asking, surface: str, tenant: str | None, field: str) -> None:
    """Raises where there can be nothing that the asker may see: an unknown surface is the fleet's, as everything unknown."""
    if tenant is None and sees_some(asked.principal, surface):
        return
    await asked.must(reads(surface), tenant, field)


def _number(after: float) -> int:
    """A number of the journal; raises `MisuseError` for what is none."""
    if not 0 <= after <= NUMBER_MAX:
        raise MisuseError("number_out_of_range", "a number of the journal is 0 or more, and finite", "after")
    return int(after)


async def _records(asked: Asking, after: int, surface: str | None, first: int) -> Any:
    """A page of those records that the asker may see; `next` goes on after the last that was looked at."""
    items: list[StateChange] = []
    compacted, page = False, None
    for _ in range(PAGES_MAX):
        page = await asked.engine.journal.page(after=after, surface=surface, limit=first - len(items))
        compacted = compacted or page.compacted
        items += [one for one in page.records if sees_record(asked.principal, one)]
        if page.next <= after or not page.records or len(items) >= first:
            after = max(after, page.next)
            break
        after = page.next
    assert page is not None
    return state_types.JournalPage(
        items=items,  # type: ignore[arg-type]  # shown as they are
        next=after,
        last=page.last,
        compacted=compacted,
        oldest=page.oldest,
    )


def selected(info: Info) -> frozenset[str]:
    """The fields of the answer that are asked for: what nobody asked for is not read."""
    names: set[str] = set()
    # One name may be asked for in several places: the answer is of all of them together.
    stack = [one for field in info.selected_fields for one in field.selections]
    while stack:
        one = stack.pop()
        name = getattr(one, "name", None)
        if name is None or hasattr(one, "type_condition"):  # a fragment: what it holds is asked for
            stack += one.selections
        else:
            names.add(name)
    return frozenset(names)
