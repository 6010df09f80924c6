"""The drawings are the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.kernel.diagrams import Machine, ends, machines, mermaid, page

PAGE = Path(__file__).parents[3] / "docs" / "lifecycles.md"


@pytest.fixture(params=machines(), ids=lambda machine: machine.title)
def machine(request: pytest.FixtureRequest) -> Machine:
    assert isinstance(request.param, Machine)
    return request.param


def test_the_page_in_the_docs_is_what_the_tables_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `rspp kernel diagrams --out docs`"


def test_every_step_is_drawn_once(machine: Machine) -> None:
    drawn = 0
    for line in mermaid(machine):
        if ": " in line:
            drawn += line.partition(": ")[2].count(",") + 1
    assert drawn == len(machine.table)


def test_every_state_can_be_reached_from_the_first(machine: Machine) -> None:
    reached = {machine.first}
    for _ in machine.table:
        reached |= {after for (state, _), after in machine.table.items() if state in reached}
    assert reached == {state for state, _ in machine.table} | set(machine.table.values())


def test_session_and_turn_end_and_the_listeners_never_do() -> None:
    assert {machine.title: len(ends(machine.table)) for machine in machines()} == {
        "Session": 1,
        "Turn": 1,
        "Caller": 0,
        "Overlap": 0,
    }
