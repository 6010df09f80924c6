"""A trace that no kernel could have left is refused by its place, before anybody relies on it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from rspp.contract.codec import CodecError
from rspp.kernel.trace import Item, Run
from rspp.nodes import factories
from rspp.timeline.sense import check_items
from rspp.timeline.summary import summarise
from rspp.timeline.view.html import session_page
from rspp.timeline.view.seen import see
from rspp.timeline.view.text import row_line
from tests.unit.timeline.calls import simulated


def item(what: str, name: str = "", **facts: Any) -> Item:
    return Item(1, 20_000_000, what, name, None, None, None, facts)


@pytest.mark.parametrize(
    ("made", "place"),
    [
        (item("invoke", "llm", provider="a", attempt=1), "items[1].facts.call"),
        (item("invoke", "llm", call="c", provider="a"), "items[1].facts.attempt"),
        (item("invoke", "llm", call=["c"], provider="a", attempt=1), "items[1].facts"),
        (item("kill_call", attempt=1), "items[1].facts.call_id"),
        (item("record", "plan"), "items[1].facts.plan_hash"),
        (item("signal", "playback_cancelled", detail={"heard_ms": "much"}), "items[1].facts"),
        (item("signal", "playback_cancelled", detail=[1]), "items[1].facts"),
        (item("send", "text", chars="7"), "items[1].facts"),
        (item("signal", "turn_open_proposed", detail={"candidate": ["a"]}), "items[1].facts"),
        (item("signal", "end_of_utterance", detail={"utterance": {}}), "items[1].facts"),
        (item("store_evidence", "commit", record=[]), "items[1].facts"),
    ],
)
def test_an_item_that_lacks_what_is_read_is_named(made: Item, place: str) -> None:
    with pytest.raises(CodecError) as caught:
        check_items([item("signal", "close"), made])
    assert caught.value.path == place


def test_what_kernels_leave_makes_sense() -> None:
    for session in range(4):
        check_items(simulated(7, session, "all").items)


JUNK: tuple[Any, ...] = (
    None,
    -1,
    2**63,
    1.5,
    "",
    "x" * 10_000,
    [],
    [[]],
    {},
    {"heard_ms": -5},
    b"\xff",
    True,
)


@pytest.mark.slow
def test_spoiled_traces_are_shown_or_refused_but_never_a_surprise() -> None:
    refused = shown = 0
    for seed in range(60):
        chance = random.Random(seed)
        recording = simulated(7, 0)
        for _ in range(3):
            place = chance.randrange(len(recording.items))
            spoiled = recording.items[place]
            facts = dict(spoiled.facts)
            if facts:
                facts[chance.choice(list(facts))] = chance.choice(JUNK)
            change = {
                chance.choice(["what", "name", "turn"]): chance.choice(["invoke", "signal", "", "plan", "x"])
            }
            step = {
                "step": chance.choice([0, 10**9, spoiled.step]),
                "at": chance.choice([-(10**18), 10**18, spoiled.at]),
            }
            recording.items[place] = msgspec.structs.replace(spoiled, facts=facts, **change, **step)
        recording.runs.append(
            Run(1, chance.choice([0, -(10**15), 10**17]), "x", 2**60, 2**60, 1, 0, chance.choice([0, 1]))
        )
        recording.head = msgspec.structs.replace(recording.head, opened_wall_ms=chance.choice([0, 2**62]))
        try:
            seen = see(recording, factories() if not seed % 10 else None)
            session_page(seen, seen.rows)
            summarise(recording)
            assert all(row_line(row, {}).isprintable() for row in seen.rows)
            shown += 1
        except CodecError:
            refused += 1
    assert refused > 5
    assert shown > 5
