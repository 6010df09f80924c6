"""What the console shows of a call that another process serves: its words and turns while it goes on, and its replay after."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from rspp.client import Client
from rspp.control.security.roles import Principal, Role
from rspp.server.recorded.places import Places
from rspp.server.recorded.recorded import Recorded
from rspp.server.recorded.words import Session
from tests.e2e.test_run_control import OLD, SPEC, answered, embedded
from tests.unit.server.given import world

pytestmark = [pytest.mark.slow, pytest.mark.long]

TENANT = "acme"
LEVEL = "policies: {recording_policy: {level: L1}}\n"
# About a second on a machine that has time; this one may be at other things.
SEEN_S_MAX = 5.0


def test_a_call_is_followed_turn_by_turn_and_done_again_when_it_is_over(tmp_path: Path) -> None:
    spec, data = tmp_path / "desk.yaml", tmp_path / "data"
    spec.write_text(SPEC.format(version=OLD) + LEVEL)
    olga = Principal(id="olga", roles={TENANT: (Role.OPERATOR,)})

    async def main() -> None:
        async with world(tmp_path) as made, embedded(spec, data) as it:
            recorded = Recorded(made.plane, Places(data), lambda _: [])
            try:
                async with Client.connect(it.calls, tenant=TENANT) as call:
                    session = call.welcome.session

                    async def seen() -> Session:
                        found = await recorded.session(olga, TENANT, session)
                        assert found is not None
                        return found

                    for number in range(1, 4):
                        await answered(call)
                        began = time.monotonic()
                        while len([one for one in (await seen()).turns if one.outcome == "commit"]) < number:
                            assert time.monotonic() - began < SEEN_S_MAX
                            await asyncio.sleep(0.05)
                    found = await seen()
                    assert found.item.state == "running"
                    assert [one.speaker for one in found.transcript] == ["user", "assistant"] * 3
                    assert [one.turn for one in found.transcript] == [1, 1, 2, 2, 3, 3]
                    assert found.resolved is not None
                    assert {one["provider"] for one in found.resolved["called"]} >= {
                        "scripted-llm",
                        "scripted-tts",
                    }
                    await call.hang_up()
                began = time.monotonic()
                while (over := await recorded.session(olga, TENANT, session)) and over.item.state != "ended":
                    assert time.monotonic() - began < SEEN_S_MAX
                    await asyncio.sleep(0.05)
                again = await recorded.replay(olga, TENANT, session)
                assert again is not None
                assert again.same, again.message
            finally:
                await recorded.close()

    asyncio.run(main())
