"""When one member of a synchronised group is lost, its group is lost with it, or the cut is marked.

Owns which groups of one edge are already lost, so that a late member does not arrive alone. `no_sync` knows nothing.
"""

from __future__ import annotations

from typing import Final

from rspp.contract.event import Event
from rspp.contract.plan import SyncDropPolicy
from rspp.contract.words import SyncPolicy

# Lost groups remembered for members still to come. The oldest is forgotten first.
LOST_GROUPS_MAX: Final = 64


class SyncGroups:
    """The lost groups of one edge."""

    __slots__ = ("_lost", "cuts", "policy")

    def __init__(self, policy: SyncDropPolicy) -> None:
        self.policy = policy
        self._lost: dict[str, None] = {}
        self.cuts = 0

    @property
    def active(self) -> bool:
        return self.policy.policy is not SyncPolicy.NO_SYNC

    def group(self, event: Event) -> str | None:
        """The group an event belongs to under this policy, or None."""
        if not self.active:
            return None
        if self.policy.group_by == "event_id":
            return event.event_id
        return event.sync.sync_id if event.sync else None

    def lose(self, event: Event) -> str | None:
        """Note that this event was lost; returns the group whose other members must go too, if they must."""
        group = self.group(event)
        if group is None:
            return None
        if self.policy.policy is SyncPolicy.DROP_WITH_DISCONTINUITY:
            return None
        self._lost[group] = None
        if len(self._lost) > LOST_GROUPS_MAX:
            del self._lost[next(iter(self._lost))]
        return group

    def is_lost(self, event: Event) -> bool:
        group = self.group(event)
        return group is not None and group in self._lost

    def cut(self, edge_id: str) -> tuple[str, str] | None:
        """The domain and the fresh discontinuity id to announce after a drop, where the policy marks drops."""
        if self.policy.policy is not SyncPolicy.DROP_WITH_DISCONTINUITY:
            return None
        self.cuts += 1
        return self.policy.sync_domain or edge_id, f"{edge_id}#{self.cuts}"
