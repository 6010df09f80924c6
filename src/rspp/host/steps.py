"""The sync nodes of one session, metered: what runs is marked by name, and what it took becomes an input.

A recorder that wants to know what they did (`WatchesNodes`) is told after each hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from rspp.host.meters import Histogram
from rspp.host.ports import Stepped
from rspp.host.watchdog import Metered, Running, marked
from rspp.kernel.hosting import Context, NodeFactory, SyncNode
from rspp.spec.graph import GraphDefinition, NodeDefinition, Role

Slow = Callable[[str, int, int], None]
Watch = Callable[[Stepped], None]
Wrap = Callable[[NodeDefinition, NodeFactory, Mapping[str, object]], object]


class Witnessed:
    """A sync node as it is, after each of whose hooks somebody is told what it came to."""

    def __init__(self, instance: object, node_id: str, tell: Watch) -> None:
        self._instance = instance
        self._node_id = node_id
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        """Whatever the node has; a hook is wrapped the first time it is asked for, and found at once from then on."""
        found = getattr(self._instance, name)
        if name.startswith("on_") and callable(found):
            found = self._witnessed(name, found)
            setattr(self, name, found)
        return found

    def _witnessed(self, hook: str, run: Callable[..., Any]) -> Callable[..., Any]:
        node_id, tell = self._node_id, self._tell

        def step(ctx: Context, *arguments: Any) -> Any:
            try:
                result = run(ctx, *arguments)
            except (Exception, SystemExit) as error:
                # What it saved before it raised stays saved; what it emitted is lost.
                tell(Stepped(node_id, hook, (), ctx.said[1], type(error).__name__))
                raise
            tell(Stepped(node_id, hook, *ctx.said))
            return result

        return step


def metered(
    graph: GraphDefinition,
    factories: Mapping[str, NodeFactory],
    running: Running,
    slow: Slow,
    watch: Watch | None = None,
    steps: Callable[[str], Histogram] | None = None,
    *,
    tell_all: bool = False,
) -> dict[str, NodeFactory]:
    """Factories for the sync nodes of this graph; what each instance does is timed, and told to `watch`.

    `steps` has the meter of each node's steps, by its id. `tell_all`: the kernel is told of each step, not of slow ones alone.
    """

    def wrap(node: NodeDefinition, factory: NodeFactory, config: Mapping[str, object]) -> object:
        # A constructor is the node's own code too: it is marked, and broken off, like any hook.
        instance = marked(running, node.id, factory, config)
        meter = None if steps is None else steps(node.id)
        least = 0 if tell_all else slow_ms(graph, node)
        timed = Metered(instance, node.id, running=running, slow_ms=least, slow=slow, steps=meter)
        return timed if watch is None else Witnessed(timed, node.id, watch)

    return each_node(graph, factories, wrap)


def each_node(
    graph: GraphDefinition, factories: Mapping[str, NodeFactory], wrap: Wrap
) -> dict[str, NodeFactory]:
    """Factories for the sync nodes of this graph; each instance knows which node it is.

    A kernel makes one instance a node, in the graph's order, from the configuration alone: so the names are handed out in
    that order.
    """
    nodes = [node for node in graph.nodes if node.role is Role.SYNC]
    wrapped: dict[str, NodeFactory] = {}
    for kind in dict.fromkeys(node.type for node in nodes):
        factory = factories.get(kind)
        if factory is None:
            continue  # the kernel says what is known
        mine = [node for node in nodes if node.type == kind]
        wrapped[kind] = _named(mine, factory, wrap)
    return wrapped


def _named(nodes: list[NodeDefinition], factory: NodeFactory, wrap: Wrap) -> NodeFactory:
    waiting = iter(nodes)

    def make(config: Mapping[str, object]) -> SyncNode:
        return cast(SyncNode, wrap(next(waiting), factory, config))

    return make


def slow_ms(graph: GraphDefinition, node: NodeDefinition) -> int:
    """From how long on a step is worth telling the kernel of: its tightest budget, or the profile's."""
    declared = [ms for ms in (node.budget.per_event_ms, node.budget.per_turn_ms) if ms is not None]
    return max(1, min(declared, default=graph.budgets.node_budget_ms_default))
