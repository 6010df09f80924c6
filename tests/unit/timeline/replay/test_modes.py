"""The mode of a replay is said, never guessed, and its result names it."""

from __future__ import annotations

import pytest

from rspp.contract.errors import MisuseError
from rspp.timeline.replay.modes import Decisions, Mode, Outputs, agree, mode_of


def test_the_wires_names_are_taken_and_replayed_decisions_are_the_default() -> None:
    for outputs in Outputs:
        assert mode_of(outputs.value) == Mode(outputs=outputs, decisions=Decisions.REPLAY)
    assert mode_of("re_simulate_nodes", "recompute_decisions").decisions is Decisions.RECOMPUTE


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_mode_is_refused(nothing: str | None) -> None:
    with pytest.raises(MisuseError, match="replay_mode_missing"):
        mode_of(nothing)


@pytest.mark.parametrize(
    "alias", ["re-simulate", "resimulate", "simulate", "playback", "RE_SIMULATE_NODES", "live"]
)
def test_an_alias_is_refused(alias: str) -> None:
    with pytest.raises(MisuseError, match="replay_mode_unknown"):
        mode_of(alias)


def test_an_alias_of_decisions_is_refused() -> None:
    with pytest.raises(MisuseError, match="replay_mode_unknown"):
        mode_of("re_simulate_nodes", "replay")


def test_a_playback_cannot_decide_anew() -> None:
    with pytest.raises(MisuseError, match="replay_inputs_insufficient"):
        mode_of("playback_recorded_provider_outputs", "recompute_decisions")


def test_a_result_of_another_mode_than_was_asked_for_is_refused() -> None:
    asked = mode_of("re_simulate_nodes")
    agree(asked, "re_simulate_nodes", "replay_decisions")
    for outputs, decisions in (
        ("playback_recorded_provider_outputs", "replay_decisions"),
        ("re_simulate_nodes", "recompute_decisions"),
    ):
        with pytest.raises(MisuseError, match="replay_mode_mismatch"):
            agree(asked, outputs, decisions)
