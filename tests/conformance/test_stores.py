"""Every store keeps to its port: the one in memory, which is the reference, the one in a file, and the one on servers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.cluster import NatsCluster
from rspp.testing.conformance import run_suite, store_shared
from rspp.testing.conformance import store as suite
from rspp.testing.conformance.checks import Run
from rspp.testing.conformance.profiles import certify
from rspp.testing.store import MemoryStore

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

Make = Callable[[Path], suite.StoreTarget]


def memory(_: Path) -> suite.StoreTarget:
    clock = ManualClock()
    return suite.StoreTarget(store=MemoryStore(clock), pass_ms=passing(clock))


def sqlite(file: Path) -> suite.StoreTarget:
    clock = ManualClock()

    def another() -> Store:
        return SqliteStore(file, clock)

    return suite.StoreTarget(store=another(), another=another, pass_ms=passing(clock))


def passing(clock: ManualClock) -> Callable[[float], Awaitable[None]]:
    async def pass_ms(ms: float) -> None:
        clock.advance(ms)

    return pass_ms


@pytest.mark.parametrize(
    ("make", "run"), [(memory, run_virtual), (sqlite, asyncio.run)], ids=["memory", "sqlite"]
)
def test_it_conforms(make: Make, run: Run, tmp_path: Path) -> None:
    numbers = itertools.count()
    checks = suite.conformance(lambda: make(tmp_path / f"{next(numbers)}.db"), shared=make is sqlite)
    report = run_suite(checks, "store", run)
    assert report.conforms, report.reasons()
    assert certify(report).certified


def on_servers(url: str) -> str:
    """What the suite has against a store there. Every check has streams of its own."""
    numbers = itertools.count()

    def make_one() -> suite.StoreTarget:
        clock = ManualClock()
        namespace = f"c{next(numbers)}"

        def another() -> Store:
            return open_store(f"{url}&namespace={namespace}", Secrets(), clock)

        return suite.StoreTarget(store=another(), another=another, pass_ms=passing(clock))

    report = run_suite(suite.conformance(make_one, shared=True), "store", asyncio.run)
    if report.conforms and certify(report).certified:
        return ""
    return report.reasons() or "not certified"


@pytest.fixture(
    params=[1, pytest.param(3, marks=[pytest.mark.slow, pytest.mark.long])], ids=["one node", "three nodes"]
)
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NatsCluster]:
    made = NatsCluster(tmp_path / "cluster", request.param)
    asyncio.run(made.start())
    yield made
    asyncio.run(made.close())


def test_the_one_on_servers_conforms(cluster: NatsCluster) -> None:
    assert on_servers(cluster.store_url) == ""


def test_a_store_that_others_do_not_share_is_caught() -> None:
    def alone() -> suite.StoreTarget:
        clock = ManualClock()
        return suite.StoreTarget(
            store=MemoryStore(clock),
            another=lambda: MemoryStore(clock),
            pass_ms=passing(clock),
            answer_ms_max=50,
        )

    report = run_suite(suite.conformance(alone, shared=True), "store", run_virtual)
    assert report.failed() == [name for _, name, _ in store_shared.ROWS]
