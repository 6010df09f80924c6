"""Three nodes, of which one halts and dies: whoever writes goes on, and what was acknowledged is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import store_cas

from rspp.contract.errors import MisuseError, PeerFault
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.cluster import NatsCluster
from tests.unit.adapters.stores.nats.conftest import Server, until

pytestmark = [pytest.mark.slow, pytest.mark.long]
# An election takes up to some seven seconds; a node that halts is found out later than one that died.
OVER_S_MAX = 30
WORKER = """
import asyncio, sys, time
from pathlib import Path
from rspp.testing.cluster import NatsCluster
cluster = NatsCluster(Path(sys.argv[1]), 1)
asyncio.run(cluster.start())
print(cluster._running["n1"].pid, flush=True)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsCluster]:
    cluster = NatsCluster(tmp_path_factory.mktemp("nats3") / "cluster", 3)
    asyncio.run(cluster.start())
    yield cluster
    asyncio.run(cluster.close())


async def write_on(store: Store, until_set: asyncio.Event) -> tuple[list[int], dict[int, bytes], int]:
    """Counts a key up and writes a log, on and on: the revisions and records that were acknowledged, and how many are unknown."""
    revisions: list[int] = []
    records: dict[int, bytes] = {}
    unknown = number = 0
    while not until_set.is_set():
        number += 1
        try:
            found = await store.get("b", "k")
            expect, count = (found.revision, int(found.value)) if found else (0, 0)
            revision = await store.put("b", "k", str(count + 1).encode(), expect=expect)
            if revision is not None:
                revisions.append(revision)
            record = f"{id(store)} {number}".encode()
            records[await store.append("log", record)] = record
        except PeerFault:
            unknown += 1
    return revisions, records, unknown


def test_streams_are_on_three_nodes_unless_one_is_asked_for(three: NatsCluster) -> None:
    async def main() -> None:
        for namespace, option, wanted in (("def", "", 3), ("one", "&replicas=1", 1)):
            store = open_store(f"{three.store_url}&namespace={namespace}{option}", Secrets())
            await store.put("b", "k", b"1")
            found = await three.stream(f"{namespace}_keys")
            assert found["config"]["num_replicas"] == wanted
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["sqlite", "nats"])
def test_of_eight_processes_that_replace_one_key_every_win_is_one_revision(
    kind: str, tmp_path: Path, three: NatsCluster
) -> None:
    url = f"sqlite://{tmp_path / 'cas.db'}" if kind == "sqlite" else f"{three.store_url}&namespace=cas"
    found = store_cas.run(url, processes=8, count=150)
    assert found["faults"] == []
    assert found["attempts"] == 1_200
    assert found["wins"] == found["value"]
    assert found["lost_races"] > 0, "nobody ever met: the test proves nothing"


def test_nothing_that_was_acknowledged_is_lost_with_a_leader_that_halts_and_then_dies(
    three: NatsCluster,
) -> None:
    async def main() -> None:
        url = f"{three.store_url}&namespace=lead"
        stores = [open_store(url, Secrets()) for _ in range(3)]
        watched: list[int] = []

        async def watch() -> None:
            async for entry in stores[0].watch("b"):
                watched.append(int(entry.value))  # noqa: PERF401 - read while it grows

        over = asyncio.Event()
        writing = [asyncio.ensure_future(write_on(store, over)) for store in stores]
        watching = asyncio.ensure_future(watch())
        await until(lambda: len(watched) > 50)
        leader = await three.leader_of("lead_keys")
        three.pause(leader)
        before = watched[-1]
        await until(lambda: watched[-1] > before + 50, OVER_S_MAX)
        await three.kill(leader)
        await three.restart(leader)
        over.set()
        ended = await asyncio.gather(*writing)
        found = await stores[0].get("b", "k")
        assert found is not None
        wins = sorted(revision for revisions, _, _ in ended for revision in revisions)
        unknown = sum(count for _, _, count in ended)
        assert len(wins) == len(set(wins))
        assert len(wins) <= int(found.value) <= len(wins) + unknown
        kept = dict([record async for record in stores[1].read("log")])
        given = {number: record for _, records, _ in ended for number, record in records.items()}
        assert {number: kept.get(number) for number in given} == given
        assert len(set(kept.values())) == len(kept), "a record was kept twice"
        await until(lambda: watched[-1] == int(found.value))
        assert watched == sorted(set(watched))
        await asyncio.gather(*(store.close() for store in stores))
        await watching

    asyncio.run(main())


def test_no_node_outlives_its_parent(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path / "c")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    node = int(parent.stdout.readline())
    os.kill(node, 0)
    parent.send_signal(signal.SIGKILL)
    parent.communicate()

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{node}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    asyncio.run(until(is_gone))


def test_three_replicas_of_a_lone_server_are_refused_with_what_to_do(server: Server) -> None:
    async def main() -> None:
        url = f"{server.cluster.store_url}&namespace={server.namespace()}&replicas=3&deadline_ms=500"
        store = open_store(url, Secrets())
        with pytest.raises(MisuseError, match="replicas=1") as refused:
            await store.put("b", "k", b"1")
        assert refused.value.code == "store_replicas_missing"
        await store.close()

    asyncio.run(main())
