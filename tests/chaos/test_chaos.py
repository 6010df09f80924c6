"""A few rounds of `python -m tests.chaos`, which is the whole of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.fleet import Fleet
from tests.chaos.network import usable
from tests.chaos.rounds import Chaos, Report, as_text

pytestmark = [pytest.mark.slow, pytest.mark.long]
TTL_MS = 3_000


def test_whatever_breaks_each_call_is_answered_again_by_one_owner_who_knows_what_was_said(
    tmp_path: Path,
) -> None:
    why = usable()
    if why is not None:
        pytest.skip(why)

    async def main() -> Report:
        async with Fleet(tmp_path, 2, TTL_MS) as fleet:
            return await Chaos(fleet, calls=6, seed=2).run(["kill_machine", "cut_answers"])

    report = asyncio.run(main())
    assert report.passed, as_text(report)
    assert all(one.moved for one in report.rounds), "calls were on the machines that were broken"
    assert report.durable_turns_checked
