"""Four processes write as fast as they can, others compact beside them, some are killed: the journal is gapless, unique, valid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets
from rspp.ops.changes import StateChange
from rspp.ops.journal.journal import Journal
from rspp.testing.cluster import NatsCluster
from tests.unit.ops.journal.hammer import WINDOW, WRITERS, told_in
from tests.unit.ops.journal.made import SURFACES


def hammered(url: str, folder: Path, seconds: float, *, records: int = 0, kills: int = 0) -> dict[str, int]:
    """What the writers were told, by event id."""
    words = [url, str(folder), str(seconds), str(records), str(kills)]
    command = [sys.executable, "-m", "tests.unit.ops.journal.hammer", *words]
    with subprocess.Popen(command, start_new_session=True) as crew:
        try:
            assert crew.wait(timeout=seconds + 60) == 0
        finally:
            with suppress(ProcessLookupError):  # all of them are over
                os.killpg(crew.pid, signal.SIGKILL)
    return told_in(folder)


async def checked(url: str, told: dict[str, int]) -> str:
    """Everything that must hold of what is there afterwards; how much it was."""
    store = open_store(url, Secrets())
    journal = Journal(store, SURFACES, MachineClock(), window=WINDOW)
    validation = await journal.validate()
    assert validation.problems == ()
    there: list[StateChange] = []
    page = await journal.page(limit=500)
    there += page.records
    while page.next < page.last:
        page = await journal.page(after=page.next, limit=500)
        there += page.records
    whole = [one.sequence for one in there if one.sequence >= validation.oldest]
    assert whole == list(range(validation.oldest, validation.last + 1))
    assert validation.oldest > 1, "nothing was compacted"
    assert len(set(told.values())) == len(told), "two records were told the same number"
    by_event = {one.event_id: one.sequence for one in there}
    assert len(by_event) == len(there)
    for event, sequence in told.items():
        if sequence >= validation.oldest:
            assert by_event.get(event) == sequence
    left = {one.event_id: one.sequence for one in there if one.sequence < validation.oldest}
    assert all(told.get(event, sequence) == sequence for event, sequence in left.items())
    assert len(left) <= WINDOW.kept_records_max
    kept = [(one.surface, one.aggregate_id) for one in there if one.sequence < validation.oldest]
    assert len(set(kept)) == len(kept), "of an aggregate more than the newest record was kept"
    once = {event for event in told if event.endswith("-once")}
    assert len(once) >= WRITERS
    assert once <= by_event.keys(), "the only record of something was forgotten"
    await store.close()
    return f"{validation.last} records, {len(told)} told, whole from {validation.oldest}, {len(left)} kept before"


@pytest.mark.slow
def test_four_processes_write_at_once_beside_a_compactor(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'journal.db'}"
    told = hammered(url, tmp_path, 60.0, records=1_200, kills=1)
    assert len(told) > WINDOW.records_min
    asyncio.run(checked(url, told))


@pytest.mark.slow
@pytest.mark.long
def test_four_processes_hammer_a_file_for_a_minute_and_some_are_killed(tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path / 'journal.db'}"
    told = hammered(url, tmp_path, 60.0, kills=20)
    sys.stdout.write(asyncio.run(checked(url, told)))


@pytest.mark.slow
@pytest.mark.long
def test_four_processes_hammer_a_cluster_for_a_minute_and_some_are_killed(tmp_path: Path) -> None:
    async def main() -> None:
        async with NatsCluster(tmp_path / "nats") as cluster:
            told = await asyncio.to_thread(hammered, cluster.store_url, tmp_path, 60.0, kills=20)
            sys.stdout.write(await checked(cluster.store_url, told))

    asyncio.run(main())
