"""Many processes replace one key, each against the revision that it knows. Every win must be one revision, and none may be lost.

    store_cas.py --store sqlite:///var/tmp/cas.db --processes 8 --count 10000
    store_cas.py --store nats://127.0.0.1:4222?user=rspp&password=file:///... --processes 8 --count 10000

The key's value is a number that every winner raises by one, so at the end it is the number of wins; and every winner was
given a revision that no other was given. Prints one JSON document; ends with 1 when something does not add up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
import uuid
from typing import Any

from rspp.contract.errors import PeerFault
from rspp.control.stores import open_store
from rspp.host.ports import Store
from rspp.host.secrets import Secrets

BUCKET = "bench"
START_S_MAX = 120.0


async def attempts(store: Store, key: str, count: int) -> dict[str, Any]:
    """What that many compare-and-sets came to. One that was not answered in time may have been done: it is unknown."""
    revisions: list[int] = []
    took_ms: list[float] = []
    lost = unknown = 0
    for number in range(count):
        try:
            found = await store.get(BUCKET, key)
            if found is None:
                raise RuntimeError("the key is gone")
            value = str(int(found.value) + 1).encode()
            began = time.perf_counter()
            revision = await store.put(BUCKET, key, value, expect=found.revision)
        except PeerFault as error:
            if error.code != "store_unreachable":
                raise
            unknown += 1
            continue
        took_ms.append((time.perf_counter() - began) * 1000)
        if revision is None:
            lost += 1
        else:
            revisions.append(revision)
        if number % 64 == 63:
            await asyncio.sleep(0)
    return {"revisions": revisions, "lost": lost, "unknown": unknown, "took_ms": took_ms}


def child(url: str, key: str, count: int, gate: Any, results: Any) -> None:
    async def main() -> dict[str, Any]:
        store = open_store(url, Secrets())
        try:
            await store.get(BUCKET, key)  # connected
            await asyncio.to_thread(gate.wait, START_S_MAX)
            return await attempts(store, key, count)
        finally:
            await store.close()

    results.put(asyncio.run(main()))


async def begun(url: str, key: str) -> int:
    store = open_store(url, Secrets())
    try:
        revision = await store.put(BUCKET, key, b"0", expect=0)
        if revision is None:
            raise RuntimeError("the key is there already")
        return revision
    finally:
        await store.close()


async def ended(url: str, key: str) -> tuple[int, int]:
    store = open_store(url, Secrets())
    try:
        found = await store.get(BUCKET, key)
        if found is None:
            raise RuntimeError("the key is gone")
        await store.delete(BUCKET, key)
        return int(found.value), found.revision
    finally:
        await store.close()


def run(url: str, processes: int, count: int) -> dict[str, Any]:
    """All of it, and whether it adds up."""
    key = f"cas-{uuid.uuid4().hex}"
    first = asyncio.run(begun(url, key))
    context = multiprocessing.get_context("spawn")
    gate = context.Barrier(processes + 1)
    results = context.Queue()
    workers = [context.Process(target=child, args=(url, key, count, gate, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    gate.wait(START_S_MAX)
    began = time.perf_counter()
    found = [results.get() for _ in workers]
    took_s = time.perf_counter() - began
    for worker in workers:
        worker.join()
    value, last = asyncio.run(ended(url, key))
    return {"store": url.partition("?")[0], **summed(found, first, value, last, took_s)}


def summed(found: list[dict[str, Any]], first: int, value: int, last: int, took_s: float) -> dict[str, Any]:
    revisions = sorted(revision for one in found for revision in one["revisions"])
    took_ms = sorted(ms for one in found for ms in one["took_ms"])
    unknown = sum(one["unknown"] for one in found)
    faults = []
    if len(set(revisions)) != len(revisions):
        faults.append("two winners were given one revision")
    if not len(revisions) <= value <= len(revisions) + unknown:
        faults.append(f"{len(revisions)} wins and {unknown} unknown ended at {value}")
    if revisions and (revisions[0] <= first or (not unknown and revisions[-1] != last)):
        faults.append("the last revision is not the last winner's")
    return {
        "processes": len(found),
        "attempts": len(revisions) + sum(one["lost"] for one in found) + unknown,
        "wins": len(revisions),
        "value": value,
        "lost_races": sum(one["lost"] for one in found),
        "unknown": unknown,
        "wins_each": [len(one["revisions"]) for one in found],
        "took_s": round(took_s, 2),
        "attempts_a_second": round(len(took_ms) / took_s),
        "put_p50_ms": round(took_ms[len(took_ms) // 2], 3) if took_ms else None,
        "put_p99_ms": round(took_ms[len(took_ms) * 99 // 100], 3) if took_ms else None,
        "faults": faults,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="the store's address")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--count", type=int, default=10_000, help="compare-and-sets of each process")
    chosen = parser.parse_args()
    found = run(chosen.store, chosen.processes, chosen.count)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
