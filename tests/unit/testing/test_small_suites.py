"""The suites of clock, inference and recorder pass what is sound, and name what is not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest

from rspp.contract.evidence import TurnEvidence
from rspp.host.clock import MachineClock
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.inputs import Input
from rspp.testing.clock import ManualClock, run_virtual
from rspp.testing.conformance import clock, inference, recorder, run_suite

pytestmark = pytest.mark.slow  # whole sessions, processes or many runs

# ---- clocks ---------------------------------------------------------------------------------------------------------


def clock_target(kind: type[ManualClock]) -> clock.ClockTarget:
    manual = kind()

    async def pass_ms(ms: float) -> None:
        manual.advance(ms)

    return clock.ClockTarget(clock=manual, pass_ms=pass_ms)


class GoesBack(ManualClock):
    """Now and then by a nanosecond, as a clock that is read from two cores does."""

    reads = 0

    def now(self) -> int:
        self.reads += 1
        return super().now() - (self.reads % 3 == 0)


class Seconds(ManualClock):
    def wall(self) -> int:
        return super().wall() // 1_000_000_000


class Fractions(ManualClock):
    def now(self) -> int:
        return super().now() / 1.0  # type: ignore[return-value]


class Stopped(ManualClock):
    def advance(self, ms: float) -> None: ...


class WallStopped(ManualClock):
    def wall(self) -> int:
        return 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (ManualClock, []),
        (GoesBack, ["never goes back"]),
        (Seconds, ["knows the time of day in nanoseconds since 1970", "goes on, at the pace of time"]),
        (Fractions, ["counts whole nanoseconds"]),
        (Stopped, ["goes on, at the pace of time"]),
        (WallStopped, ["goes on, at the pace of time"]),
    ],
)
def test_a_broken_clock_is_caught(kind: type[ManualClock], caught: list[str]) -> None:
    assert run_suite(clock.conformance(lambda: clock_target(kind)), "clock").failed() == caught


def test_the_machines_own_clock_conforms() -> None:
    report = run_suite(clock.conformance(lambda: clock.ClockTarget(clock=MachineClock())), "clock")
    assert report.conforms, report.reasons()


# ---- inference ------------------------------------------------------------------------------------------------------


class Squares:
    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        return [request[0] ** 2 for request in batch]


class Sorts(Squares):
    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        return sorted(super().infer(batch))


class DropsOne(Squares):
    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        return super().infer(batch)[:3]


class Pads(Squares):
    """Gives a result for the padding too."""

    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        return super().infer(batch) or [0]


class Remembers(Squares):
    """A state that runs from one request into the next."""

    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        results = super().infer(batch)
        return [result + (results[at - 1] if at else 0) for at, result in enumerate(results)]


class Normalises(Squares):
    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        results = super().infer(batch)
        for request in batch:
            request[0] = request[0] * 2
        return results


class Constant(Squares):
    def infer(self, batch: Sequence[list[int]]) -> list[int]:
        return [1] * len(batch)


ORDER = "gives results in the order of the requests"
ALONE = "a result does not depend on its neighbours"


@pytest.mark.parametrize(
    ("model", "caught"),
    [
        (Squares, []),
        (Sorts, [ORDER, ALONE]),
        (DropsOne, ["gives one result a request", ORDER, ALONE]),
        (Pads, ["gives nothing for nothing"]),
        (Remembers, [ORDER, ALONE]),
        (Normalises, [ORDER, ALONE, "leaves its requests as they were"]),
        (Constant, [ORDER]),
    ],
)
def test_a_broken_model_is_caught(model: type[Squares], caught: list[str]) -> None:
    def make() -> inference.InferenceTarget:
        return inference.InferenceTarget(model=model(), requests=[[3], [1], [4], [2]])

    assert run_suite(inference.conformance(make), "inference").failed() == caught


# ---- recorders ------------------------------------------------------------------------------------------------------


class Fills(MemoryRecorder):
    """A disk that can be full, and a recorder that says so."""

    full = False

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return "disk_full" if self.full else super().evidence(record_id, evidence)


class LiesWhenFull(Fills):
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        super().evidence(record_id, evidence)
        return None


class Loses(Fills):
    """Keeps the last ten, and tells nobody."""

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        answer = super().evidence(record_id, evidence)
        while len(self._kept) > 10:
            del self._kept[next(iter(self._kept))]
        return answer


class Repeats(Fills):
    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        again = f"{record_id}-again" if record_id in self._kept else record_id
        return super().evidence(again, evidence)


class NoStamps(Fills):
    def closed_turn(self, record_id: str, stamp: Any) -> None: ...


class RaisesClosed(Fills):
    over = False

    def closed(self) -> None:
        self.over = True

    def took(self, at: int, received: Input) -> None:
        if self.over:
            raise ValueError("I/O operation on closed file")


class DiesFull(Fills):
    """What it could not write comes up again when it is closed."""

    def closed(self) -> None:
        if self.full:
            raise OSError(28, "No space left on device")


class Syncs(Fills):
    """Waits for the disk with each frame."""

    def took(self, at: int, received: Input) -> None:
        time.sleep(0.03 if at < 5 else 0)


class NeedsInput(Fills):
    heard = False

    def took(self, at: int, received: Input) -> None:
        self.heard = True

    def evidence(self, record_id: str, evidence: TurnEvidence) -> str | None:
        return super().evidence(record_id, evidence) if self.heard else "nothing_to_say"


@pytest.mark.parametrize(
    ("kind", "caught"),
    [
        (Fills, []),
        (LiesWhenFull, ["says why when it cannot keep evidence"]),
        (Loses, ["keeps the evidence that it took"]),
        (Repeats, ["keeps a record once when it is given twice"]),
        (NoStamps, ["keeps how a turn was closed"]),
        (RaisesClosed, ["never raises, whatever it is told and when"]),
        (
            DiesFull,
            [
                "says why when it cannot keep evidence",
                "closes in peace when it could not keep what it had",
            ],
        ),
        (Syncs, ["makes nobody wait"]),
        (
            NeedsInput,
            [
                "keeps a record once when it is given twice",
                "takes evidence without a word of what came before",
            ],
        ),
    ],
)
def test_a_broken_recorder_is_caught(kind: type[Fills], caught: list[str]) -> None:
    def make() -> recorder.RecorderTarget:
        made = kind()

        def breaks() -> None:
            made.full = True

        return recorder.RecorderTarget(
            recorder=made, kept=lambda: made._kept, stamps=lambda: made.stamps, breaks=breaks
        )

    assert run_suite(recorder.conformance(make), "recorder", run_virtual).failed() == caught
