"""A recorder that learns only at a session's opening who keeps its record is heard through all that stand around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rspp.contract.words import ConnectionState
from rspp.control.fleet.session_ear import SessionEar
from rspp.control.intake.metering import Board, SessionMeter, TenantMeter
from rspp.host.ports import Recorder
from rspp.host.recorder import MemoryRecorder
from rspp.kernel.effects import Effect
from rspp.kernel.inputs import ConnectionChanged, Input

RECEIVED = ConnectionChanged(ConnectionState.CONNECTED)


class Late(MemoryRecorder):
    """As one that is sampled: from its opening on, others are told instead of it."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []  # bounded: by the test
        self._tell_as("too early")

    def opened(self, request: Any, graph: Any) -> None:
        self._tell_as("in time")

    def _tell_as(self, when: str) -> None:
        def took(at: int, received: Input) -> None:
            self.kept.append(f"took {when}")

        def did(at: int, effects: Sequence[Effect]) -> None:
            self.kept.append(f"did {when}")

        vars(self).update(took=took, did=did)


class Alone:
    """A meter's board of one tenant."""

    def enter(self, meter: SessionMeter, tenant_id: str) -> TenantMeter:
        return TenantMeter(tenant_id)


def eared(recorder: Recorder) -> Recorder:
    return SessionEar(recorder, ())


def metered(recorder: Recorder) -> Recorder:
    return SessionMeter(recorder, cast(Board, Alone()))


@pytest.mark.parametrize(
    "around", [eared, metered, lambda one: eared(metered(one)), lambda one: metered(eared(one))]
)
def test_inputs_and_effects_reach_the_recorder_that_was_found_at_the_opening(
    around: Callable[[Recorder], Recorder],
) -> None:
    """Otherwise every recording of a fleet is empty but for its evidence."""
    kept = Late()
    recorder = around(kept)
    recorder.opened(cast(Any, SimpleNamespace(session_id="s", tenant_id="t")), cast(Any, None))
    recorder.took(1, RECEIVED)
    recorder.did(1, ())
    assert kept.kept == ["took in time", "did in time"]
