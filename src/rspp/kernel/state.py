"""State by how long it must live: a turn's is gone with it, a hot one may be lost, a durable one survives the process.

Writes are gated by the epoch: what an older owner sends is refused. Durable state has a revision, so that the store
can refuse a second writer. Turn state cannot be reached without its turn. Knows no store.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rspp.contract.errors import MisuseError
from rspp.kernel.snapshot import Durable

KEYS_MAX: Final = 256


class StateClass(StrEnum):
    TURN = "turn-ephemeral"
    HOT = "session-hot"
    DURABLE = "session-durable"


class State:
    """One session's state."""

    __slots__ = ("_durable", "_hot", "_turns", "epoch", "revision")

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.revision = 0
        self._turns: dict[str, dict[str, object]] = {}
        self._hot: dict[str, object] = {}
        self._durable: dict[str, object] = {}

    def open_turn(self, turn_id: str) -> None:
        self._turns[turn_id] = {}

    def close_turn(self, turn_id: str) -> None:
        self._turns.pop(turn_id, None)

    def get(self, kind: StateClass, key: str, turn_id: str | None = None) -> object:
        return self._shelf(kind, turn_id).get(key)

    def put(
        self, kind: StateClass, key: str, value: object, epoch: int, turn_id: str | None = None
    ) -> int | None:
        """Write; for durable state returns the revision to save it under."""
        if epoch != self.epoch:
            raise MisuseError(
                "authority_epoch_mismatch", f"state is written under epoch {self.epoch}, not {epoch}"
            )
        shelf = self._shelf(kind, turn_id)
        if key not in shelf and len(shelf) >= KEYS_MAX:
            raise MisuseError("state_full", f"{kind} state holds at most {KEYS_MAX} keys; remove one first")
        shelf[key] = value
        if kind is not StateClass.DURABLE:
            return None
        self.revision += 1
        return self.revision

    def rotate(self, epoch: int) -> None:
        """A new epoch owns the session: what is hot here is not trusted any more."""
        self.epoch = epoch
        self._hot.clear()

    def reattach(self, durable: Durable, staleness_ms_max: int) -> str | None:
        """Take durable state from its store; returns why not, if it must not be used."""
        if durable.age_ms > staleness_ms_max:
            return "durable_state_stale"
        if durable.revision < self.revision:
            return "durable_state_older"
        self.revision = durable.revision
        self._durable = dict(durable.values)
        self._hot.clear()
        return None

    def durable(self) -> Mapping[str, object]:
        return self._durable

    def _shelf(self, kind: StateClass, turn_id: str | None) -> dict[str, object]:
        if kind is StateClass.HOT:
            return self._hot
        if kind is StateClass.DURABLE:
            return self._durable
        if turn_id is None or turn_id not in self._turns:
            raise MisuseError("turn_state_unreachable", "turn state can only be reached inside its open turn")
        return self._turns[turn_id]
