"""What looks like a secret comes in by every door that people, owners and providers have, in a hundred shapes, and is nowhere
afterwards: not in the store's file, not in what GraphQL and REST answer, not in what Socket.IO tells, not in logs and figures.

Names are another thing: who names a session like a token keeps its name. That, and what is cleaned where, is in docs/security.md.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import msgspec
import pytest

from rspp.client import Client
from rspp.control.names import LEASES, key
from rspp.control.operations import OPERATIONS
from rspp.ops import rows
from rspp.server.recorded.places import STORE_FILE
from rspp.testing.clean import found_in
from tests.e2e.planting import (
    BESIDE,
    FEW,
    FEWEST,
    JOURNAL,
    LOOKS,
    REASON_MAX,
    ROWS,
    UNKNOWABLE,
    Scene,
    by_actions,
    by_changes,
    by_command,
    by_conditions,
    by_logs,
    by_operations,
    by_owners,
    by_specs,
    logged,
    scene,
    sought,
    words_of,
)
from tests.e2e.test_run_control import SPEC, answered, embedded
from tests.unit.ops.journal.planted import JWT, PLANTED, Planted
from tests.unit.server.live.test_sockets import Console, opened

pytestmark = pytest.mark.slow


async def looked_at(it: Scene) -> None:
    """Everything that anybody can ask, asked by somebody who may see all of it."""
    for look in LOOKS:
        await it.ask(look)
    for surface in it.told.surfaces:
        await it.ask(ROWS, surface=surface.name)
    after = last = 0
    while after < last or not last:
        page = (await it.ask(JOURNAL, after=after))["journal"]
        after, last = page["next"], page["last"]
    for operation in OPERATIONS:
        if operation.method == "GET":
            fields = dict(operation.example)
            path = operation.path
            for name in operation.path_fields:
                path = path.replace(f"{{{name}}}", str(fields.pop(name, "x")))
            await it.send("GET", path, **fields)
    for path in (
        "/v1/audit?limit=1000",
        "/metrics",
        "/healthz",
        "/readyz",
        "/v1/health",
        "/v1/actions",
        "/openapi.json",
    ):
        await it.send("GET", path)
    await it.must("POST", "/v1/audit/export")


class Found(msgspec.Struct):
    """What came out by each way."""

    answers: bytes
    told: bytes
    printed: bytes
    logs: bytes
    files: dict[str, bytes]
    refused: int = 0

    def leaks(self, secrets: Sequence[str]) -> list[tuple[str, str, str]]:
        ways = {
            "answers": self.answers,
            "told": self.told,
            "printed": self.printed,
            "logs": self.logs,
            **self.files,
        }
        return [(way, *one) for way, data in ways.items() for one in found_in(data, secrets)]


async def played(folder: Path, planted: Sequence[Planted], every: int, end: Callable[[], bytes]) -> Found:
    texts = [
        text for one in planted if one.name not in UNKNOWABLE and len(text := words_of(one)) <= REASON_MAX
    ]
    async with scene(folder) as it, opened(it.url, it.token) as page:
        await page.until(lambda: bool(page.of("at")))
        await by_owners(it, planted)
        printed = await asyncio.to_thread(by_command, f"sqlite:///{it.data / STORE_FILE}", planted)
        await by_conditions(it, planted)
        await by_changes(it, texts)
        await by_actions(it, texts)
        await by_operations(it, texts, every)
        refused = await by_specs(it, planted)
        await asyncio.to_thread(by_logs, planted)
        await it.told.writer.flush(5_000)
        await looked_at(it)
        files = {path.name: path.read_bytes() for path in sorted(it.data.rglob("*")) if path.is_file()}
        said = heard(page)
        answers = b"\n".join(it.answers)
    return Found(answers=answers, told=said, printed=printed, logs=end(), files=files, refused=refused)


def is_told(page: Console, session: str) -> bool:
    return any(one["aggregateId"] == session for one in page.of("changed"))


def heard(page: Console) -> bytes:
    return json.dumps(page.heard, ensure_ascii=False).encode()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What was cleaned in another test is cleaned again."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    rows._cleaned.cache_clear()
    yield
    rows._cleaned.cache_clear()
    logging.getLogger("httpx").setLevel(logging.NOTSET)


def check(found: Found, planted: Sequence[Planted]) -> None:
    assert {STORE_FILE, f"{STORE_FILE}-wal"} <= set(found.files)
    assert found.leaks(sought(planted)) == []
    # What stands beside them came through each way: nothing was merely thrown away.
    for way in (found.answers, found.logs, b"".join(found.files.values())):
        assert BESIDE.encode() in way
        assert b"[redacted]" in way
    assert b'"changed"' in found.told
    assert b"[redacted]" in found.printed
    assert found.refused == len([one for one in planted if one.name not in UNKNOWABLE])


@pytest.mark.long
def test_a_hundred_planted_secrets_come_in_by_every_way_and_out_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch) as end:
        found = asyncio.run(played(tmp_path, PLANTED, 12, end))
    check(found, PLANTED)


def test_some_of_them_come_in_by_every_way_and_out_by_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with logged(monkeypatch) as end:
        found = asyncio.run(played(tmp_path, FEW, len(FEW), end))
    check(found, FEW)


def test_where_nobody_cleans_the_same_search_finds_them_at_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rspp.timeline.redaction.forms._once", lambda text, _kind: text)
    with logged(monkeypatch) as end:
        found = asyncio.run(played(tmp_path, FEWEST, 2 * len(FEWEST), end))
    ways = {way for way, *_ in found.leaks(sought(FEWEST))}
    assert ways == {"answers", "told", "printed", "logs", STORE_FILE, f"{STORE_FILE}-wal"}


@pytest.mark.long
def test_what_a_caller_sends_beside_its_call_is_kept_and_shown_nowhere(tmp_path: Path) -> None:
    """Metadata of a call is for whoever opens it, in memory; the process that serves it says nothing of it."""
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC.format(version="v1.0.0"))
    given = [one for one in PLANTED if len(words_of(one)) <= 1_024]

    async def main() -> tuple[list[bytes], bytes]:
        answers: list[bytes] = []
        session = ""

        async def hear(answer: httpx.Response) -> None:
            answers.append(await answer.aread())

        async with embedded(spec, data, "--verbose") as it:
            it.http.event_hooks["response"].append(hear)
            token = str(it.http.headers["authorization"]).removeprefix("Bearer ")
            async with opened(str(it.http.base_url).rstrip("/"), token) as page:
                for start in range(0, len(given), 30):
                    metadata = {
                        f"{n} {one.name}": words_of(one) for n, one in enumerate(given[start : start + 30])
                    }
                    async with Client.connect(it.calls, tenant="acme", metadata=metadata) as call:
                        await answered(call)
                        session = call.welcome.session
                        await page.until(partial(is_told, page, session))
                        await call.hang_up()
                for look in LOOKS:
                    await it.ask("POST", "/graphql", query=look)
                for surface in ("sessions", "turns", "leases", "runtime_work_session"):
                    await it.http.post("/graphql", json={"query": ROWS, "variables": {"surface": surface}})
                await it.http.post("/graphql", json={"query": JOURNAL, "variables": {"after": 0}})
                await it.http.get("/metrics")
                answers.append(heard(page))
            assert session
            assert session.encode() in b"".join(answers)
            answers += [path.read_bytes() for path in data.rglob("*") if path.is_file()]
            it.process.send_signal(signal.SIGTERM)
            out, errors = await asyncio.wait_for(it.process.communicate(), 30)
        return answers, out + errors

    answers, logs = asyncio.run(main())
    assert b'"message"' in logs
    assert found_in(b"\n".join([*answers, logs]), sought(PLANTED)) == []


def test_a_name_that_looks_like_a_token_is_kept_as_a_name_and_hidden_in_the_journal(tmp_path: Path) -> None:
    async def main() -> None:
        async with scene(tmp_path) as it:
            lease = {"tenant_id": "acme", "session_id": JWT, "owner": "w-1", "state": "held"}
            async with opened(it.url, it.token) as page:
                await page.until(lambda: bool(page.of("at")))
                await it.told.store.put(LEASES, key("acme", JWT), msgspec.json.encode(lease))
                # Who may see the row hears its name; the record that tells of it has none.
                await page.until(partial(is_told, page, JWT))
            found = (await it.ask(ROWS, surface="leases"))["rows"]["items"]
            assert [one["aggregateId"] for one in found] == [JWT]
            records = (await it.ask(JOURNAL, after=0))["journal"]["items"]
            assert [one["aggregateId"] for one in records if one["surface"] == "leases"] == ["[redacted]"]

    asyncio.run(main())
