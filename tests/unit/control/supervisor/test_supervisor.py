"""Processes behind one socket, with real ones: ended, wedged, replaced and let go of, whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from rspp.contract.errors import PeerFault
from rspp.control.supervisor.crashes import CrashRule
from rspp.control.supervisor.pages import pages
from rspp.control.supervisor.settings import SupervisorSettings
from rspp.control.supervisor.supervisor import Supervisor

pytestmark = pytest.mark.slow

CHILD = str(Path(__file__).with_name("small_child.py"))


class Stage:
    """A supervisor with small children, and all that it fenced and said."""

    def __init__(
        self, supervisor: Supervisor, address: tuple[str, int], fenced: dict[str, str], said: list[str]
    ) -> None:
        self.supervisor, self.address, self.fenced, self.said = supervisor, address, fenced, said
        self.writers: list[asyncio.StreamWriter] = []
        self.running: asyncio.Task[bool] = asyncio.create_task(supervisor.run())

    async def until(self, met: Callable[[], bool], seconds: float = 15.0) -> None:
        async with asyncio.timeout(seconds):
            while not met():  # noqa: ASYNC110 - another process does not wake this one
                await asyncio.sleep(0.01)

    async def until_ready(self, count: int) -> None:
        await self.until(
            lambda: (
                sum(c.state is not None and c.state.ready and c.serves.is_set() for c in self.children)
                == count
            )
        )

    @property
    def children(self) -> list[Any]:
        return list(self.supervisor.children.values())

    async def call(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
        """A connection, and the pid of who answered it."""
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        return reader, writer, int(await asyncio.wait_for(reader.readline(), 10))


@asynccontextmanager
async def stage(
    workers: int = 1, fence_fails: int = 0, work: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[Stage]:
    listening = socket.create_server(("127.0.0.1", 0))
    fenced: dict[str, str] = {}
    said: list[str] = []
    failures = [fence_fails]

    async def fence(name: str, reason: str) -> None:
        if failures[0]:
            failures[0] -= 1
            raise PeerFault("store_unreachable", "no store")
        fenced[name] = reason

    settings = SupervisorSettings(
        **{
            "workers": workers,
            "name": "test",
            "command": (sys.executable, CHILD),
            "work": work or {},
            "drain_ms": 500,
            "drain_slack_ms": 3_000,
            "wedged_ms": 800,
            "check_ms": 50,
            **more,
        }
    )
    one = Stage(Supervisor(settings, listening, fence, said.append), listening.getsockname(), fenced, said)
    try:
        yield one
    finally:
        for writer in one.writers:
            writer.close()
        one.supervisor.kill()
        await asyncio.wait_for(one.supervisor.stop(), 5)
        one.running.cancel()
        await asyncio.wait([one.running])
        listening.close()


def test_a_process_that_is_killed_is_fenced_and_replaced_and_the_other_is_left_alone() -> None:
    async def main() -> None:
        async with stage(workers=2, fence_fails=2) as it:
            await it.until_ready(2)
            one, other = it.children
            os.kill(one.pid, signal.SIGSTOP)
            scraping = asyncio.ensure_future(pages(it.supervisor)["/metrics"]())
            await asyncio.sleep(0)
            os.kill(one.pid, signal.SIGKILL)
            # Who died while it was asked is left out of the figures, and the others are in them.
            figures = (await asyncio.wait_for(scraping, 5)).body.decode()
            assert f'rspp_answers_total{{worker="{other.name}"}} 0' in figures
            assert f'rspp_answers_total{{worker="{one.name}"}}' not in figures
            await it.until(lambda: one.name in it.fenced)
            assert "SIGKILL" in it.fenced[one.name]
            await it.until_ready(2)
            assert other in it.children
            assert one not in it.children
            assert len({child.name for child in it.children} | {one.name}) == 3
            assert it.supervisor.tally.crashed == 1

    asyncio.run(main())


def test_a_store_that_cannot_be_reached_keeps_no_process_from_being_replaced() -> None:
    async def main() -> None:
        async with stage(fence_fails=1_000, fence_ms=300) as it:
            await it.until_ready(1)
            first = it.children[0]
            os.kill(first.pid, signal.SIGKILL)
            await it.until(lambda: first not in it.children)
            await it.until_ready(1)
            assert it.supervisor.tally.unfenced == 0  # it is still being tried
            await it.until(lambda: it.supervisor.tally.unfenced == 1)
            assert it.fenced == {}

    asyncio.run(main())


def test_a_process_whose_loop_stands_still_fails_liveness_and_is_replaced() -> None:
    async def main() -> None:
        async with stage() as it:
            await it.until_ready(1)
            wedged = it.children[0]
            assert it.supervisor.live().ok
            _, writer, pid = await it.call()
            writer.write(b"wedge\n")
            await it.until(lambda: not it.supervisor.live().ok)
            assert it.supervisor.live().status is HTTPStatus.SERVICE_UNAVAILABLE
            assert not it.supervisor.ready().ok
            await it.until(lambda: wedged not in it.children and wedged.name in it.fenced)
            assert it.fenced[wedged.name] == "its process has ended: its loop stood still"
            await it.until_ready(1)
            assert it.children[0].pid != pid
            assert it.supervisor.live().ok
            assert it.supervisor.ready().ok
            writer.close()

    asyncio.run(main())


def test_a_failing_dependency_costs_readiness_and_not_liveness() -> None:
    async def main() -> None:
        async with stage() as it:
            await it.until_ready(1)
            _, writer, _ = await it.call()
            writer.write(b"unready\n")
            await it.until(lambda: not it.supervisor.ready().ok)
            answer = await pages(it.supervisor)["/readyz"]()
            assert answer.status == 503
            assert b"store_unreachable" in answer.body
            answer = await pages(it.supervisor)["/livez"]()
            assert answer.status == 200
            writer.close()

    asyncio.run(main())


def test_calls_are_spread_over_all_processes_and_each_is_told_of_in_the_metrics() -> None:
    async def main() -> None:
        async with stage(workers=2) as it:
            await it.until_ready(2)
            pids: list[int] = []
            for _ in range(12):
                _, _, pid = await it.call()
                pids.append(pid)
                await it.until(lambda: sum(c.state.sessions for c in it.children) == len(pids))
            assert min(pids.count(child.pid) for child in it.children) >= 4
            answer = await pages(it.supervisor)["/metrics"]()
            lines = answer.body.decode().splitlines()
            assert "rspp_sessions 12" in lines
            assert "rspp_load 0.6" in lines
            for child in it.children:
                assert f'rspp_answers_total{{worker="{child.name}"}} 0' in lines

    asyncio.run(main())


def test_a_reload_replaces_every_process_and_running_calls_end_where_they_began() -> None:
    async def main() -> None:
        async with stage(workers=2, drain_ms=10_000) as it:
            await it.until_ready(2)
            former = {child.pid for child in it.children}
            reader, writer, pid = await it.call()
            reloading = asyncio.create_task(it.supervisor.reload())
            await it.until(
                lambda: any(c.state is not None and c.state.draining for c in it.children) or reloading.done()
            )
            await asyncio.sleep(0.3)
            writer.write(b"still here\n")
            assert await asyncio.wait_for(reader.readline(), 5) == b"still here\n"
            writer.close()
            assert await asyncio.wait_for(reloading, 20)
            await it.until_ready(2)
            assert not former & {child.pid for child in it.children}
            assert pid in former
            assert it.supervisor.tally.crashed == 0
            assert it.supervisor.tally.cut == 0
            await it.until(lambda: len(it.fenced) == 2)

    asyncio.run(main())


def test_a_stop_drains_within_the_deadline_and_counts_who_was_cut_short() -> None:
    async def main() -> None:
        async with stage(workers=2) as it:
            await it.until_ready(2)
            pids = [child.pid for child in it.children]
            await it.call()
            await it.supervisor.stop()
            assert await asyncio.wait_for(it.running, 5)
            assert it.supervisor.tally.cut == 1
            assert it.children == []
            for pid in pids:
                with pytest.raises(ProcessLookupError):
                    os.kill(pid, 0)

    asyncio.run(main())


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    async def main() -> None:
        async with stage(work={"never_ends": True}, drain_ms=0, drain_slack_ms=300) as it:
            await it.until_ready(1)
            name = it.children[0].name
            await asyncio.wait_for(it.supervisor.stop(), 5)
            assert it.fenced[name] == "its process has ended: it did not end in time"

    asyncio.run(main())


def test_processes_that_end_again_and_again_spend_the_budget_and_the_supervisor_says_so() -> None:
    async def main() -> None:
        rule = CrashRule(wait_ms_min=1, wait_ms_max=2, crashes_max=2)
        async with stage(work={"crash_at_start": True}, crashes=rule) as it:
            assert not await asyncio.wait_for(it.running, 20)
            assert it.supervisor.tally.crashed == 3
            assert "exit status 7" in it.supervisor.given_up

    asyncio.run(main())


def test_work_that_no_process_can_serve_is_not_tried_again() -> None:
    async def main() -> None:
        async with stage(work={"refuses": True}) as it:
            assert not await asyncio.wait_for(it.running, 20)
            assert it.supervisor.tally.started == 1
            assert "nothing to serve" in it.supervisor.given_up

    asyncio.run(main())


def test_what_cannot_be_served_for_a_while_ends_nothing_once_it_was_served(tmp_path: Path) -> None:
    """A certificate that is half written, a port that somebody has just taken: who served before is tried again."""
    gone = tmp_path / "gone"

    async def main() -> None:
        rule = CrashRule(wait_ms_min=1, wait_ms_max=50, crashes_max=50)
        async with stage(work={"refuses": str(gone)}, crashes=rule) as it:
            await it.until_ready(1)
            gone.touch()
            os.kill(it.children[0].pid, signal.SIGKILL)
            await it.until(lambda: any("nothing to serve" in said for said in it.said))
            gone.unlink()
            await it.until_ready(1)
            assert it.supervisor.given_up == ""

    asyncio.run(main())


def test_a_child_does_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import socket\n"
        "from rspp.control.supervisor.settings import SupervisorSettings\n"
        "from rspp.control.supervisor.supervisor import Supervisor\n"
        "async def fence(name, reason): ...\n"
        "async def main():\n"
        f"    settings = SupervisorSettings(workers=1, name='p', command=(sys.executable, {CHILD!r}), work={{}})\n"
        "    supervisor = Supervisor(settings, socket.create_server(('127.0.0.1', 0)), fence)\n"
        "    task = asyncio.create_task(supervisor.run())\n"
        "    while not any(c.is_ready.is_set() for c in supervisor.children.values()): await asyncio.sleep(0.01)\n"
        "    print(next(iter(supervisor.children.values())).pid, flush=True)\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )

    async def main() -> None:
        parent = await asyncio.create_subprocess_exec(
            sys.executable, str(script), stdout=asyncio.subprocess.PIPE
        )
        assert parent.stdout is not None
        child = int(await asyncio.wait_for(parent.stdout.readline(), 15))
        parent.kill()
        await parent.wait()
        async with asyncio.timeout(5):
            while _runs(child):  # noqa: ASYNC110 - another process does not wake this one
                await asyncio.sleep(0.02)

    asyncio.run(main())


def _runs(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False
