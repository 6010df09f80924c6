"""The drawings in `docs/lifecycles.md` are the kernel's own tables: a step that is not drawn cannot be taken.

One page, four machines: a Mermaid state diagram and a table for each. Which state a machine begins in is read from
the code that makes one, and stands here beside the table; an end is a state that nothing leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from rspp.contract.words import SessionState, TurnState
from rspp.kernel.lifecycle import SESSION, TURN
from rspp.kernel.listening import CALLER, OVERLAP, Caller, Overlap

Table = Mapping[tuple[StrEnum, StrEnum], StrEnum]
State = TypeVar("State", bound=StrEnum)
Trigger = TypeVar("Trigger", bound=StrEnum)

INTRODUCTION: Final = """# Lifecycles

Generated from the kernel's tables by `rspp kernel diagrams`; do not edit. A pair of state and trigger that is not in
its table is refused and changes nothing.
"""


class Machine(msgspec.Struct, frozen=True):
    """One machine as it is drawn."""

    title: str
    home: str
    first: StrEnum
    says: str
    table: Table


def machines() -> tuple[Machine, ...]:
    """Everything in the kernel that has a transition table."""
    return (
        Machine(
            "Session",
            "kernel/lifecycle.SESSION",
            SessionState.CONNECTING,
            "A session survives a reconnect inside its deadline, and always ends.",
            _table(SESSION),
        ),
        Machine(
            "Turn",
            "kernel/lifecycle.TURN",
            TurnState.IDLE,
            "A proposal makes no turn. A turn that was opened has one terminal, then it closes.",
            _table(TURN),
        ),
        Machine(
            "Caller",
            "kernel/listening.CALLER",
            Caller.QUIET,
            "From the first sound to the end of an utterance. Every state but `quiet` has a deadline.",
            _table(CALLER),
        ),
        Machine(
            "Overlap",
            "kernel/listening.OVERLAP",
            Overlap.CLEAR,
            "What a voice over the assistant's means. It never stays undecided.",
            _table(OVERLAP),
        ),
    )


def _table(rows: Mapping[tuple[State, Trigger], State]) -> Table:
    """The same rows, seen as words: a mapping's keys may not vary in their type."""
    return {(state, trigger): after for (state, trigger), after in rows.items()}


def page() -> str:
    """The whole of `docs/lifecycles.md`."""
    return "\n".join([INTRODUCTION, *(_section(machine) for machine in machines())])


def _section(machine: Machine) -> str:
    parts = [
        f"## {machine.title}",
        "",
        f"{machine.says} Table: `{machine.home}`.",
        "",
        "```mermaid",
        *mermaid(machine),
        "```",
        "",
        *_rows(machine),
        "",
    ]
    return "\n".join(parts)


def mermaid(machine: Machine) -> Iterator[str]:
    """The lines of a state diagram; triggers between the same two states share an arrow."""
    yield "stateDiagram-v2"
    yield f"    [*] --> {_name(machine.first)}"
    arrows: dict[tuple[StrEnum, StrEnum], list[str]] = {}
    for (state, trigger), after in machine.table.items():
        arrows.setdefault((state, after), []).append(trigger.value)
    for (state, after), triggers in arrows.items():
        yield f"    {_name(state)} --> {_name(after)}: {', '.join(triggers)}"
    for state in ends(machine.table):
        yield f"    {_name(state)} --> [*]"


def ends(table: Table) -> list[StrEnum]:
    """The states that nothing leaves, in the order in which they are first reached."""
    left = {state for state, _ in table}
    reached: dict[StrEnum, None] = dict.fromkeys(table.values())
    return [state for state in reached if state not in left]


def _rows(machine: Machine) -> Iterator[str]:
    yield "| state | trigger | next state |"
    yield "| --- | --- | --- |"
    for (state, trigger), after in machine.table.items():
        yield f"| {state.value} | {trigger.value} | {after.value} |"


def _name(state: StrEnum) -> str:
    """Mermaid reserves some lower-case words (`end`, `state`); an upper-case initial keeps clear of them."""
    return state.value if state.value.isupper() else state.value.capitalize()
