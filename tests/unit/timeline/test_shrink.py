"""A failure made small: few inputs, the same failure, and none once it is repaired."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.errors import MisuseError
from rspp.nodes import factories
from rspp.sim.mutants import MUTANTS, planted
from rspp.timeline.recording import Recording
from rspp.timeline.shrink import Feeder, Shrinker, Small, recording_of
from rspp.timeline.shrink_checks import DivergenceShows, check_of, findings
from rspp.timeline.story import Story
from tests.unit.timeline.calls import simulated, simulated_bytes

MUTANT = {mutant.name: mutant for mutant in MUTANTS}
TRIES_MAX = 250


def shrunk(recording: Recording, check: str, path: Path) -> Small:
    feeder = Feeder(recording, factories())
    oracle = check_of(check, feeder)
    tries = iter(range(TRIES_MAX))
    told: list[str] = []
    small = Shrinker(feeder, oracle, lambda: next(tries, None) is not None, told.append).run()
    expected = oracle.expected(small.fed) if isinstance(oracle, DivergenceShows) else None
    path.write_bytes(recording_of(recording, small, expected))
    return small


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "faults", "session", "inv"),
    [
        ("second_terminal", "none", 0, "INV-04"),
        ("cancel_spares_playback", "all", 0, "INV-09"),
        ("stale_epoch_accepted", "forged_audio", 1, "INV-11"),
    ],
)
def test_a_broken_invariant_is_shown_by_a_few_of_thousands_of_inputs_until_it_is_repaired(
    tmp_path: Path, name: str, faults: str, session: int, inv: str
) -> None:
    path = tmp_path / "small.rspp"
    with planted(MUTANT[name]):
        simulated_bytes.cache_clear()  # what a broken kernel did is nobody else's
        recording = simulated(5, session, faults)
        simulated_bytes.cache_clear()
        small = shrunk(recording, f"violation {inv}", path)
        assert len(recording.inputs) > 3_000
        assert len(small.fed.given) < 200
        assert any(inv in line for line in findings(path, f"violation {inv}"))
        assert findings(path, f"violation {inv}") == findings(path, f"violation {inv}")
    assert findings(path, f"violation {inv}") == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "session"), [("never_closes", 0), ("cancel_spares_playback", 0)])
def test_a_divergence_is_shown_against_what_was_recorded_until_it_is_repaired(
    tmp_path: Path, name: str, session: int
) -> None:
    recording = simulated(5, session, "none" if name == "never_closes" else "all")
    path = tmp_path / "small.rspp"
    with planted(MUTANT[name]):
        small = shrunk(recording, "divergence", path)
        assert len(small.fed.given) < len(recording.inputs) / 4
        assert "not there any more" in findings(path, "divergence")[0]
    assert findings(path, "divergence") == []


def test_where_nothing_comes_of_an_input_any_more_only_what_is_after_it_is_left_out(tmp_path: Path) -> None:
    recording = simulated(5, 0, "end_of_turn_fails")
    path = tmp_path / "small.rspp"
    with planted(MUTANT["stuck_endpointing"]):
        small = shrunk(recording, "divergence", path)
        assert small.kept == list(range(1, len(small.kept) + 1))
        assert findings(path, "divergence")
    assert findings(path, "divergence") == []


@pytest.mark.slow
def test_it_is_made_the_same_size_each_time(tmp_path: Path) -> None:
    recording = simulated(7, 1, "all")
    path, again = tmp_path / "a.rspp", tmp_path / "b.rspp"
    small = shrunk(recording, "signal barge_in", path)
    assert shrunk(recording, "signal barge_in", again).kept == small.kept
    assert path.read_bytes() == again.read_bytes()
    assert findings(path, "signal barge_in")
    assert not findings(path, "signal level_restored")


def interrupted(story: Story) -> bool:
    return any(item.name == "playback_cancelled" for item in story.items)


@pytest.mark.slow
def test_a_predicate_of_ones_own_decides(tmp_path: Path) -> None:
    check = f"predicate {__name__}:interrupted"
    small = shrunk(simulated(7, 1, "all"), check, tmp_path / "small.rspp")
    assert len(small.fed.given) < 500
    assert findings(tmp_path / "small.rspp", check)


def test_what_does_not_fail_is_not_made_small(tmp_path: Path) -> None:
    for check in ("divergence", "invariant", "signal shed"):
        with pytest.raises(MisuseError, match="shrink_nothing_fails"):
            shrunk(simulated(7, 0), check, tmp_path / "small.rspp")


@pytest.mark.parametrize(
    "check",
    [
        "",
        "mood",
        "violation",
        "violation INV-99",
        "signal",
        "predicate os",
        "predicate no_module_so:f",
        "invariant x",
    ],
)
def test_a_check_that_means_nothing_is_refused(check: str) -> None:
    with pytest.raises(MisuseError, match="shrink_check_unknown"):
        check_of(check, Feeder(simulated(7, 0), factories()))


def test_when_the_time_is_over_what_is_small_until_then_is_kept(tmp_path: Path) -> None:
    feeder = Feeder(simulated(7, 1, "all"), factories())
    small = Shrinker(feeder, check_of("signal barge_in", feeder), lambda: False, lambda _: None).run()
    assert not small.whole
    assert small.fed.given
