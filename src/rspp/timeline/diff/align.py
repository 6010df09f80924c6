"""Two lists laid beside each other, so that as much as possible of one stands beside its like in the other.

What is unique on both sides anchors the rest (patience); the small blocks between anchors are laid out by the best sum of
likeness. One inserted element is one insertion, wherever it stands.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from difflib import SequenceMatcher
from typing import Final

# Above this many pairs a block is too large to try them all; difflib's longest blocks then have to do.
BLOCK_PAIRS_MAX: Final = 1_000_000

Pair = tuple[int | None, int | None]
Likeness = Callable[[int, int], float]


def aligned(left: Sequence[Hashable], right: Sequence[Hashable], likeness: Likeness) -> list[Pair]:
    """Pairs of places, in order; None where one side has nothing. Only equal keys stand beside each other.

    `likeness` says how well two places of equal keys go together: above 0, and 1 if nothing is against it.
    """
    pairs: list[Pair] = []
    a = b = 0
    for i, j in [*_anchors(left, right), (len(left), len(right))]:
        pairs += _block(left, right, (a, i), (b, j), likeness)
        if i < len(left):
            pairs.append((i, j))
        a, b = i + 1, j + 1
    return pairs


def _anchors(left: Sequence[Hashable], right: Sequence[Hashable]) -> list[tuple[int, int]]:
    """Pairs of keys that occur once on each side, as many as can be had without a crossing."""
    counts_left, counts_right = Counter(left), Counter(right)
    places = {key: j for j, key in enumerate(right) if counts_right[key] == 1}
    candidates = [(i, places[key]) for i, key in enumerate(left) if counts_left[key] == 1 and key in places]
    return _rising(candidates)


def _rising(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest run of pairs, whose first parts rise, in which the second parts rise too."""
    tails: list[int] = []
    at: list[int] = []  # index of the pair that ends the best run of each length
    before: list[int] = []
    for number, (_, j) in enumerate(pairs):
        place = bisect_left(tails, j)
        before.append(at[place - 1] if place else -1)
        if place == len(tails):
            tails.append(j)
            at.append(number)
        else:
            tails[place], at[place] = j, number
    run: list[tuple[int, int]] = []
    number = at[-1] if at else -1
    while number >= 0:
        run.append(pairs[number])
        number = before[number]
    return run[::-1]


def _block(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    a: tuple[int, int],
    b: tuple[int, int],
    likeness: Likeness,
) -> list[Pair]:
    """What stands between two anchors."""
    (i, i_end), (j, j_end) = a, b
    head: list[Pair] = []
    tail: list[Pair] = []
    while i < i_end and j < j_end and left[i] == right[j] and likeness(i, j) >= 1:
        head.append((i, j))
        i, j = i + 1, j + 1
    while (
        i < i_end
        and j < j_end
        and left[i_end - 1] == right[j_end - 1]
        and likeness(i_end - 1, j_end - 1) >= 1
    ):
        i_end, j_end = i_end - 1, j_end - 1
        tail.append((i_end, j_end))
    if i == i_end or j == j_end:
        middle: list[Pair] = [(k, None) for k in range(i, i_end)] + [(None, k) for k in range(j, j_end)]
    elif (i_end - i) * (j_end - j) > BLOCK_PAIRS_MAX:
        middle = _long_block(left, right, (i, i_end), (j, j_end))
    else:
        middle = _best(left, right, (i, i_end), (j, j_end), likeness)
    return head + middle + tail[::-1]


def _best(
    left: Sequence[Hashable],
    right: Sequence[Hashable],
    a: tuple[int, int],
    b: tuple[int, int],
    likeness: Likeness,
) -> list[Pair]:
    """The layout with the greatest sum of likeness."""
    (i0, i1), (j0, j1) = a, b
    width = j1 - j0 + 1
    scores = [[0.0] * width for _ in range(i1 - i0 + 1)]
    for i in range(i1 - 1, i0 - 1, -1):
        row, below, key = scores[i - i0], scores[i - i0 + 1], left[i]
        for j in range(j1 - 1, j0 - 1, -1):
            best = max(below[j - j0], row[j - j0 + 1])
            if key == right[j]:
                best = max(best, below[j - j0 + 1] + likeness(i, j))
            row[j - j0] = best
    pairs: list[Pair] = []
    i, j = i0, j0
    while i < i1 and j < j1:
        here = scores[i - i0][j - j0]
        if left[i] == right[j] and here == scores[i - i0 + 1][j - j0 + 1] + likeness(i, j):
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif here == scores[i - i0 + 1][j - j0]:
            pairs.append((i, None))
            i += 1
        else:
            pairs.append((None, j))
            j += 1
    return pairs + [(k, None) for k in range(i, i1)] + [(None, k) for k in range(j, j1)]


def _long_block(
    left: Sequence[Hashable], right: Sequence[Hashable], a: tuple[int, int], b: tuple[int, int]
) -> list[Pair]:
    matcher = SequenceMatcher(None, left[a[0] : a[1]], right[b[0] : b[1]], autojunk=False)
    pairs: list[Pair] = []
    i, j = a[0], b[0]
    for block in matcher.get_matching_blocks():
        pairs += [(k, None) for k in range(i, a[0] + block.a)]
        pairs += [(None, k) for k in range(j, b[0] + block.b)]
        pairs += [(a[0] + block.a + k, b[0] + block.b + k) for k in range(block.size)]
        i, j = a[0] + block.a + block.size, b[0] + block.b + block.size
    return pairs
