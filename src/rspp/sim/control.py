"""The control plane and the host's measurements: snapshots, quotas, the pool, the clock, as the kernel is told of them.

An overload counts as fired when something was really refused because of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from rspp.contract.event import NS_PER_MS
from rspp.contract.plan import SnapshotProvenance
from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.kernel.snapshot import Quota, Snapshot
from rspp.sim.world import Seat, World

STALE_MS: Final = 120_000
WINDOW_MS: Final = 4_000  # so long an overload waits for somebody to refuse
AFTER_BITE_MS: Final = 900  # and so long it lasts after that


class Control:
    """What is published to the session, well or badly."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._version = 1
        self._active: dict[str, Callable[[], None]] = {}  # overloads in force, and how each is lifted
        world.react(fx.RequestSnapshot, self._requested)
        for signal in ("reject", "defer", "shed"):
            world.when(signal, self._refused)
        self._anchor_wall = 1_700_000_000_000 * NS_PER_MS

    def fresh(self, **changes: Any) -> Snapshot:
        """A usable view, but for the changes."""
        version = self._version
        snapshot = Snapshot(
            version=version,
            taken_at=self.world.now,
            provenance=SnapshotProvenance(
                routing_view_snapshot=f"routing/{version}",
                admission_policy_snapshot=f"admission/{version}",
                abi_compatibility_snapshot=f"abi/{version}",
                version_resolution_snapshot=f"versions/{version}",
                policy_resolution_snapshot=f"policy/{version}",
                provider_health_snapshot=f"health/{version}",
            ),
        )
        return msgspec.structs.replace(snapshot, **changes)

    def _publish(self, **changes: Any) -> None:
        self._version += 1
        self.world.give(i.SnapshotPublished(self.fresh(**changes)))

    def _requested(self, seat: Seat, effect: fx.RequestSnapshot) -> None:
        self.world.after(30, self._publish)

    # ---- faults --------------------------------------------------------------------------------------------------

    def arm(self, name: str) -> None:
        if name == "clock_skew":
            self.world.give(i.ClockObserved(self._anchor_wall + self.world.now + 400 * NS_PER_MS, 0))
            self.world.fire(name)
            return
        self._active[name] = self._publish
        if name in ("pool_saturated", "pool_closed"):
            self._active[name] = self._open_pool
            self.world.give(i.PoolChanged(name.removeprefix("pool_")))
        elif name == "snapshot_lost":
            self.world.give(i.SnapshotLost("unreadable"))
        else:
            self._publish(**self._bad_view(name))
        self.world.after(WINDOW_MS, self._lift, name)

    def _bad_view(self, name: str) -> dict[str, Any]:
        if name == "snapshot_stale":
            return {"taken_at": self.world.now - STALE_MS * NS_PER_MS}
        if name == "snapshot_incompatible":
            return {"compatible": False}
        if name == "quota_used_up":
            return {"quota": Quota(turns_per_minute=1)}
        return {"capacity": name.removeprefix("capacity_")}

    def _open_pool(self) -> None:
        self.world.give(i.PoolChanged("open"))

    def _refused(self, seat: Seat, effect: fx.Announce) -> None:
        for name in list(self._active):
            self.world.fire(name)
            self.world.after(AFTER_BITE_MS, self._lift, name)

    def _lift(self, name: str) -> None:
        lift = self._active.pop(name, None)
        if lift is not None:
            lift()
