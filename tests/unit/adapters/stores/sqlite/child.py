"""What another process does with the store: run as a script, it says on its standard output what it has done."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from rspp.adapters.stores.sqlite import SqliteStore
from rspp.contract.errors import RsppError

BLOB_BYTES = 200_000
NOBODY = 65_534


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def swap(store: SqliteStore, wins: str) -> None:
    """Count up one key, against others, until that many turns were ours; how many were lost."""
    lost = 0
    await store.get("b", "count")
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    for _ in range(int(wins)):
        while True:
            found = await store.get("b", "count")
            count, revision = (int(found.value), found.revision) if found else (0, 0)
            if await store.put("b", "count", str(count + 1).encode(), expect=revision) is not None:
                break
            lost += 1
    say(lost)


async def write(store: SqliteStore) -> None:
    """Write one number everywhere, say it, and go on with the next, until killed."""
    found = await store.get("b", "n")
    number = int(found.value) if found else 0
    while True:
        number += 1
        await store.append("log", str(number).encode())
        await store.put_blob("blob", bytes([number % 256]) * BLOB_BYTES)
        await store.put("b", "n", str(number).encode())
        say(number)


async def watch(store: SqliteStore) -> None:
    """Say what is told, until "done" is."""
    say("ready")
    async for entry in store.watch("b"):
        say(f"{entry.key} {entry.revision} {entry.value.decode()}")
        if entry.key == "done":
            return


async def squeeze(store: SqliteStore) -> None:
    """Append until the system takes no more, then be given more room, and go on."""
    await store.append("log", b"first")
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
    code = "none"
    for _ in range(200):
        try:
            await store.append("log", bytes(10_000))
        except RsppError as error:
            code = error.code
            break
    say(code)
    before = [number async for number, _ in store.read("log")]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    number = await store.append("log", b"last")
    say(before == list(range(1, number)))


async def as_nobody(store: SqliteStore) -> None:
    """Without the rights of a superuser, who may write everywhere: what a put and a get are told."""
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    for call in (store.put("b", "k", b"1"), store.get("b", "k")):
        try:
            await call
        except RsppError as error:
            say(error.code)
        else:
            say("none")


async def main(role: str, path: str, *more: str) -> None:
    store = SqliteStore(Path(path))
    roles: dict[str, Callable[..., Awaitable[None]]] = {
        "swap": swap,
        "write": write,
        "watch": watch,
        "squeeze": squeeze,
        "as_nobody": as_nobody,
    }
    await roles[role](store, *more)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
