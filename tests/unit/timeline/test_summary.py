"""A summary is what a pencil makes of the recording, and nothing that was not recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspp.contract.errors import MisuseError
from rspp.contract.words import RecordingLevel
from rspp.timeline.prices import read_prices
from rspp.timeline.recording import Recording
from rspp.timeline.summary import Latency, Summary, summarise
from rspp.timeline.waterfall import STAGES
from tests.unit.timeline.calls import simulated
from tests.unit.timeline.scripted import scripted

PRICES = """
currency: EUR
prices:
  llm-a: {per_1000_tokens: 10, per_call: 1}
  llm-b: {per_1000_tokens: 100}
  tts-a: {per_1000_characters: 1}
  stt-a: {per_minute: 6}
"""


def test_turns_audio_words_and_tokens_are_what_the_script_says() -> None:
    one = summarise(scripted())
    turns = one.turns
    assert (turns.opened, turns.committed, turns.aborted, turns.unfinished) == (2, 1, 1, 0)
    assert turns.aborted_by_reason == {"cancelled": 1}
    assert (turns.interrupted, turns.taken_back, turns.evidence_complete) == (1, 0, 0)
    assert (one.audio.received_s, one.audio.sent_s, one.audio.heard_s) == (1.0, 1.5, 1.3)
    assert (one.tokens, one.characters_heard, one.characters_spoken) == (42, 13, 29)
    assert (one.duration_s, one.ended) == (3.6, "closed")


def test_latencies_are_the_nearest_rank_of_what_callers_heard() -> None:
    found = summarise(scripted()).latencies
    assert found["whole"] == Latency(2, 300.0, 400.0)
    assert found["endpointing"] == Latency(2, 0.0, 200.0)  # what is typed has no endpoint to find
    assert found["stt"] == Latency(2, 0.0, 20.0)
    assert found["llm_first_token"] == Latency(2, 80.0, 150.0)
    assert found["tts_first_audio"] == Latency(2, 60.0, 110.0)
    assert found["playout"] == Latency(2, 40.0, 40.0)


def test_providers_are_told_by_attempt() -> None:
    told = {
        one.provider: (
            one.calls,
            one.attempts,
            one.retries,
            one.failures,
            one.tokens,
            one.characters,
            one.seconds,
        )
        for one in summarise(scripted()).providers
    }
    assert told == {
        "llm-a": (2, 2, 0, {"timeout": 1}, 30, 9, None),
        "llm-b": (0, 1, 1, {}, 12, 19, None),
        "stt-a": (1, 1, 0, {}, None, None, 1.0),
        "tts-a": (2, 2, 0, {}, None, 29, 1.5),
    }


def test_a_cost_is_the_sum_of_what_the_table_says(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(PRICES)
    one = summarise(scripted(), read_prices(file))
    assert {provider.provider: provider.cost for provider in one.providers} == pytest.approx(
        {"llm-a": 2.3, "llm-b": 1.2, "tts-a": 0.029, "stt-a": 0.1}
    )
    assert one.cost is not None
    assert one.cost.total == pytest.approx(3.629)
    assert (one.cost.currency, one.cost.unpriced) == ("EUR", [])


def test_without_a_table_there_is_no_cost_and_without_a_price_it_is_said(tmp_path: Path) -> None:
    one = summarise(scripted())
    assert one.cost is None
    assert {provider.cost for provider in one.providers} == {None}
    file = tmp_path / "prices.yaml"
    file.write_text("{currency: EUR, prices: {tts-a: {per_call: 1}}}")
    cost = summarise(scripted(), read_prices(file)).cost
    assert cost is not None
    assert (cost.total, cost.unpriced) == (2.0, ["llm-a", "llm-b", "stt-a"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "prices: {}",
        "{currency: EUR, prices: {a: {per_call: -1}}}",
        "{currency: EUR, prices: {a: {per_hour: 1}}}",
        "{currency: '', prices: {}}",
        "{currency: EUR, prices: {a: 5}}",
        "[not, a, table]",
        "{broken: [",
        "!!python/object/apply:os.system ['true']",
        "a: &a [x]\nb: [*a, *a]",
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(MisuseError):
        read_prices(file)


def test_a_model_of_a_provider_may_have_a_price_of_its_own(tmp_path: Path) -> None:
    recording = scripted()
    recording.head.graph.provider_settings["llm-b"] = {"model": "large"}
    try:
        file = tmp_path / "prices.yaml"
        file.write_text("{currency: EUR, prices: {llm-b: {per_call: 1}, llm-b/large: {per_call: 7}}}")
        costs = {one.provider: one.cost for one in summarise(recording, read_prices(file)).providers}
        assert costs["llm-b"] == 7
    finally:
        del recording.head.graph.provider_settings["llm-b"]


def _of(recording: Recording) -> Summary:
    return summarise(recording)


def test_at_the_lowest_level_the_evidence_speaks_and_the_rest_is_unknown() -> None:
    low, full = _of(simulated(7, 0, level=RecordingLevel.L0)), _of(simulated(7, 0))
    assert low.turns == full.turns
    assert low.turns.evidence_complete == low.turns.opened > 0
    assert (low.audio.received_s, low.audio.sent_s, low.tokens, low.characters_heard) == (
        None,
        None,
        None,
        None,
    )
    assert low.audio.heard_s == full.audio.heard_s
    assert low.gates == full.gates
    assert low.gates.accepted == low.gates.evidence_complete == low.turns.opened
    assert {one.provider for one in low.providers} == {"llm-a", "tts-a"}
    calls = {one.provider: one.calls for one in full.providers}
    assert all(one.calls == calls[one.provider] for one in low.providers)
    assert all(low.latencies[stage] == Latency(0, None, None) for stage in STAGES)


def test_missing_parts_are_counted_not_guessed() -> None:
    recording = simulated(7, 0)
    recording.withheld_texts.add(5)
    recording.torn = True
    found = _of(recording).recorded
    assert (found.torn, found.whole, found.withheld_texts) == (True, False, 1)
    assert found.withheld_audio == len(recording.without_sound)
