"""A node's concurrency limit holds for all sessions of a process together; each place that was taken is given back once.

The kernel keeps the limit within its own session and knows of no other. What finds no place here fails at once, as an
overload that may be tried again: what becomes of it then is for the pipeline's policies to say.
"""

from __future__ import annotations

from rspp.contract.words import OutcomeClass
from rspp.host.ports import CallRequest, ProviderError
from rspp.spec.graph import GraphDefinition, NodeDefinition


class Places:
    """How many calls of each limited node are running."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}  # bounded: by the limited nodes of what is served
        self._held: dict[tuple[str, int], str] = {}  # bounded: by the sum of their limits

    def take(self, graph: GraphDefinition, node: NodeDefinition, request: CallRequest) -> None:
        """A place for this attempt, which it keeps until `give`; raises when its key has as many as it may."""
        limit = node.policy.concurrency_limit
        if not limit:
            return
        key = f"{graph.ref}/{node.policy.fairness_key or node.id}"
        running = self._taken.get(key, 0)
        if running >= limit:
            raise ProviderError(OutcomeClass.OVERLOAD, "node_concurrency_limited", retryable=True)
        self._taken[key] = running + 1
        self._held[request.call_id, request.attempt] = key

    def give(self, request: CallRequest) -> None:
        """The attempt is over, however it ended and however often that is said."""
        key = self._held.pop((request.call_id, request.attempt), None)
        if key is not None:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]

    def __len__(self) -> int:
        return len(self._held)
