"""Prices in whole millionths: what was used costs the same in one piece and in many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rspp.contract.errors import MisuseError
from rspp.control.intake.tariffs import Tariff, Tariffs, Used, cost_micros
from rspp.timeline.prices import Prices, ProviderPrice

TABLE = Prices(
    currency="EUR",
    prices={
        "llm-a": ProviderPrice(per_1000_tokens=0.002),
        "llm-a/large": ProviderPrice(per_1000_tokens=0.02),
        "tts-a": ProviderPrice(per_1000_characters=0.015),
        "stt-a": ProviderPrice(per_minute=0.006, per_call=0.001),
    },
)


def cost(provider: str, model: str | None = None, **used: int) -> int:
    return cost_micros(Used(**used), Tariffs(TABLE).find(provider, model))


def test_each_kind_of_price_is_charged_for_its_amount() -> None:
    assert cost("llm-a", tokens=1_500) == 3_000
    assert cost("llm-a", "large", tokens=1_500) == 30_000
    assert cost("llm-a", "small", tokens=1_500) == 3_000
    assert cost("tts-a", characters=2_000) == 30_000
    assert cost("stt-a", calls=2, audio_us=90_000_000) == 2_000 + 9_000


def test_what_has_no_price_costs_nothing_and_is_named() -> None:
    tariffs = Tariffs(TABLE)
    assert tariffs.find("llm-b", None) is None
    assert cost_micros(Used(tokens=10**9), None) == 0
    assert tariffs.unpriced == {"llm-b"}
    nothing = Tariffs()
    nothing.find("llm-b", None)
    assert nothing.unpriced == set()  # where nothing is priced, nothing is missing


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 1e12, -1.0])
def test_a_price_that_cannot_be_is_refused(price: float) -> None:
    with pytest.raises(MisuseError) as caught:
        Tariffs(Prices(currency="EUR", prices={"x": ProviderPrice(per_call=price)}))
    assert caught.value.code == "prices_invalid"


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.integers(0, 10_000), max_size=30), price=st.integers(0, 10**6))
def test_spending_never_falls_and_loses_nothing_however_it_is_cut(parts: list[int], price: int) -> None:
    tariff = Tariff(per_1000_tokens=price)
    used, last = Used(), 0
    for part in parts:
        used.tokens += part
        now = cost_micros(used, tariff)
        assert now >= last
        last = now
    assert last == sum(parts) * price // 1000
