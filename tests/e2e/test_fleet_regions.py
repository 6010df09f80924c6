"""Regions of a real fleet: the nearest, shares, and one whose language model has broken down."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from rspp.client import Client, ConnectionLost, Session
from tests.e2e.fleet import CONTROL, Api, Fleet, Program, calling, say, until
from tests.e2e.ports import free_ports

pytestmark = [pytest.mark.slow, pytest.mark.long]

SESSIONS = 200
SHARES = """
routing:
  prefer: shares
  shares: {a: 3, b: 1}
"""


HOSTED = """
pipeline: hosted
version: v1
template: voice
providers: {{vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [openai-llm], tts: [scripted-tts]}}
provider_settings:
  openai-llm: {{model: m, base_url: "http://127.0.0.1:{port}/v1", api_key: "env://FLEET_LLM_KEY"}}
  scripted-tts: {{ms_per_character: 5, first_ms: 20}}
"""


class Upstream:
    """Serves a language model over HTTP, and fails as many of a region's requests as it is told to."""

    def __init__(self) -> None:
        self.fails = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length.group(1)) if length else 0)
            status, kind, body = self._answer(head)
            writer.write(f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nConnection: close\r\n".encode())
            writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        writer.close()

    def _answer(self, head: str) -> tuple[int, str, bytes]:
        if head.startswith("GET"):
            return 200, "application/json", b'{"data": []}'
        if self.fails and "key-of-a" in head:
            self.fails -= 1
            return 503, "application/json", b'{"error": {"message": "no"}}'
        pieces: list[dict[str, Any]] = [
            {"delta": {"content": "Served."}},
            {"delta": {}, "finish_reason": "stop"},
        ]
        events = [json.dumps({"choices": [{"index": 0, **piece}]}) for piece in pieces]
        return 200, "text/event-stream", "".join(f"data: {one}\n\n" for one in [*events, "[DONE]"]).encode()


@asynccontextmanager
async def delayed(url: str, ms: float) -> AsyncIterator[str]:
    """The same place over a line that takes so long."""
    parts = urlsplit(url)

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(parts.hostname, parts.port)

        async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                await asyncio.sleep(ms / 2000)
                writer.write(data)
            writer.close()

        await asyncio.gather(one_way(reader, there[1]), one_way(there[0], writer))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def latency_ms(url: str) -> float:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        await client.get(f"{url}/livez")
        began = time.monotonic()
        await client.get(f"{url}/livez")
        return (time.monotonic() - began) * 1000


@pytest.mark.proves("F-110")
def test_a_session_goes_to_the_nearest_region_that_takes_it(fleet: Fleet) -> None:
    async def goes(latencies: dict[str, float]) -> str:
        return str((await fleet.route("near", pipeline="desk", latencies_ms=latencies))["region"])

    async def main() -> None:
        async with (
            delayed(fleet.machines["a1"].admin, 5) as a,
            delayed(fleet.machines["b1"].admin, 150) as b,
        ):
            near_a = {"a": await latency_ms(a), "b": await latency_ms(b)}
        async with (
            delayed(fleet.machines["a1"].admin, 150) as a,
            delayed(fleet.machines["b1"].admin, 5) as b,
        ):
            near_b = {"a": await latency_ms(a), "b": await latency_ms(b)}
        assert await goes(near_a) == "a"
        assert await goes(near_b) == "b"
        await fleet.region("a", "drain", incident="degraded")
        assert await goes(near_a) == "b"
        await fleet.region("b", "drain", incident="degraded, too")
        wish = {"pipeline": "desk", "latencies_ms": near_a}
        refusal = await fleet.root.refused(503, "POST", "/v1/tenants/near/routes", **wish)
        assert refusal["code"] == "regions_closed"
        for name in ("a", "b"):
            await fleet.region(name, "open")
        await fleet.settled("a1", "a2", "b1")

    asyncio.run(main())


@pytest.mark.proves("F-111")
def test_two_active_regions_share_sessions_as_the_policy_says_and_never_one_session(fleet: Fleet) -> None:
    settings = fleet.folder / "shares.yaml"
    settings.write_text(SHARES)

    async def main() -> None:
        program = Program(
            fleet.folder / "shares.log",
            *(CONTROL, "serve", "--listen", "127.0.0.1:0", "--store", fleet.cluster.store_url),
            *("--keys", str(fleet.folder / "keys"), "--settings", str(settings)),
        )
        try:
            api = Api(await program.address("control plane on"), fleet.root.token)
            await shared(api)
        finally:
            program.kill()
        await never_twice()
        follower = await a_follower()
        await fleet.cluster.kill(follower)
        try:
            await never_twice("-cut-off")
        finally:
            await fleet.cluster.restart(follower)
        await fleet.settled("a1", "a2", "b1")

    async def a_follower() -> str:
        leader = await fleet.cluster.leader_of("rspp_keys")
        return next(node.name for node in fleet.cluster.nodes if node.name != leader)

    async def shared(api: Api) -> None:
        """All of them at once, each where the policy has sent it."""
        regions: Counter[str] = Counter()
        gate = asyncio.Semaphore(20)
        async with AsyncExitStack() as stack:

            async def begin(number: int) -> None:
                async with gate:
                    wish = {"session": f"share-{number}", "pipeline": "desk"}
                    route = await api.post("/v1/tenants/many/routes", **wish)
                    line = Client.connect(route["endpoint"], tenant="many", token=route["token"])
                    await stack.enter_async_context(line)
                    regions[route["region"]] += 1

            await asyncio.gather(*map(begin, range(SESSIONS)))
            page = await api.get("/v1/sessions", tenant="many", limit=1000)
            assert Counter(one["region"] for one in page["items"]) == regions
        assert regions.total() == SESSIONS
        assert 0.67 <= regions["a"] / SESSIONS <= 0.83

    async def never_twice(suffix: str = "") -> None:
        """The same session is asked for in both regions, and both would have it."""
        for number in range(5):
            name = f"twice-{number}{suffix}"
            wish = {"session": name, "pipeline": "desk"}
            routes = [await fleet.route("two", region=region, **wish) for region in ("a", "b")]
            assert [one["region"] for one in routes] == ["a", "b"]
            got = await asyncio.gather(*map(opened, routes))
            assert sorted(got) == [False, True], got
            assert (await fleet.lease("two", name))["region"] == routes[got.index(True)]["region"]

    async def opened(route: Any) -> bool:
        try:
            async with Client.connect(route["endpoint"], tenant="two", token=route["token"]) as call:
                await call.hang_up()
        except ConnectionLost:
            return False
        return True

    asyncio.run(main())


def test_a_tenant_whose_provider_does_not_answer_costs_the_others_nothing(fleet: Fleet) -> None:
    async def main() -> None:
        # Nobody listens at that port.
        text = HOSTED.format(port=free_ports(1)[0]).replace("pipeline: hosted", "pipeline: dead")
        await fleet.root.post("/v1/pipelines", text=text)
        await fleet.root.post("/v1/rollouts/dead/begin", version="v1", reason="a test")
        async with calling(fleet.routes(region="b"), "unlucky", pipeline="dead") as session:
            session.say("Hello?")
            await session.signal("abort")
            looked = time.monotonic() + 1.5  # longer than from one look at what a worker needs to the next
            while time.monotonic() < looked:
                assert (await fleet.workers())["b1"]["ready"]
                await asyncio.sleep(0.2)
            async with calling(fleet.routes(region="b"), "lucky", pipeline="desk") as other:
                assert await say(other, "Hello?") == "v1 one."

    asyncio.run(main())


@pytest.mark.proves("F-112")
def test_a_provider_that_breaks_for_one_region_alone_sends_new_sessions_to_the_other_and_says_why(
    fleet: Fleet,
) -> None:
    async def health() -> dict[str, Any]:
        items = (await fleet.root.get("/v1/provider-health", region="a"))["items"]
        return next((one for one in items if one["provider"] == "openai-llm"), {})

    async def mode() -> str:
        items = (await fleet.root.get("/v1/regions"))["items"]
        return next((one.get("mode", "open") for one in items if one["name"] == "a"), "open")

    async def asks(session: Session) -> None:
        session.say("Hello?")
        await session.signal("close")

    async def measured(start: str, *labels: str) -> float:
        text = (await fleet.root.ask("GET", "/metrics")).text
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(start) and all(label in line for label in ('region="a"', *labels))
        )

    async def triggers() -> float:
        return await measured("rspp_failover_triggers_total", 'factor="providers"')

    async def main() -> None:
        upstream = Upstream()
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        await fleet.root.post("/v1/pipelines", text=HOSTED.format(port=port))
        await fleet.root.post("/v1/rollouts/hosted/begin", version="v1", reason="a test")
        async with server, calling(fleet.routes(region="a"), "sick", pipeline="hosted") as session:
            for _ in range(8):
                assert await say(session, "Hello?") == "Served."
            # A few failures are no reason to leave: they are seen, and nothing is done.
            upstream.fails = 2
            while upstream.fails:
                await asks(session)

            async def is_seen() -> bool:
                return bool((await health()).get("failures", 0) > 0)

            await until(is_seen)
            assert (await health())["state"] == "healthy"
            looked = time.monotonic() + 2.5  # longer than a look and the time that trouble has to last
            while time.monotonic() < looked:
                assert await mode() == "open"
                await asyncio.sleep(0.2)
            assert await measured("rspp_region_trouble") == 0
            assert await triggers() == 0
            # Now it is broken for this region, and only for this one.
            upstream.fails = 1_000
            async with asyncio.timeout(20):
                while await mode() == "open":
                    await asks(session)
            assert (await fleet.route("sick", region="a", pipeline="hosted"))["region"] == "b"
            async with calling(fleet.routes(region="a"), "sick", pipeline="hosted") as other:
                assert await say(other, "Hello?") == "Served."
                assert other.ticket is not None
                assert (await fleet.lease("sick", other.ticket.session))["region"] == "b"
            assert session.ended is None
            (entry, *_) = await fleet.audit(action="regions.failover")
            assert entry["facts"]["region"] == "a"
            assert "openai-llm" in entry["facts"]["providers"] or "llm" in entry["facts"]["providers"]
            assert "region a is drain" in fleet.control.said
            assert await triggers() == 1
            assert await measured("rspp_region_trouble") >= 0.5
        await fleet.region("a", "open", pinned=True)
        await fleet.settled("a1", "a2")

    asyncio.run(main())
