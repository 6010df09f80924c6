"""`rspp run --listen --control`: one process is control plane, worker and store, and everything of the three is in force."""

from __future__ import annotations

import asyncio
import re
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.cli.control.init import begin
from rspp.client import Call, Client, ConnectionLost
from rspp.contract.wire import Caption
from rspp.control.authority.members import GONE, member_of
from rspp.control.names import MEMBERS

pytestmark = pytest.mark.slow

SPEC = """
pipeline: desk
version: {version}
template: voice
providers: {{vad: [scripted-vad], end_of_turn: [scripted-end-of-turn], stt: [scripted-stt], llm: [scripted-llm], tts: [scripted-tts]}}
provider_settings:
  scripted-llm: {{answers: ["This is {version}."]}}
"""
OLD, NEW = "v1.0.0", "v1.1.0"
START = "from rspp.cli.main import main; main()"


class Embedded:
    """The process, where it takes calls, and its API with the token that it wrote."""

    def __init__(self, process: Process, calls: str, api: str, token: str) -> None:
        self.process, self.calls = process, calls
        self.http = httpx.AsyncClient(
            base_url=api, headers={"authorization": f"Bearer {token}"}, trust_env=False, timeout=10
        )

    async def ask(self, method: str, path: str, **fields: Any) -> Any:
        answer = (
            await self.http.get(path, params=fields)
            if method == "GET"
            else await self.http.request(method, path, json=fields)
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def pipeline_of(self, session: str) -> str:
        items = (await self.ask("GET", "/v1/sessions"))["items"]
        return next(str(one["pipeline"]) for one in items if one["session"] == session)

    async def ready(self) -> int:
        url = re.sub(r"^ws(.*)/v1/.*", r"http\1/readyz", self.calls)
        return (await self.http.get(url)).status_code

    async def over(self) -> tuple[int | None, str]:
        _, said = await asyncio.wait_for(self.process.communicate(), 20)
        return self.process.returncode, said.decode()


async def started(spec: Path, data: Path, *more: str, way: str = "--control") -> Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", START, "run", str(spec), "--data", str(data)),
        *("--listen", "127.0.0.1:0", way, "127.0.0.1:0", *more),
        stdout=PIPE,
        stderr=PIPE,
    )


@asynccontextmanager
async def embedded(
    spec: Path, data: Path, *more: str, token: Path | None = None, way: str = "--control"
) -> AsyncIterator[Embedded]:
    process = await started(spec, data, *more, way=way)
    assert process.stdout is not None
    said = ""
    it: Embedded | None = None
    try:
        while "rollout canary" not in said:
            line = await asyncio.wait_for(process.stdout.readline(), 20)
            assert line, (await process.communicate())[1].decode()
            said += line.decode()
        calls, api = re.search(r"ws://\S+", said), re.search(r"control plane at (\S+),", said)
        assert calls is not None
        assert api is not None
        secret = (token or data / "control.token").read_text().strip()
        it = Embedded(process, calls.group(), api[1], secret)
        yield it
    finally:
        if it is not None:
            await it.http.aclose()
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def opens(it: Embedded, tenant: str, wanted: str, pipeline: str | None = None) -> None:
    """New sessions of the tenant get this version, as soon as the process has heard of it."""
    async with asyncio.timeout(5):
        got = ""
        while not got.endswith(wanted):
            try:
                async with Client.connect(it.calls, tenant=tenant, pipeline=pipeline) as call:
                    got = await it.pipeline_of(call.welcome.session)
                    await call.hang_up()
            except ConnectionLost as error:
                if error.retry_after_ms is None:
                    raise


async def answered(call: Call) -> None:
    call.say("hello")
    await call.signal("commit")


def test_new_calls_follow_canary_rollback_and_quota_while_the_running_one_stays_what_it_is(
    tmp_path: Path,
) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC.format(version=OLD))

    async def main() -> None:
        async with embedded(spec, data) as it, Client.connect(it.calls, tenant="acme") as running:
            await answered(running)
            session = running.welcome.session
            assert await it.pipeline_of(session) == f"graph/desk@{OLD}"

            await it.ask("POST", "/v1/pipelines", text=SPEC.format(version=NEW))
            canary = {"version": NEW, "percent": 0, "tenants": ["acme"], "reason": "try it"}
            await it.ask("POST", "/v1/rollouts/desk/canary", **canary)
            await opens(it, "acme", NEW)
            await opens(it, "another", OLD)
            assert await it.pipeline_of(session) == f"graph/desk@{OLD}"
            await answered(running)
            other = SPEC.format(version=OLD).replace("pipeline: desk", "pipeline: other")
            await it.ask("POST", "/v1/pipelines", text=other)
            await it.ask("POST", "/v1/rollouts/other/begin", version=OLD, reason="another one")
            await opens(it, "acme", f"other@{OLD}", "other")
            await it.ask("POST", "/v1/rollouts/desk/rollback", reason="answers came late")
            await opens(it, "acme", OLD)

            quota = {"limits": {"sessions": {"most": 1}}, "reason": "a small contract"}
            await it.ask("PUT", "/v1/tenants/small/quota", **quota)
            async with Client.connect(it.calls, tenant="small") as first:
                assert await second_of(it, "small") > 0
                assert (await it.ask("GET", "/v1/audit/verify"))["sound"] is True
                done = {one["action"] for one in (await it.ask("GET", "/v1/audit"))["items"]}
                assert {"pipelines.publish", "rollout.begin", "rollout.canary", "quotas.set"} <= done

                assert await it.ready() == 200
                it.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(5):
                    while await it.ready() != 503:  # noqa: ASYNC110 - another process does not wake this one
                        await asyncio.sleep(0.02)
                await first.hang_up()
                await running.hang_up()
            code, said = await it.over()
            assert code == 0, said
            assert "0 sessions were cut short" in said
        assert not (data / "control.token").exists()
        await nobody_is_left(data)
        # What was given back can be had again: by a second life, of the same content, over the same store.
        async with embedded(spec, data) as it, Client.connect(it.calls, tenant="small"):
            assert len((await it.ask("GET", "/v1/pipelines/desk/versions"))["items"]) == 2
            assert await second_of(it, "small") > 0

    asyncio.run(main())


async def opened_with(it: Embedded, token: str, session: str) -> None:
    """The token opens its session, as soon as the process is less busy than with its own start."""
    async with asyncio.timeout(15):
        while True:
            try:
                async with Client.connect(it.calls, tenant="acme", token=token) as call:
                    assert call.welcome.session == session
                    await answered(call)
                    await call.hang_up()
                    return
            except ConnectionLost as error:
                if "near its limit of cpu" not in str(error):
                    raise
                await asyncio.sleep(0.3)  # it asks many callers for longer; this one is alone


async def second_of(it: Embedded, tenant: str) -> int:
    """When a session more is to be asked for again; it is refused for the quota, as soon as that is known there."""
    lost: ConnectionLost | None = None
    async with asyncio.timeout(5):
        while lost is None:
            try:
                async with Client.connect(it.calls, tenant=tenant) as more:
                    await more.hang_up()
            except ConnectionLost as error:
                lost = error
    assert "quota" in str(lost)
    return lost.retry_after_ms or 0


async def nobody_is_left(data: Path) -> None:
    store = SqliteStore(data / "control.db")
    try:
        entries = [await store.get(MEMBERS, one) for one in await store.keys(MEMBERS)]
    finally:
        await store.close()
    members = [member for one in entries if one is not None and (member := member_of(one)) is not None]
    assert {member.kind for member in members} == {"control", "worker"}
    assert all(member.state in GONE for member in members)


@pytest.mark.long
def test_with_keys_a_caller_needs_a_route_token_and_an_edited_version_is_refused_with_the_way_out(
    tmp_path: Path,
) -> None:
    spec, data, keys, token = (tmp_path / name for name in ("desk.yaml", "data", "keys", "admin.token"))
    spec.write_text(SPEC.format(version=OLD))
    store = f"sqlite:///{tmp_path / 'control.db'}"

    async def main() -> None:
        await begin(store, keys, "admin", token)
        more = ("--store", store, "--keys", str(keys))
        async with embedded(spec, data, *more, token=token) as it:
            with pytest.raises(ConnectionLost, match="token_refused"):
                async with Client.connect(it.calls, tenant="acme") as call:
                    await call.hang_up()
            route = await it.ask("POST", "/v1/tenants/acme/routes")
            assert route["endpoint"] == it.calls
            await opened_with(it, route["token"], route["session"])
            it.process.send_signal(signal.SIGTERM)
            assert (await it.over())[0] == 0
        assert not (data / "control-keys").exists()
        assert stat.S_IMODE(keys.stat().st_mode) == 0o700

        spec.write_text(SPEC.format(version=OLD).replace("This is", "That was"))
        process = await started(spec, data, *more)
        said = (await asyncio.wait_for(process.communicate(), 20))[1].decode()
        assert process.returncode == 1
        assert "version_exists" in said
        assert "Give the file a new `version`" in said

    asyncio.run(main())


@pytest.mark.long
def test_with_console_nothing_is_published_for_good_and_a_file_may_be_edited_as_one_likes(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        spec, data = tmp_path / "desk.yaml", tmp_path / "data"
        for words in ("This is it.", "This is something else."):
            text = SPEC.format(version=OLD).replace(f"This is {OLD}.", words)
            spec.write_text(text)
            async with embedded(spec, data, way="--console") as it:
                page = await it.http.get("/")
                assert "text/html" in page.headers["content-type"]
                async with Client.connect(it.calls, tenant="t1") as call:
                    call.say("hello")
                    await call.until(
                        lambda event, words=words: isinstance(event, Caption) and words in event.text  # type: ignore[misc]
                    )
                    await call.hang_up()
                it.process.send_signal(signal.SIGTERM)
                assert (await it.over())[0] == 0
        assert not (data / "control.db").exists()

    asyncio.run(main())
