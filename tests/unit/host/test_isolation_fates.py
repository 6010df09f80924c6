"""A node's process that ended by itself is told of for a while, whatever session it was of."""

from __future__ import annotations

import pytest

from rspp.contract.surface import Level
from rspp.host import isolation_fates
from rspp.host.isolation_fates import ENDED_SHOWN_S, Fates


def test_a_type_of_node_fails_for_a_while_after_one_of_it_ended_and_then_runs() -> None:
    now = 100.0
    fates = Fates(lambda: now)
    assert [one.state for one in fates.rows(["masker", "masker"])] == ["running"]
    fates.ended("masker", "isolated_node_died")
    fates.ended("masker", "isolated_memory_limit")
    (row,) = fates.rows([])
    assert (row.aggregate_id, row.level, row.reason) == ("masker", Level.DEGRADED, "node_down")
    assert (row.facts["ended"], row.facts["because"]) == (2, "isolated_memory_limit")
    now += ENDED_SHOWN_S
    (row,) = fates.rows([])
    assert (row.level, row.state, row.facts["ended"]) == (Level.OK, "running", 2)


def test_types_beyond_the_bound_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_fates, "TYPES_MAX", 2)
    fates = Fates(lambda: 0.0)
    for number in range(5):
        fates.ended(f"n{number}", "isolated_node_died")
    assert len(fates.rows([])) == 2
