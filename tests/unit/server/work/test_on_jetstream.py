"""The same over JetStream, where other machines look on: nothing is lost while its server is away, and one signal opens one step."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rspp.control.fleet.work import WORK, WorkSessions, work_of
from rspp.control.names import key
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.manifest import Manifest
from rspp.manifest.refused import Refused
from rspp.manifest.updates import RequirementMet, StepBegun
from rspp.ops.journal.journal import Journal
from rspp.server.surfaces import surfaces
from rspp.server.work import WorkTeller
from rspp.testing.cluster import NatsCluster
from tests.unit.server.work.test_told_by_manifest import ROUTE, path_of
from tests.unit.server.work.told import revisions

pytestmark = [pytest.mark.slow, pytest.mark.long]


def begins(folder: Path, url: str) -> None:
    with WorkTeller(url) as teller, Manifest.create(path_of(folder), "r1", tells=teller).step("one") as step:
        step.route(ROUTE)
        step.stopped(["a clock is chosen"])


def goes_on_without(folder: Path, url: str) -> None:
    """The server is away: the work does not wait for it."""
    with WorkTeller(url, within_s=0.5) as teller:
        manifest = Manifest(path_of(folder), tells=teller)
        manifest.say(RequirementMet(requirement="1", ref=manifest.ref("clock.txt")))
        assert manifest.document.RESUME.RESUME_ALLOWED
        with pytest.raises(Refused, match="manifest_signal_missing"):
            manifest.say(StepBegun(goal="two"))


def begins_by_the_signal(folder: Path, url: str) -> None:
    with WorkTeller(url, within_s=10) as teller:
        manifest = Manifest(path_of(folder), tells=teller)
        manifest.say(StepBegun(goal="two"))
        with manifest.go_on() as step:
            step.route(ROUTE)
            step.role("VAL").ran()
            step.stopped(["enough"])


def is_told(folder: Path, url: str) -> None:
    with WorkTeller(url, within_s=10) as teller:
        Manifest(path_of(folder), tells=teller).mended()


async def recorded(store: Store) -> list[object]:
    page = await Journal(store, surfaces(), MachineClock()).page(after=0, limit=1_000)
    numbers = [one.sequence for one in page.records]
    assert numbers == list(range(1, len(numbers) + 1))
    return revisions(list(page.records))


def test_every_line_is_one_record_though_the_server_was_away_and_a_signal_opens_the_step(
    tmp_path: Path,
) -> None:
    (tmp_path / "clock.txt").write_text("the one in the hall")

    async def main() -> None:
        async with NatsCluster(tmp_path / "cluster", 1) as cluster:
            url, name = cluster.store_url, cluster.nodes[0].name
            await asyncio.to_thread(begins, tmp_path, url)
            await cluster.stop(name)
            await asyncio.to_thread(goes_on_without, tmp_path, url)
            await cluster.restart(name)
            await cluster.ready()
            await asyncio.to_thread(is_told, tmp_path, url)
            store = open_store(url, Secrets())
            kept = WorkSessions(store, lambda: 5)
            work = await kept.get("r1")
            assert work is not None
            assert (work.state, work.line) == ("waiting", 5)
            await kept.signal(work, by="olga", reason="it was quiet")
            await asyncio.to_thread(begins_by_the_signal, tmp_path, url)
            told = await recorded(store)
            last = work_of(await store.get(WORK, key("r1")))
            assert last is not None
            assert (last.line, last.step, last.state) == (9, "2", "stopped")
            assert len(told) == 9
            assert told == sorted(set(told))  # type: ignore[type-var]
            assert await kept.take("r1", "1") is None, "it was taken"
            await store.close()

    asyncio.run(main())
    assert len(list(Manifest(path_of(tmp_path)).trace())) == 9
