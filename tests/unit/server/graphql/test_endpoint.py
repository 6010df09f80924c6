"""One address, one question, one token: everything else is refused in the shape that every other interface has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.codes import CODES
from rspp.contract.surface import Level, Row
from rspp.server.graphql.limits import BODY_BYTES_MAX
from tests.unit.server.given_console import ConsoleWorld, console

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

ME = {"query": "{ me { id everywhere tenants } }"}


def told(response: Any, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["errors"][0]["extensions"]["code"]) == (status, code), response.text
    assert "data" not in body
    assert code in CODES
    assert "Traceback" not in response.text
    return body


def test_who_has_a_token_is_answered_and_who_has_none_or_a_wrong_one_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            assert (await made.data("fay", ME["query"]))["me"] == {
                "id": "fay",
                "everywhere": True,
                "tenants": [],
            }
            assert (await made.data("ann", ME["query"]))["me"]["tenants"] == ["acme"]
            async with made.client(None) as nobody:
                answer = await nobody.post("/graphql", json=ME)
                told(answer, 401, "unauthenticated")
                assert answer.headers["www-authenticate"] == "Bearer"
                cookies = {
                    "cookie": f"authorization=Bearer {made.of.token('fay')}; token={made.of.token('fay')}"
                }
                told(await nobody.post("/graphql", json=ME, headers=cookies), 401, "unauthenticated")
                wrong = await nobody.post("/graphql", json=ME, headers={"authorization": "Bearer x.y.z"})
                for _ in range(5):
                    wrong = await nobody.post("/graphql", json=ME, headers={"authorization": "Bearer x.y.z"})
                answer = await nobody.post("/graphql", json=ME, headers={"authorization": "Bearer x.y.z"})
                assert wrong.status_code == 401
                told(answer, 429, "authentication_paused")
                # The door is one: whoever waits here waits there.
                me = await nobody.get("/v1/me", headers={"authorization": "Bearer x.y.z"})
                assert me.status_code == 429

    asyncio.run(main())


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "broken": (b'{"query": ', 400, "truncated"),
    "no object": (b'"{ me { id } }"', 422, "type_mismatch"),
    "batch": (b'[{"query": "{ me { id } }"}, {"query": "{ me { id } }"}]', 422, "type_mismatch"),
    "nothing": (b"", 400, "truncated"),
    "no query": (b"{}", 422, "field_missing"),
    "another field": (b'{"query": "{ me { id } }", "id": 1}', 422, "field_unknown"),
    "query twice": (b'{"query": "{ me { id } }", "query": "{ me { id } }"}', 400, "key_repeated"),
    "variables that are none": (b'{"query": "{ me { id } }", "variables": [1]}', 422, "type_mismatch"),
    "deep variables": (
        b'{"query": "{ me { id } }", "variables": {"a": ' + b"[" * 60 + b"]" * 60 + b"}}",
        400,
        "nesting_too_deep",
    ),
    "no text": (b'{"query": "{ me \xff }"}', 400, "text_not_utf8"),
    "no graphql": (b'{"query": "SELECT 1"}', 400, "query_invalid"),
    "unknown field": (b'{"query": "{ secrets }"}', 400, "query_invalid"),
    "unknown operation": (b'{"query": "query a { me { id } }", "operationName": "b"}', 400, "query_invalid"),
    "two operations": (b'{"query": "query a { me { id } } query b { me { id } }"}', 400, "query_invalid"),
    "variable missing": (
        b'{"query": "query a($s: String!) { rows(surface: $s) { total } }"}',
        400,
        "query_invalid",
    ),
    "subscription": (b'{"query": "subscription { me { id } }"}', 400, "query_invalid"),
    "deep": (b'{"query": "' + b"{a" * 9_000 + b'"}', 400, "query_too_deep"),
    "aliases": (
        b'{"query": "{' + b" ".join(b"a%d: me { id }" % n for n in range(100)) + b'}"}',
        400,
        "query_too_large",
    ),
    "larger than may be": (b'{"query": "' + b"a" * BODY_BYTES_MAX + b'"}', 413, "payload_too_large"),
}  # fmt: skip


def test_bodies_that_are_no_question_are_refused_by_code(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            for name, (body, status, code) in HOSTILE.items():
                headers = {"content-type": "application/json"}
                answer = await client.post("/graphql", content=body, headers=headers)
                assert (name, answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) == (
                    name,
                    status,
                    code,
                )
                told(answer, status, code)

    asyncio.run(main())


@pytest.mark.parametrize("after", ["1e999", "-1", "1e300"])
def test_a_number_that_no_journal_has_is_told_by_its_field(tmp_path: Path, after: str) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            query = {"query": f"{{ journal(after: {after}) {{ last }} }}"}
            (error,) = (await client.post("/graphql", json=query)).json()["errors"]
            assert (error["extensions"]["code"], error["extensions"]["path"]) == (
                "number_out_of_range",
                "after",
            )

    asyncio.run(main())


def test_ten_megabytes_are_not_even_listened_to(tmp_path: Path) -> None:
    async def main() -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while sent < 160:
                sent += 1
                yield b" " * 65_536

        async with console(tmp_path) as made, made.client("fay") as client:
            told(await client.post("/graphql", content=endless()), 413, "payload_too_large")
            answer = await client.post("/graphql", content=b"{}", headers={"content-length": "10485760"})
            told(answer, 413, "payload_too_large")

    asyncio.run(main())


def test_there_is_no_get_no_other_type_and_nothing_in_the_address(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            got = await client.get("/graphql", params={"query": "{ me { id } }"})
            assert (got.status_code, got.json()["code"]) == (405, "method_not_allowed")
            told(await client.post("/graphql?query={me{id}}", json=ME), 422, "field_unknown")
            form = await client.post("/graphql", data={"query": "{ me { id } }"})
            told(form, 415, "media_type_unsupported")
            text = await client.post("/graphql", content=b"{}", headers={"content-type": "text/plain"})
            told(text, 415, "media_type_unsupported")

    asyncio.run(main())


def test_the_schema_is_told_to_whoever_has_a_token_and_to_nobody_else(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            types = (await made.data("ann", "{ __schema { types { name } } }"))["__schema"]["types"]
            assert {"name": "Session"} in types
            async with made.client(None) as nobody:
                answer = await nobody.post("/graphql", json={"query": "{ __schema { types { name } } }"})
                told(answer, 401, "unauthenticated")

    asyncio.run(main())


def test_what_breaks_inside_is_told_without_the_inside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            body = {"query": '{ session(tenant: "acme", id: "broken") { withheld } me { id } }'}
            answer = await client.post("/graphql", json=body, headers={"x-request-id": "r-1"})
            said = answer.json()
            assert answer.status_code == 200
            assert said["data"] == {"session": None, "me": {"id": "fay"}}
            assert said["errors"][0]["extensions"] == {"code": "runtime_internal_error"}
            assert said["errors"][0]["path"] == ["session"]
            assert "secret" not in answer.text
            assert "r-1" in caplog.text

    asyncio.run(main())


def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.server.graphql.endpoint.QUERY_S_MAX", 0.05)

    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            hanging = asyncio.Event()

            async def never(*_: Any) -> None:
                await hanging.wait()

            made.recorded.session = never  # type: ignore[method-assign, assignment]
            body = {"query": '{ session(tenant: "acme", id: "s-1") { withheld } }'}
            told(await client.post("/graphql", json=body), 504, "query_late")

    asyncio.run(main())


def test_more_questions_at_once_than_may_be_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.graphql.endpoint.AT_ONCE_MAX", 1)

    async def main() -> None:
        async with console(tmp_path) as made, made.client("fay") as client:
            begun, go_on = asyncio.Event(), asyncio.Event()

            async def waits(*_: Any) -> None:
                begun.set()
                await go_on.wait()

            made.recorded.session = waits  # type: ignore[method-assign, assignment]
            body = {"query": '{ session(tenant: "acme", id: "s-1") { withheld } }'}
            first = asyncio.create_task(client.post("/graphql", json=body))
            await asyncio.wait_for(begun.wait(), 5)
            answer = await client.post("/graphql", json=ME)
            told(answer, 429, "queries_full")
            assert answer.headers["retry-after"] == "1"
            go_on.set()
            assert (await first).json() == {"data": {"session": None}}
            assert (await client.post("/graphql", json=ME)).status_code == 200

    asyncio.run(main())


def test_one_who_asks_much_keeps_nobody_else_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rspp.server.graphql.endpoint.OF_ONE_MAX", 3)
    monkeypatch.setattr("rspp.server.graphql.endpoint.MUTATIONS_OF_ONE_MAX", 2)

    async def main() -> None:
        async with console(tmp_path) as made, made.client("olga") as olga, made.client("fay") as fay:
            begun, go_on = asyncio.Semaphore(0), asyncio.Event()

            async def waits(*_: Any) -> None:
                begun.release()
                await go_on.wait()

            made.recorded.replay = waits  # type: ignore[method-assign, assignment]
            made.recorded.session = waits  # type: ignore[method-assign, assignment]
            replay = {"query": 'mutation { replay(tenant: "acme", session: "s-1") { same } }'}
            look = {"query": '{ session(tenant: "acme", id: "s-1") { withheld } }'}
            busy = [asyncio.create_task(olga.post("/graphql", json=one)) for one in (replay, replay)]
            for _ in busy:
                await asyncio.wait_for(begun.acquire(), 5)
            told(await olga.post("/graphql", json=replay), 429, "queries_full")
            assert (await olga.post("/graphql", json=ME)).status_code == 200
            busy.append(asyncio.create_task(olga.post("/graphql", json=look)))
            await asyncio.wait_for(begun.acquire(), 5)
            told(await olga.post("/graphql", json=ME), 429, "queries_full")
            assert (await fay.post("/graphql", json=ME)).status_code == 200
            go_on.set()
            for one in busy:
                assert (await one).status_code == 200
            assert (await olga.post("/graphql", json=ME)).status_code == 200

    asyncio.run(main())


def rows(made: ConsoleWorld) -> None:
    for n in range(5):
        made.engine.put(
            "sessions", Row(aggregate_id=f"s-{n}", state="running", tenant_id="acme", facts={"turns": n})
        )
    made.engine.put(
        "sessions",
        Row(
            aggregate_id="s-9",
            state="degraded",
            tenant_id="bolt",
            level=Level.DEGRADED,
            reason="slow",
            message="Slow.",
        ),
    )


def test_rows_are_filtered_and_read_page_by_page(tmp_path: Path) -> None:
    query = """query($first: Int!, $after: String, $level: Level, $text: String, $tenant: String) {
        rows(surface: "sessions", first: $first, after: $after, level: $level, text: $text, tenant: $tenant)
        { total next items { aggregateId tenant level facts sinceMs over } } }"""

    async def main() -> None:
        async with console(tmp_path) as made:
            rows(made)
            seen, after = [], None
            while True:
                page = (await made.data("fay", query, first=4, after=after))["rows"]
                assert page["total"] == 6
                seen += [one["aggregateId"] for one in page["items"]]
                after = page["next"]
                if after is None:
                    break
            assert seen == ["s-0", "s-1", "s-2", "s-3", "s-4", "s-9"]
            bad = (await made.data("fay", query, first=9, level="DEGRADED"))["rows"]["items"]
            assert [(one["aggregateId"], one["level"]) for one in bad] == [("s-9", "DEGRADED")]
            assert (await made.data("fay", query, first=9, text="SLOW"))["rows"]["total"] == 1
            mine = (await made.data("fay", query, first=9, tenant="acme"))["rows"]
            assert (mine["total"], mine["items"][3]["facts"]) == (5, {"turns": 3})
            assert await made.code("fay", query, first=0) == "value_invalid"
            assert await made.code("fay", query, first=5_000) == "value_invalid"

    asyncio.run(main())


def test_only_what_is_asked_for_of_a_session_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            query = """{ session(tenant: "acme", id: "s-1") { withheld ...more ... on Session { turns { id } }
                timeline(kind: "k", first: 2, after: 4) { items { number kind } } } }
                fragment more on Session { transcript { text } }"""
            session = (await made.data("fay", query))["session"]
            assert session["timeline"]["items"] == [{"number": 5, "kind": "k"}]
            assert made.recorded.asked == ["timeline,transcript,turns,withheld"]
            twice = """{ session(tenant: "acme", id: "s-1") { withheld } session(tenant: "acme", id: "s-1") { transcript { text } } }"""
            assert len((await made.data("fay", twice))["session"]["transcript"]) == 1
            assert made.recorded.asked[-1] == "transcript,withheld"
            edges = (await made.data("fay", "{ pipelines { edges { from to } } }"))["pipelines"][0]["edges"]
            assert edges == [{"from": "a", "to": "b"}]
            gone = '{ session(tenant: "acme", id: "none") { withheld } }'
            assert (await made.data("fay", gone))["session"] is None

    asyncio.run(main())
