"""What every sync node must do: give the same for the same, fall silent when cancelled, keep nobody waiting, keep nothing.

    checks = node.conformance(lambda: NodeTarget(node=Shout, config={"marks": 2}))

The node is run by `NodeHarness`, which is the kernel's own `Hosted`. Each check makes its own instances. What holds a node to
its bounds, and sees what it reaches for, stands in `node_bounds`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from rspp.contract.errors import MisuseError
from rspp.contract.event import Payload, Signal, Text
from rspp.contract.words import EventKind
from rspp.spec.declaration import faults
from rspp.testing.conformance import node_bounds
from rspp.testing.conformance.checks import Check, NotApplicableError, require
from rspp.testing.conformance.node_bench import (
    Feed,
    NodeTarget,
    digest_of,
    given,
    heard_in,
    play,
    pressed,
    two_turns,
    unsound,
)
from rspp.testing.harness import NodeHarness

__all__ = ["Feed", "NodeTarget", "conformance"]

Body = Callable[[NodeTarget], Awaitable[None]]
Row = tuple[str, str, Body]
# Long enough for a clock of milliseconds to have gone on.
PAUSE_S: Final = 0.03
MARK: Final = "zqxjkv"
MARKED_DIGITS: Final = "9086"


def conformance(make: Callable[[], NodeTarget]) -> list[Check]:
    """The suite."""
    return [Check(category, name, _bound(body, make)) for category, name, body in ROWS]


def _bound(body: Body, make: Callable[[], NodeTarget]) -> Callable[[], Awaitable[None]]:
    return lambda: body(make())


# ---- lifecycle ------------------------------------------------------------------------------------------------------


async def _declares(target: NodeTarget) -> None:
    if target.as_type is not None:
        raise NotApplicableError(f"its ports are those of the type {target.as_type}")
    declaration = target.declaration
    if declaration is None:
        raise MisuseError("node_declaration_invalid", "it has no `declaration`, an rspp.NodeDeclaration")
    wrong = list(faults(declaration))
    require(not wrong, "; ".join(wrong))


async def _starts_and_stops(target: NodeTarget) -> None:
    """Started and stopped it has done nothing wrong, whether or not it was of use; stopped twice it is stopped."""
    with target.harness() as idle:
        idle.end()
    with target.harness() as used:
        play(used, target.turn())
        used.end()


async def _refuses_settings(target: NodeTarget) -> None:
    if target.as_type is not None:
        raise NotApplicableError(
            f"its settings are those of the type {target.as_type}, checked with the spec"
        )
    strange = msgspec.structs.replace(target, config={**target.config, "no_such_setting": 1})
    try:
        strange.harness().close()
    except (msgspec.ValidationError, MisuseError, TypeError, ValueError):
        return
    require(False, "it took a setting that it does not have; a misspelled one would be ignored in silence")


async def _leaves_nothing(target: NodeTarget) -> None:
    before = node_bounds.belongings()
    with target.harness() as harness:
        play(harness, target.turn())
    left = node_bounds.belongings() - before
    require(not left, f"stopped, it left behind: {', '.join(sorted(left))}")


# ---- output ---------------------------------------------------------------------------------------------------------


async def _gives(target: NodeTarget) -> None:
    with target.harness() as harness:
        play(harness, target.turn())
        harness.end()
        require(harness.given, "it gave nothing for all it was told; give it a script that it answers")


async def _gives_whole(target: NodeTarget) -> None:
    """Each on a port that it has, of a kind that the port gives; the harness refuses any other."""
    with target.harness() as harness:
        play(harness, target.turn())
        wrong = [fault for one in harness.given for fault in unsound(one.payload)]
        require(not wrong, "; ".join(wrong[:3]))


# ---- determinism ----------------------------------------------------------------------------------------------------


async def _same_again(target: NodeTarget) -> None:
    _alike(two_turns(target), two_turns(target), "the same input came to something else the second time")


async def _same_later(target: NodeTarget) -> None:
    """Its time is the context's: however late it is really, it gives the same."""
    first = two_turns(target)
    await asyncio.sleep(PAUSE_S)
    _alike(first, two_turns(target), "a moment later the same input came to something else; it asks a clock")


async def _same_chance(target: NodeTarget) -> None:
    """Its chance is the context's: whatever state the process's own generator is in, it gives the same."""
    before = random.getstate()
    try:
        random.seed(1)
        first = two_turns(target)
        random.seed(2)
        _alike(first, two_turns(target), "it draws chance of its own; `ctx.random` is the turn's")
    finally:
        random.setstate(before)


async def _same_elsewhere(target: NodeTarget) -> None:
    if target.elsewhere is None:
        raise NotApplicableError("nothing says how it is made in another process")
    here, there = digest_of(two_turns(target)), await target.elsewhere()
    require(
        here == there,
        "in another process the same input came to something else; does it read a set in order?",
    )


def _alike(one: Sequence[bytes], other: Sequence[bytes], otherwise: str) -> None:
    if one == other:
        return
    pairs = zip(one, other, strict=False)
    at = next((at for at, (first, second) in enumerate(pairs) if first != second), min(len(one), len(other)))
    first, second = (trace[at].decode()[:120] if at < len(trace) else "nothing" for trace in (one, other))
    require(False, f"{otherwise}: output {at} is {first}, then {second}")


# ---- cancellation ---------------------------------------------------------------------------------------------------


def _halfway(target: NodeTarget) -> NodeHarness:
    harness = target.harness()
    script = target.turn()
    play(harness, script[: max(1, len(script) // 2)])
    return harness


async def _cancels(target: NodeTarget) -> None:
    """However its turn ends, and whether it had heard anything, it takes it and serves the next."""
    ways: Sequence[Callable[[NodeHarness], object]] = (
        NodeHarness.cancel,
        NodeHarness.barge_in,
        NodeHarness.time_out,
        NodeHarness.exhaust_budget,
    )
    for end_turn in ways:
        for harness in (target.harness(), _halfway(target)):
            with harness:
                end_turn(harness)
                harness.forget().new_turn()
                play(harness, target.turn())
                harness.end()
                require(harness.given, f"after {end_turn.__name__} it gave nothing in the next turn")


async def _forgets_cancelled(target: NodeTarget) -> None:
    """Nothing of a cancelled turn is said in the next."""
    if target.declaration is not None and target.declaration.scope == "session":
        raise NotApplicableError("it is of the session's scope, so it may remember turns")
    fed = [Feed(port, payload) for port, kinds in target.inputs.items() for payload in _marks(kinds)]
    if not fed:
        raise NotApplicableError("it takes neither text nor keys, in which something could be marked")
    with target.harness() as harness:
        play(harness, fed)
        harness.cancel().forget().new_turn()
        play(harness, target.turn())
        harness.end()
        kept = [mark for mark in (MARK, MARKED_DIGITS) if heard_in(harness, mark)]
        require(not kept, f"it said {', '.join(kept)} of the turn that was cancelled in the next one")


def _marks(kinds: Sequence[EventKind]) -> list[Payload]:
    """What is begun and not ended, and can be known again."""
    text: list[Payload] = [Text(f"{MARK} ", role="assistant")] if EventKind.TEXT in kinds else []
    keys: list[Signal] = [pressed(digit) for digit in MARKED_DIGITS] if EventKind.CONTROL in kinds else []
    return [*text, *keys]


async def _quick_cancel(target: NodeTarget) -> None:
    spent = await node_bounds.quickest(lambda: _cancel_ms(target))
    require(
        spent <= target.hook_ms_max,
        f"cancelled, it kept the step for {spent:.0f} ms; at most {target.hook_ms_max:.0f} ms are allowed",
    )


def _cancel_ms(target: NodeTarget) -> float:
    with _halfway(target) as harness:
        return node_bounds.spent_ms(lambda: harness.barge_in().new_turn())


# ---- isolation ------------------------------------------------------------------------------------------------------


async def _apart(target: NodeTarget) -> None:
    """What another instance is told meanwhile changes nothing."""
    alone = two_turns(target)
    script = target.turn()
    with target.harness() as one, target.harness() as other:
        for turn in range(2):
            if turn:
                one.new_turn()
            for feed in script:
                other.event(feed.payload, feed.port)
                play(one, [feed])
            other.cancel().new_turn()
        _alike(alone, given(one), "with another instance beside it, it gave something else")


ROWS: Final[Sequence[Row]] = [
    ("lifecycle", "declares what it is", _declares),
    ("lifecycle", "starts and stops, used or not", _starts_and_stops),
    ("lifecycle", "refuses settings that it does not have", _refuses_settings),
    ("lifecycle", "leaves nothing behind", _leaves_nothing),
    ("output", "gives something for what it takes", _gives),
    ("output", "gives whole payloads on its own ports", _gives_whole),
    ("determinism", "gives the same for the same input", _same_again),
    ("determinism", "asks no clock", _same_later),
    ("determinism", "draws no chance of its own", _same_chance),
    ("determinism", "gives the same in another process", _same_elsewhere),
    ("cancellation", "takes every end of its turn, and serves the next", _cancels),
    ("cancellation", "says nothing of a cancelled turn", _forgets_cancelled),
    ("cancellation", "is cancelled at once", _quick_cancel),
    ("isolation", "keeps its instances apart", _apart),
    *node_bounds.ROWS,
]
