"""Runs of sent frames, held against each other: what no item shows, and a digest only says to be otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

import msgspec

from rspp.kernel.trace import Run

_NS_PER_MS: Final = 1_000_000


def joined(runs: Sequence[Run]) -> list[Run]:
    """Runs of frames, those that only a batch has cut put together again."""
    out: list[Run] = []
    for run in runs:
        last = out[-1] if out else None
        if (
            last is not None
            and last.turn == run.turn
            and last.epoch == run.epoch
            and last.sample_index + last.samples == run.sample_index
        ):
            last.samples += run.samples
            last.frames += run.frames
            last.last_at = run.last_at
        else:
            out.append(msgspec.structs.replace(run))
    return out


def first_run(
    wanted: Sequence[Run], came: Sequence[Run], tolerance_ms: float
) -> tuple[Run | None, Run | None] | None:
    """The first run that is not as recorded, times within the tolerance aside."""
    for one, other in zip_longest(wanted, came):
        if one is None or other is None or _form(one) != _form(other):
            return one, other
        if max(apart(one, other)) > tolerance_ms:
            return one, other
    return None


def _form(run: Run) -> tuple[object, ...]:
    return run.turn, run.epoch, run.sample_index, run.samples, run.frames, run.rate


def apart(one: Run, other: Run) -> tuple[float, float]:
    """How far their beginnings and ends lie apart, in ms."""
    return abs(one.at - other.at) / _NS_PER_MS, abs(one.last_at - other.last_at) / _NS_PER_MS


def same_but_when(wanted: Run | None, came: Run | None) -> bool:
    return wanted is not None and came is not None and _form(wanted) == _form(came)


def parting(wanted: Run | None, came: Run | None) -> int:
    """When they part: one that began as recorded goes on otherwise."""
    if wanted is None or came is None:
        return next(run.at for run in (wanted, came) if run is not None)
    if (wanted.turn, wanted.sample_index, wanted.at) == (came.turn, came.sample_index, came.at):
        return min(wanted.last_at, came.last_at)
    return wanted.at


def shown(run: Run | None) -> dict[str, Any] | None:
    return msgspec.structs.asdict(run) if run else None
