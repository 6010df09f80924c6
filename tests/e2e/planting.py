"""A control plane with its console on real sockets over a real file, and every way in that people, owners and providers have to it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.main import main as rspp
from rspp.cli.run_view import logging_to_stderr
from rspp.contract.errors import PeerFault
from rspp.contract.surface import Level, Row
from rspp.control.authority.members import Member
from rspp.control.names import LEASES, MEMBERS, key
from rspp.control.operations import OPERATIONS
from rspp.control.operations.people import token_for
from rspp.control.plane import ControlPlane
from rspp.control.security.key_folder import KeyFolder
from rspp.host.clock import MachineClock
from rspp.host.conditions import Conditions
from rspp.host.secrets import Secrets
from rspp.ops import rows
from rspp.ops.changes import Change
from rspp.server.recorded.places import STORE_FILE, Places
from rspp.server.run import Listen, Service, bound, serve
from rspp.server.serving import served_console
from rspp.server.state import Told, telling
from tests.e2e.test_run_control import SPEC
from tests.unit.ops.journal.planted import PLANTED, Planted

REASON_MAX: Final = 400
FEW: Final = PLANTED[::14]
FEWEST: Final = PLANTED[3::33]
BESIDE: Final = "harmless words beside it"
# In words these are nobody's secret: no name says so, and they look like what people say.
UNKNOWABLE: Final = ("behind what is too deep", "an object")
# As names they are what many call a session or a worker.
NAMES: Final = (
    "a lease token",
    "a key in hexadecimal",
    "a key in capital hexadecimal",
    "a token's id",
    "small letters and digits",
)
NAMED: Final = ("aggregate_id", "correlation_id", "causation_id", "artifact_ref", "source")
ROWS: Final = """query($surface: String!) { rows(surface: $surface, first: 1000) { total items { surface aggregateId tenant
    state level reason message facts } } }"""
JOURNAL: Final = """query($after: Float!) { journal(after: $after, first: 1000) { next last items { eventId source surface changeType
    aggregateType aggregateId artifactRef correlationId causationId metadata } } }"""
LOOKS: Final = (
    "{ surfaces { name } health { level reasons { code message aggregateId } surfaces { reasons { message } } } }",
    "{ actions { id title why aggregateId call { path body graphql cli } } work { message facts } }",
    "{ sessions { total items { id tenant reason line } } providers { name reason } load { sessions } }",
    "{ pipelines { name version text problems rollout versions { author } nodes { id } } }",
    "{ journalStatus { problem surfaces { surface why } } me { id } }",
)
ACT: Final = "mutation($id: ID!, $key: String!, $reason: String!) { act(id: $id, key: $key, reason: $reason) { done code message } }"


def flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from flat(one, f"{name}.{inner}" if name else str(inner))
    elif isinstance(value, list):
        for one in value:
            yield from flat(one, name)
    else:
        yield name, value.decode() if isinstance(value, bytes) else str(value)


def words_of(one: Planted) -> str:
    """As somebody would paste it into a sentence."""
    return "; ".join(text if name == "note" else f"{name}={text}" for name, text in flat(one.metadata))


def sought(planted: Sequence[Planted]) -> list[str]:
    return sorted({one.secret for one in planted})


class Scene:
    """A control plane with its console on a real socket, over a real file; all that it answered and told."""

    def __init__(self, data: Path, told: Told, plane: ControlPlane, service: Service, token: str) -> None:
        self.data, self.told, self.plane, self.token = data, told, plane, token
        self.url = service.url
        self.answers: list[bytes] = []
        self.http = httpx.AsyncClient(
            base_url=service.url,
            headers={"authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=20,
            event_hooks={"response": [self._hear]},
        )

    async def _hear(self, answer: httpx.Response) -> None:
        self.answers += [await answer.aread(), repr(answer.headers.raw).encode()]

    async def send(self, method: str, path: str, **fields: Any) -> httpx.Response:
        if method == "GET":
            return await self.http.get(path, params=fields)
        return await self.http.request(method, path, json=fields)

    async def must(self, method: str, path: str, **fields: Any) -> Any:
        answer = await self.send(method, path, **fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, query: str, **variables: Any) -> Any:
        said = await self.must("POST", "/graphql", query=query, variables=variables)
        assert "errors" not in said, said
        return said["data"]


@asynccontextmanager
async def scene(folder: Path) -> AsyncIterator[Scene]:
    data = folder / "data"
    data.mkdir()
    keys = KeyFolder(folder / "keys")
    keys.make()
    clock = MachineClock()
    keys.create_key(clock.wall() // 1_000_000)
    store = SqliteStore(data / STORE_FILE)
    try:
        async with telling(store, source="control:c1") as told:
            plane = ControlPlane(told.store, keys=keys, clock=clock)
            await plane.load()
            await plane.principals.first_admin("root", "test")
            async with served_console(plane, told, Places(data)) as app:
                service = Service(app, bound(Listen(host="127.0.0.1", port=0)))
                ready = asyncio.Event()
                serving = asyncio.create_task(serve(plane, service, lambda _: ready.set(), signals=False))
                try:
                    await asyncio.wait_for(ready.wait(), 20)
                    made = Scene(data, told, plane, service, token_for(plane, "root").token)
                    async with made.http:
                        yield made
                finally:
                    service.stop()
                    await serving
    finally:
        await store.close()


@contextmanager
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], bytes]]:
    """The log of this process as its commands set it up, into a pipe; at the end, all that came out of it."""
    source, sink = os.pipe()
    came: list[bytes] = []

    def read() -> None:
        while data := os.read(source, 65_536):
            came.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(sink, "w") as stderr, monkeypatch.context() as patched:
        patched.setattr("sys.stderr", stderr)
        undo = logging_to_stderr(verbose=True, quiet=False, secrets=Secrets(), lines=True)

        def end() -> bytes:
            undo()
            stderr.close()
            reader.join(10)
            return b"".join(came)

        yield end
    os.close(source)


# ---- the ways in -----------------------------------------------------------------------------------------------------


async def by_owners(it: Scene, planted: Sequence[Planted]) -> None:
    """Changes that owners tell, with metadata as they come and with words where names should be."""
    for number, one in enumerate(planted):
        text = words_of(one)
        change = Change(
            event_id=f"told-{number}",
            surface="workers",
            change_type="told",
            aggregate_id="w-1",
            source="owner",
            occurred_wall_ms=it.plane.wall_ms(),
            metadata={**one.metadata, "beside": BESIDE},
        )
        it.told.writer.tell(change)
        if one.name in (*UNKNOWABLE, *NAMES):
            continue
        named = dict.fromkeys(NAMED, text)
        it.told.writer.tell(msgspec.structs.replace(change, event_id=f"named-{number}", metadata={}, **named))
        if number % 20 == 0:
            await it.told.writer.flush(5_000)
    await it.told.writer.flush(5_000)


def by_command(url: str, planted: Sequence[Planted]) -> bytes:
    """`rspp runtime state-journal-record`, with all that it takes; what it printed."""
    said = b""
    for one in planted:
        pairs = [f"{name}={text}" for name, text in flat(one.metadata) if not one.name.startswith("as a key")]
        words = [
            "runtime",
            "state-journal-record",
            "--store",
            url,
            "--surface",
            "workers",
            "--change-type",
            "said",
        ]
        words += [word for pair in pairs if one.name not in UNKNOWABLE for word in ("--metadata", pair)]
        if one.name not in (*UNKNOWABLE, *NAMES):
            text = words_of(one)
            words += [
                "--aggregate-id",
                text,
                "--correlation-id",
                text,
                "--artifact-ref",
                text,
                "--causation-id",
                text,
            ]
        result = CliRunner().invoke(rspp, [*words, "--json"])
        assert result.exit_code == 0, (one.name, result.output, result.exception)
        said += result.output.encode()
    return said


async def by_conditions(it: Scene, planted: Sequence[Planted]) -> None:
    """What a process says of itself, in words that a provider or a node has put in."""
    said = [
        Row(
            aggregate_id=f"node-{number}",
            state="failing",
            level=Level.DEGRADED,
            reason="node_down",
            message=f"{BESIDE}: {words_of(one)}",
            facts={"because": f"it said: {words_of(one)}"},
        )
        for number, one in enumerate(planted)
        if one.name not in UNKNOWABLE
    ]
    conditions = Conditions(it.told.store, it.plane.clock, lambda: "w-1", rows.clean)
    conditions.add("external_nodes", lambda: said)
    await conditions.look()


async def by_operations(it: Scene, texts: Sequence[str], every: int) -> None:
    """Each operation that takes a reason, as its own example asks for it; those that change most, with every text."""
    for number, operation in enumerate(
        one for one in OPERATIONS if "reason" in one.request.__struct_fields__
    ):
        for text in texts[number % every :: every]:
            fields = {**operation.example, "reason": text}
            path = operation.path
            for name in operation.path_fields:
                path = path.replace(f"{{{name}}}", str(fields.pop(name, "x")))
            if "within_ms" in operation.request.__struct_fields__:
                fields["within_ms"] = 100
            answer = await it.send(operation.method, path, **fields)
            assert answer.status_code != 500, (operation.name, answer.text)


async def by_changes(it: Scene, texts: Sequence[str]) -> None:
    """What takes effect, and is then seen: regions, workers that are cut off, authority that is withdrawn, consent, freezes."""
    for version in ("v1.0.0", "v1.1.0"):
        await it.must("POST", "/v1/pipelines", text=SPEC.format(version=version))
    await it.must("POST", "/v1/rollouts/desk/begin", version="v1.0.0", reason="first")
    for number, text in enumerate(texts):
        worker, session = f"worker-{number}", f"s-{number}"
        member = Member(id=worker, kind="worker", ttl_ms=60_000, ready=True)
        await it.told.store.put(MEMBERS, key(worker), msgspec.json.encode(member), ttl_ms=60_000)
        lease = {"tenant_id": "acme", "session_id": session, "owner": worker, "state": "held"}
        await it.told.store.put(LEASES, key("acme", session), msgspec.json.encode(lease))
        await it.must("POST", f"/v1/workers/{worker}/fence", reason=text)
        await it.must("POST", f"/v1/tenants/acme/sessions/{session}/revoke", reason=text, within_ms=100)
        await it.must("PUT", f"/v1/regions/eu-{number}", mode="drain", reason=text, incident=text)
        await it.must("POST", f"/v1/principals/p-{number}/grant", tenant="acme", role="viewer", reason=text)
        asked = {"pipeline": "desk", "version": "v1.1.0", "reason": text}
        made = await it.must(
            "POST", "/v1/tenants/*/approvals", operation="rollout.promote", request=asked, reason=text
        )
        await it.send("POST", f"/v1/tenants/*/approvals/{made['proposal']}/reject", reason=text)
        await it.must("POST", "/v1/rollouts/desk/freeze", reason=text)
        await it.must("POST", "/v1/rollouts/desk/unfreeze", reason=text)


async def by_actions(it: Scene, texts: Sequence[str]) -> int:
    """An action that is offered as long as nobody has settled it, taken with every reason; how many were taken."""
    taken = 0
    for text in texts:
        actions = (await it.ask("{ actions { id kind } }"))["actions"]
        action = next(one["id"] for one in actions if one["kind"] == "settle_worker")
        result = (await it.ask(ACT, id=action, key=f"k-{taken}", reason=text))["act"]
        assert result["done"] or result["code"], result
        taken += 1
    return taken


async def by_specs(it: Scene, planted: Sequence[Planted]) -> int:
    """Pipelines that have it in their metadata are refused; how many."""
    refused = 0
    for number, one in enumerate(planted):
        if one.name in UNKNOWABLE:
            continue
        metadata = json.dumps(dict(flat(one.metadata)), ensure_ascii=False)
        text = SPEC.format(version=f"v2.{number}.0") + f"metadata: {metadata}\n"
        answer = await it.send("POST", "/v1/pipelines", text=text)
        refused += answer.json().get("code") == "spec_refused"
    return refused


def by_logs(planted: Sequence[Planted]) -> None:
    """Words, arguments, fields of every kind, and exceptions with their causes."""
    log = logging.getLogger("rspp.planted")
    for one in planted:
        if one.name in UNKNOWABLE:
            continue
        text = words_of(one)
        log.warning("a provider said %s, and %s", text, BESIDE)
        log.warning("as it came: %s", one.metadata)
        log.warning("fields", extra={name: value for name, value in one.metadata.items() if name != "args"})
        try:
            try:
                raise ValueError(text)
            except ValueError as error:
                raise PeerFault("provider_failed", f"the provider said {text}") from error
        except PeerFault:
            log.exception("a call failed")
