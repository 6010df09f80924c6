"""Sessions come and go, most with something wrong, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc

import pytest
from msgspec.structs import replace

from rspp.adapters.transports.websocket import Settings, WebSocketTransport
from rspp.cli.bench_churn import Churned, slope
from rspp.cli.bench_machine import files_open
from rspp.cli.bench_soak import SESSIONS_FOR_SLOPE, faults, soak
from rspp.cli.bench_talk import pipeline, registry
from rspp.client import Client
from rspp.host.host import Host

pytestmark = [pytest.mark.slow, pytest.mark.long]

SESSIONS = 1_000
SOCKETS = 240
SOCKETS_AT_ONCE = 30


@pytest.fixture(scope="module")
def churned() -> Churned:
    return soak(SESSIONS, seed=3, at_once=40)


def test_a_thousand_callers_with_faults_leave_no_session_task_timer_input_or_file(churned: Churned) -> None:
    assert faults(churned) == []
    assert sum(churned.ends.values()) == SESSIONS


def test_the_faults_were_really_there_and_so_were_the_turns(churned: Churned) -> None:
    assert churned.turns > SESSIONS / 2
    assert {"kernel:RuntimeError", "line:RuntimeError"} <= set(churned.blamed)
    assert {"disconnect_deadline", "runtime_internal_error", "hung_up"} <= set(churned.ends)


def test_memory_stops_growing_when_the_first_have_come_and_gone(churned: Churned) -> None:
    """Coarse, for the interpreter's arenas are; a session weighs more than ten times this while it lives."""
    last = churned.rss_bytes[-len(churned.rss_bytes) // 4 :]
    assert slope(last, SESSIONS // 40) < 10_000


def test_what_is_left_over_is_told(churned: Churned) -> None:
    left = replace(churned, after=replace(churned.after, timers=3), tasks_leaked=["call:c1"])
    grown = replace(churned, sessions=SESSIONS_FOR_SLOPE, rss_slope_bytes=1_000.0)
    assert [line.partition(":")[0] for line in faults(left)] == ["timers", "task that would not end"]
    assert faults(grown) == ["memory grows by 1000 bytes a session"]


def test_sockets_that_are_opened_hung_up_and_cut_are_all_closed() -> None:
    async def visit(url: str, number: int) -> None:
        async with Client.connect(url, tenant="soak") as call:
            await call.send_silence(60)
            if number % 2:
                await call.drop()

    async def main() -> None:
        host = Host(registry())
        graph = pipeline(1_000)
        limits = replace(graph.policies.limits, disconnect_ms_max=100)
        host.publish(replace(graph, policies=replace(graph.policies, limits=limits)))
        await host.start()
        transport = WebSocketTransport(Settings(port=0, connects_per_second=10_000, connects_burst=10_000))
        await transport.start(host)
        tasks, files = len(asyncio.all_tasks()), files_open()
        for first in range(0, SOCKETS, SOCKETS_AT_ONCE):
            await asyncio.gather(*(visit(transport.url, first + n) for n in range(SOCKETS_AT_ONCE)))
        async with asyncio.timeout(10):
            while host.sessions or len(host.timer) or len(asyncio.all_tasks()) > tasks:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.05)
        gc.collect()
        assert files_open() == files
        await transport.stop("over")
        assert await host.stop() == []

    asyncio.run(main())
