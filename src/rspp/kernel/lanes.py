"""Control goes before data, data before telemetry, and each lane is bounded.

This is the one door out of a kernel: effects wait here, by lane, until the host drains them. Data beyond its bound is
refused to whoever offers it (who must account for it); telemetry beyond its bound is dropped and counted; control is
never refused: a control lane that overflows means that a producer of ours is broken. Keeps INV-05.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rspp.contract.errors import InvariantBreach
from rspp.contract.words import Lane
from rspp.kernel.effects import Effect, EndFeed, Feed, Invoke, Send

# What one step may add before the host can drain: far above the profile's mark, so that reaching it is a defect.
CONTROL_HEADROOM: Final = 64


class Outbox:
    """Effects on their way out, in the order in which they must be done."""

    __slots__ = (
        "_control",
        "_control_max",
        "_data",
        "_data_max",
        "_sealed",
        "_telemetry",
        "_telemetry_max",
        "shed",
    )

    def __init__(self, items_max: Mapping[Lane, int]) -> None:
        # bounded: by the profile's lane limits, enforced in the three puts below
        self._sealed: list[Effect] = []
        self._control: list[Effect] = []
        self._data: list[Effect] = []
        self._telemetry: list[Effect] = []
        self._control_max = items_max[Lane.CONTROL] * CONTROL_HEADROOM
        self._data_max = items_max[Lane.DATA]
        self._telemetry_max = items_max[Lane.TELEMETRY]
        self.shed = 0

    def control(self, effect: Effect) -> None:
        self._control.append(effect)
        if len(self._control) > self._control_max:
            raise InvariantBreach(
                "control_lane_overflow", "the control lane is full; a producer does not stop"
            )

    def data(self, effect: Effect) -> bool:
        """Take an item of data, or say no: then the caller must account for it."""
        if len(self._data) >= self._data_max:
            return False
        self._data.append(effect)
        return True

    def work(self, effect: Effect) -> None:
        """An invocation or the end of a feed: it keeps its place among data, and there are only so many calls."""
        self._data.append(effect)

    def telemetry(self, effect: Effect) -> bool:
        if len(self._telemetry) >= self._telemetry_max:
            self.shed += 1
            return False
        self._telemetry.append(effect)
        return True

    def seal(self) -> None:
        """What stands here now goes before whatever comes: a terminal must not overtake its own turn's data."""
        if self._data or self._control:
            self._sealed += self._control
            self._sealed += self._data
            self._control = []
            self._data = []

    def refuse(self, stale: Callable[[Effect], bool]) -> list[Effect]:
        """Take back the data that a fence has just made stale; at most a lane's bound is looked at."""
        refused: list[Effect] = []
        for name in ("_sealed", "_data"):
            kept: list[Effect] = []
            for effect in getattr(self, name):
                if isinstance(effect, (Send, Feed)) and stale(effect):
                    refused.append(effect)
                else:
                    kept.append(effect)
            setattr(self, name, kept)
        return refused

    def withdraw(self, call_id: str) -> bool:
        """Take a call back that nobody has been asked for yet; says whether it was still here."""
        mine = (Invoke, Feed, EndFeed)
        found = any(isinstance(effect, Invoke) and effect.call_id == call_id for effect in self._data)
        if found:
            self._data = [e for e in self._data if not (isinstance(e, mine) and e.call_id == call_id)]
        return found

    def drain(self) -> list[Effect]:
        """Everything, in order; the outbox is empty afterwards."""
        if not self._telemetry and not self._sealed:
            if not self._control:
                out = self._data
                self._data = []
                return out
            out = self._control
            out += self._data
            self._control = []
            self._data = []
            return out
        out = self._sealed
        out += self._control
        out += self._data
        out += self._telemetry
        self._sealed, self._control, self._data, self._telemetry = [], [], [], []
        return out

    def __len__(self) -> int:
        return len(self._sealed) + len(self._control) + len(self._data) + len(self._telemetry)
