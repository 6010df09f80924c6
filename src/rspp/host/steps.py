"""The sync nodes of one session, metered: what runs is marked by name, and what it took becomes an input."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from rspp.host.watchdog import Metered, Running, marked
from rspp.kernel.hosting import NodeFactory, SyncNode
from rspp.spec.graph import GraphDefinition, NodeDefinition, Role

Slow = Callable[[str, int, int], None]


def metered(
    graph: GraphDefinition, factories: Mapping[str, NodeFactory], running: Running, slow: Slow
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
        wrapped[kind] = _named(mine, factory, lambda node: slow_ms(graph, node), running, slow)
    return wrapped


def _named(
    nodes: list[NodeDefinition],
    factory: NodeFactory,
    slow_from: Callable[[NodeDefinition], int],
    running: Running,
    slow: Slow,
) -> NodeFactory:
    waiting = iter(nodes)

    def make(config: Mapping[str, object]) -> SyncNode:
        node = next(waiting)
        # A constructor is the node's own code too: it is marked, and broken off, like any hook.
        instance = marked(running, node.id, factory, config)
        return cast(SyncNode, Metered(instance, node.id, running=running, slow_ms=slow_from(node), slow=slow))

    return make


def slow_ms(graph: GraphDefinition, node: NodeDefinition) -> int:
    """From how long on a step is worth telling the kernel of: its tightest budget, or the profile's."""
    declared = [ms for ms in (node.budget.per_event_ms, node.budget.per_turn_ms) if ms is not None]
    return max(1, min(declared, default=graph.budgets.node_budget_ms_default))
