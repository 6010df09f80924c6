"""What each level runs, in this order: what is over soonest and says most comes first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from rspp.cli.verify import (
    conformance,
    contract,
    dependencies,
    gates,
    installed,
    replay,
    secrets,
    simulator,
)
from rspp.cli.verify.engine import Engine, Ground, Level
from rspp.cli.verify.ground import visible

PLAN: Final[tuple[Engine, ...]] = (
    contract.ENGINE,
    secrets.ENGINE,
    dependencies.ENGINE,
    *installed.ENGINES,
    replay.ENGINE,
    conformance.ENGINE,
    simulator.ENGINE,
    gates.ENGINE,
)
LEVELS: Final[tuple[Level, ...]] = ("quick", "full", "security")
# So long an engine may take, unless --timeout says otherwise.
TIMEOUT_S: Final[dict[Level, float]] = {"quick": 300.0, "full": 1_800.0, "security": 900.0}


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does: `asked` is run; of the others it is said why they are not."""

    asked: tuple[Engine, ...]
    left_out: tuple[Engine, ...] = ()  # by --only or --skip, though there is something to look at
    not_here: tuple[Engine, ...] = ()  # nothing of their kind is there
    missed: tuple[Engine, ...] = ()  # nothing of their kind is there, though --only names them

    @property
    def whole(self) -> bool:
        return not self.left_out and not self.missed


def chosen(
    plan: Iterable[Engine], ground: Ground, only: Iterable[str] = (), skip: Iterable[str] = ()
) -> Chosen:
    """The engines of the ground's level: first by what is there, then by what was wished."""
    wanted, unwanted = frozenset(only), frozenset(skip)
    asked: list[Engine] = []
    left_out: list[Engine] = []
    not_here: list[Engine] = []
    missed: list[Engine] = []
    is_empty = not visible(ground.folder)
    for engine in plan:
        if ground.level not in engine.levels:
            continue
        if is_empty or (engine.applies is not None and not engine.applies(ground)):
            (missed if engine.name in wanted and engine.name not in unwanted else not_here).append(engine)
        elif (wanted and engine.name not in wanted) or engine.name in unwanted:
            left_out.append(engine)
        else:
            asked.append(engine)
    return Chosen(
        asked=tuple(asked), left_out=tuple(left_out), not_here=tuple(not_here), missed=tuple(missed)
    )
