"""INV-09: after a fence nothing older passes, and no fence outlives its scope and late window."""

from __future__ import annotations

from rspp.contract.words import CancelScope
from rspp.kernel.fences import Fences

TURN, CALL, NODE = CancelScope.TURN, CancelScope.CALL, CancelScope.NODE


def test_what_was_born_before_a_fence_is_stale_and_what_is_born_after_it_is_not() -> None:
    fences = Fences(100)
    before = fences.generation
    fences.raise_floor(TURN, "t1")
    assert fences.stale(before, [(TURN, "t1")])
    assert not fences.stale(fences.generation, [(TURN, "t1")])


def test_a_fence_silences_its_own_scope_and_no_other() -> None:
    fences = Fences(100)
    before = fences.generation
    fences.raise_floor(CALL, "c1")
    assert not fences.stale(before, [(TURN, "t1"), (CALL, "c2"), (NODE, "c1")])
    assert fences.stale(before, [(TURN, "t1"), (CALL, "c1")])


def test_raising_a_fence_again_silences_what_was_born_in_between() -> None:
    fences = Fences(100)
    first = fences.raise_floor(NODE, "tts")
    second = fences.raise_floor(NODE, "tts")
    assert fences.floor(NODE, "tts") == second > first
    assert fences.stale(first, [(NODE, "tts")])


def test_a_released_fence_holds_for_its_late_window_and_is_forgotten_after_it() -> None:
    fences = Fences(100)
    fences.raise_floor(TURN, "t1")
    fences.release(TURN, "t1", now=50)
    fences.expire(149)
    assert fences.floor(TURN, "t1") > 0
    fences.expire(150)
    assert len(fences) == 0


def test_a_fence_raised_again_inside_its_late_window_stays() -> None:
    fences = Fences(100)
    fences.raise_floor(TURN, "t1")
    fences.release(TURN, "t1", now=0)
    fences.raise_floor(TURN, "t1")
    fences.expire(10_000)
    assert len(fences) == 1


def test_a_session_of_many_cancelled_turns_keeps_only_the_fences_of_the_last_window() -> None:
    fences = Fences(100)
    for number in range(10_000):
        fences.raise_floor(TURN, f"t{number}")
        fences.release(TURN, f"t{number}", now=number)
        assert len(fences) <= 101


def test_releasing_what_was_never_fenced_is_nothing() -> None:
    fences = Fences(100)
    fences.release(TURN, "t1", now=0)
    assert len(fences) == 0
