"""Many callers at once against few slots, over several processes and a real store; some of the processes are killed.

    python bench/admission_burst.py --store sqlite [--json] [--processes 4] [--requests 2000] [--slots 100]
    python bench/admission_burst.py --store nats          a 3-node cluster of its own on loopback
    python bench/admission_burst.py --store nats://...    a store that is there

What is done: all processes open their part of the requests in one moment; exactly `slots` must be admitted. Then all of them
open and hang up at random for a while, and one is killed (SIGKILL) in the middle of that. When it has been called lost, the
others let go of everything, and the burst is repeated: exactly `slots` again, or a slot has leaked. Each process notes when it
held what, on the machine's one monotonic clock, so the most that were ever held at a time is known without asking the store.

The exit code is 1 if any of these numbers is not what it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from rspp.control.authority.members import Fleet, Member, Membership, fence
from rspp.control.intake.admission import FLEET, Reservation, Slots
from rspp.control.intake.holders import holders_of
from rspp.control.intake.quotas import Action, Limit, TenantLimits
from rspp.control.names import SLOTS
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.ports import Refused, Store
from rspp.host.secrets import Secrets

TTL_MS: Final = 3_000
TENANTS: Final = 7
# Callers of one process that come and go during the churn.
CHURNING: Final = 60
ANSWER_S_MAX: Final = 90.0


# ---- one process -----------------------------------------------------------------------------------------------------


class Child:
    """Reserves and releases as it is told, line by line."""

    def __init__(self, store: Store, name: str, slots: int, notes: str) -> None:
        self.clock = MachineClock()
        self.membership = Membership(
            store, self.clock, Member(id=name, kind="worker", ttl_ms=TTL_MS, capacity=slots)
        )
        self.fleet = Fleet(store, self.clock)
        self.slots = Slots(
            store,
            name,
            lambda tenant: TenantLimits(sessions=Limit(most=0 if tenant else slots, action=Action.DEFER)),
            is_gone=self.fleet.is_gone,
            may_act=lambda: self.membership.held,
            wait_ms_max=30_000,
        )
        self.kept: list[Reservation] = []  # bounded: by the slots
        self._notes = os.open(notes, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def note(self, change: int) -> None:
        """One more is held, or one less; written at once, so that a kill takes nothing back."""
        os.write(self._notes, f"{time.monotonic_ns()} {change}\n".encode())

    async def burst(self, count: int) -> dict[str, Any]:
        waits: list[float] = []
        retries: list[int] = []
        codes: dict[str, int] = {}

        async def one(number: int) -> None:
            began = time.perf_counter()
            try:
                kept = await self.slots.reserve(f"t{number % TENANTS}", session_id=f"s{number}")
                self.kept.append(kept)
            except Refused as refused:
                codes[refused.code] = codes.get(refused.code, 0) + 1
                retries.append(refused.retry_after_ms or -1)
            waits.append((time.perf_counter() - began) * 1000)

        await asyncio.gather(*map(one, range(count)))
        return {"admitted": len(self.kept), "codes": codes, "waits": waits, "retries": retries}

    async def churn(self, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        opened = 0

        async def caller(number: int) -> None:
            nonlocal opened
            draw = random.Random(number)
            while time.monotonic() < until:
                try:
                    kept = await self.slots.reserve(f"t{number % TENANTS}", session_id=f"c{number}")
                except Refused:
                    await asyncio.sleep(0.01)
                    continue
                opened += 1
                self.note(1)
                await asyncio.sleep(draw.random() * 0.1)
                self.note(-1)
                self.slots.release(kept)

        await asyncio.gather(*map(caller, range(CHURNING)))
        return {"opened": opened}

    async def let_go(self) -> dict[str, Any]:
        for kept in self.kept:
            self.slots.release(kept)
        self.kept = []
        await self.slots.reconcile({})
        await self.slots.settled()
        return {"held": self.slots.held}


async def child(arguments: argparse.Namespace) -> None:
    logging.getLogger("rspp").setLevel(logging.ERROR)  # a refusal is what is looked for here
    store = open_store(arguments.store, Secrets())
    one = Child(store, arguments.child, arguments.slots, arguments.notes)
    await one.membership.join()
    tasks = [asyncio.ensure_future(one.fleet.run()), asyncio.ensure_future(one.membership.run())]
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        work: Any = {"burst": one.burst, "churn": one.churn, "let_go": one.let_go}[order[0]]
        did = await work(*order[1:])
        print(json.dumps(did), flush=True)
    for task in tasks:
        task.cancel()
    await one.slots.close()
    await one.membership.leave("done")
    await store.close()


# ---- all of them -------------------------------------------------------------------------------------------------------


class Process:
    def __init__(self, name: str, inner: asyncio.subprocess.Process, notes: Path) -> None:
        self.name, self._inner, self._notes = name, inner, notes
        self.killed_at: int | None = None

    def moments(self) -> list[tuple[int, int]]:
        """When it held one more or one less. What it held when it was killed it held until then."""
        found = [tuple(map(int, line.split())) for line in self._notes.read_text().splitlines()]
        moments = [(at, change) for at, change in found]
        if self.killed_at is not None:
            moments.append((self.killed_at, -sum(change for _, change in moments)))
        return moments

    async def answer(self) -> Any:
        assert self._inner.stdout is not None
        line = await asyncio.wait_for(self._inner.stdout.readline(), ANSWER_S_MAX)
        if not line:
            raise RuntimeError(f"{self.name} has died")
        return json.loads(line)

    def order(self, *words: Any) -> None:
        assert self._inner.stdin is not None
        self._inner.stdin.write(json.dumps(words).encode() + b"\n")

    async def kill(self) -> None:
        self._inner.kill()
        await self._inner.wait()
        self.killed_at = time.monotonic_ns()

    async def quit(self) -> None:
        assert self._inner.stdin is not None
        self._inner.stdin.close()
        try:
            await asyncio.wait_for(self._inner.wait(), 10)
        except TimeoutError:
            await self.kill()


async def begin(name: str, store: str, slots: int, folder: Path) -> Process:
    notes = folder / name
    notes.touch()
    inner = await asyncio.create_subprocess_exec(
        sys.executable, __file__, "--child", name, "--notes", str(notes), "--store", store, "--slots", str(slots),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    return Process(name, inner, notes)


async def show(url: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    store = open_store(url, Secrets())
    processes = [
        await begin(f"m{number}-{time.monotonic_ns()}", url, arguments.slots, folder)
        for number in range(arguments.processes)
    ]
    try:
        for process in processes:
            await process.answer()
        first = await burst(processes, arguments.requests)
        held = await written(store)
        for process in processes:
            process.order("let_go")
        for process in processes:
            await process.answer()
        churned = await churn(store, processes, arguments)
        left = await written(store)
        again = await burst(processes, arguments.requests)
        return {
            "store": url.partition(":")[0],
            "processes": arguments.processes,
            "requests": arguments.requests,
            "slots": arguments.slots,
            "burst": first,
            "slots_written_after_burst": held,
            **churned,
            "slots_written_after_all_let_go": left,
            "burst_after_churn_and_kill": again,
        }
    finally:
        await asyncio.gather(*(process.quit() for process in processes))
        await store.close()


async def burst(processes: list[Process], requests: int) -> dict[str, Any]:
    began = time.perf_counter()
    for number, process in enumerate(processes):
        process.order(
            "burst", requests * (number + 1) // len(processes) - requests * number // len(processes)
        )
    answers = [await process.answer() for process in processes]
    waits = sorted(wait for answer in answers for wait in answer["waits"])
    retries = sorted(retry for answer in answers for retry in answer["retries"])
    codes: dict[str, int] = {}
    for answer in answers:
        for code, count in answer["codes"].items():
            codes[code] = codes.get(code, 0) + count
    seconds = [retry // 1000 for retry in retries]
    return {
        "admitted": sum(answer["admitted"] for answer in answers),
        "refused": codes,
        "without_retry_after": sum(retry <= 0 for retry in retries),
        "retry_after_ms": {"least": retries[0], "most": retries[-1]} if retries else {},
        "most_told_to_come_in_one_second": max(map(seconds.count, set(seconds)), default=0),
        "answer_ms": {
            "p50": round(waits[len(waits) // 2], 1),
            "p99": round(waits[len(waits) * 99 // 100], 1),
            "most": round(waits[-1], 1),
        },
        "seconds": round(time.perf_counter() - began, 3),
    }


async def churn(store: Store, processes: list[Process], arguments: argparse.Namespace) -> dict[str, Any]:
    """All come and go; half-way the process that holds most is killed, and is gone from the list."""
    for process in processes:
        process.order("churn", arguments.seconds)
    most_written = 0
    until = time.monotonic() + arguments.seconds / 2
    while time.monotonic() < until:
        most_written = max(most_written, await written(store))
        await asyncio.sleep(0.05)
    held = {process.name: await written(store, process.name) for process in processes}
    dying = max(processes, key=lambda process: held[process.name])
    processes.remove(dying)
    await dying.kill()
    left_by_the_dead = await written(store, dying.name)
    answers = [await process.answer() for process in processes]
    if arguments.fence == "parent":
        await fence(store, dying.name, "killed")
    else:
        await asyncio.sleep((TTL_MS + 1_000) / 1000)
    # Asked twice: the first one to look fences, and all who ask within a second get its answer.
    for _ in range(2):
        for process in processes:
            process.order("let_go")
        for process in processes:
            await process.answer()
        if await written(store) == 0:
            break
        await asyncio.sleep(1.1)
    return {
        "opened_in_churn": sum(answer["opened"] for answer in answers),
        "most_held_at_a_time": most_at_once([dying, *processes]),
        "most_slots_written": most_written,
        "slots_left_by_the_killed": left_by_the_dead,
    }


def most_at_once(processes: list[Process]) -> int:
    """The most that all of them held at one instant; where one ends as another begins, the end comes first."""
    running = most = 0
    for _, change in sorted(moment for process in processes for moment in process.moments()):
        running += change
        most = max(most, running)
    return most


async def written(store: Store, member: str | None = None) -> int:
    """Slots that the fleet's document says are held, by all or by one."""
    entry = await store.get(SLOTS, FLEET)
    if entry is None:
        return 0
    holders = holders_of(entry.value).holders
    return sum(hold.count for name, hold in holders.items() if member in (None, name))


def faults(found: dict[str, Any]) -> list[str]:
    """What is not as it must be."""
    slots, requests = found["slots"], found["requests"]
    wrong = []
    for name in ("burst", "burst_after_churn_and_kill"):
        one = found[name]
        if one["admitted"] != min(slots, requests):
            wrong.append(f"{name}: {one['admitted']} were admitted to {slots} slots")
        if sum(one["refused"].values()) != requests - one["admitted"]:
            wrong.append(f"{name}: not everybody had an answer")
        if set(one["refused"]) - {"cp_admission_defer_capacity"}:
            wrong.append(f"{name}: refused for {sorted(one['refused'])}")
        if one["without_retry_after"]:
            wrong.append(f"{name}: {one['without_retry_after']} were not told when to come again")
    if found["slots_written_after_burst"] != min(slots, requests):
        wrong.append(f"{found['slots_written_after_burst']} slots are written after the burst")
    wrong += [
        f"{name} is {found[name]}, of {slots}"
        for name in ("most_held_at_a_time", "most_slots_written")
        if found[name] > slots
    ]
    if not found["slots_left_by_the_killed"]:
        wrong.append("the killed process held nothing: the kill has shown nothing")
    if found["slots_written_after_all_let_go"]:
        wrong.append(f"{found['slots_written_after_all_let_go']} slots have leaked")
    return wrong


@asynccontextmanager
async def store_of(name: str, folder: Path) -> AsyncIterator[str]:
    """The address of the store that is asked for, which is made for this run unless it is one."""
    if name == "sqlite":
        yield f"sqlite://{folder}/slots.db"
    elif name == "nats":
        from rspp.testing.cluster import NatsCluster  # noqa: PLC0415 - needs the server's package

        async with NatsCluster(folder / "cluster") as cluster:
            yield cluster.store_url
    else:
        yield name


async def run(arguments: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="admission-") as folder:
        async with store_of(arguments.store, Path(folder)) as url:
            found = await show(url, arguments, Path(folder))
    found["faults"] = faults(found)
    if arguments.json:
        print(json.dumps(found, indent=2))
    else:
        for name, value in found.items():
            print(f"{name:34} {value}")
    return 1 if found["faults"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", default="sqlite", help="sqlite, nats, or the address of a store (sqlite)")
    parser.add_argument("--processes", type=int, default=4, help="how many processes ask (4)")
    parser.add_argument("--requests", type=int, default=2_000, help="how many ask at once (2000)")
    parser.add_argument("--slots", type=int, default=100, help="how many there is room for (100)")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long they come and go (4)")
    parser.add_argument(
        "--fence",
        choices=("ttl", "parent"),
        default="ttl",
        help="who says that the killed one is lost: its silence, or its parent (ttl)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--notes", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        asyncio.run(child(arguments))
        return 0
    return asyncio.run(run(arguments))


if __name__ == "__main__":
    sys.exit(main())
