"""Whoever looked first may say what was seen: a rollout that somebody else has changed meanwhile is left as it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rspp.cli.control.main import command
from rspp.contract.errors import MisuseError
from rspp.control.identity import Identity
from rspp.control.operations.calling import digest_of
from rspp.control.operations.rollout import Promote
from rspp.testing.store import ManualClock, MemoryStore
from tests.unit.control.operations.test_operations import asked, served
from tests.unit.control.published import spec_text


@pytest.mark.parametrize(
    ("action", "fields"),
    [
        ("rollout.canary", {"version": "v2", "percent": 50}),
        ("rollout.promote", {"version": "v2"}),
        ("rollout.rollback", {}),
        ("rollout.freeze", {}),
        ("rollout.unfreeze", {}),
    ],
)
def test_a_change_is_made_of_the_rollout_that_was_looked_at_and_of_no_other(
    tmp_path: Path, action: str, fields: dict[str, Any]
) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        await asked(plane, "pipelines.publish", text=spec_text("v2"))
        await asked(plane, "rollout.canary", pipeline="voice", version="v2", percent=5, reason="try")
        now = await asked(plane, "rollout.show", pipeline="voice")
        with pytest.raises(MisuseError) as refused:
            await asked(plane, action, pipeline="voice", reason="late", number=now.number - 1, **fields)
        assert refused.value.code == "rollout_changed"
        assert await asked(plane, "rollout.show", pipeline="voice") == now
        await asked(plane, action, pipeline="voice", reason="in time", number=now.number, **fields)

    asyncio.run(main())


def test_consent_is_to_the_change_whichever_state_of_the_rollout_it_was_looked_at() -> None:
    said: dict[str, Any] = {"pipeline": "voice", "version": "v2", "reason": "x"}
    assert digest_of(Promote(**said)) == digest_of(Promote(**said, number=7))
    assert digest_of(Promote(**said)) != digest_of(Promote(**{**said, "version": "v3"}))


def test_why_a_version_was_published_is_kept_with_it_as_it_was_said_first(tmp_path: Path) -> None:
    async def main() -> None:
        plane = await served(tmp_path)
        for reason in ("the first", "the second"):
            done = await asked(plane, "pipelines.publish", text=spec_text("v2"), reason=reason)
            assert done.published.reason == "the first"
        shown = await asked(plane, "pipelines.show", pipeline="voice", version="v1")
        assert shown.published.reason == "", "nobody has to say why"

    asyncio.run(main())


def test_a_control_plane_has_one_name_for_good_whoever_asks_first() -> None:
    async def main() -> None:
        store = MemoryStore(ManualClock())
        names = await asyncio.gather(*(Identity(store).name() for _ in range(5)))
        assert len(set(names)) == 1
        assert await Identity(MemoryStore(ManualClock())).name() not in names

    asyncio.run(main())


def test_an_address_that_holds_a_password_is_not_asked_and_not_repeated() -> None:
    words = (
        "fleet",
        "status",
        "--server",
        "https://amy:{}@control.example".format("hush"),
        "--token",
        "env://NOBODY",
    )
    said = CliRunner().invoke(command, words)
    assert said.exit_code == 2
    assert "holds a password" in said.output
    assert "hush" not in said.output
