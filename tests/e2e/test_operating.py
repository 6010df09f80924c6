"""Something breaks in a real fleet: within two seconds health says what and why, the right action is offered, and it works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from rspp.client import Client
from rspp.contract.wire import Told
from tests.e2e.fleet import spec
from tests.e2e.operated import SEEN_S_MAX, Operated, operated, workers_of

pytestmark = [pytest.mark.slow, pytest.mark.long]

# The lease's time, and what a process waits beyond it before it calls another one silent.
SILENT_S = 3.0 * 1.02
QUOTA_BYTES = 104_857  # --disk-mb 0.1


def test_a_killed_worker_is_on_the_page_and_is_settled_by_who_may(tmp_path: Path) -> None:
    async def main() -> None:
        async with operated(tmp_path) as it:
            await it.machine("m1", workers=2)
            await it.gone("worker_unready", within_s=20)
            assert (await it.health())["level"] in ("ok", "notice")
            os.kill(workers_of(it.machines["m1"])[0], signal.SIGKILL)
            reason = await it.seen("worker_lost")
            assert reason["aggregate_id"].startswith("m1-")
            action = await it.offered("settle_worker")
            assert action == f"settle_worker:workers:{reason['aggregate_id']}"
            await it.refuses("viewer", action)
            assert "worker_lost" in await it.codes(), "and nothing was done"
            assert (await it.takes("operator", action, "k1"))["done"]
            await it.gone("worker_lost")

    asyncio.run(main())


def test_a_machine_that_is_gone_without_a_word_is_known_to_be_when_its_time_is_over(tmp_path: Path) -> None:
    async def main() -> None:
        async with operated(tmp_path) as it:
            await it.machine("m1")
            await it.machine("m2")
            it.machines["m2"].kill()
            # The other machine fences it as soon as it has been silent for long enough; the page is not later than that.
            killed = time.monotonic()
            await it.until(lambda: _any_of(it, "worker_silent", "worker_lost"), SILENT_S + SEEN_S_MAX)
            assert time.monotonic() - killed > 1.0, "nobody is called silent before its time"

    asyncio.run(main())


def test_the_commands_say_and_do_the_same_with_a_console_that_is_a_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with operated(tmp_path) as it:
            await it.machine("m1", workers=2)
            url = await it.console()
            await it.gone("worker_unready", within_s=20)
            status, said = await it.command("viewer", url, "health", "--json")
            assert (status, json.loads(said)["stale"]) == (0, False), said
            os.kill(workers_of(it.machines["m1"])[0], signal.SIGKILL)
            lost = (await it.seen("worker_lost"))["aggregate_id"]
            status, said = await it.command("viewer", url, "health")
            assert status == 1
            assert lost in said
            assert "worker_lost" in said
            action = f"settle_worker:workers:{lost}"
            status, said = await it.command("viewer", url, "actions", "--json")
            offered = {one["action"]["id"]: one["allowed"] for one in json.loads(said)["items"]}
            assert (status, offered[action]) == (0, False)
            words = ("actions", "take", action, "--reason", "its disk died", "--key", "k1", "--yes")
            status, said = await it.command("viewer", url, *words)
            assert (status, "permission_denied" in said) == (1, True), said
            for again in (False, True):
                status, said = await it.command("operator", url, *words, "--json")
                assert (status, json.loads(said)["done"], json.loads(said)["repeated"]) == (0, True, again)
            assert (await it.recorded("operator")).count(("done", action, "k1")) == 1
            status, said = await it.command("viewer", url, "health")
            assert status == 0, said

    asyncio.run(main())


async def _any_of(it: Operated, *codes: str) -> bool:
    return bool((await it.codes()) & set(codes))


def test_a_frozen_machine_nobody_else_watches_is_fenced_by_an_admin_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with operated(tmp_path) as it:
            await it.machine("m1")
            # The whole machine: whoever would have buried the worker freezes with it.
            pids = [it.machines["m1"].process.pid, *it.machines["m1"].children()]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                reason = await it.seen("worker_silent", SILENT_S + SEEN_S_MAX)
                action = await it.offered("fence_worker")
                assert action == f"fence_worker:workers:{reason['aggregate_id']}"
                await it.refuses("viewer", action)
                await it.refuses("operator", action)
                assert (await it.takes("admin", action, "k1"))["done"]
                await it.gone("worker_silent")
                assert (await it.seen("worker_lost"))["aggregate_id"] == reason["aggregate_id"]
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)

    asyncio.run(main())


FAILING = ", faults: {fail_times: 5, fail_circuit: true, fail_retryable: false}"


def test_an_exhausted_provider_is_on_the_page_and_is_called_again_when_it_is_reset(tmp_path: Path) -> None:
    async def main() -> None:
        async with operated(tmp_path) as it:
            await it.plane.registry.publish(spec("broken", "v2", FAILING), "root")
            await it.plane.rollouts.begin("broken", "v2", author="root")
            url = await it.machine("m1")
            async with Client.connect(url, tenant="acme", pipeline="broken") as call:
                for number in range(5):
                    call.say(f"question {number}")
                    await call.until(lambda event: isinstance(event, Told) and event.signal == "close", 10)
                await it.seen("circuit_open")
                action = await it.offered("reset_circuit")
                assert action == "reset_circuit:circuits:scripted-llm"
                await it.refuses("viewer", action)
                assert (await it.takes("operator", action, "k1"))["done"]
                await it.gone("circuit_open", "provider_unhealthy")
                call.say("and now?")
                await call.until(lambda event: isinstance(event, Told) and event.signal == "commit", 10)
                await it.gone("circuit_open", "provider_unhealthy")

    asyncio.run(main())


def test_a_disk_that_may_hold_no_more_is_on_the_page_and_is_emptied_when_the_store_is_back(
    tmp_path: Path,
) -> None:
    recordings = tmp_path / "recordings.db"

    async def main() -> None:
        async with operated(tmp_path) as it:
            url = await it.machine(
                *("m1", "--record-level", "L2", "--disk-mb", "0.1"),
                *("--recordings", f"sqlite://{recordings}"),
            )
            away = sqlite3.connect(recordings, isolation_level=None)
            away.execute("BEGIN EXCLUSIVE")
            while _kept(tmp_path / "m1") <= QUOTA_BYTES:
                await _calls(url)
            await it.seen("recordings_full")
            action = await it.offered("retry_export")
            await it.refuses("viewer", action)
            said = await it.takes("operator", action, "k1")
            assert (said["done"], said["code"]) == (False, "action_failed"), "the store is away still"
            away.execute("ROLLBACK")
            away.close()
            assert (await it.takes("operator", action, "k2"))["done"]
            await it.gone("recordings_full", "export_failing")
            assert _kept(tmp_path / "m1") == 0

    asyncio.run(main())


async def _calls(url: str) -> None:
    """A call of one question; its recording has some tens of kilobytes."""
    async with Client.connect(url, tenant="acme", pipeline="desk") as call:
        call.say("how are you?")
        await call.until(lambda event: isinstance(event, Told) and event.signal == "close", 10)
        await call.hang_up()


def _kept(data: Path) -> int:
    return sum(one.stat().st_size for one in data.glob("spool/*/*/*.seg"))
