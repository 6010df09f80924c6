"""Every store keeps to its port: the one in memory, which is the reference, and the one in a file."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.conformance import run_suite
from rspp.testing.conformance import store as suite
from rspp.testing.conformance.checks import Run
from rspp.testing.conformance.profiles import certify
from rspp.testing.store import MemoryStore

Make = Callable[[Path], suite.StoreTarget]


def memory(_: Path) -> suite.StoreTarget:
    clock = ManualClock()
    return suite.StoreTarget(store=MemoryStore(clock), pass_ms=passing(clock))


def sqlite(file: Path) -> suite.StoreTarget:
    clock = ManualClock()
    return suite.StoreTarget(store=SqliteStore(file, clock), pass_ms=passing(clock))


def passing(clock: ManualClock) -> Callable[[float], Awaitable[None]]:
    async def pass_ms(ms: float) -> None:
        clock.advance(ms)

    return pass_ms


@pytest.mark.parametrize(
    ("make", "run"), [(memory, run_virtual), (sqlite, asyncio.run)], ids=["memory", "sqlite"]
)
def test_it_conforms(make: Make, run: Run, tmp_path: Path) -> None:
    numbers = itertools.count()
    checks = suite.conformance(lambda: make(tmp_path / f"{next(numbers)}.db"))
    report = run_suite(checks, "store", run)
    assert report.conforms, report.reasons()
    assert certify(report).certified
