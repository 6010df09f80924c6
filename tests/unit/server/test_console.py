"""The whole console stands behind one door, and machines without a token learn one word."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from rspp.contract.surface import Level, Row
from rspp.ops.health import Health
from tests.unit.server.given_console import console, served


def failed(tenant: str | None) -> Row:
    return Row(
        aggregate_id="x", state="lost", tenant_id=tenant, level=Level.FAILED, reason="lost", message="Lost."
    )


def test_every_face_is_there_and_asks_for_a_token_but_probes_and_the_page(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, made.client(None) as nobody, made.client("root") as root:
            for address in ("/v1/me", "/openapi.json", "/metrics", "/v1/health", "/v1/actions"):
                assert (address, (await nobody.get(address)).status_code) == (address, 401)
                assert (address, (await root.get(address)).status_code) == (address, 200)
            assert (await nobody.post("/graphql", json={"query": "{ me { id } }"})).status_code == 401
            for address in ("/livez", "/readyz", "/healthz"):
                assert (address, (await nobody.get(address)).status_code) == (address, 200)
            assert (await nobody.get("/")).status_code in (200, 503)
            assert (await nobody.get("/v1/nothing")).json()["code"] == "not_found"

    asyncio.run(main())


def test_who_asks_for_the_word_again_and_again_makes_nobody_think(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.console.WORD_MS", 60_000)

    async def main() -> None:
        async with console(tmp_path) as made, made.client(None) as nobody:
            thought, health = 0, made.engine.health

            def counted() -> Health:
                nonlocal thought
                thought += 1
                return health()

            made.engine.health = counted  # type: ignore[method-assign]
            for _ in range(20):
                assert (await nobody.get("/healthz")).text == "ok"
            assert thought == 1

    asyncio.run(main())


def test_health_is_one_word_for_everybody_and_nothing_of_the_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.server.console.WORD_MS", 0)

    async def main() -> None:
        async with console(tmp_path) as made, made.client(None) as nobody:
            assert (await nobody.get("/healthz")).text == "ok"
            made.engine.put(
                "workers", Row(aggregate_id="w", state="slow", level=Level.DEGRADED, reason="slow")
            )
            answer = await nobody.get("/healthz")
            assert (answer.status_code, answer.text) == (200, "degraded")
            made.engine.put("sessions", failed("acme"))
            answer = await nobody.get("/healthz")
            assert (answer.status_code, answer.text) == (503, "failed")
            made.engine.snapshots.stale = True
            answer = await nobody.get("/healthz")
            assert (answer.status_code, answer.text) == (503, "unknown")

    asyncio.run(main())


def test_a_tenant_sees_its_own_health_and_who_may_nothing_sees_none(tmp_path: Path) -> None:
    query = "{ health { level reasons { surface aggregateId tenant code } surfaces { surface level rows } } }"

    async def main() -> None:
        async with console(tmp_path) as made:
            made.engine.put("sessions", failed("bolt"))
            made.engine.put("workers", failed(None))
            assert (await made.data("fay", query))["health"]["level"] == "FAILED"
            assert (await made.data("bob", query))["health"]["reasons"] == [
                {"surface": "sessions", "aggregateId": "x", "tenant": "bolt", "code": "lost"}
            ]
            mine = (await made.data("ann", query))["health"]
            assert (mine["level"], mine["reasons"]) == ("OK", [])
            assert {one["rows"] for one in mine["surfaces"]} == {0}
            await made.of.principal("nil", {})
            assert await made.code("nil", query) == "permission_denied"
            assert await made.code("nil", "{ load { sessions } }") == "permission_denied"

    asyncio.run(main())


def test_how_long_others_wait_and_how_often_is_told_to_those_who_see_the_fleet(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made:
            query = "{ load { sessions stages { name count p50Ms } } }"
            assert len((await made.data("fay", query))["load"]["stages"]) == 1
            assert (await made.data("ann", query))["load"] == {"sessions": 0, "stages": []}

    asyncio.run(main())


def test_the_journal_is_read_page_by_page_past_what_others_did(tmp_path: Path) -> None:
    query = "query($after: Float!, $first: Int!) { journal(after: $after, first: $first) { next last items { sequence aggregateId } } }"

    async def main() -> None:
        async with console(tmp_path) as made:
            for n in range(30):
                made.engine.put(
                    "sessions",
                    Row(aggregate_id=f"s-{n}", state="running", tenant_id="acme" if n % 10 == 0 else "bolt"),
                )
            seen, after = [], 0
            for _ in range(20):
                page = (await made.data("ann", query, after=after, first=2))["journal"]
                seen += [one["aggregateId"] for one in page["items"]]
                assert page["next"] > after or page["next"] == 30
                after = int(page["next"])
                if after == page["last"]:
                    break
            assert seen == ["s-0", "s-10", "s-20"]
            assert len((await made.data("fay", query, after=0, first=100))["journal"]["items"]) == 30

    asyncio.run(main())


def test_it_serves_on_a_real_socket_and_ends_in_good_order(tmp_path: Path) -> None:
    async def main() -> None:
        async with console(tmp_path) as made, served(made) as url, httpx.AsyncClient() as asks:
            headers = {"authorization": f"Bearer {made.of.token('fay')}"}
            answer = await asks.post(f"{url}/graphql", json={"query": "{ me { id } }"}, headers=headers)
            assert answer.json() == {"data": {"me": {"id": "fay"}}}
            assert answer.headers["cache-control"] == "no-store"

    asyncio.run(main())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["console", "--help"], ["control", "--help"], ["run", "--help"]]
)
@pytest.mark.slow
def test_help_imports_neither_strawberry_nor_socketio(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom rspp.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'strawberry', 'socketio', 'graphql'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"
