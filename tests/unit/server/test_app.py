"""What the application does with requests that are malformed, oversized, repeated, unauthenticated or simply good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message

from rspp.contract.codes import CODES
from rspp.contract.errors import PeerFault
from rspp.control.operations import OPERATIONS
from rspp.control.operations.operation import Nothing, Operation
from rspp.control.operations.pipelines import Names
from rspp.control.plane import ControlPlane
from rspp.control.security.roles import EVERYWHERE, Permission, Principal, Role
from rspp.server.app import make_app, supervised
from rspp.server.faults import STATUS_OF_CODE
from rspp.server.openapi import document
from tests.unit.control.published import spec_text
from tests.unit.server.given import ROOT, World, world


def fault(response: Any, status: int, code: str) -> dict[str, Any]:
    """Every refusal has one shape, and a code that the table of codes explains."""
    body: dict[str, Any] = response.json()
    assert set(body) == {"code", "message", "path", "retry_after_ms"}
    assert (response.status_code, body["code"]) == (status, code), response.text
    assert code in CODES
    assert "Traceback" not in response.text
    return body


@pytest.mark.slow
@pytest.mark.slow
def test_the_openapi_document_is_a_valid_one() -> None:
    from openapi_spec_validator import OpenAPIV31SpecValidator  # its import alone takes a second

    text = msgspec.json.decode(msgspec.json.encode(document(OPERATIONS)))
    OpenAPIV31SpecValidator(text).validate()
    text["paths"]["/v1/me"]["get"]["responses"] = 7
    with pytest.raises(Exception, match="7 is not of type"):
        OpenAPIV31SpecValidator(text).validate()


def test_the_openapi_document_says_what_each_route_does(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            said = (await root.get("/openapi.json")).json()
            for operation in OPERATIONS:
                entry = said["paths"][operation.path][operation.method.lower()]
                assert entry["x-rspp-permission"] == operation.permission.value
                assert entry["x-rspp-scope"] == operation.scope.value
                assert {"200", "401", "403", "404"} <= set(entry["responses"])

    asyncio.run(main())


def test_every_example_of_the_table_is_a_request_that_its_operation_takes() -> None:
    for operation in OPERATIONS:
        msgspec.convert(dict(operation.example), operation.request)


@pytest.mark.parametrize(
    ("body", "status", "code", "path"),
    [
        (b"{", 400, "truncated", None),
        (b"[]", 422, "type_mismatch", None),
        (b'{"text": "a"} x', 400, "trailing_bytes", None),
        (b'{"text": "a", "text": "b"}', 400, "key_repeated", "text"),
        (b'{"text": 7}', 422, "type_mismatch", "text"),
        (b"{}", 422, "field_missing", "text"),
        (b'{"text": "a", "more": 1}', 422, "field_unknown", "more"),
        (b'{"text": "\xff"}', 400, "text_not_utf8", None),
        (b'{"text": ' + b"[" * 60 + b"]" * 60 + b"}", 400, "nesting_too_deep", None),
        (b'{"text": NaN}', 422, "number_not_finite", "text"),
        (b'{"text": "' + b"a" * 1_100_000 + b'"}', 413, "payload_too_large", None),
    ],
    ids=["cut", "list", "trailing", "twice", "number", "missing", "unknown", "bytes", "deep", "nan", "large"],
)
def test_a_body_that_is_not_what_it_must_be_is_refused_by_field(
    tmp_path: Path, body: bytes, status: int, code: str, path: str | None
) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            headers = {"content-type": "application/json"}
            said = fault(await root.post("/v1/pipelines", content=body, headers=headers), status, code)
            assert path is None or said["path"] == path

    asyncio.run(main())


def test_a_body_without_an_end_is_read_no_further_than_its_bound(tmp_path: Path) -> None:
    async def main() -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 64:
                sent += 1
                yield b" " * 65_536

        async with world(tmp_path) as made, made.client("root") as root:
            answer = await root.post("/v1/pipelines", content=endless())
            fault(answer, 413, "payload_too_large")

    asyncio.run(main())


def test_addresses_say_each_field_once_and_bodies_repeat_no_part_of_the_path(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            fault(await root.get("/v1/sessions?tenant=a&tenant=b"), 400, "key_repeated")
            fault(await root.get("/v1/sessions?limit=ten"), 422, "type_mismatch")
            fault(await root.get("/v1/sessions?limit=0"), 422, "value_invalid")
            fault(await root.get("/v1/sessions?other=1"), 422, "field_unknown")
            fault(await root.get("/v1/sessions?tenant=" + "a" * 5_000), 413, "payload_too_large")
            body = {"pipeline": "b", "reason": "r"}
            fault(await root.post("/v1/rollouts/a/promote", json=body), 400, "key_repeated")
            fault(await root.post("/v1/backups?a=b"), 422, "field_unknown")
            text = await root.post("/v1/pipelines", content=b"text=a", headers={"content-type": "text/plain"})
            fault(text, 415, "media_type_unsupported")

    asyncio.run(main())


def test_unknown_addresses_answer_like_missing_things_and_methods_are_named(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            unknown = await root.get("/v1/nothing/of/the/kind")
            fault(unknown, 404, "not_found")
            missing = await root.get("/v1/tenants/acme/sessions/none")
            assert (missing.status_code, missing.content) == (unknown.status_code, unknown.content)
            wrong = await root.delete("/v1/pipelines")
            fault(wrong, 405, "method_not_allowed")
            assert "GET" in wrong.headers["allow"] or "POST" in wrong.headers["allow"]

    asyncio.run(main())


def test_a_request_has_its_callers_id_or_one_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            named = await root.get("/v1/me", headers={"x-request-id": "abc-1_2"})
            assert named.headers["x-request-id"] == "abc-1_2"
            for bad in ("a b", "x" * 65, "", "a\u00e4".encode("latin-1").decode("latin-1")):
                answer = await root.get("/v1/me", headers=[(b"x-request-id", bad.encode("latin-1"))])
                assert answer.headers["x-request-id"] not in ("", bad)
            assert named.headers["cache-control"] == "no-store"

    asyncio.run(main())


async def _breaks(_: ControlPlane, __: Principal, ___: Nothing) -> Names:
    raise ZeroDivisionError("a secret of the inside")


def test_what_breaks_inside_is_told_without_the_inside(tmp_path: Path, caplog: Any) -> None:
    row = Operation(
        name="new.row",
        method="GET",
        path="/v1/new",
        request=Nothing,
        response=Names,
        permission=Permission.SESSIONS_READ,
        handler=_breaks,
        summary="New.",
    )

    async def main() -> None:
        async with world(tmp_path, (row,)) as made, made.client("root") as root:
            answer = await root.get("/v1/new")
            fault(answer, 500, "runtime_internal_error")
            assert "secret" not in answer.text
            assert answer.headers["x-request-id"] in caplog.text

    asyncio.run(main())


def test_whoever_goes_before_the_question_is_out_is_no_failure_of_ours(caplog: Any) -> None:
    async def cut() -> Message:
        return {"type": "http.disconnect"}

    async def read(request: Request) -> Response:
        return Response(await request.body())

    async def main() -> Response:
        return await supervised(read)(Request({"type": "http", "method": "POST", "headers": []}, cut))

    assert asyncio.run(main()).status_code == 400
    assert not caplog.records


def test_wrong_tokens_are_one_answer_on_record_and_make_their_address_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            token = made.token("root")
            wrong = ["", "x", "a.b.c", token[:-2] + ("AA" if not token.endswith("AA") else "BB"), token + "x"]
            bodies = set()
            async with made.client(None) as client:
                for one in wrong:
                    answer = await client.get("/v1/me", headers={"authorization": f"Bearer {one}"})
                    fault(answer, 401, "unauthenticated")
                    assert answer.headers["www-authenticate"] == "Bearer"
                    bodies.add(answer.text) if one else None
                assert len(bodies) == 1
                wrong_again = {"authorization": "Bearer x.y.z"}
                await client.get("/v1/me", headers=wrong_again)
                answer = await client.get("/v1/me", headers=wrong_again)
                fault(answer, 429, "authentication_paused")
                assert 0 < answer.json()["retry_after_ms"] <= 1_000
                assert answer.headers["retry-after"] == "1"
            async with made.client("root", "192.0.2.2") as other:
                assert (await other.get("/v1/me")).status_code == 200
                denied = (await other.get("/v1/audit", params={"principal": "anonymous"})).json()["items"]
            assert len(denied) >= 4
            assert {one["facts"]["address"] for one in denied} == {"192.0.2.1"}
            assert "token_signature_invalid" in {one["reason"] for one in denied}

    asyncio.run(main())


def test_a_change_that_cannot_be_put_on_record_is_not_made(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:

            async def broken(*_: object) -> int:
                raise PeerFault("store_unreachable", "no answer")

            made.store.append = broken  # type: ignore[method-assign, assignment]
            answer = await root.post("/v1/pipelines", json={"text": spec_text()})
            fault(answer, 503, "audit_sink_write_failed")
            assert await made.plane.registry.pipelines() == []

    asyncio.run(main())


def test_a_store_that_is_away_makes_the_service_unready_and_not_dead(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made, made.client(None) as nobody, made.client("root") as root:
            assert (await nobody.get("/readyz")).json() == {"ready": True, "reasons": []}

            async def away(*_: object) -> None:
                raise PeerFault("store_unreachable", "no answer")

            made.store.get = away  # type: ignore[method-assign, assignment]
            unready = await nobody.get("/readyz")
            assert (unready.status_code, unready.json()["reasons"]) == (503, ["store_unreachable"])
            assert (await nobody.get("/livez")).status_code == 200
            fault(await root.get("/v1/me"), 503, "store_unreachable")

    asyncio.run(main())


def test_other_faces_stand_beside_the_control_planes_routes(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:

            async def page(_: Any) -> Any:
                raise PeerFault("not_found", "of another face")

            app = make_app(made.plane, more=[Route("/console", page)])
            made.app = app
            async with made.client("root") as root:
                assert (await root.get("/console")).json()["message"] == "of another face"
                assert (await root.get("/v1/me")).status_code == 200

    asyncio.run(main())


def test_every_code_with_a_status_is_a_code() -> None:
    for code in STATUS_OF_CODE:
        assert code in CODES or (code.endswith("*") and any(one.startswith(code[:-1]) for one in CODES)), code


# ---- consent --------------------------------------------------------------------------------------------------------


@pytest.mark.proves("F-165")
def test_a_change_waits_for_the_consent_of_somebody_else_and_is_made_once(tmp_path: Path) -> None:
    """Rollouts and policies: unapproved is blocked and on record; another's approval lets it through; one's own does not."""

    async def main() -> None:
        async with world(tmp_path) as made:
            await _with_two_admins(made)
            async with made.client("ada") as ada, made.client("ben") as ben:
                rule = {"kinds": ["rollout.promote", "policies.activate"], "reason": "production"}
                assert (await ada.put("/v1/approval-rule", json=rule)).status_code == 200
                promote = {"version": "v1.1", "reason": "now"}
                fault(await ada.post("/v1/rollouts/voice/promote", json=promote), 409, "approval_missing")
                assert ("approvals.require", EVERYWHERE) in await made.denials("ada")
                wish = {
                    "operation": "rollout.promote",
                    "request": {"pipeline": "voice", "version": "v1.1", "reason": "x"},
                }
                made_one = await ada.post("/v1/tenants/*/approvals", json={**wish, "reason": "for all"})
                name = made_one.json()["proposal"]
                decide = f"/v1/tenants/*/approvals/{name}/approve"
                fault(await ada.post(decide, json={"reason": "mine"}), 403, "approval_self")
                fault(await ada.post("/v1/rollouts/voice/promote", json=promote), 409, "approval_missing")
                assert (await ben.post(decide, json={"reason": "seen"})).json()["state"] == "approved"
                done = await ada.post("/v1/rollouts/voice/promote", json=promote)
                assert done.json()["rollout"]["base"] == "v1.1", done.text
                again = await ada.post("/v1/rollouts/voice/promote", json=promote)
                fault(again, 409, "approval_missing")  # one consent, one change
                activate = "/v1/tenants/acme/policies/versions/p1/activate"
                fault(await ada.post(activate, json={"reason": "now"}), 409, "approval_missing")
                request = {"tenant": "acme", "version": "p1", "reason": "x"}
                wish = {"operation": "policies.activate", "request": request}
                name = (await ben.post("/v1/tenants/acme/approvals", json={**wish, "reason": "r"})).json()[
                    "proposal"
                ]
                wrong = await ada.post("/v1/tenants/*/approvals", json={**wish, "reason": "r"})
                fault(wrong, 422, "approval_invalid")
                done = await ada.post(f"/v1/tenants/acme/approvals/{name}/approve", json={"reason": "ok"})
                assert done.status_code == 200
                assert (await ada.post(activate, json={"reason": "now"})).json()["version"] == "p1"

    asyncio.run(main())


def test_the_rule_of_consent_is_changed_by_two_and_guards_what_there_is(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as made:
            await _with_two_admins(made)
            async with made.client("ada") as ada, made.client("ben") as ben:
                wrong = await ada.put("/v1/approval-rule", json={"kinds": ["rollout.promot"], "reason": "r"})
                assert fault(wrong, 422, "approval_invalid")["path"] == "kinds"
                rule = {"kinds": ["*"], "reason": "production"}
                assert (await ada.put("/v1/approval-rule", json=rule)).status_code == 200
                none = {"kinds": [], "reason": "holidays"}
                fault(await ada.put("/v1/approval-rule", json=none), 409, "approval_missing")
                wish = {"operation": "approvals.set_rule", "request": none, "reason": "r"}
                name = (await ada.post("/v1/tenants/*/approvals", json=wish)).json()["proposal"]
                done = await ben.post(f"/v1/tenants/*/approvals/{name}/approve", json={"reason": "ok"})
                assert done.status_code == 200, done.text
                assert (await ada.put("/v1/approval-rule", json=none)).json() == {"kinds": []}

    asyncio.run(main())


async def _with_two_admins(made: World) -> None:
    for name in ("ada", "ben"):
        await made.principal(name, {EVERYWHERE: Role.ADMIN})
    plane = made.plane
    for version in ("v1", "v1.1"):
        await plane.registry.publish(spec_text(version), ROOT.id)
    await plane.rollouts.begin("voice", "v1", author=ROOT.id)
    async with made.client("ada") as ada:
        body = {"version": "v1.1", "percent": 10, "reason": "try"}
        assert (await ada.post("/v1/rollouts/voice/canary", json=body)).status_code == 200
        published = await ada.put("/v1/tenants/acme/policies/versions/p1", json={"text": "tier: gold"})
        assert published.status_code == 200, published.text


def test_who_has_put_a_rollout_in_force_is_sent_by_it_at_once(tmp_path: Path) -> None:
    """The view of this process is not followed here: it knows what it has looked at."""

    async def main() -> None:
        async with world(tmp_path) as made, made.client("root") as root:
            await made.plane.registry.publish(spec_text("v1"), ROOT.id)
            await made.plane.view.sync()
            begun = await root.post("/v1/rollouts/voice/begin", json={"version": "v1", "reason": "r"})
            assert begun.status_code == 200, begun.text
            assert await made.plane.version_for("acme", "s1", "voice") == "voice@v1"

    asyncio.run(main())
