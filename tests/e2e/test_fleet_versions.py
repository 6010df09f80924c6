"""Versions in a real fleet: published, rolled out, taken back, and on record; and two tenants that know nothing of each other."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from rspp.cli.main import main as rspp
from rspp.client import Client, ConnectionLost, Session
from rspp.contract.wire import Told
from tests.e2e.fleet import Api, Fleet, calling, say, spec, until

pytestmark = [pytest.mark.slow, pytest.mark.long]


async def serves(fleet: Fleet, tenant: str, pipeline: str, session: str = "") -> str:
    """The version that a new session gets, as its own first word tells it."""
    wish = {"session": session} if session else {}
    route = await fleet.route(tenant, pipeline=pipeline, **wish)
    async with Client.connect(route["endpoint"], tenant=tenant, token=route["token"]) as call:
        told = await call.until(lambda event: isinstance(event, Told) and event.signal == "session_started")
        assert isinstance(told, Told)
        return str((told.detail or {})["pipeline"]).partition("@")[2]


@pytest.mark.proves("F-092")
def test_a_registry_gives_back_what_was_published_with_hash_author_and_time(fleet: Fleet) -> None:
    async def main() -> None:
        nobody = Api(fleet.root.url, None)
        viewer = await fleet.principal("reader", "*", "viewer")
        before = await fleet.root.get("/v1/me")
        for version in ("v1", "v2"):
            await fleet.publish("kept", version)
        assert (await nobody.refused(401, "POST", "/v1/pipelines", text=spec("kept", "v3")))["code"]
        denied = await viewer.refused(403, "POST", "/v1/pipelines", text=spec("kept", "v3"))
        assert denied["code"] == "permission_denied"
        items = (await viewer.get("/v1/pipelines/kept/versions"))["items"]
        assert [one["version"] for one in items] == ["v1", "v2"]
        for one in items:
            found = await viewer.get(f"/v1/pipelines/kept/versions/{one['version']}")
            assert found["published"] == one
            assert found["text"] == spec("kept", one["version"])
            assert hashlib.sha256(found["text"].encode()).hexdigest() == one["sha256"]
            assert one["author"] == before["principal"] == "root"
            assert one["created_at_ms"] > 0
        assert items[0]["sha256"] != items[1]["sha256"]
        assert items[0]["created_at_ms"] <= items[1]["created_at_ms"]
        for path in ("/v1/pipelines/kept/versions/v9", "/v1/pipelines/no-such/versions/v1"):
            await viewer.refused(404, "GET", path)

    asyncio.run(main())


@pytest.mark.proves("F-097")
def test_changes_are_on_record_for_good_and_no_role_can_touch_the_record(
    fleet: Fleet, tmp_path: Path
) -> None:
    async def main() -> None:
        await fleet.publish("record", "v1")
        await fleet.root.put("/v1/tenants/record/policies/versions/p1", text="tier: gold\n")
        await fleet.root.post("/v1/tenants/record/policies/versions/p1/activate", reason="they pay")
        await fleet.root.post("/v1/rollouts/record/begin", version="v1", reason="the first one")
        entries = await fleet.audit(decision="done", principal="root")
        done = {one["action"]: one for one in sorted(entries, key=lambda one: one["at_ms"])}
        wanted = {
            "pipelines.publish": {"text"},
            "policies.activate": {"version", "reason"},
            "rollout.begin": {"pipeline", "version", "reason"},
        }
        for action, facts in wanted.items():
            entry = done[action]
            assert entry["principal"] == "root"
            assert entry["at_ms"] > 0
            assert facts <= set(entry["facts"]), entry
        assert done["rollout.begin"]["facts"]["reason"] == "the first one"
        roles = {
            role: await fleet.principal(f"{role}-of-all", "*", role)
            for role in [one["role"] for one in (await fleet.root.get("/v1/roles"))["items"]]
        }
        assert {"viewer", "operator", "admin"} <= set(roles)
        kept = (await fleet.root.get("/v1/audit/verify"))["records"]
        for api in roles.values():
            for method in ("DELETE", "PUT", "PATCH", "POST"):
                for path in ("/v1/audit", f"/v1/audit/{done['rollout.begin']['place']}"):
                    assert (await api.ask(method, path)).status_code in (404, 405)
        verdict = await fleet.root.get("/v1/audit/verify")
        assert verdict["sound"]
        assert verdict["records"] >= kept

    asyncio.run(main())
    file = tmp_path / "audit.jsonl"
    exported = asyncio.run(fleet.root.post("/v1/audit/export"))
    whom = ("--server", fleet.root.url, "--token", f"file://{fleet.folder / 'admin.token'}")
    file.write_text(exported["data"])
    sound = CliRunner().invoke(rspp, ["control", "audit", "check", str(file), *whom])
    assert (sound.exit_code, "sound" in sound.output) == (0, True), sound.output
    file.write_text(exported["data"].replace("the first one", "the worst one", 1))
    broken = CliRunner().invoke(rspp, ["control", "audit", "check", str(file), *whom])
    assert (broken.exit_code, "BROKEN" in broken.output) == (1, True), broken.output


@pytest.mark.proves("F-100")
def test_a_version_that_the_metrics_show_to_fail_is_taken_back_and_running_calls_stay(fleet: Fleet) -> None:
    async def failures() -> float:
        """Calls of the language model that failed, as the machines count them."""
        lines = [line for one in fleet.machines.values() for line in (await one.metrics()).splitlines()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("rspp_provider_invocations_total{")
            and 'modality="llm"' in line
            and 'outcome="infrastructure_failure"' in line
        )

    async def fails(session: Session) -> None:
        session.say("Hello?")
        told = await session.until(
            lambda event: isinstance(event, Told) and event.signal in ("commit", "abort")
        )
        assert isinstance(told, Told)

    async def main() -> None:
        await fleet.publish("taken", "v1")
        await fleet.publish("taken", "v2", ", faults: {fail_times: -1}")
        await fleet.root.post("/v1/rollouts/taken/begin", version="v1", reason="a test")
        async with calling(fleet.routes(), "r", pipeline="taken") as before:
            assert await say(before, "Hello?") == "v1 one."
            await fleet.root.post("/v1/rollouts/taken/canary", version="v2", percent=100, reason="a test")
            await fleet.root.post("/v1/rollouts/taken/promote", version="v2", reason="looks good")
            await until(lambda: gets("v2"))
            async with calling(fleet.routes(), "r", pipeline="taken") as running:
                was = await failures()
                await fails(running)
                assert await failures() > was
                await fleet.root.refused(
                    409, "POST", "/v1/rollouts/taken/rollback", version="v7", reason="there is no such one"
                )
                await fleet.root.post("/v1/rollouts/taken/rollback", version="v1", reason="v2 fails")
                assert await gets("v1")
                assert running.ended is before.ended is None
                await fails(running)  # still v2, and still itself
                assert await say(before, "And now?") == "v1 two."
        (entry, *_) = [
            one for one in await fleet.audit(action="rollout.rollback") if one["decision"] == "done"
        ]
        assert entry["facts"] == entry["facts"] | {"pipeline": "taken", "version": "v1", "reason": "v2 fails"}

    async def gets(version: str) -> bool:
        return await serves(fleet, "r", "taken") == version

    asyncio.run(main())


def test_a_canary_gets_its_share_of_real_sessions_and_each_name_its_own_side(fleet: Fleet) -> None:
    names = [f"caller-{number}" for number in range(40)]

    async def sides(names: list[str], suffix: str = "") -> dict[str, str]:
        gate = asyncio.Semaphore(10)

        async def one(name: str) -> tuple[str, str]:
            async with gate:
                return name, await serves(fleet, f"c{suffix}", "share", name)

        return dict(await asyncio.gather(*map(one, names)))

    async def main() -> None:
        for version in ("v1", "v2"):
            await fleet.publish("share", version)
        await fleet.root.post("/v1/rollouts/share/begin", version="v1", reason="a test")
        await fleet.root.post("/v1/rollouts/share/canary", version="v2", percent=25, reason="a test")
        got = await sides(names)
        canaries = sum(version == "v2" for version in got.values())
        assert 4 <= canaries <= 16
        await fleet.root.post("/v1/rollouts/share/rollback", reason="a test")
        assert set((await sides(names[:5], "-after")).values()) == {"v1"}

    asyncio.run(main())


CONFIG = """
provider_settings:
  scripted-llm: {{answers: ["{canary}."]}}
"""


async def is_full(fleet: Fleet, tenant: str) -> bool:
    """Is a caller more than the tenant may have turned away, and for that?"""
    route = await fleet.route(tenant, pipeline="desk")
    try:
        async with Client.connect(route["endpoint"], tenant=tenant, token=route["token"]) as call:
            await call.hang_up()
    except ConnectionLost as lost:
        return "cp_admission_reject_quota: sessions" in lost.message
    return False


@pytest.mark.proves("F-114")
def test_two_tenants_at_once_have_their_own_providers_and_limits_and_hear_nothing_of_each_other(
    fleet: Fleet,
) -> None:
    canaries = {"blue": "blauregen-4711", "green": "gruenspan-0815"}

    async def everything(api: Api, tenant: str) -> str:
        """All that a tenant's own principal can be told."""
        listed = await api.get("/v1/sessions", tenant=tenant, ended=True)
        paths = [
            *(f"/v1/tenants/{tenant}/{what}" for what in ("statuses", "usage", "quota", "providers")),
            *(f"/v1/tenants/{tenant}/sessions/{one['session']}" for one in listed["items"]),
            f"/v1/tenants/{tenant}/providers/versions/c1",
        ]
        answers = [(await api.ask("GET", path)).text for path in paths]
        audit = (await api.ask("GET", "/v1/audit", tenant=tenant)).text
        return "\n".join([str(listed), *answers, audit])

    async def hears(session: Session) -> str:
        """Everything that comes while a question is asked and answered."""
        session.say("Once more.")
        said = []
        async with asyncio.timeout(10):
            async for event in session.events():
                said.append(str(event))
                if isinstance(event, Told) and event.signal == "close":
                    break
        return "\n".join(said)

    async def main() -> None:
        own: dict[str, Api] = {}
        for tenant, canary in canaries.items():
            own[tenant] = await fleet.principal(f"op-{tenant}", tenant, "operator")
            path = f"/v1/tenants/{tenant}/providers/versions/c1"
            await fleet.root.put(path, text=CONFIG.format(canary=canary))
            await fleet.root.post(f"{path}/activate", reason="a test")
        await fleet.root.put(
            "/v1/tenants/green/quota", limits={"sessions": {"most": 1}}, reason="a small tenant"
        )
        async with (
            calling(fleet.routes(), "blue", pipeline="desk") as blue,
            calling(fleet.routes(), "green", pipeline="desk") as green,
        ):
            # Both speak at the same time, and each hears its own provider.
            answers = await asyncio.gather(say(blue, "Hello?"), say(green, "Hello?"))
            assert list(answers) == [f"{canaries['blue']}.", f"{canaries['green']}."]
            # One has room for a second caller, the other has not.
            async with calling(fleet.routes(), "blue", pipeline="desk") as second:
                assert await say(second, "Me too?") == f"{canaries['blue']}."

            await until(lambda: is_full(fleet, "green"))
            outputs = dict(zip(canaries, await asyncio.gather(hears(blue), hears(green)), strict=True))
            for tenant in canaries:
                outputs[tenant] += await everything(own[tenant], tenant)
            for tenant, other in (("blue", "green"), ("green", "blue")):
                assert canaries[tenant] in outputs[tenant]
                assert canaries[other] not in outputs[tenant]
                assert f"op-{other}" not in outputs[tenant]
            # Nobody reads across, and whoever tries is on record.
            assert blue.ticket is not None
            stolen = f"/v1/tenants/blue/sessions/{blue.ticket.session}"
            for method, path, body in (
                ("GET", stolen, {}),
                ("GET", f"{stolen}/status", {}),
                ("POST", f"{stolen}/close", {"reason": "mine now"}),
                ("GET", "/v1/tenants/blue/providers/versions/c1", {}),
            ):
                answer = await own["green"].ask(method, path, **body)
                assert answer.status_code == 404, answer.text
            assert blue.ended is None
        denied = {one["action"] for one in await fleet.audit(principal="op-green", decision="deny")}
        assert {"sessions.show", "sessions.status", "sessions.close", "providers.show"} <= denied
        # And in what the machines have written down, each canary stands only with its own tenant's things.
        for machine in fleet.machines.values():
            log = machine.program.log.read_text()
            assert not any(canary in log for canary in canaries.values())

    asyncio.run(main())
