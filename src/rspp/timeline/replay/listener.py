"""The line of a caller who only listens: it plays what comes at its pace, and reports of it as the recorded caller's did."""

from __future__ import annotations

import asyncio
from typing import Final

from rspp.adapters.transports.loopback.speaker import Reports, Speaker
from rspp.contract.event import Audio, Event
from rspp.host.ports import Clock, Seat
from rspp.kernel import inputs as i

TICK_MS: Final = 20
REPORT_TICKS: Final = 5  # 100 ms


class Listener:
    """Implements `Line`. Without `reports` it is heard nothing of, as a telephone line is."""

    def __init__(self, clock: Clock, *, reports: bool) -> None:
        self.speaker = Speaker(clock.now())
        self._playback = Reports(self.speaker, self._report)
        self._clock = clock
        self._reports = reports
        self._seat: Seat | None = None
        self._ticks = 0

    async def listen(self, seat: Seat) -> None:
        """Let time pass over the loudspeaker; for as long as it is not cancelled."""
        self._seat = seat
        while not seat.ended:
            await asyncio.sleep(TICK_MS / 1000)
            self._ticks += 1
            self.speaker.advance(self._clock.now())
            for turn_id, playing in self.speaker.turns.items():
                if not playing.over:
                    self._playback.told(turn_id, playing, due=self._ticks % REPORT_TICKS == 0)

    @property
    def sounding(self) -> bool:
        return self.speaker.sounding

    # ---- as a line -------------------------------------------------------------------------------------------------

    def send(self, event: Event) -> None:
        audio, turn_id = event.payload, event.scope.turn_id or ""
        if not isinstance(audio, Audio):
            return
        now = self._clock.now()
        if audio.end:
            self.speaker.end(now, turn_id)
            return
        first = turn_id not in self.speaker.turns
        # How long it sounds is what counts; what it is made of is on record.
        self.speaker.play(now, turn_id, bytes(2 * audio.samples), audio.rate)
        if first:
            self._report("accepted", turn_id)

    def announce(self, event: Event) -> None: ...

    def pause(self, turn_id: str) -> None:
        self.speaker.pause(self._clock.now())
        self._playback.position(turn_id)

    def resume(self, turn_id: str) -> None:
        self.speaker.resume(self._clock.now())

    def stop(self, turn_id: str, keep_ms: int) -> None:
        self.speaker.stop(self._clock.now(), turn_id, keep_ms)
        self._playback.position(turn_id)

    def close(self, reason: str) -> None: ...

    # ---- reports ---------------------------------------------------------------------------------------------------

    def _report(self, what: str, turn_id: str) -> None:
        if self._reports and self._seat is not None:
            self._seat.ingest(i.DeliveryReported(what, turn_id, self.speaker.played_ms(turn_id)))
