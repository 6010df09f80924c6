"""Two lists laid beside each other."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rspp.timeline.diff.align import BLOCK_PAIRS_MAX, Pair, aligned


def laid(left: str, right: str) -> list[Pair]:
    return aligned(left, right, lambda i, j: 1.0)


def test_equal_lists_stand_side_by_side() -> None:
    assert laid("abcab", "abcab") == [(n, n) for n in range(5)]


@pytest.mark.parametrize("place", range(7))
def test_one_insertion_is_one_insertion_wherever_it_stands(place: int) -> None:
    left = "aabbab"
    pairs = laid(left, left[:place] + "x" + left[place:])
    assert [pair for pair in pairs if None in pair] == [(None, place)]


def test_of_equal_keys_the_likest_stand_together() -> None:
    likeness = {(0, 0): 0.2, (1, 0): 1.0}
    assert aligned("aa", "a", lambda i, j: likeness[i, j]) == [(0, None), (1, 0)]


@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_every_place_is_there_once_and_in_order_and_pairs_have_equal_keys(left: str, right: str) -> None:
    pairs = laid(left, right)
    assert [i for i, _ in pairs if i is not None] == list(range(len(left)))
    assert [j for _, j in pairs if j is not None] == list(range(len(right)))
    assert all(left[i] == right[j] for i, j in pairs if i is not None and j is not None)


def test_a_block_that_is_too_large_for_all_pairs_is_laid_out_all_the_same() -> None:
    size = int(BLOCK_PAIRS_MAX**0.5) + 10
    draw = random.Random(3)
    left = [draw.randrange(40) for _ in range(size)]
    right = [-1, *left[: size // 2], *left[size // 2 + 1 :], -2]
    pairs = aligned(left, right, lambda i, j: 0.5)
    assert len([pair for pair in pairs if None in pair]) <= 6
