"""Sync nodes in a replay: they run again, but for the steps that the recording has.

A step is in the recording because what the node saw is not (it was withheld), or because the node failed. A node that has
begun to be played back is played back to the end: its own state is not to be trusted any more. A failure that the node does
not repeat by itself (its worker was killed, the watchdog struck) is raised again under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rspp.host.ports import Stepped
from rspp.host.steps import each_node
from rspp.kernel.hosting import Context, NodeFactory
from rspp.kernel.state import StateClass
from rspp.spec.graph import GraphDefinition, NodeDefinition
from rspp.timeline.records import NodeStep


class _Played:
    """A node whose recorded steps are played back, and whose others run."""

    def __init__(self, instance: object, steps: Mapping[int, NodeStep]) -> None:
        self._instance = instance
        self._steps = steps
        self._nth = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._instance, name)
        if name.startswith("on_") and callable(found):
            found = self._playing(found)
            setattr(self, name, found)
        return found

    def _playing(self, run: Callable[..., Any]) -> Callable[..., Any]:
        def step(ctx: Context, *arguments: Any) -> Any:
            self._nth += 1
            recorded = self._steps.get(self._nth)
            if recorded is None:
                return run(ctx, *arguments)
            return _play(ctx, recorded.stepped, run, arguments, captured=self._nth + 1 in self._steps)

        return step


def _play(
    ctx: Context, stepped: Stepped, run: Callable[..., Any], arguments: tuple[Any, ...], *, captured: bool
) -> None:
    if stepped.error is not None:
        if not captured:
            run(ctx, *arguments)  # what it does to its own state before it fails
            ctx.take()
        raise failure(stepped.error)
    for key, value in stepped.saves:
        ctx.put(StateClass.DURABLE, key, value)
    for output in stepped.outputs:
        ctx.emit(output.port, output.payload)


def failure(name: str) -> Exception:
    """An exception of this name: all that a kernel ever learns of what a node raised."""
    kind: type[Exception] = type(name, (Exception,), {})
    return kind("recorded")


def played_back(
    graph: GraphDefinition,
    factories: Mapping[str, NodeFactory],
    nodes: Mapping[str, Mapping[int, NodeStep]],
) -> dict[str, NodeFactory]:
    """Factories for a replay of these recorded steps."""

    def wrap(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
        steps = nodes.get(node.id)
        instance = factory(config)
        return instance if steps is None else _Played(instance, steps)

    return each_node(graph, factories, wrap)
