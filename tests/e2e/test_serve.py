"""`rspp serve` with real processes and real calls: ended, restarted and broken while somebody speaks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import httpx
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.recordings import Where, load
from rspp.client import Call, Client, ConnectionLost, Ticket
from rspp.contract.wire import Told
from rspp.control.authority.members import Member, MemberState, member_of
from rspp.control.config.registry import Registry
from rspp.control.config.rollouts import Rollouts
from rspp.control.fleet.routing import Chosen
from rspp.control.names import MEMBERS
from rspp.testing.scripted.tts import tone
from tests.e2e.ports import consecutive_ports
from tests.e2e.serving import Serving, route, serving
from tests.e2e.test_listen import SPEC
from tools.validate_deploy import faults_of, rendered

pytestmark = [pytest.mark.slow, pytest.mark.long]

BRIEF = SPEC.replace("It will take me about two seconds to say this.", "Yes.")
QUESTION = tone(300, 16_000, 9_000) + bytes(640_000)


async def members(data: Path) -> list[Member]:
    store = SqliteStore(data / "serve.db")
    try:
        found = [await store.get(MEMBERS, key) for key in await store.keys(MEMBERS)]
    finally:
        await store.close()
    return [member for entry in found if entry is not None and (member := member_of(entry)) is not None]


async def heard(call: Call) -> list[str]:
    """Every signal until the line is gone."""
    signals: list[str] = []
    with contextlib.suppress(ConnectionLost):
        while True:
            told = await call.until(lambda event: isinstance(event, Told), 20)
            assert isinstance(told, Told)
            signals.append(told.signal)
    return signals


async def is_refused(it: Serving) -> bool:
    """A new call gets no session."""
    try:
        async with Client.connect(it.url, tenant="late", timeout_s=5) as call:
            await call.hang_up()
    except (ConnectionLost, OSError):
        return True
    return False


@pytest.mark.proves("F-106")
def test_sigterm_takes_nobody_new_hears_out_who_can_be_and_aborts_with_evidence_who_cannot(
    tmp_path: Path,
) -> None:
    spec, long_spec, data = tmp_path / "desk.yaml", tmp_path / "long.yaml", tmp_path / "data"
    spec.write_text(SPEC.replace("about two seconds to say this", "a second"))
    words = "a very long time to say all of this, " + "and more " * 60
    long_spec.write_text(
        SPEC.replace("pipeline: desk", "pipeline: long").replace("two seconds to say this", words)
    )

    async def main() -> tuple[int, str, tuple[list[str], list[str]], str, Member]:
        async with serving(spec, data, "--drain-ms", "2000", "--pipeline", str(long_spec)) as it:
            async with contextlib.AsyncExitStack() as stack:
                short, long = [
                    await stack.enter_async_context(Client.connect(it.url, tenant="t", pipeline=name))
                    for name in ("desk", "long")
                ]
                talking = [asyncio.ensure_future(call.send_audio(QUESTION)) for call in (short, long)]
                await asyncio.gather(*(call.signal("playback_started") for call in (short, long)))
                it.tell(signal.SIGTERM)
                await it.until("/readyz", lambda answer: answer.status_code == 503)
                assert (await it.get("/livez")).status_code == 200
                assert await is_refused(it)
                signals = await asyncio.gather(heard(short), heard(long))
                session = long.welcome.session
                await asyncio.gather(*talking, return_exceptions=True)
                code = await it.over()
            return code, it.said, signals, session, (await members(data))[0]

    code, said, signals, session, member = asyncio.run(main())
    assert code == 0, said
    assert "1 sessions were cut short" in said
    assert "commit" in signals[0]
    assert "abort" not in signals[0]
    assert "abort" in signals[1]
    assert "commit" not in signals[1]
    recording = load(session, Where(data=data, tenant="t"))
    (evidence,) = recording.evidence.values()
    assert evidence.terminal_outcome == "abort"
    assert member.state is MemberState.LEFT


async def own_ports(it: Serving) -> list[int]:
    """Those of the processes that serve."""
    return sorted(
        int(worker["endpoint"].rpartition(":")[2].partition("/")[0]) for worker in await it.workers()
    )


class Caller:
    """Speaks to one session for as long as it lasts, wherever it goes on."""

    def __init__(self, it: Serving, tenant: str) -> None:
        self.it, self.tenant = it, tenant
        self.lines = 0
        self.sessions: set[str] = set()
        self.epochs: list[int] = []
        self.answered = 0
        self.wants_end = asyncio.Event()

    async def run(self) -> None:
        ticket: Ticket | None = None
        async with asyncio.timeout(60):
            while True:
                try:
                    async with Client.connect(self.it.url, tenant=self.tenant, ticket=ticket) as call:
                        ticket = await self._on(call)
                        if self.wants_end.is_set():
                            return
                except ConnectionLost as error:
                    await asyncio.sleep((error.retry_after_ms or 50) / 1000)

    async def _on(self, call: Call) -> Ticket:
        """One line, until it is over or we hang up."""
        self.lines += 1
        self.sessions.add(call.welcome.session)
        self.epochs.append(call.welcome.epoch)
        with contextlib.suppress(ConnectionLost):
            while not self.wants_end.is_set():
                call.say("go on")
                await call.signal("close")
                self.answered += 1
                await asyncio.sleep(
                    0.2
                )  # a caller takes breath; without a pause there is no moment to move it in
        return call.ticket


@pytest.mark.proves("NF-016")
def test_a_rolling_restart_moves_every_call_and_the_accounts_balance_and_a_kill_is_reported(
    tmp_path: Path,
) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(BRIEF)

    async def main() -> None:
        ports = consecutive_ports(3)
        more = ("--on-stop", "migrate", "--direct-port", str(ports))
        async with serving(spec, data, *more, workers=2) as it:
            former = {worker["pid"] for worker in await it.workers()}
            assert await own_ports(it) == [ports, ports + 1]
            callers = [Caller(it, f"t{number}") for number in range(4)]
            running = [asyncio.create_task(caller.run()) for caller in callers]
            await it.until("/metrics", lambda answer: "rspp_sessions 4\n" in answer.text)
            it.tell(signal.SIGHUP)
            await it.until("/metrics", lambda answer: "rspp_supervisor_reloads_total 1\n" in answer.text, 40)
            assert not former & {worker["pid"] for worker in await it.workers()}
            assert await own_ports(it) == [ports, ports + 2]  # the last one took what the first had left
            answered = [caller.answered for caller in callers]
            async with asyncio.timeout(20):
                while any(  # noqa: ASYNC110 - another process does not wake this one
                    caller.answered <= before for caller, before in zip(callers, answered, strict=True)
                ):
                    await asyncio.sleep(0.05)
            # Nothing is lost: each call is the session that it was, under an owner that came later.
            for caller in callers:
                assert len(caller.sessions) == 1
                assert caller.lines >= 2
                assert caller.epochs == sorted(set(caller.epochs))
            assert await it.metric("rspp_supervisor_lost_total") == 0
            assert await it.metric("rspp_supervisor_cut_total") == 0
            moved = await it.metric("rspp_supervisor_moved_total")
            assert moved == sum(caller.lines - 1 for caller in callers)
            for caller in callers:
                caller.wants_end.set()
            await asyncio.gather(*running)
            await it.until("/metrics", lambda answer: "rspp_sessions 0\n" in answer.text)
            # And a process that is killed says nothing, so its supervisor does.
            async with Client.connect(it.url, tenant="t"):
                await it.until("/metrics", lambda answer: "rspp_sessions 1\n" in answer.text)
                (worker,) = [worker for worker in await it.workers() if worker["state"]["sessions"]]
                os.kill(worker["pid"], signal.SIGKILL)
                await it.until("/metrics", lambda answer: "rspp_supervisor_lost_total 1\n" in answer.text, 5)
            assert f"{worker['name']} had 1 sessions when it ended" in it.said
            await it.until("/metrics", lambda answer: "rspp_supervisor_fenced_total 3\n" in answer.text, 5)
            lost = [member for member in await members(data) if member.id.startswith(worker["name"])]
            assert [member.state for member in lost] == [MemberState.LOST]
            assert "SIGKILL" in lost[0].reason

    asyncio.run(main())


LLM = """
pipeline: hosted
version: v1
template: voice
providers: {{vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [openai-llm], tts: [scripted-tts]}}
provider_settings:
  openai-llm: {{model: m, base_url: "http://127.0.0.1:{port}/v1"}}
"""
WEDGE = SPEC.replace("pipeline: desk", "pipeline: wedge").replace(
    "answers:", "faults: {block_ms: 600000}, answers:"
)


async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A provider that can be reached, and is never called here."""
    await reader.read()
    writer.close()


async def status(url: str, timeout_s: float = 5.0) -> int | None:
    """What is answered there, if anything."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(url, timeout=timeout_s)).status_code
        except httpx.HTTPError:
            return None


@pytest.mark.proves("F-108")
def test_a_blocked_provider_costs_readiness_alone_and_a_wedged_loop_costs_liveness(tmp_path: Path) -> None:
    assert (
        faults_of(rendered({})) == []
    )  # the probes of the manifests are these, and as Kubernetes wants them
    hosted, wedge, data = tmp_path / "hosted.yaml", tmp_path / "wedge.yaml", tmp_path / "data"
    wedge.write_text(WEDGE)

    async def main() -> None:
        server = await asyncio.start_server(nobody, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosted.write_text(LLM.format(port=port))
        store = SqliteStore(data / "serve.db")
        try:
            async with serving(hosted, data, "--pipeline", str(wedge), "--wedged-ms", "1500") as it:
                assert isinstance(await route(store, "s1"), Chosen)
                server.close()
                answer = await it.until("/readyz", lambda answer: answer.status_code == 503)
                assert "provider:openai-llm" in answer.text
                assert (await it.get("/livez")).status_code == 200
                own = (await it.workers())[0]["endpoint"].replace("ws://", "http://").partition("/v1")[0]
                assert [await status(own + path) for path in ("/livez", "/readyz", "/metrics")] == [
                    200,
                    503,
                    200,
                ]
                assert await is_refused(it)
                async with asyncio.timeout(10):
                    while isinstance(refusal := await route(store, "s2"), Chosen):  # noqa: ASYNC110 - another process does not wake this one
                        await asyncio.sleep(0.05)
                assert list(refusal.unfit.values()) == ["not_ready:provider:openai-llm"]
                server = await asyncio.start_server(nobody, "127.0.0.1", port)
                await it.until("/readyz", lambda answer: answer.status_code == 200)
                async with asyncio.timeout(10):
                    while not isinstance(await route(store, "s3"), Chosen):  # noqa: ASYNC110 - another process does not wake this one
                        await asyncio.sleep(0.05)
                (former,) = await it.workers()
                with contextlib.suppress(ConnectionLost):
                    async with Client.connect(it.url, tenant="t", pipeline="wedge") as call:
                        call.say("hello")
                        await it.until("/livez", lambda answer: answer.status_code == 503)
                        assert await status(own + "/livez", timeout_s=0.5) is None
                        await call.drop()
                await it.until("/readyz", lambda answer: answer.status_code == 200)
                assert (await it.get("/livez")).status_code == 200
                assert (await it.workers())[0]["pid"] != former["pid"]
                assert "has not been heard of" in it.said
        finally:
            server.close()
            await store.close()

    asyncio.run(main())


def test_workers_of_a_control_plane_serve_what_it_has_published(tmp_path: Path) -> None:
    store_url = f"sqlite:///{tmp_path / 'control.db'}"

    async def main() -> None:
        store = SqliteStore(tmp_path / "control.db")
        try:
            published = await Registry(store, wall_ms=wall_ms).publish(BRIEF, "an author")
            await Rollouts(store, wall_ms=wall_ms).begin("desk", published.version, author="an author")
        finally:
            await store.close()
        more = ("--store", store_url, "--dev", "--default-pipeline", "desk")
        async with serving(None, tmp_path / "data", *more) as it:
            await asyncio.wait_for(one_answer(it), 15)
            it.tell(signal.SIGTERM)
            assert await it.over() == 0

    asyncio.run(main())


async def one_answer(it: Serving) -> None:
    """A process that has just started may say that it is too busy; it says when to come back too."""
    while True:
        try:
            async with Client.connect(it.url, tenant="t") as call:
                call.say("hello")
                await call.signal("commit")
                await call.hang_up()
                return
        except ConnectionLost as error:
            if error.retry_after_ms is None:
                raise
            await asyncio.sleep(error.retry_after_ms / 1000)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000
