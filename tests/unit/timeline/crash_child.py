"""A process that records until it is killed: it says on its output what it was promised, one line each, as it is promised.

took SESSION STEP      detail up to this input is in the file, the append has said
kept SESSION RECORD    evidence is in the file: the turn commits
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

from rspp.contract.event import Audio
from rspp.contract.words import RecordingLevel
from rspp.kernel import inputs as i
from rspp.timeline.ports import Kept
from rspp.timeline.session import SessionRecorder
from rspp.timeline.spool import Spool, SpoolSettings
from tests.unit.timeline.spooling import begun, evidence

SESSIONS = 4


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


class Witness:
    """The append of one session, which passes on what is promised."""

    def __init__(self, session_id: str, recorder: SessionRecorder) -> None:
        self._session_id = session_id
        self._recorder = recorder
        self._inner = recorder._append
        recorder._append = self

    def append(self, data: bytes, *, reserved: bool = False, kept: Kept | None = None) -> bool:
        step = self._recorder._step

        def told(why: str | None) -> None:
            if why is None and not reserved:
                say(f"took {self._session_id} {step}")
            if kept is not None:
                kept(why)

        return self._inner.append(data, reserved=reserved, kept=told)

    def close(self) -> None:
        self._inner.close()


async def session(spool: Spool, session_id: str, draws: random.Random) -> None:
    recorder = begun(spool, session_id, RecordingLevel.L1)
    Witness(session_id, recorder)

    def tell(received: i.Input) -> bool:
        if isinstance(received, i.EvidenceStored) and received.ok:
            say(f"kept {session_id} {received.record_id}")
        return True

    recorder.attach(tell)
    number = turn = 0
    while True:
        for _ in range(draws.randrange(1, 40)):
            recorder.took(number, i.AudioReceived(Audio(bytes(640), 320, number * 320), number))
            number += 1
        if draws.random() < 0.3:
            turn += 1
            recorder.evidence(f"r{turn}", evidence(turn, session_id))
        elif draws.random() < 0.5:
            recorder.flush()
        await asyncio.sleep(draws.random() * 0.004)


async def main(data: Path, seed: int) -> None:
    spool = Spool(data, SpoolSettings(segment_bytes_max=40_000, segment_age_ms=100))
    spool.start()
    draws = random.Random(seed)
    say("ready")
    await asyncio.gather(*(session(spool, f"s{n}", random.Random(draws.random())) for n in range(SESSIONS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
