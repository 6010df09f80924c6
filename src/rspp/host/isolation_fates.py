"""How nodes in processes of their own fare: one that ended by itself is told of for a while, whatever session it was of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from rspp.contract.surface import Coverage, Level, Row, Surface, Truth, cut
from rspp.host.conditions import kept, reader

# For so long after one ended by itself a type of node counts as failing.
ENDED_SHOWN_S: Final = 60.0
# Types of node that are remembered; a host runs a few.
TYPES_MAX: Final = 256

SURFACE: Final = Surface(
    name="external_nodes",
    owner=__name__,
    summary="Nodes that run in processes of their own: whether one of them ended that should not have.",
    aggregate_type="node",
    storage="memory, said in kv:conditions",
    truth=Truth.CANONICAL,
    read="GraphQL rows(surface: external_nodes)",
    affects_health=True,
    affects_actions=True,
    coverage=Coverage.JOURNAL,
    kept=kept(),
    row=reader("external_nodes"),
)


class _Ended(msgspec.Struct, frozen=True):
    count: int
    reason: str
    at: float


class Fates:
    """What became of the processes of one host, by type of node."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self._ended: dict[str, _Ended] = {}  # bounded: TYPES_MAX

    def ended(self, node_type: str, reason: str) -> None:
        """A process of this type of node ended that should not have."""
        before = self._ended.get(node_type)
        if before is None and len(self._ended) >= TYPES_MAX:
            return
        self._ended[node_type] = _Ended(1 if before is None else before.count + 1, reason, self._now_s())

    def rows(self, there: Iterable[str]) -> list[Row]:
        """Each of these types, and each of which a process ended."""
        return [self._row(one) for one in sorted({*there, *self._ended})]

    def _row(self, node_type: str) -> Row:
        ended = self._ended.get(node_type)
        down = ended is not None and self._now_s() - ended.at < ENDED_SHOWN_S
        why = "" if ended is None else ended.reason
        return Row(
            aggregate_id=node_type,
            state="failing" if down else "running",
            level=Level.DEGRADED if down else Level.OK,
            reason="node_down" if down else "",
            message=cut(f"a process of {node_type} ended: {why}") if down else "",
            facts={"node": cut(node_type), "ended": 0 if ended is None else ended.count, "because": cut(why)},
        )
