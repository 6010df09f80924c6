"""A process that is a member of a fleet, and nothing else: what it says of itself comes line by line on its input.

python fleet_member.py STORE_URL ID REGION TTL_MS CAPACITY
"""

from __future__ import annotations

import asyncio
import sys

import msgspec

from rspp.control.authority.members import Member, Membership
from rspp.control.stores import open_store
from rspp.host.clock import MachineClock
from rspp.host.secrets import Secrets


async def main(url: str, name: str, region: str, ttl_ms: int, capacity: int) -> None:
    store = open_store(url, Secrets())
    said = {"ready": True, "sessions": 0}
    member = Member(
        id=name,
        kind="worker",
        ttl_ms=ttl_ms,
        region=region,
        endpoint=f"ws://{name}",
        capacity=capacity,
        ready=True,
    )
    membership = Membership(store, MachineClock(), member)
    membership.watch(
        describe=lambda now: msgspec.structs.replace(now, **said),
        on_renewed=lambda _: None,
        on_lost=lambda why: sys.exit(f"lost: {why}"),
    )
    await membership.join()
    sys.stdout.write("joined\n")
    sys.stdout.flush()
    running = asyncio.create_task(membership.run())
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        said.update(msgspec.json.decode(line))
        membership.changed()
    await membership.leave("told to")
    await running
    await store.close()


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])))
