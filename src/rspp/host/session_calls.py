"""The calls of one live session: begun, fed, told to stop, let go of. What a provider raises is that call's outcome.

A call that was given up for another attempt keeps its provider until that has stopped, or its grace is over: what it
says meanwhile is nobody's any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from rspp.host.calls import REFUSING, CoroutineCall, Reply, adapter_error
from rspp.host.ports import AnyProvider, AsyncNode, Call, ProviderError, ReactiveProvider
from rspp.host.tasks import TaskScope
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i

# What may come out of code that is called back: a defect, or the result of a future that somebody has cancelled.
RAISED: Final = (Exception, asyncio.CancelledError)


class Owner(Protocol):
    """What this needs of the session."""

    tasks: TaskScope

    def ingest(self, received: i.Input) -> bool: ...
    def provider(self, request: fx.Invoke) -> AnyProvider | AsyncNode: ...
    def attempt_over(self, request: fx.Invoke) -> None: ...
    def soon(self, callback: Callable[..., None], *arguments: object) -> None: ...
    def blame(self, what: str, error: BaseException) -> None: ...


class SessionCalls:
    """Drives one session's calls."""

    __slots__ = ("_calls", "_former", "_nodes", "_owner")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._calls: dict[str, tuple[Reply, Call]] = {}
        # Attempts that were given up while their call goes on, each for its grace.
        self._former: dict[tuple[str, int], tuple[Reply, Call]] = {}
        self._nodes: dict[str, AsyncNode] = {}

    def __len__(self) -> int:
        return len(self._calls) + len(self._former)

    def invoke(self, request: fx.Invoke) -> None:
        reply = Reply(request, self._owner, self._call_over)
        former = self._calls.get(request.call_id)
        if former is not None:
            # It was told to stop and has its grace; what it says meanwhile is nobody's any more, and its place is free.
            former[0].muted = True
            self._former[request.call_id, former[0].request.attempt] = former
            self._owner.attempt_over(former[0].request)
        # The reply must be known before the provider is: it may answer, and even end, within `begin`.
        self._calls[request.call_id] = (reply, REFUSING)
        try:
            provider = self._owner.provider(request)
            call: Call
            if isinstance(provider, ReactiveProvider):
                call = provider.begin(request, reply)
            else:
                call = CoroutineCall(request, reply, provider.run, self._owner.tasks.spawn)
        except ProviderError as error:
            reply.fail(error)
        except RAISED as error:  # the host supervises: what an adapter raises is that call's outcome
            self._owner.blame(f"provider {request.provider}", error)
            reply.fail(adapter_error(error))
        else:
            if not reply.ended:
                self._calls[request.call_id] = (reply, call)
            elif reply.broken:
                self._let_go((reply, call))

    def own_node(self, node_id: str, make: Callable[[], AsyncNode]) -> AsyncNode:
        """The session's one instance of an async node, made when it is first called."""
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = make()
        return node

    def _call_over(self, reply: Reply) -> None:
        request = reply.request
        self._owner.attempt_over(request)
        known = self._calls.get(request.call_id)
        if known is not None and known[0] is reply:
            del self._calls[request.call_id]
        else:
            known = self._former.pop((request.call_id, request.attempt), None)
        if reply.broken and known is not None:
            # Not at once: the provider stands in the middle of `produce`.
            self._owner.soon(self._let_go, known)

    def asked(self, call_id: str) -> fx.Invoke | None:
        """What an open call was asked."""
        known = self._calls.get(call_id)
        return None if known is None else known[0].request

    def _attempt(self, call_id: str, attempt: int) -> tuple[Reply, Call] | None:
        """This attempt of this call, whether the call goes on with it or has given it up."""
        known = self._calls.get(call_id)
        if known is not None and known[0].request.attempt == attempt:
            return known
        return self._former.get((call_id, attempt))

    def feed(self, effect: fx.Feed) -> None:
        known = self._calls.get(effect.call_id)
        if known is not None:
            try:
                known[1].feed(effect.event)
            except RAISED as error:
                self._provider_raised(known, error)

    def end_feed(self, effect: fx.EndFeed) -> None:
        known = self._calls.get(effect.call_id)
        if known is not None:
            try:
                known[1].end(effect.last)
            except RAISED as error:
                self._provider_raised(known, error)

    def throttle(self, effect: fx.Throttle) -> None:
        known = self._calls.get(effect.call_id)
        if known is not None:
            known[0].throttled = effect.on
            try:
                known[1].throttle(effect.on)
            except RAISED as error:
                self._provider_raised(known, error)

    def cancel(self, effect: fx.CancelCall) -> None:
        known = self._attempt(effect.call_id, effect.attempt)
        if known is not None:
            try:
                known[1].cancel(effect.reason, effect.mode)
            except RAISED as error:
                self._provider_raised(known, error)

    def kill(self, effect: fx.KillCall) -> None:
        """The grace is over: the call is let go of, whatever its provider does with it."""
        known = self._attempt(effect.call_id, effect.attempt)
        if known is not None:
            self._let_go(known)

    def _let_go(self, known: tuple[Reply, Call]) -> None:
        reply, call = known
        self._call_over(reply)
        reply.ended = True
        try:
            call.kill()
        except RAISED as error:  # it is let go of; whoever it was is blamed
            self._owner.blame(f"provider {reply.request.provider}", error)

    def _provider_raised(self, known: tuple[Reply, Call], error: BaseException) -> None:
        reply = known[0]
        self._owner.blame(f"provider {reply.request.provider}", error)
        reply.fail(error if isinstance(error, ProviderError) else adapter_error(error))
        self._let_go(known)

    def let_all_go(self) -> None:
        """The session is over: no provider works for it any more."""
        for known in [*self._calls.values(), *self._former.values()]:
            self._let_go(known)
