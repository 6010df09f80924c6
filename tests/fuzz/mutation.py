"""Bytes that were good, spoiled as a careless editor or a hostile peer would spoil them."""

from __future__ import annotations

import random
from collections.abc import Sequence


def mutate(data: bytes, chance: random.Random, pieces: Sequence[bytes], others: Sequence[bytes]) -> bytes:
    """A few cuts, repeats, insertions of pieces, splices of others and flipped bytes."""
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(data))
        to = min(len(data), at + chance.randint(0, 32))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + data[to:]
        elif kind == 1:
            data = data[:to] + data[at:]
        elif kind == 2:
            data = data[:at] + chance.choice(pieces) + data[at:]
        elif kind == 3:
            other = chance.choice(others)
            cut = chance.randint(0, len(other))
            data = data[:at] + other[cut : cut + 60] + data[to:]
        else:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
    return data
