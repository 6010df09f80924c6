"""A door behind which nobody decides anything: what a transport brings is written down, what it should send is said by hand.

As with every host, a caller that hung up ends its session, and another line ends the former one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from rspp.contract.event import Audio, Event, Scope, Signal
from rspp.contract.words import ConnectionState, EventKind, PayloadClass
from rspp.host.ports import Bootstrap, Line, Refused
from rspp.kernel import inputs as i
from rspp.spec import voice_template
from rspp.spec.graph import GraphDefinition

INPUTS_MAX: Final = 100_000


class FakeSeat:
    """One session: what was handed in, and the line to its caller."""

    def __init__(self, number: int, bootstrap: Bootstrap, line: Line) -> None:
        self.session_id = bootstrap.session_id or f"session-{number}"
        self.epoch = 1
        self.graph: GraphDefinition = voice_template()
        self.ended = False
        self.full = False
        self.bootstrap = bootstrap
        self.line = line
        self.inputs: list[i.Input] = []  # bounded: INPUTS_MAX, in `ingest`
        self.turn_id = "turn-1"
        self._turn = 1
        self._sequence = 0
        self._sample = 0

    def ingest(self, received: i.Input) -> bool:
        if self.full or self.ended or len(self.inputs) >= INPUTS_MAX:
            return False
        self.inputs.append(received)
        if isinstance(received, i.ConnectionChanged) and received.state is ConnectionState.ENDED:
            asyncio.get_running_loop().call_soon(self._hung_up)
        return True

    def attach(self, line: Line) -> None:
        former, self.line = self.line, line
        if former is not line:
            former.close("taken_over")

    def _hung_up(self) -> None:
        self.ended = True
        self.line.close("ended")

    # ---- what came in --------------------------------------------------------------------------------------------

    @property
    def audio(self) -> list[i.AudioReceived]:
        return [received for received in self.inputs if isinstance(received, i.AudioReceived)]

    @property
    def states(self) -> list[ConnectionState]:
        return [received.state for received in self.inputs if isinstance(received, i.ConnectionChanged)]

    @property
    def words(self) -> list[i.TextReceived | i.ControlReceived]:
        return [one for one in self.inputs if isinstance(one, i.TextReceived | i.ControlReceived)]

    @property
    def reports(self) -> list[i.DeliveryReported]:
        return [received for received in self.inputs if isinstance(received, i.DeliveryReported)]

    @property
    def heard_ms(self) -> int:
        """The most that was reported of the turn that is being spoken."""
        return max((report.heard_ms for report in self.reports if report.turn_id == self.turn_id), default=0)

    # ---- what goes out -------------------------------------------------------------------------------------------

    def next_turn(self) -> None:
        """What is said from now on is said in another turn."""
        self._turn += 1
        self.turn_id = f"turn-{self._turn}"
        self._sample = 0

    def say(self, frames: Sequence[bytes], *, end: bool = False) -> None:
        """Send these frames of PCM16 at 16 kHz, and with `end` that they were the turn's last."""
        for frame in frames:
            samples = len(frame) // 2
            self._send(Audio(frame, samples, self._sample))
            self._sample += samples
        if end:
            self._send(Audio(b"", 0, self._sample, end=True))

    def announce(self, signal: str) -> None:
        payload = Signal(signal, "RK-01")
        self.line.announce(self._event(EventKind.CONTROL, payload, PayloadClass.METADATA))

    def _send(self, audio: Audio) -> None:
        self.line.send(self._event(EventKind.AUDIO, audio, PayloadClass.AUDIO_RAW))

    def _event(self, kind: EventKind, payload: Audio | Signal, tags: PayloadClass) -> Event:
        self._sequence += 1
        return Event(self._scope(), kind, self._sequence, self._sequence * 1_000_000, payload, tags)

    def _scope(self) -> Scope:
        return Scope(
            session_id=self.session_id,
            tenant_id=self.bootstrap.tenant_id,
            pipeline_version="v1",
            epoch=self.epoch,
            lease_token="lease-1",
            turn_id=self.turn_id,
        )


class FakeDoor:
    """Opens every session that is asked for, unless it is told to refuse."""

    def __init__(self) -> None:
        self.seats: list[FakeSeat] = []  # bounded: by the callers of one check
        self.refusing: Refused | None = None

    async def enter(self, bootstrap: Bootstrap, line: Line) -> FakeSeat:
        if self.refusing is not None:
            raise self.refusing
        if bootstrap.back:
            raise Refused("session_unknown", "no such session runs here")
        self.seats.append(FakeSeat(len(self.seats) + 1, bootstrap, line))
        return self.seats[-1]

    def find(self, session_id: str) -> FakeSeat | None:
        return next((seat for seat in self.seats if seat.session_id == session_id and not seat.ended), None)
