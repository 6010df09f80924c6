"""A fixed number of processes behind one socket, for as long as the supervisor lives.

    each slot:  start -> serves -> (ended unasked | wedged | too slow to start) -> fenced -> wait -> start ...
    reload:     for each slot: a second process beside the first -> ready -> the first drains or migrates -> ended
    stop:       readiness false -> all drain or migrate -> ended -> the socket is closed

Who may own what is decided in the store alone. A process that was waited for is fenced there at once, by its name, so that
its sessions are taken up without waiting for its lease to run out. Names are never used twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket as sockets
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from rspp.contract.errors import RsppError
from rspp.control.authority.members import fence, new_member_id
from rspp.control.names import MEMBERS, encoded, parts
from rspp.control.supervisor import health
from rspp.control.supervisor.accepting import who_accepts
from rspp.control.supervisor.crashes import Crashes
from rspp.control.supervisor.process import Child, Exit
from rspp.control.supervisor.settings import SupervisorSettings
from rspp.control.supervisor.words import Assign
from rspp.host.ports import Store

log = logging.getLogger("rspp.control.supervisor")

FENCE_RETRY_S: Final = 0.25
FENCE_TRY_S: Final = 2.0

Fence = Callable[[str, str], Awaitable[object]]  # a process's name, reason


async def fence_all(store: Store, name: str, reason: str) -> None:
    """Every membership that the process of this name ever had is over; raises what the store raises."""
    for found in await store.keys(MEMBERS, encoded(name)):
        for member_id in parts(found):
            # A name with another's for a beginning is not that other's: ids end in a part of their own.
            if member_id == name or member_id.startswith(f"{name}-"):
                await fence(store, member_id, reason)


class Tally(msgspec.Struct, kw_only=True):
    """What has happened since the start."""

    started: int = 0
    crashed: int = 0
    wedged: int = 0
    fenced: int = 0
    unfenced: int = 0  # the store could not be reached in time; their ttl does it
    reloads: int = 0
    reloads_failed: int = 0
    cut: int = 0  # sessions that were ended by a deadline
    moved: int = 0  # sessions that were given to other processes
    lost: int = 0  # sessions whose process ended without a word; those that left state live on elsewhere


class Supervisor:
    """Owns the processes; whoever runs it owns the signals and the probes."""

    def __init__(
        self,
        settings: SupervisorSettings,
        listening: sockets.socket,
        fence: Fence,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.tally = Tally()
        self.stopping = False
        self.children: dict[str, Child] = {}  # by name; bounded: two for each slot
        self.given_up = ""  # why, when the budget of crashes is spent
        self._has_served = False
        self._listening = listening
        self._fence = fence
        self._say = told
        self._slots: list[Child | None] = [None] * settings.workers
        self._crashes = [Crashes()] * settings.workers
        self._tasks: set[asyncio.Task[None]] = set()  # bounded: one for each slot, the watch, and one reload
        self._fences: set[asyncio.Task[None]] = set()  # bounded: by the crash budgets, each for `fence_ms`
        self._reloading = asyncio.Lock()
        self._over = asyncio.Event()

    # ---- what the probes ask ------------------------------------------------------------------------------------------

    def _seen(self) -> dict[str, health.Seen]:
        return {name: child.seen for name, child in self.children.items()}

    def live(self) -> health.Health:
        return health.live(self._seen(), self._suspect_ms)

    def ready(self) -> health.Health:
        return health.ready(self._seen(), self._suspect_ms, stopping=self.stopping)

    @property
    def _suspect_ms(self) -> int:
        """A probe tells of a loop that stands before it is killed for it."""
        return max(1, self.settings.wedged_ms // 2)

    # ---- its life ------------------------------------------------------------------------------------------------------

    async def run(self) -> bool:
        """Until stopped, or given up; whether it ended as it should."""
        for slot in range(self.settings.workers):
            self._spawn(self._keep(slot), f"slot:{slot}")
        self._spawn(self._watch(), "watch")
        await self._over.wait()
        for task in list(self._tasks):
            task.cancel()
        for child in list(self.children.values()):
            child.kill("the supervisor ends")
        return not self.given_up

    async def stop(self) -> None:
        """Nobody new; every process lets go of what it has, within the deadline, and is waited for."""
        self.stopping = True
        while self.children:  # one may have been in the making
            await asyncio.gather(*(self._let_go(child) for child in list(self.children.values())))
        await asyncio.gather(*self._fences)
        self._over.set()

    def kill(self) -> None:
        """End at once: no drain, no goodbye."""
        self.stopping = True
        for child in list(self.children.values()):
            child.kill("asked twice")

    def reload_soon(self) -> None:
        async def reload() -> None:
            done = await self.reload()
            self._say("all processes were replaced" if done else "not all processes were replaced")

        self._spawn(reload(), "reload")

    async def reload(self) -> bool:
        """Replace each process by a new one, one after the other; False if one did not come up, and the old ones stay."""
        if self.stopping or self._reloading.locked():
            return False
        async with self._reloading:
            for slot in range(self.settings.workers):
                if not await self._replace(slot):
                    self.tally.reloads_failed += 1
                    return False
            self.tally.reloads += 1
            return True

    # ---- one slot ------------------------------------------------------------------------------------------------------

    async def _keep(self, slot: int) -> None:
        """There is a process in this slot, or soon will be."""
        while not (self.stopping or self.given_up):
            child = self._slots[slot] or await self._start(slot)
            if child is None:
                ended: Exit = Exit(-1, False, "no process could be made")
            else:
                ended = await asyncio.shield(child.ended)
                self._bury(child, ended)
                if self._slots[slot] is not child:
                    continue  # it was replaced, and its successor is to be kept
                self._slots[slot] = None
            if not self.stopping:
                await self._after_crash(slot, child.name if child else f"w{slot}", ended)

    async def _after_crash(self, slot: int, name: str, ended: Exit) -> None:
        self.tally.crashed += 1
        self._crashes[slot] = self._crashes[slot].after(self.settings.crashes, time.monotonic_ns())
        wait_ms = self._crashes[slot].wait_ms(self.settings.crashes)
        # What nobody could ever serve will not be there by itself; what was served before may well be again.
        hopeless = ended.final and not self._has_served
        if wait_ms is None or hopeless:
            self.given_up = f"{name}: {ended.why}" + ("" if hopeless else ", again and again")
            self._say(f"gives up: {self.given_up}")
            self._spawn(self.stop(), "giving up")
            return
        self._say(f"{name} has ended ({ended.why}); another one starts in {wait_ms} ms")
        await asyncio.sleep(wait_ms / 1000)

    async def _start(self, slot: int, *, takes_slot: bool = True) -> Child | None:
        settings = self.settings
        assign = Assign(
            name=new_member_id(f"{settings.name}-w{slot}"),
            slot=slot,
            listening_fd=self._listening.fileno(),
            shared_url=settings.shared_url,
            parent_pid=os.getpid(),
            on_stop=settings.on_stop.value,
            drain_ms=settings.drain_ms,
            work=settings.work,
        )
        child = Child(assign, self._share_out)
        try:
            await child.start(settings.command, self._listening)
        except OSError as error:
            log.error("no process could be made: %s", error.strerror or error)  # noqa: TRY400 - the words are the system's
            return None
        self.tally.started += 1
        self.children[child.name] = child
        if takes_slot:
            self._slots[slot] = child
        return child

    async def _replace(self, slot: int) -> bool:
        successor = None if self.stopping else await self._start(slot, takes_slot=False)
        if successor is None:
            return False
        try:
            async with asyncio.timeout(self.settings.start_ms / 1000):
                await successor.is_ready.wait()
        except TimeoutError:
            successor.kill("not ready in time")
        if successor.ended.done() or successor.killed_for or self.stopping:
            self._say(f"{successor.name} did not come up; the old ones stay")
            if not self.stopping:
                self._bury(successor, await asyncio.shield(successor.ended))
            return False
        former, self._slots[slot] = self._slots[slot], successor
        if former is None:  # it was down: its keeper finds the successor instead
            return True
        await self._let_go(former)
        return True

    async def _let_go(self, child: Child) -> None:
        """Told to end, and waited for; who does not within its time is killed."""
        settings = self.settings
        if child.state is None or not child.state.draining:
            child.drain(settings.on_stop.value, settings.drain_ms)
        done, _ = await asyncio.wait(
            [child.ended], timeout=(settings.drain_ms + settings.drain_slack_ms) / 1000
        )
        if not done:
            child.kill("it did not end in time")
        self._bury(child, await asyncio.shield(child.ended))

    def _bury(self, child: Child, ended: Exit) -> None:
        """The process is gone: what it owned is anybody's. Once for each child."""
        if self.children.pop(child.name, None) is None:
            return
        self._share_out()
        if child.ending is not None:
            self.tally.cut += child.ending.cut
            self.tally.moved += child.ending.moved
        elif child.state is not None and child.state.sessions:
            self.tally.lost += child.state.sessions
            self._say(f"{child.name} had {child.state.sessions} sessions when it ended ({ended.why})")
        # Its successor does not wait for a store that cannot be reached.
        fencing = asyncio.create_task(self._fence_off(child.name, ended.why), name=f"fence:{child.name}")
        self._fences.add(fencing)
        fencing.add_done_callback(self._fences.discard)

    async def _fence_off(self, name: str, why: str) -> None:
        if await self._fenced(name, f"its process has ended: {why}"):
            self.tally.fenced += 1
        else:
            self.tally.unfenced += 1
            log.warning("%s could not be fenced; its sessions wait for its lease to run out", name)

    async def _fenced(self, name: str, reason: str) -> bool:
        """The store is asked again and again, for a while: an election takes a few seconds."""
        until = time.monotonic() + self.settings.fence_ms / 1000
        while True:
            try:
                async with asyncio.timeout(FENCE_TRY_S):
                    await self._fence(name, reason)
            except (RsppError, TimeoutError) as error:
                log.info("%s is not fenced yet: %s", name, type(error).__name__)
            else:
                return True
            if time.monotonic() > until:
                return False
            await asyncio.sleep(FENCE_RETRY_S)

    # ---- all of them ---------------------------------------------------------------------------------------------------

    def _share_out(self) -> None:
        """Say who takes the next calls."""
        states = {name: child.state for name, child in self.children.items() if child.state is not None}
        serving = {name: state for name, state in states.items() if self.children[name].serves.is_set()}
        self._has_served = self._has_served or bool(serving)
        accepting = frozenset() if self.stopping else who_accepts(serving)
        for name in serving:
            self.children[name].accept(name in accepting)

    async def _watch(self) -> None:
        """Who does not come up in time, or whose loop stands, is ended; then its slot starts another."""
        while True:
            await asyncio.sleep(self.settings.check_ms / 1000)
            for child in list(self.children.values()):
                seen = child.seen
                if child.killed_for:
                    continue
                if health.is_wedged(seen, self.settings.wedged_ms):
                    self.tally.wedged += 1
                    self._say(f"{child.name} has not been heard of for {seen.silent_ms} ms; it is replaced")
                    child.kill("its loop stood still")
                elif seen.starting and child.age_ms > self.settings.start_ms:
                    child.kill("it did not start in time")

    def _spawn(self, work: Awaitable[None], name: str) -> None:
        task = asyncio.ensure_future(work)
        assert isinstance(task, asyncio.Task)
        task.set_name(name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # A defect of ours: without its keeper a slot would stay empty for ever, so the whole ends and says so.
            self.given_up = self.given_up or f"{task.get_name()} failed"
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self._over.set()
