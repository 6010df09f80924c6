"""How the harness runs a node of either kind: a sync one in the kernel's `Hosted`, an async one under the host's own call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, cast

import msgspec

from rspp.contract.event import NS_PER_MS, Event, Payload, Scope
from rspp.contract.words import CancelMode, CancelReason
from rspp.host.calls import CoroutineCall, Inside, Reply
from rspp.host.ports import AsyncNode, CallRequest, Chunk, ProviderError
from rspp.kernel.hosting import KIND_OF, Failed, Hosted, Output, SyncNode
from rspp.kernel.state import State
from rspp.spec.graph import Lifetime, NodeDefinition
from rspp.testing.clock import VirtualLoop, idle

GRACE_MS: Final = 75
GIVEN_MAX: Final = 100_000


class NodeFailedError(AssertionError):
    """The node raised, broke its word or gave nothing in time: what a kernel would take for the failure of that node."""


class Given(msgspec.Struct, frozen=True):
    """One thing that a node gave: on which port, what, and when in nanoseconds."""

    port: str
    payload: Payload
    at: int


class Run(Protocol):
    """A node being run."""

    given: list[Given]
    slowest_ms: float

    @property
    def now(self) -> int: ...
    @property
    def running(self) -> bool: ...
    def feed(self, event: Event, port: str) -> None: ...
    def advance(self, ms: float) -> None: ...
    def new_turn(self, scope: Scope) -> None: ...
    def cancel(self, reason: CancelReason, mode: CancelMode) -> None: ...
    def barge_in(self) -> None: ...
    def budget_exhausted(self, outcome: str) -> None: ...
    def finalise(self) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


# ---- sync -----------------------------------------------------------------------------------------------------------


class _Watched:
    """The instance, and what it raised last: the kernel keeps only the name of it."""

    def __init__(self, instance: SyncNode) -> None:
        self._instance = instance
        self.raised: BaseException | None = None

    def __getattr__(self, hook: str) -> Callable[..., None]:
        call = getattr(self._instance, hook)  # no such hook is no hook, here as there

        def watched(*arguments: object) -> None:
            try:
                call(*arguments)
            except BaseException as error:
                self.raised = error
                raise

        return watched


class SyncRun:
    """A node inside the step."""

    def __init__(
        self, definition: NodeDefinition, node: SyncNode, scope: Scope, budget_ms: int, seed: int
    ) -> None:
        self.given: list[Given] = []  # bounded: GIVEN_MAX, in `_take`
        self.slowest_ms = 0.0
        self.now = 0
        self.running = False
        self._seed = seed
        self._scope = scope
        self._state = State(scope.epoch)
        self._state.open_turn(str(scope.turn_id))
        self._watched = _Watched(node)
        self._hosted = Hosted(definition, cast(SyncNode, self._watched), self._state, budget_ms)
        self._hosted.reseed(seed)
        with self._measured():
            result = self._hosted.start(0, scope)
        self._take(result)

    def feed(self, event: Event, port: str) -> None:
        with self._measured():
            result = self._hosted.step(self.now, event.scope, port, event)
        self._take(result)

    def advance(self, ms: float) -> None:
        self.now += int(ms * NS_PER_MS)

    def new_turn(self, scope: Scope) -> None:
        self._state.close_turn(str(self._scope.turn_id))
        self._scope = scope
        self._state.open_turn(str(scope.turn_id))
        self._seed += 1
        self._hosted.reseed(self._seed)

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        with self._measured():
            result = self._hosted.cancel(self.now, self._scope, reason)
        self._take(result)

    def barge_in(self) -> None:
        self._hook("on_barge_in")

    def budget_exhausted(self, outcome: str) -> None:
        self._hook("on_budget_exhausted", outcome)

    def _hook(self, name: str, *arguments: object) -> None:
        with self._measured():
            result = self._hosted.told(name, self.now, self._scope, *arguments)
        self._take(result)

    def finalise(self) -> None: ...

    def end(self) -> None:
        self._hosted.stop(self.now, self._scope)
        self._raise_if_raised("on_stop")

    def close(self) -> None:
        self.end()

    @contextmanager
    def _measured(self) -> Iterator[None]:
        since = time.perf_counter()
        yield
        self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - since) * 1000)

    def _take(self, result: list[Output] | Failed) -> None:
        if isinstance(result, Failed):
            self._raise_if_raised(result.hook)
            raise NodeFailedError(f"{result.hook} of the node broke its word: {result.error}{self._ports()}")
        self.given += [Given(output.port, output.payload, self.now) for output in result][
            : GIVEN_MAX - len(self.given)
        ]

    def _raise_if_raised(self, hook: str) -> None:
        raised, self._watched.raised = self._watched.raised, None
        if raised is not None:
            raise NodeFailedError(f"{hook} of the node raised {type(raised).__name__}: {raised}") from raised

    def _ports(self) -> str:
        ports = self._hosted.definition.outputs
        named = ", ".join(f"{port.name} ({' or '.join(port.kinds)})" for port in ports)
        return f"; its outputs are {named or 'none'}"


# ---- async ----------------------------------------------------------------------------------------------------------


class _Answer:
    """The Reply of one call: it notes what comes, and when."""

    def __init__(self, run: AsyncRun) -> None:
        self._run = run
        self.ended = False
        self.heard_at = run.now
        self.lasting = False
        self.failed: ProviderError | None = None

    def accepted(self) -> None:
        self.heard_at = self._run.now

    def produce(self, payload: Chunk, port: str | None = None) -> None:
        self.heard_at = self._run.now
        self._run.take(payload, port)

    def score(self, probability: float) -> None:
        self.heard_at = self._run.now

    def finish(self, tokens: int = 0) -> None:
        self.ended = True

    def stopped(self) -> None:
        self.ended = True

    def fail(self, error: ProviderError) -> None:
        self.ended, self.failed = True, error


class AsyncRun:
    """A node that waits, on a loop of its own in virtual time."""

    def __init__(self, definition: NodeDefinition, node: object, scope: Scope, timeout_ms: float) -> None:
        self.given: list[Given] = []  # bounded: GIVEN_MAX, in `take`
        self.slowest_ms = 0.0
        self._definition = definition
        self._node = cast(AsyncNode, node)
        self._scope = scope
        self._timeout_ms = timeout_ms
        self._loop = VirtualLoop()
        self._calls = 0
        self._call: CoroutineCall | None = None
        self._answer: _Answer | None = None
        self._task: asyncio.Task[None] | None = None
        self._raised: BaseException | None = None
        self._port_of = {kind: port.name for port in reversed(definition.outputs) for kind in port.kinds}

    @property
    def now(self) -> int:
        return round(self._loop.time() * 1000 * NS_PER_MS)

    @property
    def running(self) -> bool:
        return self._answer is not None and not self._answer.ended

    def feed(self, event: Event, port: str) -> None:
        """An event begins a call, or is fed to the one that lasts."""
        if self._definition.lifetime is Lifetime.EVENT:
            if self.running:
                raise NodeFailedError(
                    "the node is still busy with the event before; let time pass, or cancel it"
                )
            self._begin(event)
            self._drive(lambda call: call.end(last=True))
            return
        if not self.running:
            self._begin(None)
        self._drive(lambda call: call.feed(event))

    def _begin(self, event: Event | None) -> None:
        self._calls += 1
        lasting = self._definition.lifetime is Lifetime.SESSION
        request = CallRequest(
            call_id=f"pvi/harness/{self._scope.turn_id}/{self._calls}/external",
            attempt=1,
            node_id=self._definition.id,
            modality="external",
            provider=self._definition.type,
            idempotency_key=f"harness/{self._calls}",
            epoch=self._scope.epoch,
            deadline_at=None,
            turn_id=None if lasting else self._scope.turn_id,
            event=event,
            config=self._definition.config,
        )
        self._answer = _Answer(self)
        self._answer.lasting = lasting
        # The host's own driver of coroutines, which asks no more of a Reply than _Answer can do.
        self._call = CoroutineCall(request, cast(Reply, self._answer), self._watched, self._spawn)

    async def _watched(self, inside: Inside) -> None:
        """The node's coroutine; what it raises is kept with its traceback."""
        try:
            await self._node.run(inside)
        except Exception as error:
            self._raised = error
            raise

    def _spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        self._task = self._loop.create_task(coroutine, name=name)
        return self._task

    def _drive(self, tell: Callable[[CoroutineCall], None] | None = None) -> None:
        """Tell the call something and let everything run that can without time passing."""
        if tell is not None and self._call is not None and self.running:
            tell(self._call)
        since = time.perf_counter()
        self._loop.run_until_complete(idle())
        self.slowest_ms = max(self.slowest_ms, (time.perf_counter() - since) * 1000)
        self._raise_if_failed()

    def advance(self, ms: float) -> None:
        until = self._loop.time() + ms / 1000
        while (due := self._silent_at()) is not None and due <= until:
            self._loop.run_until_complete(asyncio.sleep(max(0.0, due - self._loop.time())))
            self._raise_if_failed()
            if self._silent_at() == due:
                self._abandon()
                raise NodeFailedError(
                    f"the node gave nothing for {self._timeout_ms:.0f} ms; a host would have called that a timeout"
                )
        self._loop.run_until_complete(asyncio.sleep(max(0.0, until - self._loop.time())))
        self._raise_if_failed()

    def _silent_at(self) -> float | None:
        """When the call in progress will have been silent too long."""
        answer = self._answer
        if answer is None or answer.ended or answer.lasting:
            return None
        return answer.heard_at / NS_PER_MS / 1000 + self._timeout_ms / 1000

    def take(self, payload: Chunk, port: str | None) -> None:
        kind = KIND_OF.get(type(payload))
        name = port if port is not None else self._port_of.get(kind, "") if kind else ""
        ports = {one.name: one.kinds for one in self._definition.outputs}
        telemetry = kind is not None and kind.value in ("metrics", "debug")
        if kind is None or (not telemetry and kind not in ports.get(name, ())):
            raise NodeFailedError(
                f"the node gave a {type(payload).__name__} on {name!r}; its outputs are {sorted(ports)}"
            )
        if len(self.given) < GIVEN_MAX:
            self.given.append(Given(name, payload, self.now))

    def new_turn(self, scope: Scope) -> None:
        if self.running and self._definition.lifetime is not Lifetime.SESSION:
            self.end()
        self._scope = scope

    def cancel(self, reason: CancelReason, mode: CancelMode) -> None:
        if not self.running:
            return
        self._drive(lambda call: call.cancel(reason, mode))
        if self.running:
            self._loop.run_until_complete(asyncio.sleep(GRACE_MS / 1000))
        if self._task is not None and not self._task.done():
            self._abandon()
            if mode is CancelMode.HARD:
                raise NodeFailedError(
                    f"cancelled, the node was not done after {GRACE_MS} ms; does it catch CancelledError?"
                )
        self._raised = None

    def _abandon(self) -> None:
        """By force, as when the grace is over."""
        if self._call is not None:
            self._call.kill()
            self._loop.run_until_complete(idle())
        self._raised = None

    def barge_in(self) -> None: ...
    def budget_exhausted(self, outcome: str) -> None: ...

    def finalise(self) -> None:
        self._drive(lambda call: call.end(last=False))

    def end(self) -> None:
        self._drive(lambda call: call.end(last=True))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        left = asyncio.all_tasks(self._loop) - ({self._task} if self._task else set())
        self._abandon()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(idle())
        self._loop.close()
        if left:
            raise NodeFailedError(
                f"the node left {len(left)} tasks of its own running; end them before `run` returns"
            )

    def _raise_if_failed(self) -> None:
        raised, self._raised = self._raised, None
        if isinstance(raised, NodeFailedError):
            raise raised
        if raised is not None:
            raise NodeFailedError(f"the node raised {type(raised).__name__}: {raised}") from raised
