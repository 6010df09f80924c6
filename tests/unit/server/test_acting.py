"""Taking an offered action: once for each key, through the door that everything else goes through, and honest about its end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from rspp.contract.errors import MisuseError, PeerFault, RsppError
from rspp.contract.surface import Coverage, Level, Row, Surface, Truth
from rspp.control.authority.leases import Lease, Leases, LeaseState, hash_of
from rspp.control.authority.members import Member, Membership, MemberState, fence
from rspp.control.names import MEMBERS, encoded
from rspp.control.names import key as store_key
from rspp.control.operations import operation_named
from rspp.control.operations.operation import Denied, NotFound
from rspp.control.plane import os_principal
from rspp.control.security.roles import EVERYWHERE, Principal, Role
from rspp.host.ports import Entry
from rspp.ops.health import Health, Reason, health_of
from rspp.ops.offers import OFFERS
from rspp.ops.surfaces import Surfaces
from rspp.server import acting
from rspp.server.acting import ACTS, UNKNOWN, ActionResult, State, Taking, act
from rspp.server.acting_routes import acting_routes
from rspp.server.app import assemble
from rspp.server.gate import Gate
from tests.unit.server.given import World, world

ROOT = os_principal()
OPERATOR = Principal(id="olga", roles={EVERYWHERE: (Role.OPERATOR,)})
VIEWER = Principal(id="vera", roles={EVERYWHERE: (Role.VIEWER,)})
ACMES = Principal(id="ann", roles={"acme": (Role.ADMIN,)})
BOLTS = Principal(id="rita", roles={"bolt": (Role.ADMIN,)})
SETTLE = "settle_worker:workers:w-1"
REVOKE = "revoke_lease:sessions:s-1:acme"


class Seen:
    """What the state engine says: reasons that a test makes."""

    def __init__(self, *reasons: Reason) -> None:
        self.reasons = reasons

    def health(self) -> Health:

        names = sorted({one.surface for one in self.reasons})
        declared = [
            Surface(
                name=name,
                owner="tests",
                summary="Made.",
                aggregate_type="thing",
                storage="memory",
                truth=Truth.CANONICAL,
                read="nothing",
                affects_health=True,
                coverage=Coverage.NONE,
            )
            for name in names
        ]
        rows = {
            name: [
                Row(
                    aggregate_id=one.aggregate_id,
                    state="ill",
                    tenant_id=one.tenant_id,
                    level=one.level,
                    reason=one.code,
                    message=one.message,
                    facts=one.facts,
                )
                for one in self.reasons
                if one.surface == name
            ]
            for name in names
        }
        return health_of(rows, Surfaces(declared), as_of_ms=1, sequence=1, stale=False)


def reason(code: str, surface: str, aggregate_id: str, tenant_id: str | None = None) -> Reason:
    return Reason(
        surface=surface,
        aggregate_id=aggregate_id,
        level=Level.FAILED,
        code=code,
        message="It is so.",
        tenant_id=tenant_id,
    )


LOST = reason("worker_lost", "workers", "w-1")
DEGRADED = reason("session_degraded", "sessions", "s-1", "acme")


def given(scene: Callable[[World], Awaitable[None]], folder: Path) -> None:
    """A fleet with a lost worker w-1, and acme's session s-1."""

    async def main() -> None:
        async with world(folder) as made:
            store = made.plane.store
            for name in ("w-1", "w-2"):
                member = Member(id=name, kind="worker", ttl_ms=60_000, capacity=10, ready=True)
                await Membership(store, made.plane.clock, member).join()
            await fence(store, "w-1", "killed")
            lease = Lease(
                tenant_id="acme",
                session_id="s-1",
                owner="w-2",
                graph_ref="graph/voice@v1",
                resume_hash=hash_of("secret"),
            )
            await Leases(store, "w-2").acquire(lease)
            await scene(made)

    asyncio.run(main())


async def member(made: World, name: str) -> Any:
    entry = await made.plane.store.get(MEMBERS, encoded(name))
    assert entry is not None
    return msgspec.json.decode(entry.value, type=Member)


async def records(made: World, **query: Any) -> list[dict[str, Any]]:
    async with made.client("root") as client:
        said = (await client.get("/v1/audit", params={"limit": 1000, **query})).json()
    return list(said["items"])


# ---- once ------------------------------------------------------------------------------------------------------------


def test_what_is_offered_is_done_and_is_on_record_with_its_action_and_its_key(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        result = await act(made.plane, Seen(LOST), OPERATOR, SETTLE, "k1", "the disk died")
        assert result == ActionResult(id=SETTLE, done=True)
        assert (await member(made, "w-1")).state is MemberState.LEFT
        done, allowed = await records(made, action="workers.settle")
        for one in (done, allowed):
            assert one["principal"] == "olga"
            assert (one["facts"]["action"], one["facts"]["key"]) == (SETTLE, "k1")
            assert one["facts"]["reason"] == "the disk died"
        assert (done["decision"], allowed["decision"]) == ("done", "allow")

    given(scene, tmp_path)


def test_the_same_key_is_the_same_taking_and_is_answered_alike_when_nothing_is_offered_any_more(
    tmp_path: Path,
) -> None:
    async def scene(made: World) -> None:
        first = await act(made.plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r")
        again = await act(made.plane, Seen(), OPERATOR, SETTLE, "k1", "another word")
        assert again == msgspec.structs.replace(first, repeated=True)
        assert len(await records(made, action="workers.settle")) == 2, "one intent, one end"
        with pytest.raises(NotFound):
            await act(made.plane, Seen(), OPERATOR, SETTLE, "k2", "r")

    given(scene, tmp_path)


def test_many_at_once_with_one_key_do_it_once_and_hear_the_same(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        engine = Seen(LOST)
        get = made.plane.store.get

        async def slowly(bucket: str, key: str) -> Entry | None:
            found = await get(bucket, key)
            await asyncio.sleep(0.001)  # what was read may be old by the time that it is acted upon
            return found

        made.plane.store.get = slowly  # type: ignore[method-assign]
        answers = await asyncio.gather(
            *(act(made.plane, engine, OPERATOR, SETTLE, "k1", "r") for _ in range(20))
        )
        assert [one.done for one in answers] == [True] * 20
        assert sorted(one.repeated for one in answers) == [False] + [True] * 19
        assert len(await records(made, action="workers.settle")) == 2

    given(scene, tmp_path)


def test_a_key_belongs_to_who_used_it_and_to_one_action(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        engine = Seen(LOST, DEGRADED)
        await act(made.plane, engine, ROOT, SETTLE, "k1", "r")
        with pytest.raises(MisuseError, match="action_key_reused"):
            await act(made.plane, engine, ROOT, REVOKE, "k1", "r")
        other = await act(made.plane, engine, OPERATOR, SETTLE, "k1", "r")
        assert (other.done, other.repeated, other.code) == (False, False, "worker_not_lost")

    given(scene, tmp_path)


def test_what_the_door_says_no_to_is_the_answer_for_this_key_and_not_for_the_next(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        engine = Seen(reason("worker_lost", "workers", "w-2"))
        lives = "settle_worker:workers:w-2"
        first = await act(made.plane, engine, OPERATOR, lives, "k1", "r")
        assert (first.done, first.code) == (False, "worker_not_lost")
        await fence(made.plane.store, "w-2", "killed")
        again = await act(made.plane, engine, OPERATOR, lives, "k1", "r")
        assert (again.done, again.code, again.repeated) == (False, "worker_not_lost", True)
        assert (await act(made.plane, engine, OPERATOR, lives, "k2", "r")).done

    given(scene, tmp_path)


# ---- and when something dies in between -------------------------------------------------------------------------------


async def _taking(made: World, ago_ms: int) -> None:
    """As a process leaves it that dies between taking and done."""
    begun = Taking(action=SETTLE, state=State.TAKING, at_ms=made.plane.wall_ms() - ago_ms)
    await made.plane.store.put(ACTS, store_key("olga", "k1"), msgspec.json.encode(begun), expect=0)


def test_who_dies_between_taking_and_done_leaves_an_end_that_nobody_knows_and_that_is_the_answer(
    tmp_path: Path,
) -> None:
    async def scene(made: World) -> None:
        await _taking(made, acting.TAKING_MS_MAX + 1)
        answer = await act(made.plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r")
        assert (answer.done, answer.repeated, answer.code) == (False, True, UNKNOWN)
        assert "workers" in answer.message, "it says where to look"
        assert "new key" in answer.message
        assert (await member(made, "w-1")).state is MemberState.LOST, "and does not do it perhaps twice"

    given(scene, tmp_path)


def test_who_comes_while_it_is_being_done_waits_for_the_end(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        await _taking(made, 0)
        waiting = asyncio.create_task(act(made.plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r"))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        over = Taking(action=SETTLE, state=State.OVER, at_ms=made.plane.wall_ms(), done=True)
        await made.plane.store.put(ACTS, store_key("olga", "k1"), msgspec.json.encode(over))
        assert await waiting == ActionResult(id=SETTLE, done=True, repeated=True)

    given(scene, tmp_path)


def test_a_store_that_does_not_keep_the_end_changes_nothing_about_it(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        plane, put = made.plane, made.plane.store.put

        async def failing(bucket: str, key: str, value: bytes, **how: Any) -> Any:
            if bucket == ACTS and how.get("expect"):
                raise PeerFault("store_unreachable", "gone")
            return await put(bucket, key, value, **how)

        plane.store.put = failing  # type: ignore[method-assign]
        assert (await act(plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r")).done
        assert (await member(made, "w-1")).state is MemberState.LEFT

    given(scene, tmp_path)


def test_nothing_is_done_where_that_it_is_begun_cannot_be_kept(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        plane, put = made.plane, made.plane.store.put

        async def failing(bucket: str, key: str, value: bytes, **how: Any) -> Any:
            if bucket == ACTS:
                raise PeerFault("store_unreachable", "gone")
            return await put(bucket, key, value, **how)

        plane.store.put = failing  # type: ignore[method-assign]
        with pytest.raises(PeerFault, match="gone"):
            await act(plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r")
        assert (await member(made, "w-1")).state is MemberState.LOST

    given(scene, tmp_path)


def test_what_is_no_record_of_an_action_is_not_taken_for_one(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        await made.plane.store.put(ACTS, store_key("olga", "k1"), b"\xff{", expect=0)
        with pytest.raises(MisuseError, match="action_key_reused"):
            await act(made.plane, Seen(LOST), OPERATOR, SETTLE, "k1", "r")

    given(scene, tmp_path)


# ---- who may ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "done"), [(VIEWER, False), (OPERATOR, False), (ROOT, True), (ACMES, True)])
def test_an_action_needs_the_role_of_its_operation_and_a_refusal_is_on_record(
    tmp_path: Path, who: Principal, done: bool
) -> None:
    async def scene(made: World) -> None:
        engine = Seen(DEGRADED)
        if done:
            assert (await act(made.plane, engine, who, REVOKE, "k1", "r")).done
        else:
            with pytest.raises(Denied):
                await act(made.plane, engine, who, REVOKE, "k1", "r")
            (denial,) = await records(made, principal=who.id, decision="deny")
            assert (denial["action"], denial["facts"]["action"]) == ("sessions.revoke", REVOKE)
            assert await made.plane.store.keys(ACTS) == []
        held = await made.plane.leases.get("acme", "s-1")
        assert held is not None
        assert (held.lease.state is LeaseState.REVOKED) is done

    given(scene, tmp_path)


@pytest.mark.parametrize("who", [BOLTS, Principal(id="nobody")])
def test_what_is_anothers_is_not_found_as_if_it_were_not_there(tmp_path: Path, who: Principal) -> None:
    async def scene(made: World) -> None:
        said = []
        for engine in (Seen(DEGRADED, LOST), Seen()):
            for action in (REVOKE, SETTLE):
                with pytest.raises(NotFound) as refused:
                    await act(made.plane, engine, who, action, "k1", "r")
                said.append((refused.value.code, refused.value.message))
        assert len(set(said)) == 1
        denials = await records(made, principal=who.id, decision="deny")
        assert len(denials) == 4, "and each try is on record, with the fleet"
        assert {one["tenant"] for one in denials} == {"*"}

    given(scene, tmp_path)


@pytest.mark.parametrize(
    ("action", "key", "why"),
    [
        (SETTLE, "", "r"),
        (SETTLE, "k" * 129, "r"),
        (SETTLE, "with space", "r"),
        (SETTLE, "line\nbreak", "r"),
        (SETTLE, "é", "r"),
        (SETTLE, "k1", ""),
        (SETTLE, "k1", "r" * 401),
        ("", "k1", "r"),
        ("x" * 2_001, "k1", "r"),
    ],
)
def test_what_is_malformed_is_refused_before_anything_is_looked_at(
    tmp_path: Path, action: str, key: str, why: str
) -> None:
    async def scene(made: World) -> None:
        with pytest.raises(RsppError):
            await act(made.plane, Seen(LOST), OPERATOR, action, key, why)
        assert await made.plane.store.keys(ACTS) == []

    given(scene, tmp_path)


# ---- over REST ------------------------------------------------------------------------------------------------------------


def rest(made: World, engine: Any) -> Callable[[str | None], httpx.AsyncClient]:
    plane = made.plane
    gate = Gate(plane.clock, plane.authenticate, plane.audit_stranger)
    transport = httpx.ASGITransport(app=assemble(acting_routes(plane, engine, gate)))

    def client(name: str | None) -> httpx.AsyncClient:
        headers = {} if name is None else {"authorization": f"Bearer {made.token(name)}"}
        return httpx.AsyncClient(transport=transport, base_url="http://console", headers=headers)

    return client


def _levels(said: Any) -> tuple[str, Sequence[str]]:
    return said["level"], [one["code"] for one in said["reasons"]]


def test_over_rest_each_sees_the_health_of_its_own_and_takes_what_it_may(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        for name, tenant, role in (
            ("op", "*", "operator"),
            ("ann", "acme", "admin"),
            ("rita", "bolt", "admin"),
        ):
            await made.principal(name, {tenant: Role(role)})
        client = rest(made, Seen(LOST, DEGRADED))
        async with client("op") as op, client("ann") as ann, client("rita") as rita, client(None) as nobody:
            assert _levels((await op.get("/v1/health")).json()) == (
                "failed",
                ["session_degraded", "worker_lost"],
            )
            assert _levels((await ann.get("/v1/health")).json()) == ("failed", ["session_degraded"])
            assert _levels((await rita.get("/v1/health")).json()) == ("ok", [])
            offered = {
                one["action"]["id"]: one["allowed"] for one in (await op.get("/v1/actions")).json()["items"]
            }
            assert offered[SETTLE]
            assert not offered[REVOKE], "the operator sees it, and may not"
            assert (await rita.get("/v1/actions")).json() == {"items": []}
            for method, path in (
                ("GET", "/v1/health"),
                ("GET", "/v1/actions"),
                ("POST", f"/v1/actions/{SETTLE}"),
            ):
                assert (await nobody.request(method, path)).status_code == 401
            body = {"key": "k1", "reason": "r"}
            assert (await rita.post(f"/v1/actions/{SETTLE}", json=body)).status_code == 404
            assert (await op.post(f"/v1/actions/{REVOKE}", json=body)).status_code == 403
            taken = await op.post(f"/v1/actions/{SETTLE}", json=body)
            assert (taken.status_code, taken.json()["done"]) == (200, True)
            assert (await op.post(f"/v1/actions/{SETTLE}", json=body)).json()["repeated"]
            assert (await op.post(f"/v1/actions/{REVOKE}", json={"key": "k1"})).status_code in (400, 422)
            assert (await op.post(f"/v1/actions/{REVOKE}", content=b"x" * 9_000)).status_code == 413

    given(scene, tmp_path)


def test_one_row_that_no_operation_can_read_hides_no_other_action(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        await made.principal("op", {"*": Role.OPERATOR})
        async with rest(made, Seen(LOST, reason("worker_lost", "workers", "w" * 500)))("op") as op:
            answer = await op.get("/v1/actions")
            assert answer.status_code == 200
            allowed = {one["action"]["aggregate_id"]: one["allowed"] for one in answer.json()["items"]}
            assert allowed == {"w-1": True, "w" * 500: False}
            body = {"key": "k1", "reason": "r"}
            refused = await op.post(f"/v1/actions/settle_worker:workers:{'w' * 500}", json=body)
            assert refused.status_code in (400, 422)

    given(scene, tmp_path)


def test_who_has_no_role_anywhere_is_told_so_and_it_is_on_record(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        await made.principal("nina", {})
        client = rest(made, Seen(LOST))
        async with client("nina") as nina:
            assert (await nina.get("/v1/health")).status_code == 403
            assert (await nina.get("/v1/actions")).status_code == 403
        assert {one[0] for one in await made.denials("nina")} == {"runtime.health", "runtime.actions"}

    given(scene, tmp_path)


def test_an_id_with_a_slash_reaches_its_action(tmp_path: Path) -> None:
    async def scene(made: World) -> None:
        slashed = reason("session_degraded", "sessions", "a/b:c", "acme")
        await made.principal("ann", {"acme": Role.ADMIN})
        async with rest(made, Seen(slashed))("ann") as ann:
            (one, *_) = (await ann.get("/v1/actions")).json()["items"]
            quoted = quote(one["action"]["id"], safe="")
            answer = await ann.post(f"/v1/actions/{quoted}", json={"key": "k", "reason": "r"})
            assert (answer.status_code, answer.json()["code"]) == (200, "not_found"), (
                "the session, not the action"
            )

    given(scene, tmp_path)


def test_every_operation_that_is_offered_ends_within_the_time_that_is_waited_for_it() -> None:
    for offer in OFFERS:
        fields = msgspec.structs.fields(operation_named(offer.operation).request)
        waits_ms = [one.default for one in fields if one.name == "within_ms"]
        assert all(one < acting.TAKING_MS_MAX for one in waits_ms), offer.kind


def test_entries_of_other_kinds_are_left_alone() -> None:
    with pytest.raises(MisuseError):
        acting._taking(Entry("k", b"[]", 1))
