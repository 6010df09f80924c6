"""What every Inference must do: as many results as requests, in order, and of no request by its neighbours.

checks = inference.conformance(lambda: InferenceTarget(model=Silero(), requests=windows, same=nearly))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from operator import eq
from typing import Any

import msgspec

from rspp.host.ports import Inference
from rspp.testing.conformance.checks import Check, require


class InferenceTarget(msgspec.Struct, kw_only=True):
    """A model and at least three requests with different results. `same` compares two results."""

    model: Inference[Any, Any]
    requests: Sequence[Any]
    same: Callable[[Any, Any], bool] = eq


Body = Callable[[InferenceTarget], Awaitable[None]]


def conformance(make: Callable[[], InferenceTarget]) -> list[Check]:
    """The suite. Each check runs the model on a worker thread, as a host does."""
    return [
        Check("results", "gives one result a request", lambda: _as_many(make())),
        Check("results", "gives nothing for nothing", lambda: _nothing(make())),
        Check("order", "gives results in the order of the requests", lambda: _in_order(make())),
        Check("isolation", "a result does not depend on its neighbours", lambda: _alone(make())),
        Check("isolation", "leaves its requests as they were", lambda: _unchanged(make())),
    ]


async def _infer(target: InferenceTarget, requests: Sequence[Any]) -> list[Any]:
    return list(await asyncio.to_thread(target.model.infer, requests))


async def _as_many(target: InferenceTarget) -> None:
    for count in range(1, len(target.requests) + 1):
        results = await _infer(target, target.requests[:count])
        require(len(results) == count, f"{count} requests gave {len(results)} results")


async def _nothing(target: InferenceTarget) -> None:
    results = await _infer(target, [])
    require(not results, f"no request gave {len(results)} results")


async def _in_order(target: InferenceTarget) -> None:
    require(len(target.requests) >= 3, "three requests at least are needed to see an order")
    forward = await _infer(target, target.requests)
    backward = await _infer(target, list(reversed(target.requests)))
    _alike(target, forward, list(reversed(backward)), "of the batch turned round")
    differs = any(not target.same(forward[0], other) for other in forward[1:])
    require(differs, "all results are alike, so their order cannot be seen; give requests that differ")


async def _alone(target: InferenceTarget) -> None:
    together = await _infer(target, target.requests)
    alone = [(await _infer(target, [request]))[0] for request in target.requests]
    _alike(target, together, alone, "of the request alone")


async def _unchanged(target: InferenceTarget) -> None:
    batch = list(target.requests)
    before = [repr(request) for request in batch]
    await _infer(target, batch)
    require(len(batch) == len(before), "the batch itself was changed")
    changed = [index for index, request in enumerate(batch) if repr(request) != before[index]]
    require(not changed, f"the requests at {changed} were changed")


def _alike(target: InferenceTarget, one: Sequence[Any], other: Sequence[Any], what: str) -> None:
    require(len(one) == len(other), f"{len(one)} results, and {len(other)} {what}")
    for index, (first, second) in enumerate(zip(one, other, strict=True)):
        require(target.same(first, second), f"result {index} is {first!r:.60}, {what} {second!r:.60}")
