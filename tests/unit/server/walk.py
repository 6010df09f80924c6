"""Walks every operation of the OpenAPI document as one tenant's admin against another tenant's things, and says what it learned.

Every thing of the other tenant has the canary in its name or content. Each operation is asked four times:

    of the other tenant, about its things         and of a tenant that there is not, about things that there are not
    of an own tenant, about the other's things    and of a twin of it, about things that there are not

and each pair must be one answer, but for the names that were asked. What a field may hold is told by `VALUES`, so a new field
has to be given a value here before its operation can pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
import msgspec

from rspp.control.authority.leases import Lease, Leases, hash_of
from rspp.control.authority.members import Member, Membership
from rspp.control.fleet.residency import Residency
from rspp.control.fleet.status import SessionWord, Status
from rspp.control.intake.limits import QuotaRecord
from rspp.control.intake.quotas import Limit, TenantLimits
from rspp.control.security.roles import Principal, Role
from tests.unit.control.published import spec_text
from tests.unit.server.given import ROOT, World

OWN, TWIN, OTHER, NOBODY = "own-acme", "twin-acme", "other-bolt", "nobody-zinc"
VERSION: Final = "v7f3a.1"
CANARY = "canary7f3a"
SECRET = f"{CANARY}-resume-secret"
POLICY_TEXT = f"tier: {CANARY}-tier"
WALKER = "ann"  # admin of OWN and TWIN, and of nothing else
RIVAL = f"{CANARY}.rita"  # admin of OTHER
# What differs from answer to answer whoever asks: times, tokens, names that were made for the answer.
MOVING = re.compile(
    r'"(token|session|worker|data|key|sha256|why|proposal|digest|place|next)":("[^"]*"|null)'
    r'|"[a-z_]*_ms":\d+|"revision":\d+|"number":\d+'
)


class Things(msgspec.Struct, frozen=True):
    """Names of one tenant's things, or of none."""

    tenant: str
    session: str
    principal: str
    proposal: str
    version: str
    secret: str


MISSING = Things(NOBODY, "no-session", "no.one", "0" * 32 + "-000000000000", "v9e9e.9", "no-secret")


async def planted(world: World) -> Things:
    """A fleet, a pipeline, and of the other tenant one of everything."""
    plane, store = world.plane, world.store
    worker = Member(id="w-1", kind="worker", ttl_ms=60_000, endpoint="wss://w-1", capacity=100, ready=True)
    await Membership(store, plane.clock, worker).join()
    await plane.registry.publish(spec_text(), "root")
    await plane.rollouts.begin("voice", "v1", author="root", reason="test")
    await world.principal(WALKER, {OWN: Role.ADMIN, TWIN: Role.ADMIN})
    await world.principal(RIVAL, {OTHER: Role.ADMIN})
    lease = Lease(
        tenant_id=OTHER,
        session_id=f"{CANARY}-session",
        owner="w-1",
        graph_ref="graph/voice@v1",
        region=f"{CANARY}-region",
        resume_hash=hash_of(SECRET),
    )
    held = await Leases(store, "w-1").acquire(lease)
    status = Status(
        tenant=OTHER,
        session=lease.session_id,
        state=SessionWord.RUNNING,
        since_ms=1,
        opened_ms=1,
        epoch=held.epoch,
        owner="w-1",
        reason=f"{CANARY}-reason",
    )
    await store.put("status", f"{OTHER}/{lease.session_id}", msgspec.json.encode(status))
    for policies, text in ((plane.policies, POLICY_TEXT), (plane.provider_configs, _providers())):
        await policies.publish(OTHER, VERSION, text, author=RIVAL)
        await policies.put_in_force(OTHER, VERSION, author=RIVAL, reason="r")
    await _limits_and_places(world)
    rival = Principal(id=RIVAL, roles={OTHER: (Role.ADMIN,)})
    proposal = await plane.approvals.propose(
        rival, "policies.activate", f"{CANARY}-target", "ab" * 32, tenant_id=OTHER, reason="r"
    )
    return Things(OTHER, lease.session_id, RIVAL, proposal.id, VERSION, SECRET)


async def _limits_and_places(world: World) -> None:
    limits = TenantLimits(sessions=Limit(most=77))
    await world.plane.limits.put(
        QuotaRecord(tenant=OTHER, limits=limits, author=RIVAL, reason=f"{CANARY} quota", at_ms=1)
    )
    await world.plane.residencies.put(
        Residency(tenant_id=OTHER, process=("local",), store=(f"{CANARY}-eu",), author=ROOT.id, reason="r")
    )


def _providers() -> str:
    return f'providers: {{llm: [llm-a]}}\nprovider_settings: {{llm-a: {{model: "{CANARY}-model"}}}}\n'


def values(tenant: str, things: Things) -> dict[str, Any]:
    """What each field of any request holds, when it is about these things."""
    return {
        "tenant": tenant,
        "session": things.session,
        "principal": things.principal,
        "proposal": things.proposal,
        "version": things.version,
        "resume_secret": things.secret,
        "worker": things.secret,  # there is none of these names: they are the fleet's, and refused before
        "key": things.secret,
        "provider": things.secret,
        "within_ms": 100,  # workers that are planted obey nobody
        "region": things.secret,
        "step": things.secret,
        "jurisdiction": things.secret,
        "pipeline": "voice",
        "text": "tier: ours",
        "reason": "walked",
        "role": "viewer",
        "limits": {},
        "regions": [],
        "mode": "open",
        "kinds": [],
        "versions": [],
        "data": "no backup",
        "operation": "policies.activate",
        "request": {"tenant": tenant, "version": things.version, "reason": "walked"},
    }


class Route(msgspec.Struct, frozen=True):
    """One operation as the document describes it."""

    name: str
    method: str
    path: str
    scope: str
    fields: tuple[str, ...]  # those that are due, the tenant, and how long to wait
    optional_tenant: bool

    def request(self, said: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
        """Method, address and what goes into the query or the body."""
        address = self.path
        rest = {name: said[name] for name in self.fields}
        for name in re.findall(r"{(\w+)}", self.path):
            address = address.replace(f"{{{name}}}", str(rest.pop(name)))
        return self.method, address, rest


def routes_of(document: Mapping[str, Any]) -> list[Route]:
    found = []
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            due = [one["name"] for one in entry["parameters"] if one["required"]]
            names = [one["name"] for one in entry["parameters"]]
            shape = (
                entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            )
            due += shape.get("required", [])
            names += list(shape.get("properties", {}))
            optional = "tenant" in names and "tenant" not in due
            fields = tuple(dict.fromkeys([*due, *(one for one in ("tenant", "within_ms") if one in names)]))
            name, scope = entry["operationId"], entry["x-rspp-scope"]
            found.append(Route(name, method.upper(), path, scope, fields, optional))
    return found


async def send(client: httpx.AsyncClient, route: Route, said: Mapping[str, Any]) -> httpx.Response:
    method, address, rest = route.request(said)
    if method == "GET":
        return await client.get(address, params=rest)
    return await client.request(method, address, json=rest)


def shape(response: httpx.Response, asked: Mapping[str, Any]) -> tuple[int, str]:
    """The answer without the names that were asked, and without what differs each time."""
    text = MOVING.sub("~", response.text)
    for name in ("session", "principal", "proposal", "version", "resume_secret", "tenant"):
        text = text.replace(asked[name], f"<{name}>")
    return response.status_code, text


async def walk(world: World, things: Things) -> list[str]:
    """What the walker learned that it should not have; nothing, in a house that is in order."""
    learned: list[str] = []
    async with world.client(WALKER) as client, world.client("root") as root:
        document = (await root.get("/openapi.json")).json()
        for route in routes_of(document):
            learned += await _against(client, route, OTHER, NOBODY, things)
            learned += await _against(client, route, OWN, TWIN, things)
            if route.scope == "secret":
                guess = msgspec.structs.replace(things, secret="guessed")
                learned += await _against(client, route, OTHER, NOBODY, guess)
            if route.optional_tenant:
                learned += await _all_at_once(client, route, things)
    return learned


async def _against(
    client: httpx.AsyncClient, route: Route, tenant: str, other: str, things: Things
) -> Sequence[str]:
    """Asked about what is there and about what is not: one answer, and no canary but what was asked for."""
    theirs, none = values(tenant, things), values(other, MISSING)
    there, missing = await send(client, route, theirs), await send(client, route, none)
    if route.request(theirs) == route.request(none):  # it names nothing: the two are one question
        theirs = none
    learned = []
    if tenant == OTHER and route.scope == "tenant" and there.status_code != 404:
        learned.append(f"{route.name} of {tenant}: answers {there.status_code}, not 404: {there.text[:200]}")
    if route.scope == "fleet" and there.status_code != 403:
        learned.append(f"{route.name}: a tenant's principal gets {there.status_code}: {there.text[:200]}")
    if shape(there, theirs) != shape(missing, none) and not _has_secret(route, theirs):
        learned.append(f"{route.name} of {tenant}: {_difference(shape(there, theirs), shape(missing, none))}")
    left = there.text
    for name in ("session", "principal", "proposal", "resume_secret"):
        left = left.replace(str(theirs[name]), "")
    if CANARY in left and not _has_secret(route, theirs):
        learned.append(f"{route.name} of {tenant}: tells {left[:300]}")
    return learned


def _difference(one: tuple[int, str], other: tuple[int, str]) -> str:
    """Where two answers part."""
    place = next((at for at, (a, b) in enumerate(zip(one[1], other[1], strict=False)) if a != b), 0)
    return f"{one[0]} and {other[0]}, {one[1][max(place - 80, 0) : place + 80]!r} and {other[1][max(place - 80, 0) : place + 80]!r}"


def _has_secret(route: Route, said: Mapping[str, Any]) -> bool:
    """Who shows the right secret of the right session is its caller, whoever else it may be."""
    return route.scope == "secret" and (said["tenant"], said["resume_secret"]) == (OTHER, SECRET)


async def _all_at_once(client: httpx.AsyncClient, route: Route, things: Things) -> list[str]:
    said = values(OWN, things)
    without = msgspec.structs.replace(route, fields=tuple(one for one in route.fields if one != "tenant"))
    answer = await send(client, without, said)
    if answer.status_code == 403 and CANARY not in answer.text:
        return []
    return [f"{route.name} of all tenants: answers {answer.status_code}: {answer.text[:200]}"]


async def seen_by(world: World, name: str, things: Things, tenant: str) -> dict[str, str]:
    """All that a principal can read about the tenant, but the audit log, which grows by being read."""
    seen = {}
    async with world.client(name) as client, world.client("root") as root:
        document = (await root.get("/openapi.json")).json()
        for route in routes_of(document):
            if route.method == "GET" and route.scope == "tenant" and not route.name.startswith("audit."):
                answer = await send(client, route, values(tenant, things))
                seen[route.name] = f"{answer.status_code} {answer.text}"
    return seen
