"""The recorder: it takes a turn's evidence, quickly, late, never, or not at all; and it says when it is pressed."""

from __future__ import annotations

from typing import Final

from rspp.kernel import effects as fx
from rspp.kernel import inputs as i
from rspp.sim.world import Seat, World

LATE_MS: Final = 90  # the kernel waits for 50
PRESSURES: Final = ((0.85, 300), (0.86, 400), (0.92, 2_500), (0.95, 3_000), (0.97, 5_500), (0.4, 200))


class Recorder:
    """The local append."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stored = self.closed = 0
        self._armed: list[str] = []
        world.react(fx.StoreEvidence, self._store)
        world.react(fx.StoreClose, self._close)

    def arm(self, name: str) -> None:
        if name != "recorder_pressed":
            self._armed.append(name)
            return
        for number, (fill, lag_ms) in enumerate(PRESSURES):
            self.world.after(300 * number, self.world.give, i.RecorderPressed(fill, lag_ms))
        self.world.fire(name)

    def _store(self, seat: Seat, effect: fx.StoreEvidence) -> None:
        flaw = self._armed.pop(0) if self._armed else ""
        if flaw:
            self.world.fire(flaw)
        if flaw == "evidence_never":
            return
        ok = flaw != "evidence_fails"
        delay = LATE_MS if flaw == "evidence_late" else self.world.knobs.evidence_ms
        self.stored += ok
        answer = i.EvidenceStored(effect.record_id, ok, None if ok else "disk_full")
        self.world.after(delay, self._answer, seat, answer)

    def _answer(self, seat: Seat, answer: i.EvidenceStored) -> None:
        if seat.attached:
            seat.give(answer)

    def _close(self, seat: Seat, effect: fx.StoreClose) -> None:
        self.closed += 1
