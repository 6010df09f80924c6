"""A sync node in a process of its own is a call like any other, and one that may be killed without harm to anybody else.

A node has one worker process a session, which keeps its state between events. A worker that dies costs the event it was
at; what waits behind that goes to a fresh one. Processes are made before they are wanted. All of it runs on the loop
and nothing here waits; what a worker says is as little trusted as what any peer says.

    Isolation   the provider `isolated`: all workers of a host
    _Slot       one node of one session: what it was given and has not answered, and its worker
    Process     one process and its pipes, in a file of its own
    _Call       one call, as the host drives it
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from rspp.contract.event import Event, Sample
from rspp.contract.surface import Row
from rspp.contract.words import CancelMode, CancelReason, OutcomeClass
from rspp.host.isolation_fates import Fates
from rspp.host.isolation_process import Process
from rspp.host.isolation_worker import (
    FEED_EVENTS_MAX,
    FRAME_BYTES_MAX,
    OUTPUT_BYTES_MAX,
    Cancel,
    Done,
    Failed,
    Gave,
    Load,
    Ready,
    Report,
    Stopped,
    Take,
    framed,
)
from rspp.host.ports import Answer, CallRequest, ProviderError, ProviderInfo
from rspp.host.registry import ProviderKind
from rspp.kernel.hosting import NodeFactory
from rspp.spec.graph import ISOLATED, NodeDefinition

WORKERS_MAX: Final = 64
SPARES: Final = 1
IDLE_S_MIN: Final = 60.0  # a worker that was used within this time is not given up for another
EXIT_S_MAX: Final = 5.0


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    memory_mb: int = 256
    cpu_ms: int = 1_000


class Isolated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration that the compiler gives an isolated node: the node as it would run inside, and its bounds."""

    node: NodeDefinition
    limits: Limits = Limits()


def reference_of(factory: NodeFactory) -> str | None:
    """Where another process finds a node's class; None for what is no importable class."""
    known = getattr(factory, "reference", None)
    if isinstance(known, str):
        return known
    if (
        not isinstance(factory, type)
        or factory.__module__ == "__main__"
        or "<locals>" in factory.__qualname__
    ):
        return None
    return f"{factory.__module__}:{factory.__qualname__}"


def isolation(
    factories: Mapping[str, NodeFactory], search_path: Sequence[Path] = ()
) -> dict[str, ProviderKind]:
    """For a registry: the provider that a spec's `isolate: process` asks for, over the same factories as the kernel's."""

    def make(_name: str, _settings: Mapping[str, object]) -> Isolation:
        return Isolation(factories, search_path=search_path)

    return {ISOLATED: ProviderKind(ISOLATED, make, "sync nodes in processes of their own")}


class Isolation:
    """The provider of every node that a spec isolates. Open it on the loop that it serves."""

    def __init__(
        self,
        factories: Mapping[str, NodeFactory],
        *,
        search_path: Sequence[Path] = (),
        spares: int = SPARES,
        workers_max: int = WORKERS_MAX,
    ) -> None:
        self.info = ProviderInfo(name=ISOLATED, modality=ISOLATED, version="v1")
        self._factories = factories
        self._search_path = tuple(str(path) for path in search_path)
        self._spares_wanted = spares
        self._open = False
        self._workers_max = workers_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._spares: list[Process] = []  # bounded: by spares
        self._slots: dict[tuple[str, str], _Slot] = {}  # bounded: by workers_max
        self.processes: set[Process] = set()  # those that live, however short a time they still have
        self._tasks: set[asyncio.Task[None]] = set()
        self.fates = Fates(time.monotonic)

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._refill()

    async def close(self) -> None:
        """End every process and wait until all are gone."""
        self._open = False
        for slot in list(self._slots.values()):
            slot.forget()
        self._slots.clear()
        self._spares.clear()
        waiting = [process.gone for process in self.processes]
        for process in list(self.processes):
            process.kill()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=EXIT_S_MAX)
        if waiting:
            await asyncio.wait(waiting, timeout=EXIT_S_MAX)

    def begin(self, request: CallRequest, answer: Answer) -> _Call:
        slot = self._slot(request)
        call = _Call(slot, answer, lasting=request.event is None)
        if request.event is None:
            slot.worker()
            answer.accepted()
        else:
            call.feed(request.event)
        return call

    def release(self, session_id: str) -> None:
        """A session is over: its nodes stop, and their processes with them."""
        for key, slot in list(self._slots.items()):
            if key[0] == session_id:
                del self._slots[key]
                slot.stop()

    def rows(self) -> list[Row]:
        """How each type of node fares that has processes here, or had one that ended."""
        return self.fates.rows(slot.node_type for slot in self._slots.values())

    # ---- workers ---------------------------------------------------------------------------------------------------

    def _slot(self, request: CallRequest) -> _Slot:
        # What lasts for the session is a call of its own, and each attempt's worker ends with it: one that was given up
        # may still be there when the next begins.
        owner = request.event.scope.session_id if request.event else f"{request.call_id}#{request.attempt}"
        key = (owner, request.node_id)
        slot = self._slots.get(key)
        if slot is None:
            load = self._load(request)
            self._make_room()
            slot = self._slots[key] = _Slot(self, key, framed(load), load.node.type)
        return slot

    def _load(self, request: CallRequest) -> Load:
        try:
            isolated = msgspec.convert(dict(request.config), Isolated)
        except msgspec.ValidationError as error:
            raise _failure("isolated_config_invalid", str(error)) from error
        factory = self._factories.get(isolated.node.type)
        reference = None if factory is None else reference_of(factory)
        if reference is None:
            raise _failure(
                "isolated_node_unknown", f"no importable class is known for the type {isolated.node.type!r}"
            )
        limits = isolated.limits
        return Load(reference, isolated.node, self._search_path, limits.memory_mb, limits.cpu_ms)

    def _make_room(self) -> None:
        if len(self._slots) < self._workers_max:
            return
        loop = self.loop
        idle = [(slot.used_at, key) for key, slot in self._slots.items() if not slot.takes]
        oldest = min(idle, default=None)
        if oldest is None or loop.time() - oldest[0] < IDLE_S_MIN:
            raise ProviderError(OutcomeClass.OVERLOAD, "isolated_workers_full", retryable=False)
        self._slots.pop(oldest[1]).stop()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None, "open() comes first"
        return self._loop

    def hire(self) -> Process:
        """A process that waits already, or else a new one; and another one to wait."""
        waiting = [process for process in self._spares if process.alive]
        process = waiting.pop() if waiting else self._spawn()
        self._spares = waiting
        self._refill()
        return process

    def _refill(self) -> None:
        while self._open and len(self._spares) < self._spares_wanted:
            self._spares.append(self._spawn())

    def _spawn(self) -> Process:
        process = Process(self.loop, self.processes)
        self.processes.add(process)
        task = self.loop.create_task(process.start(), name="isolation:spawn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return process

    def drop(self, key: tuple[str, str]) -> None:
        slot = self._slots.pop(key, None)
        if slot is not None:
            slot.stop()


class _Slot:
    """One node of one session. Events go to its worker in order; each is answered, or its call fails."""

    def __init__(self, owner: Isolation, key: tuple[str, str], load: bytes, node_type: str) -> None:
        self.node_type = node_type
        self._owner = owner
        self._key = key
        self._load = load
        self._process: Process | None = None
        self._number = 0
        self.takes: dict[int, tuple[_Call, bytes]] = {}  # bounded: by FEED_EVENTS_MAX
        self._given_bytes = 0
        self.used_at = owner.loop.time()

    def worker(self) -> Process:
        """The process that this node lives in; a fresh one is loaded and given what was not answered."""
        if self._process is None:
            self._process = process = self._owner.hire()
            process.serve(self)
            if process.ready:
                self._brief(process)
        return self._process

    def _brief(self, process: Process) -> None:
        process.send(self._load)
        for _, frame in self.takes.values():
            process.send(frame)

    def put(self, call: _Call, event: Event) -> None:
        self.used_at = self._owner.loop.time()
        if len(self.takes) >= FEED_EVENTS_MAX:
            call.fail(ProviderError(OutcomeClass.OVERLOAD, "isolated_node_behind"))
            return
        # A worker is told whose event it is, and given no means to act in the session's name.
        scope = msgspec.structs.replace(event.scope, lease_token=None)
        frame = framed(Take(self._number + 1, msgspec.structs.replace(event, scope=scope)))
        if len(frame) > FRAME_BYTES_MAX:
            call.fail(_failure("isolated_input_large", "the event is larger than a frame may be"))
            return
        process = self.worker()
        self._number += 1
        self.takes[self._number] = (call, frame)
        if process.ready:
            process.send(frame)

    def cancel(self, call: _Call, reason: CancelReason) -> None:
        """Tell the node to stop; a call that its worker has not begun has stopped already."""
        numbers = [number for number, (whose, _) in self.takes.items() if whose is call]
        process = self._process
        if not numbers or process is None or not process.ready:
            self._withdraw(call)
            call.stopped()
            return
        process.send(framed(Cancel(numbers[-1], reason)))

    def kill(self, call: _Call) -> None:
        """It did not stop in its grace. What others have waiting behind it goes to the next process."""
        at_work = any(whose is call for whose, _ in self.takes.values())
        self._withdraw(call)
        if at_work and self._process is not None:
            self._replace()

    def _withdraw(self, call: _Call) -> None:
        for number in [number for number, (whose, _) in self.takes.items() if whose is call]:
            del self.takes[number]
        if not self.takes:
            self._given_bytes = 0

    def _replace(self) -> None:
        self.forget()
        if self.takes:
            self.worker()

    def forget(self) -> None:
        """Let go of the process, by force; whatever it still says is nobody's."""
        process, self._process = self._process, None
        if process is not None:
            process.serve(None)
            process.kill()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.serve(None)
            process.stop()

    def over(self, call: _Call) -> None:
        """A call that lasted for the session has ended."""
        self._withdraw(call)
        if call.lasting:
            self._owner.drop(self._key)

    def throttle(self, on: bool) -> None:
        if self._process is not None:
            self._process.throttle(on)

    # ---- what the process says -----------------------------------------------------------------------------------

    def said(self, report: Report, size: int) -> None:
        if isinstance(report, Ready):
            if self._process is not None:
                self._brief(self._process)
            return
        if isinstance(report, Stopped):
            stopped = {id(call): call for number, (call, _) in self.takes.items() if number <= report.upto}
            for call in stopped.values():
                self._withdraw(call)
                call.stopped()
            return
        known = self.takes.get(report.number)
        if known is None:
            return  # it was cancelled or let go of
        call = known[0]
        if isinstance(report, Gave):
            self._given_bytes += size
            if self._given_bytes > 2 * OUTPUT_BYTES_MAX:
                self.broke("isolated_output_broken")
            else:
                call.gave(report)
            return
        del self.takes[report.number]
        self._given_bytes = 0
        if isinstance(report, Done):
            call.done()
        else:
            self._failed(call, report)

    def _failed(self, call: _Call, report: Failed) -> None:
        if report.error == "MemoryError":
            # Its heap is full, and would be for the next event as well.
            self.forget()
            self._owner.fates.ended(self.node_type, "isolated_memory_limit")
            call.exceeded("isolated_memory_limit")
        elif report.hook == "init":
            call.fail(_failure("isolated_load_failed", f"the node could not be made: {report.error}"))
        else:
            call.fail(_failure("isolated_node_raised", f"{report.hook} raised {report.error}"))
        if self.takes and self._process is None:
            self.worker()

    def broke(self, reason: str) -> None:
        """The process broke its word: it goes, and the event that it was at fails."""
        self.forget()
        self._blame(reason)

    def died(self, status: int | None) -> None:
        """The process has ended by itself, or by the system's hand."""
        self._process = None
        self._blame("isolated_cpu_limit" if status == -signal.SIGPROF else "isolated_node_died")

    def _blame(self, reason: str) -> None:
        self._given_bytes = 0
        self._owner.fates.ended(self.node_type, reason)
        first = next(iter(self.takes.values()), None)
        if first is not None:
            call = first[0]
            self._withdraw(call)
            if reason == "isolated_cpu_limit":
                call.exceeded(reason)
            else:
                call.fail(_failure(reason, "the node's process ended"))
        if self.takes:
            self.worker()


class _Call:
    """One attempt of one call: of an event, or of all events of a session."""

    def __init__(self, slot: _Slot, answer: Answer, *, lasting: bool) -> None:
        self._slot = slot
        self._answer = answer
        self._fed_last = not lasting
        self._waiting = 0
        self.lasting = lasting
        self.ended = False

    # ---- what the host does --------------------------------------------------------------------------------------

    def feed(self, event: Event) -> None:
        if not self.ended:
            self._waiting += 1
            self._slot.put(self, event)

    def end(self, last: bool) -> None:
        if last and self.lasting and not self.ended:
            self._fed_last = True
            self._finish_if_done()

    def throttle(self, on: bool) -> None:
        self._slot.throttle(on)

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        """Forwarded either way: an event of a sync node is one step, and has no chunk to finish."""
        del mode
        if not self.ended:
            self._slot.cancel(self, reason)

    def kill(self) -> None:
        if not self.ended:
            self._slot.kill(self)
            self.stopped()

    # ---- what came of it -----------------------------------------------------------------------------------------

    def gave(self, report: Gave) -> None:
        self._answer.produce(report.payload, report.port or None)

    def done(self) -> None:
        self._waiting -= 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._fed_last and not self._waiting and self._end():
            self._answer.finish()

    def exceeded(self, reason: str) -> None:
        """A limit did its work: counted, and said."""
        if not self.ended:
            self._answer.produce(Sample(reason, 1.0), None)
        self.fail(_failure(reason, "the node went beyond what it may take"))

    def fail(self, error: ProviderError) -> None:
        if self._end():
            self._answer.fail(error)

    def stopped(self) -> None:
        if self._end():
            self._answer.stopped()

    def _end(self) -> bool:
        if self.ended:
            return False
        self.ended = True
        self._slot.over(self)
        return True


def _failure(reason: str, message: str) -> ProviderError:
    return ProviderError(OutcomeClass.INFRASTRUCTURE_FAILURE, reason, message)
