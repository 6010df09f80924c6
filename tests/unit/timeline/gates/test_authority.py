"""Gate 4: nothing under an epoch that was not issued gets in or out; and what happens where the checks are off."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from rspp.cli.sim_recorder import record
from rspp.kernel import inputs as i
from rspp.kernel.egress import Egress
from rspp.kernel.placement import Placement
from rspp.sim.mutants import MUTANTS, planted
from rspp.sim.scenario import draw
from rspp.timeline import records as r
from tests.unit.timeline.gates.load import Load, amended, gate_of, judged, load, read, rotate, spoiled, usual


def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel whose egress believes every epoch, and that lets a turn go on when its lease is gone."""
    true = Egress._send

    def send(self: Any, event: Any, turn: Any) -> None:
        held, self._authority = self._authority, SimpleNamespace(epoch=event.scope.epoch, held=True)
        try:
            true(self, event, turn)
        finally:
            self._authority = held

    monkeypatch.setattr(Egress, "_send", send)
    monkeypatch.setattr(Placement, "_lost", lambda self, reason: None)


async def revoked_while_speaking(made: Load) -> None:
    caller = made.call()
    await caller.speak(300)
    while not caller.signals("playback_started"):
        await caller.frames(20)
    assert caller.seat is not None
    caller.give(i.LeaseChanged("revoked", caller.seat.epoch))
    await caller.frames(2_000)


def test_outputs_that_leave_after_the_lease_is_gone_fail_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = gate_of(judged(load(revoked_while_speaking)), 4)
    assert guarded.passed
    assert guarded.samples >= 1
    unguarded(monkeypatch)
    found = gate_of(judged(load(revoked_while_speaking)), 4)
    assert not found.passed
    assert found.values["accepted"]
    assert {one.anchor for one in found.violations} == {"egress"}


def leased(until_ms: int | None) -> Callable[[Load], Coroutine[Any, Any, None]]:
    """A question whose lease ends before its answer: it is revoked, or runs out at that time."""

    async def scene(made: Load) -> None:
        caller = made.call()
        assert caller.seat is not None
        epoch = caller.seat.epoch
        if until_ms is not None:
            caller.give(i.LeaseChanged("issued", epoch, "short", until_ms * 1_000_000))
        await caller.speak(300)
        while not caller.signals("turn_confirmed"):
            await caller.frames(20)
        if until_ms is None:
            caller.give(i.LeaseChanged("revoked", epoch))
        await caller.frames(2_000)

    return scene


@pytest.mark.parametrize("until_ms", [None, 680])
def test_words_and_audio_that_leave_without_a_lease_fail_the_gate(
    monkeypatch: pytest.MonkeyPatch, until_ms: int | None
) -> None:
    assert gate_of(judged(load(leased(until_ms))), 4).violations == []
    unguarded(monkeypatch)
    found = gate_of(judged(load(leased(until_ms))), 4)
    said = {one.what.partition(" ")[0] for one in found.violations}
    assert said == {"an", "audio"}
    assert any("without a lease" in one.what for one in found.violations)


def test_a_frame_of_an_older_epoch_that_is_taken_fails_the_gate() -> None:
    async def stale(made: Load) -> None:
        caller = made.call()
        await caller.ask()
        rotate(caller)
        await caller.frames(100)

    assert gate_of(judged(load(stale)), 4).passed
    with planted(next(one for one in MUTANTS if one.name == "stale_epoch_accepted")):
        found = gate_of(judged(load(stale)), 4)
    assert not found.passed
    assert {one.anchor for one in found.violations} == {"ingress"}


def test_a_flag_in_the_evidence_is_enough() -> None:
    found = gate_of(judged([amended(one, "s-1/turn-1", accepted_stale_outputs=True) for one in usual()]), 4)
    assert found.values["accepted"] == 1
    assert [one.anchor for one in found.violations] == ["accepted_stale_outputs"]


def test_outputs_of_another_epoch_than_the_issued_one_are_seen_whatever_the_kernel_said_of_it() -> None:
    def forge(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        items = [msgspec.structs.replace(x, epoch=99) if x.what == "send" else x for x in record.items]
        return msgspec.structs.replace(record, items=items)

    found = gate_of(judged([spoiled(one, forge) for one in usual()]), 4)
    assert found.violations
    assert all("epoch 99" in one.what for one in found.violations)


def test_audio_of_an_epoch_that_goes_on_after_another_was_issued_is_seen() -> None:
    (data,) = [one for one in usual() if read(one).session_id == "s-3"]
    rotated = next(at for at, one in read(data).inputs.values() if isinstance(one, i.LeaseChanged))

    def go_on(record: r.AnyRecord) -> r.AnyRecord:
        if not isinstance(record, r.Trace):
            return record
        runs = [
            msgspec.structs.replace(run, last_at=rotated + 1) if run.turn == "s-3/turn-1" else run
            for run in record.runs
        ]
        return msgspec.structs.replace(record, runs=runs)

    found = gate_of(judged([spoiled(data, go_on)]), 4)
    assert {one.turn for one in found.violations} == {"s-3/turn-1"}


def test_where_authority_is_tried_a_gap_hides_nothing() -> None:
    (data,) = [one for one in usual() if read(one).session_id == "s-3"]
    gap = r.frame(r.Gap(step=3, at=0, reason="no_room", records=2))
    found = gate_of(judged([data + gap]), 4)
    assert [one.anchor for one in found.violations] == ["outputs"]


@pytest.mark.slow
def test_simulated_failovers_rotations_and_forgeries_let_nothing_through() -> None:
    recordings = [data for number in range(24) for data in record(draw(3, number, "F7,F8"))[1]]
    found = gate_of(judged(recordings), 4)
    assert found.values == {"accepted": 0.0}
    assert found.violations == []
    assert found.samples > 24
