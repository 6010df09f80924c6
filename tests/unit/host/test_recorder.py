"""A journal that a host writes is read by a fresh kernel, which does the same again; a disk that fails stops commits."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.event import Signal
from rspp.host.recorder import JournalRecorder
from rspp.kernel import effects as fx
from rspp.kernel.journal import encoding_of, read, replay
from rspp.nodes import factories
from tests.unit.host.stage import Caller, Stage, on_stage


def recorded(path: Path) -> Caller:
    """A call, recorded."""
    callers: list[Caller] = []

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        callers.append(caller)
        await caller.speak()
        await caller.until("commit")
        assert caller.seat is not None
        await stage.host.close_session(caller.seat.session_id)

    on_stage(scene, recorders=lambda _: JournalRecorder(path))
    return callers[0]


@pytest.mark.parametrize("ending", ["rspp", "jsonl"])
def test_a_recorded_call_comes_out_of_a_fresh_kernel_signal_by_signal(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"call.{ending}"
    caller = recorded(path)
    journal = read(path.read_bytes(), encoding_of(path.name))
    assert not journal.torn
    announced = [
        effect.event.payload.signal
        for _, effects in replay(journal, factories())
        for effect in effects
        if isinstance(effect, fx.Announce) and isinstance(effect.event.payload, Signal)
    ]
    assert announced == caller.names()


def test_a_journal_that_cannot_be_written_makes_the_turn_abort(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("in the way")

    async def scene(stage: Stage) -> None:
        caller = stage.call()
        await caller.speak()
        await caller.until("abort")
        assert caller.signals("abort")[0].reason == "recording_evidence_unavailable"

    on_stage(scene, recorders=lambda _: JournalRecorder(target / "call.rspp"))
