"""Who sees what: every field of the schema, asked by a viewer of one tenant, tells nothing of another one or of the fleet.

The walk reads the schema that is served, so a field that is added is walked too, or the walk says that it does not know how.
The recordings behind it trust their asker: what keeps tenants apart stands before them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_required_argument

from rspp.contract.surface import Level, Row
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, Role
from rspp.server.graphql.schema import make_schema
from rspp.server.recorded import words
from rspp.server.sight import OF_THE_FLEET, READS, reads, rows_seen, sees, sees_some, tenants_read
from tests.unit.server.given_console import NAMES, ConsoleWorld, console

CANARY: Final = "canary7f3a"
OWN, OTHER, NOBODY = "acme", "bolt", "zinc"
# What each argument may hold, when it is about another tenant's thing; a new one has to be told here.
ARGUMENTS: Final[dict[str, list[Any]]] = {
    "surface": [*NAMES, "unknown"],
    "tenant": [OTHER, NOBODY, OWN, None],
    "aggregateId": [CANARY, "missing"],
    "id": ["s-1"],
    "session": ["s-1"],
    "with": ["s-2"],
    "name": ["voice"],
    "pipeline": ["voice"],
    "key": ["k-1"],
    "reason": ["walked"],
}
DEPTH: Final = 4


def plant(made: ConsoleWorld) -> None:
    """Of the other tenant and of the fleet, one of everything, with the canary in every word of it."""
    made.recorded.word = CANARY
    for name in NAMES:
        for tenant in (OTHER, None):
            made.engine.put(
                name,
                Row(
                    aggregate_id=CANARY,
                    tenant_id=tenant,
                    state=CANARY,
                    level=Level.FAILED,
                    reason="worker_lost",
                    message=f"{CANARY} is lost.",
                    facts={"worker": CANARY, "session": CANARY, "pipeline": CANARY, "proposal": CANARY},
                ),
            )
    made.engine.put("sessions", Row(aggregate_id="s-1", tenant_id=OWN, state="running"))


def selection(kind: Any, depth: int = DEPTH) -> str:
    """Every field of a type, so deep."""
    named = get_named_type(kind)
    if not isinstance(named, GraphQLObjectType):
        return ""
    if not depth:
        return " { __typename }"
    return (
        " { "
        + " ".join(f"{name}{selection(one.type, depth - 1)}" for name, one in named.fields.items())
        + " }"
    )


def questions(name: str, field: GraphQLField) -> list[str]:
    """The field with each value of each argument that matters, one after the other."""
    given: list[dict[str, Any]] = [{}]
    for argument, one_of in field.args.items():
        if argument not in ARGUMENTS:
            assert argument in {"first", "after", "level", "state", "text", "worker", "version"}, (
                f"{name}({argument})"
            )
            continue
        values = [one for one in ARGUMENTS[argument] if one is not None or not is_required_argument(one_of)]
        given = [{**each, argument: value} for each in given for value in values]
    return [f"{name}{_arguments(one)}{selection(field.type)}" for one in given]


def _arguments(given: dict[str, Any]) -> str:
    said = [f"{name}: {_quoted(value)}" for name, value in given.items() if value is not None]
    return f"({', '.join(said)})" if said else ""


def _quoted(value: Any) -> str:
    return '"' + value + '"' if isinstance(value, str) else str(value)


async def walk(made: ConsoleWorld, name: str, *, until_first: bool = False) -> list[str]:
    """What this principal learned that it should not have."""
    learned: list[str] = []
    schema: Any = make_schema()._schema
    for kind, fields in (("query", schema.query_type.fields), ("mutation", schema.mutation_type.fields)):
        for field_name, field in fields.items():
            for question in questions(field_name, field):
                if learned and until_first:
                    return learned
                said = await made.ask(name, f"{kind} {{ {question} }}")
                codes = {one["extensions"]["code"] for one in said.get("errors", ())}
                assert codes <= {"not_found", "permission_denied"}, (question, said)
                if CANARY in str(said).replace(f"{OWN}-{CANARY}", ""):
                    learned.append(f"{question}: {str(said)[:300]}")
                if f'tenant: "{OTHER}"' in question:
                    missing = await made.ask(name, f"{kind} {{ {question.replace(OTHER, NOBODY)} }}")
                    if str(missing) != str(said).replace(OTHER, NOBODY):
                        learned.append(f"{question}: {said} and of nobody {missing}")
    return learned


@pytest.mark.slow
def test_a_tenants_viewer_finds_nothing_foreign_in_any_field(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            plant(made)
            assert await walk(made, "ann") == []
            assert CANARY in str(
                await made.data("fay", '{ rows(surface: "sessions") { items { aggregateId } } }')
            )
            mine = await made.data(
                "ann",
                '{ rows(surface: "sessions") { total } session(tenant: "acme", id: "s-1") { withheld } }',
            )
            assert mine == {"rows": {"total": 1}, "session": {"withheld": ""}}

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("leak", ["rows", "timeline", "tenant_forgotten", "denied_elsewhere"])
def test_the_walk_finds_a_leak_that_is_planted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leak: str
) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            plant(made)
            if leak == "rows":
                monkeypatch.setattr(
                    "rspp.server.graphql.asking.rows_seen", lambda _p, _s, rows, _t=None: list(rows)
                )
            elif leak == "timeline":
                session = made.recorded.session

                async def others(
                    principal: Principal, tenant: str, name: str, parts: Any
                ) -> words.Session | None:
                    found = await session(principal, OTHER, name, parts)
                    assert found is not None
                    return found

                made.recorded.session = others  # type: ignore[method-assign, assignment]
            elif leak == "tenant_forgotten":
                monkeypatch.setattr("rspp.server.graphql.query.sees_record", lambda _p, _record: True)
            else:
                monkeypatch.setattr(
                    "rspp.server.graphql.asking.is_known_to", lambda _p, tenant: tenant == OTHER
                )
            assert await walk(made, "ann", until_first=True) != []

    asyncio.run(main())


def test_a_denial_is_on_record_and_a_foreign_tenant_with_the_fleet(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            assert await made.code("ann", "{ providers { name } }") == "permission_denied"
            assert await made.code("ann", "{ journalStatus { last } }") == "permission_denied"
            assert await made.code("ann", '{ rows(surface: "workers") { total } }') == "permission_denied"
            assert await made.code("ann", '{ sessions(tenant: "bolt") { total } }') == "not_found"
            assert (await made.data("ann", '{ session(tenant: "bolt", id: "s-1") { withheld } }'))[
                "session"
            ] is None
            assert (
                await made.code("ann", 'mutation { openRoute(tenant: "acme") { url } }')
                == "permission_denied"
            )
            denied = await made.of.denials("ann")
            assert [one for one in denied if one[0].startswith("graphql.")] == [
                ("graphql.session", "*"),
                ("graphql.sessions", "*"),
                ("graphql.rows", "*"),
                ("graphql.journalStatus", "*"),
                ("graphql.providers", "*"),
            ]
            assert ("routes.create", "acme") in denied

    asyncio.run(main())


def test_a_surface_that_nobody_put_into_the_table_is_the_fleets() -> None:
    ann, fay = (
        Principal(id="a", roles={"acme": (Role.ADMIN,)}),
        Principal(id="f", roles={EVERYWHERE: (Role.VIEWER,)}),
    )
    assert reads("something_new") is OF_THE_FLEET
    assert not sees_some(ann, "something_new")
    assert sees(fay, "something_new", "acme")
    assert not sees(ann, "sessions", None)
    assert sees(ann, "sessions", "acme")
    assert not sees(ann, "sessions", "bolt")
    assert not sees(ann, "sessions", EVERYWHERE)
    assert [surface for surface in READS if sees(Principal(id="n"), surface, "acme")] == []


def test_rows_of_an_audit_log_are_an_admins() -> None:
    rows = [Row(aggregate_id="1", state="kept", tenant_id="acme")]
    for role, seen in ((Role.VIEWER, 0), (Role.OPERATOR, 0), (Role.ADMIN, 1)):
        assert len(rows_seen(Principal(id="a", roles={"acme": (role,)}), "audit_log", rows)) == seen


def test_of_which_tenants_somebody_reads() -> None:
    reads_both = Principal(id="a", roles={"acme": (Role.VIEWER,), "bolt": (Role.ADMIN,)})
    assert tenants_read(reads_both, Permission.HEALTH_READ) == frozenset({"acme", "bolt"})
    assert tenants_read(reads_both, Permission.AUDIT_READ) == frozenset({"bolt"})
    assert tenants_read(reads_both, Permission.WORKERS_READ) == frozenset()
    assert tenants_read(Principal(id="f", roles={EVERYWHERE: (Role.VIEWER,)}), Permission.HEALTH_READ) is None
